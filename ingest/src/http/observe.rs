//! Around every request: its id, its line in the log, its figures, its span.
//!
//! Here: what is the same for all routes, also for those that are not there. An answer that is no
//! success and no problem yet becomes one: libraries answer by themselves, in plain text. Not here:
//! what is answered (see the routes). What a client sent shows in the log nowhere but in a request
//! id of its own that is well formed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ledger::hash::Digest;
use ledger::time::Micros;
use tracing::Instrument as _;
use uuid::Uuid;

use super::error::{Kind, Problem};
use super::{App, OTHER, ROUTES};
use crate::telemetry::span;

/// The header that names a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client.
const REQUEST_ID_BYTES: usize = 128;
/// Says to a client that what it holds is its tenant's alone.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Set on an answer that gives a receipt, for the log and the metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipted {
    /// The submission.
    pub(super) submission: Digest,
    /// When it was recorded.
    pub(super) recorded_at: Micros,
}

pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = route(&request);
    let method = request.method().clone();
    let id = request_id(request.headers());
    let sent = trace_headers(request.headers());
    let span = span::request(&method, route, &sent);
    let log = tracing::info_span!("request", request_id = id.to_str().unwrap_or_default());

    let mut response = next.run(request).instrument(span.clone()).instrument(log).await;
    if is_failure(response.status()) && response.extensions().get::<Kind>().is_none() {
        response = problem(response);
    }
    let problem = response.extensions().get::<Kind>().map(|kind| kind.slug());
    let receipted = response.extensions().get::<Receipted>().copied();
    let status = response.status();
    span::answered(&span, status, problem);
    let traceparent = span::traceparent(&span, &sent);
    let elapsed = started.elapsed();
    let line = Line { method: &method, route, status, elapsed, id: &id, problem, receipted };
    line.write(span::trace_id(traceparent.as_ref()));
    app.metrics.answered(route, status.as_u16(), problem, elapsed);
    if let Some(receipted) = receipted {
        app.metrics.acknowledged(elapsed);
        app.readiness.has_recorded(receipted.recorded_at);
    }

    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(traceparent) = traceparent {
        headers.insert("traceparent", traceparent);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, NO_STORE);
    }
    response
}

/// The template of the request's route, out of a fixed table. All files of the docs are one.
fn route(request: &Request) -> &'static str {
    let Some(matched) = request.extensions().get::<MatchedPath>() else {
        return OTHER;
    };
    let known = |route: &&str| *route == matched.as_str();
    match ROUTES.into_iter().find(known) {
        Some("/docs/" | "/docs/{*file}") => "/docs",
        Some("/problems/" | "/problems/{problem}") => "/problems",
        Some(route) => route,
        None => OTHER,
    }
}

/// The client's own id where it is well formed; a new one otherwise.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |value: &HeaderValue| {
        (1..=REQUEST_ID_BYTES).contains(&value.len())
            && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b))
    };
    let sent = headers.get(REQUEST_ID).filter(|value| is_plain(value));
    sent.cloned().unwrap_or_else(|| {
        let id = Uuid::new_v4().to_string();
        // A UUID is a header's value.
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The headers that join a trace: all that is needed once the request is on its way.
pub(super) fn trace_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in ["traceparent", "tracestate"] {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// What a library answered, as a problem. `Allow` and the like stay.
fn problem(answer: Response) -> Response {
    let kind = Kind::of_status(answer.status());
    let detail = match kind {
        Kind::Internal => "a fault of the service, which its log tells of",
        _ => "the request is not of the form that this route takes",
    };
    let mut response = Problem::new(kind, detail).into_response();
    for (name, value) in answer.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response
}

/// One line in the log.
struct Line<'a> {
    method: &'a Method,
    route: &'static str,
    status: StatusCode,
    elapsed: Duration,
    id: &'a HeaderValue,
    problem: Option<&'static str>,
    receipted: Option<Receipted>,
}

impl Line<'_> {
    fn write(&self, trace_id: &str) {
        let (method, status) = (span::method_name(self.method), self.status.as_u16());
        let request_id = self.id.to_str().unwrap_or_default();
        let seconds = self.elapsed.as_secs_f64();
        let submission = self.receipted.map(|receipted| receipted.submission.to_string());
        let (route, problem, submission) = (self.route, self.problem, submission.as_deref());
        let trace_id = Some(trace_id).filter(|id| !id.is_empty());
        // Probes come every few seconds, from everywhere, and say the same each time.
        if self.status.is_success() && matches!(route, "/healthz" | "/readyz" | "/metrics") {
            tracing::debug!(method, route, status, seconds, request_id, trace_id, "answered");
        } else {
            tracing::info!(
                method, route, status, seconds, request_id, problem, submission, trace_id,
                "answered"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_break_a_line_is_replaced() {
        let taken = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(value));
            request_id(&headers) == value
        };
        assert!(taken("a1-B2_c.3:4"));
        assert!(!taken(""));
        assert!(!taken("a b"));
        assert!(!taken("a\"b"));
        assert!(!taken("{\"a\":1}"));
        let long: &'static str = Box::leak("a".repeat(REQUEST_ID_BYTES + 1).into_boxed_str());
        assert!(!taken(long));
    }
}

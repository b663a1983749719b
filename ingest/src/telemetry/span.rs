//! What a trace shows of a request: the request, its check, its wait, its transaction.
//!
//! Here: the spans, their names and attributes, and the W3C headers that join them to a caller's
//! trace. Where no spans are sent, none is made, and all of this does nothing.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{Status, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::queue::Message;

/// The target of spans that only traces show.
pub(super) const TARGET: &str = "ingest::trace";

/// The W3C header that names trace and parent.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The span of a request, a child of the caller's where a `traceparent` says so.
pub fn request(method: &Method, route: &'static str, headers: &HeaderMap) -> Span {
    let span = info_span!(target: TARGET, "request", otel.kind = "server");
    if span.is_disabled() {
        return span;
    }
    let caller = TraceContextPropagator::new().extract(&Headers(headers));
    // Refused only where the span is not traced at all, or has started, which it has not.
    let _ = span.set_parent(caller);
    let method = method_name(method);
    span.context().span().update_name(format!("{method} {route}"));
    span.set_attribute("http.request.method", method);
    span.set_attribute("http.route", route);
    span
}

/// The method, where it is one that HTTP knows: another may hold anything.
pub(crate) fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("(other)")
}

/// Notes in the request's span what the answer is.
pub fn answered(span: &Span, status: StatusCode, problem: Option<&'static str>) {
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if let Some(problem) = problem {
        span.set_attribute("error.type", problem);
    }
    if status.is_server_error() {
        span.set_status(Status::error(problem.unwrap_or_default()));
    }
}

/// The `traceparent` of an answer: the request's span, or what the caller sent where none is made.
pub fn traceparent(span: &Span, sent: &HeaderMap) -> Option<HeaderValue> {
    let context = span.context();
    if context.span().span_context().is_valid() {
        let mut value = None;
        TraceContextPropagator::new().inject_context(&context, &mut Sink(&mut value));
        return value;
    }
    let caller = TraceContextPropagator::new().extract(&Headers(sent));
    let is_valid = caller.span().span_context().is_valid();
    is_valid.then(|| sent.get(TRACEPARENT).cloned()).flatten()
}

/// The trace's id in hex, for the log: empty where there is none.
pub fn trace_id(traceparent: Option<&HeaderValue>) -> &str {
    // version "-" trace id "-" parent id "-" flags
    let text = traceparent.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split('-').nth(1).unwrap_or_default()
}

/// The span of a check: its wait for a processor, and the check.
pub fn check() -> Span {
    info_span!(target: TARGET, "check")
}

/// A submission on its way through the writer, as its request's trace shows it.
#[derive(Debug)]
pub struct Journey {
    request: Span,
    stage: Span,
}

impl Journey {
    /// It waits in a shard's queue. Called within its request.
    pub fn queued(shard: usize) -> Self {
        let request = Span::current();
        let stage = info_span!(target: TARGET, parent: &request, "queue", tally.shard = shard);
        Self { request, stage }
    }

    /// A transaction has taken it, together with others: `submissions` in all.
    #[must_use]
    pub fn taken(self, submissions: usize) -> Self {
        let Self { request, stage } = self;
        // Its wait ends here.
        drop(stage);
        let stage = info_span!(
            target: TARGET, parent: &request, "transaction", tally.submissions = submissions
        );
        Self { request, stage }
    }

    /// The transaction failed, and nobody knows what is recorded.
    pub fn failed(&self) {
        self.stage.set_status(Status::error("the transaction failed"));
    }
}

/// The span of a message from when it was taken until it is recorded: a child of the request that had
/// it put, where its headers say so.
pub fn chained(message: &Message) -> Span {
    let span = info_span!(target: TARGET, "chain", otel.kind = "consumer");
    if !span.is_disabled() {
        let _ = span.set_parent(TraceContextPropagator::new().extract(&InMessage(message)));
    }
    span
}

struct InMessage<'m>(&'m Message);

impl Extractor for InMessage<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.value(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.headers.iter().map(|(name, _)| name.as_str()).collect()
    }
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    /// A header that is there twice names no trace.
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter();
        let first = values.next()?;
        if values.next().is_some() { None } else { first.to_str().ok() }
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Sink<'v>(&'v mut Option<HeaderValue>);

impl Injector for Sink<'_> {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT.as_str() {
            *self.0 = HeaderValue::from_str(&value).ok();
        }
    }
}

//! What records: workspaces, keys, events.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ledger::note::sign;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::SubmissionAnswer;
use super::error::{Kind, Problem};
use super::{App, InWorkspace, wants_text};
use crate::accept::{Form, Head, Purpose, Submission, accept};
use crate::chain::{Step, WriteError};

/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(30);
/// How long a client waits to hear what became of its submission.
const VERDICT: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

pub(super) async fn create(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let form = form(request.headers(), &[(JSON, Form::Bare)])?;
    submit(&app, Purpose::Create, form, request).await
}

pub(super) async fn set_key(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, .. }: InWorkspace,
    request: Request,
) -> Result<Response, Problem> {
    let form = form(request.headers(), &[(JSON, Form::Bare)])?;
    submit(&app, Purpose::SetKey(workspace), form, request).await
}

pub(super) async fn record(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, .. }: InWorkspace,
    request: Request,
) -> Result<Response, Problem> {
    let form = form(request.headers(), &[(NDJSON, Form::Ndjson), (JSON, Form::Json)])?;
    submit(&app, Purpose::Record(workspace), form, request).await
}

/// How the body holds its payloads, by its type.
fn form(headers: &HeaderMap, known: &[(&str, Form)]) -> Result<Form, Problem> {
    let unsupported = |detail: String| Problem::new(Kind::UnsupportedMediaType, detail);
    // The signed bytes are the bytes that are sent: no coding stands between them.
    if headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "a body is sent as it is, without Content-Encoding";
        return Err(unsupported(detail.to_owned()));
    }
    let sent = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase());
    let form = known.iter().find(|(name, _)| sent.as_deref() == Some(*name));
    form.map(|(_, form)| *form).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        unsupported(format!("this route takes {}", names.join(" or ")))
    })
}

async fn submit(
    app: &Arc<App>,
    purpose: Purpose,
    form: Form,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let wants_text = wants_text(headers);
    let head = Head::read(|name| headers.get_all(name).iter().map(|value| value.as_bytes()))?;
    let memory = claim(app, headers)?;
    let body = read_body(app, request).await?;
    app.probe.at(Step::Received);
    let submission = check(app, purpose, head, form, body).await?;
    app.probe.at(Step::Verified);

    let (workspace, hash) = (submission.workspace.clone(), submission.hash);
    let verdict = tokio::time::timeout(VERDICT, app.writer.record(submission, memory))
        .await
        .unwrap_or(Err(WriteError::Unknown))?;
    let receipt = verdict.recorded.receipt(&app.origin, &workspace, hash);
    let receipt = sign(&receipt.to_body(), &[&app.receipts]);
    app.probe.at(Step::Signed);

    let status = if verdict.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(if wants_text {
        (status, receipt).into_response()
    } else {
        let answer = SubmissionAnswer::new(verdict.recorded, hash, receipt);
        (status, Json(answer)).into_response()
    })
}

/// Takes memory for the body before a byte of it is read: as much as it says that it has, or as
/// much as a body may have where it does not say.
fn claim(app: &App, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Problem> {
    let most = app.limits.max_body_bytes();
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(most);
    if length > most {
        return Err(too_large(app));
    }
    let full = |_| Problem::from(WriteError::Full);
    let kib = u32::try_from(length.div_ceil(1_024)).unwrap_or(u32::MAX);
    Arc::clone(&app.memory).try_acquire_many_owned(kib).map_err(full)
}

fn too_large(app: &App) -> Problem {
    let most = app.limits.max_body_bytes();
    Problem::new(
        Kind::TooLarge,
        format!("a body has at most {most} bytes: send fewer events at once"),
    )
}

async fn read_body(app: &App, request: Request) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large(app)),
        Ok(Err(_)) => {
            Err(Problem::new(Kind::BadRequest, "the body did not arrive as it was announced"))
        }
        Err(_) => Err(Problem::new(
            Kind::RequestTimeout,
            format!("the body did not arrive within {} seconds", BODY.as_secs()),
        )),
    }
}

/// Checks the submission on a thread that may be busy for a while: a signature alone takes a tenth
/// of a millisecond.
async fn check(
    app: &Arc<App>,
    purpose: Purpose,
    head: Head,
    form: Form,
    body: Bytes,
) -> Result<Submission, Problem> {
    // Never closed, so a permit always comes.
    let _processor = app.processors.acquire().await;
    let shared = Arc::clone(app);
    let checking = tokio::task::spawn_blocking(move || {
        accept(&shared.origin, &purpose, head, form, &body, &shared.limits)
    });
    match checking.await {
        Ok(checked) => Ok(checked?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

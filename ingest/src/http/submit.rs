//! What records: workspaces, keys, events.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ledger::note::sign;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::SubmissionAnswer;
use super::auth::{Admin, hide_workspace};
use super::body::{self, Body};
use super::crowd::Turn;
use super::error::{Kind, Problem};
use super::observe::{self, Receipted};
use super::prefer;
use super::queued::Queued;
use super::rate::{Caller, TooFast};
use super::{App, InWorkspace, wants_text};
use crate::accept::{Form, Head, Purpose, Submission, accept};
use crate::access::known::unknown_key;
use crate::chain::plan::Verdict;
use crate::chain::{Step, WriteError};
use crate::queue::Message;
use crate::telemetry::span;

/// How long a client waits to hear what became of its submission.
const VERDICT: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

pub(super) async fn create(
    State(app): State<Arc<App>>,
    admin: Admin,
    request: Request,
) -> Result<Response, Problem> {
    let form = form(request.headers(), &[(JSON, Form::Bare)])?;
    submit(&app, Purpose::Create, Some(admin), form, request).await
}

pub(super) async fn set_key(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, .. }: InWorkspace,
    request: Request,
) -> Result<Response, Problem> {
    let form = form(request.headers(), &[(JSON, Form::Bare)])?;
    submit(&app, Purpose::SetKey(workspace), None, form, request).await
}

pub(super) async fn record(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, .. }: InWorkspace,
    request: Request,
) -> Result<Response, Problem> {
    let form = form(request.headers(), &[(NDJSON, Form::Ndjson), (JSON, Form::Json)])?;
    submit(&app, Purpose::Record(workspace), None, form, request).await
}

/// How the body holds its payloads, by its type.
fn form(headers: &HeaderMap, known: &[(&str, Form)]) -> Result<Form, Problem> {
    let sent = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase());
    let form = known.iter().find(|(name, _)| sent.as_deref() == Some(*name));
    form.map(|(_, form)| *form).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let detail = format!("this route takes {}", names.join(" or "));
        Problem::new(Kind::UnsupportedMediaType, detail)
    })
}

async fn submit(
    app: &Arc<App>,
    purpose: Purpose,
    admin: Option<Admin>,
    form: Form,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let wants_text = wants_text(headers);
    let head = Head::read(|name| headers.get_all(name).iter().map(|value| value.as_bytes()))?;
    let turn = Turn::of(request.extensions());
    let patience = prefer::wait(headers);
    let trace = observe::trace_headers(headers);
    let Body { bytes, memory } = body::read(app, request).await?;
    app.probe.at(Step::Received);
    let (shared, body) = (Arc::clone(app), bytes.clone());
    let checking = move || accept(&shared.origin, &purpose, head, form, &body, &shared.limits);
    let checked = span::check();
    let (submission, memory) = app.busy(memory, checking).await?;
    drop(checked);
    app.probe.at(Step::Verified);
    // A workspace that is created has no keys yet: there the administrator's token says who it is.
    if admin.is_none() && !app.known.has(&submission.workspace, submission.public_key()).await? {
        return Err(unknown_key(&submission).into());
    }
    // Only now is it known who sends: nobody can use up what another may send.
    turn.inspect(Turn::proves);
    app.rate.ask(&Caller::from(submission.public_key()), submission.events.len())?;

    if let Some(admin) = admin {
        admin.creates(app, &submission).await?;
    }

    let hash = submission.hash;
    // What changes keys, or asks for an erasure, is recorded at once: whoever does it hears that it is
    // in force, and it waits behind nothing.
    let queue = app.queue.as_ref().filter(|_| submission.acts.ledger_event().is_none());
    let (verdict, receipt) = match queue {
        None => deliver(app, submission, memory).await?,
        Some(queue) => {
            let message = Message::of(&submission, form, bytes, app.clock.now());
            match queue.enqueue(app, &submission, message, &trace, patience, memory).await? {
                Queued::Chained(verdict, receipt) => (verdict, receipt),
                Queued::Waiting(answer) => return Ok(answer.into_response(wants_text)),
            }
        }
    };
    let status = if verdict.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let receipted = Receipted { submission: hash, recorded_at: verdict.recorded.recorded_at };
    let mut response = if wants_text {
        (status, receipt).into_response()
    } else {
        let answer = SubmissionAnswer::new(verdict.recorded, hash, receipt);
        (status, Json(answer)).into_response()
    };
    response.extensions_mut().insert(receipted);
    Ok(response)
}

/// Has a submission recorded, and signs its receipt.
pub(super) async fn deliver(
    app: &App,
    submission: Submission,
    memory: OwnedSemaphorePermit,
) -> Result<(Verdict, String), Problem> {
    let (workspace, hash) = (submission.workspace.clone(), submission.hash);
    let key = *submission.public_key();
    let verdict = tokio::time::timeout(VERDICT, app.writer.record(submission, memory))
        .await
        .unwrap_or(Err(WriteError::Unknown))
        .map_err(|error| hide_workspace(error, &key))?;
    let receipt = verdict.recorded.receipt(&app.origin, &workspace, hash);
    let receipt = sign(&receipt.to_body(), &[&app.receipts]);
    app.probe.at(Step::Signed);
    Ok((verdict, receipt))
}

impl App {
    /// Works on a thread that may be busy for a while, as with a signature, which alone takes a
    /// tenth of a millisecond; as many at once as there are processors.
    ///
    /// The work goes on where its client has hung up: it keeps the processor, and the `memory` that
    /// it was given, until it has ended.
    pub(super) async fn busy<T, E>(
        &self,
        memory: OwnedSemaphorePermit,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), Problem>
    where
        T: Send + 'static,
        E: Send + 'static,
        Problem: From<E>,
    {
        // Never closed, so a permit always comes.
        let processor = Arc::clone(&self.processors).acquire_owned().await;
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(processor);
            (done, memory)
        });
        match working.await {
            Ok((done, memory)) => Ok((done?, memory)),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

impl From<TooFast> for Problem {
    fn from(TooFast { wait }: TooFast) -> Self {
        // Rounded up: who comes back when told to is not told to wait again.
        let seconds = wait.as_secs().saturating_add(1);
        let detail = format!("more than this ledger takes from one caller: wait {seconds} s");
        Self::new(Kind::TooFast, detail).retry_after(seconds)
    }
}

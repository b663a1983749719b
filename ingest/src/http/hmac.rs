//! `POST /ingest`: what clients of a plain HMAC pipeline send already.
//!
//! Here: the order of checks, and the answer. The secret says which workspaces; each must have
//! registered the custodian key, which signs in place of the client, and that is known of all before
//! anything is recorded. Not here: the HMAC ([`crate::accept::secrets`]), what is signed
//! ([`crate::accept::custody`]) and how a CloudEvent becomes a payload
//! ([`crate::accept::cloudevents`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use ledger::chain::Role;
use ledger::key::SigningKey;
use ledger::names::Workspace;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::body::{self, Body};
use super::crowd::Turn;
use super::error::{Kind, Problem};
use super::observe::{self, Receipted};
use super::queued::{Queued, QueuedAnswer};
use super::rate::Caller;
use super::{prefer, submit};
use crate::accept::custody::{self, NotSigned, Part};
use crate::accept::secrets::{self, Secret};
use crate::accept::{Refused, cloudevents};
use crate::chain::{Step, WriteError};
use crate::queue::Message;
use crate::store::read;
use crate::telemetry::span;

/// The key that signs for clients that share a secret.
pub struct Custodian {
    /// The key.
    pub key: SigningKey,
    /// Workspaces that are known to have registered it as their custodian. Whether it is still in
    /// force is asked again with every submission, by the rules of keys.
    registered: Mutex<BTreeSet<Workspace>>,
}

impl Custodian {
    /// A custodian of which no workspace is known yet.
    pub fn new(key: SigningKey) -> Self {
        Self { key, registered: Mutex::default() }
    }
}

/// How a body holds its events.
#[derive(Clone, Copy)]
enum Form {
    Events,
    Cloud(cloudevents::Mode),
}

/// What a request may say in its URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InUrl {
    workspace: Option<String>,
}

/// A submission that the custodian signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct CustodyReceipt {
    /// The workspace.
    workspace: String,
    /// Seq of its first event.
    first_seq: u64,
    /// Seq of its last event.
    last_seq: u64,
    /// When it was recorded.
    recorded_at: String,
    /// The submission hash, in hex.
    submission: String,
    /// The place of each of its events in the body, from 0.
    events: Vec<usize>,
    /// The signed note.
    receipt: String,
}

/// What is answered when all of it is recorded.
#[derive(Serialize, ToSchema)]
pub(super) struct IngestAnswer {
    /// True.
    ok: bool,
    /// Events recorded, or queued.
    count: usize,
    /// A receipt for each submission that they became.
    receipts: Vec<CustodyReceipt>,
    /// Submissions that are stored in the queue and not recorded yet: the answer's status is 202 then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    queued: Vec<QueuedAnswer>,
}

/// Records events of one or more workspaces for a client that shares a secret.
pub(super) async fn ingest(
    State(app): State<Arc<App>>,
    in_url: Result<Query<InUrl>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let form = form(headers)?;
    let default = workspace_in_url(in_url, form)?;
    let name = one(headers, secrets::API_KEY);
    let signature = one(headers, secrets::HMAC);
    // Without a secret there is nobody to be let in, and nothing to hide by reading on.
    if app.secrets.is_empty() {
        return Err(not_authentic());
    }
    let turn = Turn::of(request.extensions());
    let (patience, trace) = (prefer::wait(headers), observe::trace_headers(headers));
    let until = Instant::now() + patience;
    let Body { bytes, memory } = body::read(&app, request).await?;
    app.probe.at(Step::Received);
    let shared = Arc::clone(&app);
    let checked = span::check();
    let ((secret, parts), mut memory) = app
        .busy(memory, move || {
            let secret = shared.secrets.check(&name, &signature, &bytes);
            let secret = Arc::clone(secret.ok_or_else(not_authentic)?);
            // The HMAC does not cover the URL: it must not decide between workspaces.
            if default.is_some() && secret.workspaces.len() > 1 {
                let detail = "this secret is for several workspaces: events name theirs, as \
                              `tallyworkspace`";
                return Err(Problem::new(Kind::BadRequest, detail));
            }
            let parts = parts(&shared, &secret, form, &bytes, default.as_ref())?;
            Ok::<_, Problem>((secret, parts))
        })
        .await?;
    drop(checked);
    app.probe.at(Step::Verified);
    turn.inspect(Turn::proves);

    let count = parts.iter().map(|part| part.indexes.len()).sum();
    app.rate.ask(&Caller::Secret(Arc::clone(&secret.name)), count)?;
    let workspaces: BTreeSet<&Workspace> =
        parts.iter().map(|part| &part.submission.workspace).collect();
    for workspace in workspaces {
        check_custodian(&app, workspace).await?;
    }

    let mut receipts = Vec::with_capacity(parts.len());
    let mut queued = Vec::new();
    // The log names the last one.
    let mut receipted = None;
    let last = parts.len().saturating_sub(1);
    for (at, Part { submission, indexes }) in parts.into_iter().enumerate() {
        let (workspace, hash) = (submission.workspace.clone(), submission.hash);
        // The last one, mostly the only one, may keep the whole body.
        let most = memory.num_permits();
        let share = if at == last { most } else { submission.bytes().div_ceil(1_024).min(most) };
        let Some(memory) = memory.split(share) else {
            return Err(Problem::from(WriteError::Full).after(&indexes, receipts));
        };
        let delivered = match &app.queue {
            None => submit::deliver(&app, submission, memory)
                .await
                .map(|(verdict, receipt)| Queued::Chained(verdict, receipt)),
            Some(queue) => {
                let message = Message::of_payloads(&submission, app.clock.now());
                let patience = until.saturating_duration_since(Instant::now());
                queue.enqueue(&app, &submission, message, &trace, patience, memory).await
            }
        };
        match delivered {
            Ok(Queued::Waiting(answer)) => queued.push(answer),
            Ok(Queued::Chained(verdict, receipt)) => {
                let recorded_at = verdict.recorded.recorded_at;
                receipted = Some(Receipted { submission: hash, recorded_at });
                receipts.push(CustodyReceipt {
                    workspace: workspace.to_string(),
                    first_seq: verdict.recorded.first_seq.get(),
                    last_seq: verdict.recorded.last_seq.get(),
                    recorded_at: recorded_at.to_string(),
                    submission: hash.to_string(),
                    events: indexes,
                    receipt,
                });
            }
            Err(problem) => return Err(problem.after(&indexes, receipts)),
        }
    }
    let status = if queued.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = IngestAnswer { ok: true, count, receipts, queued };
    let mut response = (status, Json(answer)).into_response();
    if let Some(receipted) = receipted {
        response.extensions_mut().insert(receipted);
    }
    Ok(response)
}

/// The one answer to everyone who is not let in, whatever the reason.
fn not_authentic() -> Problem {
    Problem::new(
        Kind::NotAuthentic,
        "X-Api-Key names no secret, or X-Signature is not the hex HMAC-SHA256 of the body under it",
    )
}

/// The one value of a header; nothing where there is none, or more than one.
fn one(headers: &HeaderMap, name: &'static str) -> Bytes {
    let mut values = headers.get_all(HeaderName::from_static(name)).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Bytes::copy_from_slice(value.as_bytes()),
        (_, _) => Bytes::new(),
    }
}

/// How the body holds its events, by its type; JSON where it does not say.
fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let sent = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let essence = sent.map(|value| value.split(|byte| *byte == b';').next().unwrap_or_default());
    match essence.map(|essence| essence.trim_ascii().to_ascii_lowercase()).as_deref() {
        None | Some(b"application/json") => Ok(Form::Events),
        Some(b"application/cloudevents+json") => Ok(Form::Cloud(cloudevents::Mode::One)),
        Some(b"application/cloudevents-batch+json") => Ok(Form::Cloud(cloudevents::Mode::Batch)),
        Some(_) => Err(Problem::new(
            Kind::UnsupportedMediaType,
            "this route takes application/json, application/cloudevents+json or \
             application/cloudevents-batch+json",
        )),
    }
}

/// The workspace that the URL names, for CloudEvents that name none.
fn workspace_in_url(
    in_url: Result<Query<InUrl>, QueryRejection>,
    form: Form,
) -> Result<Option<Workspace>, Problem> {
    let bad = |detail: &str| Problem::new(Kind::BadRequest, detail);
    let Query(InUrl { workspace }) =
        in_url.map_err(|_| bad("the query of this route is ?workspace= or nothing"))?;
    match (workspace, form) {
        (None, _) => Ok(None),
        (Some(_), Form::Events) => Err(bad("events name their workspace_id, the URL names none")),
        (Some(name), Form::Cloud(_)) => {
            let workspace = Workspace::new(&name).map_err(|error| bad(&error.to_string()))?;
            Ok(Some(workspace))
        }
    }
}

fn parts(
    app: &App,
    secret: &Secret,
    form: Form,
    body: &Bytes,
    default: Option<&Workspace>,
) -> Result<Vec<Part>, NotSigned> {
    let payloads = match form {
        Form::Events => custody::payloads(body)?,
        Form::Cloud(mode) => cloudevents::payloads(mode, body, custody::EVENTS, default)?,
    };
    let allowed = (&*secret.name, &secret.workspaces);
    let signed = custody::sign(&app.origin, &app.custodian.key, &payloads, &app.limits, allowed);
    match (signed, form) {
        (Err(NotSigned::Refused(Refused::Events(mut errors))), Form::Cloud(_)) => {
            for error in &mut errors {
                error.pointer = cloudevents::place(&error.pointer);
            }
            Err(Refused::Events(errors).into())
        }
        (signed, _) => signed,
    }
}

/// Whether the workspace has made the custodian key its custodian.
async fn check_custodian(app: &App, workspace: &Workspace) -> Result<(), Problem> {
    let registered = || app.custodian.registered.lock().unwrap_or_else(PoisonError::into_inner);
    if registered().contains(workspace) {
        return Ok(());
    }
    let key = app.custodian.key.public();
    let role = read::role(&app.readers, workspace, &key).await?;
    if role == Some(Role::Custodian) {
        // Only workspaces that a secret names come here: there are not many.
        registered().insert(workspace.clone());
        return Ok(());
    }
    Err(Problem::new(
        Kind::NoCustodian,
        format!(
            "workspace `{workspace}` has not registered this ledger's custodian key: nothing was \
             recorded. Its root key registers it: tally-ingest key register --role custodian \
             {workspace} {key}"
        ),
    ))
}

impl From<NotSigned> for Problem {
    fn from(error: NotSigned) -> Self {
        let detail = error.to_string();
        match error {
            NotSigned::Refused(refused) => refused.into(),
            NotSigned::OtherWorkspace { .. } => Self::new(Kind::OtherWorkspace, detail),
        }
    }
}

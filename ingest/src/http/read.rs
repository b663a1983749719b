//! What shows: the ledger itself, heads, entries, submissions, keys, health.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use ledger::hash::Digest;
use ledger::names::{EventId, Seq};
use ledger::note::sign;
use ledger::receipt::HeadNote;
use serde::Deserialize;

use super::answer::{
    EntriesAnswer, EntryAnswer, HeadAnswer, KeyAnswer, KeysAnswer, LedgerAnswer, LimitsAnswer,
    SubmissionAnswer,
};
use super::error::{Kind, Problem};
use super::{App, InWorkspace, wants_text};
use crate::store::read;

/// Entries in an answer, where the client does not say.
const ENTRIES_DEFAULT: u16 = 100;
/// Most entries in an answer.
const ENTRIES_MAX: u16 = 1_000;

type Answer = Result<Response, Problem>;

fn no_workspace() -> Problem {
    Problem::new(Kind::NoWorkspace, "there is no such workspace")
}

pub(super) async fn ledger(State(app): State<Arc<App>>) -> Response {
    Json(LedgerAnswer {
        origin: app.origin.as_str(),
        receipt_key: app.receipts.verifier().to_string(),
        seal_key: app.seal_verifier_key.as_ref().map(ToString::to_string),
        limits: LimitsAnswer {
            max_payload_bytes: app.limits.max_payload_bytes(),
            max_events: app.limits.max_events(),
            max_body_bytes: app.limits.max_body_bytes(),
        },
    })
    .into_response()
}

pub(super) async fn head(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, .. }: InWorkspace,
    headers: HeaderMap,
) -> Answer {
    let head = read::head(&app.readers, &workspace).await?.ok_or_else(no_workspace)?;
    let body = HeadNote {
        origin: app.origin.clone(),
        workspace: workspace.clone(),
        last_seq: head.last_seq,
        recorded_at: head.recorded_at,
        link: head.link,
    };
    let note = sign(&body.to_body(), &[&app.receipts]);
    Ok(if wants_text(&headers) {
        note.into_response()
    } else {
        Json(HeadAnswer::new(&workspace, head, note)).into_response()
    })
}

pub(super) async fn submission(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, item }: InWorkspace,
    headers: HeaderMap,
) -> Answer {
    let not_found = || Problem::new(Kind::NotFound, "no submission of this hash is recorded here");
    let hash = Digest::parse(&item).map_err(|_| not_found())?;
    let recorded =
        read::submission(&app.readers, &workspace, &hash).await?.ok_or_else(not_found)?;
    let receipt = recorded.receipt(&app.origin, &workspace, hash);
    let receipt = sign(&receipt.to_body(), &[&app.receipts]);
    Ok(if wants_text(&headers) {
        receipt.into_response()
    } else {
        Json(SubmissionAnswer::new(recorded, hash, receipt)).into_response()
    })
}

pub(super) async fn event(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, item }: InWorkspace,
) -> Answer {
    let not_found = || Problem::new(Kind::NotFound, "no event of this id is recorded here");
    let event_id = EventId::parse(&item).map_err(|_| not_found())?;
    let row = read::event(&app.readers, &workspace, event_id).await?.ok_or_else(not_found)?;
    Ok(Json(EntryAnswer::new(row)?).into_response())
}

/// Which entries a client asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    from_seq: Option<u64>,
    limit: Option<u16>,
}

pub(super) async fn entries(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, .. }: InWorkspace,
    range: Result<Query<Range>, QueryRejection>,
) -> Answer {
    let bad = |detail: &str| Problem::new(Kind::BadRequest, detail);
    let Query(range) = range.map_err(|_| bad("from_seq and limit are numbers in plain digits"))?;
    let from = Seq::new(range.from_seq.unwrap_or(1))
        .ok_or_else(|| bad("from_seq is a number from 1 to 9223372036854775807"))?;
    let limit = range.limit.unwrap_or(ENTRIES_DEFAULT);
    if !(1..=ENTRIES_MAX).contains(&limit) {
        return Err(bad(&format!("limit is a number from 1 to {ENTRIES_MAX}")));
    }
    // The head first: entries that follow it while they are read only make the answer longer.
    let head = read::head(&app.readers, &workspace).await?.ok_or_else(no_workspace)?;
    let rows = read::entries(&app.readers, &workspace, from, limit).await?;
    let last = rows.last().and_then(|row| u64::try_from(row.seq).ok());
    let next_seq = last.filter(|last| *last < head.last_seq.get()).map(|last| last + 1);
    let entries = rows.into_iter().map(EntryAnswer::new).collect::<Result<_, _>>()?;
    Ok(Json(EntriesAnswer { entries, next_seq }).into_response())
}

pub(super) async fn keys(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, .. }: InWorkspace,
) -> Answer {
    let keys = read::keys(&app.readers, &workspace).await?;
    // Every workspace has the keys that it was created with.
    if keys.is_empty() {
        return Err(no_workspace());
    }
    let keys = keys.into_iter().map(|(key, record)| KeyAnswer::new(&key, record)).collect();
    Ok(Json(KeysAnswer { keys }).into_response())
}

/// The process runs; its dependencies are not asked.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The service can record.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    read::ping(&app.readers).await?;
    Ok("ready\n")
}

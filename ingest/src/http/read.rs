//! What shows: the ledger itself, heads, entries, submissions, keys, health.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use ledger::hash::Digest;
use ledger::names::{EventId, Seq};
use ledger::note::sign;
use ledger::receipt::HeadNote;
use ledger::time::Micros;
use serde::Deserialize;

use super::answer::{
    EntriesAnswer, EntryAnswer, HeadAnswer, KeyAnswer, KeysAnswer, LedgerAnswer, LimitsAnswer,
    SubmissionAnswer,
};
use super::auth::no_workspace;
use super::error::{Kind, Problem};
use super::{App, InWorkspace, prefer, queued, wants_text};
use crate::accept::Limits;
use crate::queue::outcomes::Outcome;
use crate::store::read::{self, EntryRow};
use crate::store::{self, StoreError};

/// Entries in an answer, where the client does not say.
const ENTRIES_DEFAULT: u16 = 100;
/// Most entries in an answer.
const ENTRIES_MAX: u16 = 1_000;
/// What an entry takes beside its payload, and a key, in bytes.
const ENTRY_BYTES: usize = 1_024;
const KEY_BYTES: usize = 512;
/// How often an answer is there while it is made: as rows, and as JSON, which needs two bytes for many
/// a byte of a payload.
const COPIES: usize = 3;

type Answer = Result<Response, Problem>;

/// What the largest page takes while it is made: [`read::entries`] gives no more.
pub fn page_bytes(limits: &Limits) -> usize {
    let entries = usize::from(ENTRIES_MAX) * ENTRY_BYTES;
    COPIES * (read::PAGE_BYTES + limits.max_payload_bytes() + entries)
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

/// How long a client waits for what becomes of a queued submission.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<u64>,
}

pub(super) async fn submission(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, item }: InWorkspace,
    wait: Result<Query<Wait>, QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let bad = format!("wait is a number of seconds from 0 to {}", prefer::MOST);
    let bad = || Problem::new(Kind::BadRequest, bad.as_str());
    let Query(Wait { wait }) = wait.map_err(|_| bad())?;
    let wait = Some(wait.unwrap_or(0)).filter(|wait| *wait <= prefer::MOST).ok_or_else(bad)?;
    let not_found = || {
        let detail = if app.queue.is_some() {
            "no submission of this hash is recorded here, or refused: one that was answered with 202 \
             waits in the queue still"
        } else {
            "no submission of this hash is recorded here"
        };
        Problem::new(Kind::NotFound, detail)
    };
    let hash = Digest::parse(&item).map_err(|_| not_found())?;
    let mut found = read::submission(&app.readers, &workspace, &hash).await?;
    if found.is_none() {
        if let Some(problem) = store::queue::refusal(&app.readers, &workspace, &hash).await? {
            return Err(queued::refused(&problem));
        }
        let queue = app.queue.as_ref().filter(|_| wait > 0).ok_or_else(not_found)?;
        let patience = Duration::from_secs(wait);
        match queue.outcomes.wait(&workspace, &hash, app.clock.now(), patience).await {
            None => {}
            Some(Outcome::Recorded(recorded)) => found = Some(recorded),
            Some(Outcome::Refused(problem)) => return Err(queued::refused(&problem)),
        }
    }
    let recorded = found.ok_or_else(not_found)?;
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
    let most = app.limits.max_payload_bytes() + ENTRY_BYTES;
    let claim = app.room.claim(&workspace, COPIES * most).await?;
    let row = read::event(&app.readers, &workspace, event_id).await?.ok_or_else(not_found)?;
    if row.is_in_archive() {
        return Err(in_archive(&row)?);
    }
    claim.answer(&EntryAnswer::new(row)?)
}

/// Where the payload of an archived entry is: in which hour's chunks, under which seq.
fn in_archive(row: &EntryRow) -> Result<Problem, StoreError> {
    let corrupt = |column| StoreError::Corrupt { column };
    let at = Micros::new(row.recorded_at).ok_or(corrupt("entries.recorded_at"))?;
    let seq = u64::try_from(row.seq).ok().and_then(Seq::new).ok_or(corrupt("entries.seq"))?;
    let hour = at.hour();
    let detail = format!(
        "the payload is not here any more: it is in the archive, in the chunk of the hour {hour} that \
         holds seq {seq}, for as long as that is kept"
    );
    Ok(Problem::new(Kind::InArchive, detail).at_seq(seq).of_hour(hour))
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
    let most = usize::from(limit).saturating_mul(app.limits.max_payload_bytes() + ENTRY_BYTES);
    let most = COPIES.saturating_mul(most).min(page_bytes(&app.limits));
    let claim = app.room.claim(&workspace, most).await?;
    let rows = read::entries(&app.readers, &workspace, from, limit).await?;
    let last = rows.last().and_then(|row| u64::try_from(row.seq).ok());
    let next_seq = last.filter(|last| *last < head.last_seq.get()).map(|last| last + 1);
    let entries = rows.into_iter().map(EntryAnswer::new).collect::<Result<_, _>>()?;
    claim.answer(&EntriesAnswer { entries, next_seq })
}

pub(super) async fn keys(
    State(app): State<Arc<App>>,
    InWorkspace { workspace, .. }: InWorkspace,
) -> Answer {
    let count = read::key_count(&app.readers, &workspace).await?;
    let claim = app.room.claim(&workspace, count.saturating_mul(COPIES * KEY_BYTES)).await?;
    let keys = read::keys(&app.readers, &workspace).await?;
    // Every workspace has the keys that it was created with.
    if keys.is_empty() {
        return Err(no_workspace());
    }
    let keys = keys.into_iter().map(|(key, record)| KeyAnswer::new(&key, record)).collect();
    claim.answer(&KeysAnswer { keys })
}

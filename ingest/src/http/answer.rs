//! The shapes of answers.
//!
//! Here: what each JSON answer holds. A payload stands in a JSON string: it is UTF-8, so the string
//! read back is the exact bytes. Not here: problems (see [`super::error`]).

use ledger::chain::KeyRecord;
use ledger::hash::Digest;
use ledger::key::{PublicKey, Signature};
use ledger::names::{EventId, Seq, Workspace};
use ledger::time::Micros;
use serde::Serialize;

use crate::chain::Recorded;
use crate::chain::plan::Head;
use crate::store::StoreError;
use crate::store::read::EntryRow;

/// `GET /v1/ledger`: all that a client needs to make a statement and to check a receipt.
#[derive(Serialize)]
pub(super) struct LedgerAnswer<'a> {
    pub(super) origin: &'a str,
    pub(super) receipt_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seal_key: Option<String>,
    pub(super) limits: LimitsAnswer,
}

#[derive(Serialize)]
pub(super) struct LimitsAnswer {
    pub(super) max_payload_bytes: usize,
    pub(super) max_events: usize,
    pub(super) max_body_bytes: usize,
}

/// A submission that is recorded.
#[derive(Serialize)]
pub(super) struct SubmissionAnswer {
    first_seq: u64,
    last_seq: u64,
    recorded_at: String,
    submission: String,
    receipt: String,
}

impl SubmissionAnswer {
    pub(super) fn new(recorded: Recorded, hash: Digest, receipt: String) -> Self {
        Self {
            first_seq: recorded.first_seq.get(),
            last_seq: recorded.last_seq.get(),
            recorded_at: recorded.recorded_at.to_string(),
            submission: hash.to_string(),
            receipt,
        }
    }
}

/// The newest entry of a workspace.
#[derive(Serialize)]
pub(super) struct HeadAnswer<'a> {
    workspace: &'a str,
    last_seq: u64,
    recorded_at: String,
    link: String,
    note: String,
}

impl<'a> HeadAnswer<'a> {
    pub(super) fn new(workspace: &'a Workspace, head: Head, note: String) -> Self {
        Self {
            workspace: workspace.as_str(),
            last_seq: head.last_seq.get(),
            recorded_at: head.recorded_at.to_string(),
            link: head.link.to_string(),
            note,
        }
    }
}

/// A key of a workspace.
#[derive(Serialize)]
pub(super) struct KeyAnswer {
    key: String,
    role: &'static str,
    actor_id: Option<String>,
    registered_seq: u64,
    revoked_seq: Option<u64>,
    compromised_since: Option<String>,
}

impl KeyAnswer {
    pub(super) fn new(key: &PublicKey, record: KeyRecord) -> Self {
        Self {
            key: key.to_string(),
            role: record.role.as_str(),
            actor_id: record.actor_id,
            registered_seq: record.registered.get(),
            revoked_seq: record.revoked.map(Seq::get),
            compromised_since: record.compromised_since.map(|at| at.to_string()),
        }
    }
}

/// The keys of a workspace.
#[derive(Serialize)]
pub(super) struct KeysAnswer {
    pub(super) keys: Vec<KeyAnswer>,
}

/// Entries in the order of their seqs.
#[derive(Serialize)]
pub(super) struct EntriesAnswer {
    pub(super) entries: Vec<EntryAnswer>,
    /// Where to go on; absent where the chain ends here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_seq: Option<u64>,
}

/// An entry: its payload, and every field that leaf, link and statement are made of.
#[derive(Serialize)]
pub(super) struct EntryAnswer {
    seq: u64,
    recorded_at: String,
    event_id: String,
    payload: String,
    payload_digest: String,
    link: String,
    submission: String,
    submission_index: u64,
    submission_count: u64,
    counter: u64,
    public_key: String,
    signature: String,
}

impl EntryAnswer {
    pub(super) fn new(row: EntryRow) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt { column };
        let hex = |bytes: &[u8], column| {
            let digest = Digest::from_slice(bytes).ok_or(corrupt(column))?;
            Ok::<_, StoreError>(digest.to_string())
        };
        let number = |value: i64, column| u64::try_from(value).map_err(|_| corrupt(column));
        let recorded_at = Micros::new(row.recorded_at).ok_or(corrupt("entries.recorded_at"))?;
        let event_id = EventId::from_bytes(row.event_id.into_bytes());
        let key = PublicKey::from_bytes(&row.public_key);
        let signature = row.signature.try_into().map(Signature::from_bytes);
        Ok(Self {
            seq: number(row.seq, "entries.seq")?,
            recorded_at: recorded_at.to_string(),
            event_id: event_id.map_err(|_| corrupt("entries.event_id"))?.to_string(),
            payload: String::from_utf8(row.payload).map_err(|_| corrupt("entries.payload"))?,
            payload_digest: hex(&row.payload_digest, "entries.payload_digest")?,
            link: hex(&row.link, "entries.link")?,
            submission: hex(&row.submission_hash, "submissions.submission_hash")?,
            submission_index: number(row.seq - row.first_seq, "submissions.first_seq")?,
            submission_count: number(row.event_count.into(), "submissions.event_count")?,
            counter: number(row.counter, "submissions.counter")?,
            public_key: key.map_err(|_| corrupt("submissions.public_key"))?.to_string(),
            signature: signature.map_err(|_| corrupt("submissions.signature"))?.to_string(),
        })
    }
}

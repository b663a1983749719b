//! The shapes of answers.
//!
//! Here: what each JSON answer holds. A payload stands in a JSON string: it is UTF-8, so the string
//! read back is the exact bytes; one that is erased or archived is null. Not here: problems (see [`super::error`]).

use ledger::chain::KeyRecord;
use ledger::hash::Digest;
use ledger::key::{PublicKey, Signature};
use ledger::names::{EventId, Seq, Workspace};
use ledger::time::Micros;
use serde::Serialize;
use utoipa::ToSchema;

use crate::chain::Recorded;
use crate::chain::plan::Head;
use crate::store::StoreError;
use crate::store::read::EntryRow;

/// `GET /v1/ledger`: all that a client needs to make a statement and to check a receipt.
#[derive(Serialize, ToSchema)]
pub(super) struct LedgerAnswer<'a> {
    /// The ledger's name, which every statement holds.
    pub(super) origin: &'a str,
    /// Checks receipts and heads: a verifier key of signed notes.
    pub(super) receipt_key: String,
    /// Checks what the archive holds, where the operator shows it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) seal_key: Option<String>,
    /// What a submission may have.
    pub(super) limits: LimitsAnswer,
}

/// What a submission may have.
#[derive(Serialize, ToSchema)]
pub(super) struct LimitsAnswer {
    /// Largest event.
    pub(super) max_payload_bytes: usize,
    /// Most events.
    pub(super) max_events: usize,
    /// Largest body, once it is expanded.
    pub(super) max_body_bytes: usize,
}

/// A submission that is recorded.
#[derive(Serialize, ToSchema)]
pub(super) struct SubmissionAnswer {
    /// Seq of its first event.
    first_seq: u64,
    /// Seq of its last event.
    last_seq: u64,
    /// When it was recorded: RFC 3339 in UTC with six fraction digits.
    recorded_at: String,
    /// The submission hash, in hex.
    submission: String,
    /// The signed note, byte for byte: what to hold against the ledger.
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
#[derive(Serialize, ToSchema)]
pub(super) struct HeadAnswer<'a> {
    /// The workspace.
    workspace: &'a str,
    /// Seq of its newest entry.
    last_seq: u64,
    /// When that was recorded.
    recorded_at: String,
    /// The link of that entry, in hex.
    link: String,
    /// The same as a signed note.
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
#[derive(Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    /// The public key.
    key: String,
    /// What it may do.
    role: &'static str,
    /// The one actor that it speaks for; null for any.
    actor_id: Option<String>,
    /// Where it was registered.
    registered_seq: u64,
    /// Where it was revoked; null while it is in force.
    revoked_seq: Option<u64>,
    /// From when on it may have been in other hands; null where nobody said so.
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
#[derive(Serialize, ToSchema)]
pub(super) struct KeysAnswer {
    /// In the order of their bytes.
    pub(super) keys: Vec<KeyAnswer>,
}

/// Entries in the order of their seqs.
#[derive(Serialize, ToSchema)]
pub(super) struct EntriesAnswer {
    /// The entries.
    pub(super) entries: Vec<EntryAnswer>,
    /// Where to go on; absent where the chain ends here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next_seq: Option<u64>,
}

/// An entry: its payload, and every field that leaf, link and statement are made of.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryAnswer {
    /// Its place in the chain.
    seq: u64,
    /// When it was recorded.
    recorded_at: String,
    /// The event's UUID.
    event_id: String,
    /// The exact bytes that were signed, as the UTF-8 of this text; null where they are erased, or in
    /// the archive alone.
    payload: Option<String>,
    /// True where the payload is in the archive alone; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    archived: Option<bool>,
    /// Seq of the entry that erased the payload; absent where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    erased_by: Option<u64>,
    /// The digest of the payload, in hex.
    payload_digest: String,
    /// Its link, in hex.
    link: String,
    /// The submission hash, in hex.
    submission: String,
    /// Its place in the submission, from 0.
    submission_index: u64,
    /// Events in the submission.
    submission_count: u64,
    /// The agent's own count; 0 for none.
    counter: u64,
    /// Who signed.
    public_key: String,
    /// The signature, in base64.
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
        let archived = row.is_in_archive().then_some(true);
        let payload = row.payload.map(String::from_utf8);
        let erased_by = row.erased_by.map(|by| number(by, "entries.erased_by"));
        let signature = row.signature.try_into().map(Signature::from_bytes);
        Ok(Self {
            seq: number(row.seq, "entries.seq")?,
            recorded_at: recorded_at.to_string(),
            event_id: event_id.map_err(|_| corrupt("entries.event_id"))?.to_string(),
            payload: payload.transpose().map_err(|_| corrupt("entries.payload"))?,
            archived,
            erased_by: erased_by.transpose()?,
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

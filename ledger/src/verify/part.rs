//! What a chunk came to, as a line of text: so that chunks may be checked by several processes, and what they come to
//! together by one.
//!
//! [`ChunkOutcome`] is all that the checks along a chain need of a chunk, so nothing is lost by keeping it: an audit
//! that takes kept outcomes finds what one finds that has checked each chunk itself (`docs/spec/parts.md`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::chain::{Acts, ContextError, LedgerEvent, Role};
use crate::columns;
use crate::key::PublicKey;
use crate::names::{EventId, Seq, Workspace};
use crate::time::{Day, Hour, Micros};

use super::chunk::{ChunkOutcome, Submitted};
use super::claims::Claims;
use super::days::Days;
use super::finding::{Check, Finding, Place};
use super::ids::IdAt;
use super::text::Text;

/// Bytes of an id and its seq.
const ID_BYTES: usize = 24;

/// A line that is not what a chunk came to.
#[derive(Debug, thiserror::Error)]
#[error("it is not what a chunk came to: {0}")]
pub struct PartError(String);

impl From<serde_json::Error> for PartError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    rows: u64,
    payload_bytes: u64,
    broken: bool,
    findings: Vec<KeptFinding>,
    submissions: Vec<KeptSubmission>,
    claims: Claims,
    days: Option<Vec<(Text<Day>, bool)>>,
    withheld: Vec<(Text<EventId>, u64)>,
    /// Each id with its seq, big-endian, in order: base64 of 24 bytes each.
    ids: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptFinding {
    check: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    log_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    workspace: Option<Text<Workspace>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hour: Option<Text<Hour>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    column: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    detail: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptSubmission {
    first: u64,
    key: Text<PublicKey>,
    counter: u64,
    events: usize,
    #[serde(skip_serializing_if = "is_zero", default)]
    withheld: usize,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ledger_event: Option<KeptEvent>,
    /// Each distinct actor, with the place of the first event that names it.
    actors: Vec<(usize, String)>,
    /// The type of an event whose context is not what it asks for, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    context_error: Option<(String, String)>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum KeptEvent {
    WorkspaceCreated { root_keys: Vec<Text<PublicKey>> },
    KeyRegistered { key: Text<PublicKey>, role: Text<Role>, actor_id: Option<String> },
    KeyRevoked { key: Text<PublicKey>, reason: String, compromised_since: Option<Text<Micros>> },
    PayloadErased { event_ids: Vec<Text<EventId>>, reason: String },
}

impl ChunkOutcome {
    /// As one line of JSON, without its end. `None` where only the digest of the object was checked.
    pub fn to_line(&self) -> Option<String> {
        if self.outside {
            return None;
        }
        let days = self.days.known();
        let kept = Kept {
            rows: self.rows,
            payload_bytes: self.payload_bytes,
            broken: self.broken,
            findings: self.findings.iter().map(KeptFinding::of).collect(),
            submissions: self.submissions.iter().map(KeptSubmission::of).collect(),
            claims: self.claims,
            days: days.map(|days| days.iter().map(|(day, shown)| (Text(*day), *shown)).collect()),
            withheld: self.withheld.iter().map(|(id, seq)| (Text(*id), seq.get())).collect(),
            ids: ids_text(&self.ids),
        };
        serde_json::to_string(&kept).ok()
    }

    /// Reads what [`ChunkOutcome::to_line`] wrote.
    pub fn from_line(line: &[u8]) -> Result<Self, PartError> {
        let kept: Kept = serde_json::from_slice(line)?;
        let days = kept.days.map(|days| days.into_iter().map(|(Text(day), shown)| (day, shown)));
        let withheld = |(Text(id), at): (Text<EventId>, u64)| Ok((id, seq(at)?));
        let findings = kept.findings.into_iter().map(KeptFinding::restore);
        let submissions = kept.submissions.into_iter().map(KeptSubmission::restore);
        Ok(Self {
            findings: findings.collect::<Result<_, _>>()?,
            rows: kept.rows,
            payload_bytes: kept.payload_bytes,
            broken: kept.broken,
            outside: false,
            submissions: submissions.collect::<Result<_, _>>()?,
            claims: kept.claims,
            days: Days::from_known(days),
            ids: read_ids(&kept.ids)?,
            withheld: kept.withheld.into_iter().map(withheld).collect::<Result<_, PartError>>()?,
        })
    }
}

fn seq(number: u64) -> Result<Seq, PartError> {
    Seq::new(number).ok_or_else(|| PartError(format!("{number} is no seq")))
}

fn ids_text(ids: &[IdAt]) -> String {
    let mut bytes = Vec::with_capacity(ids.len().saturating_mul(ID_BYTES));
    for (id, seq) in ids {
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&seq.get().to_be_bytes());
    }
    STANDARD.encode(bytes)
}

fn read_ids(text: &str) -> Result<Vec<IdAt>, PartError> {
    let wrong = || PartError("`ids` are not ids in order".to_owned());
    let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
    let (ids, []) = bytes.as_chunks::<ID_BYTES>() else { return Err(wrong()) };
    let id = |bytes: &[u8; ID_BYTES]| {
        let id = bytes.first_chunk().and_then(|id| EventId::from_bytes(*id).ok());
        id.zip(bytes.last_chunk().and_then(|seq| Seq::new(u64::from_be_bytes(*seq))))
    };
    let ids = ids.iter().map(id).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    if ids.is_sorted() { Ok(ids) } else { Err(wrong()) }
}

impl KeptFinding {
    fn of(finding: &Finding) -> Self {
        let Finding { check, place, expected, found, detail } = finding.clone();
        let Place { object, log_index, workspace, hour, seq, column } = place;
        Self {
            check: check.id().to_owned(),
            object,
            log_index,
            workspace: workspace.map(Text),
            hour: hour.map(Text),
            seq,
            column: column.map(str::to_owned),
            expected,
            found,
            detail,
        }
    }

    fn restore(self) -> Result<Finding, PartError> {
        let unknown = |what: &str| PartError(format!("`{what}` is not known"));
        let column = |text: String| columns::named(&text).ok_or_else(|| unknown(&text));
        let check = Check::parse(&self.check).ok_or_else(|| unknown(&self.check))?;
        let place = Place {
            object: self.object,
            log_index: self.log_index,
            workspace: self.workspace.map(|Text(workspace)| workspace),
            hour: self.hour.map(|Text(hour)| hour),
            seq: self.seq,
            column: self.column.map(column).transpose()?,
        };
        let (expected, found, detail) = (self.expected, self.found, self.detail);
        Ok(Finding { check, place, expected, found, detail })
    }
}

impl KeptSubmission {
    fn of(submitted: &Submitted) -> Self {
        let Submitted { first, key, counter, acts, context_error } = submitted;
        let Acts { count, withheld, ledger_event, actors } = acts.clone();
        let context_error =
            context_error.clone().map(|ContextError { event_type, reason }| (event_type, reason));
        Self {
            first: first.get(),
            key: Text(*key),
            counter: *counter,
            events: count,
            withheld,
            ledger_event: ledger_event.as_ref().map(KeptEvent::of),
            actors,
            context_error,
        }
    }

    fn restore(self) -> Result<Submitted, PartError> {
        let context_error =
            self.context_error.map(|(event_type, reason)| ContextError { event_type, reason });
        let acts = Acts {
            count: self.events,
            withheld: self.withheld,
            ledger_event: self.ledger_event.map(KeptEvent::restore),
            actors: self.actors,
        };
        let Self { first, key: Text(key), counter, .. } = self;
        Ok(Submitted { first: seq(first)?, key, counter, acts, context_error })
    }
}

impl KeptEvent {
    fn of(event: &LedgerEvent) -> Self {
        match event.clone() {
            LedgerEvent::WorkspaceCreated { root_keys } => {
                Self::WorkspaceCreated { root_keys: root_keys.into_iter().map(Text).collect() }
            }
            LedgerEvent::KeyRegistered { key, role, actor_id } => {
                Self::KeyRegistered { key: Text(key), role: Text(role), actor_id }
            }
            LedgerEvent::KeyRevoked { key, reason, compromised_since } => Self::KeyRevoked {
                key: Text(key),
                reason,
                compromised_since: compromised_since.map(Text),
            },
            LedgerEvent::PayloadErased { event_ids, reason } => {
                Self::PayloadErased { event_ids: event_ids.into_iter().map(Text).collect(), reason }
            }
        }
    }

    fn restore(self) -> LedgerEvent {
        match self {
            Self::WorkspaceCreated { root_keys } => {
                let root_keys = root_keys.into_iter().map(|Text(key)| key).collect();
                LedgerEvent::WorkspaceCreated { root_keys }
            }
            Self::KeyRegistered { key: Text(key), role: Text(role), actor_id } => {
                LedgerEvent::KeyRegistered { key, role, actor_id }
            }
            Self::KeyRevoked { key: Text(key), reason, compromised_since } => {
                let compromised_since = compromised_since.map(|Text(since)| since);
                LedgerEvent::KeyRevoked { key, reason, compromised_since }
            }
            Self::PayloadErased { event_ids, reason } => {
                let event_ids = event_ids.into_iter().map(|Text(id)| id).collect();
                LedgerEvent::PayloadErased { event_ids, reason }
            }
        }
    }
}

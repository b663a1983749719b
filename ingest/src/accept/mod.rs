//! From the bytes of a request to a submission, or to a refusal.
//!
//! Here, pure: the three headers ([`head`]), the payloads in a body ([`body`]), and the checks that
//! need no database; for clients that share a secret, [`secrets`], what the custodian signs for them
//! ([`custody`]), and CloudEvents ([`cloudevents`]). Not here: whether the key may sign and what was
//! recorded before (see [`crate::chain::plan`]), and status codes (see [`crate::http::error`]).

pub mod body;
pub mod cloudevents;
pub mod custody;
pub mod head;
pub mod secrets;

use std::collections::BTreeMap;

use bytes::Bytes;
use ledger::chain::{Acts, LedgerEvent, PAYLOAD_ERASED};
use ledger::hash::Digest;
use ledger::key::{PublicKey, Signature, SignatureError};
use ledger::limits::{
    PAYLOAD_BYTES_CEILING, PAYLOAD_BYTES_DEFAULT, SUBMISSION_EVENTS_CEILING,
    SUBMISSION_EVENTS_DEFAULT,
};
use ledger::names::{EventId, Origin, Workspace};
use ledger::payload::{self, PayloadError, Rules, scan};
use ledger::submission::Statement;

pub use body::Form;
pub use head::Head;

/// Most refused events that one answer names: an agent mends the first ones first.
const ERRORS: usize = 20;

/// What an operator may lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    max_payload_bytes: usize,
    max_events: usize,
}

impl Limits {
    /// Takes limits within those of the format; `None` for 0 and for more than any ledger takes.
    pub fn new(max_payload_bytes: usize, max_events: usize) -> Option<Self> {
        let fits = (1..=PAYLOAD_BYTES_CEILING).contains(&max_payload_bytes)
            && (1..=SUBMISSION_EVENTS_CEILING).contains(&max_events);
        fits.then_some(Self { max_payload_bytes, max_events })
    }

    /// Largest payload, in bytes.
    pub fn max_payload_bytes(&self) -> usize {
        self.max_payload_bytes
    }

    /// Most events in a submission.
    pub fn max_events(&self) -> usize {
        self.max_events
    }

    /// Largest body, in bytes: room for the payloads, for what stands between them, and for the
    /// envelope.
    pub fn max_body_bytes(&self) -> usize {
        self.max_events * (self.max_payload_bytes + 2) + 1_024
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_payload_bytes: PAYLOAD_BYTES_DEFAULT, max_events: SUBMISSION_EVENTS_DEFAULT }
    }
}

/// What a submission is for: each has a route of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Creates the workspace that its one event names.
    Create,
    /// Sets a key of the workspace.
    SetKey(Workspace),
    /// Brings events to the workspace.
    Record(Workspace),
}

/// One event of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its UUID.
    pub event_id: EventId,
    /// `H(payload)`.
    pub payload_digest: Digest,
    /// The exact bytes that the agent sent.
    pub payload: Bytes,
}

/// A submission that is whole, well formed and signed by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The workspace that its events name.
    pub workspace: Workspace,
    /// Who signed, and how they count.
    pub head: Head,
    /// The name of the submission (FORMAT section 3).
    pub hash: Digest,
    /// What the rules of keys need to know of the events.
    pub acts: Acts,
    /// The events, in order; no two of one id.
    pub events: Vec<Event>,
}

impl Submission {
    /// The bytes of its payloads.
    pub fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.payload.len()).sum()
    }

    /// The key that signed.
    pub fn public_key(&self) -> &PublicKey {
        &self.head.public_key
    }

    /// Its signature.
    pub fn signature(&self) -> &Signature {
        &self.head.signature
    }
}

/// One event that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    /// Its place in the submission, from 0.
    pub index: usize,
    /// The member, as a JSON pointer; empty for the event as a whole.
    pub pointer: String,
    /// A stable code.
    pub reason: &'static str,
    /// What, where, and how to mend it.
    pub detail: String,
}

/// Why a request is no submission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The body as a whole cannot be read.
    #[error("{detail}")]
    Body {
        /// A stable code.
        reason: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// More events than a submission may have.
    #[error("the submission has {found} events, this ledger takes at most {max} at once")]
    TooManyEvents {
        /// Most events.
        max: usize,
        /// Events it has.
        found: usize,
    },
    /// Events that break a rule; the first ones, in order.
    #[error("{} of the events cannot be recorded, so none of them is", .0.len())]
    Events(Vec<EventError>),
    /// The events belong to another route.
    #[error("{0}")]
    WrongRoute(&'static str),
    /// The signature.
    #[error("{0}; what is signed is the statement of FORMAT section 3 for {1} at {2}")]
    Signature(SignatureError, Workspace, Origin),
}

/// Reads a submission, checks every rule that needs no database, and verifies its signature.
pub fn accept(
    origin: &Origin,
    purpose: &Purpose,
    head: Head,
    form: Form,
    body: &Bytes,
    limits: &Limits,
) -> Result<Submission, Refused> {
    let payloads = body::payloads(form, body, limits.max_events)?;
    let workspace = match purpose {
        Purpose::Create => body::named_workspace(body),
        Purpose::SetKey(workspace) | Purpose::Record(workspace) => Ok(workspace.clone()),
    }?;
    let (acts, events) = read(&workspace, payloads, limits)?;
    check_route(purpose, &acts)?;
    let digests: Vec<Digest> = events.iter().map(|event| event.payload_digest).collect();
    let statement = Statement::new(origin, &workspace, head.counter, &digests);
    let hash = statement
        .verify(&head.public_key, &head.signature)
        .map_err(|error| Refused::Signature(error, workspace.clone(), origin.clone()))?;
    Ok(Submission { workspace, head, hash, acts, events })
}

/// Reads payloads that were submitted to `workspace`: also what a client asks before it signs.
pub(crate) fn read(
    workspace: &Workspace,
    payloads: Vec<Bytes>,
    limits: &Limits,
) -> Result<(Acts, Vec<Event>), Refused> {
    let rules = Rules { max_bytes: limits.max_payload_bytes };
    let mut acts = Acts::new();
    let mut events = Vec::with_capacity(payloads.len());
    let mut places = BTreeMap::new();
    let mut errors = Vec::new();
    for (index, payload) in payloads.into_iter().enumerate() {
        match read_event(workspace, &payload, &rules, &mut acts) {
            Ok(event_id) => match places.insert(event_id, index) {
                None => {
                    events.push(Event { event_id, payload_digest: Digest::of(&payload), payload })
                }
                Some(first) => errors.push(EventError {
                    index,
                    pointer: "/event_id".to_owned(),
                    reason: "duplicate-event-id",
                    detail: format!("event {first} of this submission has the id {event_id} too"),
                }),
            },
            Err(error) => errors.push(EventError { index, ..error }),
        }
        if errors.len() == ERRORS {
            break;
        }
    }
    if errors.is_empty() { Ok((acts, events)) } else { Err(Refused::Events(errors)) }
}

fn read_event(
    workspace: &Workspace,
    payload: &[u8],
    rules: &Rules,
    acts: &mut Acts,
) -> Result<EventId, EventError> {
    if payload.is_empty() {
        return Err(EventError {
            index: 0,
            pointer: String::new(),
            reason: "blank-line",
            detail: "a blank line stands where an event should: remove it".to_owned(),
        });
    }
    let event = scan(payload, workspace, rules).map_err(EventError::from)?;
    acts.push(&event).map_err(|error| EventError {
        index: 0,
        pointer: "/context".to_owned(),
        reason: "bad-context",
        detail: error.to_string(),
    })?;
    check_named_once(&event)?;
    Ok(event.event_id)
}

/// The format lets an erasure name an event twice; whoever does has made a mistake.
fn check_named_once(event: &payload::Event<'_>) -> Result<(), EventError> {
    if event.event_type != PAYLOAD_ERASED {
        return Ok(());
    }
    // What could not be read was refused before.
    let Ok(Some(LedgerEvent::PayloadErased { event_ids, .. })) = LedgerEvent::read(event) else {
        return Ok(());
    };
    let mut places = BTreeMap::new();
    for (at, id) in event_ids.into_iter().enumerate() {
        if let Some(first) = places.insert(id, at) {
            return Err(EventError {
                index: 0,
                pointer: format!("/context/event_ids/{at}"),
                reason: "duplicate-event-id",
                detail: format!("{id} stands at /context/event_ids/{first} already"),
            });
        }
    }
    Ok(())
}

impl From<PayloadError> for EventError {
    fn from(error: PayloadError) -> Self {
        Self {
            index: 0,
            detail: error.to_string(),
            reason: error.reason.code(),
            pointer: error.pointer,
        }
    }
}

/// Each route takes its own events, so that an operator can later say who may use which.
fn check_route(purpose: &Purpose, acts: &Acts) -> Result<(), Refused> {
    match (purpose, acts.ledger_event()) {
        (Purpose::Create, Some(LedgerEvent::WorkspaceCreated { .. }))
        | (
            Purpose::SetKey(_),
            Some(LedgerEvent::KeyRegistered { .. } | LedgerEvent::KeyRevoked { .. }),
        ) => Ok(()),
        (Purpose::Create, _) => {
            Err(Refused::WrongRoute("a workspace is created by one ledger.workspace_created event"))
        }
        (Purpose::SetKey(_), _) => Err(Refused::WrongRoute(
            "a key is set by one ledger.key_registered or ledger.key_revoked event",
        )),
        (Purpose::Record(_), Some(LedgerEvent::WorkspaceCreated { .. })) => {
            Err(Refused::WrongRoute("workspaces are created at POST /v1/workspaces"))
        }
        (Purpose::Record(_), _) => Ok(()),
    }
}

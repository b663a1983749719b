//! Events of clients that share a secret, signed by the custodian for them.
//!
//! Here, pure: events of one or more workspaces become submissions that the custodian key signs, in
//! order. The counter is 0 and Ed25519 is deterministic: the same events again are the same
//! submissions. Not here: who shares a secret (see [`super::secrets`]), and whether a workspace has
//! registered the key (see `http::hmac`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ledger::hash::Digest;
use ledger::key::SigningKey;
use ledger::limits::SUBMISSION_EVENTS_CEILING;
use ledger::names::{Origin, Workspace};
use ledger::payload::{Rules, scan};
use ledger::submission::{Counter, Statement};

use super::{ERRORS, EventError, Head, Limits, Refused, Submission, body, read};

/// A submission that the custodian signed, and where its events stand in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The submission.
    pub submission: Submission,
    /// The place of each of its events in the body, from 0.
    pub indexes: Vec<usize>,
}

/// Why the custodian signs nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSigned {
    /// The body or its events.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// An event of a workspace that the secret is not for.
    #[error("event {index} is of workspace `{workspace}`, which the secret `{secret}` is not for")]
    OtherWorkspace {
        /// The event's place, from 0.
        index: usize,
        /// Its workspace.
        workspace: Workspace,
        /// The name of the secret.
        secret: String,
    },
}

/// Most events in one body: what one submission may have at most, on any ledger.
pub const EVENTS: usize = SUBMISSION_EVENTS_CEILING;

/// The events of a body `{"events": [...]}`: each element's exact bytes.
pub fn payloads(body: &Bytes) -> Result<Vec<Bytes>, Refused> {
    body::payloads(body::Form::Json, body, EVENTS)
}

/// Splits events by workspace, those of each in their order, and signs them as its custodian.
pub fn sign(
    origin: &Origin,
    key: &SigningKey,
    payloads: &[Bytes],
    limits: &Limits,
    secret: (&str, &BTreeSet<Workspace>),
) -> Result<Vec<Part>, NotSigned> {
    let (secret, allowed) = secret;
    let mut parts = Vec::new();
    for (workspace, indexes) in by_workspace(payloads, allowed)? {
        if !allowed.contains(&workspace) {
            let index = indexes.first().copied().unwrap_or_default();
            return Err(NotSigned::OtherWorkspace { index, workspace, secret: secret.to_owned() });
        }
        for indexes in indexes.chunks(limits.max_events()) {
            parts.push((workspace.clone(), indexes.to_vec()));
        }
    }
    let copies = parts.len() > 1;
    let mut places = BTreeMap::new();
    let mut signed = Vec::with_capacity(parts.len());
    let mut errors = Vec::new();
    for (workspace, indexes) in parts {
        let payloads = indexes.iter().filter_map(|index| payloads.get(*index));
        // A submission that waits must not keep the whole body of which it is a part.
        let payloads =
            payloads.map(|p| if copies { Bytes::copy_from_slice(p) } else { p.clone() }).collect();
        match sign_part(origin, key, workspace.clone(), payloads, limits) {
            Ok(submission) => {
                let ids = submission.events.iter().map(|event| event.event_id);
                for (event_id, index) in ids.zip(&indexes) {
                    if let Some(first) = places.insert((workspace.clone(), event_id), *index) {
                        errors.push(EventError {
                            index: *index,
                            pointer: "/event_id".to_owned(),
                            reason: "duplicate-event-id",
                            detail: format!("event {first} of this body has the id {event_id} too"),
                        });
                    }
                }
                signed.push(Part { submission, indexes });
            }
            Err(Refused::Events(found)) => errors.extend(found.into_iter().map(|error| {
                let index = indexes.get(error.index).copied().unwrap_or_default();
                EventError { index, ..error }
            })),
            Err(refused) => return Err(refused.into()),
        }
    }
    if errors.is_empty() {
        return Ok(signed);
    }
    errors.sort_by_key(|error| error.index);
    errors.truncate(ERRORS);
    Err(Refused::Events(errors).into())
}

/// The workspaces of the events, in the order of their first ones, each with its events' places.
fn by_workspace(
    payloads: &[Bytes],
    allowed: &BTreeSet<Workspace>,
) -> Result<Vec<(Workspace, Vec<usize>)>, Refused> {
    let mut groups: Vec<(Workspace, Vec<usize>)> = Vec::new();
    let mut errors = Vec::new();
    for (index, payload) in payloads.iter().enumerate() {
        match body::named_workspace(payload) {
            Ok(workspace) => match groups.iter_mut().find(|(known, _)| *known == workspace) {
                Some((_, indexes)) => indexes.push(index),
                None => groups.push((workspace, vec![index])),
            },
            Err(refused) if errors.len() < ERRORS => {
                errors.push(EventError { index, ..unnamed(payload, allowed, &refused) });
            }
            Err(_) => break,
        }
    }
    if errors.is_empty() { Ok(groups) } else { Err(Refused::Events(errors)) }
}

/// What is wrong with an event that names no workspace: the payload's own rules say it best.
fn unnamed(payload: &[u8], allowed: &BTreeSet<Workspace>, refused: &Refused) -> EventError {
    let rules = Rules::ceiling();
    let scanned = allowed.first().map(|workspace| scan(payload, workspace, &rules));
    match scanned {
        Some(Err(error)) => error.into(),
        Some(Ok(_)) | None => EventError {
            index: 0,
            pointer: "/workspace_id".to_owned(),
            reason: "workspace-name",
            detail: refused.to_string(),
        },
    }
}

fn sign_part(
    origin: &Origin,
    key: &SigningKey,
    workspace: Workspace,
    payloads: Vec<Bytes>,
    limits: &Limits,
) -> Result<Submission, Refused> {
    let (acts, events) = read(&workspace, payloads, limits)?;
    if acts.ledger_event().is_some() {
        return Err(Refused::WrongRoute(
            "ledger. events are signed by a root key of the workspace, never by its custodian",
        ));
    }
    let digests: Vec<Digest> = events.iter().map(|event| event.payload_digest).collect();
    let statement = Statement::new(origin, &workspace, Counter::NONE, &digests);
    let signature = key.sign(statement.as_str().as_bytes());
    let public_key = key.public();
    let hash = statement.submission_hash(public_key.as_bytes(), &signature);
    let head = Head { public_key, signature, counter: Counter::NONE };
    Ok(Submission { workspace, head, hash, acts, events })
}

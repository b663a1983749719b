//! The key state of one workspace: who may sign the next submission (FORMAT section 6).
//!
//! Here: the events that set keys, the rules for signing, the counters. The ingest service and the
//! verifier call the same functions. Not here: signatures themselves (see [`crate::submission`]).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::key::PublicKey;
use crate::limits::{ROOT_KEYS, TEXT_BYTES};
use crate::names::{EventId, Seq};
use crate::payload::{Event, occurred_at};
use crate::time::Micros;

/// What event types reserved for the ledger start with.
pub const RESERVED: &str = "ledger.";
/// The type of the first event of every chain.
pub const WORKSPACE_CREATED: &str = "ledger.workspace_created";
/// The type of an event that brings a key into force.
pub const KEY_REGISTERED: &str = "ledger.key_registered";
/// The type of an event that takes a key out of force.
pub const KEY_REVOKED: &str = "ledger.key_revoked";
/// The type of an event that allows payloads to be withheld (FORMAT section 10).
pub const PAYLOAD_ERASED: &str = "ledger.payload_erased";
/// What stands in the `event_type` column of a withheld payload (FORMAT section 10).
pub const ERASED: &str = "ledger.erased";

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Signs `ledger.` events and everything else.
    Root,
    /// Signs everything but `ledger.` events.
    Agent,
    /// As an agent; held by the service for clients that only share a secret.
    Custodian,
}

impl Role {
    /// The role's name in events and columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Agent => "agent",
            Self::Custodian => "custodian",
        }
    }

    /// Reads the role's name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Root, Self::Agent, Self::Custodian].into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event that the ledger itself acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEvent {
    /// The first event of a chain.
    WorkspaceCreated {
        /// One to eight keys, one of which signs.
        root_keys: Vec<PublicKey>,
    },
    /// A key comes into force from the next entry on.
    KeyRegistered {
        /// The key.
        key: PublicKey,
        /// What it may do.
        role: Role,
        /// The one actor it may speak for; any where absent.
        actor_id: Option<String>,
    },
    /// A key goes out of force with this entry.
    KeyRevoked {
        /// The key.
        key: PublicKey,
        /// Why, in words.
        reason: String,
        /// From when on others may have held the key, where that is known.
        compromised_since: Option<Micros>,
    },
    /// Payloads may be withheld (FORMAT section 10).
    PayloadErased {
        /// The events whose payloads may be null.
        event_ids: Vec<EventId>,
        /// Why, in words.
        reason: String,
    },
}

/// The `context` of a `ledger.` event is not what its type asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`context` of {event_type}: {reason}")]
pub struct ContextError {
    /// The event's type.
    pub event_type: String,
    /// What is wrong, and what is expected.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreatedContext {
    root_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisteredContext {
    key: String,
    // As text: serde would also read an enum from a map, which the format does not know.
    role: String,
    actor_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokedContext {
    key: String,
    reason: String,
    compromised_since: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErasedContext {
    event_ids: Vec<String>,
    reason: String,
}

impl LedgerEvent {
    /// Reads the `context` of a `ledger.` event; `None` for every other type.
    pub fn read(event: &Event<'_>) -> Result<Option<Self>, ContextError> {
        if !event.event_type.starts_with(RESERVED) {
            return Ok(None);
        }
        let fail =
            |reason: String| ContextError { event_type: event.event_type.to_string(), reason };
        let context = event.context.ok_or_else(|| fail("it is required".to_owned()))?;
        let key = |text: &str| PublicKey::parse(text).map_err(|e| fail(format!("{text}: {e}")));
        let read = match &*event.event_type {
            WORKSPACE_CREATED => {
                let CreatedContext { root_keys } =
                    serde_json::from_slice(context).map_err(|e| fail(e.to_string()))?;
                if root_keys.is_empty() || root_keys.len() > ROOT_KEYS {
                    return Err(fail(format!("`root_keys` has 1 to {ROOT_KEYS} keys")));
                }
                let root_keys = root_keys.iter().map(|k| key(k)).collect::<Result<Vec<_>, _>>()?;
                let mut distinct = root_keys.clone();
                distinct.sort_unstable();
                distinct.dedup();
                if distinct.len() != root_keys.len() {
                    return Err(fail("`root_keys` names a key twice".to_owned()));
                }
                Self::WorkspaceCreated { root_keys }
            }
            KEY_REGISTERED => {
                let RegisteredContext { key: text, role, actor_id } =
                    serde_json::from_slice(context).map_err(|e| fail(e.to_string()))?;
                if actor_id.as_ref().is_some_and(|actor| actor.len() > TEXT_BYTES) {
                    return Err(fail(format!("`actor_id` has at most {TEXT_BYTES} bytes")));
                }
                let role = Role::parse(&role)
                    .ok_or_else(|| fail("`role` is root, agent or custodian".to_owned()))?;
                Self::KeyRegistered { key: key(&text)?, role, actor_id }
            }
            KEY_REVOKED => {
                let RevokedContext { key: text, reason, compromised_since } =
                    serde_json::from_slice(context).map_err(|e| fail(e.to_string()))?;
                let since = compromised_since.map(|text| {
                    occurred_at(&text).map_err(|e| fail(format!("`compromised_since`: {e}")))
                });
                Self::KeyRevoked { key: key(&text)?, reason, compromised_since: since.transpose()? }
            }
            PAYLOAD_ERASED => {
                let ErasedContext { event_ids, reason } =
                    serde_json::from_slice(context).map_err(|e| fail(e.to_string()))?;
                let event_ids = event_ids
                    .iter()
                    .map(|id| EventId::parse(id).map_err(|e| fail(format!("`event_ids`: {e}"))))
                    .collect::<Result<Vec<_>, _>>()?;
                if event_ids.is_empty() {
                    return Err(fail("`event_ids` names no event".to_owned()));
                }
                Self::PayloadErased { event_ids, reason }
            }
            other => {
                return Err(fail(format!("`{other}` is a reserved type with no meaning")));
            }
        };
        Ok(Some(read))
    }
}

/// What the rules need to know of a submission's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acts {
    pub(crate) count: usize,
    pub(crate) withheld: usize,
    pub(crate) ledger_event: Option<LedgerEvent>,
    // Each distinct actor with the place of the first event that names it: most submissions name
    // one, so that a thousand events cost one string.
    pub(crate) actors: Vec<(usize, String)>,
}

impl Acts {
    /// No event yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next event of the submission.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), ContextError> {
        let ledger_event = LedgerEvent::read(event)?;
        self.ledger_event = self.ledger_event.take().or(ledger_event);
        if let Some(actor) = &event.actor_id
            && self.actors.iter().all(|(_, known)| known != actor)
        {
            self.actors.push((self.count, actor.to_string()));
        }
        self.count += 1;
        Ok(())
    }

    /// Adds an event whose payload is withheld: what it said can no longer be checked.
    pub fn push_withheld(&mut self) {
        self.count += 1;
        self.withheld += 1;
    }

    /// Whether no event's payload is there.
    pub fn is_withheld(&self) -> bool {
        self.withheld == self.count
    }

    /// Events in the submission.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The event that the ledger itself acts on; the first one, where there are several.
    pub fn ledger_event(&self) -> Option<&LedgerEvent> {
        self.ledger_event.as_ref()
    }
}

/// A key of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// What it may do.
    pub role: Role,
    /// The one actor it may speak for; any where absent.
    pub actor_id: Option<String>,
    /// The entry that registered it; it signs from the next one on.
    pub registered: Seq,
    /// The entry that revoked it; it signs up to the one before.
    pub revoked: Option<Seq>,
    /// From when on others may have held it, where that is known.
    pub compromised_since: Option<Micros>,
}

impl KeyRecord {
    /// Whether the key may sign the entry at `seq`.
    pub fn in_force(&self, seq: Seq) -> bool {
        self.registered < seq && self.revoked.is_none_or(|revoked| seq < revoked)
    }
}

/// Why a submission may not follow in a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The chain is empty, and this is not the event that opens one.
    #[error("the workspace does not exist: its first event is {WORKSPACE_CREATED}")]
    NoWorkspace,
    /// The chain is open already.
    #[error("the workspace exists: {WORKSPACE_CREATED} stands at seq 1 alone")]
    WorkspaceExists,
    /// The first event is not signed by one of the keys that it names.
    #[error("{WORKSPACE_CREATED} is signed by one of its own root_keys, not by {0}")]
    NotAFounder(PublicKey),
    /// A `ledger.` event shares its submission with others.
    #[error("a ledger. event stands alone in its submission, this one has {0} events")]
    NotAlone(usize),
    /// The signing key was never registered in this workspace.
    #[error("key {0} is not registered in this workspace")]
    UnknownKey(PublicKey),
    /// The signing key is out of force.
    #[error("key {key} was revoked at seq {revoked}")]
    RevokedKey {
        /// The key.
        key: PublicKey,
        /// The entry that revoked it.
        revoked: Seq,
    },
    /// The signing key comes into force only later.
    #[error("key {0} is not yet in force")]
    NotYetInForce(PublicKey),
    /// Only a root key signs `ledger.` events.
    #[error("only a root key signs ledger. events; {key} has the role {role}")]
    NotRoot {
        /// The key.
        key: PublicKey,
        /// Its role.
        role: Role,
    },
    /// A key bound to one actor signs for another.
    #[error("key {key} speaks for actor_id {bound:?} alone; event {index} names {found:?}")]
    OtherActor {
        /// The key.
        key: PublicKey,
        /// The actor it is bound to.
        bound: String,
        /// The event's place in the submission, from 0.
        index: usize,
        /// The actor it names.
        found: String,
    },
    /// The key to register is in force.
    #[error("key {0} is registered already")]
    AlreadyRegistered(PublicKey),
    /// The key to register was revoked once.
    #[error("key {0} was revoked: a revoked key cannot be registered again; make a new one")]
    Again(PublicKey),
    /// The key to revoke is not in force.
    #[error("key {0} is not in force, so it cannot be revoked")]
    NotInForce(PublicKey),
    /// The key to revoke is the last root key.
    #[error("key {0} is the last root key in force: register another one first")]
    LastRoot(PublicKey),
}

impl Refusal {
    /// A stable name of the reason, the same at ingest and in a verifier's finding.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoWorkspace => "no-workspace",
            Self::WorkspaceExists => "workspace-exists",
            Self::NotAFounder(_) => "not-a-founder",
            Self::NotAlone(_) => "not-alone",
            Self::UnknownKey(_) => "unknown-key",
            Self::RevokedKey { .. } => "revoked-key",
            Self::NotYetInForce(_) => "not-yet-in-force",
            Self::NotRoot { .. } => "not-root",
            Self::OtherActor { .. } => "other-actor",
            Self::AlreadyRegistered(_) => "already-registered",
            Self::Again(_) => "registered-again",
            Self::NotInForce(_) => "not-in-force",
            Self::LastRoot(_) => "last-root",
        }
    }
}

/// The keys of one workspace, as its chain has set them so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<PublicKey, KeyRecord>);

impl Keys {
    /// No key yet: the chain is empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes keys as a store has kept them.
    pub fn from_records(records: impl IntoIterator<Item = (PublicKey, KeyRecord)>) -> Self {
        Self(records.into_iter().collect())
    }

    /// The keys, in byte order.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicKey, &KeyRecord)> {
        self.0.iter()
    }

    /// One key.
    pub fn get(&self, key: &PublicKey) -> Option<&KeyRecord> {
        self.0.get(key)
    }

    /// Takes away the keys that the entry at `seq` registered, and gives them.
    pub(crate) fn forget(&mut self, seq: Seq) -> Vec<PublicKey> {
        self.0.extract_if(.., |_, record| record.registered == seq).map(|(key, _)| key).collect()
    }

    /// Decides whether a submission signed by `signer` may take the seqs from `first` on, and
    /// where it may, sets the keys that it sets. On a refusal nothing has changed.
    ///
    /// Gives the role of the signing key at that place.
    pub fn admit(&mut self, signer: &PublicKey, first: Seq, acts: &Acts) -> Result<Role, Refusal> {
        let ledger_event = acts.ledger_event();
        if ledger_event.is_some() && acts.count != 1 {
            return Err(Refusal::NotAlone(acts.count));
        }
        if let Some(LedgerEvent::WorkspaceCreated { root_keys }) = ledger_event {
            self.create(signer, first, root_keys)?;
            return Ok(Role::Root);
        }
        if first == Seq::FIRST {
            return Err(Refusal::NoWorkspace);
        }
        let record = self.0.get(signer).ok_or(Refusal::UnknownKey(*signer))?;
        let role = record.role;
        if let Some(revoked) = record.revoked.filter(|revoked| *revoked <= first) {
            return Err(Refusal::RevokedKey { key: *signer, revoked });
        }
        if !record.in_force(first) {
            return Err(Refusal::NotYetInForce(*signer));
        }
        check_actor(signer, record, acts)?;
        if let Some(event) = ledger_event {
            if role != Role::Root {
                return Err(Refusal::NotRoot { key: *signer, role });
            }
            self.set(first, event)?;
        }
        Ok(role)
    }

    fn create(
        &mut self,
        signer: &PublicKey,
        first: Seq,
        root_keys: &[PublicKey],
    ) -> Result<(), Refusal> {
        if first != Seq::FIRST {
            return Err(Refusal::WorkspaceExists);
        }
        if !root_keys.contains(signer) {
            return Err(Refusal::NotAFounder(*signer));
        }
        self.0.extend(root_keys.iter().map(|key| (*key, new_record(Role::Root, None, first))));
        Ok(())
    }

    fn set(&mut self, seq: Seq, event: &LedgerEvent) -> Result<(), Refusal> {
        match event {
            LedgerEvent::WorkspaceCreated { .. } => Err(Refusal::WorkspaceExists),
            LedgerEvent::KeyRegistered { key, role, actor_id } => match self.0.get(key) {
                Some(record) if record.revoked.is_some() => Err(Refusal::Again(*key)),
                Some(_) => Err(Refusal::AlreadyRegistered(*key)),
                None => {
                    self.0.insert(*key, new_record(*role, actor_id.clone(), seq));
                    Ok(())
                }
            },
            LedgerEvent::KeyRevoked { key, reason: _, compromised_since } => {
                let in_force = |r: &KeyRecord| r.revoked.is_none();
                let roots = self.0.values().filter(|r| in_force(r) && r.role == Role::Root).count();
                let record = self.0.get_mut(key).filter(|record| in_force(record));
                let record = record.ok_or(Refusal::NotInForce(*key))?;
                if record.role == Role::Root && roots == 1 {
                    return Err(Refusal::LastRoot(*key));
                }
                record.revoked = Some(seq);
                record.compromised_since = *compromised_since;
                Ok(())
            }
            LedgerEvent::PayloadErased { .. } => Ok(()),
        }
    }
}

fn new_record(role: Role, actor_id: Option<String>, registered: Seq) -> KeyRecord {
    KeyRecord { role, actor_id, registered, revoked: None, compromised_since: None }
}

fn check_actor(signer: &PublicKey, record: &KeyRecord, acts: &Acts) -> Result<(), Refusal> {
    let Some(bound) = &record.actor_id else {
        return Ok(());
    };
    match acts.actors.iter().find(|(_, actor)| actor != bound) {
        None => Ok(()),
        Some((index, found)) => Err(Refusal::OtherActor {
            key: *signer,
            bound: bound.clone(),
            index: *index,
            found: found.clone(),
        }),
    }
}

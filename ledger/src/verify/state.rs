//! What an audit has come to, kept by the auditor, so that the next one checks only what is new.
//!
//! The log proves what was checked: the next audit walks it whole, and finds that its first leaves come to
//! the root that is kept here ([`Check::SeenForked`](super::Check), [`Check::SeenShrunk`](super::Check)). So the
//! manifests are those of last time, and what they hang on was checked. What is not checked again is
//! whether the store still holds the same bytes of those objects: only that it lists them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chain::{KeyRecord, Keys, Role};
use crate::chunk::ChunkManifest;
use crate::counters::Counters;
use crate::hash::Digest;
use crate::key::PublicKey;
use crate::names::{EventId, Origin, Seq, Workspace};
use crate::succession::Cutoff;
use crate::time::Micros;

use super::audit::Audit;
use super::claims::Claims;
use super::detail::Signed;
use super::finding::{Check, Severity};
use super::policy::{Policy, Trust};
use super::prune::PrunedRuns;
use super::report::Pruned;
use super::text::Text;
use super::workspace::{ChainState, WorkspaceCheck};

/// The first member of every kept state; another version is not read.
const FORMAT: &str = "tallystick/audit-state/v1";

/// Why an audit cannot go on from what was kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is no state, or one of another version.
    #[error("it is not the state of an audit that this version can go on from: {0}")]
    Malformed(String),
    /// It is of another ledger.
    #[error("it is of the ledger {found}; the trust file names {expected}")]
    Origin {
        /// The ledger to verify.
        expected: Origin,
        /// The one that was verified.
        found: String,
    },
    /// The earlier audit looked at other workspaces or times.
    #[error("the audit that it was kept of looked at {found}; this one looks at {expected}")]
    Scope {
        /// What is asked for now.
        expected: String,
        /// What was asked for then.
        found: String,
    },
}

/// What an audit goes on from.
#[derive(Debug)]
pub(super) struct Resumed {
    /// Leaves that the earlier audit had covered.
    pub(super) size: u64,
    /// Leaves whose copies in the archive it had compared.
    pub(super) compared: u64,
    through: BTreeMap<Workspace, Seq>,
}

impl Resumed {
    /// Whether the rows of a chunk were checked.
    pub(super) fn knows(&self, manifest: &ChunkManifest) -> bool {
        self.through.get(&manifest.workspace).is_some_and(|through| manifest.last_seq <= *through)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: String,
    origin: String,
    scope: String,
    log_size: u64,
    log_root: Text<Digest>,
    compared: u64,
    chunks: u64,
    payload_bytes: u64,
    workspaces: Vec<KeptChain>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptChain {
    workspace: Text<Workspace>,
    seq: u64,
    link: Text<Digest>,
    events: u64,
    custodian_events: u64,
    unpinned: bool,
    keys: Vec<KeptKey>,
    counters: Vec<KeptCounters>,
    lowest: Vec<(Text<PublicKey>, u64)>,
    pruned: PrunedRuns,
    withheld: Vec<(Text<EventId>, u64)>,
    erased: Vec<(Text<EventId>, u64)>,
    may_hide_keys: Vec<u64>,
    signers: Vec<(Text<PublicKey>, Text<Role>, u64, u64)>,
    chunks: u64,
    claims: Claims,
}

/// The runs of numbers that a key has used.
type KeptCounters = (Text<PublicKey>, Vec<(u64, u64)>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptKey {
    key: Text<PublicKey>,
    role: Text<Role>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    actor_id: Option<String>,
    registered: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    revoked: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    compromised_since: Option<Text<Micros>>,
}

fn scope(policy: &Policy) -> String {
    policy.workspace.as_ref().map_or_else(|| "all workspaces".to_owned(), Workspace::to_string)
}

/// A seq that was kept.
fn seq(number: u64) -> Result<Seq, StateError> {
    Seq::new(number).ok_or_else(|| StateError::Malformed(format!("{number} is no seq")))
}

impl Audit {
    /// Starts an audit that goes on from the state of an earlier one, as [`Audit::state`] gave it.
    pub fn resume(mut trust: Trust, policy: Policy, state: &str) -> Result<Self, StateError> {
        let malformed = |error: serde_json::Error| StateError::Malformed(error.to_string());
        let kept: Kept = serde_json::from_str(state).map_err(malformed)?;
        if kept.format != FORMAT {
            return Err(StateError::Malformed(format!("`{}` is not {FORMAT}", kept.format)));
        }
        if kept.origin != trust.origin.as_str() {
            return Err(StateError::Origin { expected: trust.origin, found: kept.origin });
        }
        let whole = policy.since.is_none() && policy.until.is_none();
        let expected = scope(&policy);
        if kept.scope != expected || !whole {
            let expected = if whole { expected } else { "some of its hours".to_owned() };
            return Err(StateError::Scope { expected, found: kept.scope });
        }
        let Kept { log_size: size, log_root: Text(root), compared, .. } = kept;
        trust.seen.push(Cutoff { size, root });
        let pinned = trust.workspaces.clone();
        let mut audit = Self::new(trust, policy);
        let mut through = BTreeMap::new();
        for chain in kept.workspaces {
            let (workspace, state) = chain.restore()?;
            through.extend(state.through.map(|(seq, _)| (workspace.clone(), seq)));
            let pinned = pinned.get(&workspace).cloned();
            let check = WorkspaceCheck::resume(workspace.clone(), pinned, state);
            audit.workspaces.insert(workspace, check);
        }
        audit.chunks = kept.chunks;
        audit.payload_bytes = kept.payload_bytes;
        audit.resumed = Some(Resumed { size, compared, through });
        Ok(audit)
    }

    /// What this audit has come to, for another one to go on from; also of one that was ended before it was
    /// done. `None` where it found tampering, could not read something, or looks at some hours
    /// only: there is nothing to go on from.
    pub fn state(&self) -> Option<String> {
        let grave = |severity| severity >= Severity::Unfinished;
        let findings = self.findings.iter().chain(&self.walk.findings);
        let mut findings = findings.chain(&self.walk.seal.findings).map(|finding| finding.check);
        let in_chains = self.workspaces.values().any(WorkspaceCheck::is_grave);
        let some_hours = self.policy.since.is_some() || self.policy.until.is_some();
        if findings.any(|check: Check| grave(check.severity())) || in_chains || some_hours {
            return None;
        }
        if !self.log_is_whole() {
            return None;
        }
        let checkpoint = self.checkpoint.as_ref()?;
        let chains = self.workspaces.values().filter_map(KeptChain::of);
        let kept = Kept {
            format: FORMAT.to_owned(),
            origin: self.trust.origin.to_string(),
            scope: scope(&self.policy),
            log_size: checkpoint.size,
            log_root: Text(checkpoint.root),
            // Where something is left to fetch, nothing tells which of it is a copy.
            compared: if self.is_done() { checkpoint.size } else { 0 },
            chunks: self.chunks,
            payload_bytes: self.payload_bytes,
            workspaces: chains.collect(),
        };
        serde_json::to_string_pretty(&kept).ok()
    }
}

impl KeptChain {
    fn of(check: &WorkspaceCheck) -> Option<Self> {
        let chain = &check.chain;
        let (seq, link) = chain.through?;
        let keys = chain.keys.iter().map(|(key, record)| KeptKey {
            key: Text(*key),
            role: Text(record.role),
            actor_id: record.actor_id.clone(),
            registered: record.registered.get(),
            revoked: record.revoked.map(Seq::get),
            compromised_since: record.compromised_since.map(Text),
        });
        let counters = chain.counters.iter().map(|(key, of)| (Text(*key), of.runs().collect()));
        let ids = |(id, seq): (&EventId, &Seq)| (Text(*id), seq.get());
        let signer = |(key, signed): (&PublicKey, &Signed)| {
            (Text(*key), Text(signed.role), signed.submissions, signed.events)
        };
        // In order, so that the same audit is kept as the same bytes.
        let erased: BTreeMap<_, _> = chain.erased.iter().collect();
        Some(Self {
            workspace: Text(check.workspace.clone()),
            seq: seq.get(),
            link: Text(link),
            events: chain.events,
            custodian_events: chain.custodian_events,
            unpinned: chain.unpinned,
            keys: keys.collect(),
            counters: counters.collect(),
            lowest: chain.lowest.iter().map(|(key, lowest)| (Text(*key), *lowest)).collect(),
            pruned: chain.pruned.clone(),
            withheld: chain.withheld.iter().map(|(id, seq)| ids((id, seq))).collect(),
            erased: erased.into_iter().map(ids).collect(),
            may_hide_keys: chain.may_hide_keys.iter().map(|seq| seq.get()).collect(),
            signers: chain.signers.iter().map(signer).collect(),
            chunks: chain.chunks,
            claims: chain.claims,
        })
    }

    fn restore(self) -> Result<(Workspace, ChainState), StateError> {
        let key = |kept: KeptKey| {
            let record = KeyRecord {
                role: kept.role.0,
                actor_id: kept.actor_id,
                registered: seq(kept.registered)?,
                revoked: kept.revoked.map(seq).transpose()?,
                compromised_since: kept.compromised_since.map(|Text(since)| since),
            };
            Ok((kept.key.0, record))
        };
        let counters = |(Text(key), runs): KeptCounters| {
            let wrong = || StateError::Malformed(format!("the counters of {key} are not in order"));
            Ok((key, Counters::from_runs(runs).ok_or_else(wrong)?))
        };
        let id = |(Text(id), number): (Text<EventId>, u64)| Ok((id, seq(number)?));
        type Kept = (Text<PublicKey>, Text<Role>, u64, u64);
        let signer = |(Text(key), Text(role), submissions, events): Kept| {
            (key, Signed { role, submissions, events })
        };
        let keys = self.keys.into_iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let state = ChainState {
            through: Some((seq(self.seq)?, self.link.0)),
            keys: Keys::from_records(keys),
            counters: self.counters.into_iter().map(counters).collect::<Result<_, _>>()?,
            lowest: self.lowest.into_iter().map(|(Text(key), lowest)| (key, lowest)).collect(),
            pruned: self.pruned,
            outside: Pruned::default(),
            withheld: self.withheld.into_iter().map(id).collect::<Result<_, _>>()?,
            erased: self.erased.into_iter().map(id).collect::<Result<_, _>>()?,
            events: self.events,
            custodian_events: self.custodian_events,
            may_hide_keys: self.may_hide_keys.into_iter().map(seq).collect::<Result<_, _>>()?,
            unpinned: self.unpinned,
            signers: self.signers.into_iter().map(signer).collect(),
            chunks: self.chunks,
            claims: self.claims,
        };
        Ok((self.workspace.0, state))
    }
}

//! The checks along the whole chain of one workspace: keys, counters, ids, erasures
//! (FORMAT sections 3, 4, 6 and 10).

use std::collections::{BTreeMap, HashMap};

use crate::chain::{Acts, Keys, LedgerEvent, Role};
use crate::chunk::ChunkManifest;
use crate::counters::Counters;
use crate::hash::Digest;
use crate::key::PublicKey;
use crate::names::{EventId, Seq, Workspace};

use super::chunk::{ChunkOutcome, Submitted};
use super::claims::Claims;
use super::detail::Signed;
use super::finding::{Check, Finding, Place, Severity};
use super::ids::{self, DoubledId};
use super::prune::PrunedRuns;
use super::report::{MissingCounters, Pruned, WorkspaceReport};

/// The chain of one workspace, as far as its chunks have been checked.
#[derive(Debug)]
pub(super) struct WorkspaceCheck {
    pub(super) workspace: Workspace,
    pinned: Option<Vec<PublicKey>>,
    /// What carries over from chunk to chunk, and to an audit that goes on from here.
    pub(super) chain: ChainState,
    /// A chunk could not be read: what follows cannot be judged by what came before.
    broken: bool,
    findings: Vec<Finding>,
}

/// What is known of a chain up to a place in it.
#[derive(Debug, Default)]
pub(super) struct ChainState {
    /// The last entry of the chunks so far.
    pub(super) through: Option<(Seq, Digest)>,
    pub(super) keys: Keys,
    pub(super) counters: BTreeMap<PublicKey, Counters>,
    /// The lowest number that each key has used behind the last chunk that was not checked.
    pub(super) lowest: BTreeMap<PublicKey, u64>,
    pub(super) pruned: PrunedRuns,
    /// Chunks outside of the times asked for.
    pub(super) outside: Pruned,
    pub(super) withheld: Vec<(EventId, Seq)>,
    /// The last entry that allows a payload to be withheld.
    pub(super) erased: HashMap<EventId, Seq>,
    pub(super) events: u64,
    pub(super) custodian_events: u64,
    pub(super) claims: Claims,
    /// What each key signed.
    pub(super) signers: BTreeMap<PublicKey, Signed>,
    /// Chunks taken, those too that were pruned or lie outside of the times asked for.
    pub(super) chunks: u64,
    /// Withheld payloads that may have set keys.
    pub(super) may_hide_keys: Vec<Seq>,
    /// Whether the event that opens the chain was seen, and nobody had pinned its root keys.
    pub(super) unpinned: bool,
}

impl ChainState {
    /// Takes the next chunk as one that is done with.
    fn reach(&mut self, manifest: &ChunkManifest) {
        self.through = Some((manifest.last_seq, manifest.last_link));
        self.chunks += 1;
    }
}

impl WorkspaceCheck {
    pub(super) fn new(workspace: Workspace, pinned: Option<Vec<PublicKey>>) -> Self {
        Self::resume(workspace, pinned, ChainState::default())
    }

    /// Goes on from what is known of the chain.
    pub(super) fn resume(
        workspace: Workspace,
        pinned: Option<Vec<PublicKey>>,
        chain: ChainState,
    ) -> Self {
        Self { workspace, pinned, chain, broken: false, findings: Vec::new() }
    }

    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn at(&self, seq: Seq, column: &'static str) -> Place {
        Place::workspace(&self.workspace).at_seq(seq.get()).in_column(column)
    }

    /// Takes the next chunk of the chain. Chunks come in the order of the chain.
    pub(super) fn chunk(&mut self, manifest: &ChunkManifest, outcome: ChunkOutcome) {
        self.chain.reach(manifest);
        self.chain.events += outcome.rows;
        self.chain.claims.join(outcome.claims);
        self.findings.extend(outcome.findings);
        if outcome.broken && !self.broken {
            self.broken = true;
            let finding = Finding::new(Check::Unchecked, Place::workspace(&self.workspace));
            self.report(finding.because(
                "from the broken chunk on, keys, counters and erasures of this workspace cannot \
                 be judged",
            ));
        }
        self.chain.withheld.extend(outcome.withheld);
        if !self.broken {
            for submitted in outcome.submissions {
                self.submission(submitted);
            }
        }
    }

    /// Takes word of ids that stand in the chain more than once.
    pub(super) fn doubled(&mut self, doubled: impl Iterator<Item = DoubledId>) {
        self.findings.extend(ids::findings(&self.workspace, doubled));
    }

    /// Takes the next chunk of the chain where retention has removed it: what it held is not known.
    pub(super) fn pruned(&mut self, manifest: &ChunkManifest) {
        self.chain.reach(manifest);
        self.chain.pruned.push(manifest);
        self.chain.lowest.clear();
    }

    /// Takes a chunk that was checked by an earlier audit, and that retention has removed since.
    pub(super) fn pruned_since(&mut self, manifest: &ChunkManifest) {
        self.chain.pruned.push(manifest);
    }

    /// Takes the next chunk of the chain where it lies outside of the times asked for.
    pub(super) fn outside(&mut self, manifest: &ChunkManifest) {
        self.chain.reach(manifest);
        let chunk = Pruned { chunks: 1, events: manifest.rows() };
        self.chain.outside = [self.chain.outside, chunk].into_iter().sum();
        self.chain.lowest.clear();
    }

    /// Takes a chunk that was checked by an earlier audit, and whose object an erasure has replaced since.
    pub(super) fn again(&mut self, manifest: &ChunkManifest, outcome: ChunkOutcome) {
        self.findings.extend(outcome.findings);
        self.broken |= outcome.broken;
        let range = manifest.first_seq..=manifest.last_seq;
        self.chain.withheld.retain(|(_, seq)| !range.contains(seq));
        self.chain.withheld.extend(outcome.withheld);
        // What these said is known from then; that nobody can see it any more is told as from the beginning.
        for Submitted { first, key, acts, .. } in outcome.submissions {
            let is_root = || self.chain.keys.get(&key).is_some_and(|key| key.role == Role::Root);
            if acts.count() != 1 || !acts.is_withheld() {
                continue;
            }
            if first == Seq::FIRST {
                self.report(Finding::new(Check::LedgerWithheld, self.at(first, "payload")));
            } else if is_root() && !self.chain.may_hide_keys.contains(&first) {
                self.chain.may_hide_keys.push(first);
                self.forget_keys(first);
            }
        }
    }

    /// The keys that a withheld entry registered are none to whoever begins now: what they signed is not allowed.
    fn forget_keys(&mut self, seq: Seq) {
        for key in self.chain.keys.forget(seq) {
            let Some(signed) = self.chain.signers.get(&key) else { continue };
            let finding = Finding::new(Check::KeyRule, self.at(seq, "payload"));
            self.report(finding.because(format!(
                "what registered the key {key} is withheld since it was verified, and nothing else allows the {} \
                 submissions that it signed",
                signed.submissions
            )));
        }
    }

    fn submission(&mut self, submitted: Submitted) {
        let Submitted { first, key, counter, acts, context_error } = submitted;
        if let Some(error) = context_error {
            let finding = Finding::new(Check::LedgerContext, self.at(first, "payload"));
            self.report(finding.because(error));
            return;
        }
        if first == Seq::FIRST && acts.ledger_event().is_none() && acts.is_withheld() {
            let finding = Finding::new(Check::LedgerWithheld, self.at(first, "payload"));
            self.report(finding);
            self.broken = true;
            return;
        }
        match self.chain.keys.admit(&key, first, &acts) {
            Ok(role) => {
                let events = u64::try_from(acts.count()).unwrap_or(u64::MAX);
                let signed = Signed { role, submissions: 0, events: 0 };
                self.chain.signers.entry(key).or_insert(signed).add(role, events);
                self.admitted(role, first, &acts);
            }
            // What was not admitted changes nothing: it sets no key and allows no erasure.
            Err(refusal) => {
                let finding = Finding::new(Check::KeyRule, self.at(first, "public_key"));
                self.report(finding.because(format!("{}: {refusal}", refusal.code())));
            }
        }
        if counter > 0 {
            let lowest = self.chain.lowest.entry(key).or_insert(counter);
            *lowest = counter.min(*lowest);
        }
        if !self.chain.counters.entry(key).or_default().take(counter) {
            let finding = Finding::new(Check::CounterTwice, self.at(first, "counter"));
            self.report(finding.because(format!("key {key} used counter {counter} before")));
        }
    }

    fn admitted(&mut self, role: Role, first: Seq, acts: &Acts) {
        match role {
            Role::Custodian => {
                self.chain.custodian_events += u64::try_from(acts.count()).unwrap_or(u64::MAX);
            }
            // It may have been an event that sets keys, such as a revocation.
            Role::Root if acts.count() == 1 && acts.is_withheld() => {
                self.chain.may_hide_keys.push(first);
            }
            Role::Root | Role::Agent => {}
        }
        match acts.ledger_event() {
            Some(LedgerEvent::WorkspaceCreated { root_keys }) => {
                // That nobody pinned them is told at the end, by an audit that is resumed too.
                self.chain.unpinned = self.pinned.is_none();
                if let Some(pinned) = self.pinned.as_deref() {
                    self.findings.extend(check_pins(&self.workspace, Some(pinned), root_keys));
                }
            }
            Some(LedgerEvent::PayloadErased { event_ids, .. }) => {
                self.chain.erased.extend(event_ids.iter().map(|id| (*id, first)));
            }
            Some(LedgerEvent::KeyRegistered { .. } | LedgerEvent::KeyRevoked { .. }) | None => {}
        }
    }

    /// What keys counted and the rows lack. Where chunks were pruned, a number up to the lowest that the
    /// key used behind them may have stood there; one above it came later, but for submissions that
    /// overtook each other.
    fn missing_counters(&self) -> Vec<MissingCounters> {
        let ChainState { pruned, outside, .. } = &self.chain;
        let (maybe_pruned, maybe_outside) = (pruned.sum.chunks > 0, outside.chunks > 0);
        let gaps = maybe_pruned || maybe_outside;
        let of = |(key, counters): (&PublicKey, &Counters)| {
            let lowest = if gaps { self.chain.lowest.get(key).copied()? } else { 0 };
            let ranges: Vec<_> = counters.missing().filter(|(first, _)| *first > lowest).collect();
            let key = *key;
            let missing = MissingCounters { key, ranges, maybe_pruned, maybe_outside };
            (!missing.ranges.is_empty()).then_some(missing)
        };
        self.chain.counters.iter().filter_map(of).collect()
    }

    /// Whether anything was found that an audit cannot go on from.
    pub(super) fn is_grave(&self) -> bool {
        let grave = |finding: &Finding| finding.check.severity() >= Severity::Unfinished;
        self.broken || self.findings.iter().any(grave)
    }

    /// The chain could not be followed to its end: what only that tells is not judged.
    pub(super) fn cut(&mut self) {
        self.broken = true;
    }

    /// Checks what the chain comes to at its end.
    pub(super) fn finish(mut self, head: Option<(Seq, Digest)>) -> Finished {
        let mut allowed = 0_u64;
        for (event_id, seq) in std::mem::take(&mut self.chain.withheld) {
            match self.chain.erased.get(&event_id) {
                Some(by) if *by > seq => allowed += 1,
                _ if self.broken => {}
                _ => {
                    let finding = Finding::new(Check::Withheld, self.at(seq, "payload"));
                    self.report(finding.because(format!("event {event_id}")));
                }
            }
        }
        for seq in std::mem::take(&mut self.chain.may_hide_keys) {
            self.report(Finding::new(Check::MayHideKeys, self.at(seq, "payload")));
        }
        let place = Place::workspace(&self.workspace);
        if self.chain.unpinned {
            self.findings.extend(check_pins(&self.workspace, None, &[]));
        }
        if allowed > 0 {
            let finding = Finding::new(Check::Erased, place.clone());
            self.report(finding.because(format!("{allowed} payloads")));
        }
        if self.chain.custodian_events > 0 {
            let finding = Finding::new(Check::Custodian, place.clone());
            self.report(finding.because(format!("{} events", self.chain.custodian_events)));
        }
        self.findings.extend(self.chain.pruned.finding(&place));
        let missing = self.missing_counters();
        for missing in &missing {
            let finding = Finding::new(Check::CounterMissing, place.clone());
            self.findings.push(finding.because(missing));
        }
        let report = WorkspaceReport {
            workspace: self.workspace,
            head,
            events: self.chain.events,
            custodian_events: self.chain.custodian_events,
            signers: self.chain.signers.into_iter().collect(),
            chunks: self.chain.chunks,
            withheld: allowed,
            pruned: self.chain.pruned.sum,
            outside: self.chain.outside,
            pinned: self.pinned.is_some(),
            missing_counters: missing,
        };
        Finished { report, findings: self.findings }
    }
}

/// Compares the keys that a workspace was created with with those that the auditor knows.
pub(crate) fn check_pins(
    workspace: &Workspace,
    pinned: Option<&[PublicKey]>,
    root_keys: &[PublicKey],
) -> Option<Finding> {
    let place = Place::workspace(workspace);
    let Some(pinned) = pinned else {
        return Some(Finding::new(Check::Unpinned, place).because(
            "who may sign is as the chain itself says; name its root keys in the trust file \
             to pin them",
        ));
    };
    let show = |keys: &[PublicKey]| {
        let mut keys: Vec<_> = keys.iter().map(PublicKey::to_string).collect();
        keys.sort_unstable();
        keys.join(" ")
    };
    let (expected, found) = (show(pinned), show(root_keys));
    let place = place.at_seq(Seq::FIRST.get()).in_column("payload");
    (expected != found).then(|| Finding::new(Check::RootKeys, place).differs(expected, found))
}

/// What the checks along a chain came to.
pub(super) struct Finished {
    pub(super) report: WorkspaceReport,
    pub(super) findings: Vec<Finding>,
}

//! The checks along the whole chain of one workspace: keys, counters, ids, erasures
//! (FORMAT sections 3, 4, 6 and 10).

use std::collections::{BTreeMap, HashMap};

use crate::chain::{Acts, Counters, Keys, LedgerEvent, Role};
use crate::chunk::ChunkManifest;
use crate::key::PublicKey;
use crate::names::{EventId, Seq, Workspace};

use super::chunk::{ChunkOutcome, Submitted};
use super::detail::Signed;
use super::finding::{Check, Finding, Place};
use super::prune::PrunedRuns;
use super::report::{MissingCounters, WorkspaceReport};

/// The chain of one workspace, as far as its chunks have been checked.
#[derive(Debug)]
pub(super) struct WorkspaceCheck {
    workspace: Workspace,
    pinned: Option<Vec<PublicKey>>,
    keys: Keys,
    counters: BTreeMap<PublicKey, Counters>,
    /// The lowest number that each key has used behind the last pruned chunk.
    lowest: BTreeMap<PublicKey, u64>,
    pruned: PrunedRuns,
    // Every id of the workspace: 24 bytes an event.
    seqs: HashMap<EventId, Seq>,
    withheld: Vec<(EventId, Seq)>,
    // The last entry that allows a payload to be withheld.
    erased: HashMap<EventId, Seq>,
    events: u64,
    custodian_events: u64,
    signers: BTreeMap<PublicKey, Signed>,
    /// Chunks taken, those too that were pruned.
    chunks: u64,
    /// A chunk could not be read: what follows cannot be judged by what came before.
    broken: bool,
    findings: Vec<Finding>,
}

impl WorkspaceCheck {
    pub(super) fn new(workspace: Workspace, pinned: Option<Vec<PublicKey>>) -> Self {
        Self {
            workspace,
            pinned,
            keys: Keys::new(),
            counters: BTreeMap::new(),
            lowest: BTreeMap::new(),
            pruned: PrunedRuns::default(),
            seqs: HashMap::new(),
            withheld: Vec::new(),
            erased: HashMap::new(),
            events: 0,
            custodian_events: 0,
            signers: BTreeMap::new(),
            chunks: 0,
            broken: false,
            findings: Vec::new(),
        }
    }

    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn at(&self, seq: Seq, column: &'static str) -> Place {
        Place::workspace(&self.workspace).at_seq(seq.get()).in_column(column)
    }

    /// Takes the next chunk of the chain. Chunks come in the order of the chain.
    pub(super) fn chunk(&mut self, outcome: ChunkOutcome) {
        self.events += outcome.rows;
        self.chunks += 1;
        self.findings.extend(outcome.findings);
        if outcome.broken && !self.broken {
            self.broken = true;
            let finding = Finding::new(Check::Unchecked, Place::workspace(&self.workspace));
            self.report(finding.because(
                "from the broken chunk on, keys, counters and erasures of this workspace cannot \
                 be judged",
            ));
        }
        for (event_id, seq) in outcome.events {
            if let Some(first) = self.seqs.insert(event_id, seq) {
                let finding = Finding::new(Check::EventTwice, self.at(seq, "event_id"));
                self.report(finding.because(format!("{event_id} stands at seq {first} already")));
            }
        }
        self.withheld.extend(outcome.withheld);
        if !self.broken {
            for submitted in outcome.submissions {
                self.submission(submitted);
            }
        }
    }

    /// Takes the next chunk of the chain where retention has removed it: what it held is not known.
    pub(super) fn pruned(&mut self, manifest: &ChunkManifest) {
        self.pruned.push(manifest);
        self.chunks += 1;
        self.lowest.clear();
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
        match self.keys.admit(&key, first, &acts) {
            Ok(role) => {
                let events = u64::try_from(acts.count()).unwrap_or(u64::MAX);
                let signed = Signed { role, submissions: 0, events: 0 };
                self.signers.entry(key).or_insert(signed).add(role, events);
                self.admitted(role, first, &acts);
            }
            // What was not admitted changes nothing: it sets no key and allows no erasure.
            Err(refusal) => {
                let finding = Finding::new(Check::KeyRule, self.at(first, "public_key"));
                self.report(finding.because(format!("{}: {refusal}", refusal.code())));
            }
        }
        if counter > 0 {
            let lowest = self.lowest.entry(key).or_insert(counter);
            *lowest = counter.min(*lowest);
        }
        if !self.counters.entry(key).or_default().take(counter) {
            let finding = Finding::new(Check::CounterTwice, self.at(first, "counter"));
            self.report(finding.because(format!("key {key} used counter {counter} before")));
        }
    }

    fn admitted(&mut self, role: Role, first: Seq, acts: &Acts) {
        match role {
            Role::Custodian => {
                self.custodian_events += u64::try_from(acts.count()).unwrap_or(u64::MAX);
            }
            // It may have been an event that sets keys, such as a revocation.
            Role::Root if acts.count() == 1 && acts.is_withheld() => {
                let place = self.at(first, "payload");
                self.report(Finding::new(Check::MayHideKeys, place));
            }
            Role::Root | Role::Agent => {}
        }
        match acts.ledger_event() {
            Some(LedgerEvent::WorkspaceCreated { root_keys }) => self.check_pins(root_keys),
            Some(LedgerEvent::PayloadErased { event_ids, .. }) => {
                self.erased.extend(event_ids.iter().map(|id| (*id, first)));
            }
            Some(LedgerEvent::KeyRegistered { .. } | LedgerEvent::KeyRevoked { .. }) | None => {}
        }
    }

    fn check_pins(&mut self, root_keys: &[PublicKey]) {
        let Some(pinned) = &self.pinned else {
            let place = Place::workspace(&self.workspace);
            self.report(Finding::new(Check::Unpinned, place).because(
                "who may sign is as the chain itself says; name its root keys in the trust file \
                 to pin them",
            ));
            return;
        };
        let show = |keys: &[PublicKey]| {
            let mut keys: Vec<_> = keys.iter().map(PublicKey::to_string).collect();
            keys.sort_unstable();
            keys.join(" ")
        };
        let (expected, found) = (show(pinned), show(root_keys));
        if expected != found {
            let place = self.at(Seq::FIRST, "payload");
            self.report(Finding::new(Check::RootKeys, place).differs(expected, found));
        }
    }

    /// What keys counted and the rows lack. Where chunks were pruned, a number up to the lowest that the
    /// key used behind them may have stood there; one above it came later, but for submissions that
    /// overtook each other.
    fn missing_counters(&self) -> Vec<MissingCounters> {
        let maybe_pruned = self.pruned.sum.chunks > 0;
        let of = |(key, counters): (&PublicKey, &Counters)| {
            let lowest = if maybe_pruned { self.lowest.get(key).copied()? } else { 0 };
            let ranges: Vec<_> = counters.missing().filter(|(first, _)| *first > lowest).collect();
            (!ranges.is_empty()).then_some(MissingCounters { key: *key, ranges, maybe_pruned })
        };
        self.counters.iter().filter_map(of).collect()
    }

    /// Checks what the chain comes to at its end.
    pub(super) fn finish(mut self, head: Option<(Seq, crate::hash::Digest)>) -> Finished {
        let mut allowed = 0_u64;
        for (event_id, seq) in std::mem::take(&mut self.withheld) {
            match self.erased.get(&event_id) {
                Some(by) if *by > seq => allowed += 1,
                _ if self.broken => {}
                _ => {
                    let finding = Finding::new(Check::Withheld, self.at(seq, "payload"));
                    self.report(finding.because(format!("event {event_id}")));
                }
            }
        }
        let place = Place::workspace(&self.workspace);
        if allowed > 0 {
            let finding = Finding::new(Check::Erased, place.clone());
            self.report(finding.because(format!("{allowed} payloads")));
        }
        if self.custodian_events > 0 {
            let finding = Finding::new(Check::Custodian, place.clone());
            self.report(finding.because(format!("{} events", self.custodian_events)));
        }
        self.findings.extend(self.pruned.finding(&place));
        let missing = self.missing_counters();
        for missing in &missing {
            let finding = Finding::new(Check::CounterMissing, place.clone());
            self.findings.push(finding.because(missing));
        }
        let report = WorkspaceReport {
            workspace: self.workspace,
            head,
            events: self.events,
            custodian_events: self.custodian_events,
            signers: self.signers.into_iter().collect(),
            chunks: self.chunks,
            withheld: allowed,
            pruned: self.pruned.sum,
            pinned: self.pinned.is_some(),
            missing_counters: missing,
        };
        Finished { report, findings: self.findings }
    }
}

/// What the checks along a chain came to.
pub(super) struct Finished {
    pub(super) report: WorkspaceReport,
    pub(super) findings: Vec<Finding>,
}

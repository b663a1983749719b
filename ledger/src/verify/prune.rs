//! Chunks that retention has removed: whether the log lets them go, and since when
//! (`docs/spec/retention.md`).
//!
//! Here: prune records against the log before them, and against what the auditor asks for. Not here:
//! what a record says (see [`crate::prune`]), and chains with pruned chunks (see [`super::workspace`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chunk::ChunkManifest;
use crate::names::Workspace;
use crate::prune::{PruneRecord, manifests_root};
use crate::time::{HOUR, Hour};

use super::audit::Audit;
use super::finding::{Check, Finding, Place};
use super::log::{LogWalk, LoggedChunk};
use super::report::Pruned;

/// Microseconds in a day.
const DAY: i64 = 24 * HOUR;

/// What prune records are checked against, and those that fit.
#[derive(Debug, Default)]
pub(super) struct Pruning {
    /// The chunks of each workspace, as indices into the walk's, in the order of its chain.
    chunks: BTreeMap<Workspace, Vec<usize>>,
    records: Vec<Recorded>,
}

impl Pruning {
    /// Takes the next chunk of a workspace.
    pub(super) fn chunk(&mut self, workspace: &Workspace, index: usize) {
        match self.chunks.get_mut(workspace) {
            Some(chunks) => chunks.push(index),
            None => drop(self.chunks.insert(workspace.clone(), vec![index])),
        }
    }

    /// The chunks of a workspace, as indices into the walk's, in the order of its chain.
    pub(super) fn of(&self, workspace: &Workspace) -> &[usize] {
        self.chunks.get(workspace).map_or(&[], Vec::as_slice)
    }
}

/// A prune record that fits the log before it, as the auditor's policy looks at it.
#[derive(Debug)]
struct Recorded {
    place: Place,
    /// How old the youngest entry was, in whole days, as far as the log proves it.
    age_days: u64,
    keep_days: u64,
    reason: String,
}

/// Where a record and the log before it disagree.
struct Unfit {
    what: &'static str,
    expected: String,
    found: String,
}

impl Unfit {
    fn check(
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Result<(), Self> {
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected == found { Ok(()) } else { Err(Self { what, expected, found }) }
    }
}

impl LogWalk {
    /// Takes a prune record. One that does not fit lets nothing go.
    pub(super) fn prune(&mut self, body: &str, place: Place) {
        let record = match PruneRecord::parse(body) {
            Ok(record) => record,
            Err(error) => {
                return self.findings.push(Finding::new(Check::Prune, place).because(error));
            }
        };
        let place = Place { workspace: Some(record.workspace.clone()), ..place };
        if record.origin != self.origin {
            let finding = Finding::new(Check::LeafOrigin, place);
            return self.findings.push(finding.differs(&self.origin, &record.origin));
        }
        let chunks = match self.fits(&record) {
            Ok(chunks) => chunks,
            Err(Unfit { what, expected, found }) => {
                let finding = Finding::new(Check::Prune, place);
                return self.findings.push(finding.differs(expected, found).because(what));
            }
        };
        let leaf = self.newest_leaf();
        for index in chunks {
            if let Some(chunk) = self.chunks.get_mut(index) {
                chunk.pruned = true;
                chunk.leaf = leaf;
            }
        }
        // A seal key can write any hour; but one that is not over yet, no honest log has.
        let through = self.last_hour.map_or(0, Hour::end);
        let age = through.saturating_sub(record.last_recorded_at.get());
        let age_days = u64::try_from(age / DAY).unwrap_or(0);
        let PruneRecord { keep_days, reason, .. } = record;
        self.pruning.records.push(Recorded { place, age_days, keep_days, reason });
    }

    /// The chunks that a record lets go, as indices, if it says of them what the log says.
    fn fits(&self, record: &PruneRecord) -> Result<Vec<usize>, Unfit> {
        let of = self.pruning.of(&record.workspace);
        let at = |at: usize| of.get(at).and_then(|index| self.chunks.get(*index));
        let manifest = |index: &usize| self.chunks.get(*index).map(|chunk| &chunk.manifest);
        // Chunks of one chain follow on each other, or the log is found wrong already.
        let from =
            of.partition_point(|i| manifest(i).is_some_and(|m| m.first_seq < record.first_seq));
        let to = of.partition_point(|i| manifest(i).is_some_and(|m| m.last_seq < record.last_seq));
        let bound = |of: Option<String>| of.unwrap_or_else(|| "that of a logged chunk".to_owned());
        let first = at(from).map(|chunk| chunk.manifest.first_seq.to_string());
        Unfit::check("first_seq", bound(first), record.first_seq)?;
        let last = at(to).map(|chunk| chunk.manifest.last_seq.to_string());
        Unfit::check("last_seq", bound(last), record.last_seq)?;
        let indices = of.get(from..=to).unwrap_or_default();
        Unfit::check("chunks", indices.len(), record.chunks)?;
        if from == 0 {
            let (expected, found) = ("a later one".to_owned(), "seq 1".to_owned());
            return Err(Unfit { what: "the chunk that opens a chain", expected, found });
        }
        let chunks = || indices.iter().filter_map(|index| self.chunks.get(*index));
        chunks().try_for_each(|chunk| self.may_go(chunk))?;
        let root = manifests_root(chunks().map(|chunk| &chunk.note));
        Unfit::check("manifests_root", root, record.manifests_root)?;
        let youngest = at(to).map(|chunk| chunk.manifest.last_recorded_at.to_string());
        Unfit::check("last_recorded_at", bound(youngest), record.last_recorded_at)?;
        Ok(indices.to_vec())
    }

    fn may_go(&self, chunk: &LoggedChunk) -> Result<(), Unfit> {
        let LoggedChunk { manifest, pruned, .. } = chunk;
        if *pruned {
            let expected = "chunks that are there".to_owned();
            let found = format!("seq {}, which was pruned before", manifest.first_seq);
            return Err(Unfit { what: "pruned twice", expected, found });
        }
        if self.last_hour.is_none_or(|last| manifest.hour > last) {
            let expected = "chunks of hours that have a note".to_owned();
            let found = format!("seq {} of {}", manifest.first_seq, manifest.hour);
            return Err(Unfit { what: "an open hour", expected, found });
        }
        Ok(())
    }
}

impl Audit {
    /// Compares what was let go with what the auditor asks for.
    pub(super) fn check_retention(&mut self) {
        let least = self.policy.min_kept_days;
        for record in std::mem::take(&mut self.walk.pruning.records) {
            let Recorded { place, age_days, keep_days, reason } = record;
            let in_scope = place.workspace.as_ref().is_none_or(|name| self.in_scope(name));
            let wanted = keep_days.max(least);
            if in_scope && (age_days < wanted || keep_days < least) {
                let finding = Finding::new(Check::PrunedEarly, place).differs(
                    format!("kept for {wanted} days or longer"),
                    format!("for {age_days} days, by a policy that keeps for {keep_days}"),
                );
                self.findings.push(finding.because(format!("the record's reason: \"{reason}\"")));
            }
        }
    }
}

/// The pruned chunks of one chain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrunedRuns {
    pub(super) sum: Pruned,
    first: u64,
    last: u64,
    runs: u64,
}

impl PrunedRuns {
    /// Takes the next pruned chunk of the chain.
    pub(super) fn push(&mut self, manifest: &ChunkManifest) {
        let (first, last) = (manifest.first_seq.get(), manifest.last_seq.get());
        if self.sum.chunks == 0 {
            self.first = first;
        }
        if self.runs == 0 || self.last.checked_add(1) != Some(first) {
            self.runs += 1;
        }
        self.last = last;
        let chunk = Pruned { chunks: 1, events: manifest.rows() };
        self.sum = [self.sum, chunk].into_iter().sum();
    }

    /// Says what is gone, if anything is.
    pub(super) fn finding(&self, place: &Place) -> Option<Finding> {
        let Pruned { chunks, events } = self.sum;
        let Self { first, last, runs, .. } = self;
        (chunks > 0).then(|| {
            Finding::new(Check::Pruned, place.clone()).because(format!(
                "{chunks} chunks with {events} events, in {runs} runs from seq {first} to {last}; keys, \
                 counters and ids in them cannot be judged"
            ))
        })
    }
}

//! What a report shows beside its totals: what was asked for, each hour and chunk with its state, and
//! who signed how much. It changes no verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::chain::Role;
use crate::chunk::ChunkManifest;
use crate::hash::Digest;
use crate::names::Workspace;
use crate::time::Hour;

use super::audit::Audit;
use super::finding::{Check, Finding, Severity};
use super::policy::Policy;
use super::report::WorkspaceReport;

/// What one key signed in one workspace, as far as it was allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The role that the key had when it last signed.
    pub role: Role,
    /// Submissions.
    pub submissions: u64,
    /// Events in them.
    pub events: u64,
}

impl Signed {
    pub(super) fn add(&mut self, role: Role, events: u64) {
        self.role = role;
        self.submissions = self.submissions.saturating_add(1);
        self.events = self.events.saturating_add(events);
    }
}

/// What became of a chunk that the log names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkState {
    /// Every row was checked, and nothing is wrong in it.
    Verified,
    /// As before, after an erasure that the log records: payloads are withheld in it.
    Erased,
    /// Retention has removed it, as the log records.
    Pruned,
    /// It was not checked, or not in full: out of scope, outside of the times asked for, not readable, not reached, or
    /// behind a chunk that is broken, so that keys, counters and erasures in it could not be judged.
    Unchecked,
    /// A finding of tampering lies in it.
    Broken,
}

impl ChunkState {
    /// Every state there is, from the best to the worst.
    pub const ALL: [Self; 5] =
        [Self::Verified, Self::Erased, Self::Pruned, Self::Unchecked, Self::Broken];

    /// Its word, for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Erased => "erased",
            Self::Pruned => "pruned",
            Self::Unchecked => "unchecked",
            Self::Broken => "broken",
        }
    }
}

/// A chunk that the log names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkReport {
    /// Its newest manifest.
    pub manifest: Arc<ChunkManifest>,
    /// What became of it.
    pub state: ChunkState,
}

/// What was asked for, and each hour and chunk of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// What the auditor asked for.
    pub policy: Policy,
    /// The log's root, as its checkpoint states it.
    pub log_root: Option<Digest>,
    /// The hours that have a note, in the order of the log.
    pub hours: Vec<Hour>,
    /// Every chunk that the log names, in the order of the log.
    pub chunks: Vec<ChunkReport>,
}

impl Audit {
    /// The detail of what was found, once the findings are all there.
    pub(super) fn detail(&self, workspaces: &[WorkspaceReport]) -> Detail {
        let marks = Marks::of(&self.findings);
        let mut reached: BTreeMap<&Workspace, u64> =
            workspaces.iter().map(|report| (&report.workspace, report.chunks)).collect();
        let mut cut: BTreeSet<&Workspace> = BTreeSet::new();
        let chunks = self.walk.chunks.iter().map(|chunk| {
            let manifest = &chunk.manifest;
            // Chunks are reached in the order of their chain.
            let left = reached.get_mut(&manifest.workspace).filter(|left| **left > 0);
            let is_reached = left.map(|left| *left -= 1).is_some();
            let state = if marks.is_broken(manifest) {
                ChunkState::Broken
            } else if chunk.pruned {
                ChunkState::Pruned
            } else if !is_reached
                || !self.policy.in_time(manifest.hour)
                || marks.unread.contains(manifest.object.as_str())
                || cut.contains(&manifest.workspace)
            {
                ChunkState::Unchecked
            } else if chunk.superseded.is_empty() {
                ChunkState::Verified
            } else {
                ChunkState::Erased
            };
            let is_gap = matches!(state, ChunkState::Broken | ChunkState::Unchecked);
            if is_gap && marks.judged_in_part.contains(&manifest.workspace) {
                cut.insert(&manifest.workspace);
            }
            ChunkReport { manifest: Arc::clone(manifest), state }
        });
        let chunks = chunks.collect();
        Detail {
            policy: self.policy.clone(),
            log_root: self.checkpoint.as_ref().map(|checkpoint| checkpoint.root),
            hours: self.walk.hours.clone(),
            chunks,
        }
    }
}

/// Where findings of chunks lie.
struct Marks<'f> {
    broken: BTreeSet<&'f str>,
    unread: BTreeSet<&'f str>,
    /// Workspaces that could not be judged from some chunk on.
    judged_in_part: BTreeSet<&'f Workspace>,
    /// Entries of which a check along the chain found something.
    entries: BTreeSet<(&'f Workspace, u64)>,
}

impl<'f> Marks<'f> {
    fn of(findings: &'f [Finding]) -> Self {
        let mut marks = Self {
            broken: BTreeSet::new(),
            unread: BTreeSet::new(),
            judged_in_part: BTreeSet::new(),
            entries: BTreeSet::new(),
        };
        for Finding { check, place, .. } in findings {
            let object = place.object.as_deref();
            match check.severity() {
                Severity::Tampering => {
                    marks.broken.extend(object);
                    marks.entries.extend(place.workspace.as_ref().zip(place.seq));
                }
                Severity::Unfinished => {
                    marks.unread.extend(object);
                    if *check == Check::Unchecked {
                        marks.judged_in_part.extend(&place.workspace);
                    }
                }
                Severity::Policy | Severity::Notice => {}
            }
        }
        marks
    }

    fn is_broken(&self, manifest: &ChunkManifest) -> bool {
        let (first, last) = (manifest.first_seq.get(), manifest.last_seq.get());
        let workspace = &manifest.workspace;
        let entries = (workspace, first)..=(workspace, last);
        // A manifest of a hostile log may end before it starts.
        let has_entry = first <= last && self.entries.range(entries).next().is_some();
        self.broken.contains(manifest.object.as_str()) || has_entry
    }
}

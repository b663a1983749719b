//! What an audit asks a store for once the log is read: everything that the log names, but for what was
//! checked before, or lies outside of what the auditor asks for.

use std::sync::Arc;

use crate::layout::Artefact;
use crate::names::Workspace;

use super::audit::{Audit, Depth, Expected, Need, Phase};
use super::finding::{Check, Finding, Place};
use super::log::LoggedChunk;

impl Audit {
    pub(super) fn in_scope(&self, workspace: &Workspace) -> bool {
        self.policy.workspace.as_ref().is_none_or(|scope| scope == workspace)
    }

    /// Everything that the log names, and what it does not name.
    pub(super) fn begin_objects(&mut self) {
        self.walk.seal.end(&self.checkpoint_note, self.walk.size);
        self.expect_copies();
        for index in 0..self.walk.chunks.len() {
            self.expect_chunk(index);
        }
        self.expect_rollups();
        self.queue.extend(self.expected.keys().cloned().map(Need::Object));
        if self.log_is_whole() {
            self.unknown_objects();
        }
        self.enter(Phase::Objects);
        self.merge_ready();
        self.end_objects();
    }

    /// The archive's own copies of what the log holds.
    fn expect_copies(&mut self) {
        let compared = self.resumed.as_ref().map_or(0, |resumed| resumed.compared);
        for (leaf, artefact, digest) in std::mem::take(&mut self.walk.copies) {
            let workspace = match &artefact {
                Artefact::Manifest { range, .. } => Some(&range.workspace),
                Artefact::RollupNote(place) => Some(&place.workspace),
                Artefact::HourNote(_)
                | Artefact::HourHeads(_)
                | Artefact::Checkpoint
                | Artefact::Tile { .. }
                | Artefact::Bundle { .. }
                | Artefact::Events { .. }
                | Artefact::RollupSql { .. }
                | Artefact::Rollup(_) => None,
            };
            if workspace.is_some_and(|workspace| !self.in_scope(workspace)) {
                continue;
            }
            if leaf < compared {
                self.still_there(
                    &artefact.to_string(),
                    Check::CopyMissing,
                    Place::object(&artefact),
                );
                self.known.insert(artefact);
                continue;
            }
            let (missing, differs) = (Some(Check::CopyMissing), Check::CopyDiffers);
            self.expected.insert(artefact, Expected { digest, stated: None, missing, differs });
        }
    }

    /// An object that was checked before is not fetched again; it has to be listed.
    pub(super) fn still_there(&mut self, key: &str, missing: Check, place: Place) {
        if !self.unlisted && !self.listed.contains(key) {
            self.findings.push(Finding::new(missing, place));
        }
    }

    fn expect_chunk(&mut self, index: usize) {
        let Some(chunk) = self.walk.chunks.get(index).cloned() else {
            return;
        };
        if !self.in_scope(&chunk.manifest.workspace) {
            return;
        }
        // Of what was pruned, a store is asked for what it lists: the rest is gone for good.
        let now = Some(&chunk.manifest).filter(|m| chunk.pruned && self.listed.contains(&m.object));
        for manifest in chunk.superseded.iter().chain(now) {
            if let Some(artefact) = Artefact::parse(&manifest.object) {
                self.expected.insert(artefact, Expected::stale(manifest.digest));
            }
        }
        let LoggedChunk { manifest, pruned, leaf, .. } = chunk;
        let resumed = self.resumed.as_ref().filter(|resumed| resumed.knows(&manifest));
        let depth = match resumed {
            Some(resumed) if leaf < resumed.size => {
                if !pruned {
                    let place = Place::chunk(&manifest);
                    self.still_there(&manifest.object, Check::ObjectMissing, place);
                }
                return;
            }
            Some(_) if pruned => {
                if let Some(check) = self.workspaces.get_mut(&manifest.workspace) {
                    check.pruned_since(&manifest);
                }
                return;
            }
            Some(_) => Depth::Again,
            None if self.policy.in_time(manifest.hour) => Depth::Whole,
            None => Depth::Keys,
        };
        self.order.push_back((index, depth));
        if !pruned {
            if depth != Depth::Keys {
                self.total = self.total.saturating_add(manifest.rows());
            }
            self.queue.push_back(Need::Chunk { index, manifest: Arc::clone(&manifest), depth });
        }
    }
}

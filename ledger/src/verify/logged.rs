//! The log as far as it stands by itself, for whoever needs no audit of the whole archive: who makes
//! a proof of one event, or compares receipts.
//!
//! The walk is that of [`Audit`]: answer its needs up to the first that is not for the log.

use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::chunk::ChunkManifest;
use crate::hash::Digest;
use crate::names::{Seq, Workspace};
use crate::time::Hour;

use super::audit::Audit;
use super::finding::{Check, Finding, Place, Severity};
use super::log::LoggedChunk;

/// A chunk as the log has it.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    /// The newest manifest of its range.
    pub manifest: &'a ChunkManifest,
    /// `H` of that manifest's whole note.
    pub note: Digest,
    /// Whether retention has removed its object, as a prune record says.
    pub pruned: bool,
}

/// What a log comes to at its end.
#[derive(Clone, Debug)]
pub struct LoggedEnd {
    /// What its checkpoint says.
    pub checkpoint: Checkpoint,
    /// The checkpoint's whole note.
    pub checkpoint_note: Vec<u8>,
    /// The last hour that has a note.
    pub last_hour: Option<Hour>,
}

impl Audit {
    /// The end of the log, once it has been read and nothing was found in it that forbids to go on: no
    /// tampering, and nothing that could not be checked. Else what was found.
    pub fn log_end(&mut self) -> Result<LoggedEnd, Vec<Finding>> {
        self.check_seen();
        let all = [&self.findings, &self.walk.findings, &self.walk.seal.findings];
        let mut grave: Vec<Finding> = all.into_iter().flatten().cloned().collect();
        grave.retain(|finding| finding.check.severity() >= Severity::Unfinished);
        match &self.checkpoint {
            Some(checkpoint) if grave.is_empty() && self.log_is_whole() => Ok(LoggedEnd {
                checkpoint: checkpoint.clone(),
                checkpoint_note: self.checkpoint_note.clone(),
                last_hour: self.walk.last_hour,
            }),
            _ => {
                if grave.is_empty() {
                    let finding = Finding::new(Check::Unchecked, Place::default());
                    grave.push(finding.because("the log was not read to its end"));
                }
                grave.sort_by(|a, b| {
                    b.check.severity().cmp(&a.check.severity()).then_with(|| a.cmp(b))
                });
                grave.dedup();
                Err(grave)
            }
        }
    }

    /// The chunks of a workspace, in the order of its chain.
    pub fn logged(&self, workspace: &Workspace) -> impl Iterator<Item = Logged<'_>> {
        let of = self.walk.pruning.of(workspace);
        of.iter().filter_map(|index| self.walk.chunks.get(*index)).map(
            |LoggedChunk { manifest, note, pruned, .. }| Logged {
                manifest,
                note: *note,
                pruned: *pruned,
            },
        )
    }

    /// The chunks whose rows this audit was asked for, in the order of the log, but for those that are pruned: what
    /// may be read once the verdict is known. Their objects are those that have the digests stated here.
    pub fn asked_for(&self) -> Vec<Arc<ChunkManifest>> {
        let asked = |chunk: &&LoggedChunk| {
            let manifest = &chunk.manifest;
            !chunk.pruned
                && self.in_scope(&manifest.workspace)
                && self.policy.in_time(manifest.hour)
        };
        self.walk.chunks.iter().filter(asked).map(|chunk| Arc::clone(&chunk.manifest)).collect()
    }

    /// The chunk of a workspace that holds a seq.
    pub fn logged_at(&self, workspace: &Workspace, seq: Seq) -> Option<Logged<'_>> {
        let of = self.walk.pruning.of(workspace);
        let manifest = |at: &usize| self.walk.chunks.get(*at).map(|chunk| &chunk.manifest);
        // Chunks of one chain follow on each other, or the log was found wrong already.
        let at = of.partition_point(|at| manifest(at).is_some_and(|m| m.last_seq < seq));
        let LoggedChunk { manifest, note, pruned, .. } = self.walk.chunks.get(*of.get(at)?)?;
        let logged = Logged { manifest, note: *note, pruned: *pruned };
        (manifest.first_seq <= seq).then_some(logged)
    }

    /// The newest entry of a workspace.
    pub fn logged_head(&self, workspace: &Workspace) -> Option<Seq> {
        self.walk.heads.get(workspace).map(|(seq, _)| seq)
    }
}

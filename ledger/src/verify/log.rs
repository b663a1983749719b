//! The walk over the log: every leaf in order, each against those before (FORMAT sections 7, 8).
//!
//! Here: manifests that follow on each other, hour notes without a gap, heads, amendments. Not
//! here: who signed them (see [`super::seal`]), prune records (see [`super::prune`]), rollups (see
//! [`super::rollup`]), and the objects that manifests name (see [`super::chunk`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chunk::{self, ChunkManifest};
use crate::entry::genesis_link;
use crate::hash::Digest;
use crate::hour::{self, Heads, HourNote};
use crate::layout::{Artefact, Range};
use crate::names::{Origin, Seq, Workspace};
use crate::note::Note;
use crate::prune;
use crate::rollup;
use crate::succession::{REVOCATION, SUCCESSION};
use crate::time::{Hour, Micros};

use super::finding::{Check, Finding, Place};
use super::policy::Trust;
use super::prune::Pruning;
use super::rollup::Rollups;
use super::seal::SealCheck;

/// A chunk as the log has it: its newest manifest, and the objects that amendments superseded.
#[derive(Clone, Debug)]
pub(super) struct LoggedChunk {
    pub(super) manifest: Arc<ChunkManifest>,
    pub(super) note: Digest,
    pub(super) superseded: Vec<Arc<ChunkManifest>>,
    /// Leaf and note of each manifest, the superseded ones first.
    pub(super) notes: Vec<(u64, Digest)>,
    /// Whether a prune record lets its object go.
    pub(super) pruned: bool,
    /// The newest leaf that speaks of it: its manifest, an amendment, or a prune record.
    pub(super) leaf: u64,
}

impl LoggedChunk {
    /// The manifest and the note in force right before a leaf, and the leaf of that note; `None` where the chunk was
    /// not logged yet.
    pub(super) fn in_force(&self, leaf: u64) -> Option<(&Arc<ChunkManifest>, Digest, u64)> {
        let at = self.notes.partition_point(|(at, _)| *at < leaf).checked_sub(1)?;
        let (leaf, note) = *self.notes.get(at)?;
        Some((self.superseded.get(at).unwrap_or(&self.manifest), note, leaf))
    }
}

/// The end of a workspace's chain, as far as the log has been read.
#[derive(Clone, Debug)]
struct Tail {
    last_seq: Seq,
    last_link: Digest,
    last_at: Micros,
    hour: Hour,
    part: u64,
    note: Digest,
}

/// What has been read of the log.
#[derive(Debug)]
pub(super) struct LogWalk {
    pub(super) origin: Origin,
    pub(super) seal: SealCheck,
    pub(super) size: u64,
    tails: BTreeMap<Workspace, Tail>,
    /// Every chunk, in the order of its original manifest.
    pub(super) chunks: Vec<LoggedChunk>,
    by_range: BTreeMap<Range, usize>,
    pub(super) pruning: Pruning,
    pub(super) rollups: Rollups,
    pub(super) heads: Heads,
    /// The digests that copies in the archive must have, each with its leaf.
    pub(super) copies: Vec<(u64, Artefact, Digest)>,
    /// The hour whose note comes next; `None` before the ledger's first entry.
    open_hour: Option<Hour>,
    open_chunks: u64,
    pub(super) first_hour: Option<Hour>,
    pub(super) last_hour: Option<Hour>,
    /// The hour of each hour note, in the order of the log.
    pub(super) hours: Vec<Hour>,
    prev_hour: Digest,
    pub(super) findings: Vec<Finding>,
}

impl LogWalk {
    pub(super) fn new(trust: &Trust) -> Self {
        Self {
            origin: trust.origin.clone(),
            seal: SealCheck::new(trust),
            size: 0,
            tails: BTreeMap::new(),
            chunks: Vec::new(),
            by_range: BTreeMap::new(),
            pruning: Pruning::default(),
            rollups: Rollups::default(),
            heads: Heads::new(),
            copies: Vec::new(),
            open_hour: None,
            open_chunks: 0,
            first_hour: None,
            last_hour: None,
            hours: Vec::new(),
            prev_hour: Digest::ZERO,
            findings: Vec::new(),
        }
    }

    /// Reads the next leaf, and gives its hash.
    pub(super) fn leaf(&mut self, data: &[u8]) -> Digest {
        let index = self.size;
        self.size += 1;
        let place = Place::leaf(index);
        let note = Note::parse(data);
        let hash = self.seal.leaf(data, note.as_ref().ok());
        match note {
            Err(error) => {
                self.findings.push(Finding::new(Check::LeafSignature, place).because(error));
            }
            Ok(note) => match note.body().lines().next() {
                Some(chunk::KIND) => self.manifest(note.body(), Digest::of(data), place),
                Some(hour::KIND) => self.hour(note.body(), Digest::of(data), place),
                Some(prune::KIND) => self.prune(note.body(), place),
                Some(rollup::KIND) => self.rollup(note.body(), Digest::of(data), place),
                // All that there is to these is who signed what.
                Some(SUCCESSION | REVOCATION) => {}
                kind => self.findings.push(
                    Finding::new(Check::LeafKind, place)
                        .because(format!("`{}`", kind.unwrap_or_default())),
                ),
            },
        }
        hash
    }

    /// The leaf that is being read, or was read last.
    pub(super) fn newest_leaf(&self) -> u64 {
        self.size.saturating_sub(1)
    }

    fn manifest(&mut self, body: &str, note: Digest, place: Place) {
        let manifest = match ChunkManifest::parse(body) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.findings.push(Finding::new(Check::ManifestMalformed, place).because(error));
                return;
            }
        };
        let place = Place { log_index: place.log_index, ..Place::chunk(&manifest) };
        if manifest.origin != self.origin {
            let finding = Finding::new(Check::LeafOrigin, place);
            self.findings.push(finding.differs(&self.origin, &manifest.origin));
            return;
        }
        let copy = Artefact::Manifest { range: manifest.range(), erasure: manifest.erasure() };
        self.copies.push((self.newest_leaf(), copy, note));
        if manifest.is_original() {
            self.original(manifest, note, &place);
        } else {
            self.amendment(manifest, note, place);
        }
    }

    fn original(&mut self, manifest: ChunkManifest, note: Digest, place: &Place) {
        let mut differs = |check, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected != found {
                let finding = Finding::new(check, place.clone()).differs(expected, found);
                self.findings.push(finding);
            }
        };
        let workspace = &manifest.workspace;
        let tail = self.tails.get(workspace);
        let first = tail.map_or(Some(Seq::FIRST), |tail| tail.last_seq.next());
        let first = first.map_or_else(|| "none: the chain is full".to_owned(), |s| s.to_string());
        differs(Check::ManifestSeq, &first, &manifest.first_seq);
        let link =
            tail.map_or_else(|| genesis_link(&manifest.origin, workspace), |tail| tail.last_link);
        differs(Check::ManifestLink, &link, &manifest.prev_link);
        let previous = tail.map_or(Digest::ZERO, |tail| tail.note);
        differs(Check::ManifestPrevious, &previous, &manifest.prev_manifest);
        let part = tail
            .filter(|tail| tail.hour == manifest.hour)
            .map_or(0, |tail| tail.part.saturating_add(1));
        differs(Check::ManifestPart, &part, &manifest.part);
        let open_hour = *self.open_hour.get_or_insert(manifest.hour);
        differs(Check::ManifestHour, &open_hour, &manifest.hour);
        if let Some(tail) = tail.filter(|tail| manifest.first_recorded_at < tail.last_at) {
            let expected = format!("{} or later", tail.last_at);
            differs(Check::ManifestTime, &expected, &manifest.first_recorded_at);
        }
        self.open_chunks += 1;
        self.heads.set(workspace.clone(), manifest.last_seq, manifest.last_link);
        let tail = Tail {
            last_seq: manifest.last_seq,
            last_link: manifest.last_link,
            last_at: manifest.last_recorded_at,
            hour: manifest.hour,
            part: manifest.part,
            note,
        };
        self.tails.insert(workspace.clone(), tail);
        self.by_range.insert(manifest.range(), self.chunks.len());
        self.pruning.chunk(workspace, self.chunks.len());
        let leaf = self.newest_leaf();
        let (manifest, notes) = (Arc::new(manifest), vec![(leaf, note)]);
        let superseded = Vec::new();
        let chunk = LoggedChunk { manifest, note, superseded, notes, pruned: false, leaf };
        self.chunks.push(chunk);
    }

    fn amendment(&mut self, manifest: ChunkManifest, note: Digest, place: Place) {
        let leaf = self.newest_leaf();
        let amended = self.by_range.get(&manifest.range()).copied();
        let Some(chunk) = amended.and_then(|index| self.chunks.get_mut(index)) else {
            let finding = Finding::new(Check::Amendment, place);
            self.findings.push(finding.because("no manifest of this range stands before it"));
            return;
        };
        if chunk.pruned {
            let finding = Finding::new(Check::Amendment, place.clone());
            self.findings.push(finding.because("the chunk was pruned before"));
        }
        let before = &chunk.manifest;
        if manifest.amends != chunk.note {
            let finding = Finding::new(Check::Amendment, place.clone());
            self.findings.push(finding.differs(chunk.note, manifest.amends));
        }
        // Everything but the object and what it amends stays as it was.
        let expected = ChunkManifest {
            amends: manifest.amends,
            object: manifest.object.clone(),
            digest: manifest.digest,
            ..ChunkManifest::clone(before)
        };
        if manifest != expected || manifest.erasure() <= before.erasure() {
            let finding = Finding::new(Check::Amendment, place);
            self.findings.push(finding.because(
                "an amendment keeps every line but amends and object, and its object is a later one",
            ));
        }
        let before = std::mem::replace(&mut chunk.manifest, Arc::new(manifest));
        chunk.superseded.push(before);
        chunk.notes.push((leaf, note));
        chunk.note = note;
        chunk.leaf = leaf;
    }

    fn hour(&mut self, body: &str, note: Digest, place: Place) {
        let hour_note = match HourNote::parse(body) {
            Ok(hour_note) => hour_note,
            Err(error) => {
                self.findings.push(Finding::new(Check::HourMalformed, place).because(error));
                return;
            }
        };
        let place = Place { hour: Some(hour_note.hour), ..place };
        let mut differs = |check, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected != found {
                let finding = Finding::new(check, place.clone()).differs(expected, found);
                self.findings.push(finding);
            }
        };
        differs(Check::LeafOrigin, &self.origin, &hour_note.origin);
        match self.open_hour {
            Some(open) => differs(Check::HourOrder, &open, &hour_note.hour),
            None => differs(Check::HourOrder, &"the first entry's hour", &hour_note.hour),
        }
        differs(Check::HourPrevious, &self.prev_hour, &hour_note.prev_hour);
        differs(
            Check::HourCounts,
            &format!("chunks {}, workspaces {}", self.open_chunks, self.heads.len()),
            &format!("chunks {}, workspaces {}", hour_note.chunks, hour_note.workspaces),
        );
        differs(Check::HourHeads, &self.heads.root(), &hour_note.heads_root);
        let (leaf, hour) = (self.newest_leaf(), hour_note.hour);
        self.copies.push((leaf, Artefact::HourNote(hour), note));
        let heads = Digest::of(self.heads.to_text().as_bytes());
        self.copies.push((leaf, Artefact::HourHeads(hour), heads));
        self.first_hour.get_or_insert(hour_note.hour);
        self.last_hour = Some(hour_note.hour);
        self.hours.push(hour_note.hour);
        self.open_hour = hour_note.hour.next();
        self.open_chunks = 0;
        self.prev_hour = note;
    }

    /// Whether an object would amend a chunk as the log has it, had the log a leaf for it.
    pub(super) fn may_amend(&self, range: &Range, erasure: u32) -> bool {
        let chunk = self.by_range.get(range).and_then(|index| self.chunks.get(*index));
        chunk.is_some_and(|chunk| erasure > chunk.manifest.erasure())
    }

    /// Whether a chunk of this workspace was logged so far.
    pub(super) fn has_chunk_of(&self, workspace: &Workspace) -> bool {
        self.tails.contains_key(workspace)
    }

    /// Checks what the log comes to at its end.
    pub(super) fn finish(&mut self) {
        if self.open_chunks > 0 {
            let finding =
                Finding::new(Check::HourOpen, Place { hour: self.open_hour, ..Place::default() });
            self.findings.push(finding.because(format!("{} chunks", self.open_chunks)));
        }
    }
}

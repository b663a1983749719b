//! The audit of one archive: asks for objects, takes bytes, ends in a report.
//!
//! Pure: the driver fetches, decodes Parquet and decides what runs in parallel. Nothing is
//! believed because the store lists it: the log says which objects there must be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::chunk::{ChunkManifest, ObjectDigest};
use crate::hash::Digest;
use crate::layout::{self, Artefact, TileBuilder};
use crate::limits::TILE_WIDTH;
use crate::names::Workspace;
use crate::note::Note;

use super::chunk::ChunkOutcome;
use super::finding::{Check, Finding, Place};
use super::ids::IdRuns;
use super::lock::Lock;
use super::log::LogWalk;
use super::policy::{Policy, Trust};
use super::report::InputDigest;
use super::rollup::RollupCheck;
use super::state::Resumed;
use super::workspace::WorkspaceCheck;

/// What the audit needs next.
#[derive(Clone, Debug)]
pub enum Need {
    /// The keys of all objects in the store: answer with [`Audit::listing`].
    Listing,
    /// The bytes of an object: answer with [`Audit::object`].
    Object(Artefact),
    /// The rows of a chunk, checked by a [`super::ChunkCheck`]: answer with [`Audit::chunk`].
    Chunk {
        /// Names the chunk in the answer.
        index: usize,
        /// What it must hold.
        manifest: Arc<ChunkManifest>,
        /// How far it is to be checked.
        depth: Depth,
    },
}

/// How far a chunk is to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Row by row.
    Whole,
    /// Row by row once more: an erasure has replaced its object since it was checked before.
    Again,
    /// It lies outside of the times asked for: row by row only where a column says that it holds a `ledger.` event,
    /// else just by its object's digest ([`ChunkOutcome::outside`]).
    Keys,
}

/// What an object's bytes must be, and which check fails where they are not.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) digest: Digest,
    /// What a manifest states of it beyond that.
    pub(super) stated: Option<ObjectDigest>,
    pub(super) missing: Option<Check>,
    pub(super) differs: Check,
}

impl Expected {
    /// An object that need not be there any more.
    pub(super) fn stale(stated: ObjectDigest) -> Self {
        let (digest, differs) = (stated.sha256, Check::StaleObject);
        Self { digest, stated: Some(stated), missing: None, differs }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Listing,
    Checkpoint,
    Bundles,
    Objects,
    Done,
}

/// The state machine. Ask [`Audit::need`] until it gives `None` with every answer given; then
/// [`Audit::finish`].
#[derive(Debug)]
pub struct Audit {
    pub(super) trust: Trust,
    pub(super) policy: Policy,
    phase: Phase,
    asked: bool,
    pub(super) listed: BTreeSet<String>,
    /// Partial tiles and bundles among them: few, as fuller ones replace them.
    partials: Vec<Artefact>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) checkpoint_note: Vec<u8>,
    pub(super) checkpoint_input: Option<InputDigest>,
    pub(super) walk: LogWalk,
    tiles: TileBuilder,
    pub(super) expected: BTreeMap<Artefact, Expected>,
    pub(super) queue: VecDeque<Need>,
    outstanding: usize,
    /// Chunks to check, as indices into the walk's, in log order; and how many are merged.
    pub(super) order: VecDeque<(usize, Depth)>,
    /// Objects that the log names and that need not be fetched again.
    pub(super) known: BTreeSet<Artefact>,
    /// What is gone on from, where an audit is resumed.
    pub(super) resumed: Option<Resumed>,
    /// The store did not list its objects: none can be said to be missing from the listing.
    pub(super) unlisted: bool,
    /// Events in the chunks that are checked row by row.
    pub(super) total: u64,
    outcomes: BTreeMap<usize, ChunkOutcome>,
    pub(super) workspaces: BTreeMap<Workspace, WorkspaceCheck>,
    /// The ids of each chunk that was merged, sorted, where the driver has not taken them.
    pub(super) ids: IdRuns,
    pub(super) chunks: u64,
    pub(super) payload_bytes: u64,
    /// What is known of rollups beside the log.
    pub(super) rollups: RollupCheck,
    pub(super) lock: Lock,
    pub(super) findings: Vec<Finding>,
}

impl Audit {
    /// Starts an audit.
    pub fn new(trust: Trust, policy: Policy) -> Self {
        let walk = LogWalk::new(&trust);
        Self {
            trust,
            policy,
            phase: Phase::Listing,
            asked: false,
            listed: BTreeSet::new(),
            partials: Vec::new(),
            checkpoint: None,
            checkpoint_note: Vec::new(),
            checkpoint_input: None,
            walk,
            tiles: TileBuilder::new(),
            expected: BTreeMap::new(),
            queue: VecDeque::new(),
            outstanding: 0,
            order: VecDeque::new(),
            known: BTreeSet::new(),
            resumed: None,
            unlisted: false,
            total: 0,
            outcomes: BTreeMap::new(),
            workspaces: BTreeMap::new(),
            chunks: 0,
            ids: IdRuns::new(),
            payload_bytes: 0,
            rollups: RollupCheck::default(),
            lock: Lock::Unknown,
            findings: Vec::new(),
        }
    }

    /// What to bring next. `None` until outstanding answers are given, and at the end.
    pub fn need(&mut self) -> Option<Need> {
        match self.phase {
            Phase::Listing => self.once(Need::Listing),
            Phase::Checkpoint => self.once(Need::Object(Artefact::Checkpoint)),
            Phase::Bundles => {
                let bundle = self.bundle()?;
                self.once(Need::Object(bundle))
            }
            Phase::Objects => {
                let need = self.queue.pop_front()?;
                self.outstanding += 1;
                Some(need)
            }
            Phase::Done => None,
        }
    }

    /// How many leaves of the log, and how many chunks, there are to check in all; the second is
    /// known once the log is read.
    pub fn extent(&self) -> (u64, usize) {
        (self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size), self.order.len())
    }

    /// How many events there are in the chunks that are checked row by row; known once the log is read.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn once(&mut self, need: Need) -> Option<Need> {
        (!std::mem::replace(&mut self.asked, true)).then_some(need)
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.asked = false;
    }

    /// Takes the keys of all objects that lie in the store.
    pub fn listing(&mut self, keys: impl IntoIterator<Item = String>) {
        self.listed.extend(keys);
        let partials = self.listed.iter().filter(|key| key.contains(".p/"));
        self.partials = partials.filter_map(|key| Artefact::parse(key)).collect();
        self.enter(Phase::Checkpoint);
    }

    /// Takes word that something could not be read: not that it is missing.
    pub fn unreadable(&mut self, need: &Need, reason: impl ToString) {
        let place = match need {
            Need::Listing => Place::default(),
            Need::Object(artefact) => Place::object(artefact),
            Need::Chunk { manifest, .. } => Place::chunk(manifest),
        };
        let finding = Finding::new(Check::Unreadable, place).because(reason);
        match need {
            Need::Listing => {
                self.findings.push(finding);
                self.unlisted = true;
                self.enter(Phase::Checkpoint);
            }
            Need::Object(artefact) => {
                self.findings.push(finding);
                match self.phase {
                    Phase::Objects => self.answered(artefact),
                    _ => self.enter(Phase::Done),
                }
            }
            Need::Chunk { index, .. } => self.chunk(*index, ChunkOutcome::broken(finding)),
        }
    }

    /// Takes the bytes of an object, or that it is not there.
    pub fn object(&mut self, artefact: &Artefact, bytes: Option<&[u8]>) {
        match self.phase {
            Phase::Checkpoint => self.take_checkpoint(bytes),
            Phase::Bundles => self.take_bundle(artefact, bytes),
            Phase::Objects => {
                self.compare(artefact, bytes);
                self.answered(artefact);
            }
            Phase::Listing | Phase::Done => {}
        }
    }

    fn answered(&mut self, artefact: &Artefact) {
        self.expected.remove(artefact);
        self.outstanding = self.outstanding.saturating_sub(1);
        self.end_objects();
    }

    fn take_checkpoint(&mut self, bytes: Option<&[u8]>) {
        let place = Place::object(Artefact::Checkpoint);
        let Some(bytes) = bytes else {
            let known = self.listed.iter().any(|key| Artefact::parse(key).is_some());
            let check = if known { Check::CheckpointMissing } else { Check::NoArchive };
            self.findings.push(Finding::new(check, place));
            return self.enter(Phase::Done);
        };
        self.checkpoint_input =
            Some(InputDigest { name: Artefact::Checkpoint.to_string(), sha256: Digest::of(bytes) });
        let note = Note::parse(bytes).map_err(|error| error.to_string());
        let read = note.and_then(|note| Checkpoint::parse(note.body()).map_err(|e| e.to_string()));
        let checkpoint = match read {
            Ok(checkpoint) => checkpoint,
            Err(reason) => {
                self.findings.push(Finding::new(Check::CheckpointMalformed, place).because(reason));
                return self.enter(Phase::Done);
            }
        };
        if checkpoint.origin != self.trust.origin {
            let finding = Finding::new(Check::CheckpointOrigin, place);
            self.findings.push(finding.differs(&self.trust.origin, &checkpoint.origin));
        }
        self.checkpoint_note = bytes.to_vec();
        self.checkpoint = Some(checkpoint);
        self.enter(Phase::Bundles);
        self.end_bundles();
    }

    /// The entry bundle that the walk stands before.
    fn bundle(&self) -> Option<Artefact> {
        let size = self.checkpoint.as_ref()?.size;
        let index = self.walk.size / TILE_WIDTH;
        let width = size.checked_sub(self.walk.size)?.min(TILE_WIDTH);
        Some(Artefact::Bundle { index, width: u16::try_from(width).ok().filter(|w| *w > 0)? })
    }

    fn take_bundle(&mut self, artefact: &Artefact, bytes: Option<&[u8]>) {
        self.asked = false;
        let Artefact::Bundle { index, width } = *artefact else {
            return;
        };
        let Some(bytes) = bytes else {
            self.findings.push(Finding::new(Check::LogMissing, Place::object(artefact)));
            return self.stop_log();
        };
        let entries = match layout::decode_bundle(bytes, width) {
            Ok(entries) => entries,
            Err(error) => {
                let finding = Finding::new(Check::LogMalformed, Place::object(artefact));
                self.findings.push(finding.because(error));
                return self.stop_log();
            }
        };
        for entry in &entries {
            let hash = self.walk.leaf(entry);
            for (tile, bytes) in self.tiles.push(hash) {
                self.expect_tile(&tile, &bytes);
            }
        }
        for stale in self.stale(|listed| match *listed {
            Artefact::Bundle { index: i, width: w } if i == index && w < width => Some(w),
            _ => None,
        }) {
            let prefix = entries.iter().take(usize::from(stale.1)).copied();
            let digest = layout::encode_bundle(prefix).map(|bytes| Digest::of(&bytes));
            self.expect_stale(stale.0, digest.unwrap_or(Digest::ZERO));
        }
        self.end_bundles();
    }

    /// Narrower versions of a tile or bundle that still lie in the store, with their widths.
    fn stale(&self, width: impl Fn(&Artefact) -> Option<u16>) -> Vec<(Artefact, u16)> {
        let narrower = |listed: &Artefact| width(listed).map(|width| (listed.clone(), width));
        self.partials.iter().filter_map(narrower).collect()
    }

    fn expect_stale(&mut self, artefact: Artefact, digest: Digest) {
        let differs = Check::StaleObject;
        self.expected.insert(artefact, Expected { digest, stated: None, missing: None, differs });
    }

    fn expect_tile(&mut self, tile: &Artefact, bytes: &[u8]) {
        let Artefact::Tile { level, index, width } = *tile else {
            return;
        };
        for (artefact, narrower) in self.stale(|listed| match *listed {
            Artefact::Tile { level: l, index: i, width: w }
                if (l, i) == (level, index) && w < width =>
            {
                Some(w)
            }
            _ => None,
        }) {
            let prefix = bytes.get(..32 * usize::from(narrower)).unwrap_or_default();
            self.expect_stale(artefact, Digest::of(prefix));
        }
        let expected = Expected {
            digest: Digest::of(bytes),
            stated: None,
            missing: Some(Check::LogMissing),
            differs: Check::TileWrong,
        };
        self.expected.insert(tile.clone(), expected);
    }

    /// The log cannot be read to its end: what has been read is still checked.
    fn stop_log(&mut self) {
        let finding = Finding::new(Check::Unchecked, Place::leaf(self.walk.size));
        self.findings.push(finding.because("the log from this leaf on, and all that it names"));
        self.begin_objects();
    }

    /// Whether every leaf has been read. What is not named can be judged only then: a bundle that
    /// could not be fetched must not look like a workspace that was taken out.
    pub(super) fn log_is_whole(&self) -> bool {
        self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.size == self.walk.size)
    }

    fn end_bundles(&mut self) {
        let Some(checkpoint) = self.checkpoint.clone() else {
            return;
        };
        if self.walk.size < checkpoint.size {
            return;
        }
        let root = self.tiles.root();
        if root != checkpoint.root {
            let finding = Finding::new(Check::LogRoot, Place::object(Artefact::Checkpoint));
            self.findings.push(finding.differs(checkpoint.root, root));
        }
        for (tile, bytes) in self.tiles.partial() {
            self.expect_tile(&tile, &bytes);
        }
        self.walk.finish();
        self.begin_objects();
    }

    fn compare(&mut self, artefact: &Artefact, bytes: Option<&[u8]>) {
        let Some(expected) = self.expected.get(artefact) else {
            return;
        };
        let place = Place::object(artefact);
        match (bytes, expected.missing) {
            (None, Some(check)) => self.findings.push(Finding::new(check, place)),
            (None, None) => {}
            (Some(bytes), _) => {
                let found = Digest::of(bytes);
                if found != expected.digest {
                    let finding = Finding::new(expected.differs, place);
                    let differs = finding
                        .differs(format!("sha256 {}", expected.digest), format!("sha256 {found}"));
                    self.findings.push(differs);
                } else if expected.stated.is_some_and(|stated| stated != ObjectDigest::of(bytes)) {
                    let finding = Finding::new(expected.differs, place);
                    self.findings
                        .push(finding.because("its manifest states another size or BLAKE3"));
                } else if let Artefact::RollupSql { .. } = artefact {
                    self.definition(artefact, bytes);
                }
            }
        }
    }

    /// Takes the outcome of a chunk's check. Outcomes may come in any order; they are merged in
    /// the log's.
    pub fn chunk(&mut self, index: usize, outcome: ChunkOutcome) {
        self.outcomes.insert(index, outcome);
        self.merge_ready();
        self.outstanding = self.outstanding.saturating_sub(1);
        self.end_objects();
    }

    /// Merges what comes next in the log, up to the first chunk whose outcome is still awaited.
    pub(super) fn merge_ready(&mut self) {
        while let Some((index, depth)) = self.order.front().copied() {
            let Some(chunk) = self.walk.chunks.get(index) else { break };
            let outcome = self.outcomes.remove(&index);
            if outcome.is_none() && !chunk.pruned {
                break;
            }
            self.order.pop_front();
            if self.walk.rollups.are_of(&chunk.manifest.workspace) {
                self.rollups.chunk(index, outcome.as_ref());
            }
            let workspace = &chunk.manifest.workspace;
            let pinned = self.trust.workspaces.get(workspace);
            let new = || WorkspaceCheck::new(workspace.clone(), pinned.cloned());
            let check = self.workspaces.entry(workspace.clone()).or_insert_with(new);
            match outcome {
                Some(outcome) if depth == Depth::Again => check.again(&chunk.manifest, outcome),
                Some(outcome) if outcome.outside => check.outside(&chunk.manifest),
                Some(mut outcome) => {
                    self.chunks += 1;
                    self.payload_bytes += outcome.payload_bytes;
                    let ids = std::mem::take(&mut outcome.ids);
                    self.ids.entry(workspace.clone()).or_default().push(ids);
                    check.chunk(&chunk.manifest, outcome);
                }
                None => check.pruned(&chunk.manifest),
            }
        }
    }

    pub(super) fn end_objects(&mut self) {
        if self.phase == Phase::Objects && self.queue.is_empty() && self.outstanding == 0 {
            self.enter(Phase::Done);
            self.check_rollups();
        }
    }

    /// Whether every need has been answered.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }
}

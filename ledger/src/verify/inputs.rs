//! From which chunks a rollup should have been computed: those that held an event of its days when it was logged
//! (FORMAT section 11, `docs/spec/rollups.md`).
//!
//! The rows say it, so it is judged once all that was asked for is there. What is not known of a chunk that is not there
//! is never held against a rollup.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chunk::ChunkManifest;
use crate::hash::Digest;
use crate::names::Workspace;
use crate::rollup::{Definition, RollupManifest, inputs_root};
use crate::time::Day;

use super::audit::Audit;
use super::finding::{Check, Finding, Place};
use super::rollup::{Logged, Occurred};

/// A rollup that the log names, for whoever computes it anew ([`Audit::rollups`]).
#[derive(Clone, Debug)]
pub struct LoggedRollup {
    /// What it says of itself.
    pub manifest: RollupManifest,
    /// Its leaf in the log.
    pub leaf: u64,
    /// Whether it is the newest revision of its day.
    pub newest: bool,
    /// The definition that it was computed by, where the archive holds it.
    pub definition: Option<Definition>,
    /// The chunks that it was computed from: the manifests that were in force, and `H` of their notes, in the order of
    /// those notes in the log. `None` where they cannot be determined (T145), or are not those that it states (T143).
    pub inputs: Option<Vec<(Arc<ChunkManifest>, Digest)>>,
}

/// A chunk that a rollup reads: the leaf of the note in force, that note, and the manifest.
type Input = (u64, Digest, Arc<ChunkManifest>);

/// The chunks that a rollup should have been computed from.
enum Inputs {
    Known(Vec<Input>),
    /// Not all that could matter are there.
    Unchecked,
    /// What keeps them from being known is a finding of its own.
    Broken,
}

/// The chunks of one workspace, by the days that their rows occurred on.
#[derive(Default)]
struct Chunks {
    /// The chunks with a row of this day, as indices into the walk's, in the order of the log.
    on: BTreeMap<Day, Vec<usize>>,
    /// The newest leaf that sealed or amended one of them.
    newest: BTreeMap<Day, u64>,
    /// The first leaf of a chunk of which nothing is known, and of one that is broken.
    unknown: Option<u64>,
    broken: Option<u64>,
    /// Those that were amended, each with the leaf of its newest amendment, the newest first.
    amended: Vec<(u64, usize)>,
}

impl Chunks {
    fn of(audit: &Audit, workspace: &Workspace) -> Self {
        let mut chunks = Self::default();
        for index in audit.walk.pruning.of(workspace).iter().copied() {
            let Some(chunk) = audit.walk.chunks.get(index) else { continue };
            let [(first, _), ..] = chunk.notes[..] else { continue };
            let newest = chunk.notes.last().map_or(first, |(leaf, _)| *leaf);
            match audit.rollups.occurred.get(&index) {
                None => chunks.unknown = chunks.unknown.or(Some(first)),
                Some(Occurred::Broken) => chunks.broken = chunks.broken.or(Some(first)),
                Some(Occurred::On(days)) => {
                    for (day, _) in days {
                        chunks.on.entry(*day).or_default().push(index);
                        let leaf = chunks.newest.entry(*day).or_default();
                        *leaf = newest.max(*leaf);
                    }
                    if newest != first {
                        chunks.amended.push((newest, index));
                    }
                }
            }
        }
        chunks.amended.sort_unstable_by(|a, b| b.cmp(a));
        chunks
    }
}

impl Audit {
    /// The rollups that the log names, of the workspaces that were asked for, in the order of the log. To be called
    /// when every need is answered, and before [`Audit::finish`].
    pub fn rollups(&self) -> Vec<LoggedRollup> {
        let chunks = self.rollup_chunks();
        let of = |(at, rollup): (usize, &Logged)| {
            let manifest = &rollup.manifest;
            let of = chunks.get(&manifest.workspace)?;
            let definition = self.rollups.definition(rollup);
            let inputs = match self.inputs(of, rollup, definition) {
                Inputs::Known(inputs) if difference(rollup, &inputs).is_none() => Some(inputs),
                Inputs::Known(_) | Inputs::Unchecked | Inputs::Broken => None,
            };
            let plain = |(_, note, manifest): Input| (manifest, note);
            Some(LoggedRollup {
                manifest: RollupManifest::clone(manifest),
                leaf: rollup.leaf,
                newest: self.walk.rollups.is_newest(at),
                definition: definition.cloned(),
                inputs: inputs.map(|inputs| inputs.into_iter().map(plain).collect()),
            })
        };
        self.walk.rollups.logged.iter().enumerate().filter_map(of).collect()
    }

    /// Judges the rollups of the workspaces that were asked for, once every chunk is merged.
    pub(super) fn check_rollups(&mut self) {
        let chunks = self.rollup_chunks();
        let judged = self.resumed.as_ref().map_or(0, |resumed| resumed.compared);
        let mut findings = Vec::new();
        let mut unchecked = BTreeMap::<&Workspace, u64>::new();
        let logged = self.walk.rollups.logged.iter().filter(|rollup| rollup.leaf >= judged);
        for rollup in logged {
            let workspace = &rollup.manifest.workspace;
            let Some(of) = chunks.get(workspace) else { continue };
            match self.inputs(of, rollup, self.rollups.definition(rollup)) {
                Inputs::Known(inputs) => findings.extend(difference(rollup, &inputs)),
                Inputs::Unchecked => *unchecked.entry(workspace).or_default() += 1,
                Inputs::Broken => {}
            }
        }
        for (workspace, count) in unchecked {
            let finding = Finding::new(Check::RollupUnchecked, Place::workspace(workspace));
            findings.push(finding.because(format!(
                "{count} rollups: a chunk logged before them is pruned, was amended since, was checked by an earlier \
                 audit, lies outside of the times asked for, or holds too many days"
            )));
        }
        // Of a log that was not read to its end, nobody knows which revision is the newest.
        if self.log_is_whole() {
            findings.extend(self.stale_rollups(&chunks));
        }
        self.findings.append(&mut findings);
    }

    /// The chunks of each workspace that has rollups and was asked for.
    fn rollup_chunks(&self) -> BTreeMap<&Workspace, Chunks> {
        let workspaces = self.walk.rollups.workspaces().filter(|name| self.in_scope(name));
        workspaces.map(|workspace| (workspace, Chunks::of(self, workspace))).collect()
    }

    fn inputs(&self, chunks: &Chunks, rollup: &Logged, definition: Option<&Definition>) -> Inputs {
        let Some(definition) = definition else { return Inputs::Broken };
        let before = |leaf: u64| leaf < rollup.leaf;
        if chunks.unknown.is_some_and(before) {
            return Inputs::Unchecked;
        }
        let (first, last) = definition.window(rollup.manifest.day);
        // An erasure takes away days, and adds that of the recording: what an earlier object held besides is not
        // known, but what is still to be seen was there.
        let is_shown = |index: usize| match self.rollups.occurred.get(&index) {
            Some(Occurred::On(days)) => {
                let from = days.partition_point(|(day, _)| *day < first);
                let behind = days.get(from..).unwrap_or_default();
                behind.iter().take_while(|(day, _)| *day <= last).any(|(_, shown)| *shown)
            }
            Some(Occurred::Broken) | None => false,
        };
        let amended = chunks.amended.iter().take_while(|(leaf, _)| !before(*leaf));
        for (_, index) in amended {
            let chunk = self.walk.chunks.get(*index);
            let was_logged = chunk.is_some_and(|chunk| chunk.in_force(rollup.leaf).is_some());
            if was_logged && !is_shown(*index) {
                return Inputs::Unchecked;
            }
        }
        if chunks.broken.is_some_and(before) {
            return Inputs::Broken;
        }
        let mut indices: Vec<usize> =
            chunks.on.range(first..=last).flat_map(|(_, of)| of).copied().collect();
        indices.sort_unstable();
        indices.dedup();
        let input = |index: usize| {
            let (manifest, note, leaf) = self.walk.chunks.get(index)?.in_force(rollup.leaf)?;
            Some((leaf, note, Arc::clone(manifest)))
        };
        let mut inputs: Vec<Input> = indices.into_iter().filter_map(input).collect();
        inputs.sort_unstable_by_key(|(leaf, ..)| *leaf);
        Inputs::Known(inputs)
    }

    /// The days whose newest figures are older than what they would be computed from now.
    fn stale_rollups(&self, chunks: &BTreeMap<&Workspace, Chunks>) -> Vec<Finding> {
        let mut stale = BTreeMap::new();
        let mut series = self.walk.rollups.newest.iter().peekable();
        while let Some(((name, workspace, day, _), (_, at))) = series.next() {
            // Versions of one day follow on each other: a day is as new as its newest version.
            if series.peek().is_some_and(|((n, w, d, _), _)| (n, w, d) == (name, workspace, day)) {
                continue;
            }
            let Some(rollup) = self.walk.rollups.logged.get(*at) else { continue };
            let Some(of) = chunks.get(workspace) else { continue };
            let Some(definition) = self.rollups.definition(rollup) else { continue };
            let (first, last) = definition.window(*day);
            let newest = of.newest.range(first..=last).map(|(_, leaf)| *leaf).max();
            if newest.is_some_and(|leaf| leaf > rollup.leaf) {
                let (count, _, last) = stale.entry((name, workspace)).or_insert((0_u64, day, day));
                (*count, *last) = (*count + 1, day);
            }
        }
        let finding = |((name, workspace), (count, first, last))| {
            Finding::new(Check::RollupStale, Place::workspace(workspace))
                .because(format!("rollup {name}: {count} days, from {first} to {last}"))
        };
        stale.into_iter().map(finding).collect()
    }
}

/// Where a rollup states other inputs than those that it should have.
fn difference(rollup: &Logged, inputs: &[Input]) -> Option<Finding> {
    let RollupManifest { inputs: count, inputs_root: root, .. } = &*rollup.manifest;
    let expected = inputs_root(inputs.iter().map(|(_, note, _)| note));
    let same = u64::try_from(inputs.len()) == Ok(*count) && expected == *root;
    (!same).then(|| {
        let show = |count: &dyn ToString, root: &Digest| {
            format!("{} chunks with the root {root}", count.to_string())
        };
        Finding::new(Check::RollupInputs, rollup.place())
            .differs(show(&inputs.len(), &expected), show(count, root))
    })
}

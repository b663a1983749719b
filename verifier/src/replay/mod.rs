//! Entries out of a verified archive, for jobs that compute with them.
//!
//! First the whole of what is asked for is verified, as `verify` does it. Only where the verdict is proven are rows
//! read, once more: each object has to have the digests of the manifest that was verified, or nothing of it comes
//! out. So a row that comes out was verified with everything around it: its chain, its key at that place, its erasure. See
//! `docs/replay.md`.
//!
//! Here: [`fn@replay`], [`Selection`], [`Position`], and the forms in which entries are handed on: rows, record batches
//! ([`schema`]), and bytes in a [`Format`] ([`Writer`]).

mod columns;
mod ndjson;
mod position;
mod write;

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use bytes::Bytes;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::Row;
use ledger::names::{Seq, Workspace};
use ledger::time::Micros;
use ledger::verify::{Audit, Check, Finding, Place, Policy, Report, Trust, Verdict};

use crate::audit::{self, Progress, chunk_object, larger};
use crate::part::Parts;
use crate::rows::{Batch, ChunkRows, RowsError};
use crate::state::{ResumeError, StateDirectory};
use crate::store::{ArchiveSource, SourceError};

pub use columns::{What, schema};
pub use position::{Position, PositionError};
pub use write::{Format, WriteError, Writer};

/// Which entries come out, of those that the policy has verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// From this `recorded_at` on.
    pub since: Option<Micros>,
    /// Before this `recorded_at`.
    pub until: Option<Micros>,
    /// Of these types; of all where there is none.
    pub event_types: Vec<String>,
    /// Behind this place.
    pub after: Position,
}

impl Selection {
    fn takes(&self, row: &Row<'_>) -> bool {
        self.since.is_none_or(|since| row.recorded_at >= since.get())
            && (self.event_types.is_empty()
                || self.event_types.iter().any(|kind| *kind == row.derived.event_type))
    }
}

/// Why a replay ended before its end. What came out before is verified, and not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// An object is not what was verified a moment ago.
    #[error("{0}")]
    Changed(Box<Finding>),
    /// An object could not be read again.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The decoder refuses what it took a moment ago.
    #[error("{object}: {error}")]
    Rows {
        /// The object.
        object: String,
        /// Why.
        error: RowsError,
    },
    /// [`Progress::go_on`] said no.
    #[error("it was interrupted")]
    Interrupted,
}

/// Consecutive entries of one workspace that were picked out: some thousand at the most.
pub struct Entries {
    workspace: Workspace,
    batch: Batch,
    picked: BooleanArray,
}

impl Entries {
    /// Whose they are.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The entries, in the order of the chain.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let rows = self.batch.rows().zip(self.picked.values());
        rows.filter_map(|(row, picked)| picked.then_some(row))
    }
}

/// What was asked for, verified, and on its way out.
///
/// Gives entries in the order of the log, each workspace in the order of its chain; none where the verdict is not
/// [`Verdict::Proven`]. After an error it is at its end.
pub struct Replay<'a, S> {
    source: &'a S,
    selection: &'a Selection,
    progress: &'a dyn Progress,
    report: Report,
    chunks: std::vec::IntoIter<Arc<ChunkManifest>>,
    open: Option<(Arc<ChunkManifest>, ChunkRows)>,
    position: Position,
    entries: u64,
}

/// Verifies what the policy asks for, from the state in a directory where there is one; what it gives then hands on
/// the selected entries.
///
/// Row by row:
///
/// ```
/// use ledger::verify::{Policy, Verdict};
/// use verifier::replay::{Selection, What, replay};
/// use verifier::store::FileSource;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/spec/vectors/golden");
/// let trust = verifier::trust::parse(&std::fs::read_to_string(format!("{golden}/trust.toml"))?)?;
/// let source = FileSource::open(&format!("{golden}/archive"))?;
/// let selection = Selection::default();
/// let mut entries = replay(&source, trust.clone(), Policy::default(), None, &selection, &())?;
/// assert_eq!(entries.report().verdict, Verdict::Proven);
/// let mut tokens = 0;
/// for some in &mut entries {
///     tokens += some?.rows().filter_map(|row| row.derived.input_tokens).sum::<i64>();
/// }
/// assert_eq!(entries.entries(), entries.report().events);
/// assert!(tokens > 0);
///
/// // The same as Arrow's record batches, which are never all in memory. The position is where another replay
/// // goes on.
/// let mut entries = replay(&source, trust, Policy::default(), None, &selection, &())?;
/// let mut sum = 0;
/// for batch in entries.record_batches(What::Entries) {
///     let batch = batch?;
///     let column = batch.column_by_name("input_tokens").ok_or("no such column")?;
///     let column = column.as_any().downcast_ref::<arrow::array::Int64Array>().ok_or("of another type")?;
///     sum += arrow::compute::sum(column).unwrap_or(0);
/// }
/// assert_eq!(sum, tokens);
/// let after = entries.position().clone();
/// # assert!(!after.0.is_empty());
/// # Ok(())
/// # }
/// ```
pub fn replay<'a, S>(
    source: &'a S,
    trust: Trust,
    policy: Policy,
    directory: Option<&StateDirectory>,
    selection: &'a Selection,
    progress: &'a dyn Progress,
) -> Result<Replay<'a, S>, ResumeError>
where
    S: ArchiveSource + Sync,
{
    let (audit, kept) = match directory {
        Some(directory) => {
            audit::run_from(source, trust, policy, directory, &Parts::default(), progress)?
        }
        None => {
            let mut audit = Audit::new(trust, policy);
            audit::run(source, &mut audit, progress);
            (audit, Ok(()))
        }
    };
    let chunks = audit.asked_for();
    let report = audit.finish();
    if let Err(failure) = kept {
        return Err(ResumeError::Unkept { failure, report: Box::new(report) });
    }
    let chunks = if report.verdict == Verdict::Proven { chunks } else { Vec::new() };
    let position = selection.after.clone();
    let chunks = chunks.into_iter();
    Ok(Replay { source, selection, progress, report, chunks, open: None, position, entries: 0 })
}

impl<S: ArchiveSource> Replay<'_, S> {
    /// The verdict on the archive. Entries come out only where it is proven.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Entries that came out so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Behind what came out so far: where another replay goes on. Not to be kept before all of it is used.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The entries as Arrow's record batches, of the columns of [`schema`].
    pub fn record_batches(
        &mut self,
        what: What,
    ) -> impl Iterator<Item = Result<RecordBatch, ReplayError>> {
        let schema = schema(what, &self.report.origin);
        self.map(move |entries| {
            let entries = entries?;
            let object = || format!("entries of {}", entries.workspace);
            let batch = columns::batch(what, &schema, &entries);
            batch.map_err(|error| ReplayError::Rows { object: object(), error })
        })
    }

    fn advance(&mut self) -> Result<Option<Entries>, ReplayError> {
        loop {
            let Some((manifest, rows)) = &mut self.open else {
                let Some(manifest) = self.chunks.next() else { return Ok(None) };
                self.begin(manifest)?;
                continue;
            };
            if !self.progress.go_on() {
                return Err(ReplayError::Interrupted);
            }
            let refused = |error| ReplayError::Rows { object: manifest.object.clone(), error };
            let Some(batch) = rows.next().transpose().map_err(refused)? else {
                self.open = None;
                continue;
            };
            let workspace = manifest.workspace.clone();
            let entries = self.pick(workspace, batch);
            if entries.picked.true_count() > 0 {
                return Ok(Some(entries));
            }
        }
    }

    /// Reads a chunk's object once more, where anything of it may come out.
    fn begin(&mut self, manifest: Arc<ChunkManifest>) -> Result<(), ReplayError> {
        let workspace = &manifest.workspace;
        if !self.selection.after.is_before(workspace, manifest.last_seq.get()) {
            return Ok(());
        }
        if !self.progress.go_on() {
            return Err(ReplayError::Interrupted);
        }
        // No larger than it was a moment ago, and nobody else reads now: its share of room is not kept.
        let (object, finding) = match chunk_object(self.source, &manifest) {
            Ok(object) => {
                let object = object.map(|(_share, object)| object).unwrap_or_default();
                let is_same = ObjectDigest::of(&object) == manifest.digest;
                let other = || Finding::new(Check::ObjectDigest, Place::chunk(&manifest));
                (object, (!is_same).then(other))
            }
            Err(error) => match larger(&manifest, &error) {
                Some(finding) => (Bytes::new(), Some(finding)),
                None => return Err(error.into()),
            },
        };
        if let Some(finding) = finding {
            let finding = finding.because("it was another one when it was verified a moment ago");
            return Err(ReplayError::Changed(Box::new(finding)));
        }
        let rows = ChunkRows::open(object, &manifest.origin, workspace, manifest.rows());
        let refused = |error| ReplayError::Rows { object: manifest.object.clone(), error };
        let rows = rows.map_err(refused)?;
        self.open = Some((manifest, rows));
        Ok(())
    }

    fn pick(&mut self, workspace: Workspace, batch: Batch) -> Entries {
        let Selection { until, after, .. } = self.selection;
        let (mut picked, mut last) = (Vec::with_capacity(batch.len()), None);
        for row in batch.rows() {
            let behind = after.is_before(&workspace, row.seq);
            // Times never fall along a chain: what follows is for another replay.
            if behind && until.is_some_and(|until| row.recorded_at >= until.get()) {
                self.open = None;
                break;
            }
            picked.push(behind && self.selection.takes(&row));
            last = Seq::new(row.seq).filter(|_| behind).or(last);
        }
        picked.resize(batch.len(), false);
        let picked = BooleanArray::from(picked);
        let count = u64::try_from(picked.true_count()).unwrap_or(u64::MAX);
        self.entries = self.entries.saturating_add(count);
        if let Some(last) = last {
            self.position.0.insert(workspace.clone(), last);
        }
        Entries { workspace, batch, picked }
    }
}

impl<S: ArchiveSource> Iterator for Replay<'_, S> {
    type Item = Result<Entries, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entries = self.advance();
        if entries.is_err() {
            (self.open, self.chunks) = (None, Vec::new().into_iter());
        }
        entries.transpose()
    }
}

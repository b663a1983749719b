//! Entries out of a verified archive, for jobs that compute with them.
//!
//! First the whole of what is asked for is verified, as `verify` does it. Only where the verdict is proven are rows
//! read, once more: each object has to have the digests of the manifest that was verified, or nothing of it comes
//! out. So a row that comes out was verified with everything around it: its chain, its key at that place, its erasure. See
//! `docs/replay.md`.

mod ndjson;

use std::collections::BTreeMap;
use std::fmt;

use ledger::chunk::ObjectDigest;
use ledger::columns::Row;
use ledger::names::{Seq, Workspace};
use ledger::time::Micros;
use ledger::verify::{Audit, Check, Finding, Place, Policy, Report, Trust, Verdict};

use crate::audit::{self, Progress};
use crate::rows::{ChunkRows, RowsError};
use crate::state::{ResumeError, StateDirectory};
use crate::store::{ArchiveSource, SourceError};

pub use ndjson::{entry, payload};

/// Where a replay has come to: the last entry of each workspace that it is done with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(pub BTreeMap<Workspace, Seq>);

impl Position {
    /// Whether an entry comes behind this place.
    fn is_before(&self, workspace: &Workspace, seq: u64) -> bool {
        self.0.get(workspace).is_none_or(|done| done.get() < seq)
    }
}

impl fmt::Display for Position {
    /// `WORKSPACE:SEQ`, one a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(workspace, seq)| writeln!(f, "{workspace}:{seq}"))
    }
}

/// A line that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no position: WORKSPACE:SEQ is expected, each workspace once")]
pub struct PositionError(String);

impl std::str::FromStr for Position {
    type Err = PositionError;

    /// Reads what [`Position`] prints.
    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut position = Self::default();
        for line in text.lines() {
            let read = line.split_once(':').and_then(|(workspace, seq)| {
                let number: u64 = seq.parse().ok()?;
                // In no other form than it is printed: digits without a sign or leading zeros.
                let read = Seq::new(number).filter(|read| read.to_string() == seq)?;
                Some((Workspace::new(workspace).ok()?, read))
            });
            let doubled = match read {
                Some((workspace, seq)) => position.0.insert(workspace, seq).is_some(),
                None => true,
            };
            if doubled {
                return Err(PositionError(line.chars().take(80).collect()));
            }
        }
        Ok(position)
    }
}

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

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The verdict on the archive. Entries came out only where it is proven.
    pub report: Report,
    /// Entries that came out.
    pub entries: u64,
    /// Where the next replay goes on.
    pub position: Position,
}

/// Why a replay ended before its end. What came out before is verified, and not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError<E> {
    /// The state of the verification cannot be gone on from.
    #[error(transparent)]
    Resume(#[from] ResumeError),
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
    /// Whoever takes the entries took no more.
    #[error(transparent)]
    Taker(E),
}

/// Verifies what the policy asks for, from the state in a directory where there is one; then hands on the
/// selected entries, in the order of the log: each workspace in the order of its chain.
///
/// ```
/// use ledger::verify::{Policy, Verdict};
/// use verifier::replay::{Selection, replay};
/// use verifier::store::FileSource;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/spec/vectors/golden");
/// let trust = verifier::trust::parse(&std::fs::read_to_string(format!("{golden}/trust.toml"))?)?;
/// let source = FileSource::open(&format!("{golden}/archive"))?;
/// let mut tokens = 0;
/// let done = replay(&source, trust, Policy::default(), None, &Selection::default(), &(), |_, row| {
///     tokens += row.derived.input_tokens.unwrap_or(0);
///     Ok::<_, std::io::Error>(())
/// })?;
/// assert_eq!(done.report.verdict, Verdict::Proven);
/// assert_eq!(done.entries, done.report.events);
/// assert!(tokens > 0);
/// # Ok(())
/// # }
/// ```
pub fn replay<S, E>(
    source: &S,
    trust: Trust,
    policy: Policy,
    directory: Option<&StateDirectory>,
    selection: &Selection,
    progress: &dyn Progress,
    mut take: impl FnMut(&Workspace, &Row<'_>) -> Result<(), E>,
) -> Result<Replayed, ReplayError<E>>
where
    S: ArchiveSource + Sync,
{
    let audit = match directory {
        Some(directory) => audit::run_from(source, trust, policy, directory, progress)?,
        None => {
            let mut audit = Audit::new(trust, policy);
            audit::run(source, &mut audit, progress);
            audit
        }
    };
    let chunks = audit.asked_for();
    let report = audit.finish();
    let mut replayed = Replayed { report, entries: 0, position: selection.after.clone() };
    if replayed.report.verdict != Verdict::Proven {
        return Ok(replayed);
    }
    for manifest in chunks {
        let workspace = &manifest.workspace;
        if !selection.after.is_before(workspace, manifest.last_seq.get()) {
            continue;
        }
        let object = source.get(&manifest.object)?.unwrap_or_default();
        let found = ObjectDigest::of(&object);
        if found != manifest.digest {
            let finding = Finding::new(Check::ObjectDigest, Place::chunk(&manifest));
            let finding = finding.because("it was another one when it was verified a moment ago");
            return Err(ReplayError::Changed(Box::new(finding)));
        }
        let refused = |error| ReplayError::Rows { object: manifest.object.clone(), error };
        let rows = ChunkRows::open(object, &manifest.origin, workspace, manifest.rows());
        'chunk: for batch in rows.map_err(refused)? {
            for row in batch.map_err(refused)?.rows() {
                if !selection.after.is_before(workspace, row.seq) {
                    continue;
                }
                // Times never fall along a chain: what follows is for another replay.
                if selection.until.is_some_and(|until| row.recorded_at >= until.get()) {
                    break 'chunk;
                }
                if selection.takes(&row) {
                    take(workspace, &row).map_err(ReplayError::Taker)?;
                    replayed.entries = replayed.entries.saturating_add(1);
                }
                if let Some(seq) = Seq::new(row.seq) {
                    replayed.position.0.insert(workspace.clone(), seq);
                }
            }
        }
    }
    Ok(replayed)
}

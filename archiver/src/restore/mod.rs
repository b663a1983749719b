//! Restoring: a database that was lost is made again from the archive alone.
//!
//! 1. **Verify.** The whole archive, by the auditor's own checks and a trust file that does not come
//!    from it. Nothing is restored from an archive in which tampering was found, or that could not
//!    be read to its end.
//! 2. **Lock.** One archiver; and nobody records while this goes on, as the fence lock is held by the
//!    one transaction in which all of it happens: there is never half a ledger in the database. It has
//!    to be empty: what lies there already might be what the archive lacks.
//! 3. **Log.** Its leaves are read again, and must lead to the checkpoint that was verified.
//! 4. **Chunks**, in the order of the log, each as it was last amended, one in memory at a time. Each
//!    object is checked again as it is read: what is written is what was checked, whatever the store
//!    gives the second time. Rows become submissions and entries of their days; ledger events become
//!    keys, by the rules of keys, and requests to erase. Entries whose payload is withheld come last, as
//!    each names the later one that allows it.
//! 5. **Heads, keys, marks, fence**: what a service and an archiver go on from. And a record that this
//!    database was restored, which the service puts into the chain before it takes anything.
//!
//! Here: that order. Not here: what rows come to ([`chain`]), and the SQL ([`mod@write`]).
//!
//! What was acknowledged after the last sealed hour is not in the archive, and not in the database
//! either: whoever holds receipts for it can tell. Tokens of readers are made anew.

pub mod chain;
pub mod write;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use ledger::checkpoint::Checkpoint;
use ledger::chunk::ChunkManifest;
use ledger::hash::Digest;
use ledger::layout::Artefact;
use ledger::limits::TILE_WIDTH;
use ledger::line::KeyLine;
use ledger::merkle::{Frontier, leaf_hash};
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::{Note, VerifierKey};
use ledger::time::Micros;
use ledger::verify::{Check, Finding, Policy, Severity, Trust, Verdict};
use sqlx::{Connection as _, PgConnection, PgPool};
use verifier::audit::{self, Progress, check_chunk};
use verifier::rows::{ChunkRows, RowsError};
use verifier::store::{ArchiveSource, SourceError};

use crate::log::{Log, LogError, bundle};
use crate::state::{Mark, MarkError, Published, save};
use crate::{SealError, lock};
use chain::{ChainError, Chains};

/// How many findings are told of an archive that is refused.
const FINDINGS: usize = 5;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The archive is not intact, or could not be verified to its end.
    #[error(
        "the archive is not fit to restore from ({}): {}", .verdict.as_str(),
        .findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    Archive {
        /// The verdict.
        verdict: Verdict,
        /// The first findings.
        findings: Vec<Finding>,
    },
    /// Objects of the archive were let go by a retention policy.
    #[error(
        "the archive is not whole: {0}. What was pruned is in no archive any more, so no database that \
         knows every event can be made of it: restore from a backup of Postgres"
    )]
    Pruned(Box<Finding>),
    /// The archive gave other bytes than those that were verified a moment ago.
    #[error(
        "the archive is not what it was when it was verified, a moment ago ({0}): is an archiver at \
         work on it, or does the store lie?"
    )]
    Changed(String),
    /// A leaf of the log is none that this version can take up.
    #[error("leaf {index} of the log: {error}")]
    Leaf {
        /// Its index.
        index: u64,
        /// Why not.
        error: MarkError,
    },
    /// The database holds records already.
    #[error(
        "the database is not empty: `{0}` has rows. A ledger is restored into a new database, that \
         `tally-ingest migrate` has set up and nothing has been started on"
    )]
    NotEmpty(&'static str),
    /// The database is of another ledger than the archive.
    #[error("the trust file is of the ledger {trusted}, the settings and the database of {found}")]
    Origin {
        /// By the trust file.
        trusted: String,
        /// By the settings or the database.
        found: String,
    },
    /// What is in the chain cannot be kept in the database.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The log in the store.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The store.
    #[error("the store: {0}")]
    Source(#[from] SourceError),
    /// A chunk.
    #[error("a chunk: {0}")]
    Rows(#[from] RowsError),
    /// The database.
    #[error("the database: {0}; nothing was restored")]
    Database(#[from] sqlx::Error),
    /// A lock.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl RestoreError {
    /// The exit code: 3 where running again may help, 4 where someone must look first.
    pub fn code(&self) -> u8 {
        match self {
            Self::Archive { verdict: Verdict::Tampered, .. }
            | Self::Pruned(_)
            | Self::Changed(_)
            | Self::Leaf { .. }
            | Self::NotEmpty(_)
            | Self::Origin { .. }
            | Self::Chain(_)
            | Self::Rows(_) => 4,
            Self::Archive { .. } | Self::Source(_) | Self::Database(_) => 3,
            Self::Log(error) => match error {
                LogError::Source(_) => 3,
                _ => 4,
            },
            Self::Seal(error) => error.code(),
        }
    }
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Leaves in the log.
    pub log_size: u64,
    /// Chunks.
    pub chunks: u64,
    /// Entries.
    pub events: u64,
    /// Workspaces.
    pub workspaces: usize,
    /// Up to where the archive reaches: the end of its last hour.
    pub through: Micros,
    /// What the verification noticed, short of tampering.
    pub noticed: Vec<Finding>,
}

/// Makes the database again from the archive, all of it or nothing. `now` stands in the record of it.
pub async fn restore<S: ArchiveSource + Sync>(
    pool: &PgPool,
    source: &S,
    trust: &Trust,
    now: Micros,
    progress: &dyn Progress,
) -> Result<Restored, RestoreError> {
    let report = audit::verify(source, trust.clone(), Policy::default(), progress);
    if !matches!(report.verdict, Verdict::Proven | Verdict::Short) {
        let grave =
            |f: &Finding| matches!(f.check.severity(), Severity::Tampering | Severity::Unfinished);
        let findings = report.findings.into_iter().filter(grave).take(FINDINGS).collect();
        return Err(RestoreError::Archive { verdict: report.verdict, findings });
    }
    if let Some(pruned) = report.findings.iter().find(|finding| finding.check == Check::Pruned) {
        return Err(RestoreError::Pruned(Box::new(pruned.clone())));
    }
    let verified = report.checkpoint.map(|input| input.sha256);
    // Without a leaf, there is nothing that a key would have to be known for.
    let first =
        report.seal_keys.as_ref().and_then(|line| line.terms().next()).map(|term| &term.key);
    let first = first.or(trust.seal_keys.first()).cloned();
    let archive = Archive::open(source, first, verified)?;

    let conn = &mut lock::archiver(pool).await?;
    let mut tx = conn.begin().await.map_err(RestoreError::Database)?;
    lock::hold_fence(&mut tx).await?;
    write::check_empty(&mut tx, &trust.origin).await?;
    let marks = archive.marks(source, &trust.origin)?;
    let in_force = in_force(&marks);
    let mut chains = Chains::new();
    let mut writer = write::Writer::new();
    for manifest in &in_force {
        write_chunk(&mut tx, source, manifest, &mut chains, &mut writer).await?;
    }
    writer.flush_withheld(&mut tx, &chains).await?;
    write::chains(&mut tx, &chains).await?;
    write::erasures(&mut tx, &chains).await?;
    let through = marks.iter().rev().find_map(Mark::through).unwrap_or(Micros::EPOCH);
    let published = Published { size: archive.checkpoint.size, note: archive.note };
    save(&mut tx, &marks, &published).await?;
    write::fence(&mut tx, through).await?;
    write::record(&mut tx, now, &published).await?;
    tx.commit().await?;
    Ok(Restored {
        log_size: archive.checkpoint.size,
        chunks: u64::try_from(in_force.len()).unwrap_or(u64::MAX),
        events: writer.entries(),
        workspaces: chains.len(),
        through,
        noticed: report.findings,
    })
}

/// What was verified, as it is read again.
struct Archive {
    checkpoint: Checkpoint,
    note: String,
    /// The seal key that the log starts with.
    first: VerifierKey,
}

impl Archive {
    fn open(
        source: &dyn ArchiveSource,
        first: Option<VerifierKey>,
        verified: Option<Digest>,
    ) -> Result<Self, RestoreError> {
        let changed = || RestoreError::Changed(Artefact::Checkpoint.to_string());
        let bytes = source.get(&Artefact::Checkpoint.to_string())?.ok_or_else(changed)?;
        if Some(Digest::of(&bytes)) != verified {
            return Err(changed());
        }
        let note = Note::parse(&bytes).map_err(|_| changed())?;
        let first = first.ok_or_else(changed)?;
        let checkpoint = Checkpoint::parse(note.body()).map_err(|_| changed())?;
        let note = String::from_utf8(bytes).map_err(|_| changed())?;
        Ok(Self { checkpoint, note, first })
    }

    /// What the leaves of the log say, which lead to the checkpoint.
    fn marks(
        &self,
        source: &dyn ArchiveSource,
        origin: &Origin,
    ) -> Result<Vec<Mark>, RestoreError> {
        let (mut log, mut marks) = (Log::new(), Vec::new());
        let (mut line, mut tree) = (KeyLine::starting_with(self.first.clone()), Frontier::new());
        for index in 0..self.checkpoint.size.div_ceil(TILE_WIDTH) {
            for leaf in bundle(source, index, self.checkpoint.size)? {
                let index = log.append(&leaf)?;
                let mark = Mark::read(&leaf, &line, &tree, origin);
                let mark = mark.map_err(|error| RestoreError::Leaf { index, error })?;
                tree.push(leaf_hash(&leaf));
                if let Mark::Keys { line: behind, .. } = &mark {
                    line.clone_from(behind);
                }
                marks.push(mark);
            }
            // What is full now is in the store.
            log.take_bundles()?;
            log.take_tiles();
        }
        if log.root() == self.checkpoint.root {
            Ok(marks)
        } else {
            Err(RestoreError::Changed("the log".to_owned()))
        }
    }
}

/// The manifest of each chunk that is in force: the newest of its amendments, in the place of the
/// original.
fn in_force(marks: &[Mark]) -> Vec<&ChunkManifest> {
    let mut newest: BTreeMap<(&Workspace, Seq), &ChunkManifest> = BTreeMap::new();
    for mark in marks {
        if let Mark::Amendment { manifest, .. } = mark {
            newest.insert((&manifest.workspace, manifest.first_seq), manifest);
        }
    }
    let chunks = marks.iter().filter_map(|mark| match mark {
        Mark::Chunk { manifest, .. } => {
            let amended = newest.get(&(&manifest.workspace, manifest.first_seq));
            Some(amended.copied().unwrap_or(manifest))
        }
        _ => None,
    });
    chunks.collect()
}

async fn write_chunk(
    conn: &mut PgConnection,
    source: &dyn ArchiveSource,
    manifest: &ChunkManifest,
    chains: &mut Chains,
    writer: &mut write::Writer,
) -> Result<(), RestoreError> {
    let changed = || RestoreError::Changed(manifest.object.clone());
    let object = Bytes::from(source.get(&manifest.object)?.ok_or_else(changed)?);
    if !check_chunk(manifest, &object).findings.is_empty() {
        return Err(changed());
    }
    let rows = manifest.rows();
    for batch in ChunkRows::open(object, &manifest.origin, &manifest.workspace, rows)? {
        let batch = batch?;
        for row in batch.rows() {
            writer.push(&manifest.workspace, &row)?;
            if let Some(submission) = chains.take(&manifest.workspace, &row)? {
                writer.push_submission(submission);
            }
        }
        writer.flush_where_full(conn).await?;
    }
    Ok(())
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "restored {} events of {} workspaces from {} chunks, up to {}",
            self.events, self.workspaces, self.chunks, self.through
        )?;
        for finding in &self.noticed {
            writeln!(f, "noticed: {finding}")?;
        }
        writeln!(
            f,
            "what was acknowledged after that is not in the archive: receipts tell. Tokens of readers \
             are to be made anew. Start the service with `ingest.archive_url` set"
        )
    }
}

//! Is this database the ledger? Its heads against those that the archive has sealed.
//!
//! A database that was restored from a backup, or a replica that took over, may lack what the archive
//! has sealed already. To go on from there would be another history, and the first hour that it seals
//! would not fit the archive. So the service asks before it takes anything (DESIGN promise 7).
//!
//! Here: reading the newest sealed heads out of an archive, and comparing. Only the log's end is read,
//! and the notes' signatures are checked, not the whole tree: this finds an honest operator's mistake.
//! Not here: proving the archive (see `tally-verify`).

use std::io;
use std::path::{Path, PathBuf};

use ledger::checkpoint::Checkpoint;
use ledger::chunk::ChunkManifest;
use ledger::hash::Digest;
use ledger::hour::{Heads, HourNote};
use ledger::layout::{Artefact, bundles, decode_bundle};
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::{BodyError, Note, VerifierKey};
use ledger::succession::{KeyNote, Succession};
use sqlx::PgPool;

use crate::store::{self, StoreError};

/// Why the database may not be served from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// The archive's address.
    #[error("`ingest.archive_url` is `{0}`: give file:///absolute/path")]
    Address(String),
    /// The archive cannot be read.
    #[error("archive: {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What lies in the archive is not this ledger's.
    #[error("archive: {key}: {problem}: is `ingest.archive_url` the archive of this ledger?")]
    Form {
        /// The object.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database lies behind what is sealed.
    #[error(
        "the database holds `{workspace}` up to seq {found}, and the archive has sealed it up to seq \
         {sealed}: this is not the ledger but an older copy of it, as a restored backup is. Do not go \
         on with it: restore the missing entries from the archive first, see \
         docs/operating/restore.md"
    )]
    Behind {
        /// The workspace.
        workspace: Workspace,
        /// The last seq in the database; 0 where the workspace is not there.
        found: u64,
        /// The last seq that is sealed.
        sealed: Seq,
    },
    /// The database holds another history than the archive.
    #[error(
        "entry {seq} of `{workspace}` is another one in the database than in the archive (its link \
         there is {link}): the database has gone another way, see docs/operating/restore.md"
    )]
    Forked {
        /// The workspace.
        workspace: Workspace,
        /// The newest sealed entry.
        seq: Seq,
        /// Its link in the archive.
        link: Digest,
    },
}

/// An archive in a directory, read only.
#[derive(Debug)]
struct Archive {
    root: PathBuf,
}

impl Archive {
    fn open(address: &str) -> Result<Self, SealedError> {
        let path = address.strip_prefix("file://").unwrap_or(address);
        // `file://host/path` names a host, and other schemes other stores.
        if !path.starts_with('/') {
            return Err(SealedError::Address(address.to_owned()));
        }
        Ok(Self { root: PathBuf::from(path) })
    }

    fn get(&self, artefact: &Artefact) -> Result<Option<Vec<u8>>, SealedError> {
        let path = self.root.join(Path::new(&artefact.to_string()));
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SealedError::Read { path, source }),
        }
    }

    fn need(&self, artefact: &Artefact) -> Result<Vec<u8>, SealedError> {
        self.get(artefact)?.ok_or_else(|| form(artefact, "it is not there"))
    }
}

fn form(artefact: &Artefact, problem: impl ToString) -> SealedError {
    SealedError::Form { key: artefact.to_string(), problem: problem.to_string() }
}

/// How often an archive is read anew that was sealed further meanwhile.
const READS: u32 = 5;

/// The newest sealed head of every workspace; none where nothing is sealed yet.
///
/// Blocks: an archive is files.
pub fn heads(address: &str, key: &VerifierKey, origin: &Origin) -> Result<Heads, SealedError> {
    let archive = Archive::open(address)?;
    let mut reads = 1;
    loop {
        let checkpoint = archive.get(&Artefact::Checkpoint)?;
        match read(&archive, checkpoint.as_deref(), key, origin) {
            // An archiver that seals meanwhile removes what fuller bundles replace.
            Err(SealedError::Form { .. })
                if reads < READS && archive.get(&Artefact::Checkpoint)? != checkpoint =>
            {
                reads += 1;
            }
            read => return read,
        }
    }
}

fn read(
    archive: &Archive,
    checkpoint: Option<&[u8]>,
    key: &VerifierKey,
    origin: &Origin,
) -> Result<Heads, SealedError> {
    let mut heads = Heads::new();
    let artefact = Artefact::Checkpoint;
    // A directory without a checkpoint may be one whose disk is not mounted.
    let Some(bytes) = checkpoint else {
        return if archive.root.is_dir() {
            Ok(heads)
        } else {
            let source = io::ErrorKind::NotFound.into();
            Err(SealedError::Read { path: archive.root.clone(), source })
        };
    };
    let note = Note::parse(bytes).map_err(|error| form(&artefact, error))?;
    let checkpoint = Checkpoint::parse(note.body()).map_err(|error| form(&artefact, error))?;
    if checkpoint.origin != *origin {
        return Err(form(&artefact, format!("it is of the ledger {}", checkpoint.origin)));
    }
    // Whoever may have signed the leaf that is read next.
    let mut keys = vec![in_force(archive, &note, checkpoint.size, key)?];
    // From the log's end to its newest hour note: the note tells of every workspace.
    let mut leaves = Leaves::new(archive, checkpoint.size);
    while let Some((artefact, leaf)) = leaves.back()? {
        let note = Note::parse(&leaf).map_err(|error| form(&artefact, error))?;
        let Some(key) = keys.iter().find(|key| note.verify(key).is_ok()).cloned() else {
            return Err(form(&artefact, "it has a leaf that the seal key in force has not signed"));
        };
        let body = note.body();
        if let Some(read) = KeyNote::parse(body) {
            keys = match read.map_err(|error| form(&artefact, error))? {
                KeyNote::Succession(succession) => vec![succession.old_key],
                // The key in force was revoked, or one that was in force before it.
                KeyNote::Revocation(revocation) => vec![key, revocation.key],
            };
            continue;
        }
        keys = vec![key];
        match ChunkManifest::parse(body) {
            Ok(manifest) => fill(&mut heads, manifest),
            Err(BodyError::Kind { .. }) => {
                if let Ok(hour) = HourNote::parse(body) {
                    fill_from_hour(archive, &mut heads, &hour)?;
                    return Ok(heads);
                }
            }
            Err(error) => return Err(form(&artefact, error)),
        }
    }
    Ok(heads)
}

/// The seal key that has signed the checkpoint: the one that is configured, or one that this leads to by
/// the successions in the log. Then the log is read back to the first of them.
fn in_force(
    archive: &Archive,
    checkpoint: &Note<'_>,
    size: u64,
    configured: &VerifierKey,
) -> Result<VerifierKey, SealedError> {
    let unsigned = match checkpoint.verify(configured) {
        Ok(_) => return Ok(configured.clone()),
        Err(error) => form(&Artefact::Checkpoint, error),
    };
    let mut leaves = Leaves::new(archive, size);
    // The key that the successions behind this leaf lead to, and the one that they start from.
    let mut line: Option<(VerifierKey, VerifierKey)> = None;
    while let Some((_, leaf)) = leaves.back()? {
        let Ok(note) = Note::parse(&leaf) else { return Err(unsigned) };
        let Some(Ok(KeyNote::Succession(succession))) = KeyNote::parse(note.body()) else {
            continue;
        };
        let Succession { old_key, new_key, .. } = succession;
        let last = match line {
            None if checkpoint.verify(&new_key).is_ok() => new_key.clone(),
            Some((first, last)) if first == new_key => last,
            _ => return Err(unsigned),
        };
        if note.verify(&old_key).is_err() || note.verify(&new_key).is_err() {
            return Err(unsigned);
        }
        if old_key == *configured {
            return Ok(last);
        }
        line = Some((old_key, last));
    }
    Err(unsigned)
}

/// The leaves of the log, from its end.
struct Leaves<'a> {
    archive: &'a Archive,
    bundles: Vec<Artefact>,
    leaves: Vec<Vec<u8>>,
}

impl<'a> Leaves<'a> {
    fn new(archive: &'a Archive, size: u64) -> Self {
        Self { archive, bundles: bundles(size).collect(), leaves: Vec::new() }
    }

    /// The next leaf, with the bundle that it lies in.
    fn back(&mut self) -> Result<Option<(Artefact, Vec<u8>)>, SealedError> {
        while let Some(artefact) = self.bundles.last().cloned() {
            if let Some(leaf) = self.leaves.pop() {
                if self.leaves.is_empty() {
                    self.bundles.pop();
                }
                return Ok(Some((artefact, leaf)));
            }
            let Artefact::Bundle { width, .. } = artefact else {
                self.bundles.pop();
                continue;
            };
            let bytes = self.archive.need(&artefact)?;
            let leaves = decode_bundle(&bytes, width).map_err(|error| form(&artefact, error))?;
            self.leaves = leaves.into_iter().map(<[u8]>::to_vec).collect();
            if self.leaves.is_empty() {
                self.bundles.pop();
            }
        }
        Ok(None)
    }
}

/// Takes up a chunk, where no newer one of its workspace is known. An erasure leaves links as they
/// were.
fn fill(heads: &mut Heads, manifest: ChunkManifest) {
    let ChunkManifest { workspace, last_seq, last_link, .. } = manifest;
    if heads.get(&workspace).is_none_or(|(seq, _)| seq < last_seq) {
        heads.set(workspace, last_seq, last_link);
    }
}

/// Takes up the heads of an hour.
fn fill_from_hour(
    archive: &Archive,
    heads: &mut Heads,
    hour: &HourNote,
) -> Result<(), SealedError> {
    let artefact = Artefact::HourHeads(hour.hour);
    let bytes = archive.need(&artefact)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| form(&artefact, error))?;
    let mut of_hour = Heads::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let head = (|| {
            let workspace = Workspace::new(words.next()?).ok()?;
            let seq = words.next()?.parse().ok().and_then(Seq::new)?;
            Some((workspace, seq, Digest::parse(words.next()?).ok()?))
        })();
        let (workspace, seq, link) = head.ok_or_else(|| form(&artefact, "it holds no heads"))?;
        of_hour.set(workspace, seq, link);
    }
    if of_hour.root() != hour.heads_root {
        return Err(form(&artefact, "it is not what its hour note says"));
    }
    for (workspace, seq, link) in of_hour.iter() {
        if heads.get(workspace).is_none_or(|(newer, _)| newer < seq) {
            heads.set(workspace.clone(), seq, *link);
        }
    }
    Ok(())
}

/// Refuses a database that is behind the sealed heads, or beside them.
pub async fn compare(pool: &PgPool, heads: &Heads) -> Result<(), SealedError> {
    for (workspace, sealed, link) in heads.iter() {
        let (found, held) = store::read::sealed(pool, workspace, sealed).await?;
        if found < sealed.get() {
            return Err(SealedError::Behind { workspace: workspace.clone(), found, sealed });
        }
        // Links stay where a day is archived. Where there is none, the head alone tells.
        if held.is_some_and(|held| held != *link) {
            let (workspace, link) = (workspace.clone(), *link);
            return Err(SealedError::Forked { workspace, seq: sealed, link });
        }
    }
    Ok(())
}

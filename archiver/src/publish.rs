//! Chunks and leaves on their way into the archive: what sealing and erasing do alike.
//!
//! 1. A chunk's **object**, which is **read back and verified**, then its **manifest**: a manifest
//!    never speaks of bytes that were not seen in the store.
//! 2. The **leaves** are kept in the database (`planned.rs`): from here on they are what comes next in
//!    the log, whoever comes next. Then the log's **bundles**, then its **tiles**, which are hashes of them.
//! 3. The **checkpoint**: until it is replaced, an auditor sees what was before, whole. It must never
//!    name an object that is not there.
//! 4. What fuller tiles replace is **trimmed**: after the checkpoint that makes it so, and before the
//!    marks, so that a run that recovers knows what to trim.
//! 5. The **marks** in the database, in one transaction.
//!
//! Every object is a function of what is recorded, the key and the log before, so a run that dies
//! anywhere is finished by the next one with the same bytes.

use std::thread::{self, JoinHandle};

use bytes::Bytes;
use ledger::checkpoint::Checkpoint;
use ledger::chunk::ChunkManifest;
use ledger::hash::Digest;
use ledger::layout::Artefact;
use ledger::line::KeyLine;
use ledger::merkle::{Frontier, leaf_hash};
use ledger::note;
use ledger::verify::Finding;
use sqlx::PgConnection;
use verifier::audit::check_chunk;

use crate::log::superseded;
use crate::recover::Start;
use crate::seal::Archiver;
use crate::state::{Mark, Published, State, save};
use crate::step::Step;
use crate::vault::{Removal, VaultError};
use crate::{Disagreement, SealError, planned, readback};

/// Leaves that one checkpoint will cover, and what they come to.
pub(crate) struct Batch {
    /// As it will be when they are published.
    pub(crate) state: State,
    line: KeyLine,
    tree: Frontier,
    leaves: Vec<String>,
    marks: Vec<Mark>,
}

impl Batch {
    /// No leaf yet.
    pub(crate) fn new(start: &Start) -> Self {
        let (state, line) = (start.state.clone(), start.line.clone());
        Self { state, line, tree: start.log.frontier(), leaves: Vec::new(), marks: Vec::new() }
    }

    /// How many leaves there are to publish.
    pub(crate) fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether there is nothing to publish.
    pub(crate) fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }
}

fn read_back(object: String, finding: &dyn ToString) -> SealError {
    Disagreement::ReadBack { object, finding: finding.to_string() }.into()
}

/// How the object of a chunk is checked once it was read back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Second {
    /// By all that an auditor checks.
    Whole,
    /// Its rows were checked so before they were written, and came to this digest: see [`crate::readback`].
    Rows(Digest),
}

impl Second {
    fn check(self, manifest: &ChunkManifest, object: Bytes) -> Option<Finding> {
        match self {
            Self::Whole => check_chunk(manifest, &object).findings.into_iter().next(),
            Self::Rows(rows) => readback::check(manifest, object, rows),
        }
    }
}

/// A chunk's object that is in the store, and is being checked as it was read back.
pub(crate) struct Written {
    key: String,
    check: JoinHandle<(ChunkManifest, Option<Finding>)>,
}

impl Archiver<'_> {
    /// Tells the probe of a step.
    pub(crate) fn reach(&self, step: Step) -> Result<(), SealError> {
        if self.probe.go_on(step) { Ok(()) } else { Err(SealError::Stopped(step)) }
    }

    /// The note with this body, signed by the seal key.
    pub(crate) fn sign(&self, body: &str) -> Result<String, SealError> {
        Ok(note::sign_by(body, &[&*self.signer])?)
    }

    /// Writes an object that is never written again.
    pub(crate) fn put(&self, artefact: &Artefact, bytes: &[u8]) -> Result<(), SealError> {
        Ok(self.vault.create(&artefact.to_string(), bytes)?)
    }

    /// Writes a chunk's object and its manifest, and gives the manifest's note.
    pub(crate) fn put_chunk(
        &self,
        manifest: ChunkManifest,
        object: Vec<u8>,
    ) -> Result<String, SealError> {
        let written = self.put_object(manifest, object, Second::Whole)?;
        self.put_manifest(written)
    }

    /// Writes a chunk's object and reads it back. It is checked on a thread of its own: the next chunk is
    /// made meanwhile.
    pub(crate) fn put_object(
        &self,
        manifest: ChunkManifest,
        object: Vec<u8>,
        second: Second,
    ) -> Result<Written, SealError> {
        let (range, erasure) = (manifest.range(), manifest.erasure());
        self.put(&Artefact::Events { range, erasure }, &object)?;
        self.reach(Step::ObjectPut)?;
        // What counts is what the store gives back: it is checked against the rows' own root and last link.
        drop(object);
        let stored = Bytes::from(self.vault.get(&manifest.object)?.unwrap_or_default());
        let key = manifest.object.clone();
        let check = thread::Builder::new().name("check".to_owned()).spawn(move || {
            let finding = second.check(&manifest, stored);
            (manifest, finding)
        });
        let check = check.map_err(|error| VaultError::Io { key: key.clone(), error })?;
        Ok(Written { key, check })
    }

    /// Writes the manifest of an object once that is found to be what was written, and gives the note.
    pub(crate) fn put_manifest(&self, written: Written) -> Result<String, SealError> {
        let Written { key: object, check } = written;
        let manifest = match check.join() {
            Ok((manifest, None)) => manifest,
            Ok((_, Some(finding))) => return Err(read_back(object, &finding)),
            Err(_) => return Err(read_back(object, &"checking it panicked")),
        };
        self.reach(Step::ObjectReadBack)?;
        let (range, erasure) = (manifest.range(), manifest.erasure());
        let note = self.sign(&manifest.to_body())?;
        self.put(&Artefact::Manifest { range, erasure }, note.as_bytes())?;
        self.reach(Step::ManifestPut)?;
        Ok(note)
    }

    /// Takes a note up as a leaf to log, by the same path as a run that recovers.
    pub(crate) fn log_leaf(&self, batch: &mut Batch, note: String) -> Result<(), SealError> {
        let index = batch.tree.size();
        let mark = Mark::read(note.as_bytes(), &batch.line, &batch.tree, &self.origin)
            .map_err(|error| Disagreement::Leaf { index, error })?;
        batch.tree.push(leaf_hash(note.as_bytes()));
        if let Mark::Keys { line, .. } = &mark {
            batch.line.clone_from(line);
        }
        batch.state.apply(&mark);
        batch.marks.push(mark);
        batch.leaves.push(note);
        Ok(())
    }

    /// Publishes the leaves, all or none, and says how many superseded objects the store keeps.
    pub(crate) async fn publish(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        batch: Batch,
    ) -> Result<u64, SealError> {
        let old = start.log.size();
        planned::keep(conn, old, &batch.leaves).await?;
        self.reach(Step::LeavesKept)?;
        for leaf in &batch.leaves {
            start.log.append(leaf.as_bytes())?;
        }
        for (artefact, bytes) in start.log.take_bundles()? {
            self.put(&artefact, &bytes)?;
        }
        self.reach(Step::BundlesPut)?;
        for (artefact, bytes) in start.log.take_tiles() {
            self.put(&artefact, &bytes)?;
        }
        self.reach(Step::TilesPut)?;
        let size = start.log.size();
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root: start.log.root() };
        let checkpoint = self.sign(&checkpoint.to_body())?;
        // The lock is held for as long as its connection lives: an archiver that was cut off from
        // the database must not publish any more, as another one may have gone further.
        sqlx::query("SELECT 1").execute(&mut *conn).await?;
        let before = start.checkpoint.as_deref().map(str::as_bytes);
        self.vault.replace(&Artefact::Checkpoint.to_string(), before, checkpoint.as_bytes())?;
        self.reach(Step::CheckpointPut)?;
        let mut kept = 0;
        for artefact in superseded(old, size) {
            kept += u64::from(self.vault.remove(&artefact.to_string())? == Removal::Kept);
        }
        self.reach(Step::Trimmed)?;
        let published = Published { size, note: checkpoint };
        save(conn, &batch.marks, &published).await?;
        self.reach(Step::Marked)?;
        start.state = batch.state;
        start.line = batch.line;
        start.checkpoint = Some(published.note);
        Ok(kept)
    }
}

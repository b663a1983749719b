//! Sealing: the order of its effects, and nothing else.
//!
//! 1. **Lock.** One archiver at a time, for as long as its connection lives.
//! 2. **Recover.** Store and database are compared; the database catches up (see
//!    [`crate::recover`]). Nothing is signed before.
//! 3. **Fence.** No entry of the hours to seal can be recorded any more, so the rows that are read
//!    from here on are all there are.
//! 4. For each hour in turn:
//!    1. for each chunk: **object**, which is **read back and verified**, then its **manifest**: a
//!       manifest never speaks of bytes that were not seen in the store;
//!    2. the hour's **heads**, then its **note**, which counts the manifests;
//!    3. the log's **bundles**, then its **tiles**, which are hashes of them;
//!    4. the **checkpoint**: until it is replaced, an auditor sees the hour before, whole. It must
//!       never name an object that is not there;
//!    5. what fuller tiles replace is **trimmed**: after the checkpoint that makes it so, and
//!       before the marks, so that a run that recovers knows what to trim;
//!    6. the **marks** in the database, in one transaction.
//!
//! Every object is a function of the rows, the key and the log before, so a run that dies anywhere
//! is finished by the next one with the same bytes. That holds for the order of chunks too: by
//! workspace in byte order, then by seq.

use std::time::Duration;

use ledger::checkpoint::Checkpoint;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::entry::genesis_link;
use ledger::hash::Digest;
use ledger::hour::HourNote;
use ledger::layout::{Artefact, Range};
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::{self, NoteSigner};
use ledger::time::{Hour, Micros};
use sqlx::{PgConnection, PgPool, Row as _};
use verifier::audit::check_chunk;

use crate::chunk::{Chunk, ChunkMaker, Limits};
use crate::log::superseded;
use crate::records::Records;
use crate::recover::{Start, recover};
use crate::state::{Mark, Published, State, save};
use crate::step::{Probe, Step};
use crate::vault::Vault;
use crate::{Disagreement, SealError, lock};

/// What sealing works with.
pub struct Archiver<'a> {
    /// The ledger's database.
    pub pool: PgPool,
    /// The archive's store.
    pub vault: &'a dyn Vault,
    /// The ledger's seal key.
    pub signer: NoteSigner,
    /// The ledger.
    pub origin: Origin,
    /// How much goes into a chunk.
    pub limits: Limits,
    /// Told of each step.
    pub probe: &'a dyn Probe,
}

/// An hour that was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedHour {
    /// The hour.
    pub hour: Hour,
    /// Its chunks.
    pub chunks: u64,
    /// Its entries.
    pub events: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Bytes of the chunks' objects.
    pub object_bytes: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// The hours that this run sealed, in order.
    pub hours: Vec<SealedHour>,
    /// Leaves in the log.
    pub log_size: u64,
    /// Leaves that an earlier run had published without the database knowing.
    pub recovered: u64,
}

impl Archiver<'_> {
    /// Seals every hour that has closed: those that ended `grace` or longer before `now`.
    pub async fn seal(&self, now: Micros, grace: Duration) -> Result<Sealed, SealError> {
        let conn = &mut lock::archiver(&self.pool).await?;
        self.check_origin(conn).await?;
        self.vault.tidy()?;
        let mut start = recover(conn, self.vault, &self.signer).await?;
        check_heads(conn, &start.state).await?;
        let log_size = start.log.size();
        let mut sealed = Sealed { hours: Vec::new(), log_size, recovered: start.recovered };
        let Some(open) = first_open_hour(now, grace) else {
            return Ok(sealed);
        };
        let last = start.state.last_hour().map(|(hour, _)| hour);
        let mut next = last.and_then(Hour::next);
        if last.is_none() || next.is_some_and(|hour| hour < open) {
            lock::fence(conn, open.start().get()).await?;
            self.reach(Step::Fenced)?;
        }
        if last.is_none() {
            next = first_hour(conn).await?;
        }
        while let Some(hour) = next.filter(|hour| *hour < open) {
            sealed.hours.push(self.seal_hour(conn, &mut start, hour).await?);
            sealed.log_size = start.log.size();
            next = hour.next();
        }
        Ok(sealed)
    }

    fn reach(&self, step: Step) -> Result<(), SealError> {
        if self.probe.go_on(step) { Ok(()) } else { Err(SealError::Stopped(step)) }
    }

    fn sign(&self, body: &str) -> String {
        note::sign(body, &[&self.signer])
    }

    fn put(&self, artefact: &Artefact, bytes: &[u8]) -> Result<(), SealError> {
        Ok(self.vault.create(&artefact.to_string(), bytes)?)
    }

    async fn check_origin(&self, conn: &mut PgConnection) -> Result<(), SealError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT origin FROM ledger").fetch_optional(conn).await?;
        match found {
            None => Err(SealError::NoLedger),
            Some(found) if found == self.origin.as_str() => Ok(()),
            Some(found) => {
                Err(Disagreement::Origin { configured: self.origin.clone(), found }.into())
            }
        }
    }

    async fn seal_hour(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        hour: Hour,
    ) -> Result<SealedHour, SealError> {
        let mut work = HourWork::new(hour, start);
        for workspace in workspaces_with_entries(conn, hour).await? {
            self.seal_workspace(conn, &mut work, &workspace).await?;
        }
        self.seal_hour_note(&mut work)?;
        let old = start.log.size();
        for leaf in &work.leaves {
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
        let checkpoint = self.sign(&checkpoint.to_body());
        // The lock is held for as long as its connection lives: an archiver that was cut off from
        // the database must not publish any more, as another one may have gone further.
        sqlx::query("SELECT 1").execute(&mut *conn).await?;
        let before = start.checkpoint.as_deref().map(str::as_bytes);
        self.vault.replace(&Artefact::Checkpoint.to_string(), before, checkpoint.as_bytes())?;
        self.reach(Step::CheckpointPut)?;
        for artefact in superseded(old, size) {
            self.vault.remove(&artefact.to_string())?;
        }
        self.reach(Step::Trimmed)?;
        let published = Published { size, note: checkpoint };
        save(conn, &work.marks, &published).await?;
        self.reach(Step::Marked)?;
        start.state = work.state;
        start.checkpoint = Some(published.note);
        Ok(work.sealed)
    }

    async fn seal_workspace(
        &self,
        conn: &mut PgConnection,
        work: &mut HourWork,
        workspace: &Workspace,
    ) -> Result<(), SealError> {
        let (mut seq, mut link) = match work.state.tail(workspace) {
            None => (Seq::FIRST, genesis_link(&self.origin, workspace)),
            // Nothing follows on a full chain: the query for its next entry finds none.
            Some(tail) => (tail.last_seq.next().unwrap_or(tail.last_seq), tail.last_link),
        };
        let wrong = |error| Disagreement::Record { workspace: workspace.clone(), error };
        let mut records = Records::new(workspace, seq.get().cast_signed(), work.hour.end());
        let mut maker: Option<ChunkMaker<'_>> = None;
        let mut part = 0;
        loop {
            let submission = records.next(conn).await?;
            // A chunk ends where the next submission does not fit, or where there is none.
            let fits = |maker: &mut ChunkMaker<'_>| {
                submission.as_ref().is_some_and(|next| maker.fits(next, &self.limits))
            };
            if let Some(full) = maker.take_if(|maker| !fits(maker)) {
                (seq, link) = full.end();
                if let Some(chunk) = full.finish().map_err(wrong)? {
                    self.reach(Step::RowsRead)?;
                    self.seal_chunk(work, workspace, part, chunk)?;
                    part += 1;
                }
            }
            let Some(submission) = submission else {
                return Ok(());
            };
            let maker = match &mut maker {
                Some(maker) => maker,
                none => none.insert(
                    ChunkMaker::new(&self.origin, workspace, work.hour, seq, link)
                        .map_err(wrong)?,
                ),
            };
            maker.push(&submission).map_err(wrong)?;
        }
    }

    fn seal_chunk(
        &self,
        work: &mut HourWork,
        workspace: &Workspace,
        part: u64,
        chunk: Chunk,
    ) -> Result<(), SealError> {
        let Chunk { object, first_seq, last_seq, .. } = chunk;
        let range = Range { workspace: workspace.clone(), hour: work.hour, first_seq, last_seq };
        let events = Artefact::Events { range: range.clone(), erasure: 0 };
        let manifest = ChunkManifest {
            origin: self.origin.clone(),
            workspace: workspace.clone(),
            hour: work.hour,
            part,
            first_seq,
            last_seq,
            prev_link: chunk.prev_link,
            last_link: chunk.last_link,
            root: chunk.root,
            first_recorded_at: chunk.first_recorded_at,
            last_recorded_at: chunk.last_recorded_at,
            prev_manifest: work.state.tail(workspace).map_or(Digest::ZERO, |tail| tail.manifest),
            amends: Digest::ZERO,
            object: events.to_string(),
            digest: ObjectDigest::of(&object),
        };
        self.put(&events, &object)?;
        self.reach(Step::ObjectPut)?;
        // What counts is what the store gives back: it is checked against the rows' own root and
        // last link, by the code that an auditor runs.
        drop(object);
        let stored = self.vault.get(&manifest.object)?.unwrap_or_default();
        if let Some(finding) = check_chunk(&manifest, &stored).findings.first() {
            let (object, finding) = (manifest.object, finding.to_string());
            return Err(Disagreement::ReadBack { object, finding }.into());
        }
        drop(stored);
        self.reach(Step::ObjectReadBack)?;
        let note = self.sign(&manifest.to_body());
        self.put(&Artefact::Manifest { range, erasure: 0 }, note.as_bytes())?;
        self.reach(Step::ManifestPut)?;
        work.sealed.chunks += 1;
        work.sealed.events += manifest.rows();
        work.sealed.payload_bytes += chunk.payload_bytes;
        work.sealed.object_bytes += manifest.digest.bytes;
        self.log_leaf(work, note)
    }

    fn seal_hour_note(&self, work: &mut HourWork) -> Result<(), SealError> {
        let heads = work.state.heads();
        self.put(&Artefact::HourHeads(work.hour), heads.to_text().as_bytes())?;
        self.reach(Step::HeadsPut)?;
        let note = HourNote {
            origin: self.origin.clone(),
            hour: work.hour,
            chunks: work.sealed.chunks,
            workspaces: u64::try_from(heads.len()).unwrap_or(u64::MAX),
            heads_root: heads.root(),
            prev_hour: work.state.last_hour().map_or(Digest::ZERO, |(_, note)| note),
        };
        let note = self.sign(&note.to_body());
        self.put(&Artefact::HourNote(work.hour), note.as_bytes())?;
        self.reach(Step::HourNotePut)?;
        self.log_leaf(work, note)
    }

    /// Takes a note up as a leaf to log, by the same path as a run that recovers.
    fn log_leaf(&self, work: &mut HourWork, note: String) -> Result<(), SealError> {
        let mark = Mark::read(note.as_bytes(), self.signer.verifier(), &self.origin)
            .map_err(|error| Disagreement::Leaf { index: work.next_index(), error })?;
        work.state.apply(&mark);
        work.marks.push(mark);
        work.leaves.push(note);
        Ok(())
    }
}

/// An hour that is being sealed.
struct HourWork {
    hour: Hour,
    /// As it will be when the hour is sealed.
    state: State,
    log_size: u64,
    leaves: Vec<String>,
    marks: Vec<Mark>,
    sealed: SealedHour,
}

impl HourWork {
    fn new(hour: Hour, start: &Start) -> Self {
        let sealed = SealedHour { hour, chunks: 0, events: 0, payload_bytes: 0, object_bytes: 0 };
        let (state, log_size) = (start.state.clone(), start.log.size());
        Self { hour, state, log_size, leaves: Vec::new(), marks: Vec::new(), sealed }
    }

    fn next_index(&self) -> u64 {
        self.log_size.saturating_add(u64::try_from(self.leaves.len()).unwrap_or(u64::MAX))
    }
}

/// The first hour that has not closed for long enough; none before 1970.
fn first_open_hour(now: Micros, grace: Duration) -> Option<Hour> {
    let grace = i64::try_from(grace.as_micros()).ok()?;
    now.checked_add(-grace).map(Micros::hour)
}

/// The hour of the ledger's first entry; none before there is one.
async fn first_hour(conn: &mut PgConnection) -> Result<Option<Hour>, sqlx::Error> {
    let first: Option<i64> = sqlx::query_scalar(
        "SELECT min(e.recorded_at) FROM heads h
         JOIN entries e ON e.workspace = h.workspace AND e.seq = 1",
    )
    .fetch_one(conn)
    .await?;
    Ok(first.and_then(Micros::new).map(Micros::hour))
}

/// The workspaces with entries in this hour, in byte order. The hours before are sealed, so it is
/// the next entry of each that decides.
async fn workspaces_with_entries(
    conn: &mut PgConnection,
    hour: Hour,
) -> Result<Vec<Workspace>, SealError> {
    let rows = sqlx::query(
        "SELECT h.workspace, e.seq, e.recorded_at FROM heads h
         LEFT JOIN LATERAL (
             SELECT last_seq FROM sealed_chunks c WHERE c.workspace = h.workspace
             ORDER BY first_seq DESC LIMIT 1
         ) sealed ON true
         JOIN entries e
             ON e.workspace = h.workspace AND e.seq = coalesce(sealed.last_seq, 0) + 1
         WHERE e.recorded_at < $1 ORDER BY h.workspace",
    )
    .bind(hour.end())
    .fetch_all(conn)
    .await?;
    let mut workspaces = Vec::with_capacity(rows.len());
    for row in rows {
        let workspace =
            Workspace::new(row.try_get("workspace")?).map_err(Disagreement::Workspace)?;
        if row.try_get::<i64, _>("recorded_at")? < hour.start().get() {
            let seq = row.try_get("seq")?;
            return Err(Disagreement::Late { workspace, seq, hour }.into());
        }
        workspaces.push(workspace);
    }
    Ok(workspaces)
}

/// Checks that the database still holds what is sealed: no head behind a sealed one, and no other
/// link where a sealed entry still lies.
async fn check_heads(conn: &mut PgConnection, state: &State) -> Result<(), SealError> {
    for (workspace, tail) in state.tails() {
        let holds: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM heads WHERE workspace = $1 AND last_seq >= $2)
             AND NOT EXISTS (SELECT FROM entries WHERE workspace = $1 AND seq = $2 AND link <> $3)
             AND NOT EXISTS (SELECT FROM heads WHERE workspace = $1 AND last_seq = $2 AND link <> $3)",
        )
        .bind(workspace.as_str())
        .bind(tail.last_seq.get().cast_signed())
        .bind(tail.last_link.as_bytes().as_slice())
        .fetch_one(&mut *conn)
        .await?;
        if !holds {
            let (workspace, sealed) = (workspace.clone(), tail.last_seq);
            return Err(Disagreement::DatabaseBehind { workspace, sealed }.into());
        }
    }
    Ok(())
}

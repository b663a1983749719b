//! Sealing: the order of its effects, and nothing else.
//!
//! 1. **Lock.** One archiver at a time, for as long as its connection lives.
//! 2. **Recover.** Store and database are compared; the database catches up (see
//!    [`crate::recover`]). Nothing is signed before.
//! 3. **Probe.** The store is asked, on an hour note that is sealed, whether it refuses to overwrite;
//!    before the first hour there is nothing to ask it on, so then it is asked after that. Writes are
//!    right either way: it decides how much is read again.
//! 4. **Fence.** No entry of the hours to seal can be recorded any more, so the rows that are read
//!    from here on are all there are.
//! 5. For each hour in turn:
//!    1. each chunk's **object** and **manifest**; while one is checked as it was read back, the next one
//!       is made, and rows of the one behind that are read;
//!    2. the hour's **heads**, then its **note**, which counts the manifests;
//!    3. **publishing**: the log, its checkpoint, the marks. What an object and a checkpoint go
//!       through, [`crate::publish`] says.
//!
//! What the hour's own entries erase is not sealed, whether the database still has it or not (see
//! [`crate::erasure`]). So every object is a function of what is recorded, the key and the log
//! before, and a run that dies anywhere is finished by the next one with the same bytes. That holds
//! for the order of chunks too: by workspace in byte order, then by seq.

use std::sync::Arc;
use std::time::Duration;

use ledger::chunk::ChunkManifest;
use ledger::entry::genesis_link;
use ledger::hash::Digest;
use ledger::hour::HourNote;
use ledger::layout::{Artefact, Range};
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::{Signer, VerifierKey};
use ledger::time::{Hour, Micros};
use sqlx::{PgConnection, PgPool, Row as _};

use crate::chunk::{Chunk, Limits};
use crate::making::{Closing, Making};
use crate::publish::{Batch, Second, Written};
use crate::records::{Records, decoded, unsigned};
use crate::recover::{Start, recover};
use crate::state::State;
use crate::step::{Probe, Step};
use crate::vault::{Guarantees, Vault};
use crate::{Disagreement, SealError, erasure, lock};

/// What sealing works with.
pub struct Archiver<'a> {
    /// The ledger's database.
    pub pool: PgPool,
    /// The archive's store.
    pub vault: &'a dyn Vault,
    /// The ledger's seal key.
    pub signer: Arc<dyn Signer>,
    /// The ledger.
    pub origin: Origin,
    /// How much goes into a chunk of the hours that are begun.
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
    /// Tiles and bundles that fuller ones replace and that the store keeps nevertheless.
    pub kept: u64,
    /// What the store guarantees, as far as it was found out.
    pub guarantees: Guarantees,
}

impl Archiver<'_> {
    /// Seals every hour that has closed: those that ended `grace` or longer before `now`.
    pub async fn seal(&self, now: Micros, grace: Duration) -> Result<Sealed, SealError> {
        let (mut conn, mut start) = self.begin().await?;
        self.seal_closed(&mut conn, &mut start, now, grace).await
    }

    /// The same, where the lock is held and store and database agree.
    pub(crate) async fn seal_closed(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        now: Micros,
        grace: Duration,
    ) -> Result<Sealed, SealError> {
        let log_size = start.log.size();
        let recovered = start.recovered;
        let mut sealed = Sealed { log_size, recovered, ..Sealed::default() };
        if let Some((hour, _)) = start.state.last_hour() {
            sealed.guarantees = self.vault.probe(&Artefact::HourNote(hour).to_string())?;
        }
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
            let (done, kept) = self.seal_hour(conn, start, hour).await?;
            if last.is_none() && sealed.hours.is_empty() {
                sealed.guarantees = self.vault.probe(&Artefact::HourNote(hour).to_string())?;
            }
            sealed.hours.push(done);
            sealed.kept += kept;
            sealed.log_size = start.log.size();
            next = hour.next();
        }
        Ok(sealed)
    }

    /// Takes the lock, lets store and database agree before anything is signed, and finishes a change
    /// of the seal key, and the publishing of leaves, that was begun.
    pub(crate) async fn begin(&self) -> Result<(PgConnection, Start), SealError> {
        let (mut conn, mut start) = self.open(self.signer.verifier()).await?;
        self.finish_change(&mut conn, &mut start, None).await?;
        self.check_in_force(&start)?;
        self.finish_planned(&mut conn, &mut start).await?;
        Ok((conn, start))
    }

    /// Takes the lock, and lets store and database agree, whichever key is configured. `known` is the
    /// seal key where it has never changed.
    pub(crate) async fn open(
        &self,
        known: &VerifierKey,
    ) -> Result<(PgConnection, Start), SealError> {
        let mut conn = lock::archiver(&self.pool).await?;
        self.check_origin(&mut conn).await?;
        self.vault.tidy()?;
        let start = recover(&mut conn, self.vault, known).await?;
        check_heads(&mut conn, &start.state).await?;
        Ok((conn, start))
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

    /// Seals one hour, and says how many superseded objects the store keeps.
    async fn seal_hour(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        hour: Hour,
    ) -> Result<(SealedHour, u64), SealError> {
        let limits = hour_limits(conn, hour, self.limits).await?;
        let mut work = HourWork::new(hour, limits, start);
        for workspace in workspaces_with_entries(conn, hour).await? {
            self.seal_workspace(conn, &mut work, &workspace).await?;
        }
        self.write_closed(&mut work)?;
        self.finish_chunk(&mut work)?;
        self.seal_hour_note(&mut work)?;
        let kept = self.publish(conn, start, work.batch).await?;
        Ok((work.sealed, kept))
    }

    async fn seal_workspace(
        &self,
        conn: &mut PgConnection,
        work: &mut HourWork,
        workspace: &Workspace,
    ) -> Result<(), SealError> {
        let mut start = match work.batch.state.tail(workspace) {
            None => (Seq::FIRST, genesis_link(&self.origin, workspace)),
            // Nothing follows on a full chain: the query for its next entry finds none.
            Some(tail) => (tail.last_seq.next().unwrap_or(tail.last_seq), tail.last_link),
        };
        let wrong = |error| Disagreement::Record { workspace: workspace.clone(), error };
        let erased = Arc::new(erasure::of_hour(conn, workspace, work.hour).await?);
        let mut records = Records::new(workspace, start.0.get().cast_signed(), work.hour.end());
        let mut making: Option<Making> = None;
        let mut part = 0;
        while let Some(mut events) = records.next(conn).await? {
            while let Some(mut submission) = events.next().await? {
                submission.withhold(workspace, &erased);
                // A chunk ends where the next submission does not fit.
                if let Some(full) = making.take_if(|it| !it.fits(&submission, &work.limits)) {
                    self.close(work, full.close(workspace, part))?;
                    part += 1;
                }
                let chunk = match &mut making {
                    Some(making) => making,
                    none => none.insert(
                        Making::start(&self.origin, workspace, work.hour, start, &erased)
                            .map_err(wrong)?,
                    ),
                };
                // Where the next chunk starts if this is the last of its own, by the database: making the
                // chunk finds out whether that is right, before anything is written.
                let end = submission.end();
                chunk.push(submission);
                start = end.unwrap_or(start);
                if work.closing.as_ref().is_some_and(Closing::is_ready) {
                    self.write_closed(work)?;
                }
            }
        }
        match making {
            None => Ok(()),
            Some(last) => self.close(work, last.close(workspace, part)),
        }
    }

    /// Takes up a chunk that is full, once the one before is written: two are in memory at most, and one that
    /// is being filled.
    fn close(&self, work: &mut HourWork, closing: Closing) -> Result<(), SealError> {
        self.write_closed(work)?;
        work.closing = Some(closing);
        Ok(())
    }

    /// Writes the object of the chunk that is full.
    fn write_closed(&self, work: &mut HourWork) -> Result<(), SealError> {
        let Some(closing) = work.closing.take() else { return Ok(()) };
        let (workspace, part) = (closing.workspace.clone(), closing.part);
        let chunk = closing.finish();
        let wrong = |error| Disagreement::Record { workspace: workspace.clone(), error };
        let Some(chunk) = chunk.map_err(wrong)? else { return Ok(()) };
        self.reach(Step::RowsRead)?;
        self.seal_chunk(work, &workspace, part, chunk)
    }

    fn seal_chunk(
        &self,
        work: &mut HourWork,
        workspace: &Workspace,
        part: u64,
        chunk: Chunk,
    ) -> Result<(), SealError> {
        // Its manifest names the one before.
        self.finish_chunk(work)?;
        let Chunk { object, first_seq, last_seq, .. } = chunk;
        let range = Range { workspace: workspace.clone(), hour: work.hour, first_seq, last_seq };
        let previous = work.batch.state.tail(workspace);
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
            prev_manifest: previous.map_or(Digest::ZERO, |tail| tail.manifest),
            amends: Digest::ZERO,
            object: Artefact::Events { range, erasure: 0 }.to_string(),
            digest: chunk.digest,
        };
        work.sealed.chunks += 1;
        work.sealed.events += manifest.rows();
        work.sealed.payload_bytes += chunk.payload_bytes;
        work.sealed.object_bytes += manifest.digest.bytes;
        let second = Second::Rows(chunk.rows);
        work.written = Some(self.put_object(manifest, object, second)?);
        Ok(())
    }

    /// Writes and takes up the manifest of the chunk that was written last.
    fn finish_chunk(&self, work: &mut HourWork) -> Result<(), SealError> {
        match work.written.take() {
            None => Ok(()),
            Some(written) => {
                let note = self.put_manifest(written)?;
                self.log_leaf(&mut work.batch, note)
            }
        }
    }

    fn seal_hour_note(&self, work: &mut HourWork) -> Result<(), SealError> {
        let heads = work.batch.state.heads();
        self.put(&Artefact::HourHeads(work.hour), heads.to_text().as_bytes())?;
        self.reach(Step::HeadsPut)?;
        let note = HourNote {
            origin: self.origin.clone(),
            hour: work.hour,
            chunks: work.sealed.chunks,
            workspaces: u64::try_from(heads.len()).unwrap_or(u64::MAX),
            heads_root: heads.root(),
            prev_hour: work.batch.state.last_hour().map_or(Digest::ZERO, |(_, note)| note),
        };
        let note = self.sign(&note.to_body())?;
        self.put(&Artefact::HourNote(work.hour), note.as_bytes())?;
        self.reach(Step::HourNotePut)?;
        self.log_leaf(&mut work.batch, note)
    }
}

/// An hour that is being sealed.
struct HourWork {
    hour: Hour,
    limits: Limits,
    batch: Batch,
    /// The newest chunk that is full, whose object is still being made.
    closing: Option<Closing>,
    /// The one before it, whose object is still being checked.
    written: Option<Written>,
    sealed: SealedHour,
}

impl HourWork {
    fn new(hour: Hour, limits: Limits, start: &Start) -> Self {
        let sealed = SealedHour { hour, chunks: 0, events: 0, payload_bytes: 0, object_bytes: 0 };
        Self { hour, limits, batch: Batch::new(start), closing: None, written: None, sealed }
    }
}

/// The first hour that has not closed for long enough; none before 1970.
pub(crate) fn first_open_hour(now: Micros, grace: Duration) -> Option<Hour> {
    let grace = i64::try_from(grace.as_micros()).ok()?;
    now.checked_add(-grace).map(Micros::hour)
}

/// The limits of an hour's chunks: those with which it was begun, by a run that may have died since
/// (see [`Limits`]).
async fn hour_limits(
    conn: &mut PgConnection,
    hour: Hour,
    limits: Limits,
) -> Result<Limits, sqlx::Error> {
    sqlx::query(
        "INSERT INTO sealing (hour, rows, payload_bytes) VALUES ($1, $2, $3)
         ON CONFLICT (one) DO UPDATE SET hour = $1, rows = $2, payload_bytes = $3
         WHERE sealing.hour <> $1",
    )
    .bind(hour.start().get())
    .bind(decoded("rows", i64::try_from(limits.rows))?)
    .bind(decoded("payload_bytes", i64::try_from(limits.payload_bytes))?)
    .execute(&mut *conn)
    .await?;
    let row = sqlx::query("SELECT rows, payload_bytes FROM sealing").fetch_one(conn).await?;
    Ok(Limits { rows: unsigned(&row, "rows")?, payload_bytes: unsigned(&row, "payload_bytes")? })
}

/// The hour of the ledger's first entry; none before there is one.
pub(crate) async fn first_hour(conn: &mut PgConnection) -> Result<Option<Hour>, sqlx::Error> {
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

//! Erasing: the order of its effects, and nothing else (FORMAT section 10).
//!
//! 1. **Lock** and **recover**, as for sealing.
//! 2. **Sweep.** Objects whose place another has taken are removed, where one is there: an earlier run
//!    may have died before it removed them, the store may have refused, someone may have brought
//!    one back.
//! 3. For each request, in the order of workspaces and their chains, that names a payload which the
//!    database still holds, or has left to the archive and not marked as erased:
//!    - where the request is **not sealed** yet: what it names of its own hour goes from the
//!      **database**. The hour will be sealed without it (see [`crate::erasure::of_hour`]). What it
//!      names of earlier hours waits: an hour that is sealed without a payload, or amended so, before
//!      the archive has the entry that allows it, is tampering to an auditor who comes in between;
//!    - where it is **sealed**, so that all it names is sealed too:
//!      1. the request is **read from the archive** and compared: a database that was changed must
//!         not have evidence destroyed;
//!      2. each chunk that holds what it names is written anew: **object**, **read back and
//!         verified**, **manifest**;
//!      3. these are **published**, as leaves of the log like any other: what the last two steps go
//!         through, [`crate::publish`] says;
//!      4. the **old objects** are removed;
//!      5. the payloads go from the **database**, and those that only the archive had are marked.
//!
//! **Why the archive comes first.** A payload that is gone from the database says that it is gone from
//! the archive, but for what the store refuses to remove. So the database's rows are all that a run
//! has to look at to know what is left, and no flag can be wrong. A run that dies leaves the payload
//! in the database, the next one finds the chunk amended already, and goes on behind that. The other
//! way round, a run that died would leave payloads in the archive that nothing points to any more.
//!
//! **Why one request at a time.** What takes a chunk's place is then a function of that chunk and the
//! request. A run that died is finished with the same bytes, whatever was asked for meanwhile.

use ledger::layout::{Artefact, Range};
use ledger::names::{Seq, Workspace};
use ledger::time::Micros;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::amend::{InForce, Place};
use crate::erasure::{Open, Request};
use crate::publish::Batch;
use crate::records::{decoded, unsigned};
use crate::recover::Start;
use crate::seal::Archiver;
use crate::step::Step;
use crate::vault::Removal;
use crate::{Disagreement, SealError};

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Payloads that are gone from the archive and from the database, as far as they were in them.
    pub payloads: u64,
    /// Requests that this run did something for.
    pub requests: u64,
    /// Chunks that were written anew.
    pub chunks: u64,
    /// Payloads of hours before that of their request, which is not sealed yet.
    pub waiting: u64,
    /// Objects with erased payloads that the store did not remove.
    pub kept: Vec<String>,
    /// Leaves in the log.
    pub log_size: u64,
    /// Leaves that an earlier run had published without the database knowing.
    pub recovered: u64,
}

impl Archiver<'_> {
    /// Carries out every request to erase payloads that the chains hold.
    pub async fn erase(&self) -> Result<Outcome, SealError> {
        let (mut conn, mut start) = self.begin().await?;
        self.carry_out_all(&mut conn, &mut start).await
    }

    /// The same, where the lock is held and store and database agree.
    pub(crate) async fn carry_out_all(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
    ) -> Result<Outcome, SealError> {
        let mut outcome = Outcome { recovered: start.recovered, ..Outcome::default() };
        for (range, erasure) in amended(conn).await? {
            self.remove_before(&range, erasure, &mut outcome)?;
        }
        for (workspace, seq) in Request::places(conn).await? {
            // Marks of requests are derived: one without its entry asks for nothing.
            let Some(request) = Request::load(conn, &workspace, seq).await? else {
                continue;
            };
            let open = request.open(conn).await?;
            if !open.is_empty() {
                self.carry_out(conn, start, &request, &open, &mut outcome).await?;
            }
        }
        outcome.log_size = start.log.size();
        Ok(outcome)
    }

    async fn carry_out(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        request: &Request,
        open: &[Open],
        outcome: &mut Outcome,
    ) -> Result<(), SealError> {
        let sealed = start.state.tail(&request.workspace).map_or(0, |tail| tail.last_seq.get());
        if request.seq.get() <= sealed {
            self.amend(conn, start, request, open, outcome).await?;
        } else {
            let now = open.iter().filter(|open| open.hour == request.hour).count();
            outcome.waiting += u64::try_from(open.len().saturating_sub(now)).unwrap_or(u64::MAX);
            if now == 0 {
                return Ok(());
            }
        }
        let erased: i64 = sqlx::query_scalar("SELECT erase_payloads($1, $2)")
            .bind(request.workspace.as_str())
            .bind(request.seq.get().cast_signed())
            .fetch_one(conn)
            .await?;
        self.reach(Step::Erased)?;
        outcome.requests += 1;
        outcome.payloads += u64::try_from(erased).unwrap_or(0);
        Ok(())
    }

    /// Takes what a sealed request names out of the archive.
    async fn amend(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        request: &Request,
        open: &[Open],
        outcome: &mut Outcome,
    ) -> Result<(), SealError> {
        self.check_sealed(conn, start, request).await?;
        let erased = request.erased();
        let mut batch = Batch::new(start);
        let mut superseded = Vec::new();
        let mut done = 0;
        for Open { seq, .. } in open {
            // In the order of the chain: what lies in a chunk that is done is done with it.
            if seq.get() <= done {
                continue;
            }
            let place = self.place(conn, &request.workspace, *seq).await?;
            done = place.range.last_seq.get();
            // There is nothing left of it to take a payload out of.
            if place.pruned {
                continue;
            }
            let chunk = self.in_force(start, &place)?;
            if let Some((manifest, object)) = chunk.without(&erased)? {
                drop(chunk);
                superseded.push((place.range, manifest.erasure()));
                let note = self.put_chunk(manifest, object)?;
                self.log_leaf(&mut batch, note)?;
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        outcome.chunks += u64::try_from(superseded.len()).unwrap_or(u64::MAX);
        self.publish(conn, start, batch).await?;
        for (range, erasure) in &superseded {
            self.remove_before(range, *erasure, outcome)?;
        }
        self.reach(Step::Removed)
    }

    /// Whether the archive holds the request as the database does.
    async fn check_sealed(
        &self,
        conn: &mut PgConnection,
        start: &Start,
        request: &Request,
    ) -> Result<(), SealError> {
        let place = self.place(conn, &request.workspace, request.seq).await?;
        let sealed = self.in_force(start, &place)?.payload(request.seq)?;
        if sealed.as_ref() == Some(&request.payload) {
            return Ok(());
        }
        let (workspace, seq) = (request.workspace.clone(), request.seq);
        let problem = "the archive has another payload there".to_owned();
        Err(Disagreement::Erasure { workspace, seq, problem }.into())
    }

    async fn place(
        &self,
        conn: &mut PgConnection,
        workspace: &Workspace,
        seq: Seq,
    ) -> Result<Place, SealError> {
        let place = Place::of(conn, workspace, seq).await?;
        place.ok_or_else(|| {
            let (workspace, problem) = (workspace.clone(), "no sealed chunk holds it".to_owned());
            Disagreement::Erasure { workspace, seq, problem }.into()
        })
    }

    pub(crate) fn in_force(&self, start: &Start, place: &Place) -> Result<InForce, SealError> {
        InForce::load(self.vault, start.line.at(place.log_index), &self.origin, place)
    }

    /// Removes the objects whose place the one of this `erasure` has taken.
    fn remove_before(
        &self,
        range: &Range,
        erasure: u32,
        outcome: &mut Outcome,
    ) -> Result<(), SealError> {
        for erasure in 0..erasure {
            let key = Artefact::Events { range: range.clone(), erasure }.to_string();
            if self.vault.remove(&key)? == Removal::Kept {
                outcome.kept.push(key);
            }
        }
        Ok(())
    }
}

/// The chunks that were amended, each with the newest of its amendments.
async fn amended(conn: &mut PgConnection) -> Result<Vec<(Range, u32)>, SealError> {
    let rows = sqlx::query(
        "SELECT c.workspace, c.hour, c.first_seq, c.last_seq, a.erasure
         FROM (SELECT workspace, first_seq, max(erasure) AS erasure FROM amended_chunks
               GROUP BY workspace, first_seq) a
         JOIN sealed_chunks c ON c.workspace = a.workspace AND c.first_seq = a.first_seq
         ORDER BY c.workspace, c.first_seq",
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.iter().map(range).collect::<Result<_, _>>()?)
}

/// Reads where a chunk lies, and how often it was amended.
pub(crate) fn range(row: &PgRow) -> Result<(Range, u32), sqlx::Error> {
    let seq = |column| Seq::new(unsigned(row, column)?).ok_or(sqlx::Error::RowNotFound);
    let hour = Micros::new(row.try_get("hour")?).ok_or(sqlx::Error::RowNotFound)?.hour();
    let workspace = decoded("workspace", Workspace::new(row.try_get("workspace")?))?;
    let (first_seq, last_seq) = (seq("first_seq")?, seq("last_seq")?);
    let erasure = decoded("erasure", u32::try_from(unsigned(row, "erasure")?))?;
    Ok((Range { workspace, hour, first_seq, last_seq }, erasure))
}

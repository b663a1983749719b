//! Retention: the order of its effects, and nothing else (docs/decisions/0015-retention.md).
//!
//! 1. **Lock** and **recover**, as for sealing. What is asked to be **erased** is erased first ([`crate::erase`]): a chunk that an erasure has begun to write anew
//!    must not be pruned before that is logged.
//! 2. **Database.** For each day whose time is over, that is sealed and that no hold keeps:
//!    1. each chunk in it is read from the store and **verified** as an auditor does, and **compared** with
//!       the database, row by row (see `compare.rs`): where the two differ, one of them is evidence;
//!    2. the day's payloads **leave** the database. Its rows stay, without them: who asks for one is sent
//!       to the archive, and what comes twice is still found.
//! 3. **Archive.** The chunks of each workspace whose time is over, that no hold keeps and whose day has
//!    left the database:
//!    1. each is read and **verified** once more, as nobody can after that; those with events of the
//!       ledger's own stay, as keys and erasures hang on them;
//!    2. runs of the others become **prune records**, signed and **published**, as leaves of the log like
//!       any other ([`crate::publish`]).
//! 4. **Sweep.** The objects of chunks that the log says are pruned are removed, also those that an
//!    earlier run did not come to, or that the store kept then. After the record: an object that is gone
//!    without one is loss, a record of one that is still there is not.

mod compare;
mod plan;
mod prune;

use ledger::names::{Seq, Workspace};
use ledger::time::{Hour, Micros};
use sqlx::PgConnection;

pub use plan::{Stay, Why};

use crate::SealError;
use crate::amend::Place;
use crate::policy::{DAY, RetentionPolicy};
use crate::records::decoded;
use crate::recover::Start;
use crate::seal::Archiver;
use crate::state::State;
use crate::step::Step;

/// A day whose payloads have left the database, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchivedDay {
    /// Its first hour.
    pub day: Hour,
    /// Payloads that left; `None` where nothing was done.
    pub payloads: Option<u64>,
}

/// Consecutive chunks of a workspace whose objects have left the archive, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedRun {
    /// The workspace.
    pub workspace: Workspace,
    /// Its first entry.
    pub first_seq: Seq,
    /// Its last entry.
    pub last_seq: Seq,
    /// The hours of its first and of its last chunk.
    pub hours: (Hour, Hour),
    /// Chunks.
    pub chunks: u64,
}

/// What a run came to, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Payloads that were erased before, as their chains ask for it.
    pub erased: u64,
    /// Days, in order.
    pub days: Vec<ArchivedDay>,
    /// Runs of chunks, by workspace and in the order of its chain.
    pub pruned: Vec<PrunedRun>,
    /// What stays although its time is over, and why.
    pub stays: Vec<Stay>,
    /// Objects that the store did not remove.
    pub kept: Vec<String>,
    /// Leaves in the log.
    pub log_size: u64,
    /// Leaves that an earlier run had published without the database knowing.
    pub recovered: u64,
}

/// What a run would do at `now`, and what stays. Nothing is changed, and nothing is read from the store: a
/// chunk that does not verify stops the run itself.
pub async fn rehearse(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    now: Micros,
) -> Result<Retained, SealError> {
    let state = State::load(conn).await?;
    let (days, mut stays) = plan::due_days(conn, &state, policy, now).await?;
    let (runs, more) = plan::due_chunks(conn, &state, policy, &days).await?;
    stays.extend(more);
    let published = crate::state::Published::load(conn).await?;
    Ok(Retained {
        dry_run: true,
        days: days.into_iter().map(|day| ArchivedDay { day, payloads: None }).collect(),
        pruned: runs.iter().filter_map(plan::Run::summary).collect(),
        stays,
        log_size: published.map_or(0, |published| published.size),
        ..Retained::default()
    })
}

impl Archiver<'_> {
    /// Lets go what the policy does not keep any longer at `now`.
    pub async fn retain(
        &self,
        policy: &RetentionPolicy,
        now: Micros,
    ) -> Result<Retained, SealError> {
        let (mut conn, mut start) = self.begin().await?;
        let mut retained = Retained { recovered: start.recovered, ..Retained::default() };
        retained.erased = self.carry_out_all(&mut conn, &mut start).await?.payloads;
        self.archive_days(&mut conn, &start, policy, now, &mut retained).await?;
        self.prune(&mut conn, &mut start, policy, &mut retained).await?;
        self.sweep(&mut conn, now, &mut retained).await?;
        retained.log_size = start.log.size();
        Ok(retained)
    }

    async fn archive_days(
        &self,
        conn: &mut PgConnection,
        start: &Start,
        policy: &RetentionPolicy,
        now: Micros,
        retained: &mut Retained,
    ) -> Result<(), SealError> {
        let (days, stays) = plan::due_days(conn, &start.state, policy, now).await?;
        retained.stays.extend(stays);
        for day in days {
            let first = day.start().get();
            for workspace in plan::workspaces_of(conn, first).await? {
                let places = Place::all(conn, &workspace, first, first.saturating_add(DAY));
                for place in places.await? {
                    compare::compare(conn, &self.in_force(start, &place)?).await?;
                }
            }
            let payloads: i64 = sqlx::query_scalar("SELECT archive_day($1, $2)")
                .bind(first)
                .bind(now.get())
                .fetch_one(&mut *conn)
                .await?;
            self.reach(Step::DayArchived)?;
            let payloads = Some(decoded("archive_day", u64::try_from(payloads))?);
            retained.days.push(ArchivedDay { day, payloads });
        }
        Ok(())
    }
}

//! The one ordered effect: a group of submissions becomes rows, in one transaction.
//!
//! Here: the order, and what happens when it breaks. Not here: the decision (see
//! [`crate::chain::plan`]) and the SQL (see [`crate::store::write`]).
//!
//! Promises:
//! - durability: a verdict of a new record is given after the commit, with synchronous_commit on;
//! - all or nothing: an error leaves no row, or, where only the answer to the commit was lost, all
//!   rows of the group;
//! - repetition: the same group again is safe; what is recorded is found by its submission hash;
//! - concurrency: any number of processes on one database; the row locks of the heads decide.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ledger::names::{EventId, Origin, Workspace};
use ledger::time::Micros;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::days::{Closed, Days, start_of_day};
use super::plan::{Chain, Known, Plan, Refused, Verdict, plan};
use super::seen::Seen;
use super::step::{Probe, Step};
use crate::accept::Submission;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::queue::worker::Batch;
use crate::store::rows::PlanRows;
use crate::store::{StoreError, day, erasure, queue, write};

/// How long a try may take. Postgres ends a statement earlier: a connection that says nothing for so
/// long is dead, and nobody was told (a switch that died, a host that is gone).
const TRY: Duration = Duration::from_secs(22);
/// How often a group is tried that lost a race or its connection.
const ATTEMPTS: u32 = 4;
/// How long it waits before it tries again, times the tries so far.
const PAUSE: Duration = Duration::from_millis(50);

/// Records groups of submissions.
#[derive(Clone)]
pub struct Committer {
    /// The ledger.
    pub origin: Origin,
    /// Connections made by [`crate::store::writers`].
    pub pool: PgPool,
    /// The ledger's clock.
    pub clock: Arc<dyn Clock>,
    /// Is told of every step.
    pub probe: Arc<dyn Probe>,
    /// Counts what is recorded, and how long each step takes.
    pub metrics: Arc<Metrics>,
    /// Which days are closed, and what ids they hold.
    pub days: Arc<Days>,
    /// Most keys that a workspace registers, revoked ones too.
    pub max_keys: usize,
    /// The heads and keys that this process has recorded.
    pub seen: Arc<Seen>,
}

/// Where the events of a group are looked for before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Not in the day they are written to: its unique index refuses what is there already.
    Index,
    /// Everywhere.
    Look,
}

/// What became of one try.
enum Tried {
    Decided(Vec<Result<Verdict, Refused>>),
    /// Entries would have come to lie in a day that was not looked into.
    OtherDay,
}

impl Committer {
    /// Records a group: one verdict for each submission, in order; and whether an event of it was
    /// refused by an index, so that the groups that follow better look first.
    ///
    /// On an error it is not known what is recorded; the clients send the same bytes again.
    pub async fn record(
        &self,
        group: Arc<[Submission]>,
        care: Care,
    ) -> Result<(Vec<Result<Verdict, Refused>>, Care), StoreError> {
        self.record_all(group, care, None).await
    }

    /// Records what was taken from a queue, and with it how far that is recorded and what of it was
    /// refused. No verdicts where an earlier try, of which nobody knew, had recorded it already.
    pub async fn record_batch(
        &self,
        group: Arc<[Submission]>,
        batch: &Batch,
        care: Care,
    ) -> Result<(Vec<Result<Verdict, Refused>>, Care), StoreError> {
        self.record_all(group, care, Some(batch)).await
    }

    async fn record_all(
        &self,
        group: Arc<[Submission]>,
        mut care: Care,
        batch: Option<&Batch>,
    ) -> Result<(Vec<Result<Verdict, Refused>>, Care), StoreError> {
        let mut attempt = 1;
        // Whether the commit of an earlier try may have been done.
        let mut unknown = false;
        loop {
            match self.try_record(&group, care, batch).await {
                Ok(Tried::Decided(verdicts)) => return Ok((verdicts, care)),
                Ok(Tried::OtherDay) => care = Care::Look,
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    tracing::info!(%error, attempt, "group is tried again");
                    unknown |= !error.is_conflict();
                    if error.is_conflict() && care == Care::Index {
                        care = Care::Look;
                    } else {
                        tokio::time::sleep(PAUSE * attempt).await;
                    }
                    attempt += 1;
                }
                Err(error @ (StoreError::Behind { .. } | StoreError::ClockApart { .. }))
                    if unknown =>
                {
                    tracing::error!(%error, "group not recorded now, and perhaps before");
                    let lost = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
                    return Err(StoreError::Database(sqlx::Error::Io(lost)));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_record(
        &self,
        group: &Arc<[Submission]>,
        care: Care,
        batch: Option<&Batch>,
    ) -> Result<Tried, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let trying = self.try_on(&mut connection, group, care, batch);
        let tried = tokio::time::timeout(TRY, trying).await;
        tried.unwrap_or_else(|_| {
            // It may never say anything again: given back, it would be waited for.
            connection.close_on_drop();
            let silent = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(StoreError::Database(sqlx::Error::Io(silent)))
        })
    }

    async fn try_on(
        &self,
        connection: &mut PgConnection,
        group: &Arc<[Submission]>,
        care: Care,
        batch: Option<&Batch>,
    ) -> Result<Tried, StoreError> {
        let mut watch = self.metrics.stopwatch();
        let mut at = |step| {
            self.probe.at(step);
            watch.at(step);
        };
        let closed = self.days.closed();
        let mut transaction = connection.begin().await?;
        at(Step::Begun);
        // Before anything else: who waits here has no lock that others may wait for.
        if let Some(batch) = batch
            && !batch.is_next(queue::hold(&mut transaction, &batch.claim).await?)?
        {
            return Ok(Tried::Decided(Vec::new()));
        }

        // The fence before the heads, so that the archiver waits for nobody who waits for a head.
        let (not_before, database) = write::lock_fence(&mut transaction).await?;
        let mut chains = write::lock_heads(&mut transaction, group).await?;
        at(Step::Locked);
        let heads = chains.iter().map(|(workspace, chain)| (workspace, chain.head));
        self.seen.check(heads)?;

        // The heads are locked: no later entry of these chains can read an earlier clock.
        let now = self.clock.now();
        let apart = Duration::from_micros(now.get().abs_diff(database.get()));
        if self.clock.tolerance().is_some_and(|most| apart > most) {
            return Err(StoreError::ClockApart { ours: now, database });
        }
        let today = start_of_day(now.max(not_before));
        write::load_keys(&mut transaction, group, &mut chains).await?;
        write::load_recorded(&mut transaction, group, closed.open_from, &mut chains).await?;
        write::load_counters(&mut transaction, group, &mut chains).await?;
        let before = match care {
            Care::Index => today,
            Care::Look => i64::MAX,
        };
        if closed.open_from < before {
            let days = (closed.open_from, before);
            write::load_events(&mut transaction, group, days, &mut chains).await?;
        }
        look_into_closed(&mut transaction, group, &closed, &mut chains).await?;
        erasure::load(&mut transaction, group, &closed, &mut chains).await?;
        if let Some((workspace, _)) = chains.iter().find(|(_, chain)| chain.is_torn()) {
            return Err(StoreError::Appeared { workspace: workspace.clone() });
        }

        let known = Known { not_before, max_keys: self.max_keys, chains };
        let (plan, rows) = self.decide(group, known, now).await;
        at(Step::Planned);
        if let Some(batch) = batch {
            let refused = batch.refused(group, &plan.verdicts, now)?;
            queue::keep(&mut transaction, &batch.claim, &batch.letters).await?;
            queue::keep(&mut transaction, &batch.claim, &refused).await?;
            queue::advance(&mut transaction, &batch.claim, batch.to, &batch.digest).await?;
            at(Step::Moved);
        }
        if plan.records.is_empty() {
            // What is recorded already may be no further than this server: the commit waits for its
            // replicas, as that of the record should have.
            transaction.commit().await?;
            return Ok(Tried::Decided(plan.verdicts));
        }
        let mut days: Vec<i64> = plan.days().collect();
        days.dedup();
        if care == Care::Index && days != [today] {
            return Ok(Tried::OtherDay);
        }
        for first in days.iter().filter(|first| !self.days.is_made(**first)) {
            day::ensure(&mut transaction, *first).await?;
        }

        // The heads first: of two processes that create one workspace, the second stops here.
        write::advance_heads(&mut transaction, &plan.advances).await?;
        at(Step::Advanced);
        rows.write(&mut transaction).await?;
        erasure::note(&mut transaction, &plan, group).await?;
        at(Step::Copied);
        write::set_keys(&mut transaction, &plan.advances).await?;
        at(Step::BeforeCommit);
        transaction.commit().await?;
        self.seen.advance(&plan.advances);
        days.iter().for_each(|first| self.days.has_been_made(*first));
        at(Step::Committed);
        let events = plan.records.iter().map(|record| record.links.len()).sum();
        self.metrics.group_recorded(plan.records.len(), events, watch.elapsed());
        Ok(Tried::Decided(plan.verdicts))
    }

    /// Hashing and encoding a large group takes milliseconds: not on a thread that serves sockets.
    async fn decide(
        &self,
        group: &Arc<[Submission]>,
        known: Known,
        now: Micros,
    ) -> (Plan, PlanRows) {
        let (origin, group) = (self.origin.clone(), Arc::clone(group));
        let deciding = tokio::task::spawn_blocking(move || {
            let plan = plan(&origin, known, &group, now);
            let rows = PlanRows::encode(&plan, &group);
            (plan, rows)
        });
        match deciding.await {
            Ok(decided) => decided,
            // Only a panic ends it: the task of this group ends with it, its transaction rolls back.
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Looks for events in the closed days that they may lie in: for most events that is none.
async fn look_into_closed(
    connection: &mut PgConnection,
    group: &[Submission],
    closed: &Closed,
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    let perhaps: Vec<(&Workspace, EventId, i64)> = group
        .iter()
        .flat_map(|s| s.events.iter().map(move |event| (&s.workspace, event.event_id)))
        .flat_map(|(workspace, id)| closed.days_of(&id).map(move |day| (workspace, id, day)))
        .collect();
    write::load_events_of(connection, &perhaps, chains).await
}

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

use std::sync::Arc;
use std::time::Duration;

use ledger::names::Origin;
use sqlx::PgPool;

use super::plan::{Known, Plan, Refused, Verdict, plan};
use super::step::{Probe, Step};
use crate::accept::Submission;
use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::write::{self, PlanRows};

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
}

impl Committer {
    /// Records a group: one verdict for each submission, in order.
    ///
    /// On an error it is not known what is recorded; the clients send the same bytes again.
    pub async fn record(
        &self,
        group: Arc<[Submission]>,
    ) -> Result<Vec<Result<Verdict, Refused>>, StoreError> {
        let mut attempt = 1;
        loop {
            match self.try_record(&group).await {
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    tracing::info!(%error, attempt, "group is tried again");
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                decided => return decided,
            }
        }
    }

    async fn try_record(
        &self,
        group: &Arc<[Submission]>,
    ) -> Result<Vec<Result<Verdict, Refused>>, StoreError> {
        let mut transaction = self.pool.begin().await?;
        self.probe.at(Step::Begun);

        // The fence before the heads, so that the archiver waits for nobody who waits for a head.
        let not_before = write::lock_fence(&mut transaction).await?;
        let mut chains = write::lock_heads(&mut transaction, group).await?;
        self.probe.at(Step::Locked);

        write::load_keys(&mut transaction, group, &mut chains).await?;
        write::load_recorded(&mut transaction, group, &mut chains).await?;
        write::load_events(&mut transaction, group, &mut chains).await?;
        let (plan, rows) = self.decide(group, Known { not_before, chains }).await;
        self.probe.at(Step::Planned);
        if plan.records.is_empty() {
            return Ok(plan.verdicts);
        }

        // The heads first: of two processes that create one workspace, the second stops here.
        write::advance_heads(&mut transaction, &plan.advances).await?;
        self.probe.at(Step::Advanced);
        rows.copy(&mut transaction).await?;
        self.probe.at(Step::Copied);
        write::set_keys(&mut transaction, &plan.advances).await?;
        self.probe.at(Step::BeforeCommit);
        transaction.commit().await?;
        self.probe.at(Step::Committed);
        Ok(plan.verdicts)
    }

    /// Hashing and encoding a large group takes milliseconds: not on a thread that serves sockets.
    async fn decide(&self, group: &Arc<[Submission]>, known: Known) -> (Plan, PlanRows) {
        let (origin, group) = (self.origin.clone(), Arc::clone(group));
        // The heads are locked: no later entry of these chains can read an earlier clock.
        let now = self.clock.now();
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

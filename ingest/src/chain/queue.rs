//! Shards of workspaces: each has a bounded queue, and one transaction at a time that takes what
//! is queued (group commit). The ledger's own workspace has a shard to itself: whatever tenants send, what
//! administrators and readers ask can be put on record.
//!
//! Here: waiting, and who is told what. Not here: the transaction (see [`crate::chain::commit`]).

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use ledger::names::Workspace;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::commit::{Care, Committer};
use super::plan::{Refused, Verdict};
use crate::accept::Submission;
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::telemetry::span::Journey;

/// Most submissions in one transaction.
const GROUP_SUBMISSIONS: usize = 256;
/// Bytes of payload after which a transaction takes no further submission.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// After an index refused an event, so many groups look for their events before they write them: a
/// transaction that is rolled back costs more than a look.
const WARY_GROUPS: u32 = 64;

/// Why a submission was not recorded, or nobody knows whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It may not be recorded.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Too many submissions wait already. It was not recorded.
    #[error("too many submissions wait to be recorded")]
    Full,
    /// The service is shutting down. It was not recorded.
    #[error("the service is shutting down")]
    Closed,
    /// The database lies behind receipts that this process has given. It was not recorded.
    #[error("the ledger's database is behind receipts that were given: an operator must look")]
    Behind,
    /// The ledger's clock and its database's do not agree. It was not recorded.
    #[error("the ledger's clock and its database's do not agree: an operator must look")]
    ClockApart,
    /// The store failed, or the task that wrote: it may have been recorded.
    #[error("the ledger's database did not answer as it should")]
    Unknown,
}

struct Job {
    submission: Submission,
    reply: oneshot::Sender<Result<Verdict, WriteError>>,
    /// The memory that the submission takes: given back when it is answered, even if its client has
    /// gone long before.
    memory: OwnedSemaphorePermit,
    journey: Journey,
}

/// Takes submissions and has them recorded, those of one workspace in the order they came.
pub struct Writer {
    /// Workspaces by their hash, and the ledger's own last. Emptied when the service shuts down,
    /// so that the tasks end once their queues are empty.
    queues: Mutex<Vec<mpsc::Sender<Job>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    metrics: Arc<Metrics>,
    /// The ledger's own workspace.
    own: Workspace,
    /// Another one in each process: nobody can choose a name that shares a shard with another.
    hasher: RandomState,
}

impl Writer {
    /// Starts `shards` tasks, and one for the ledger's `own` workspace; each has room for `queue`
    /// submissions.
    pub fn start(committer: &Committer, shards: usize, queue: usize, own: &Workspace) -> Self {
        let (queues, tasks) = (0..=shards.max(1))
            .map(|shard| {
                let (sender, receiver) = mpsc::channel(queue.max(1));
                (sender, tokio::spawn(serve(receiver, shard, committer.clone())))
            })
            .unzip();
        let metrics = Arc::clone(&committer.metrics);
        Self {
            queues: Mutex::new(queues),
            tasks: Mutex::new(tasks),
            metrics,
            own: own.clone(),
            hasher: RandomState::new(),
        }
    }

    /// Has a submission recorded, and gives where it lies. Holds `memory` until that is known.
    pub async fn record(
        &self,
        submission: Submission,
        memory: OwnedSemaphorePermit,
    ) -> Result<Verdict, WriteError> {
        let (shard, queue) = self.queue(&submission).ok_or(WriteError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let job = Job { submission, reply, memory, journey: Journey::queued(shard) };
        // Counted first: it may be taken at once.
        self.metrics.queued(shard);
        queue.try_send(job).map_err(|error| {
            self.metrics.taken(shard, 1);
            match error {
                mpsc::error::TrySendError::Full(_) => WriteError::Full,
                mpsc::error::TrySendError::Closed(_) => WriteError::Closed,
            }
        })?;
        answer.await.unwrap_or(Err(WriteError::Unknown))
    }

    fn queue(&self, submission: &Submission) -> Option<(usize, mpsc::Sender<Job>)> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let others = queues.len().checked_sub(1)?;
        let shard = if submission.workspace == self.own {
            others
        } else {
            let hash = self.hasher.hash_one(&submission.workspace);
            usize::try_from(hash.checked_rem(u64::try_from(others).ok()?)?).ok()?
        };
        Some((shard, queues.get(shard)?.clone()))
    }

    /// Takes no submission any more, and waits until those that wait are recorded.
    pub async fn drain(&self) {
        let take = |tasks: &Mutex<Vec<_>>| {
            std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner))
        };
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for task in take(&self.tasks) {
            // A task never panics: what could is a task of its own, see `serve`.
            let _ = task.await;
        }
    }
}

async fn serve(mut queue: mpsc::Receiver<Job>, shard: usize, committer: Committer) {
    // Groups that still look for their events before they write them.
    let mut wary = 0_u32;
    while let Some(first) = queue.recv().await {
        let (mut submissions, mut replies) = (Vec::new(), Vec::new());
        let (mut memory, mut journeys) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            bytes += job.submission.bytes();
            submissions.push(job.submission);
            replies.push(job.reply);
            memory.push(job.memory);
            journeys.push(job.journey);
            let has_room = submissions.len() < GROUP_SUBMISSIONS && bytes < GROUP_BYTES;
            next = has_room.then(|| queue.try_recv().ok()).flatten();
        }
        let count = submissions.len();
        committer.metrics.taken(shard, count);
        let journeys: Vec<_> = journeys.into_iter().map(|journey| journey.taken(count)).collect();
        let committer = committer.clone();
        let care = if wary > 0 { Care::Look } else { Care::Index };
        wary = wary.saturating_sub(1);
        // In a task of its own: a panic there ends one group, not the shard. The replies that it
        // drops tell its clients that nobody knows.
        let group =
            tokio::spawn(async move { answer(&committer, submissions, care, replies).await });
        match group.await {
            Ok(needed) if needed != care => wary = WARY_GROUPS,
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the task of a group failed"),
        }
        drop((memory, journeys));
    }
}

async fn answer(
    committer: &Committer,
    submissions: Vec<Submission>,
    care: Care,
    replies: Vec<oneshot::Sender<Result<Verdict, WriteError>>>,
) -> Care {
    let count = submissions.len();
    match committer.record(Arc::from(submissions), care).await {
        Ok((verdicts, needed)) => {
            tracing::debug!(submissions = count, "group recorded");
            for (reply, verdict) in replies.into_iter().zip(verdicts) {
                // A client that has gone asks again and finds its receipt.
                let _ = reply.send(verdict.map_err(WriteError::from));
            }
            needed
        }
        Err(error) => {
            tracing::warn!(%error, submissions = count, "group not recorded");
            let told = match error {
                StoreError::Behind { .. } => WriteError::Behind,
                StoreError::ClockApart { .. } => WriteError::ClockApart,
                StoreError::Database(_)
                | StoreError::Appeared { .. }
                | StoreError::Corrupt { .. }
                | StoreError::ClaimedAnew { .. }
                | StoreError::Elsewhere { .. }
                | StoreError::ClockBehind(_)
                | StoreError::Migrate(_)
                | StoreError::Schema { .. }
                | StoreError::Role { .. }
                | StoreError::Origin { .. } => WriteError::Unknown,
            };
            for reply in replies {
                let _ = reply.send(Err(told.clone()));
            }
            care
        }
    }
}

//! Shards of workspaces: each has a bounded queue, and one transaction at a time that takes what
//! is queued (group commit).
//!
//! Here: waiting, and who is told what. Not here: the transaction (see [`crate::chain::commit`]).

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::commit::Committer;
use super::plan::{Refused, Verdict};
use crate::accept::Submission;

/// Most submissions in one transaction.
const GROUP_SUBMISSIONS: usize = 256;
/// Bytes of payload after which a transaction takes no further submission.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

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
}

/// Takes submissions and has them recorded, those of one workspace in the order they came.
pub struct Writer {
    /// Emptied when the service shuts down, so that the tasks end once their queues are empty.
    queues: Mutex<Vec<mpsc::Sender<Job>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Writer {
    /// Starts `shards` tasks, each with room for `queue` submissions.
    pub fn start(committer: &Committer, shards: usize, queue: usize) -> Self {
        let (queues, tasks) = (0..shards.max(1))
            .map(|_| {
                let (sender, receiver) = mpsc::channel(queue.max(1));
                (sender, tokio::spawn(serve(receiver, committer.clone())))
            })
            .unzip();
        Self { queues: Mutex::new(queues), tasks: Mutex::new(tasks) }
    }

    /// Has a submission recorded, and gives where it lies. Holds `memory` until that is known.
    pub async fn record(
        &self,
        submission: Submission,
        memory: OwnedSemaphorePermit,
    ) -> Result<Verdict, WriteError> {
        let queue = self.queue(&submission).ok_or(WriteError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let job = Job { submission, reply, memory };
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::Full,
            mpsc::error::TrySendError::Closed(_) => WriteError::Closed,
        })?;
        answer.await.unwrap_or(Err(WriteError::Unknown))
    }

    fn queue(&self, submission: &Submission) -> Option<mpsc::Sender<Job>> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&submission.workspace);
        let shards = u64::try_from(queues.len()).ok()?;
        let shard = usize::try_from(hash.checked_rem(shards)?).ok()?;
        queues.get(shard).cloned()
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

async fn serve(mut queue: mpsc::Receiver<Job>, committer: Committer) {
    while let Some(first) = queue.recv().await {
        let (mut submissions, mut replies) = (Vec::new(), Vec::new());
        let mut memory = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            bytes += job.submission.bytes();
            submissions.push(job.submission);
            replies.push(job.reply);
            memory.push(job.memory);
            let has_room = submissions.len() < GROUP_SUBMISSIONS && bytes < GROUP_BYTES;
            next = has_room.then(|| queue.try_recv().ok()).flatten();
        }
        let committer = committer.clone();
        // In a task of its own: a panic there ends one group, not the shard. The replies that it
        // drops tell its clients that nobody knows.
        let group = tokio::spawn(async move { answer(&committer, submissions, replies).await });
        if let Err(error) = group.await {
            tracing::error!(%error, "the task of a group failed");
        }
        drop(memory);
    }
}

async fn answer(
    committer: &Committer,
    submissions: Vec<Submission>,
    replies: Vec<oneshot::Sender<Result<Verdict, WriteError>>>,
) {
    let count = submissions.len();
    match committer.record(Arc::from(submissions)).await {
        Ok(verdicts) => {
            tracing::debug!(submissions = count, "group recorded");
            for (reply, verdict) in replies.into_iter().zip(verdicts) {
                // A client that has gone asks again and finds its receipt.
                let _ = reply.send(verdict.map_err(WriteError::from));
            }
        }
        Err(error) => {
            tracing::warn!(%error, submissions = count, "group not recorded");
            for reply in replies {
                let _ = reply.send(Err(WriteError::Unknown));
            }
        }
    }
}

//! One partition, from what a source has read to what is recorded.
//!
//! Here: two tasks, so that the next messages are checked while the last ones are committed: `check`
//! (each message as if it had come over HTTP; all processors at once) and `commit` (groups, again and
//! again until they are recorded or the partition is somebody else's). Not here: who has the partition
//! ([`crate::queue::consume`]), and the transaction ([`crate::chain::commit`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ledger::entry::ClockError;
use ledger::hash::Digest;
use ledger::names::Origin;
use ledger::time::Micros;
use tokio::sync::{Semaphore, mpsc};
use tracing::Span;

use super::feed::{Feed, Placed};
use super::letter::Letter;
use super::track::{Next, Stop, Track};
use super::{Message, Position};
use crate::accept::{Limits, Submission};
use crate::chain::{Care, Committer, Refused, Step, Verdict};
use crate::http::error::Problem;
use crate::store::StoreError;
use crate::store::queue::Claim;
use crate::telemetry::span;

/// Most messages in one transaction.
const GROUP: usize = 256;
/// Bytes after which a transaction takes no further message.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How long a worker waits before it tries again what a database refused, at most.
const PAUSE: Duration = Duration::from_secs(2);
/// After an index refused an event, so many groups look for their events before they write them.
const WARY_GROUPS: u32 = 64;

/// What a transaction takes from a partition, beside the submissions that it records.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The claim under which it is taken.
    pub claim: Claim,
    /// The last message that was recorded before.
    pub from: Option<Position>,
    /// The last message of this one.
    pub to: Position,
    /// The digest of that.
    pub digest: Digest,
    /// What was refused before the chain was asked.
    pub letters: Vec<Letter>,
    /// The messages of the submissions, in order.
    pub messages: Vec<Placed>,
}

impl Batch {
    /// Whether it is what comes next in a partition that is recorded up to `found`: not where it was
    /// recorded already, by a commit of which nobody heard.
    pub fn is_next(&self, found: Option<Position>) -> Result<bool, StoreError> {
        if found == self.from {
            return Ok(true);
        }
        if found == Some(self.to) {
            return Ok(false);
        }
        let Claim { queue, partition, .. } = self.claim.clone();
        Err(StoreError::Elsewhere { queue, partition })
    }

    /// What the chain refused. A clock that is behind refuses nothing for good: then nothing is taken.
    pub fn refused(
        &self,
        group: &[Submission],
        verdicts: &[Result<Verdict, Refused>],
        now: Micros,
    ) -> Result<Vec<Letter>, ClockError> {
        let mut letters = Vec::new();
        for ((verdict, submission), (position, message)) in
            verdicts.iter().zip(group).zip(&self.messages)
        {
            match verdict {
                Ok(_) => {}
                Err(Refused::Clock(error)) => return Err(*error),
                Err(refused) => {
                    let problem = Problem::from(refused.clone());
                    letters.push(Letter::new(
                        *position,
                        message,
                        Some(submission.hash),
                        &problem,
                        now,
                    ));
                }
            }
        }
        Ok(letters)
    }
}

/// Why a worker has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The partition was taken away, or the service stops.
    Closed,
    /// Somebody else has claimed the partition.
    ClaimedAnew,
    /// An operator has to look.
    Stopped(Stop),
    /// A fault of this program, which its log tells of.
    Failed,
}

/// What is told of a partition while it is worked on.
pub trait Told: Send + Sync + 'static {
    /// The partition is recorded up to this message; that was accepted then, by its own word.
    fn recorded(&self, partition: i32, up_to: Position, accepted: &[Micros]);
    /// Messages came that were recorded already.
    fn again(&self, messages: usize);
    /// Messages were refused, for this reason.
    fn refused(&self, kind: &'static str);
    /// The worker tries again and again; why, in words for the log's readers.
    fn waits(&self, partition: i32, why: Option<String>);
}

/// All that a worker needs, whatever its partition.
#[derive(Clone)]
pub struct Tools {
    /// Records.
    pub committer: Committer,
    /// The ledger.
    pub origin: Origin,
    /// What a submission may have.
    pub limits: Limits,
    /// Processors for checking.
    pub processors: Arc<Semaphore>,
    /// Transactions at once.
    pub transactions: Arc<Semaphore>,
    /// Is told what happens.
    pub told: Arc<dyn Told>,
}

/// Messages that were checked.
struct Checked {
    from: Option<Position>,
    to: Position,
    digest: Digest,
    letters: Vec<Letter>,
    messages: Vec<Placed>,
    group: Vec<Submission>,
    accepted: Vec<Micros>,
    /// What traces show of the messages: they end once it is recorded.
    spans: Vec<Span>,
}

/// Works on a partition until it is taken away, or has to stop.
pub async fn work(tools: Tools, claim: Claim, feed: Arc<Feed>, track: Track) -> End {
    let (sender, receiver) = mpsc::channel(1);
    let checking = tokio::spawn(check(tools.clone(), Arc::clone(&feed), track, sender));
    let ended = commit(&tools, &claim, &feed, receiver).await;
    // Wakes the checking task where that waits for messages.
    feed.close();
    let stopped = checking.await;
    tools.told.waits(claim.partition, None);
    match (ended, stopped) {
        (End::Closed, Ok(Err(stop))) => End::Stopped(stop),
        (End::Closed, Err(_)) => End::Failed,
        (ended, _) => ended,
    }
}

/// Takes what has been read, checks it, and passes it on. Messages before one at which it stops are
/// passed on, too.
async fn check(
    tools: Tools,
    feed: Arc<Feed>,
    mut track: Track,
    sender: mpsc::Sender<Checked>,
) -> Result<(), Stop> {
    while let Some(taken) = feed.take(GROUP, GROUP_BYTES).await {
        let from = track.last();
        let mut fresh = Vec::with_capacity(taken.len());
        let mut again = 0_usize;
        let mut stopped = Ok(());
        for (position, message) in taken {
            match track.take(position, || message.digest()) {
                Ok(Next::New) => fresh.push((position, message)),
                Ok(Next::Anchor) => {}
                Ok(Next::Again) => again += 1,
                Err(stop) => {
                    stopped = Err(stop);
                    break;
                }
            }
        }
        tools.told.again(again);
        if let Some((to, last)) = fresh.last() {
            // What stands there is read again by whoever has the partition next.
            let to = (*to, last.digest());
            let checked = check_all(&tools, from, to, fresh).await;
            tools.committer.probe.at(Step::Taken);
            if sender.send(checked).await.is_err() {
                return stopped;
            }
        }
        stopped?;
    }
    Ok(())
}

/// Checks messages on as many threads as there are processors.
async fn check_all(
    tools: &Tools,
    from: Option<Position>,
    (to, digest): (Position, Digest),
    fresh: Vec<Placed>,
) -> Checked {
    let spans = fresh.iter().map(|(_, message)| span::chained(message)).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = fresh.len().div_ceil(threads).max(1);
    let mut rest = VecDeque::from(fresh);
    let mut parts = Vec::with_capacity(threads);
    while !rest.is_empty() {
        let part: Vec<Placed> = rest.drain(..share.min(rest.len())).collect();
        let (origin, limits) = (tools.origin.clone(), tools.limits);
        // Never closed, so a permit always comes.
        let processor = Arc::clone(&tools.processors).acquire_owned().await;
        parts.push(tokio::task::spawn_blocking(move || {
            let _processor = processor;
            let check = |(position, message): Placed| {
                let found = message.submission(&origin, &limits);
                (position, message, found)
            };
            part.into_iter().map(check).collect::<Vec<(Position, Message, _)>>()
        }));
    }
    let mut checked = Checked {
        from,
        to,
        digest,
        letters: Vec::new(),
        messages: Vec::new(),
        group: Vec::new(),
        accepted: Vec::new(),
        spans,
    };
    for part in parts {
        let part = match part.await {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        for (position, message, found) in part {
            checked.accepted.extend(message.accepted_at());
            match found {
                Ok(submission) => {
                    checked.group.push(submission);
                    checked.messages.push((position, message));
                }
                Err(problem) => {
                    let now = tools.committer.clock.now();
                    checked.letters.push(Letter::new(position, &message, None, &problem, now));
                }
            }
        }
    }
    checked
}

/// Records what was checked, until the partition is taken away.
async fn commit(
    tools: &Tools,
    claim: &Claim,
    feed: &Feed,
    mut receiver: mpsc::Receiver<Checked>,
) -> End {
    let mut wary = 0_u32;
    while let Some(checked) = receiver.recv().await {
        let Checked { from, to, digest, letters, messages, group, accepted, spans } = checked;
        let batch = Batch { claim: claim.clone(), from, to, digest, letters, messages };
        let group: Arc<[Submission]> = Arc::from(group);
        let mut tries = 0_u32;
        let verdicts = loop {
            // What waits here was read under a claim that may be lost: it is read again.
            if feed.is_closed() {
                return End::Closed;
            }
            let care = if wary > 0 { Care::Look } else { Care::Index };
            let turn = tools.transactions.acquire().await;
            let tried = tools.committer.record_batch(Arc::clone(&group), &batch, care).await;
            drop(turn);
            match tried {
                Ok((verdicts, needed)) => {
                    wary = if needed == care { wary.saturating_sub(1) } else { WARY_GROUPS };
                    break verdicts;
                }
                Err(error @ (StoreError::ClaimedAnew { .. } | StoreError::Elsewhere { .. })) => {
                    tracing::warn!(%error, "the partition is given up");
                    return End::ClaimedAnew;
                }
                Err(error) => {
                    tracing::warn!(%error, partition = claim.partition, "not recorded, tried again");
                    tools.told.waits(claim.partition, Some(error.to_string()));
                    tries = tries.saturating_add(1);
                    tokio::time::sleep(PAUSE.min(Duration::from_millis(100) * tries)).await;
                }
            }
        };
        tools.told.waits(claim.partition, None);
        for letter in &batch.letters {
            tools.told.refused(letter.kind);
        }
        for refused in verdicts.into_iter().filter_map(Result::err) {
            tools.told.refused(Problem::from(refused).kind().slug());
        }
        drop(spans);
        tools.told.recorded(claim.partition, to, &accepted);
    }
    End::Closed
}

//! The consumer: who has which partition, and what is known of each.
//!
//! Here: what a source asks for when a partition comes to it or is taken away, the letters that go to
//! the dead-letter topic, and what `/readyz` and the metrics say. A claim in the database decides who may
//! record a partition: a broker may give it to two consumers for a while, or to one that has slept. Not
//! here: reading from the broker ([`crate::queue::kafka`], [`crate::queue::redis`]), and recording ([`crate::queue::worker`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ledger::time::Micros;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::feed::Feed;
use super::track::{Stop, Taken, Track};
use super::worker::{End, Told, Tools, work};
use super::{Position, PutError, Queue, Topic};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{self, StoreError};

/// How often letters are looked for that are not on the dead-letter topic yet, and claims that were lost.
const POST: Duration = Duration::from_secs(5);
/// Letters that are sent in one go.
const LETTERS: i64 = 100;
/// How long a partition that somebody else has claimed is left alone before it is claimed again.
const YIELD: Duration = Duration::from_secs(5);
/// How often a partition that is stopped is looked at again: an operator may have gone over a gap.
const LOOK: Duration = Duration::from_secs(10);

/// What is known of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being read and recorded.
    Working {
        /// Why nothing is recorded just now, where that is so.
        waits: Option<String>,
    },
    /// Somebody else has claimed it; it is claimed again after a while.
    Yielded {
        /// When.
        until: Instant,
    },
    /// An operator has to look.
    Stopped {
        /// Why.
        stop: Stop,
        /// When it is tried again.
        until: Instant,
    },
}

/// A partition that this consumer has.
#[derive(Debug)]
struct Partition {
    state: State,
    /// Which claim on it this consumer has.
    epoch: i64,
    feed: Arc<Feed>,
    working: Option<JoinHandle<()>>,
    /// The first message that was to be read.
    from: i64,
    /// The last message that is recorded.
    last: Option<Position>,
    /// The first message that the broker will give next: its end.
    end: Option<i64>,
    /// When what was recorded last had been accepted, and when that was.
    accepted: Option<Micros>,
}

/// A consumer.
pub struct Consumer {
    name: String,
    owner: String,
    pool: PgPool,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    partitions: Mutex<BTreeMap<i32, Partition>>,
    letters: Notify,
    blind: AtomicBool,
}

impl Consumer {
    /// A consumer of the queue of that name, which says that it is `owner`; `pool` is made by
    /// [`crate::store::writers`].
    pub fn new(
        name: String,
        owner: String,
        pool: PgPool,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            name,
            owner,
            pool,
            clock,
            metrics,
            partitions: Mutex::default(),
            letters: Notify::new(),
            blind: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Partition>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a partition that the broker has given to this consumer.
    pub async fn claim(
        &self,
        partition: i32,
    ) -> Result<(store::queue::Claim, Option<Taken>), StoreError> {
        let now = self.clock.now();
        store::queue::claim(&self.pool, &self.name, partition, &self.owner, now).await
    }

    /// Begins to work on a partition from message `from` on, and gives what its messages go into.
    pub fn begin(
        self: &Arc<Self>,
        tools: Tools,
        claim: store::queue::Claim,
        track: Track,
        from: i64,
    ) -> Arc<Feed> {
        let feed = Arc::new(Feed::default());
        let (number, epoch) = (claim.partition, claim.epoch);
        let (consumer, worked) = (Arc::clone(self), Arc::clone(&feed));
        let last = track.last();
        let mut partitions = self.lock();
        tracing::info!(queue = %self.name, partition = number, epoch, "claimed");
        let working = tokio::spawn(async move {
            // In a task of its own: a panic there ends it, and not what is known of the partition.
            let worker = tokio::spawn(work(tools, claim, Arc::clone(&worked), track));
            let end = worker.await.unwrap_or(End::Failed);
            consumer.ended(number, &worked, end);
        });
        let state = State::Working { waits: None };
        let began = Partition {
            state,
            epoch,
            feed: Arc::clone(&feed),
            working: Some(working),
            from,
            last,
            end: None,
            accepted: None,
        };
        if let Some(before) = partitions.insert(number, began) {
            before.feed.close();
        }
        feed
    }

    /// A partition cannot be read on.
    pub fn stop(&self, partition: i32, stop: Stop) {
        tracing::error!(queue = %self.name, partition, reason = %stop, "the partition is not read on");
        let mut partitions = self.lock();
        let stopped = partitions.entry(partition).or_insert_with(|| Partition {
            state: State::Working { waits: None },
            epoch: 0,
            feed: Arc::default(),
            working: None,
            from: 0,
            last: None,
            end: None,
            accepted: None,
        });
        stopped.feed.close();
        stopped.state = State::Stopped { stop, until: Instant::now() + LOOK };
    }

    fn ended(&self, number: i32, feed: &Arc<Feed>, end: End) {
        let partitions = self.lock();
        // Another worker may have the partition by now.
        let Some(partition) = partitions.get(&number) else { return };
        if !Arc::ptr_eq(&partition.feed, feed) {
            return;
        }
        match end {
            End::Closed => {}
            End::ClaimedAnew | End::Failed => {
                if end == End::Failed {
                    tracing::error!(partition = number, "a worker failed: it is begun again");
                }
                drop(partitions);
                self.yields(number);
            }
            End::Stopped(stop) => {
                drop(partitions);
                self.stop(number, stop);
            }
        }
    }

    /// A partition is left to whoever has claimed it, for a while.
    pub fn yields(&self, partition: i32) {
        if let Some(partition) = self.lock().get_mut(&partition) {
            partition.feed.close();
            partition.state = State::Yielded { until: Instant::now() + YIELD };
        }
    }

    /// Partitions that are to be claimed and read again, as whoever had claimed them may be gone, or an
    /// operator may have been there.
    pub fn to_claim(&self) -> Vec<i32> {
        let now = Instant::now();
        let is_due = |state: &State| match state {
            State::Yielded { until } | State::Stopped { until, .. } => *until <= now,
            State::Working { .. } => false,
        };
        let partitions = self.lock();
        let due = partitions.iter().filter(|(_, partition)| is_due(&partition.state));
        due.map(|(number, _)| *number).collect()
    }

    /// The last message of a partition that is recorded, as far as this consumer knows.
    pub fn last(&self, partition: i32) -> Option<Position> {
        self.lock().get(&partition)?.last
    }

    /// A partition is taken away: waits until nothing is recorded of it any more, for at most that long.
    /// What goes on even then finds that it has lost its claim.
    pub async fn end(&self, partition: i32, patience: Duration) {
        let Some(ended) = self.lock().remove(&partition) else { return };
        ended.feed.close();
        if let Some(working) = ended.working
            && tokio::time::timeout(patience, working).await.is_err()
        {
            tracing::warn!(partition, "a transaction goes on after the partition was taken away");
        }
        tracing::info!(queue = %self.name, partition, "given back");
    }

    /// What is known of a partition; none where this consumer does not have it.
    pub fn state(&self, partition: i32) -> Option<State> {
        Some(self.lock().get(&partition)?.state.clone())
    }

    /// Partitions that this consumer has.
    pub fn numbers(&self) -> Vec<i32> {
        self.lock().keys().copied().collect()
    }

    /// The broker says where a partition ends.
    pub fn ends_at(&self, partition: i32, end: i64) {
        if let Some(partition) = self.lock().get_mut(&partition) {
            partition.end = Some(end);
        }
    }

    /// Nobody reads the queue any more: a fault of this program.
    pub fn is_blind(&self) {
        self.blind.store(true, Ordering::Relaxed);
    }

    /// What is in the way, in words; nothing where all partitions are worked on.
    pub fn faults(&self) -> Vec<String> {
        let blind = self.blind.load(Ordering::Relaxed);
        let blind = blind.then(|| "the thread that reads it has failed: start again".to_owned());
        let partitions = self.lock();
        let faults = partitions.iter().filter_map(|(number, partition)| match &partition.state {
            State::Stopped { stop, .. } => {
                Some(format!("partition {number} is not read on: {stop}"))
            }
            State::Working { waits: Some(_) } => {
                Some(format!("partition {number} waits for the database"))
            }
            State::Working { waits: None } | State::Yielded { .. } => None,
        });
        blind.into_iter().chain(faults).collect()
    }

    /// Tells the metrics how far behind each partition is.
    pub fn measure(&self) {
        let now = self.clock.now();
        let partitions = self.lock();
        let mut behind = Vec::with_capacity(partitions.len());
        for (number, partition) in &*partitions {
            let next = partition.last.map_or(partition.from, |last| last.major.saturating_add(1));
            let messages = partition.end.map(|end| end.saturating_sub(next).max(0));
            let seconds = match (messages, partition.accepted) {
                (Some(0) | None, _) | (_, None) => Duration::ZERO,
                (Some(_), Some(at)) => Duration::from_micros(
                    u64::try_from(now.get().saturating_sub(at.get())).unwrap_or(0),
                ),
            };
            let is_stopped = matches!(partition.state, State::Stopped { .. });
            behind.push((*number, messages.unwrap_or(0), seconds, is_stopped));
        }
        self.metrics.broker().is_behind(&behind);
    }

    /// Gives up partitions that somebody else has claimed, or an operator has moved, while nothing came that
    /// would have told.
    async fn look(&self) -> Result<(), StoreError> {
        let epochs = store::queue::epochs(&self.pool, &self.name).await?;
        let is_lost = |(number, found): &(i32, i64)| {
            self.lock().get(number).is_some_and(|partition| {
                matches!(partition.state, State::Working { .. }) && partition.epoch < *found
            })
        };
        for (number, _) in epochs.into_iter().filter(is_lost) {
            tracing::warn!(partition = number, "claimed anew: the partition is given up");
            self.yields(number);
        }
        Ok(())
    }

    /// Sends what was refused to the dead-letter topic, until told to stop.
    pub async fn post(self: Arc<Self>, queue: Arc<dyn Queue>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.letters.notified() => {}
                () = tokio::time::sleep(POST) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "nobody knows whether claims hold");
            }
            loop {
                match self.post_some(&*queue).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "dead letters are not on their topic yet");
                        break;
                    }
                }
            }
        }
    }

    async fn post_some(&self, queue: &dyn Queue) -> Result<usize, Box<dyn std::error::Error>> {
        let mut transaction = self.pool.begin().await?;
        let letters = store::queue::unsent(&mut transaction, LETTERS).await?;
        for letter in &letters {
            if let Some(mut message) = letter.refused() {
                let mut put = queue.put(Topic::DeadLetters, &message).await;
                if put == Err(PutError::TooLarge) {
                    // The reason goes there without it; the value is kept here, or lies where it lay.
                    message.value = Bytes::new();
                    put = queue.put(Topic::DeadLetters, &message).await;
                }
                put?;
            }
            store::queue::sent(&mut transaction, letter.id, self.clock.now()).await?;
        }
        transaction.commit().await?;
        Ok(letters.len())
    }
}

impl Told for Consumer {
    fn recorded(&self, partition: i32, up_to: Position, accepted: &[Micros]) {
        let now = self.clock.now();
        for at in accepted {
            let took = u64::try_from(now.get().saturating_sub(at.get())).unwrap_or(0);
            self.metrics.broker().chained(Duration::from_micros(took));
        }
        if let Some(partition) = self.lock().get_mut(&partition) {
            partition.last = Some(up_to);
            partition.accepted = accepted.last().copied().or(partition.accepted);
        }
    }

    fn again(&self, messages: usize) {
        self.metrics.broker().delivered_again(messages);
    }

    fn refused(&self, kind: &'static str) {
        self.metrics.broker().dead_letter(kind);
        self.letters.notify_one();
    }

    fn waits(&self, partition: i32, why: Option<String>) {
        if let Some(partition) = self.lock().get_mut(&partition)
            && let State::Working { waits } = &mut partition.state
        {
            *waits = why;
        }
    }
}

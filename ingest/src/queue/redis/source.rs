//! Takes messages from streams of Redis.
//!
//! Here: one task. Leases in Redis say who reads which partition, and only share out the work; from where
//! it is read, and who may record it, the database says ([`crate::queue::consume`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisError, Script};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Fault, Id, RedisSettingsError, connect, id, message, position, range, stream};
use crate::queue::consume::Consumer;
use crate::queue::feed::Feed;
use crate::queue::track::{Start, Taken, Track};
use crate::queue::worker::Tools;
use crate::queue::{Position, QueueConfig};
use crate::store::queue::Claim;

/// How long to wait where nothing has come.
const IDLE: Duration = Duration::from_millis(20);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the database may take to give claims. With the next one less than a consumer is alive.
const CLAIM: Duration = Duration::from_secs(3);
/// How long a transaction may take to end once its partition is taken away.
const END: Duration = Duration::from_secs(4);
/// How long to wait before something is asked for again that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a consumer says that it is alive, and for how long it is thought to be.
const BEAT: Duration = Duration::from_secs(1);
const ALIVE: Duration = Duration::from_secs(8);
/// How often it is asked where partitions end, and how often what is recorded is removed.
const MEASURE: Duration = Duration::from_secs(2);
/// Messages that are read at a time, and bytes after which no further one is.
const READ: u32 = 512;
const READ_BYTES: u32 = 4 * 1024 * 1024;

/// An entry: the place of its stream, its id, its fields, its mark.
type Entry = (usize, String, Vec<Vec<u8>>, String);

/// Reads the streams of a topic.
pub struct Source {
    stop: watch::Sender<bool>,
    reading: JoinHandle<()>,
}

impl Source {
    /// Starts to read, from within a runtime.
    pub fn start(
        config: &QueueConfig,
        consumer: Arc<Consumer>,
        tools: Tools,
    ) -> Result<Self, RedisSettingsError> {
        let client = Client::open(config.servers.as_str())?;
        let (stop, stopped) = watch::channel(false);
        let watched = Arc::clone(&consumer);
        let reader = Reader {
            client,
            config: config.clone(),
            consumer,
            tools,
            owner: Uuid::new_v4().simple().to_string(),
            connection: None,
            leased: Vec::new(),
            parts: BTreeMap::new(),
            begins: Instant::now(),
            turn: 0,
        };
        let reading = tokio::spawn(async move {
            // In a task of its own: a panic there is told.
            if tokio::spawn(reader.run(stopped)).await.is_err() {
                watched.is_blind();
            }
        });
        Ok(Self { stop, reading })
    }

    /// Stops: gives the partitions back once what was begun is recorded.
    pub async fn stop(self) {
        // Nobody listens only where reading has failed.
        let _ = self.stop.send(true);
        if self.reading.await.is_err() {
            tracing::error!("the task that reads the queue has failed");
        }
    }
}

/// A partition that is read.
struct Reading {
    feed: Arc<Feed>,
    /// The last entry that was read.
    behind: Id,
    /// What tells that entry from another in its place; empty where it need not be there.
    mark: String,
    /// Whether what was read is not followed any more.
    is_over: bool,
    /// Up to where recorded entries were removed.
    trimmed: i64,
}

struct Reader {
    client: Client,
    config: QueueConfig,
    consumer: Arc<Consumer>,
    tools: Tools,
    /// The name under which it has leases.
    owner: String,
    connection: Option<MultiplexedConnection>,
    /// Partitions that this consumer is to read.
    leased: Vec<i32>,
    parts: BTreeMap<i32, Reading>,
    /// Before then no partition is begun: one could not be.
    begins: Instant,
    /// Whose turn it is to be read first.
    turn: usize,
}

impl Reader {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let due = |at: Instant, every: Duration| at.elapsed() >= every;
        let long_ago = Instant::now().checked_sub(MEASURE).unwrap_or_else(Instant::now);
        let (mut beat, mut measured) = (long_ago, long_ago);
        loop {
            let (shares, measures) = (due(beat, BEAT), due(measured, MEASURE));
            let now = Instant::now();
            beat = if shares { now } else { beat };
            measured = if measures { now } else { measured };
            let pause = match self.step(shares, measures).await {
                Ok(0) => IDLE,
                Ok(_) => Duration::ZERO,
                Err(fault) => {
                    tracing::warn!(%fault, "the queue cannot be read just now");
                    self.connection = None;
                    PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let all = self.consumer.numbers();
        self.end(&all).await;
        if let Err(error) = self.leave(&all).await {
            tracing::warn!(%error, "the leases end by themselves");
        }
    }

    /// One round; gives how many messages it has read.
    async fn step(&mut self, shares: bool, measures: bool) -> Result<usize, Fault> {
        let mut connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => connect(&self.client, &self.config, PATIENCE).await?,
        };
        self.connection = Some(connection.clone());
        if shares {
            self.share(&mut connection).await?;
        }
        self.begin_all(&mut connection).await?;
        let read = self.read(&mut connection).await?;
        if measures {
            self.measure(&mut connection).await?;
        }
        Ok(read)
    }

    fn lease(&self, partition: i32) -> String {
        format!("{}:lease:{}:{partition}", self.config.topic, self.config.group)
    }

    /// Says that this consumer is alive, and hears what it is to read.
    async fn share(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let script = Script::new(include_str!("share.lua"));
        let mut asking =
            script.key(format!("{}:consumers:{}", self.config.topic, self.config.group));
        for partition in 0..self.config.partitions {
            asking.key(self.lease(partition));
        }
        asking.arg(&self.owner).arg(u64::try_from(ALIVE.as_millis()).unwrap_or(u64::MAX));
        let leased: Vec<i32> = match asking.invoke_async(connection).await {
            Ok(leased) => leased,
            // Full: it is read all the same, or it would stay so. Who may record, the database says.
            Err(error) if error.code() == Some("OOM") && self.leased.is_empty() => {
                (0..self.config.partitions).collect()
            }
            Err(error) if error.code() == Some("OOM") => self.leased.clone(),
            Err(error) => return Err(error),
        };
        let lost: Vec<i32> =
            self.consumer.numbers().into_iter().filter(|number| !leased.contains(number)).collect();
        self.leased = leased;
        if !lost.is_empty() {
            self.end(&lost).await;
            self.release(connection, &lost).await?;
        }
        Ok(())
    }

    async fn end(&mut self, partitions: &[i32]) {
        let ends = partitions.iter().map(|partition| self.consumer.end(*partition, END));
        join_all(ends).await;
        self.parts.retain(|partition, _| !partitions.contains(partition));
    }

    async fn release(
        &self,
        connection: &mut MultiplexedConnection,
        partitions: &[i32],
    ) -> Result<(), RedisError> {
        let script = Script::new(include_str!("release.lua"));
        let mut asking = script.arg(&self.owner);
        for partition in partitions {
            asking.key(self.lease(*partition));
        }
        asking.invoke_async(connection).await
    }

    async fn leave(&mut self, partitions: &[i32]) -> Result<(), RedisError> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        self.release(&mut connection, partitions).await?;
        let consumers = format!("{}:consumers:{}", self.config.topic, self.config.group);
        redis::cmd("ZREM").arg(consumers).arg(&self.owner).query_async(&mut connection).await
    }

    /// Begins the partitions that are this consumer's and are not being read, or are to be tried again.
    async fn begin_all(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        if Instant::now() < self.begins {
            return Ok(());
        }
        let again = self.consumer.to_claim();
        let is_due =
            |number: &&i32| self.consumer.state(**number).is_none() || again.contains(*number);
        let due: Vec<i32> = self.leased.iter().filter(is_due).copied().collect();
        // All at once: one whose claim is waited for must not hold up the others for long.
        let claims = due.iter().map(|number| timeout(CLAIM, self.consumer.claim(*number)));
        for (partition, claimed) in due.iter().zip(join_all(claims).await) {
            self.parts.remove(partition);
            let begun = match claimed {
                Err(_) => Err("the database does not answer".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                // Where it ends is asked behind the claim: until then somebody else may record.
                Ok(Ok((claim, last))) => {
                    match range(connection, &stream(&self.config, *partition)).await {
                        Ok(range) => {
                            self.begin(claim, last, range);
                            Ok(())
                        }
                        Err(error) if error.code().is_some() => Err(error.to_string()),
                        Err(error) => return Err(error),
                    }
                }
            };
            if let Err(error) = begun {
                tracing::warn!(error, partition, "the partition cannot be begun yet");
                self.consumer.yields(*partition);
                self.begins = Instant::now() + PAUSE;
            }
        }
        Ok(())
    }

    fn begin(&mut self, claim: Claim, last: Option<Taken>, range: (i64, i64)) {
        let partition = claim.partition;
        match Start::of(last, range, 1) {
            Ok(start) => {
                let track = Track::new(last, start);
                let feed = self.consumer.begin(self.tools.clone(), claim, track, start.from);
                self.consumer.ends_at(partition, range.1);
                let behind = (0, u64::try_from(start.from.saturating_sub(1)).unwrap_or(0));
                let (mark, is_over) = (String::new(), false);
                let reading = Reading { feed, behind, mark, is_over, trimmed: range.0 };
                self.parts.insert(partition, reading);
            }
            Err(stop) => self.consumer.stop(partition, stop),
        }
    }

    /// Reads what has come to partitions whose workers have room for it.
    async fn read(&mut self, connection: &mut MultiplexedConnection) -> Result<usize, Fault> {
        let is_open = |reading: &Reading| {
            !reading.is_over && !reading.feed.is_full() && !reading.feed.is_closed()
        };
        let mut open: Vec<i32> = self
            .parts
            .iter()
            .filter(|(_, reading)| is_open(reading))
            .map(|(partition, _)| *partition)
            .collect();
        if open.is_empty() {
            return Ok(0);
        }
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn.rem_euclid(open.len());
        open.rotate_left(first);
        let script = Script::new(include_str!("read.lua"));
        let mut asking = script.arg(READ_BYTES);
        asking.arg(READ);
        for partition in &open {
            let Some(Reading { behind: (milliseconds, count), mark, .. }) =
                self.parts.get(partition)
            else {
                continue;
            };
            asking.key(stream(&self.config, *partition));
            asking.arg(format!("{milliseconds}-{count}")).arg(mark);
        }
        let (found, lost): (Vec<Entry>, Vec<usize>) = asking.invoke_async(connection).await?;
        let count = found.len();
        let number = |at: usize| open.get(at.checked_sub(1)?);
        for (at, name, fields, mark) in found {
            let reading = number(at).and_then(|number| self.parts.get_mut(number));
            let (Some(reading), Some(id)) = (reading, id(&name)) else {
                return Err(Fault::Unfit(format!("{name:?} is no entry's id")));
            };
            (reading.behind, reading.mark) = (id, mark);
            let position = position(id);
            reading.is_over |= position == Position::FOREIGN;
            reading.feed.push((position, message(fields)));
        }
        for at in lost {
            let reading = number(at).and_then(|number| self.parts.get_mut(number));
            let Some(reading) = reading else { continue };
            // Behind what was read before: that is recorded first, as it may be nowhere else.
            reading.is_over = true;
            reading.feed.push((Position::LOST, message(Vec::new())));
        }
        Ok(count)
    }

    /// Tells how far behind each partition is, and removes what is recorded.
    async fn measure(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let keep = i64::from(self.config.keep);
        for (partition, reading) in &mut self.parts {
            let stream = stream(&self.config, *partition);
            let (_, end) = range(connection, &stream).await?;
            self.consumer.ends_at(*partition, end);
            // The last one stays in any case: it is read again, and compared, by whoever comes next.
            let last = self.consumer.last(*partition).map_or(0, |last| last.major);
            let from = last.saturating_sub(keep);
            let is_read = !reading.mark.is_empty() && !reading.is_over;
            if from > reading.trimmed && is_read {
                let (milliseconds, count) = reading.behind;
                let script = Script::new(include_str!("trim.lua"));
                let mut asking = script.key(&stream);
                asking.arg(format!("{milliseconds}-{count}")).arg(&reading.mark);
                let removed: i64 = asking.arg(format!("0-{from}")).invoke_async(connection).await?;
                // It removes so many at a time and no more.
                if removed == 0 {
                    reading.trimmed = from;
                }
            }
        }
        self.consumer.measure();
        Ok(())
    }
}

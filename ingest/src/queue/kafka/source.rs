//! Takes messages from a topic of Kafka.
//!
//! Here: one thread, as the client calls back from where it is polled. The group of consumers says who
//! reads which partition; from where, the database says ([`crate::queue::consume`]).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio::runtime::Handle;

use super::{KafkaSettingsError, consuming, read};
use crate::queue::consume::Consumer;
use crate::queue::feed::Feed;
use crate::queue::track::{Start, Stop, Track};
use crate::queue::worker::Tools;
use crate::queue::{Position, QueueConfig};

/// How long one look for a message takes at most.
const POLL: Duration = Duration::from_millis(100);
/// How long a broker may take to say where a partition begins and ends.
const WATERMARKS: Duration = Duration::from_secs(5);
/// How long a transaction may take to end once its partition is taken away.
const END: Duration = Duration::from_secs(8);
/// How long to wait before a partition is asked for again that could not be begun.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a group may take to give this consumer anything before it joins anew: with some brokers
/// one that has joined is forgotten.
const JOIN: Duration = Duration::from_secs(60);

/// Reads a topic.
pub struct Source {
    is_stopping: Arc<AtomicBool>,
    reading: JoinHandle<()>,
}

impl Source {
    /// Starts to read, on a thread of its own.
    pub fn start(
        config: &QueueConfig,
        consumer: Arc<Consumer>,
        tools: Tools,
    ) -> Result<Self, KafkaSettingsError> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let context = Partitions {
            topic: config.topic.clone(),
            consumer,
            tools,
            runtime: Handle::current(),
            is_stopping: Arc::clone(&is_stopping),
            feeds: Mutex::default(),
            has_joined: AtomicBool::new(false),
        };
        let properties = consuming(config);
        let context = Arc::new(context);
        // Made here, so that settings that it does not take are told before anything is served.
        let client = properties.create_with_context(Shared(Arc::clone(&context)))?;
        let reading = std::thread::spawn(move || {
            let watched = Arc::clone(&context.consumer);
            let run = AssertUnwindSafe(|| context.run(&properties, client));
            if catch_unwind(run).is_err() {
                watched.is_blind();
            }
        });
        Ok(Self { is_stopping, reading })
    }

    /// Stops: gives the partitions back once what was begun is recorded.
    pub async fn stop(self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let Self { reading, .. } = self;
        let joining = tokio::task::spawn_blocking(move || reading.join());
        if !matches!(joining.await, Ok(Ok(()))) {
            tracing::error!("the thread that reads the queue has failed");
        }
    }
}

/// A partition that is read.
struct Reading {
    feed: Arc<Feed>,
    is_paused: bool,
}

/// What the client calls back.
struct Partitions {
    topic: String,
    consumer: Arc<Consumer>,
    tools: Tools,
    runtime: Handle,
    is_stopping: Arc<AtomicBool>,
    feeds: Mutex<BTreeMap<i32, Reading>>,
    /// Whether the group has given this consumer anything, be it nothing to do.
    has_joined: AtomicBool,
}

/// The same as a context of the client, which wants to own one.
#[derive(Clone)]
struct Shared(Arc<Partitions>);

type Client = BaseConsumer<Shared>;

impl ClientContext for Shared {
    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.0.topic) else { return };
        for (number, partition) in &topic.partitions {
            if partition.hi_offset >= 0 {
                self.0.consumer.ends_at(*number, partition.hi_offset);
            }
        }
        self.0.consumer.measure();
    }
}

impl ConsumerContext for Shared {
    /// Called from within `poll`, on the thread that reads.
    fn rebalance(&self, client: &Client, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.0.has_joined.store(true, Ordering::Relaxed);
        let given = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.0.assign(client, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.0.revoke(client, list),
            _ => {
                tracing::warn!(?event, "the group could not be balanced");
                self.0.revoke(client, list)
            }
        };
        if let Err(error) = given {
            tracing::error!(%error, "partitions could not be taken up or given back");
        }
    }
}

impl Partitions {
    fn feeds(&self) -> MutexGuard<'_, BTreeMap<i32, Reading>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    fn assign(&self, client: &Client, list: &TopicPartitionList) -> KafkaResult<()> {
        let mut begun = TopicPartitionList::new();
        for element in list.elements() {
            let partition = element.partition();
            let offset = self.begin(client, partition);
            begun.add_partition_offset(&self.topic, partition, offset.unwrap_or(Offset::End))?;
        }
        if is_cooperative(client) {
            client.incremental_assign(&begun)
        } else {
            client.assign(&begun)
        }
    }

    fn revoke(&self, client: &Client, list: &TopicPartitionList) -> KafkaResult<()> {
        for element in list.elements() {
            self.feeds().remove(&element.partition());
            self.runtime.block_on(self.consumer.end(element.partition(), END));
        }
        if is_cooperative(client) { client.incremental_unassign(list) } else { client.unassign() }
    }

    /// Claims a partition and finds out where to read on. Tries until it knows; `None` where the
    /// partition has to stop, or the service does.
    fn begin(&self, client: &Client, partition: i32) -> Option<Offset> {
        while !self.is_stopping() {
            match self.try_begin(client, partition) {
                Ok(offset) => return offset,
                Err(error) => {
                    tracing::warn!(%error, partition, "the partition cannot be begun yet");
                    std::thread::sleep(PAUSE);
                }
            }
        }
        None
    }

    fn try_begin(
        &self,
        client: &Client,
        partition: i32,
    ) -> Result<Option<Offset>, Box<dyn std::error::Error>> {
        let (claim, last) = self.runtime.block_on(self.consumer.claim(partition))?;
        let range = client.fetch_watermarks(&self.topic, partition, WATERMARKS)?;
        match Start::of(last, range, 0) {
            Ok(start) => {
                let track = Track::new(last, start);
                let _in_runtime = self.runtime.enter();
                let feed = self.consumer.begin(self.tools.clone(), claim, track, start.from);
                self.consumer.ends_at(partition, range.1);
                self.feeds().insert(partition, Reading { feed, is_paused: false });
                Ok(Some(Offset::Offset(start.from)))
            }
            Err(stop) => {
                self.stop(partition, stop);
                Ok(None)
            }
        }
    }

    fn stop(&self, partition: i32, stop: Stop) {
        self.feeds().remove(&partition);
        self.consumer.stop(partition, stop);
    }

    fn run(&self, properties: &ClientConfig, mut client: Client) {
        let mut patience = JOIN;
        loop {
            if let Err(error) = client.subscribe(&[&self.topic]) {
                tracing::error!(%error, "the topic cannot be subscribed to");
            } else {
                self.read(&client, patience);
            }
            let context = client.context().as_ref().clone();
            // Gives its partitions back, by the same call as when they are taken away.
            drop(client);
            self.give_back();
            client = loop {
                if self.is_stopping() {
                    return;
                }
                std::thread::sleep(PAUSE);
                match properties.create_with_context(context.clone()) {
                    Ok(another) => break another,
                    Err(error) => tracing::error!(%error, "no other consumer"),
                }
            };
            self.has_joined.store(false, Ordering::Relaxed);
            // One that waits because there are no partitions left disturbs the others less and less.
            patience = patience.saturating_mul(2).min(JOIN * 10);
        }
    }

    /// Partitions that the client has not given back: none, unless it has failed.
    fn give_back(&self) {
        self.feeds().clear();
        for partition in self.consumer.numbers() {
            self.runtime.block_on(self.consumer.end(partition, END));
        }
    }

    /// Reads until the service stops, or the client can do no more.
    fn read(&self, client: &Client, patience: Duration) {
        let subscribed = Instant::now();
        while !self.is_stopping() {
            match client.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    if let Some(reading) = self.feeds().get(&message.partition()) {
                        let position = Position { major: message.offset(), minor: 0 };
                        reading.feed.push((position, read(&message)));
                    }
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    tracing::error!(%code, "the consumer cannot go on: another takes its place");
                    return;
                }
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                ))) => self.check_ranges(client),
                Some(Err(error)) => tracing::warn!(%error, "the queue cannot be read just now"),
            }
            if let Err(error) = self.regulate(client) {
                tracing::error!(%error, "reading could not be held up, or go on");
            }
            for partition in self.consumer.to_claim() {
                self.begin_again(client, partition);
            }
            if !self.has_joined.load(Ordering::Relaxed) && subscribed.elapsed() > patience {
                tracing::warn!("the group has given this consumer nothing: it joins anew");
                return;
            }
        }
    }

    /// Stops to read where the database is slower, and goes on where it has caught up.
    fn regulate(&self, client: &Client) -> KafkaResult<()> {
        let mut feeds = self.feeds();
        for (partition, reading) in &mut *feeds {
            let is_paused = match reading.is_paused {
                false => reading.feed.is_full(),
                true => !reading.feed.has_room(),
            };
            if is_paused != reading.is_paused {
                let mut list = TopicPartitionList::new();
                list.add_partition(&self.topic, *partition);
                if is_paused {
                    client.pause(&list)?
                } else {
                    client.resume(&list)?
                }
                reading.is_paused = is_paused;
            }
        }
        Ok(())
    }

    /// The broker lacks what is to be read of some partition: which one, it does not say.
    fn check_ranges(&self, client: &Client) {
        let partitions: Vec<i32> = self.feeds().keys().copied().collect();
        let positions = client.position().unwrap_or_default();
        for partition in partitions {
            let Ok(range) = client.fetch_watermarks(&self.topic, partition, WATERMARKS) else {
                continue;
            };
            let read = positions.find_partition(&self.topic, partition);
            let read = match read.map(|element| element.offset()) {
                Some(Offset::Offset(next)) => Some(next.saturating_sub(1)),
                // Nothing was read since it was begun.
                _ => self.consumer.last(partition).map(|last| last.major),
            };
            let last = read.map(|major| (Position { major, minor: 0 }, None));
            if let Err(stop) = Start::of(last, range, 0) {
                self.stop(partition, stop);
            }
        }
    }

    /// Claims a partition again that somebody else had claimed, if the group still gives it to us.
    fn begin_again(&self, client: &Client, partition: i32) {
        let begun = self.try_begin(client, partition).and_then(|offset| {
            if let Some(offset) = offset {
                client.seek(&self.topic, partition, offset, WATERMARKS)?;
                // One that was stopped while it was held up is held up still.
                let mut list = TopicPartitionList::new();
                list.add_partition(&self.topic, partition);
                client.resume(&list)?;
            }
            Ok(())
        });
        if let Err(error) = begun {
            tracing::warn!(%error, partition, "the partition cannot be begun yet");
            self.feeds().remove(&partition);
            self.consumer.yields(partition);
        }
    }
}

fn is_cooperative(client: &Client) -> bool {
    matches!(client.rebalance_protocol(), RebalanceProtocol::Cooperative)
}

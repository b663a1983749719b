//! Puts messages into topics of Kafka.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::{KafkaSettingsError, headers, producing};
use crate::queue::{Message, Position, PutError, Queue, QueueConfig, Topic};

/// A producer of Kafka.
pub struct Producer {
    properties: ClientConfig,
    topic: String,
    dead_letters: String,
    /// Replaced where it cannot go on: a producer whose numbering the broker does not follow any more
    /// must not try again, as it might store twice or out of order.
    inner: Mutex<FutureProducer>,
}

impl Producer {
    /// A producer. Connects by itself, and as long as it lives.
    pub fn new(config: &QueueConfig, max_body_bytes: usize) -> Result<Self, KafkaSettingsError> {
        let properties = producing(config, max_body_bytes);
        Ok(Self {
            inner: Mutex::new(properties.create()?),
            properties,
            topic: config.topic.clone(),
            dead_letters: config.dead_letters.clone(),
        })
    }

    fn inner(&self) -> FutureProducer {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces a producer that has failed for good.
    fn replace_fatal(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((code, reason)) = inner.client().fatal_error() else { return };
        tracing::warn!(%code, reason, "the producer cannot go on: another takes its place");
        match self.properties.create() {
            Ok(another) => *inner = another,
            Err(error) => tracing::error!(%error, "no other producer"),
        }
    }

    async fn send(&self, topic: Topic, message: &Message) -> Result<Position, PutError> {
        let topic = match topic {
            Topic::Submissions => &self.topic,
            Topic::DeadLetters => &self.dead_letters,
        };
        let record = FutureRecord::to(topic)
            .key(&*message.key)
            .payload(&*message.value)
            .headers(headers(message));
        let sending = self.inner().send_result(record).map_err(|(error, _)| self.failed(error))?;
        match sending.await {
            Ok(Ok(delivery)) => Ok(Position { major: delivery.offset, minor: 0 }),
            Ok(Err((error, _))) => Err(self.failed(error)),
            Err(_) => Err(PutError::Unknown("the producer has ended".to_owned())),
        }
    }

    fn failed(&self, error: KafkaError) -> PutError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => return PutError::Full,
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => return PutError::TooLarge,
            _ => {}
        }
        self.replace_fatal();
        PutError::Unknown(error.to_string())
    }
}

impl Queue for Producer {
    fn put<'a>(
        &'a self,
        topic: Topic,
        message: &'a Message,
    ) -> BoxFuture<'a, Result<Position, PutError>> {
        self.send(topic, message).boxed()
    }

    fn check(&self, patience: Duration) -> BoxFuture<'_, Result<(), String>> {
        let (inner, topic) = (self.inner(), self.topic.clone());
        async move {
            let asking = tokio::task::spawn_blocking(move || {
                let found = inner.client().fetch_metadata(Some(&topic), patience);
                found.map(|metadata| {
                    let found = metadata.topics().iter().find(|found| found.name() == topic);
                    found.is_some_and(|found| {
                        found.error().is_none() && !found.partitions().is_empty()
                    })
                })
            });
            match asking.await {
                Ok(Ok(true)) => Ok(()),
                Ok(Ok(false)) => Err("it has no such topic, or cannot serve it now".to_owned()),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the queue is not ready");
                    Err("no broker answers".to_owned())
                }
                Err(_) => Err("it could not be asked".to_owned()),
            }
        }
        .boxed()
    }
}

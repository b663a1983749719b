//! Puts messages into streams of Redis.
//!
//! Here: one task writes, as many messages at a time as have come meanwhile: each wait for the server's
//! disk, and for its replicas, is shared.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Client, ErrorKind, Pipeline, RedisError, ServerErrorKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::{
    Fault, RedisSettingsError, VALUE, connect, fields, id, partition_of, position, stream,
};
use crate::queue::{Message, Position, PutError, Queue, QueueConfig, Topic};

/// Messages that wait to be stored; the bodies are within the memory of requests.
const WAITING: usize = 4_096;
/// Messages that are stored at a time, and the bytes after which no further one is taken.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long a try may take in any case.
const TRY: Duration = Duration::from_secs(1);
/// How long to wait before it is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// How many dead letters their stream keeps, about; the database has all of them.
const LETTERS: u32 = 10_000;

struct Put {
    topic: Topic,
    message: Message,
    until: Instant,
    reply: oneshot::Sender<Result<Position, PutError>>,
}

/// What became of a message.
enum Stored {
    Yes(Position),
    No(PutError),
    /// The server cannot store just now.
    Later(String),
}

/// A producer of Redis Streams.
pub struct Producer {
    client: Client,
    config: QueueConfig,
    sender: mpsc::Sender<Put>,
}

impl Producer {
    /// A producer, from within a runtime. Connects by itself, and as long as it lives.
    pub fn new(config: &QueueConfig) -> Result<Self, RedisSettingsError> {
        let client = Client::open(config.servers.as_str())?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = Writer { client: client.clone(), config: config.clone(), connection: None };
        tokio::spawn(writer.run(receiver));
        Ok(Self { client, config: config.clone(), sender })
    }

    async fn send(&self, topic: Topic, message: &Message) -> Result<Position, PutError> {
        let (reply, answer) = oneshot::channel();
        let until = Instant::now() + self.config.put_timeout;
        let put = Put { topic, message: message.clone(), until, reply };
        self.sender.try_send(put).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PutError::Full,
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> PutError {
    PutError::Unknown("the task that writes has failed".to_owned())
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
        async move {
            if self.sender.is_closed() {
                return Err("the task that writes has failed: start again".to_owned());
            }
            match connect(&self.client, &self.config, patience).await {
                Ok(_) => Ok(()),
                Err(Fault::Unfit(reason)) => Err(reason),
                Err(Fault::Answer(error)) => {
                    tracing::warn!(%error, "the queue does not answer");
                    Err("it does not answer".to_owned())
                }
            }
        }
        .boxed()
    }
}

struct Writer {
    client: Client,
    config: QueueConfig,
    connection: Option<MultiplexedConnection>,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Put>) {
        while let Some(first) = receiver.recv().await {
            let mut bytes = first.message.bytes();
            let mut batch = vec![first];
            while batch.len() < BATCH && bytes < BATCH_BYTES {
                let Ok(next) = receiver.try_recv() else { break };
                bytes = bytes.saturating_add(next.message.bytes());
                batch.push(next);
            }
            self.store(batch).await;
        }
    }

    /// Stores messages, in order, or tells those that wait for too long.
    async fn store(&mut self, mut batch: Vec<Put>) {
        let mut reason = "it was not asked in time".to_owned();
        loop {
            let now = Instant::now();
            let (late, rest): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|put| put.until <= now);
            for put in late {
                put.tell(Err(PutError::Unknown(reason.clone())));
            }
            let Some(until) = rest.iter().map(|put| put.until).min() else { return };
            // Under load the oldest has little time left: a try that is given up is made twice.
            let until = until.max(now + TRY);
            batch = match timeout_at(until.into(), self.try_store(&rest)).await {
                Ok(Ok(stored)) => {
                    let mut again = Vec::new();
                    for (put, stored) in rest.into_iter().zip(stored) {
                        match stored {
                            Stored::Yes(position) => put.tell(Ok(position)),
                            Stored::No(error) => put.tell(Err(error)),
                            Stored::Later(why) => {
                                reason = why;
                                // Another server may have the name by now.
                                self.connection = None;
                                again.push(put);
                            }
                        }
                    }
                    again
                }
                Ok(Err(fault)) => {
                    reason = fault.to_string();
                    self.connection = None;
                    rest
                }
                Err(_) => {
                    "it did not answer in time".clone_into(&mut reason);
                    // What comes after would wait behind it.
                    self.connection = None;
                    rest
                }
            };
            if !batch.is_empty() {
                tracing::warn!(reason, "not queued yet, tried again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn try_store(&mut self, batch: &[Put]) -> Result<Vec<Stored>, Fault> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let patience = self.config.put_timeout;
                none.insert(connect(&self.client, &self.config, patience).await?)
            }
        };
        let mut pipeline = Pipeline::with_capacity(batch.len().saturating_add(1));
        for Put { topic, message, .. } in batch {
            pipeline.cmd("XADD");
            match topic {
                Topic::Submissions => {
                    let partition = partition_of(&message.key, self.config.partitions);
                    pipeline.arg(stream(&self.config, partition)).arg("0-*");
                }
                Topic::DeadLetters => {
                    pipeline.arg(&self.config.dead_letters);
                    pipeline.arg("MAXLEN").arg("~").arg(LETTERS).arg("*");
                }
            }
            for (name, value) in fields(message) {
                // Nobody takes dead letters out of memory again: their bytes lie in the database.
                let value = if *topic == Topic::DeadLetters && name == VALUE { b"" } else { value };
                pipeline.arg(name).arg(value);
            }
        }
        let replicas = self.config.replicas;
        if replicas > 0 {
            let patience = self.config.put_timeout / 2;
            pipeline
                .cmd("WAIT")
                .arg(replicas)
                .arg(u64::try_from(patience.as_millis()).unwrap_or(1));
        }
        pipeline.ignore_errors();
        let mut answers: Vec<Result<redis::Value, RedisError>> =
            pipeline.query_async(connection).await?;
        if replicas > 0 {
            let answer = answers.pop().unwrap_or(Ok(redis::Value::Nil))?;
            let found: u32 = redis::from_redis_value(answer).map_err(RedisError::from)?;
            if found < replicas {
                let told = format!("{found} replicas have it, {replicas} are needed");
                return Ok(batch
                    .iter()
                    .map(|_| Stored::No(PutError::Unknown(told.clone())))
                    .collect());
            }
        }
        Ok(answers.into_iter().map(stored).collect())
    }
}

impl Put {
    fn tell(self, result: Result<Position, PutError>) {
        // Whoever does not wait any more sends the same again.
        let _ = self.reply.send(result);
    }
}

fn stored(answer: Result<redis::Value, RedisError>) -> Stored {
    let text = answer.and_then(|value| Ok(redis::from_redis_value::<String>(value)?));
    match text {
        Ok(text) => match id(&text) {
            Some(id) => Stored::Yes(position(id)),
            None => Stored::No(PutError::Unknown(format!("{text:?} is no entry's id"))),
        },
        Err(error) => refused(&error),
    }
}

fn refused(error: &RedisError) -> Stored {
    if error.code() == Some("OOM") {
        tracing::error!(%error, "the queue is full: nothing is taken until it is read");
        return Stored::No(PutError::Full);
    }
    match error.kind() {
        // It starts, or another server is taking its place.
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::TryAgain,
        ) => Stored::Later(error.to_string()),
        _ => Stored::No(PutError::Unknown(error.to_string())),
    }
}

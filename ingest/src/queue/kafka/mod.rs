//! Kafka.
//!
//! Here: the properties of its clients; `producer` (put) and `source` (take). Not here: what is put and
//! what becomes of what is taken.

mod producer;
mod source;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};

pub use producer::Producer;
pub use source::Source;

use super::{Message, QueueConfig};

/// Memory for messages that wait to be sent, in KiB; those of the body memory come on top.
const BUFFER_KIB: u32 = 262_144;
/// Room of a message for its headers, beside the body.
const HEADERS_BYTES: usize = 262_144;

/// Properties of all clients.
fn common(config: &QueueConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (key, value) in &config.options {
        client.set(key, value);
    }
    client
        .set("bootstrap.servers", &config.servers)
        .set("client.id", "tally-ingest")
        // Topics are an operator's to make: one that a client made has the broker's defaults, perhaps
        // one replica and a retention of an hour.
        .set("allow.auto.create.topics", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    client
}

/// Properties of producers. A message is acknowledged once all in-sync replicas have it, and is not
/// stored twice because a producer tried again.
fn producing(config: &QueueConfig, max_body_bytes: usize) -> ClientConfig {
    let mut client = common(config);
    let most = max_body_bytes.saturating_add(HEADERS_BYTES).max(1_000_000);
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", millis(config.put_timeout))
        .set("message.max.bytes", most.to_string())
        .set("queue.buffering.max.kbytes", BUFFER_KIB.to_string())
        .set("linger.ms", "2")
        .set("compression.type", "lz4");
    // As the clients of other languages choose a partition by default: all writers of one workspace
    // agree on it.
    client.set("partitioner", "murmur2_random");
    client
}

/// Properties of consumers. The position is kept in the database, so nothing is committed to the broker;
/// where that position is not there, the consumer stops instead of beginning somewhere else.
fn consuming(config: &QueueConfig) -> ClientConfig {
    let mut client = common(config);
    client
        .set("group.id", &config.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("queued.max.messages.kbytes", "16384")
        // Some brokers answer a fetch that finds nothing only when its time is over, whatever has come
        // meanwhile.
        .set("fetch.wait.max.ms", "50")
        .set("statistics.interval.ms", "2000");
    if !config.options.contains_key("session.timeout.ms") {
        client.set("session.timeout.ms", "10000");
    }
    client
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

fn headers(message: &Message) -> OwnedHeaders {
    message
        .headers
        .iter()
        .fold(OwnedHeaders::new_with_capacity(message.headers.len()), |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(&**value) })
        })
}

/// A message of a topic.
fn read(found: &impl rdkafka::Message) -> Message {
    Message {
        key: bytes::Bytes::copy_from_slice(found.key().unwrap_or_default()),
        headers: found.headers().map(read_headers).unwrap_or_default(),
        value: bytes::Bytes::copy_from_slice(found.payload().unwrap_or_default()),
    }
}

/// The headers of a message; none where one of them has a name that is not UTF-8, at which the client
/// panics: whoever may write to the topic must not be able to stop it.
fn read_headers(headers: &impl rdkafka::message::Headers) -> Vec<(String, bytes::Bytes)> {
    let read = |header: Header<'_, &[u8]>| {
        let value = bytes::Bytes::copy_from_slice(header.value.unwrap_or_default());
        (header.key.to_owned(), value)
    };
    let all = AssertUnwindSafe(|| headers.iter().map(read).collect());
    catch_unwind(all).unwrap_or_default()
}

/// The first message that a partition of submissions has. Waits so long for the broker's answer.
pub fn beginning(
    config: &QueueConfig,
    partition: i32,
    patience: Duration,
) -> Result<i64, KafkaError> {
    let client: BaseConsumer = consuming(config).create()?;
    let (low, _) = client.fetch_watermarks(&config.topic, partition, patience)?;
    Ok(low)
}

/// Why there is no client for Kafka.
#[derive(Debug, thiserror::Error)]
#[error("the queue's settings: {0}")]
pub struct KafkaSettingsError(#[from] KafkaError);

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;

    /// Headers of which the second has a name that the client does not take.
    struct Foreign;

    impl Headers for Foreign {
        fn count(&self) -> usize {
            2
        }

        fn get(&self, index: usize) -> Header<'_, &[u8]> {
            assert!(index == 0, "a name that is not UTF-8");
            Header { key: "tally-format", value: Some(b"1") }
        }

        fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
            (index < 2).then(|| self.get(index))
        }
    }

    #[test]
    fn a_name_at_which_the_client_panics_leaves_a_message_without_headers() {
        assert_eq!(read_headers(&Foreign), Vec::new());
        let sound = OwnedHeaders::new().insert(Header { key: "a", value: Some("b") });
        assert_eq!(read_headers(&sound), [("a".to_owned(), "b".into())]);
    }
}

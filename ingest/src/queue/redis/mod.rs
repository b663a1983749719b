//! Redis Streams, for whoever has no Kafka.
//!
//! Here: connections, what is asked of a server before it is trusted with anything, and how a message
//! lies in a stream; `producer` (put) and `source` (take). Not here: what is put and what becomes of
//! what is taken.
//!
//! A partition is a stream, `<topic>:<partition>`. Its entries have the ids `0-1`, `0-2`, `0-3`: the
//! server counts them itself, so that a missing one shows, as it does with Kafka's offsets.

mod producer;
mod source;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ledger::hash::Digest;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};

pub use producer::Producer;
pub use source::Source;

use super::{Message, Position, QueueConfig};

/// How long a server may take to take a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// The field of an entry with the message's key, and that with its value. The others are headers.
const KEY: &str = "key";
const VALUE: &str = "value";
/// Asks where a stream begins and ends, without the messages that stand there.
const RANGE: &str = include_str!("range.lua");

/// Why a server of Redis is not used.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// It does not answer as it should.
    #[error("{0}")]
    Answer(#[from] RedisError),
    /// It would lose what it has acknowledged, or it is none for this queue.
    #[error("{0}")]
    Unfit(String),
}

/// Why there is no client for Redis.
#[derive(Debug, thiserror::Error)]
#[error("queue.servers: {0}")]
pub struct RedisSettingsError(#[from] RedisError);

/// The stream of a partition.
fn stream(config: &QueueConfig, partition: i32) -> String {
    format!("{}:{partition}", config.topic)
}

/// The partition of a key: the same for all who write, whatever their program.
fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let [a, b, c, d, ..] = *Digest::of(key).as_bytes();
    let number = i64::from(u32::from_be_bytes([a, b, c, d]));
    i32::try_from(number.rem_euclid(i64::from(partitions.max(1)))).unwrap_or(0)
}

/// Connects to a server that stores what it says that it has stored.
async fn connect(
    client: &Client,
    config: &QueueConfig,
    patience: Duration,
) -> Result<MultiplexedConnection, Fault> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT.min(patience)))
        .set_response_timeout(Some(patience));
    let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
    check(&mut connection, config).await?;
    Ok(connection)
}

async fn check(connection: &mut MultiplexedConnection, config: &QueueConfig) -> Result<(), Fault> {
    let unfit = |reason: String| Err(Fault::Unfit(reason));
    let info: String = redis::cmd("INFO").arg("server").query_async(connection).await?;
    let about = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default()
    };
    let version = about("redis_version");
    let major = version.split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < 7) {
        return unfit(format!("Redis 7.0 is needed, or later; this is {version:?}"));
    }
    if about("redis_mode") == "cluster" {
        return unfit("this is a Redis Cluster: name a server that is none".to_owned());
    }
    if config.checks_durability {
        durability(connection).await?;
    }
    // Whoever is first says how many partitions there are: with another number, a workspace would have
    // two, and no order. Only the first one writes: a server that is full can still be read.
    let name = format!("{}:partitions", config.topic);
    let found: Option<i32> = redis::cmd("GET").arg(&name).query_async(connection).await?;
    let found = match found {
        Some(found) => found,
        None => {
            let mut set = redis::cmd("SET");
            set.arg(&name).arg(config.partitions).arg("NX").exec_async(connection).await?;
            redis::cmd("GET").arg(&name).query_async(connection).await?
        }
    };
    if found == config.partitions {
        return Ok(());
    }
    unfit(format!(
        "this topic has {found} partitions, and queue.partitions says {}: set it to {found}",
        config.partitions
    ))
}

async fn durability(connection: &mut MultiplexedConnection) -> Result<(), Fault> {
    let found: Result<BTreeMap<String, String>, _> = redis::cmd("CONFIG")
        .arg("GET")
        .arg(&["appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"])
        .query_async(connection)
        .await;
    let found = found.map_err(|error| match error.code() {
        Some(_) => Fault::Unfit(format!(
            "the server does not say whether it stores what it acknowledges ({error}): allow CONFIG GET, \
             or set queue.checks_durability to false where you know that it does"
        )),
        None => Fault::Answer(error),
    })?;
    let is = |name: &str| found.get(name).map_or("", String::as_str);
    let policy = is("maxmemory-policy");
    let wrong = [
        ("appendonly", is("appendonly") != "yes", "yes"),
        ("appendfsync", is("appendfsync") != "always", "always"),
        ("no-appendfsync-on-rewrite", is("no-appendfsync-on-rewrite") != "no", "no"),
        ("maxmemory-policy", policy.is_empty() || policy.starts_with("allkeys"), "noeviction"),
    ];
    match wrong.into_iter().find(|(_, is_wrong, _)| *is_wrong) {
        None => Ok(()),
        Some((name, _, wanted)) => Err(Fault::Unfit(format!(
            "{name} is {}: the server would lose what it has acknowledged. Set it to {wanted}",
            is(name)
        ))),
    }
}

/// An id as servers write it: its milliseconds, and its count within these.
type Id = (u64, u64);

fn id(text: &str) -> Option<Id> {
    let (milliseconds, count) = text.split_once('-')?;
    Some((milliseconds.parse().ok()?, count.parse().ok()?))
}

/// Where an entry lies. One with milliseconds was put by somebody else.
fn position(id: Id) -> Position {
    match (id, i64::try_from(id.1)) {
        ((0, _), Ok(major)) => Position { major, minor: 0 },
        _ => Position::FOREIGN,
    }
}

/// The first number of a partition that there is, and the one behind its last.
async fn range(
    connection: &mut MultiplexedConnection,
    stream: &str,
) -> Result<(i64, i64), RedisError> {
    let script = Script::new(RANGE);
    let (first, last): (String, String) = script.key(stream).invoke_async(connection).await?;
    let number = |text: &str| id(text).map(|id| position(id).major);
    let end = number(&last).unwrap_or(0).saturating_add(1);
    Ok((number(&first).unwrap_or(end), end))
}

/// The fields of an entry that holds a message.
fn fields(message: &Message) -> impl Iterator<Item = (&str, &[u8])> {
    let headers = message.headers.iter().map(|(name, value)| (name.as_str(), &**value));
    [(KEY, &*message.key), (VALUE, &*message.value)].into_iter().chain(headers)
}

/// The message of an entry, whatever that holds: others may have put it.
fn message(fields: Vec<Vec<u8>>) -> Message {
    let (mut key, mut value, mut headers) = (None, None, Vec::new());
    let mut fields = fields.into_iter();
    while let (Some(name), Some(content)) = (fields.next(), fields.next()) {
        let content = Bytes::from(content);
        match name.as_slice() {
            name if name == KEY.as_bytes() && key.is_none() => key = Some(content),
            name if name == VALUE.as_bytes() && value.is_none() => value = Some(content),
            name => headers.push((String::from_utf8_lossy(name).into_owned(), content)),
        }
    }
    Message { key: key.unwrap_or_default(), headers, value: value.unwrap_or_default() }
}

/// The first message that a partition of submissions has. Waits so long for the server's answer.
pub async fn beginning(
    config: &QueueConfig,
    partition: i32,
    patience: Duration,
) -> Result<i64, String> {
    let asked = async {
        let client = Client::open(config.servers.as_str())?;
        let mut connection = connect(&client, config, patience).await?;
        Ok::<_, Fault>(range(&mut connection, &stream(config, partition)).await?.0)
    };
    asked.await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was() {
        let bare = Message { key: "acme".into(), headers: Vec::new(), value: "{}".into() };
        let sent = bare.with("a", vec![0, 255]).with("value", "a header of that name");
        let parts =
            fields(&sent).flat_map(|(name, value)| [name.as_bytes().to_vec(), value.to_vec()]);
        assert_eq!(message(parts.collect()), sent);
        let nothing = Message { key: Bytes::new(), headers: Vec::new(), value: Bytes::new() };
        assert_eq!(message(vec![b"odd".to_vec()]), nothing);
    }

    #[test]
    fn numbers_are_the_servers_own() {
        assert_eq!(id("0-81"), Some((0, 81)));
        assert_eq!(position((0, 81)), Position { major: 81, minor: 0 });
        for foreign in ["1764000000000-2", "5-0", "18446744073709551615-18446744073709551615"] {
            assert_eq!(id(foreign).map(position), Some(Position::FOREIGN), "{foreign}");
        }
        assert!(["", "1", "a-1", "1-b", "-"].into_iter().all(|text| id(text).is_none()));
    }

    #[test]
    fn all_who_write_agree_on_the_partition_of_a_key() {
        // The first four bytes of SHA-256("acme") are 822b33ad.
        let expected = i32::try_from(0x822b_33ad_u32 % 8).unwrap_or_default();
        assert_eq!(partition_of(b"acme", 8), expected);
        assert!((0..100_u8).all(|key| (0..3).contains(&partition_of(&[key], 3))));
    }
}

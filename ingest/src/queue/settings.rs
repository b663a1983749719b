//! The settings of the queue: `[queue]`.
//!
//! Here: as they are written ([`QueueSettings`]), and complete and checked ([`QueueConfig`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::config::ConfigError;

/// The topics and the group, where the settings name no others.
const TOPIC: &str = "tally-submissions";
const DEAD_LETTERS: &str = "tally-dead-letters";
const GROUP: &str = "tally-consumers";
/// How long a broker may take to store a message, in seconds.
const PUT_TIMEOUT: u64 = 10;
/// Transactions at once of one consumer.
const TRANSACTIONS: u32 = 8;
/// Streams of a topic, and recorded messages that each of them keeps.
const PARTITIONS: i32 = 8;
const KEEP: u32 = 1_000;

/// Properties of librdkafka on which the promises of the queue stand, or which are settings of their own.
const RESERVED: [&str; 15] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "transactional.id",
];

/// What stands between API and chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing: a submission is recorded before it is answered.
    #[default]
    Direct,
    /// A topic of Kafka.
    Kafka,
    /// Streams of Redis.
    Redis,
}

/// What a queue lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    /// Kafka.
    Kafka,
    /// Redis.
    Redis,
}

impl Broker {
    /// Its name, in settings and in the names of queues.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
        }
    }
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Kafka => Broker::Kafka.as_str(),
            Self::Redis => Broker::Redis.as_str(),
        }
    }

    const fn broker(self) -> Option<Broker> {
        match self {
            Self::Direct => None,
            Self::Kafka => Some(Broker::Kafka),
            Self::Redis => Some(Broker::Redis),
        }
    }
}

/// `[queue]` of `tally.toml`, and what overrides it.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// What stands between API and chain, `direct` (nothing) by default [queue.kind]
    #[arg(long = "queue-kind", env = "TALLY_QUEUE_KIND", value_name = "KIND")]
    kind: Option<Kind>,
    /// Kafka: brokers to ask first, `host:port` with commas between. Redis: the server's URL,
    /// `redis://` or `rediss://` [queue.servers]
    #[arg(long = "queue-servers", env = "TALLY_QUEUE_SERVERS", value_name = "SERVERS")]
    servers: Option<String>,
    /// Topic with submissions, `tally-submissions` by default [queue.topic]
    #[arg(long = "queue-topic", env = "TALLY_QUEUE_TOPIC", value_name = "TOPIC")]
    topic: Option<String>,
    /// Topic with what the chain refused, `tally-dead-letters` by default [queue.dead_letters]
    #[arg(long = "queue-dead-letters", env = "TALLY_QUEUE_DEAD_LETTERS", value_name = "TOPIC")]
    dead_letters: Option<String>,
    /// Consumer group, `tally-consumers` by default [queue.group]
    #[arg(long = "queue-group", env = "TALLY_QUEUE_GROUP", value_name = "GROUP")]
    group: Option<String>,
    /// How long the broker may take to store a submission, in seconds, 10 by default
    /// [queue.put_timeout]
    #[arg(long = "queue-put-timeout", env = "TALLY_QUEUE_PUT_TIMEOUT", value_name = "SECONDS")]
    put_timeout: Option<u64>,
    /// Transactions at once of a consumer, 8 by default [queue.transactions]
    #[arg(long = "queue-transactions", env = "TALLY_QUEUE_TRANSACTIONS", value_name = "N")]
    transactions: Option<u32>,
    /// Whether `serve` consumes, too: no other process is needed then [queue.consume]
    #[arg(
        long = "queue-consume",
        env = "TALLY_QUEUE_CONSUME",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    consume: Option<bool>,
    /// Redis: streams that submissions lie in, 8 by default; the same for all processes
    /// [queue.partitions]
    #[arg(long = "queue-partitions", env = "TALLY_QUEUE_PARTITIONS", value_name = "N")]
    partitions: Option<i32>,
    /// Redis: replicas that must have a submission before it is acknowledged, 0 by default
    /// [queue.replicas]
    #[arg(long = "queue-replicas", env = "TALLY_QUEUE_REPLICAS", value_name = "N")]
    replicas: Option<u32>,
    /// Redis: recorded messages that each stream keeps, 1000 by default [queue.keep]
    #[arg(long = "queue-keep", env = "TALLY_QUEUE_KEEP", value_name = "N")]
    keep: Option<u32>,
    /// Redis: whether a server must say that it stores what it acknowledges, true by default
    /// [queue.checks_durability]
    #[arg(
        long = "queue-checks-durability",
        env = "TALLY_QUEUE_CHECKS_DURABILITY",
        value_name = "BOOL"
    )]
    checks_durability: Option<bool>,
    /// `[queue.options]`: properties of librdkafka, as for TLS and SASL
    #[arg(skip)]
    options: BTreeMap<String, String>,
}

/// The queue, complete and checked. May hold secrets, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// What it lies in.
    pub kind: Broker,
    /// Brokers to ask first; of Redis the server's URL.
    pub servers: String,
    /// Topic with submissions.
    pub topic: String,
    /// Topic with what was refused.
    pub dead_letters: String,
    /// Consumer group.
    pub group: String,
    /// How long a broker may take to store a message.
    pub put_timeout: Duration,
    /// Transactions at once of one consumer.
    pub transactions: u32,
    /// Whether the service consumes, too.
    pub consume: bool,
    /// Of Redis: streams that submissions lie in.
    pub partitions: i32,
    /// Of Redis: replicas that must have a message before it is acknowledged.
    pub replicas: u32,
    /// Of Redis: recorded messages that each stream keeps.
    pub keep: u32,
    /// Of Redis: whether a server must say that it stores what it acknowledges.
    pub checks_durability: bool,
    /// Of Kafka: properties of librdkafka.
    pub options: BTreeMap<String, String>,
}

impl QueueConfig {
    /// The defaults, on brokers.
    pub fn new(kind: Broker, servers: &str) -> Self {
        Self {
            kind,
            servers: servers.to_owned(),
            topic: TOPIC.to_owned(),
            dead_letters: DEAD_LETTERS.to_owned(),
            group: GROUP.to_owned(),
            put_timeout: Duration::from_secs(PUT_TIMEOUT),
            transactions: TRANSACTIONS,
            consume: false,
            partitions: PARTITIONS,
            replicas: 0,
            keep: KEEP,
            checks_durability: true,
            options: BTreeMap::new(),
        }
    }

    /// The name under which its positions are kept: another topic has positions of its own.
    pub fn name(&self) -> String {
        format!("{}:{}", self.kind.as_str(), self.topic)
    }
}

impl QueueSettings {
    /// What the file says where nothing overrides it.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        Self {
            kind: self.kind.or(file.kind),
            servers: self.servers.or(file.servers),
            topic: self.topic.or(file.topic),
            dead_letters: self.dead_letters.or(file.dead_letters),
            group: self.group.or(file.group),
            put_timeout: self.put_timeout.or(file.put_timeout),
            transactions: self.transactions.or(file.transactions),
            consume: self.consume.or(file.consume),
            partitions: self.partitions.or(file.partitions),
            replicas: self.replicas.or(file.replicas),
            keep: self.keep.or(file.keep),
            checks_durability: self.checks_durability.or(file.checks_durability),
            options: file.options,
        }
    }

    /// Checks all of it; `None` where submissions are recorded at once.
    pub fn into_config(self) -> Result<Option<QueueConfig>, ConfigError> {
        let Some(kind) = self.kind.unwrap_or_default().broker() else { return Ok(None) };
        let servers = self.servers.as_deref().ok_or(ConfigError::Missing {
            key: "queue.servers",
            variable: "TALLY_QUEUE_SERVERS",
        })?;
        let mut config = QueueConfig::new(kind, servers);
        self.check_kind(kind, servers)?;
        config.topic = name("queue.topic", self.topic, TOPIC)?;
        config.dead_letters = name("queue.dead_letters", self.dead_letters, DEAD_LETTERS)?;
        config.group = name("queue.group", self.group, GROUP)?;
        if config.topic == config.dead_letters {
            // What is refused would come again, and be refused again, without an end.
            return Err(ConfigError::Queue("`queue.dead_letters` is `queue.topic`: name another"));
        }
        let time = within("queue.put_timeout", self.put_timeout, PUT_TIMEOUT, 25, "1 to 25")?;
        config.put_timeout = Duration::from_secs(time);
        let key = "queue.transactions";
        config.transactions = within(key, self.transactions, TRANSACTIONS, 256, "1 to 256")?;
        config.partitions =
            within("queue.partitions", self.partitions, PARTITIONS, 1_024, "1 to 1024")?;
        config.replicas = self.replicas.unwrap_or(0);
        config.keep = self.keep.unwrap_or(KEEP);
        config.checks_durability = self.checks_durability.unwrap_or(true);
        config.consume = self.consume.unwrap_or(false);
        config.options = self.options;
        Ok(Some(config))
    }

    /// Refuses what the other kind has: whoever sets it thinks that it is heeded.
    fn check_kind(&self, kind: Broker, servers: &str) -> Result<(), ConfigError> {
        match kind {
            Broker::Kafka => {
                if self.partitions.is_some()
                    || self.replicas.is_some()
                    || self.keep.is_some()
                    || self.checks_durability.is_some()
                {
                    return Err(ConfigError::Queue(
                        "`queue.partitions`, `replicas`, `keep` and `checks_durability` are for \
                         Redis: Kafka's topics have them",
                    ));
                }
                let reserved = RESERVED.into_iter().find(|key| self.options.contains_key(*key));
                reserved.map_or(Ok(()), |reserved| Err(ConfigError::QueueOption(reserved)))
            }
            Broker::Redis => {
                if !self.options.is_empty() {
                    return Err(ConfigError::Queue(
                        "`[queue.options]` is for Kafka: what Redis needs stands in the URL of \
                         `queue.servers`",
                    ));
                }
                let schemes = ["redis://", "rediss://", "unix://"];
                if !schemes.iter().any(|scheme| servers.starts_with(scheme)) {
                    return Err(ConfigError::Queue(
                        "`queue.servers`: a URL is expected, as redis://user:password@host:6379/0, \
                         or rediss:// for TLS",
                    ));
                }
                Ok(())
            }
        }
    }
}

/// A number of at least 1, and at most so much.
fn within<N: Copy + PartialOrd + From<bool> + TryInto<usize>>(
    key: &'static str,
    found: Option<N>,
    default: N,
    most: N,
    bounds: &'static str,
) -> Result<N, ConfigError> {
    let found = found.unwrap_or(default);
    if (N::from(true)..=most).contains(&found) {
        return Ok(found);
    }
    let found = found.try_into().unwrap_or(usize::MAX);
    Err(ConfigError::Bounds { key, found, bounds })
}

/// A name as Kafka has them; Redis takes it as well.
fn name(key: &'static str, name: Option<String>, default: &str) -> Result<String, ConfigError> {
    let name = name.unwrap_or_else(|| default.to_owned());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=249).contains(&name.len()) && name.chars().all(is_plain) && !name.starts_with('.') {
        Ok(name)
    } else {
        Err(ConfigError::QueueName { key, name })
    }
}

/// As `tally.toml` would say it; the values of options, which may be secrets, are not shown.
impl fmt::Display for QueueSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &str| toml::Value::from(value);
        writeln!(f, "[queue]")?;
        writeln!(f, "kind = {}", text(self.kind.unwrap_or_default().as_str()))?;
        match &self.servers {
            Some(servers) => writeln!(f, "servers = {}", text(&without_secret(servers)))?,
            None => writeln!(f, "# servers is not set")?,
        }
        for (key, value, default) in [
            ("topic", &self.topic, TOPIC),
            ("dead_letters", &self.dead_letters, DEAD_LETTERS),
            ("group", &self.group, GROUP),
        ] {
            writeln!(f, "{key} = {}", text(value.as_deref().unwrap_or(default)))?;
        }
        writeln!(f, "put_timeout = {}", self.put_timeout.unwrap_or(PUT_TIMEOUT))?;
        writeln!(f, "transactions = {}", self.transactions.unwrap_or(TRANSACTIONS))?;
        writeln!(f, "consume = {}", self.consume.unwrap_or(false))?;
        if self.kind == Some(Kind::Redis) {
            writeln!(f, "partitions = {}", self.partitions.unwrap_or(PARTITIONS))?;
            writeln!(f, "replicas = {}", self.replicas.unwrap_or(0))?;
            writeln!(f, "keep = {}", self.keep.unwrap_or(KEEP))?;
            writeln!(f, "checks_durability = {}", self.checks_durability.unwrap_or(true))?;
        }
        if !self.options.is_empty() {
            writeln!(f, "\n[queue.options]")?;
        }
        self.options.keys().try_for_each(|key| writeln!(f, "{} = \"…\"", text(key)))
    }
}

/// A URL without the password in it, and without its parameters, which may be one.
fn without_secret(servers: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = servers.split_once("://") else { return Cow::Borrowed(servers) };
    if let Some((before, _)) = servers.split_once('?') {
        return Cow::Owned(format!("{}?…", without_secret(before)));
    }
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            Cow::Owned(format!("{scheme}://{user}:…@{host}"))
        }
        None => Cow::Borrowed(servers),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn config(text: &str) -> Result<Option<QueueConfig>, String> {
        let settings: QueueSettings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.into_config().map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_kind_nothing_stands_between() {
        assert!(config("").unwrap().is_none());
        assert!(config("kind = \"direct\"\nservers = \"a:9092\"").unwrap().is_none());
    }

    #[test]
    fn a_kafka_needs_servers_and_has_defaults() {
        assert!(config("kind = \"kafka\"").err().unwrap().contains("queue.servers"));
        let found = config("kind = \"kafka\"\nservers = \"a:9092\"").unwrap().unwrap();
        assert!(found == QueueConfig::new(Broker::Kafka, "a:9092"));
        assert_eq!(found.name(), "kafka:tally-submissions");
    }

    #[test]
    fn what_would_break_a_promise_is_refused() {
        let with = |line: &str| config(&format!("kind = \"kafka\"\nservers = \"a:1\"\n{line}"));
        for (line, told) in [
            ("dead_letters = \"tally-submissions\"", "name another"),
            ("topic = \"a b\"", "queue.topic"),
            ("put_timeout = 0", "1 to 25"),
            ("transactions = 0", "1 to 256"),
            ("[options]\nacks = \"1\"", "acks"),
            ("[options]\n\"enable.auto.commit\" = \"true\"", "enable.auto.commit"),
            ("colour = \"red\"", "colour"),
            ("partitions = 4", "for Redis"),
        ] {
            let found = with(line).err().unwrap();
            assert!(found.contains(told), "{line}: {found}");
        }
        let fine = with("[options]\n\"security.protocol\" = \"ssl\"").unwrap().unwrap();
        assert_eq!(fine.options.len(), 1);
    }

    #[test]
    fn a_redis_needs_a_url_and_has_partitions_of_its_own() {
        let with = |line: &str| config(&format!("kind = \"redis\"\n{line}"));
        let url = "servers = \"redis://localhost\"\n";
        let found = with(url).unwrap().unwrap();
        assert!(found == QueueConfig::new(Broker::Redis, "redis://localhost"));
        assert_eq!((found.name().as_str(), found.partitions), ("redis:tally-submissions", 8));
        for (lines, told) in [
            ("servers = \"localhost:6379\"".to_owned(), "a URL is expected"),
            (format!("{url}partitions = 0"), "1 to 1024"),
            (format!("{url}partitions = -3"), "1 to 1024"),
            (format!("{url}[options]\na = \"b\""), "is for Kafka"),
        ] {
            let found = with(&lines).err().unwrap();
            assert!(found.contains(told), "{lines}: {found}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (servers, shown) in [
            ("redis://tally:canary@host:6379/0", "redis://tally:…@host:6379/0"),
            ("redis://:ca@nary@host", "redis://:…@host"),
            ("redis://host", "redis://host"),
            ("unix:///a.sock?user=u&pass=canary", "unix:///a.sock?…"),
            ("a:9092,b:9092", "a:9092,b:9092"),
        ] {
            assert_eq!(without_secret(servers), shown);
        }
        let text = "[options]\n\"sasl.password\" = \"canary\"";
        let settings: QueueSettings = toml::from_str(text).unwrap();
        let shown = settings.to_string();
        assert!(!shown.contains("canary") && shown.contains("sasl.password"), "{shown}");
    }
}

//! The settings of the queue: `[queue]`.
//!
//! Here: as they are written ([`QueueSettings`]), and complete and checked ([`QueueConfig`]).

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
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Kafka => "kafka",
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
    /// Brokers to ask first, `host:port` with commas between [queue.servers]
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
    /// `[queue.options]`: properties of librdkafka, as for TLS and SASL
    #[arg(skip)]
    options: BTreeMap<String, String>,
}

/// The queue, complete and checked. May hold secrets, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// Brokers to ask first.
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
    /// Properties of librdkafka.
    pub options: BTreeMap<String, String>,
}

impl QueueConfig {
    /// The defaults, on brokers.
    pub fn new(servers: &str) -> Self {
        Self {
            servers: servers.to_owned(),
            topic: TOPIC.to_owned(),
            dead_letters: DEAD_LETTERS.to_owned(),
            group: GROUP.to_owned(),
            put_timeout: Duration::from_secs(PUT_TIMEOUT),
            transactions: TRANSACTIONS,
            consume: false,
            options: BTreeMap::new(),
        }
    }

    /// The name under which its positions are kept: another topic has positions of its own.
    pub fn name(&self) -> String {
        format!("kafka:{}", self.topic)
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
            options: file.options,
        }
    }

    /// Checks all of it; `None` where submissions are recorded at once.
    pub fn into_config(self) -> Result<Option<QueueConfig>, ConfigError> {
        if self.kind.unwrap_or_default() == Kind::Direct {
            return Ok(None);
        }
        let servers = self.servers.as_deref().ok_or(ConfigError::Missing {
            key: "queue.servers",
            variable: "TALLY_QUEUE_SERVERS",
        })?;
        let mut config = QueueConfig::new(servers);
        config.topic = name("queue.topic", self.topic, TOPIC)?;
        config.dead_letters = name("queue.dead_letters", self.dead_letters, DEAD_LETTERS)?;
        config.group = name("queue.group", self.group, GROUP)?;
        if config.topic == config.dead_letters {
            // What is refused would come again, and be refused again, without an end.
            return Err(ConfigError::Queue("`queue.dead_letters` is `queue.topic`: name another"));
        }
        config.put_timeout = match self.put_timeout.unwrap_or(PUT_TIMEOUT) {
            found @ 1..=25 => Duration::from_secs(found),
            found => {
                let found = usize::try_from(found).unwrap_or(usize::MAX);
                return Err(ConfigError::Bounds {
                    key: "queue.put_timeout",
                    found,
                    bounds: "1 to 25",
                });
            }
        };
        config.transactions = match self.transactions.unwrap_or(TRANSACTIONS) {
            found @ 1..=256 => found,
            found => {
                let found = usize::try_from(found).unwrap_or(usize::MAX);
                let key = "queue.transactions";
                return Err(ConfigError::Bounds { key, found, bounds: "1 to 256" });
            }
        };
        config.consume = self.consume.unwrap_or(false);
        if let Some(reserved) = RESERVED.into_iter().find(|key| self.options.contains_key(*key)) {
            return Err(ConfigError::QueueOption(reserved));
        }
        config.options = self.options;
        Ok(Some(config))
    }
}

/// A name as Kafka has them.
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
            Some(servers) => writeln!(f, "servers = {}", text(servers))?,
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
        if !self.options.is_empty() {
            writeln!(f, "\n[queue.options]")?;
        }
        self.options.keys().try_for_each(|key| writeln!(f, "{} = \"…\"", text(key)))
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
        assert!(found == QueueConfig::new("a:9092"));
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
        ] {
            let found = with(line).err().unwrap();
            assert!(found.contains(told), "{line}: {found}");
        }
        let fine = with("[options]\n\"security.protocol\" = \"ssl\"").unwrap().unwrap();
        assert_eq!(fine.options.len(), 1);
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = "[options]\n\"sasl.password\" = \"canary\"";
        let settings: QueueSettings = toml::from_str(text).unwrap();
        let shown = settings.to_string();
        assert!(!shown.contains("canary") && shown.contains("sasl.password"), "{shown}");
    }
}

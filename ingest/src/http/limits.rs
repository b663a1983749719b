//! How much one client, and all of them, may ask of the service at the edge.
//!
//! Here: `[ingest.limits]` as it is written ([`LimitSettings`]) and checked ([`EdgeLimits`]). Not
//! here: what a submission may have (see [`crate::accept::Limits`]), and keeping to the limits (see
//! [`super::rate`], [`super::crowd`], `body`, [`super::listen`]).

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

/// Requests a second for each token.
const READS: u32 = 100;
/// How many seconds' worth a burst is.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// hyper reads heads into a buffer of no less.
const HEAD_BYTES_MIN: usize = 8_192;

/// `[ingest.limits]`, setting by setting.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Events a second for each public key and each API key, on average; as many as they like by
    /// default [ingest.limits.events_per_second]
    #[arg(long, env = "TALLY_INGEST_LIMITS_EVENTS_PER_SECOND", value_name = "N")]
    pub events_per_second: Option<u32>,
    /// Events that they may send at once, ten seconds' worth by default [ingest.limits.burst]
    #[arg(long, env = "TALLY_INGEST_LIMITS_BURST", value_name = "N")]
    pub burst: Option<u32>,
    /// Requests a second for each token of a reader, 100 by default, ten seconds' worth at once; 0 for
    /// as many as they like [ingest.limits.reads_per_second]
    #[arg(long, env = "TALLY_INGEST_LIMITS_READS_PER_SECOND", value_name = "N")]
    pub reads_per_second: Option<u32>,
    /// Connections at once, 1024 by default [ingest.limits.max_connections]
    #[arg(long, env = "TALLY_INGEST_LIMITS_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// Connections at once from one address, as many as there may be by default
    /// [ingest.limits.max_connections_per_address]
    #[arg(long, env = "TALLY_INGEST_LIMITS_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub max_connections_per_address: Option<usize>,
    /// Bytes of a request's line and headers, 16384 by default [ingest.limits.max_head_bytes]
    #[arg(long, env = "TALLY_INGEST_LIMITS_MAX_HEAD_BYTES", value_name = "BYTES")]
    pub max_head_bytes: Option<usize>,
    /// How long a connection may be idle, and a request's head or a TLS handshake may take, 15 by
    /// default [ingest.limits.head_seconds]
    #[arg(long, env = "TALLY_INGEST_LIMITS_HEAD_SECONDS", value_name = "SECONDS")]
    pub head_seconds: Option<u64>,
    /// How long a body may take to arrive, 30 by default [ingest.limits.body_seconds]
    #[arg(long, env = "TALLY_INGEST_LIMITS_BODY_SECONDS", value_name = "SECONDS")]
    pub body_seconds: Option<u64>,
    /// Bytes a second that a body has to arrive with, once five seconds have passed, 1024 by
    /// default [ingest.limits.min_body_rate]
    #[arg(long, env = "TALLY_INGEST_LIMITS_MIN_BODY_RATE", value_name = "BYTES")]
    pub min_body_rate: Option<u32>,
    /// How long a client may be waited for that takes nothing of its answers, 15 by default [ingest.limits.answer_seconds]
    #[arg(long, env = "TALLY_INGEST_LIMITS_ANSWER_SECONDS", value_name = "SECONDS")]
    pub answer_seconds: Option<u64>,
    /// Bytes a second that a client has to take of its answers on average, over all of a connection's,
    /// where it is waited for; 16384 by default, 0 for none [ingest.limits.min_answer_rate]
    #[arg(long, env = "TALLY_INGEST_LIMITS_MIN_ANSWER_RATE", value_name = "BYTES")]
    pub min_answer_rate: Option<u32>,
}

/// A limit that is out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`ingest.limits.{key}` is {found}: {bounds}")]
pub struct LimitError {
    /// Its key in the file.
    pub key: &'static str,
    /// What it is.
    pub found: u64,
    /// What it may be.
    pub bounds: String,
}

/// The limits at the edge, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeLimits {
    /// Events a second and events at once, for each caller; `None` for no limit.
    pub rate: Option<(NonZeroU32, NonZeroU32)>,
    /// Requests a second and requests at once, for each token; `None` for no limit.
    pub reads: Option<(NonZeroU32, NonZeroU32)>,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address.
    pub max_connections_per_address: usize,
    /// Bytes of a request's line and headers.
    pub max_head_bytes: usize,
    /// How long a connection may be idle, and a head or a handshake may take.
    pub head: Duration,
    /// How long a body may take.
    pub body: Duration,
    /// Bytes a second that a body arrives with at least.
    pub min_body_rate: u32,
    /// How long a client may be waited for that takes nothing of its answers.
    pub answer: Duration,
    /// Bytes a second that give a client some of that time again; 0 where any byte gives it all of it.
    pub min_answer_rate: u32,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            rate: None,
            reads: reads(READS),
            max_connections: 1_024,
            max_connections_per_address: usize::MAX,
            max_head_bytes: 16_384,
            head: Duration::from_secs(15),
            body: Duration::from_secs(30),
            min_body_rate: 1_024,
            answer: Duration::from_secs(15),
            min_answer_rate: 16_384,
        }
    }
}

impl LimitSettings {
    /// Fills in what the file says where nothing overrides it.
    pub fn or(self, file: Self) -> Self {
        let max_connections_per_address =
            self.max_connections_per_address.or(file.max_connections_per_address);
        Self {
            events_per_second: self.events_per_second.or(file.events_per_second),
            burst: self.burst.or(file.burst),
            reads_per_second: self.reads_per_second.or(file.reads_per_second),
            max_connections: self.max_connections.or(file.max_connections),
            max_connections_per_address,
            max_head_bytes: self.max_head_bytes.or(file.max_head_bytes),
            head_seconds: self.head_seconds.or(file.head_seconds),
            body_seconds: self.body_seconds.or(file.body_seconds),
            min_body_rate: self.min_body_rate.or(file.min_body_rate),
            answer_seconds: self.answer_seconds.or(file.answer_seconds),
            min_answer_rate: self.min_answer_rate.or(file.min_answer_rate),
        }
    }

    /// Checks them; a burst has room for a submission of `max_events`.
    pub fn check(&self, max_events: usize) -> Result<EdgeLimits, LimitError> {
        let defaults = EdgeLimits::default();
        let within = |key, found: usize, least: usize, most: usize| {
            if (least..=most).contains(&found) {
                return Ok(found);
            }
            let found = u64::try_from(found).unwrap_or(u64::MAX);
            Err(LimitError { key, found, bounds: format!("{least} to {most}") })
        };
        let seconds = |key, found: Option<u64>, default| match found {
            None => Ok(default),
            Some(found @ 1..=3_600) => Ok(Duration::from_secs(found)),
            Some(found) => Err(LimitError { key, found, bounds: "1 to 3600".to_owned() }),
        };
        let connections = self.max_connections.unwrap_or(defaults.max_connections);
        let per_address =
            self.max_connections_per_address.unwrap_or(defaults.max_connections_per_address);
        let head_bytes = self.max_head_bytes.unwrap_or(defaults.max_head_bytes);
        Ok(EdgeLimits {
            rate: self.rate(max_events)?,
            reads: reads(self.reads_per_second.unwrap_or(READS)),
            max_connections: within("max_connections", connections, 1, 1_000_000)?,
            max_connections_per_address: within(
                "max_connections_per_address",
                per_address,
                1,
                usize::MAX,
            )?,
            max_head_bytes: within("max_head_bytes", head_bytes, HEAD_BYTES_MIN, 1_048_576)?,
            head: seconds("head_seconds", self.head_seconds, defaults.head)?,
            body: seconds("body_seconds", self.body_seconds, defaults.body)?,
            min_body_rate: self.min_body_rate.unwrap_or(defaults.min_body_rate),
            answer: seconds("answer_seconds", self.answer_seconds, defaults.answer)?,
            min_answer_rate: self.min_answer_rate.unwrap_or(defaults.min_answer_rate),
        })
    }

    fn rate(&self, max_events: usize) -> Result<Option<(NonZeroU32, NonZeroU32)>, LimitError> {
        let Some(per_second) = self.events_per_second else {
            return match self.burst {
                None => Ok(None),
                Some(found) => {
                    let bounds = "it goes with events_per_second, which is not set".to_owned();
                    Err(LimitError { key: "burst", found: found.into(), bounds })
                }
            };
        };
        let per_second = NonZeroU32::new(per_second).ok_or_else(|| LimitError {
            key: "events_per_second",
            found: 0,
            bounds: "at least 1, or not set at all".to_owned(),
        })?;
        let room = u32::try_from(max_events).unwrap_or(u32::MAX);
        let burst =
            self.burst.unwrap_or_else(|| per_second.saturating_mul(BURST_SECONDS).get().max(room));
        match NonZeroU32::new(burst) {
            Some(burst) if burst.get() >= room => Ok(Some((per_second, burst))),
            _ => Err(LimitError {
                key: "burst",
                found: burst.into(),
                bounds: format!("room for a submission of max_events, {room}"),
            }),
        }
    }
}

/// So many requests a second, and ten seconds' worth at once.
fn reads(per_second: u32) -> Option<(NonZeroU32, NonZeroU32)> {
    let per_second = NonZeroU32::new(per_second)?;
    Some((per_second, per_second.saturating_mul(BURST_SECONDS)))
}

/// As `tally.toml` would say it.
impl fmt::Display for LimitSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let defaults = EdgeLimits::default();
        writeln!(f, "\n[ingest.limits]")?;
        match self.events_per_second {
            Some(per_second) => writeln!(f, "events_per_second = {per_second}")?,
            None => writeln!(f, "# events_per_second: no limit")?,
        }
        match self.burst {
            Some(burst) => writeln!(f, "burst = {burst}")?,
            None => writeln!(f, "# burst: ten seconds' worth")?,
        }
        writeln!(f, "reads_per_second = {}", self.reads_per_second.unwrap_or(READS))?;
        let connections = self.max_connections.unwrap_or(defaults.max_connections);
        writeln!(f, "max_connections = {connections}")?;
        match self.max_connections_per_address {
            Some(most) => writeln!(f, "max_connections_per_address = {most}")?,
            None => writeln!(f, "# max_connections_per_address: as many as max_connections")?,
        }
        let bytes = self.max_head_bytes.unwrap_or(defaults.max_head_bytes);
        writeln!(f, "max_head_bytes = {bytes}")?;
        writeln!(f, "head_seconds = {}", self.head_seconds.unwrap_or(defaults.head.as_secs()))?;
        writeln!(f, "body_seconds = {}", self.body_seconds.unwrap_or(defaults.body.as_secs()))?;
        writeln!(f, "min_body_rate = {}", self.min_body_rate.unwrap_or(defaults.min_body_rate))?;
        let answer = self.answer_seconds.unwrap_or(defaults.answer.as_secs());
        writeln!(f, "answer_seconds = {answer}")?;
        let rate = self.min_answer_rate.unwrap_or(defaults.min_answer_rate);
        writeln!(f, "min_answer_rate = {rate}")
    }
}

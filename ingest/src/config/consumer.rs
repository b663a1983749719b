//! The settings of a consumer that runs alone: it signs nothing, and so needs no key.

use ledger::limits::{PAYLOAD_BYTES_DEFAULT, ROOT_KEYS, SUBMISSION_EVENTS_DEFAULT};
use ledger::names::Origin;
use ledger::note::VerifierKey;

use super::{ConfigError, FILTER_MIB, MAX_KEYS, Settings};
use crate::accept::Limits;
use crate::queue::QueueConfig;
use crate::telemetry;

/// Connections for reading of a consumer: `/readyz` alone asks.
const READ_CONNECTIONS: u32 = 1;

/// The settings of a consumer, complete and checked. May hold a password, so it is never printed.
#[derive(Clone)]
pub struct ConsumerConfig {
    /// The ledger's name.
    pub origin: Origin,
    /// Where the database is.
    pub database_url: String,
    /// The same database as the role that reads.
    pub database_read_url: Option<String>,
    /// The seal key's public part.
    pub seal_verifier_key: Option<VerifierKey>,
    /// Archive that the database is compared with at start.
    pub archive_url: Option<String>,
    /// What a submission may have.
    pub limits: Limits,
    /// Keys that a workspace may register, revoked ones too.
    pub max_keys: usize,
    /// Memory for what is known of closed days, in MiB.
    pub filter_mib: usize,
    /// The queue.
    pub broker: QueueConfig,
    /// Logs, traces, and where metrics are shown.
    pub telemetry: telemetry::Config,
}

/// What a service and a consumer stand on alike.
#[derive(Clone, Copy)]
pub(crate) struct Footing<'c> {
    pub(crate) origin: &'c Origin,
    pub(crate) database_url: &'c str,
    pub(crate) database_read_url: Option<&'c str>,
    pub(crate) seal_verifier_key: Option<&'c VerifierKey>,
    pub(crate) archive_url: Option<&'c str>,
    pub(crate) max_keys: usize,
    pub(crate) filter_mib: usize,
    pub(crate) read_connections: u32,
    /// Transactions at once.
    pub(crate) transactions: u32,
    pub(crate) has_queue: bool,
}

impl super::Config {
    pub(crate) fn footing(&self) -> Footing<'_> {
        let shards = u32::try_from(self.shards).unwrap_or(u32::MAX);
        // One more than shards, as the ledger's own workspace has a shard of its own, and one to spare.
        let own = shards.saturating_add(2);
        let queued = self.broker.as_ref().map_or(0, |broker| broker.transactions);
        Footing {
            origin: &self.origin,
            database_url: &self.database_url,
            database_read_url: self.database_read_url.as_deref(),
            seal_verifier_key: self.seal_verifier_key.as_ref(),
            archive_url: self.archive_url.as_deref(),
            max_keys: self.max_keys,
            filter_mib: self.filter_mib,
            read_connections: self.read_connections,
            transactions: own.saturating_add(queued),
            has_queue: self.broker.is_some(),
        }
    }
}

impl ConsumerConfig {
    pub(crate) fn footing(&self) -> Footing<'_> {
        Footing {
            origin: &self.origin,
            database_url: &self.database_url,
            database_read_url: self.database_read_url.as_deref(),
            seal_verifier_key: self.seal_verifier_key.as_ref(),
            archive_url: self.archive_url.as_deref(),
            max_keys: self.max_keys,
            filter_mib: self.filter_mib,
            read_connections: READ_CONNECTIONS,
            transactions: self.broker.transactions.saturating_add(1),
            has_queue: true,
        }
    }
}

impl Settings {
    /// Checks what a consumer needs of it; the keys of the service are not read.
    pub fn into_consumer_config(self) -> Result<ConsumerConfig, ConfigError> {
        let origin = self.origin()?;
        self.check_archive()?;
        Ok(ConsumerConfig {
            database_url: self.database_url()?.to_owned(),
            database_read_url: self.database_read_url.clone(),
            seal_verifier_key: seal_key(self.seal_verifier_key.as_deref(), &origin)?,
            origin,
            limits: self.limits()?,
            max_keys: self.max_keys()?,
            filter_mib: self.filter_mib()?,
            broker: self.queue()?,
            archive_url: self.archive_url,
            telemetry: self.telemetry.into_config().map_err(ConfigError::Telemetry)?,
        })
    }

    /// The queue, of which there must be one.
    pub fn queue(&self) -> Result<QueueConfig, ConfigError> {
        let queue = self.queue_settings.clone().into_config()?;
        queue.ok_or(ConfigError::Queue(
            "`queue.kind` is `direct`: there is no queue. Set it to `kafka` or `redis`, in \
             tally.toml or as TALLY_QUEUE_KIND",
        ))
    }

    pub(super) fn limits(&self) -> Result<Limits, ConfigError> {
        let bytes = self.max_payload_bytes.unwrap_or(PAYLOAD_BYTES_DEFAULT);
        let events = self.max_events.unwrap_or(SUBMISSION_EVENTS_DEFAULT);
        let bounds = |key, found, bounds| ConfigError::Bounds { key, found, bounds };
        Limits::new(bytes, SUBMISSION_EVENTS_DEFAULT).ok_or(bounds(
            "ingest.max_payload_bytes",
            bytes,
            "1 to 1048576",
        ))?;
        Limits::new(bytes, events).ok_or(bounds("ingest.max_events", events, "1 to 1000"))
    }

    pub(super) fn max_keys(&self) -> Result<usize, ConfigError> {
        match self.max_keys.unwrap_or(MAX_KEYS) {
            found @ ROOT_KEYS..=100_000 => Ok(found),
            found => {
                let bounds = "8 to 100000";
                Err(ConfigError::Bounds { key: "ingest.max_keys", found, bounds })
            }
        }
    }

    pub(super) fn filter_mib(&self) -> Result<usize, ConfigError> {
        match self.filter_mib.unwrap_or(FILTER_MIB) {
            found @ 0..=1_048_576 => Ok(found),
            found => {
                let bounds = "0 to 1048576";
                Err(ConfigError::Bounds { key: "ingest.filter_mib", found, bounds })
            }
        }
    }

    pub(super) fn check_archive(&self) -> Result<(), ConfigError> {
        if self.archive_url.is_some() && self.seal_verifier_key.is_none() {
            return Err(ConfigError::Missing {
                key: "ingest.seal_verifier_key",
                variable: "TALLY_INGEST_SEAL_VERIFIER_KEY",
            });
        }
        Ok(())
    }
}

pub(super) fn seal_key(
    text: Option<&str>,
    origin: &Origin,
) -> Result<Option<VerifierKey>, ConfigError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let key: VerifierKey = text.parse()?;
    if key.name() == origin.as_str() {
        Ok(Some(key))
    } else {
        Err(ConfigError::SealKeyName { found: key.name().to_owned(), origin: origin.clone() })
    }
}

//! The service's settings: `tally.toml`, then `TALLY_…` variables, then flags.
//!
//! Here: [`Settings`] (as they are written, setting by setting) and [`Config`] (complete and
//! checked). Each place overrides the one before; an unknown key is an error wherever it stands. No
//! setting tells another time.

mod consumer;
mod error;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, Parser};
use ledger::key::SigningKey;
use ledger::limits::{PAYLOAD_BYTES_DEFAULT, SUBMISSION_EVENTS_DEFAULT};
use ledger::names::{Origin, Workspace};
use ledger::note::VerifierKey;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::accept::Limits;
use crate::accept::secrets::SecretSettings;
use crate::access::{AccessSettings, AdminTokens, settings};
use crate::http::door::{DoorConfig, DoorSettings};
use crate::http::limits::LimitSettings;
use crate::http::read;
use crate::http::room::Room;
use crate::http::tls::TlsSettings;
use crate::keyfile;
use crate::queue::{QueueConfig, QueueSettings};
use crate::telemetry;
pub use consumer::ConsumerConfig;
pub(crate) use consumer::Footing;
pub use error::ConfigError;
use url::masked;

/// Where the service listens unless told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Shards of workspaces, each with a transaction of its own at a time.
const SHARDS: usize = 8;
/// Submissions that may wait in each shard.
const QUEUE: usize = 256;
/// Memory for bodies that are read, checked or waiting, in MiB.
const MEMORY_MIB: usize = 256;
/// Memory for answers that are made or sent, in MiB.
const ANSWER_MEMORY_MIB: usize = 64;
/// Keys that a workspace registers.
const MAX_KEYS: usize = 10_000;
/// Memory for what is known of closed days, in MiB: two bytes an event.
const FILTER_MIB: usize = 512;
/// Database connections for reading.
const READ_CONNECTIONS: u32 = 8;

/// What the names of all our variables start with.
const VARIABLES: &str = "TALLY_";
/// What those of the archiver's own section start with: `tally-archiver` reads them.
const ARCHIVE_VARIABLES: &str = "TALLY_ARCHIVE_";
/// The variable with an administrator's token, which commands of the client read.
pub const ADMIN_TOKEN_VARIABLE: &str = "TALLY_ADMIN_TOKEN";

/// `tally.toml`, as far as this service is concerned.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    ledger: LedgerSection,
    database: DatabaseSection,
    ingest: IngestSection,
    telemetry: telemetry::TelemetrySettings,
    queue: QueueSettings,
    /// `tally-archiver` reads the same file, and checks its own section.
    archive: IgnoredAny,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerSection {
    origin: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseSection {
    url: Option<String>,
    read_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct IngestSection {
    listen: Option<SocketAddr>,
    receipt_key: Option<PathBuf>,
    seal_verifier_key: Option<String>,
    custodian_key: Option<PathBuf>,
    acts_workspace: Option<String>,
    #[serde(default)]
    admin_tokens: BTreeMap<String, String>,
    max_payload_bytes: Option<usize>,
    max_events: Option<usize>,
    max_keys: Option<usize>,
    shards: Option<usize>,
    queue: Option<usize>,
    memory_mib: Option<usize>,
    answer_memory_mib: Option<usize>,
    filter_mib: Option<usize>,
    archive_url: Option<String>,
    read_connections: Option<u32>,
    allow_plain_http: Option<bool>,
    #[serde(default)]
    tls: TlsSettings,
    #[serde(default)]
    limits: LimitSettings,
    #[serde(default)]
    secrets: BTreeMap<String, SecretSettings>,
}

/// Where settings come from: the file, and what overrides it.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Settings file; `tally.toml` is read where it is there and no other is named
    #[arg(long, env = "TALLY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of the ledger [ledger.origin]
    #[arg(long, env = "TALLY_LEDGER_ORIGIN")]
    origin: Option<String>,
    /// Postgres URL [database.url]
    #[arg(long, env = "TALLY_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Postgres URL of the role that reads, the other one by default [database.read_url]
    #[arg(long, env = "TALLY_DATABASE_READ_URL", value_name = "URL", hide_env_values = true)]
    database_read_url: Option<String>,
    #[command(flatten)]
    access: AccessSettings,
    /// Address and port to listen on, 127.0.0.1:8080 by default [ingest.listen]
    #[arg(long, env = "TALLY_INGEST_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// PKCS#8 PEM file with the receipt key [ingest.receipt_key]
    #[arg(long, env = "TALLY_INGEST_RECEIPT_KEY", value_name = "FILE")]
    receipt_key: Option<PathBuf>,
    /// The seal key's public part, shown to clients [ingest.seal_verifier_key]
    #[arg(long, env = "TALLY_INGEST_SEAL_VERIFIER_KEY", value_name = "KEY")]
    seal_verifier_key: Option<String>,
    /// Largest payload, 65536 by default, at most 1048576 [ingest.max_payload_bytes]
    #[arg(long, env = "TALLY_INGEST_MAX_PAYLOAD_BYTES", value_name = "BYTES")]
    max_payload_bytes: Option<usize>,
    /// Most events in a submission, 100 by default, at most 1000 [ingest.max_events]
    #[arg(long, env = "TALLY_INGEST_MAX_EVENTS", value_name = "N")]
    max_events: Option<usize>,
    /// Keys that a workspace may register, those that it has revoked too, 10000 by default
    /// [ingest.max_keys]
    #[arg(long, env = "TALLY_INGEST_MAX_KEYS", value_name = "N")]
    max_keys: Option<usize>,
    /// Transactions at once, 8 by default [ingest.shards]
    #[arg(long, env = "TALLY_INGEST_SHARDS", value_name = "N")]
    shards: Option<usize>,
    /// Submissions that may wait in each shard, 256 by default [ingest.queue]
    #[arg(long, env = "TALLY_INGEST_QUEUE", value_name = "N")]
    queue: Option<usize>,
    /// Memory for bodies, 256 by default [ingest.memory_mib]
    #[arg(long, env = "TALLY_INGEST_MEMORY_MIB", value_name = "MIB")]
    memory_mib: Option<usize>,
    /// Memory for answers, 64 by default [ingest.answer_memory_mib]
    #[arg(long, env = "TALLY_INGEST_ANSWER_MEMORY_MIB", value_name = "MIB")]
    answer_memory_mib: Option<usize>,
    /// Memory for what is known of closed days, 512 by default: 2 MiB for a million events
    /// [ingest.filter_mib]
    #[arg(long, env = "TALLY_INGEST_FILTER_MIB", value_name = "MIB")]
    filter_mib: Option<usize>,
    /// Archive that the database is compared with at start, file:///path [ingest.archive_url]
    #[arg(long, env = "TALLY_INGEST_ARCHIVE_URL", value_name = "URL")]
    archive_url: Option<String>,
    /// Database connections for reading, 8 by default [ingest.read_connections]
    #[arg(long, env = "TALLY_INGEST_READ_CONNECTIONS", value_name = "N")]
    read_connections: Option<u32>,
    #[command(flatten)]
    telemetry: telemetry::TelemetrySettings,
    #[command(flatten)]
    queue_settings: QueueSettings,
    #[command(flatten)]
    door: DoorSettings,
}

/// The settings on their own, to be asked which variables there are.
#[derive(Parser)]
struct Known {
    #[command(flatten)]
    _settings: Settings,
}

impl Settings {
    /// Refuses variables that look like ours and are not: a misspelt one would do nothing.
    pub fn check_variables(names: impl IntoIterator<Item = String>) -> Result<(), ConfigError> {
        let command = Known::command();
        let known: Vec<_> =
            command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
        let unknown = names.into_iter().find(|name| {
            name.starts_with(VARIABLES)
                && !name.starts_with(ARCHIVE_VARIABLES)
                && name != ADMIN_TOKEN_VARIABLE
                && !known.contains(&name.as_str())
        });
        unknown.map_or(Ok(()), |name| Err(ConfigError::UnknownVariable(name)))
    }

    /// Fills in what the file says where nothing overrides it.
    pub fn with_file(mut self) -> Result<Self, ConfigError> {
        let path = self.config.clone();
        let path = path.unwrap_or_else(|| PathBuf::from("tally.toml"));
        let File { ledger, database, ingest, telemetry, queue, archive: IgnoredAny } =
            match std::fs::read_to_string(&path) {
                Ok(text) => toml::from_str(&text)
                    .map_err(|source| ConfigError::Form { path, source: Box::new(source) })?,
                Err(error) if self.config.is_none() && error.kind() == io::ErrorKind::NotFound => {
                    File::default()
                }
                Err(source) => return Err(ConfigError::Read { path, source }),
            };
        self.origin = self.origin.or(ledger.origin);
        self.database_url = self.database_url.or(database.url);
        self.database_read_url = self.database_read_url.or(database.read_url);
        self.access.with_file(ingest.custodian_key, ingest.acts_workspace, &ingest.admin_tokens);
        self.listen = self.listen.or(ingest.listen);
        self.receipt_key = self.receipt_key.or(ingest.receipt_key);
        self.seal_verifier_key = self.seal_verifier_key.or(ingest.seal_verifier_key);
        self.max_payload_bytes = self.max_payload_bytes.or(ingest.max_payload_bytes);
        self.max_events = self.max_events.or(ingest.max_events);
        self.max_keys = self.max_keys.or(ingest.max_keys);
        self.shards = self.shards.or(ingest.shards);
        self.queue = self.queue.or(ingest.queue);
        self.memory_mib = self.memory_mib.or(ingest.memory_mib);
        self.answer_memory_mib = self.answer_memory_mib.or(ingest.answer_memory_mib);
        self.filter_mib = self.filter_mib.or(ingest.filter_mib);
        self.archive_url = self.archive_url.or(ingest.archive_url);
        self.read_connections = self.read_connections.or(ingest.read_connections);
        self.telemetry = self.telemetry.or(telemetry);
        self.queue_settings = self.queue_settings.or(queue);
        let IngestSection { allow_plain_http, tls, limits, secrets, .. } = ingest;
        self.door = self.door.or(DoorSettings { allow_plain_http, tls, limits, secrets });
        Ok(self)
    }

    /// The ledger's name.
    pub fn origin(&self) -> Result<Origin, ConfigError> {
        let origin = self.origin.as_deref().ok_or(ConfigError::Missing {
            key: "ledger.origin",
            variable: "TALLY_LEDGER_ORIGIN",
        })?;
        Ok(Origin::new(origin)?)
    }

    /// Where the database is. May hold a password.
    pub fn database_url(&self) -> Result<&str, ConfigError> {
        self.database_url
            .as_deref()
            .ok_or(ConfigError::Missing { key: "database.url", variable: "TALLY_DATABASE_URL" })
    }

    /// Checks all of it, and reads the receipt key.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let origin = self.origin()?;
        let receipt_key = self.receipt_key.as_deref().ok_or(ConfigError::Missing {
            key: "ingest.receipt_key",
            variable: "TALLY_INGEST_RECEIPT_KEY",
        })?;
        let key = keyfile::read(receipt_key)?;
        let custodian_key = self.access.custodian_key.as_deref().ok_or(ConfigError::Missing {
            key: "ingest.custodian_key",
            variable: "TALLY_INGEST_CUSTODIAN_KEY",
        })?;
        let custodian_key = keyfile::read(custodian_key)?;
        let mut config = Config::new(origin.clone(), self.database_url()?, key, custodian_key);
        config.database_read_url = self.database_read_url.clone();
        config.acts_workspace = self.access.acts_workspace()?;
        config.admin_tokens = self.access.admins()?;
        config.listen = self.listen.unwrap_or(LISTEN);
        config.seal_verifier_key = consumer::seal_key(self.seal_verifier_key.as_deref(), &origin)?;
        config.limits = self.limits()?;
        let positive = |key, value: Option<usize>, default| match value.unwrap_or(default) {
            found @ 1..=4_096 => Ok(found),
            found => Err(ConfigError::Bounds { key, found, bounds: "1 to 4096" }),
        };
        config.shards = positive("ingest.shards", self.shards, SHARDS)?;
        config.queue = positive("ingest.queue", self.queue, QUEUE)?;
        config.memory_kib = 1_024 * positive("ingest.memory_mib", self.memory_mib, MEMORY_MIB)?;
        if config.memory_kib * 1_024 < config.limits.max_body_bytes() {
            return Err(ConfigError::Bounds {
                key: "ingest.memory_mib",
                found: config.memory_kib / 1_024,
                bounds: "one body of max_events * max_payload_bytes must fit",
            });
        }
        let mib = self.answer_memory_mib;
        config.answer_memory_kib =
            1_024 * positive("ingest.answer_memory_mib", mib, ANSWER_MEMORY_MIB)?;
        let least = Room::least(read::page_bytes(&config.limits));
        if config.answer_memory_kib < least {
            return Err(ConfigError::Bounds {
                key: "ingest.answer_memory_mib",
                found: config.answer_memory_kib / 1_024,
                bounds: "a quarter of it is for one workspace, and has to hold a page of entries three \
                         times: 37 at least, 48 where max_payload_bytes is 1048576",
            });
        }
        config.max_keys = self.max_keys()?;
        config.filter_mib = self.filter_mib()?;
        self.check_archive()?;
        config.archive_url = self.archive_url;
        config.read_connections = self.read_connections.unwrap_or(READ_CONNECTIONS).max(1);
        config.door = self.door.into_config(config.listen, config.limits.max_events())?;
        config.telemetry = self.telemetry.into_config().map_err(ConfigError::Telemetry)?;
        config.broker = self.queue_settings.into_config()?;
        Ok(config)
    }
}

/// As `tally.toml` would say it, without secrets: what is set, and the defaults of what is not.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |f: &mut fmt::Formatter<'_>, key, value: Option<&str>| match value {
            Some(value) => writeln!(f, "{key} = {}", toml::Value::from(value)),
            None => writeln!(f, "# {key} is not set"),
        };
        let path = self.receipt_key.as_deref().map(Path::to_string_lossy);
        writeln!(f, "[ledger]")?;
        text(f, "origin", self.origin.as_deref())?;
        writeln!(f, "\n[database]")?;
        text(f, "url", self.database_url.as_deref().map(masked).as_deref())?;
        text(f, "read_url", self.database_read_url.as_deref().map(masked).as_deref())?;
        writeln!(f, "\n[ingest]")?;
        let listen = self.listen.unwrap_or(LISTEN).to_string();
        text(f, "listen", Some(&listen))?;
        text(f, "receipt_key", path.as_deref())?;
        text(f, "seal_verifier_key", self.seal_verifier_key.as_deref())?;
        text(f, "archive_url", self.archive_url.as_deref())?;
        write!(f, "{}", self.access)?;
        for (key, value, default) in [
            ("max_payload_bytes", self.max_payload_bytes, PAYLOAD_BYTES_DEFAULT),
            ("max_events", self.max_events, SUBMISSION_EVENTS_DEFAULT),
            ("max_keys", self.max_keys, MAX_KEYS),
            ("shards", self.shards, SHARDS),
            ("queue", self.queue, QUEUE),
            ("memory_mib", self.memory_mib, MEMORY_MIB),
            ("answer_memory_mib", self.answer_memory_mib, ANSWER_MEMORY_MIB),
            ("filter_mib", self.filter_mib, FILTER_MIB),
        ] {
            writeln!(f, "{key} = {}", value.unwrap_or(default))?;
        }
        let connections = self.read_connections.unwrap_or(READ_CONNECTIONS);
        writeln!(f, "read_connections = {connections}")?;
        write!(f, "{}", self.door)?;
        write!(f, "\n{}", self.queue_settings)?;
        write!(f, "\n{}", self.telemetry)
    }
}

/// The settings, complete and checked. Holds secrets, so it is never printed.
#[derive(Clone)]
pub struct Config {
    /// The ledger's name.
    pub origin: Origin,
    /// Where the database is. May hold a password.
    pub database_url: String,
    /// The same database as the role that reads; the other URL where it is not given.
    pub database_read_url: Option<String>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Signs receipts and heads.
    pub receipt_key: SigningKey,
    /// Signs for clients that only share a secret, and what the ledger records of its own acts.
    pub custodian_key: SigningKey,
    /// The workspace of the ledger's own acts.
    pub acts_workspace: Workspace,
    /// Who administers.
    pub admin_tokens: AdminTokens,
    /// The seal key's public part, shown to clients.
    pub seal_verifier_key: Option<VerifierKey>,
    /// What a submission may have.
    pub limits: Limits,
    /// Transactions at once.
    pub shards: usize,
    /// Submissions that may wait in each shard.
    pub queue: usize,
    /// Memory for bodies that are read, checked or waiting, in KiB.
    pub memory_kib: usize,
    /// Memory for answers that are made or sent, in KiB.
    pub answer_memory_kib: usize,
    /// Keys that a workspace may register, revoked ones too.
    pub max_keys: usize,
    /// Memory for what is known of closed days, in MiB.
    pub filter_mib: usize,
    /// Archive that the database is compared with at start; needs the seal key's public part.
    pub archive_url: Option<String>,
    /// Database connections for reading.
    pub read_connections: u32,
    /// Logs, traces, and where metrics are shown.
    pub telemetry: telemetry::Config,
    /// The queue between API and chain; none where submissions are recorded at once.
    pub broker: Option<QueueConfig>,
    /// TLS, limits and secrets.
    pub door: DoorConfig,
}

impl Config {
    /// The defaults, on a free port of this machine.
    pub fn new(
        origin: Origin,
        database_url: &str,
        receipt_key: SigningKey,
        custodian_key: SigningKey,
    ) -> Self {
        Self {
            origin,
            database_url: database_url.to_owned(),
            database_read_url: None,
            listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
            receipt_key,
            custodian_key,
            acts_workspace: settings::acts_workspace(),
            admin_tokens: AdminTokens::default(),
            seal_verifier_key: None,
            limits: Limits::default(),
            shards: SHARDS,
            queue: QUEUE,
            memory_kib: 1_024 * MEMORY_MIB,
            answer_memory_kib: 1_024 * ANSWER_MEMORY_MIB,
            max_keys: MAX_KEYS,
            filter_mib: FILTER_MIB,
            archive_url: None,
            read_connections: READ_CONNECTIONS,
            telemetry: telemetry::Config::default(),
            broker: None,
            door: DoorConfig::default(),
        }
    }
}

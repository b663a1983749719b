//! The archiver's settings: `tally.toml`, then `TALLY_…` variables, then flags.
//!
//! Each place overrides the one before, setting by setting. No setting tells another time.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use ledger::names::{NameError, Origin};
use ledger::note::NoteSigner;
use serde::Deserialize;
use serde::de::IgnoredAny;
use verifier::store::S3Settings;

use crate::chunk::Limits;
use crate::keyfile::{self, KeyFileError, Passphrase};

/// How long an hour stays open after its end, unless the settings say otherwise, in seconds.
const GRACE_SECONDS: u64 = 60;

const MIB: u64 = 1 << 20;

/// Memory of a rollup unless the settings say otherwise, and the least that it works with, in MiB.
const ROLLUP_MEMORY_MIB: u64 = 256;
const ROLLUP_MEMORY_LEAST_MIB: u64 = 32;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("reading `{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// The file is not TOML, or has a key that is unknown.
    #[error("`{}`: {error}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: Box<toml::de::Error>,
    },
    /// A variable of ours that names no setting.
    #[error("variable {0} names no setting; `tally-archiver --help` lists those there are")]
    UnknownVariable(String),
    /// A setting is nowhere to be found.
    #[error("`{key}` is not set: set it in tally.toml, as {variable}, or by its flag")]
    Missing {
        /// Its key in the file.
        key: &'static str,
        /// Its variable.
        variable: &'static str,
    },
    /// A chunk would not be fit for one PUT, or hold nothing.
    #[error(
        "`archive.chunk_rows` = {rows} and `archive.chunk_mib` = {mib}: both must be at least 1, and \
         256 bytes a row and twice the payload must come to less than 256 MiB: lower one of them"
    )]
    Chunk {
        /// Rows.
        rows: u64,
        /// Payload, in MiB.
        mib: u64,
    },
    /// A rollup would not get far.
    #[error("`archive.rollup_memory_mib` = {mib}: it must be at least {ROLLUP_MEMORY_LEAST_MIB}")]
    RollupMemory {
        /// In MiB.
        mib: u64,
    },
    /// The origin is no origin.
    #[error("`ledger.origin`: {0}")]
    Origin(#[from] NameError),
    /// The seal key, or its passphrase.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The passphrase is set twice.
    #[error("`archive.seal_key_passphrase_file` and {PASSPHRASE} are both set: which one counts?")]
    TwoPassphrases,
}

/// `tally.toml`, as far as the archiver is concerned.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    ledger: LedgerSection,
    database: DatabaseSection,
    archive: ArchiveSection,
    /// `tally-ingest` reads the same file, and checks its own sections.
    ingest: IgnoredAny,
    queue: IgnoredAny,
    telemetry: TelemetrySection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TelemetrySection {
    log_format: Option<LogFormat>,
    /// Of `tally-ingest`.
    metrics_listen: IgnoredAny,
    otlp_endpoint: IgnoredAny,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
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
    /// Of `tally-ingest`.
    #[serde(default)]
    read_url: IgnoredAny,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveSection {
    url: Option<String>,
    seal_key: Option<PathBuf>,
    seal_key_passphrase_file: Option<PathBuf>,
    grace_seconds: Option<u64>,
    chunk_rows: Option<u64>,
    chunk_mib: Option<u64>,
    retention_policy: Option<PathBuf>,
    rollup_dir: Option<PathBuf>,
    rollup_memory_mib: Option<u64>,
    #[serde(default)]
    s3: S3Settings,
}

/// Where settings come from: the file, and what overrides it.
#[derive(Debug, Args)]
pub struct Settings {
    /// Settings file; `tally.toml` is read where it is there and no other is named
    #[arg(long, env = "TALLY_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Name of the ledger [ledger.origin]
    #[arg(long, env = "TALLY_LEDGER_ORIGIN", global = true)]
    origin: Option<String>,
    /// Postgres URL [database.url]
    #[arg(
        long,
        env = "TALLY_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        global = true
    )]
    database_url: Option<String>,
    /// Archive: a directory, file:///path, or s3://bucket/prefix [archive.url]
    #[arg(long, env = "TALLY_ARCHIVE_URL", value_name = "URL", global = true)]
    archive_url: Option<String>,
    /// PKCS#8 PEM file with the seal key [archive.seal_key]
    #[arg(long, env = "TALLY_ARCHIVE_SEAL_KEY", value_name = "FILE", global = true)]
    seal_key: Option<PathBuf>,
    /// File with the passphrase of the seal key; the variable TALLY_ARCHIVE_SEAL_KEY_PASSPHRASE may
    /// hold it instead [archive.seal_key_passphrase_file]
    #[arg(
        long,
        env = "TALLY_ARCHIVE_SEAL_KEY_PASSPHRASE_FILE",
        value_name = "FILE",
        global = true
    )]
    seal_key_passphrase_file: Option<PathBuf>,
    /// How long an hour stays open after its end [archive.grace_seconds]
    #[arg(long, env = "TALLY_ARCHIVE_GRACE_SECONDS", value_name = "SECONDS", global = true)]
    grace_seconds: Option<u64>,
    /// Most rows of a chunk [archive.chunk_rows]
    #[arg(long, env = "TALLY_ARCHIVE_CHUNK_ROWS", value_name = "ROWS", global = true)]
    chunk_rows: Option<u64>,
    /// Most payload of a chunk [archive.chunk_mib]
    #[arg(long, env = "TALLY_ARCHIVE_CHUNK_MIB", value_name = "MIB", global = true)]
    chunk_mib: Option<u64>,
    /// TOML file that says how long records are kept; for ever where it is not set
    /// [archive.retention_policy]
    #[arg(long, env = "TALLY_ARCHIVE_RETENTION_POLICY", value_name = "FILE", global = true)]
    retention_policy: Option<PathBuf>,
    /// Directory of this archiver's own where `rollup` keeps what it has read of the archive, so that the
    /// next run need not read it again; a temporary one where it is not set [archive.rollup_dir]
    #[arg(long, env = "TALLY_ARCHIVE_ROLLUP_DIR", value_name = "DIR", global = true)]
    rollup_dir: Option<PathBuf>,
    /// Most memory of intermediate results of `rollup`: what is above goes to disk
    /// [archive.rollup_memory_mib]
    #[arg(long, env = "TALLY_ARCHIVE_ROLLUP_MEMORY_MIB", value_name = "MIB", global = true)]
    rollup_memory_mib: Option<u64>,
    /// How the log lines of `run` look, text by default [telemetry.log_format]
    #[arg(long, env = "TALLY_TELEMETRY_LOG_FORMAT", value_name = "FORMAT", global = true)]
    log_format: Option<LogFormat>,
    #[command(flatten)]
    s3: S3Settings,
}

/// The settings, complete.
#[derive(Clone)]
pub struct Config {
    /// The ledger.
    pub origin: Origin,
    /// The ledger's database. May hold a password.
    pub database_url: String,
    /// The archive.
    pub archive_url: String,
    /// How its object store is reached, where it is in one.
    pub s3: S3Settings,
    /// The file with the seal key.
    pub seal_key: PathBuf,
    /// The file with its passphrase.
    pub seal_key_passphrase_file: Option<PathBuf>,
    /// How long an hour stays open after its end.
    pub grace: Duration,
    /// How much goes into a chunk.
    pub limits: Limits,
    /// The file that says how long records are kept; for ever where there is none.
    pub retention_policy: Option<PathBuf>,
    /// Where what rollups read is kept from run to run.
    pub rollup_dir: Option<PathBuf>,
    /// Most bytes of intermediate results of a rollup.
    pub rollup_memory: u64,
    /// How log lines look.
    pub log_format: LogFormat,
}

fn missing(key: &'static str, variable: &'static str) -> ConfigError {
    ConfigError::Missing { key, variable }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })
}

/// What the names of the variables of our own section start with.
const VARIABLES: &str = "TALLY_ARCHIVE_";

/// Holds the passphrase of the seal key, and is no flag: those are shown to everyone on the machine.
const PASSPHRASE: &str = "TALLY_ARCHIVE_SEAL_KEY_PASSPHRASE";

impl Settings {
    /// Refuses variables that look like ours and are not: a misspelt one would do nothing.
    pub fn check_variables(names: impl IntoIterator<Item = String>) -> Result<(), ConfigError> {
        let command = Self::augment_args(clap::Command::new(""));
        let known: Vec<_> =
            command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
        let unknown = names
            .into_iter()
            .filter(|name| name.starts_with(VARIABLES) && name != PASSPHRASE)
            .find(|name| !known.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| Err(ConfigError::UnknownVariable(name)))
    }

    fn file(&self) -> Result<File, ConfigError> {
        let path = self.config.clone().unwrap_or_else(|| PathBuf::from("tally.toml"));
        match read(&path) {
            Err(ConfigError::Read { error, .. })
                if self.config.is_none() && error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(File::default())
            }
            text => toml::from_str(&text?)
                .map_err(|error| ConfigError::Form { path, error: Box::new(error) }),
        }
    }

    /// The ledger's name, without which no other setting is asked for.
    pub fn origin(self) -> Result<Origin, ConfigError> {
        let origin = match self.origin {
            Some(origin) => Some(origin),
            None => self.file()?.ledger.origin,
        };
        Ok(Origin::new(&origin.ok_or(missing("ledger.origin", "TALLY_LEDGER_ORIGIN"))?)?)
    }

    /// Puts the settings together.
    pub fn load(self) -> Result<Config, ConfigError> {
        let file = self.file()?;
        let origin = self.origin.or(file.ledger.origin);
        let origin = origin.ok_or(missing("ledger.origin", "TALLY_LEDGER_ORIGIN"))?;
        let DatabaseSection { url, read_url: IgnoredAny } = file.database;
        let database_url = self.database_url.or(url);
        let archive_url = self.archive_url.or(file.archive.url);
        let seal_key = self.seal_key.or(file.archive.seal_key);
        let passphrase_file = self.seal_key_passphrase_file;
        let passphrase_file = passphrase_file.or(file.archive.seal_key_passphrase_file);
        let grace = self.grace_seconds.or(file.archive.grace_seconds);
        let rows = self.chunk_rows.or(file.archive.chunk_rows);
        let mib = self.chunk_mib.or(file.archive.chunk_mib);
        Ok(Config {
            limits: limits(rows, mib)?,
            retention_policy: self.retention_policy.or(file.archive.retention_policy),
            rollup_dir: self.rollup_dir.or(file.archive.rollup_dir),
            rollup_memory: rollup_memory(
                self.rollup_memory_mib.or(file.archive.rollup_memory_mib),
            )?,
            log_format: self.log_format.or(file.telemetry.log_format).unwrap_or_default(),
            origin: Origin::new(&origin)?,
            database_url: database_url.ok_or(missing("database.url", "TALLY_DATABASE_URL"))?,
            archive_url: archive_url.ok_or(missing("archive.url", "TALLY_ARCHIVE_URL"))?,
            s3: self.s3.or(file.archive.s3),
            seal_key: seal_key.ok_or(missing("archive.seal_key", "TALLY_ARCHIVE_SEAL_KEY"))?,
            seal_key_passphrase_file: passphrase_file,
            grace: Duration::from_secs(grace.unwrap_or(GRACE_SECONDS)),
        })
    }
}

fn rollup_memory(mib: Option<u64>) -> Result<u64, ConfigError> {
    let mib = mib.unwrap_or(ROLLUP_MEMORY_MIB);
    if mib < ROLLUP_MEMORY_LEAST_MIB {
        return Err(ConfigError::RollupMemory { mib });
    }
    Ok(mib.saturating_mul(MIB))
}

/// The limits of a chunk, by the settings.
fn limits(rows: Option<u64>, mib: Option<u64>) -> Result<Limits, ConfigError> {
    let Limits { rows: usual, payload_bytes } = Limits::DEFAULT;
    let (rows, mib) = (rows.unwrap_or(usual), mib.unwrap_or(payload_bytes / MIB));
    let limits = Limits { rows, payload_bytes: mib.saturating_mul(MIB) };
    if rows == 0 || mib == 0 || limits.object_bytes() >= Limits::OBJECT_BYTES {
        return Err(ConfigError::Chunk { rows, mib });
    }
    Ok(limits)
}

impl Config {
    /// Reads the seal key.
    pub fn signer(&self) -> Result<NoteSigner, ConfigError> {
        let key = keyfile::read(&self.seal_key, self.passphrase()?.as_ref())?;
        Ok(NoteSigner::seal(&self.origin, key))
    }

    fn passphrase(&self) -> Result<Option<Passphrase>, ConfigError> {
        match (&self.seal_key_passphrase_file, std::env::var(PASSPHRASE)) {
            (Some(_), Ok(_)) => Err(ConfigError::TwoPassphrases),
            (Some(path), Err(_)) => Ok(Some(Passphrase::read(path)?)),
            (None, Ok(text)) => Ok(Some(Passphrase::new(text)?)),
            (None, Err(_)) => Ok(None),
        }
    }
}

/// As `tally.toml` would say it, without secrets.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[ledger]\norigin = {:?}\n", self.origin.as_str())?;
        writeln!(f, "[database]\nurl = {:?}\n", masked(&self.database_url))?;
        writeln!(f, "[archive]\nurl = {:?}", self.archive_url)?;
        writeln!(f, "seal_key = {:?}", self.seal_key)?;
        if let Some(path) = &self.seal_key_passphrase_file {
            writeln!(f, "seal_key_passphrase_file = {path:?}")?;
        }
        writeln!(f, "grace_seconds = {}", self.grace.as_secs())?;
        writeln!(f, "chunk_rows = {}", self.limits.rows)?;
        writeln!(f, "chunk_mib = {}", self.limits.payload_bytes / MIB)?;
        if let Some(path) = &self.retention_policy {
            writeln!(f, "retention_policy = {path:?}")?;
        }
        if let Some(path) = &self.rollup_dir {
            writeln!(f, "rollup_dir = {path:?}")?;
        }
        writeln!(f, "rollup_memory_mib = {}", self.rollup_memory / MIB)?;
        if self.s3 == S3Settings::default() {
            return Ok(());
        }
        writeln!(f, "\n[archive.s3]")?;
        let S3Settings { endpoint, region, path_style, allow_http } = &self.s3;
        if let Some(endpoint) = endpoint {
            writeln!(f, "endpoint = {:?}", masked(endpoint))?;
        }
        if let Some(region) = region {
            writeln!(f, "region = {region:?}")?;
        }
        for (key, set) in [("path_style", path_style), ("allow_http", allow_http)] {
            if let Some(set) = set {
                writeln!(f, "{key} = {set}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A URL without what may be secret: the password, and the parameters, where one may stand too.
fn masked(url: &str) -> String {
    let (address, parameters) = match url.split_once('?') {
        Some((address, _)) => (address, "?****"),
        None => (url, ""),
    };
    let Some((scheme, rest)) = address.split_once("://") else { return "****".to_owned() };
    let rest = match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{user}:****@{host}")
        }
        None => rest.to_owned(),
    };
    format!("{scheme}://{rest}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_ever_shown() {
        for (url, shown) in [
            ("postgres://tally:geheim@db:5432/ledger", "postgres://tally:****@db:5432/ledger"),
            ("postgres://tally:ge@heim@db/ledger", "postgres://tally:****@db/ledger"),
            ("postgres://db/ledger?password=geheim", "postgres://db/ledger?****"),
            ("postgres://db/ledger", "postgres://db/ledger"),
            ("password=geheim host=db", "****"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn a_misspelt_variable_or_key_is_refused() {
        let check = |name: &str| Settings::check_variables([name.to_owned()]);
        assert!(check("TALLY_ARCHIVE_URL").is_ok());
        assert!(check("TALLY_INGEST_LISTEN").is_ok());
        assert!(matches!(
            check("TALLY_ARCHIVE_GRACE"),
            Err(ConfigError::UnknownVariable(name)) if name == "TALLY_ARCHIVE_GRACE"
        ));
        assert!(toml::from_str::<File>("[archive]\nurl = \"/a\"\n[ingest]\nx = 1").is_ok());
        assert!(check("TALLY_ARCHIVE_S3_ENDPOINT").is_ok());
        assert!(check("TALLY_ARCHIVE_S3_SECRET").is_err());
        assert!(toml::from_str::<File>("[archive]\nuri = \"/a\"").is_err());
        assert!(toml::from_str::<File>("[archive.s3]\nendpont = \"/a\"").is_err());
        assert!(toml::from_str::<File>("[arhcive]").is_err());
    }

    #[test]
    fn a_chunk_fits_one_put() {
        assert!(limits(None, None).is_ok_and(|limits| limits == Limits::DEFAULT));
        assert!(limits(Some(1), Some(1)).is_ok());
        for (rows, mib) in [(0, 1), (1, 0), (1, 512), (4 << 20, 1), (u64::MAX, u64::MAX)] {
            assert!(limits(Some(rows), Some(mib)).is_err(), "{rows} {mib}");
        }
    }

    #[test]
    fn the_example_is_one_for_the_archiver_too() {
        let example = include_str!("../../docs/operating/tally.example.toml");
        let read = toml::from_str::<File>(example);
        assert!(read.is_ok(), "{read:?}");
        // And with what it shows commented out.
        let shown = example.replace("\n# [archive.s3]", "\n[archive.s3]");
        let shown = shown.replace("\n# endpoint =", "\nendpoint =");
        let shown = shown.replace("\n# [queue]", "\n[queue]").replace("\n# kind =", "\nkind =");
        assert!(shown.contains("[queue]\nkind ="), "{shown}");
        let file = toml::from_str::<File>(&shown).unwrap_or_default();
        assert!(file.archive.s3.endpoint.is_some());
    }
}

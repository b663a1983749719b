//! The archiver's settings: `tally.toml`, then `TALLY_…` variables, then flags.
//!
//! Each place overrides the one before, setting by setting. No setting tells another time.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ledger::key::{KeyError, SigningKey};
use ledger::names::{NameError, Origin};
use ledger::note::NoteSigner;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

/// How long an hour stays open after its end, unless the settings say otherwise, in seconds.
const GRACE_SECONDS: u64 = 60;

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
    /// The origin is no origin.
    #[error("`ledger.origin`: {0}")]
    Origin(#[from] NameError),
    /// Others may read the key.
    #[error("`{}` can be read by others (mode {mode:o}): chmod 600 it", path.display())]
    Mode {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no key.
    #[error("`{}`: {error}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
}

/// `tally.toml`, as far as the archiver is concerned.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    ledger: LedgerSection,
    database: DatabaseSection,
    archive: ArchiveSection,
    /// `tally-ingest` reads the same file, and checks its own section.
    ingest: IgnoredAny,
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
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveSection {
    url: Option<String>,
    seal_key: Option<PathBuf>,
    grace_seconds: Option<u64>,
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
    /// Archive: file:///path or a directory [archive.url]
    #[arg(long, env = "TALLY_ARCHIVE_URL", value_name = "URL", global = true)]
    archive_url: Option<String>,
    /// PKCS#8 PEM file with the seal key [archive.seal_key]
    #[arg(long, env = "TALLY_ARCHIVE_SEAL_KEY", value_name = "FILE", global = true)]
    seal_key: Option<PathBuf>,
    /// How long an hour stays open after its end [archive.grace_seconds]
    #[arg(long, env = "TALLY_ARCHIVE_GRACE_SECONDS", value_name = "SECONDS", global = true)]
    grace_seconds: Option<u64>,
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
    /// The file with the seal key.
    pub seal_key: PathBuf,
    /// How long an hour stays open after its end.
    pub grace: Duration,
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })
}

/// What the names of the variables of our own section start with.
const VARIABLES: &str = "TALLY_ARCHIVE_";

impl Settings {
    /// Refuses variables that look like ours and are not: a misspelt one would do nothing.
    pub fn check_variables(names: impl IntoIterator<Item = String>) -> Result<(), ConfigError> {
        let command = Self::augment_args(clap::Command::new(""));
        let known: Vec<_> =
            command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
        let unknown = names
            .into_iter()
            .find(|name| name.starts_with(VARIABLES) && !known.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| Err(ConfigError::UnknownVariable(name)))
    }

    /// Puts the settings together.
    pub fn load(self) -> Result<Config, ConfigError> {
        let path = self.config.clone().unwrap_or_else(|| PathBuf::from("tally.toml"));
        let file = match read(&path) {
            Err(ConfigError::Read { error, .. })
                if self.config.is_none() && error.kind() == io::ErrorKind::NotFound =>
            {
                File::default()
            }
            text => toml::from_str(&text?)
                .map_err(|error| ConfigError::Form { path, error: Box::new(error) })?,
        };
        let missing = |key, variable| ConfigError::Missing { key, variable };
        let origin = self.origin.or(file.ledger.origin);
        let origin = origin.ok_or(missing("ledger.origin", "TALLY_LEDGER_ORIGIN"))?;
        let database_url = self.database_url.or(file.database.url);
        let archive_url = self.archive_url.or(file.archive.url);
        let seal_key = self.seal_key.or(file.archive.seal_key);
        let grace = self.grace_seconds.or(file.archive.grace_seconds);
        Ok(Config {
            origin: Origin::new(&origin)?,
            database_url: database_url.ok_or(missing("database.url", "TALLY_DATABASE_URL"))?,
            archive_url: archive_url.ok_or(missing("archive.url", "TALLY_ARCHIVE_URL"))?,
            seal_key: seal_key.ok_or(missing("archive.seal_key", "TALLY_ARCHIVE_SEAL_KEY"))?,
            grace: Duration::from_secs(grace.unwrap_or(GRACE_SECONDS)),
        })
    }
}

impl Config {
    /// Reads the seal key.
    pub fn signer(&self) -> Result<NoteSigner, ConfigError> {
        let path = || self.seal_key.clone();
        let metadata = fs::metadata(&self.seal_key)
            .map_err(|error| ConfigError::Read { path: path(), error })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(ConfigError::Mode { path: path(), mode });
        }
        let pem = Zeroizing::new(read(&self.seal_key)?);
        let key =
            SigningKey::from_pem(&pem).map_err(|error| ConfigError::Key { path: path(), error })?;
        Ok(NoteSigner::seal(&self.origin, key))
    }
}

/// As `tally.toml` would say it, without secrets.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[ledger]\norigin = {:?}\n", self.origin.as_str())?;
        writeln!(f, "[database]\nurl = {:?}\n", masked(&self.database_url))?;
        writeln!(f, "[archive]\nurl = {:?}", self.archive_url)?;
        writeln!(f, "seal_key = {:?}", self.seal_key)?;
        writeln!(f, "grace_seconds = {}", self.grace.as_secs())
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
        assert!(toml::from_str::<File>("[archive]\nuri = \"/a\"").is_err());
        assert!(toml::from_str::<File>("[arhcive]").is_err());
    }
}

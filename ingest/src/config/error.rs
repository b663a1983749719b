//! Why settings cannot be used.

use std::io;
use std::path::PathBuf;

use ledger::names::{NameError, Origin};
use ledger::note::VerifierKeyError;

use crate::access::settings::AccessError;
use crate::http::door::DoorError;
use crate::keyfile::KeyFileError;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("settings file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not TOML, or has a key that is unknown.
    #[error("settings file {path}: {source}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// A variable of ours that names no setting.
    #[error("variable {0} names no setting; `tally-ingest serve --help` lists those there are")]
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
    /// The seal key's public part is no verifier key, or that of another ledger.
    #[error("`ingest.seal_verifier_key`: {0}")]
    SealKey(#[from] VerifierKeyError),
    /// The seal key's public part belongs to another ledger.
    #[error("`ingest.seal_verifier_key` is named `{found}`, this ledger is `{origin}`")]
    SealKeyName {
        /// Its name.
        found: String,
        /// This ledger.
        origin: Origin,
    },
    /// A number that is out of its bounds.
    #[error("`{key}` is {found}: {bounds}")]
    Bounds {
        /// Its key in the file.
        key: &'static str,
        /// What it is.
        found: usize,
        /// What it may be.
        bounds: &'static str,
    },
    /// The receipt key, or the custodian key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// Administrators, or the ledger's own workspace.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// TLS, limits or secrets.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// Topics that cannot go together.
    #[error("{0}")]
    Queue(&'static str),
    /// A topic or a group that Kafka has no such name for.
    #[error("`{key}` is {name:?}: letters, digits, `.`, `_` and `-` are expected, 249 at most")]
    QueueName {
        /// Its key in the file.
        key: &'static str,
        /// What it is.
        name: String,
    },
    /// A property that is not an operator's to set.
    #[error("`queue.options` sets {0:?}: the ledger sets that itself, its promises stand on it")]
    QueueOption(&'static str),
    /// Where spans are to be sent.
    #[error("`telemetry.otlp_endpoint`: {0}")]
    Telemetry(&'static str),
}

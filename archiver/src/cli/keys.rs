//! Commands about the seal key: making one, letting another follow, revoking a stolen one.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ledger::note::{NoteSigner, VerifierKey, VerifierKeyError};
use serde_json::{Value, json};

use crate::config::{Config, ConfigError, Settings};
use crate::keyfile::{self, Passphrase};
use crate::rotate::{Change, Changed};

#[derive(Clone, Debug, Args)]
pub(super) struct KeygenArguments {
    /// The key file to make
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// File with the passphrase to encrypt it with
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RotateArguments {
    /// PKCS#8 PEM file with the key that takes over
    #[arg(long, value_name = "FILE")]
    new_key: PathBuf,
    /// File with the passphrase of that key
    #[arg(long, value_name = "FILE")]
    new_key_passphrase_file: Option<PathBuf>,
    /// Why, in words: it stands in the log
    #[arg(long)]
    reason: String,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RevokeArguments {
    /// The stolen key, as a trust file writes it
    #[arg(value_parser = boxed)]
    key: Box<VerifierKey>,
    /// Why, in words: it stands in the log
    #[arg(long)]
    reason: String,
}

fn boxed(text: &str) -> Result<Box<VerifierKey>, VerifierKeyError> {
    text.parse().map(Box::new)
}

/// Makes a key, and says what it is called.
pub(super) fn keygen(
    arguments: &KeygenArguments,
    settings: Settings,
) -> Result<VerifierKey, ConfigError> {
    let origin = settings.origin()?;
    let passphrase = arguments.passphrase_file.as_deref().map(Passphrase::read).transpose()?;
    let key = keyfile::create(&arguments.out, passphrase.as_ref())?;
    Ok(VerifierKey::seal(&origin, key.public()))
}

impl RotateArguments {
    pub(super) fn change(self, config: &Config) -> Result<(Change, String), ConfigError> {
        let passphrase = self.new_key_passphrase_file.as_deref().map(Passphrase::read);
        let key = keyfile::read(&self.new_key, passphrase.transpose()?.as_ref())?;
        let to = Arc::new(NoteSigner::seal(&config.origin, key));
        Ok((Change::Succeed { to }, self.reason))
    }
}

impl RevokeArguments {
    pub(super) fn change(self) -> (Change, String) {
        (Change::Revoke { key: self.key }, self.reason)
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.published {
            writeln!(f, "nothing to change: the log says so already")?;
        }
        writeln!(f, "in force    {}", self.in_force)?;
        if let Some((key, cutoff)) = &self.before {
            writeln!(f, "before it   {key}\nits end     {cutoff}")?;
        }
        writeln!(
            f,
            "Set archive.seal_key to the file of the key in force, and ingest.seal_verifier_key to \
             what stands above; tell auditors of it in a way that the archive has no part in.\n\
             the log has {} leaves",
            self.log_size
        )
    }
}

pub(super) fn json(changed: &Changed) -> Value {
    let before = changed.before.as_ref().map(|(key, cutoff)| {
        json!({ "key": key.to_string(), "size": cutoff.size, "root": cutoff.root.to_string() })
    });
    json!({
        "published": changed.published,
        "in_force": changed.in_force.to_string(),
        "before": before,
        "log_size": changed.log_size,
    })
}

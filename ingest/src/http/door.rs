//! The settings of the edge: TLS, limits, shared secrets.
//!
//! Here: `[ingest.tls]`, `[ingest.limits]`, `[ingest.secrets]` and `ingest.allow_plain_http`
//! together, as they are written ([`DoorSettings`]) and checked ([`DoorConfig`]). Not here: where
//! settings come from (see [`crate::config`]).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::limits::{EdgeLimits, LimitError, LimitSettings};
use super::tls::{TlsError, TlsFiles, TlsSettings};
use crate::accept::secrets::{SecretError, SecretSettings, Secrets};

/// As they are written.
#[derive(Clone, Debug, Default, Args)]
pub struct DoorSettings {
    /// Serve plain HTTP on an address that others can reach too, as behind a proxy that speaks TLS
    /// [ingest.allow_plain_http]
    #[arg(long, env = "TALLY_INGEST_ALLOW_PLAIN_HTTP", value_name = "BOOL")]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    pub allow_plain_http: Option<bool>,
    /// `[ingest.tls]`.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// `[ingest.limits]`.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// `[ingest.secrets.NAME]`, in the file alone.
    #[arg(skip)]
    pub secrets: BTreeMap<String, SecretSettings>,
}

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// Plain HTTP where others could read what is sent, and change it.
    #[error(
        "{0} can be reached from elsewhere, and plain HTTP protects nothing: set `ingest.tls`, or \
         `ingest.allow_plain_http = true` behind a proxy that speaks TLS"
    )]
    PlainHttp(SocketAddr),
    /// Certificate and key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Checked and read.
#[derive(Clone, Debug, Default)]
pub struct DoorConfig {
    /// By which certificate; plain HTTP where there is none.
    pub tls: Option<TlsFiles>,
    /// Within which limits.
    pub limits: EdgeLimits,
    /// Who may submit at `POST /ingest`.
    pub secrets: Arc<Secrets>,
}

impl DoorSettings {
    /// Fills in what the file says where nothing overrides it.
    pub fn or(self, file: Self) -> Self {
        let secrets = if self.secrets.is_empty() { file.secrets } else { self.secrets };
        Self {
            allow_plain_http: self.allow_plain_http.or(file.allow_plain_http),
            tls: self.tls.or(file.tls),
            limits: self.limits.or(file.limits),
            secrets,
        }
    }

    /// Checks all of it, and reads the secrets.
    pub fn into_config(
        self,
        listen: SocketAddr,
        max_events: usize,
    ) -> Result<DoorConfig, DoorError> {
        let tls = self.tls.files()?;
        let may_be_plain = listen.ip().is_loopback() || self.allow_plain_http.unwrap_or_default();
        if tls.is_none() && !may_be_plain {
            return Err(DoorError::PlainHttp(listen));
        }
        let limits = self.limits.check(max_events)?;
        let secrets = Arc::new(Secrets::read(&self.secrets)?);
        Ok(DoorConfig { tls, limits, secrets })
    }
}

/// As `tally.toml` would say it, from within its section `[ingest]` on.
impl fmt::Display for DoorSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |path: &Path| toml::Value::from(&*path.to_string_lossy()).to_string();
        writeln!(f, "allow_plain_http = {}", self.allow_plain_http.unwrap_or_default())?;
        writeln!(f, "\n[ingest.tls]")?;
        for (key, path) in [("certificate", &self.tls.certificate), ("key", &self.tls.key)] {
            match path {
                Some(path) => writeln!(f, "{key} = {}", quoted(path))?,
                None => writeln!(f, "# {key}: none, plain HTTP")?,
            }
        }
        write!(f, "{}", self.limits)?;
        for (name, SecretSettings { files, workspaces }) in &self.secrets {
            let files: Vec<String> = files.iter().map(|path| quoted(path)).collect();
            let names = workspaces.iter().map(|name| toml::Value::from(&**name).to_string());
            let name = toml::Value::from(&**name);
            writeln!(f, "\n[ingest.secrets.{name}]\nfiles = [{}]", files.join(", "))?;
            writeln!(f, "workspaces = [{}]", names.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

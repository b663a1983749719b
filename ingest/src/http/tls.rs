//! TLS for HTTP: certificate and key, read again on SIGHUP.
//!
//! Here: TLS 1.2 and 1.3 by rustls. Not here: TLS to Postgres (a parameter of its URL), and the
//! handshake's time limit (see [`super::listen`]).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use clap::Args;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::version::{TLS12, TLS13};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// No certificate or key file is larger, in bytes: a longer one is something else.
const PEM_BYTES: u64 = 256 * 1024;

/// `[ingest.tls]`.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file with the service's certificate, and those between it and the root
    /// [ingest.tls.certificate]
    #[arg(long = "tls-certificate", env = "TALLY_INGEST_TLS_CERTIFICATE", value_name = "FILE")]
    #[arg(id = "tls_certificate")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key [ingest.tls.key]
    #[arg(long = "tls-key", env = "TALLY_INGEST_TLS_KEY", value_name = "FILE", id = "tls_key")]
    pub key: Option<PathBuf>,
}

/// The two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// One of the two without the other.
    #[error("`ingest.tls` needs both `certificate` and `key`, or neither")]
    Half,
    /// A file that cannot be read.
    #[error("TLS file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than the owner may read the key.
    #[error("TLS key {path} has mode {mode:03o}: others can read it; run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that is no PEM, or of something else.
    #[error("TLS file {path}: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// A certificate and key that do not go together, or that rustls does not take.
    #[error("certificate {path}: {source}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

impl TlsSettings {
    /// Fills in what the file says where nothing overrides it.
    pub fn or(self, file: Self) -> Self {
        Self { certificate: self.certificate.or(file.certificate), key: self.key.or(file.key) }
    }

    /// The two files; `None` where TLS is not wanted.
    pub fn files(&self) -> Result<Option<TlsFiles>, TlsError> {
        match (self.certificate.clone(), self.key.clone()) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
            (Some(_), None) | (None, Some(_)) => Err(TlsError::Half),
        }
    }
}

/// Certificate and key, as they were when they were read last.
pub struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    pub fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let config = RwLock::new(Arc::new(config(&files)?));
        Ok(Self { files, config })
    }

    /// Reads the files again. Where they are of no use, what was read before still holds.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(config(&self.files)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// What answers the next handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }

    /// Reads the files again on every SIGHUP.
    pub async fn reload_on_hangup(self: Arc<Self>) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::warn!("SIGHUP cannot be heard: a new certificate needs a restart");
            return;
        };
        while hangup.recv().await.is_some() {
            match self.reload() {
                Ok(()) => tracing::info!("certificate read again"),
                Err(error) => tracing::error!(%error, "the certificate in use stays"),
            }
        }
    }
}

fn config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let TlsFiles { certificate: path, key } = files;
    let (bytes, _) = read(path)?;
    let pem = |source| TlsError::Pem { path: path.clone(), source };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(pem)?;
    let (bytes, mode) = read(key)?;
    if mode & 0o077 != 0 {
        return Err(TlsError::Exposed { path: key.clone(), mode });
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|source| TlsError::Pem { path: key.clone(), source })?;
    let refused = |source| TlsError::Certificate { path: path.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A file's bytes and permission bits.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), TlsError> {
    let io = |source| TlsError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(PEM_BYTES).read_to_end(&mut bytes).map_err(io)?;
    Ok((bytes, mode))
}

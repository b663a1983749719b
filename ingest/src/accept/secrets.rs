//! Shared secrets: who may submit at `POST /ingest`, and for which workspaces.
//!
//! Here: reading secret files, and checking an HMAC. Several secrets hold at once, under several
//! names and under one, so that they can be replaced without a pause. Each names the workspaces that
//! it is for: a secret that could write everywhere would write into every tenant's chain. Not here:
//! the key that signs for those who share a secret (see [`super::custody`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::hash::Digest;
use ledger::names::{NameError, Workspace};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The header with the secret's name.
pub const API_KEY: &str = "x-api-key";
/// The header with the hex HMAC-SHA256 of the body.
pub const HMAC: &str = "x-signature";

/// Shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 16;
/// Longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4_096;
/// Most files under one name: the one in use, the next one, and some that are on their way out.
const FILES: usize = 4;
/// Longest name, in bytes.
const NAME_BYTES: usize = 64;

/// A secret, as `[ingest.secrets.NAME]` has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSettings {
    /// Files that hold a secret each: any of them counts.
    pub files: Vec<PathBuf>,
    /// The workspaces that it is for.
    pub workspaces: Vec<String>,
}

/// Why the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// A name that cannot stand in a header.
    #[error("`ingest.secrets`: {0:?} is no name: 1 to 64 of A-Z a-z 0-9 . - _ are")]
    Name(String),
    /// No file, or too many.
    #[error("`ingest.secrets.{name}.files` names {found} files, 1 to {FILES} are expected")]
    Files {
        /// The secret.
        name: String,
        /// Files it has.
        found: usize,
    },
    /// No workspace.
    #[error("`ingest.secrets.{name}.workspaces` is empty: the secret would be good for nothing")]
    NoWorkspaces {
        /// The secret.
        name: String,
    },
    /// A workspace that none can be.
    #[error("`ingest.secrets.{name}.workspaces`: {source}")]
    Workspace {
        /// The secret.
        name: String,
        /// What is wrong.
        source: NameError,
    },
    /// A file that cannot be read.
    #[error("secret file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error("secret file {path} has mode {mode:03o}: others can read it; run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret that is too short or too long.
    #[error(
        "secret file {path} holds {found} bytes, {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} are \
         expected; `openssl rand -hex 32` makes a good one"
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes it holds, its line end not counted.
        found: usize,
    },
}

/// A secret that holds.
pub struct Secret {
    /// Its name.
    pub name: Arc<str>,
    /// The workspaces that it is for.
    pub workspaces: BTreeSet<Workspace>,
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All secrets that hold.
#[derive(Debug, Default)]
pub struct Secrets {
    by_name: BTreeMap<Arc<str>, Arc<Secret>>,
    /// Most keys under one name: so many are tried for any name, those of nobody included.
    rounds: usize,
}

impl Secrets {
    /// Takes secrets that were read: their names, keys and workspaces.
    pub fn new(secrets: impl IntoIterator<Item = (String, Vec<Vec<u8>>, Vec<Workspace>)>) -> Self {
        let by_name: BTreeMap<_, _> = secrets
            .into_iter()
            .map(|(name, keys, workspaces)| {
                let name: Arc<str> = Arc::from(name);
                let keys = keys.into_iter().map(Zeroizing::new).collect();
                let workspaces = workspaces.into_iter().collect();
                let secret = Secret { name: Arc::clone(&name), workspaces, keys };
                (name, Arc::new(secret))
            })
            .collect();
        let rounds = by_name.values().map(|secret| secret.keys.len()).max().unwrap_or(0);
        Self { by_name, rounds }
    }

    /// Reads the files that the settings name.
    pub fn read(settings: &BTreeMap<String, SecretSettings>) -> Result<Self, SecretError> {
        let mut secrets = Vec::new();
        for (name, SecretSettings { files, workspaces }) in settings {
            if !is_name(name) {
                return Err(SecretError::Name(name.clone()));
            }
            let name = name.clone();
            if files.is_empty() || files.len() > FILES {
                return Err(SecretError::Files { name, found: files.len() });
            }
            if workspaces.is_empty() {
                return Err(SecretError::NoWorkspaces { name });
            }
            let workspaces = workspaces
                .iter()
                .map(|text| Workspace::new(text))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|source| SecretError::Workspace { name: name.clone(), source })?;
            let keys = files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
            secrets.push((name, keys, workspaces));
        }
        Ok(Self::new(secrets))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whose secret made the signature over the body: `None` for an unknown name and for a wrong
    /// signature alike, after the same work.
    pub fn check(&self, name: &[u8], signature: &[u8], body: &[u8]) -> Option<&Arc<Secret>> {
        let secret = std::str::from_utf8(name).ok().and_then(|name| self.by_name.get(name));
        let text = std::str::from_utf8(signature).unwrap_or_default().to_ascii_lowercase();
        let tag = Digest::parse(&text).ok();
        let mut is_right = false;
        for round in 0..self.rounds {
            let key = secret.and_then(|secret| secret.keys.get(round));
            let mut mac = Hmac::<Sha256>::new_from_slice(key.map_or(&[], |key| key)).ok()?;
            mac.update(body);
            let tag = tag.as_ref().map_or(&[0; 32], Digest::as_bytes);
            // Compared in constant time; each key is tried, whatever came of the one before.
            is_right |= mac.verify_slice(tag).is_ok() & key.is_some();
        }
        secret.filter(|_| is_right & tag.is_some())
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// Reads a secret from a file that only its owner can read; a line end is not part of it.
fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let io = |source| SecretError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    // Room for all of it at once: a buffer that grows leaves copies behind that are not wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 3));
    let most = u64::try_from(SECRET_BYTES_MAX + 3).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes).map_err(io)?;
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
        Ok(secret.to_vec())
    } else {
        Err(SecretError::Length { path: path.to_owned(), found: secret.len() })
    }
}

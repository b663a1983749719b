//! Private keys as files: PKCS#8 PEM that only their owner can read.
//!
//! Here: reading and making such a file. Not here: the key itself (see [`ledger::key`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ledger::key::{KeyError, SigningKey};
use zeroize::Zeroizing;

/// No key file is larger, in bytes: a longer one is something else.
const PEM_BYTES: u64 = 16 * 1024;

/// Why a key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error("key file {path} has mode {mode:03o}: others can read it; run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no key.
    #[error("key file {path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
}

/// Reads a private key from a file that only its owner can read.
pub fn read(path: &Path) -> Result<SigningKey, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    // Room for all of it at once: a buffer that grows leaves copies behind that are not wiped.
    let mut pem = Zeroizing::new(String::with_capacity(16 * 1024));
    file.take(PEM_BYTES).read_to_string(&mut pem).map_err(io)?;
    SigningKey::from_pem(&pem).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
}

/// Writes a new key to a new file with mode 0600; a file that is there is never overwritten.
pub fn create(path: &Path) -> Result<SigningKey, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *seed).map_err(|error| io(io::Error::other(error.to_string())))?;
    let key = SigningKey::from_seed(&seed);
    let pem = key.to_pem().map(Zeroizing::new);
    let pem = pem.map_err(|source| KeyFileError::Key { path: path.to_owned(), source })?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    file.write_all(pem.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_new_key_reads_back_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.pem");
        let key = create(&path).unwrap();
        assert_eq!(read(&path).unwrap().public(), key.public());
        assert!(matches!(create(&path), Err(KeyFileError::Io { .. })));
        assert_eq!(read(&path).unwrap().public(), key.public());
    }

    #[test]
    fn refuses_a_file_that_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.pem");
        create(&path).unwrap();
        for mode in [0o640, 0o604, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&path), Err(KeyFileError::Exposed { mode: m, .. }) if m == mode));
        }
    }
}

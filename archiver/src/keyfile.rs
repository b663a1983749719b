//! Seal keys as files: PKCS#8 PEM that only their owner can read, best encrypted.
//!
//! Here: reading and making such a file, and its passphrase. Not here: the key itself (see
//! [`ledger::key`]). What signs need not come from a file: see [`ledger::note::Signer`].
//!
//! Encrypted is as RFC 8018 says (PBES2): made with scrypt (N = 2^14, r = 8, p = 1) and AES-256-CBC, read
//! with PBKDF2 too, as OpenSSL makes it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ledger::key::{KeyError, SigningKey};
use pkcs8::der::pem::PemLabel as _;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

/// No key file is larger, in bytes: a longer one is something else.
const FILE_BYTES: usize = 16 * 1024;

/// What a file with an encrypted key starts with.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Why a key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("`{}`: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Others may read the file.
    #[error("`{}` can be read by others (mode {mode:o}): chmod 600 it", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no key.
    #[error("`{}`: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// The key is encrypted, and there is no passphrase.
    #[error("`{}` is encrypted: set the passphrase that it is encrypted with", .0.display())]
    NoPassphrase(PathBuf),
    /// The passphrase does not open it.
    #[error(
        "`{}` does not open with this passphrase, or is encrypted in another way than scrypt or PBKDF2 \
         with AES", .0.display()
    )]
    Passphrase(PathBuf),
    /// The passphrase is empty.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The key could not be made.
    #[error("the key could not be made: {0}")]
    Make(&'static str),
}

/// What a key is encrypted with. Never shown, and wiped when dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(****)")
    }
}

impl Passphrase {
    /// Takes a text, which is not empty.
    pub fn new(text: String) -> Result<Self, KeyFileError> {
        let text = Zeroizing::new(text);
        if text.is_empty() { Err(KeyFileError::EmptyPassphrase) } else { Ok(Self(text)) }
    }

    /// Reads a file that only its owner can read. A line end at its end is no part of it.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let mut text = read_private(path)?;
        for end in ['\n', '\r'] {
            if text.ends_with(end) {
                text.pop();
            }
        }
        if text.is_empty() { Err(KeyFileError::EmptyPassphrase) } else { Ok(Self(text)) }
    }
}

/// The text of a file that only its owner can read.
fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let io = |error| KeyFileError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.to_owned(), mode });
    }
    // Room for all of it at once: a buffer that grows leaves copies behind that are not wiped.
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES + 1));
    let most = u64::try_from(FILE_BYTES).unwrap_or(u64::MAX);
    file.take(most).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// Whether a file holds an encrypted key.
pub fn is_encrypted(path: &Path) -> Result<bool, KeyFileError> {
    Ok(read_private(path)?.trim_start().starts_with(ENCRYPTED))
}

/// Reads a key. One that is not encrypted is read without the passphrase too.
pub fn read(path: &Path, passphrase: Option<&Passphrase>) -> Result<SigningKey, KeyFileError> {
    let text = read_private(path)?;
    let key = |pem: &str| {
        let found = SigningKey::from_pem(pem);
        found.map_err(|error| KeyFileError::Key { path: path.to_owned(), error })
    };
    if !text.trim_start().starts_with(ENCRYPTED) {
        return key(&text);
    }
    let Passphrase(passphrase) =
        passphrase.ok_or_else(|| KeyFileError::NoPassphrase(path.to_owned()))?;
    let broken = || KeyFileError::Key { path: path.to_owned(), error: KeyError::Pem };
    let (_, document) = SecretDocument::from_pem(&text).map_err(|_| broken())?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| broken())?;
    let opened = info.decrypt(passphrase.as_bytes());
    let opened = opened.map_err(|_| KeyFileError::Passphrase(path.to_owned()))?;
    let pem = opened.to_pem(PrivateKeyInfoRef::PEM_LABEL, LineEnding::LF);
    key(&pem.map_err(|_| broken())?)
}

/// Writes a new key to a new file with mode 0600; a file that is there is never overwritten.
pub fn create(path: &Path, passphrase: Option<&Passphrase>) -> Result<SigningKey, KeyFileError> {
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|_| KeyFileError::Make("the system gives no random bytes"))?;
    let key = SigningKey::from_seed(&seed);
    let pem = key.to_pem().map(Zeroizing::new);
    let mut pem = pem.map_err(|error| KeyFileError::Key { path: path.to_owned(), error })?;
    if let Some(passphrase) = passphrase {
        pem = encrypt(&pem, passphrase).ok_or(KeyFileError::Make("it cannot be encrypted"))?;
    }
    let io = |error| KeyFileError::Io { path: path.to_owned(), error };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    file.write_all(pem.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(key)
}

fn encrypt(pem: &str, Passphrase(passphrase): &Passphrase) -> Option<Zeroizing<String>> {
    let (_, document) = SecretDocument::from_pem(pem).ok()?;
    let info = PrivateKeyInfoRef::try_from(document.as_bytes()).ok()?;
    let encrypted = info.encrypt_with_rng(&mut getrandom::SysRng, passphrase.as_bytes()).ok()?;
    encrypted.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned()).unwrap()
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.pem");
        let key = create(&path, Some(&passphrase("geheim"))).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(ENCRYPTED) && is_encrypted(&path).unwrap());
        assert!(!text.contains(key.to_pem().unwrap().lines().nth(1).unwrap()));
        assert_eq!(read(&path, Some(&passphrase("geheim"))).unwrap().public(), key.public());
        assert!(matches!(read(&path, None), Err(KeyFileError::NoPassphrase(_))));
        for wrong in ["geheim ", "Geheim", "x"] {
            let error = read(&path, Some(&passphrase(wrong))).unwrap_err();
            assert!(matches!(error, KeyFileError::Passphrase(_)), "{error}");
        }
        assert!(matches!(create(&path, None), Err(KeyFileError::Io { .. })), "it is there");
    }

    #[test]
    fn a_plain_key_is_still_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.pem");
        let key = create(&path, None).unwrap();
        assert!(!is_encrypted(&path).unwrap());
        for passphrase in [None, Some(passphrase("geheim"))] {
            assert_eq!(read(&path, passphrase.as_ref()).unwrap().public(), key.public());
        }
    }

    /// `openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -v2 aes-256-cbc`
    #[test]
    fn a_key_that_openssl_encrypted_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.pem");
        std::fs::write(&path, OPENSSL).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let key = read(&path, Some(&passphrase("geheim"))).unwrap();
        assert_eq!(key.public().to_string(), OPENSSL_PUBLIC);
    }

    #[test]
    fn files_that_others_can_read_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        create(&path, None).unwrap();
        for mode in [0o640, 0o604] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read(&path, None), Err(KeyFileError::Mode { .. })));
            assert!(matches!(Passphrase::read(&path), Err(KeyFileError::Mode { .. })));
        }
    }

    #[test]
    fn a_passphrase_is_never_shown_and_never_empty() {
        assert!(!format!("{:?}", passphrase("geheim")).contains("geheim"));
        assert!(matches!(Passphrase::new(String::new()), Err(KeyFileError::EmptyPassphrase)));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(b"geheim\n").unwrap();
        assert_eq!(*Passphrase::read(&path).unwrap().0, "geheim");
    }

    const OPENSSL_PUBLIC: &str = "ed25519:S3OBd6RyUGWn4n_WyaavhsYMnLtAcOIIhgCl6-I7xjs";
    const OPENSSL: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhILcKn8hJSmQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEDUo8uGFkp2xyk1fSuxxpg8EQLbs
eyIlXoVLM8dVnURm0m18Hbuzx7Z8NONdozGOfBUPFFRYH3RWSqaduTdFtRQaH0wo
ZjbpXBbPjwLTf3nTRGU=
-----END ENCRYPTED PRIVATE KEY-----
";
}

//! The vault: the write side of an archive's store.
//!
//! Here: [`Vault`] with its contract, and [`FileVault`] for directories. Not here: reading, which
//! is the auditor's side (see [`verifier::store`]), and what is written when (see [`crate::seal`]).

mod file;

pub use file::FileVault;
use verifier::store::{ArchiveSource, SourceError};

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// An object of this key is there, and it has other bytes.
    #[error(
        "`{0}` is in the store already, with other bytes than this archiver would write: find out \
         who wrote it. If no log entry names it, it is no record, and may be moved away by hand"
    )]
    Differs(String),
    /// The object to replace is not the one that was expected.
    #[error("`{0}` was changed by someone else meanwhile; is another archiver at work?")]
    Moved(String),
    /// The store cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store cannot be written.
    #[error("writing `{key}`: {error}")]
    Io {
        /// The key.
        key: String,
        /// What failed.
        error: std::io::Error,
    },
}

/// Writes the objects of one archive.
///
/// - Durability: after `Ok` the change outlives a crash of machine and store.
/// - Atomicity: under its key an object is whole or not there, whenever the process dies.
/// - Consistency: a read that starts after `Ok`, by anyone, sees the change.
/// - Retry: after an error the change has been made, or not; the same call may be made again, and
///   then comes to the same result. What failed attempts leave behind is no object.
/// - Concurrency: one writer at a time is meant to write; where two do, neither overwrites what
///   the other has created.
pub trait Vault: ArchiveSource + Send + Sync {
    /// Writes an object that is never written again. One that is there already is left as it is:
    /// with the same bytes that is success, with others [`VaultError::Differs`].
    fn create(&self, key: &str, bytes: &[u8]) -> Result<(), VaultError>;

    /// Writes an object in the place of `before` (`None`: where there was none), and fails with
    /// [`VaultError::Moved`] where another one stands there.
    fn replace(&self, key: &str, before: Option<&[u8]>, bytes: &[u8]) -> Result<(), VaultError>;

    /// Removes an object; one that is not there is as good as removed.
    fn remove(&self, key: &str) -> Result<(), VaultError>;

    /// Clears away what writes that never finished have left. For the one writer, as it starts.
    fn tidy(&self) -> Result<(), VaultError>;
}

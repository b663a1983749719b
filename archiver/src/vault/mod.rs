//! The vault: the write side of an archive's store.
//!
//! Here: [`Vault`] with its contract, [`FileVault`] for directories, [`S3Vault`] for object stores,
//! and [`open`], which takes any address. Not here: reading, which is the auditor's side (see
//! [`verifier::store`]), and what is written when (see [`crate::seal`]).

mod file;
mod s3;

use std::fmt;

pub use file::FileVault;
pub use s3::S3Vault;
use verifier::store::{self, ArchiveSource, S3Settings, SourceError};

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
    /// The object store failed, or refused.
    #[error("writing `{key}` to the object store: {reason}")]
    Store {
        /// The key.
        key: String,
        /// What failed, and how to mend it where that is known.
        reason: String,
    },
}

/// Who sees to it that a write does not overwrite what it must not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// It has not been found out.
    #[default]
    Unknown,
    /// The store itself refuses, also where two writers are at work at once.
    Store,
    /// The archiver alone, which looks before it writes and after: the store ignores conditions.
    Compared,
}

impl Guarantee {
    /// Its word, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Store => "store",
            Self::Compared => "compared",
        }
    }
}

/// What is known of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guarantees {
    /// Of objects that are created.
    pub create: Guarantee,
    /// Of the checkpoint, which is replaced.
    pub replace: Guarantee,
}

impl fmt::Display for Guarantees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store ")?;
        f.write_str(match self.create {
            Guarantee::Store => "refuses to overwrite objects",
            Guarantee::Compared => "OVERWRITES objects without a word",
            Guarantee::Unknown => "was not asked whether it refuses to overwrite objects",
        })?;
        f.write_str(match self.replace {
            Guarantee::Store => ", and replaces the checkpoint only where it is the one expected",
            Guarantee::Compared => ", and the checkpoint is compared before it is replaced",
            Guarantee::Unknown => "",
        })
    }
}

/// What became of an object that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is not there.
    Gone,
    /// The store keeps it: by a lock, or as this archiver may not remove anything.
    Kept,
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

    /// Removes an object; one that is not there is as good as removed. One that the store keeps is
    /// left: only what nothing needs is ever removed, and it may stay.
    fn remove(&self, key: &str) -> Result<Removal, VaultError>;

    /// Clears away what writes that never finished have left. For the one writer, as it starts.
    fn tidy(&self) -> Result<(), VaultError>;

    /// Finds out what the store itself guarantees, on an object that is there and is never replaced.
    /// No other bytes than that object's own are written, and nothing outside the archive.
    fn probe(&self, key: &str) -> Result<Guarantees, VaultError>;
}

/// Opens the vault at an address: a directory, which is made where it is not there, or
/// `file:///absolute/path`, or `s3://bucket/prefix`, for which the settings count.
pub fn open(address: &str, settings: &S3Settings) -> Result<Box<dyn Vault>, VaultError> {
    if store::is_s3(address) {
        Ok(Box::new(S3Vault::open(address, settings)?))
    } else {
        Ok(Box::new(FileVault::open(address)?))
    }
}

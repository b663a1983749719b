//! Where an archive lies: reading its objects by key.
//!
//! Here: [`ArchiveSource`]; [`FileSource`] for directories; `S3Source` for object stores that speak
//! S3, where this is built with the feature `s3`; [`open`], which takes any address. Not here:
//! writing (see the `archiver` crate), and what the objects hold.

use std::io;
use std::path::PathBuf;

use ledger::layout::Artefact;
use ledger::limits::{BUNDLE_ENTRY_BYTES, NOTE_BYTES, TILE_WIDTH};

mod file;
#[cfg(feature = "s3")]
pub mod s3;
mod settings;

pub use file::FileSource;
pub use ledger::verify::Lock;
#[cfg(feature = "s3")]
pub use s3::S3Source;
pub use settings::S3Settings;

/// Largest object that is read: no writer of this format makes a larger one.
pub const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// Most objects that a listing may name. An archive of a thousand workspaces comes to as many in
/// three years; a store that never ends its listing must not fill the auditor's memory.
pub const OBJECTS_MAX: usize = 100_000_000;

/// Largest object that is read where its key says that it is a note or a tile. Either is smaller, and so is
/// what was appended to one by mistake: that is then found to be the wrong bytes, not left unread.
pub const SMALL_BYTES_MAX: u64 = 1 << 20;

/// Largest bundle: so many entries, each with its length before it.
const BUNDLE_BYTES_MAX: u64 = 256 * (2 + 65_535);

const _: () = assert!(NOTE_BYTES < 1 << 20);
const _: () = assert!(BUNDLE_ENTRY_BYTES == 65_535 && TILE_WIDTH == 256);

/// How many bytes are read of the object of a key: whoever can write to the store must not fill the
/// auditor's memory with what no archive has there.
pub fn most_bytes(key: &str) -> u64 {
    match Artefact::parse(key) {
        Some(Artefact::Checkpoint | Artefact::HourNote(_)) => SMALL_BYTES_MAX,
        Some(Artefact::Manifest { .. } | Artefact::Tile { .. }) => SMALL_BYTES_MAX,
        Some(Artefact::RollupNote(_) | Artefact::RollupSql { .. }) => SMALL_BYTES_MAX,
        Some(Artefact::Bundle { .. }) => BUNDLE_BYTES_MAX,
        Some(Artefact::HourHeads(_) | Artefact::Events { .. } | Artefact::Rollup(_)) | None => {
            OBJECT_BYTES_MAX
        }
    }
}

/// How the address of an archive in an object store starts.
const S3: &str = "s3://";

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The address of the archive is of no kind that is known here.
    #[error(
        "`{0}` is not an archive: give a directory, file:///absolute/path, or s3://bucket/prefix"
    )]
    Address(String),
    /// The archive's directory is not there.
    #[error("there is no directory `{}`", .0.display())]
    Absent(PathBuf),
    /// Something else stands where the archive's directory should be.
    #[error(
        "`{}` is no directory: give the one that holds `log/`, `hours/`, `manifests/` and `events/`",
        .0.display()
    )]
    NotADirectory(PathBuf),
    /// The key has a form that no store may be asked for.
    #[error("`{0}` is no object key: plain segments joined by `/` are expected")]
    Key(String),
    /// Something that is neither a plain file nor a directory stands where an object should.
    #[error("`{0}` is a link or a special file; an archive holds plain files only")]
    NotAFile(String),
    /// The object is larger than any that the format knows.
    #[error("`{key}` has {bytes} bytes, more than is read there ({most})")]
    TooLarge {
        /// The key.
        key: String,
        /// Its size, or as much of it as was seen.
        bytes: u64,
        /// Most that is read.
        most: u64,
    },
    /// The listing does not end.
    #[error("the store lists more than {0} objects: no archive has so many")]
    TooMany(usize),
    /// The file system failed.
    #[error("reading `{key}`: {error}")]
    Io {
        /// The key, or the directory.
        key: String,
        /// What failed.
        error: io::Error,
    },
    /// The settings of the object store do not lead to one.
    #[error("the object store: {0}")]
    Settings(String),
    /// The object store has no such bucket.
    #[error("there is no bucket for `{address}`: compare its name, the endpoint and the region")]
    Bucket {
        /// The archive's address.
        address: String,
    },
    /// The object store failed, or refused.
    #[error("reading `{key}` from the object store: {reason}")]
    Store {
        /// The key, or the archive's address.
        key: String,
        /// What failed, and how to mend it where that is known.
        reason: String,
    },
    /// The object store announced more or fewer bytes than it sent.
    #[error("`{key}` came with {found} bytes instead of the {announced} that were announced")]
    CutShort {
        /// The key.
        key: String,
        /// Bytes announced.
        announced: u64,
        /// Bytes that came.
        found: u64,
    },
}

/// Read-only access to the objects of one archive.
///
/// - Consistency: an object that was written before a call is seen by it. Objects but
///   `log/checkpoint` never change, so reading twice gives the same bytes, or fails.
/// - Completeness: [`ArchiveSource::list`] gives every object, in byte order, and nothing that it
///   cannot `get`; what stands in the archive and is no object is an error or an unknown key, never
///   left out in silence.
/// - Failure: an absent object is `Ok(None)`; an error says nothing about the object, and the call
///   may be made again.
/// - Concurrency: calls from several threads at once are fine, and so is a writer beside them.
pub trait ArchiveSource {
    /// The bytes of an object, or `None` where there is none of this key. One that is larger than
    /// [`most_bytes`] of its key is an error.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError>;

    /// The same, where the object is no larger than so many bytes; an error where it is. A source that is not
    /// in memory anyway holds no more than that.
    fn get_within(&self, key: &str, most: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let object = self.get(key)?;
        let bytes = object.as_ref().map_or(0, |object| object.len());
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let key = || key.to_owned();
        if bytes > most {
            Err(SourceError::TooLarge { key: key(), bytes, most })
        } else {
            Ok(object)
        }
    }

    /// The keys of all objects, in byte order.
    fn list(&self) -> Result<Vec<String>, SourceError>;

    /// The lock that the store has on an object; unknown where it cannot be asked.
    fn lock(&self, _key: &str) -> Result<Lock, SourceError> {
        Ok(Lock::Unknown)
    }
}

/// An archive that is opened by its address is as good as one of a known kind.
impl<S: ArchiveSource + ?Sized> ArchiveSource for Box<S> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        (**self).get(key)
    }

    fn get_within(&self, key: &str, most: u64) -> Result<Option<Vec<u8>>, SourceError> {
        (**self).get_within(key, most)
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        (**self).list()
    }

    fn lock(&self, key: &str) -> Result<Lock, SourceError> {
        (**self).lock(key)
    }
}

/// Whether an address is one of an object store.
pub fn is_s3(address: &str) -> bool {
    address.starts_with(S3)
}

/// Opens the archive at an address: a directory, `file:///absolute/path`, or `s3://bucket/prefix`,
/// for which the settings count.
pub fn open(
    address: &str,
    settings: &S3Settings,
) -> Result<Box<dyn ArchiveSource + Send + Sync>, SourceError> {
    if is_s3(address) {
        open_s3(address, settings)
    } else {
        Ok(Box::new(FileSource::open(address)?))
    }
}

#[cfg(feature = "s3")]
fn open_s3(
    address: &str,
    settings: &S3Settings,
) -> Result<Box<dyn ArchiveSource + Send + Sync>, SourceError> {
    Ok(Box::new(S3Source::open(address, settings)?))
}

#[cfg(not(feature = "s3"))]
fn open_s3(
    address: &str,
    _settings: &S3Settings,
) -> Result<Box<dyn ArchiveSource + Send + Sync>, SourceError> {
    let reason = "this program was built without the feature `s3`, so it reads directories only";
    Err(SourceError::Settings(format!("`{address}`: {reason}")))
}

//! Archives in a directory.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{ArchiveSource, Lock, OBJECTS_MAX, SourceError, most_bytes};

/// An archive in a directory.
///
/// Symbolic links are not followed below the root: a listing cannot lead out of it.
#[derive(Clone, Debug)]
pub struct FileSource {
    root: PathBuf,
}

impl FileSource {
    /// Directory below the root in which objects are written before they get their name. Not part
    /// of the archive.
    pub const STAGING: &str = ".staging";

    /// Opens `file:///absolute/path` or a plain path to a directory.
    pub fn open(address: &str) -> Result<Self, SourceError> {
        let root = Self::path(address)?;
        match fs::metadata(&root) {
            Ok(found) if found.is_dir() => Ok(Self { root }),
            Ok(_) => Err(SourceError::NotADirectory(root)),
            Err(error) if is_absent(&error) => Err(SourceError::Absent(root)),
            Err(error) => Err(SourceError::Io { key: root.display().to_string(), error }),
        }
    }

    /// The directory that an address names, whether it is there or not.
    pub fn path(address: &str) -> Result<PathBuf, SourceError> {
        let path = match address.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => path,
            Some(_) => return Err(SourceError::Address(address.to_owned())),
            None => address,
        };
        // A URL may say a space as %20; which of the two a path means must not be guessed.
        if path.is_empty() || (path.contains('%') && address != path) {
            return Err(SourceError::Address(address.to_owned()));
        }
        Ok(PathBuf::from(path))
    }

    /// The archive's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the object of a key lies. The path is built from the key's segments, so it never
    /// leaves the root.
    pub fn place(&self, key: &str) -> Result<PathBuf, SourceError> {
        let plain =
            |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(['\\', '\0']);
        if !key.split('/').all(plain) {
            return Err(SourceError::Key(key.to_owned()));
        }
        let mut path = self.root.clone();
        path.extend(key.split('/'));
        Ok(path)
    }

    /// The keys below a directory; no more than so many in all.
    fn walk(
        &self,
        directory: &Path,
        prefix: &str,
        most: usize,
        keys: &mut Vec<String>,
    ) -> Result<(), SourceError> {
        // Its own name, not the root's: somebody has to find what cannot be read.
        let failed = |error| SourceError::Io { key: directory.display().to_string(), error };
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is no UTF-8 is no key of an archive: it is listed, so that it is found
            // out as unknown.
            let name = entry.file_name().to_string_lossy().into_owned();
            let key = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if key == Self::STAGING {
                continue;
            }
            // Of the entry itself: a link to a directory is not walked into, and stays a key.
            if entry.file_type().map_err(failed)?.is_dir() {
                self.walk(&entry.path(), &key, most, keys)?;
            } else if keys.len() < most {
                keys.push(key);
            } else {
                return Err(SourceError::TooMany(most));
            }
        }
        Ok(())
    }

    fn list_within(&self, most: usize) -> Result<Vec<String>, SourceError> {
        let mut keys = Vec::new();
        self.walk(&self.root, "", most, &mut keys)?;
        keys.sort_unstable();
        Ok(keys)
    }
}

impl ArchiveSource for FileSource {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        self.get_within(key, most_bytes(key))
    }

    fn get_within(&self, key: &str, most: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let path = self.place(key)?;
        let failed = |error| SourceError::Io { key: key.to_owned(), error };
        for directory in path.ancestors().skip(1).take_while(|path| **path != *self.root) {
            match fs::symlink_metadata(directory) {
                Ok(metadata) if metadata.is_symlink() => {
                    return Err(SourceError::NotAFile(key.to_owned()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if !metadata.is_file() {
            return Err(SourceError::NotAFile(key.to_owned()));
        }
        let too_large = |bytes| Err(SourceError::TooLarge { key: key.to_owned(), bytes, most });
        if metadata.len() > most {
            return too_large(metadata.len());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        // The file may have grown since it was measured.
        let limit = most.saturating_add(1);
        match File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            Ok(read) if u64::try_from(read).is_ok_and(|read| read < limit) => Ok(Some(bytes)),
            Ok(_) => too_large(limit),
            Err(error) => Err(failed(error)),
        }
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        self.list_within(OBJECTS_MAX)
    }

    fn lock(&self, _key: &str) -> Result<Lock, SourceError> {
        Ok(Lock::Open)
    }
}

/// Nothing of this name, or a file where the path needs a directory.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_listing_ends_where_no_archive_goes_on() {
        let directory = tempfile::TempDir::new().unwrap();
        fs::create_dir(directory.path().join("a")).unwrap();
        for name in ["a/1", "a/2", "b"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let source = FileSource::open(&directory.path().to_string_lossy()).unwrap();
        assert_eq!(source.list_within(3).unwrap(), ["a/1", "a/2", "b"]);
        assert!(matches!(source.list_within(2), Err(SourceError::TooMany(2))));
        assert_eq!(source.list().unwrap().len(), 3);
    }
}

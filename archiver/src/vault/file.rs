//! A vault in a directory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use verifier::store::{ArchiveSource, FileSource, Lock, SourceError};

use super::{Guarantee, Guarantees, Removal, Vault, VaultError};

/// Objects as files below a directory.
///
/// An object is written to a staging file, synced, and only then linked to its name: linking never
/// overwrites, and a crash leaves a staging file at most. Then every directory on its path is
/// synced, since a name lives in its directory.
#[derive(Debug)]
pub struct FileVault {
    source: FileSource,
    staging: PathBuf,
    writes: AtomicU64,
}

impl FileVault {
    /// Opens `file:///absolute/path` or a plain path, and makes the directory where it is not
    /// there yet.
    pub fn open(address: &str) -> Result<Self, VaultError> {
        let root = FileSource::path(address)?;
        let staging = root.join(FileSource::STAGING);
        let failed = |error| VaultError::Io { key: root.display().to_string(), error };
        fs::create_dir_all(&staging).map_err(failed)?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent).map_err(failed)?;
        }
        sync(&root).map_err(failed)?;
        Ok(Self { source: FileSource::open(address)?, staging, writes: AtomicU64::new(0) })
    }

    /// Writes bytes under a name that no other write has.
    fn stage(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        let write = self.writes.fetch_add(1, Ordering::Relaxed);
        let path = self.staging.join(format!("{}-{write}", process::id()));
        let mut file = File::create(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(path)
    }

    /// Makes the directories that an object's path needs.
    fn make_way(place: &Path) -> io::Result<()> {
        place.parent().map_or(Ok(()), fs::create_dir_all)
    }

    /// Syncs every directory from an object's up to the root.
    fn sync_way(&self, place: &Path) -> io::Result<()> {
        let root = self.source.root();
        let below = place.ancestors().skip(1).take_while(|path| *path != root);
        below.chain([root]).try_for_each(sync)
    }

    /// Whether these bytes stand under the key already.
    fn stands(&self, key: &str, bytes: &[u8]) -> Result<bool, VaultError> {
        match self.source.get(key)? {
            None => Ok(false),
            Some(found) if found == bytes => Ok(true),
            Some(_) => Err(VaultError::Differs(key.to_owned())),
        }
    }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl ArchiveSource for FileVault {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        self.source.get(key)
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        self.source.list()
    }

    fn lock(&self, key: &str) -> Result<Lock, SourceError> {
        self.source.lock(key)
    }
}

impl Vault for FileVault {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let place = self.source.place(key)?;
        let failed = |error| VaultError::Io { key: key.to_owned(), error };
        if !self.stands(key, bytes)? {
            let staged = self.stage(bytes).map_err(failed)?;
            Self::make_way(&place).map_err(failed)?;
            let linked = fs::hard_link(&staged, &place);
            fs::remove_file(&staged).map_err(failed)?;
            match linked {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.stands(key, bytes)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        // Also where it stood already: whoever wrote it may have died before this.
        self.sync_way(&place).map_err(failed)
    }

    fn replace(&self, key: &str, before: Option<&[u8]>, bytes: &[u8]) -> Result<(), VaultError> {
        let place = self.source.place(key)?;
        let failed = |error| VaultError::Io { key: key.to_owned(), error };
        let found = self.source.get(key)?;
        // The same replacement again is one that was made and not heard of.
        if found.as_deref() != Some(bytes) {
            if found.as_deref() != before {
                return Err(VaultError::Moved(key.to_owned()));
            }
            let staged = self.stage(bytes).map_err(failed)?;
            Self::make_way(&place).map_err(failed)?;
            fs::rename(&staged, &place).map_err(failed)?;
        }
        self.sync_way(&place).map_err(failed)
    }

    fn remove(&self, key: &str) -> Result<Removal, VaultError> {
        let place = self.source.place(key)?;
        match fs::remove_file(&place) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Gone),
            Err(error) => {
                return Err(VaultError::Io { key: key.to_owned(), error });
            }
        }
        if let Some(directory) = place.parent() {
            // A name that comes back after a crash would bring back what was erased.
            sync(directory).map_err(|error| VaultError::Io { key: key.to_owned(), error })?;
            // An object store has no directories, so an empty one says nothing; one that is not
            // empty stays.
            let _ = fs::remove_dir(directory);
        }
        Ok(Removal::Gone)
    }

    fn tidy(&self) -> Result<(), VaultError> {
        let failed = |error| VaultError::Io { key: FileSource::STAGING.to_owned(), error };
        for entry in fs::read_dir(&self.staging).map_err(failed)? {
            fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
        }
        Ok(())
    }

    /// A name is linked or it is there already; a checkpoint is compared, and then renamed over.
    fn probe(&self, _key: &str) -> Result<Guarantees, VaultError> {
        Ok(Guarantees { create: Guarantee::Store, replace: Guarantee::Compared })
    }
}

//! The objects of an archive, in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use verifier::store::{ArchiveSource, FileSource, SourceError};

/// An archive in memory: object keys and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive(pub BTreeMap<String, Vec<u8>>);

impl Archive {
    /// Reads every object of an archive in a directory.
    pub fn load(directory: &Path) -> Result<Self, SourceError> {
        let source = FileSource::open(&directory.to_string_lossy())?;
        let mut objects = BTreeMap::new();
        for key in source.list()? {
            if let Some(bytes) = source.get(&key)? {
                objects.insert(key, bytes);
            }
        }
        Ok(Self(objects))
    }

    /// Writes every object into a directory.
    pub fn store(&self, directory: &Path) -> io::Result<()> {
        for (key, bytes) in &self.0 {
            let path = directory.join(key);
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
            fs::write(path, bytes)?;
        }
        Ok(())
    }

    /// The keys of the objects.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl ArchiveSource for Archive {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.0.get(key).cloned())
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.0.keys().cloned().collect())
    }
}

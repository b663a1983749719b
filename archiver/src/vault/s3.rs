//! A vault in an object store that speaks S3.

use std::sync::{Mutex, PoisonError};

use object_store::{
    Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use verifier::store::s3::reason::{Meaning, meaning, told};
use verifier::store::{ArchiveSource, Lock, S3Settings, S3Source, SourceError};

use super::{Guarantee, Guarantees, Removal, Vault, VaultError};

/// An ETag that no object has.
const NO_ETAG: &str = "\"00000000000000000000000000000000\"";

/// Objects below a prefix of a bucket.
///
/// Each object is written by one request, which lands whole or not at all: never in parts, as an
/// upload in parts overwrites what is there. A write may land though its answer is lost, fail though
/// the store says that it is there already (as a request is made again inside the connection), or
/// overwrite, in a store that ignores conditions. So the store's word decides nothing: what lies
/// under the key does, before and after.
#[derive(Debug)]
pub struct S3Vault {
    source: S3Source,
    known: Mutex<Guarantees>,
}

/// What became of a write.
enum Write {
    /// The store says that it was made.
    Made,
    /// It was made or not: what lies there says.
    Uncertain(String),
}

impl S3Vault {
    /// Opens `s3://bucket/prefix`. Nothing is asked of the store yet.
    pub fn open(address: &str, settings: &S3Settings) -> Result<Self, VaultError> {
        Ok(Self::over(S3Source::open(address, settings)?))
    }

    /// The vault of what a source reads.
    pub fn over(source: S3Source) -> Self {
        Self { source, known: Mutex::default() }
    }

    /// What is known of the store.
    fn known(&self) -> Guarantees {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one request to write.
    fn put(
        &self,
        key: &str,
        bytes: &[u8],
        mode: PutMode,
    ) -> Result<Result<(), Error>, SourceError> {
        let (store, path) = (self.source.store(), self.source.path(key)?);
        let payload = PutPayload::from(bytes.to_vec());
        let options = PutOptions { mode, ..PutOptions::default() };
        self.source.ask(bytes.len(), async move {
            store.put_opts(&path, payload, options).await.map(|_version| ())
        })
    }

    /// Writes, and says whether it is certain that the write was made. What no other attempt can
    /// mend is an error.
    fn write(&self, key: &str, bytes: &[u8], mode: PutMode) -> Result<Write, VaultError> {
        let Err(error) = self.put(key, bytes, mode)? else {
            return Ok(Write::Made);
        };
        let reason = told(&error);
        match meaning(&error) {
            Meaning::Condition | Meaning::Conflict | Meaning::Passing => {
                Ok(Write::Uncertain(reason))
            }
            // To write where nothing is asks for nothing but the bucket.
            Meaning::Refused | Meaning::Unknown | Meaning::NoBucket | Meaning::Absent => {
                Err(VaultError::Store { key: key.to_owned(), reason })
            }
        }
    }

    /// Whether these bytes stand under the key already.
    fn stands(&self, key: &str, bytes: &[u8]) -> Result<bool, VaultError> {
        match self.source.get(key)? {
            None => Ok(false),
            Some(found) if found == bytes => Ok(true),
            Some(_) => Err(VaultError::Differs(key.to_owned())),
        }
    }

    /// How the object that stands under `key` is replaced: by its ETag, where the store heeds it.
    fn mode_to_replace(&self, held: Option<Option<String>>) -> PutMode {
        match held {
            None => PutMode::Create,
            Some(e_tag) if e_tag.is_some() && self.known().replace != Guarantee::Compared => {
                PutMode::Update(UpdateVersion { e_tag, version: None })
            }
            Some(_) => PutMode::Overwrite,
        }
    }

    /// What the store makes of a condition that does not hold, on an object whose own bytes are
    /// written.
    fn ask(&self, key: &str, bytes: &[u8], mode: &PutMode) -> Result<Guarantee, VaultError> {
        let patience = self.source.patience();
        for attempt in 0..patience.attempts {
            match self.put(key, bytes, mode.clone())? {
                Ok(()) => return Ok(Guarantee::Compared),
                Err(error) => match meaning(&error) {
                    Meaning::Condition => return Ok(Guarantee::Store),
                    Meaning::Unknown => return Ok(Guarantee::Compared),
                    Meaning::Refused | Meaning::NoBucket | Meaning::Absent => {
                        return Ok(Guarantee::Unknown);
                    }
                    Meaning::Conflict | Meaning::Passing => {}
                },
            }
            patience.pause_after(attempt);
        }
        Ok(Guarantee::Unknown)
    }
}

impl ArchiveSource for S3Vault {
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

impl Vault for S3Vault {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let patience = self.source.patience();
        let mut reason = String::new();
        for attempt in 0..patience.attempts {
            // Asked first, since a store that ignores conditions would overwrite what is there.
            if self.stands(key, bytes)? {
                return Ok(());
            }
            match self.write(key, bytes, PutMode::Create)? {
                // A store that is not known to heed conditions may have taken a write of someone
                // else's at the same moment: the next round looks.
                Write::Made if self.known().create == Guarantee::Store => return Ok(()),
                Write::Made => {}
                Write::Uncertain(why) => {
                    reason = why;
                    patience.pause_after(attempt);
                }
            }
        }
        if self.stands(key, bytes)? {
            return Ok(());
        }
        Err(VaultError::Store { key: key.to_owned(), reason })
    }

    fn replace(&self, key: &str, before: Option<&[u8]>, bytes: &[u8]) -> Result<(), VaultError> {
        let patience = self.source.patience();
        let mut reason = String::new();
        for attempt in 0..=patience.attempts {
            let held = self.source.held(key)?;
            let found = held.as_ref().map(|held| held.bytes.as_slice());
            // The same replacement again is one that was made and not heard of.
            if found == Some(bytes) {
                return Ok(());
            }
            if found != before {
                return Err(VaultError::Moved(key.to_owned()));
            }
            if attempt == patience.attempts {
                break;
            }
            let mode = self.mode_to_replace(held.map(|held| held.e_tag));
            match self.write(key, bytes, mode)? {
                Write::Made if self.known().replace == Guarantee::Store => return Ok(()),
                Write::Made => {}
                Write::Uncertain(why) => {
                    reason = why;
                    patience.pause_after(attempt);
                }
            }
        }
        Err(VaultError::Store { key: key.to_owned(), reason })
    }

    fn remove(&self, key: &str) -> Result<Removal, VaultError> {
        let patience = self.source.patience();
        let mut reason = String::new();
        for attempt in 0..patience.attempts {
            let (store, path) = (self.source.store(), self.source.path(key)?);
            let removed = self.source.ask(0, async move { store.delete(&path).await })?;
            let Err(error) = removed else {
                return Ok(Removal::Gone);
            };
            match meaning(&error) {
                Meaning::Absent => return Ok(Removal::Gone),
                Meaning::Refused | Meaning::Unknown => {
                    let is_there = self.source.get(key)?.is_some();
                    return Ok(if is_there { Removal::Kept } else { Removal::Gone });
                }
                Meaning::NoBucket | Meaning::Condition | Meaning::Conflict | Meaning::Passing => {
                    reason = told(&error);
                    patience.pause_after(attempt);
                }
            }
        }
        Err(VaultError::Store { key: key.to_owned(), reason })
    }

    /// One request is one whole object: nothing is ever left unfinished.
    fn tidy(&self) -> Result<(), VaultError> {
        Ok(())
    }

    fn probe(&self, key: &str) -> Result<Guarantees, VaultError> {
        // The object's own bytes: where the store does not refuse them, nothing has changed.
        if let Some(bytes) = self.source.get(key)? {
            let create = self.ask(key, &bytes, &PutMode::Create)?;
            let other = UpdateVersion { e_tag: Some(NO_ETAG.to_owned()), version: None };
            let replace = self.ask(key, &bytes, &PutMode::Update(other))?;
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
                Guarantees { create, replace };
        }
        Ok(self.known())
    }
}

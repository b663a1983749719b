//! Archives in object stores that speak S3.
//!
//! Here: [`S3Source`], and what the write side needs of it: its connection ([`S3Source::store`]),
//! the path of a key, an object with its ETag, and a way to wait for the store ([`S3Source::ask`]).
//! Not here: writing (see the `archiver` crate); settings and credentials (see [`connect`]); what
//! an error of the store means (see [`mod@reason`]).

pub mod connect;
mod engine;
mod lock;
pub mod reason;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::{ArchiveSource, Lock, OBJECTS_MAX, S3Settings, SourceError, most_bytes};
use engine::Engine;
use lock::LockClient;
use reason::{Meaning, meaning, told};

/// How often a request is made before it has failed, and how long to wait before the second time;
/// each further wait is twice as long. The connection itself makes requests again, too: this is for
/// what it does not mend, such as a body that ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often, at least once.
    pub attempts: u32,
    /// The first wait.
    pub pause: Duration,
    /// How long the store may be silent: before it answers, and between two pieces of a body.
    pub silence: Duration,
}

impl Patience {
    /// Five times, in three seconds and more.
    pub const DEFAULT: Self =
        Self { attempts: 5, pause: Duration::from_millis(200), silence: Duration::from_secs(30) };

    /// How long a request may take that carries so many bytes: a store that takes in less than a
    /// quarter of a megabyte a second is as good as silent.
    fn with_bytes(&self, bytes: usize) -> Duration {
        let seconds = u64::try_from(bytes >> 18).unwrap_or(u64::MAX);
        self.silence.saturating_add(Duration::from_secs(seconds))
    }

    /// Waits after the attempt of this number, counted from zero; not after the last one.
    pub fn pause_after(&self, attempt: u32) {
        if attempt.saturating_add(1) < self.attempts {
            thread::sleep(self.pause.saturating_mul(1 << attempt.min(8)));
        }
    }
}

/// An object as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the store calls this version of it; none where it does not say.
    pub e_tag: Option<String>,
}

/// An archive below a prefix of a bucket.
///
/// Requests run on a thread of its own, and callers wait for it: so its calls may be made from any
/// thread, also from one that drives futures.
#[derive(Debug)]
pub struct S3Source {
    address: String,
    /// Segments joined by `/`, without one at either end; empty for the whole bucket.
    prefix: String,
    store: Arc<dyn ObjectStore>,
    /// None over a store that is no connection to a bucket.
    locks: Option<LockClient>,
    patience: Patience,
    engine: Engine,
}

/// What a request comes to, unless the store is silent for too long.
async fn within<T>(
    silence: Duration,
    request: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    tokio::time::timeout(silence, request).await.unwrap_or_else(|_elapsed| {
        let source = format!("the store has been silent for {} seconds", silence.as_secs());
        Err(object_store::Error::Generic { store: "S3", source: source.into() })
    })
}

/// Whether a segment is one that keys of archives are made of.
fn is_plain(segment: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '=');
    !matches!(segment, "" | "." | "..") && segment.chars().all(is_allowed)
}

impl S3Source {
    /// Opens `s3://bucket/prefix`. Nothing is asked of the store yet.
    pub fn open(address: &str, settings: &S3Settings) -> Result<Self, SourceError> {
        let (bucket, prefix) = connect::split(address)?;
        let store = connect::connect(bucket, settings)?;
        Self::connected(store, address, prefix, Patience::DEFAULT)
    }

    /// The archive below a prefix of a bucket that is connected to.
    pub fn connected(
        store: AmazonS3,
        address: &str,
        prefix: &str,
        patience: Patience,
    ) -> Result<Self, SourceError> {
        let store = Arc::new(store);
        let locks = LockClient::new(Arc::clone(&store), &connect::any_scheme());
        let locks = locks.map_err(|error| SourceError::Settings(error.to_string()))?;
        let source = Self::over(store, address, prefix, patience)?;
        Ok(Self { locks: Some(locks), ..source })
    }

    /// The archive below a prefix of any store. The address is for messages.
    pub fn over(
        store: Arc<dyn ObjectStore>,
        address: &str,
        prefix: &str,
        patience: Patience,
    ) -> Result<Self, SourceError> {
        if !prefix.is_empty() && !prefix.split('/').all(is_plain) {
            return Err(SourceError::Address(address.to_owned()));
        }
        let engine =
            Engine::start().map_err(|error| SourceError::Io { key: address.to_owned(), error })?;
        let (address, prefix) = (address.to_owned(), prefix.to_owned());
        Ok(Self { address, prefix, store, locks: None, patience, engine })
    }

    /// The connection.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// How often a request is made.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Where the object of a key lies. Built from segments that are allowed one by one, so no key
    /// leads out of the archive.
    pub fn path(&self, key: &str) -> Result<Path, SourceError> {
        if !key.split('/').all(is_plain) {
            return Err(SourceError::Key(key.to_owned()));
        }
        let prefix = self.prefix.split('/').filter(|segment| !segment.is_empty());
        Ok(Path::from_iter(prefix.chain(key.split('/'))))
    }

    /// Makes a request of the store that carries so many bytes, and waits until it is answered. One
    /// that is not answered in time has been done or not.
    pub fn ask<T: Send + 'static>(
        &self,
        bytes: usize,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<object_store::Result<T>, SourceError> {
        let silence = self.patience.with_bytes(bytes);
        self.wait(async move { within(silence, request).await })
    }

    /// Runs requests of the store, and waits until they are done.
    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, SourceError> {
        self.engine.wait(request).ok_or_else(|| {
            let reason = "the request broke off inside this program".to_owned();
            SourceError::Store { key: self.address.clone(), reason }
        })
    }

    /// What an error means for whoever reads `key`.
    fn failed(&self, key: &str, error: &object_store::Error) -> SourceError {
        if meaning(error) == Meaning::NoBucket {
            return SourceError::Bucket { address: self.address.clone() };
        }
        SourceError::Store { key: key.to_owned(), reason: told(error) }
    }

    /// Reads an object once.
    fn read(&self, key: &str, most: u64) -> Result<Result<Option<Held>, Failed>, SourceError> {
        let (store, path) = (self.store(), self.path(key)?);
        let (key, silence) = (key.to_owned(), self.patience.silence);
        let request = async move {
            let object = match within(silence, store.get(&path)).await {
                Ok(object) => object,
                Err(error) if meaning(&error) == Meaning::Absent => return Ok(None),
                Err(error) => return Err(Failed::Store(error)),
            };
            let (announced, e_tag) = (object.meta.size, object.meta.e_tag.clone());
            let too_large = |bytes| SourceError::TooLarge { key: key.clone(), bytes, most };
            if announced > most {
                return Err(Failed::Finally(too_large(announced)));
            }
            let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
            let (mut body, mut found) = (object.into_stream(), 0_u64);
            while let Some(piece) = within(silence, body.try_next()).await.map_err(Failed::Store)? {
                // No store is believed to keep to what it announced.
                found = found.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                if found > announced {
                    break;
                }
                bytes.extend_from_slice(&piece);
            }
            if found != announced {
                return Err(Failed::Source(SourceError::CutShort { key, announced, found }));
            }
            Ok(Some(Held { bytes, e_tag }))
        };
        self.wait(request)
    }

    /// An object with what the store calls this version of it; `None` where there is none.
    pub fn held(&self, key: &str) -> Result<Option<Held>, SourceError> {
        self.held_within(key, most_bytes(key))
    }

    fn held_within(&self, key: &str, most: u64) -> Result<Option<Held>, SourceError> {
        let mut attempt = 0;
        loop {
            let error = match self.read(key, most)? {
                Ok(held) => return Ok(held),
                Err(Failed::Finally(error)) => return Err(error),
                Err(Failed::Store(error)) if meaning(&error) != Meaning::Passing => {
                    return Err(self.failed(key, &error));
                }
                Err(Failed::Store(error)) => self.failed(key, &error),
                Err(Failed::Source(error)) => error,
            };
            self.patience.pause_after(attempt);
            attempt += 1;
            if attempt >= self.patience.attempts {
                return Err(error);
            }
        }
    }

    /// Lists once: every key below the prefix, as the store has it.
    fn read_list(&self) -> Result<Result<Vec<String>, Failed>, SourceError> {
        let (store, silence) = (self.store(), self.patience.silence);
        let start =
            if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let prefix = (!self.prefix.is_empty()).then(|| Path::from(self.prefix.as_str()));
        self.wait(async move {
            let mut keys = Vec::new();
            // Page by page: nothing but the keys is kept.
            let mut pages = store.list(prefix.as_ref());
            while let Some(object) =
                within(silence, pages.try_next()).await.map_err(Failed::Store)?
            {
                let location = object.location.as_ref();
                // Consoles make an empty object of the prefix itself, to show it as a folder.
                if start.strip_suffix('/') == Some(location) {
                    continue;
                }
                let Some(key) = location.strip_prefix(&start) else {
                    return Err(Failed::Finally(SourceError::Key(location.to_owned())));
                };
                if keys.len() >= OBJECTS_MAX {
                    return Err(Failed::Finally(SourceError::TooMany(OBJECTS_MAX)));
                }
                keys.push(key.to_owned());
            }
            Ok(keys)
        })
    }
}

/// Why a request has failed.
enum Failed {
    /// By the store's word.
    Store(object_store::Error),
    /// By what came; another attempt may help.
    Source(SourceError),
    /// No other attempt can help.
    Finally(SourceError),
}

impl ArchiveSource for S3Source {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.held(key)?.map(|held| held.bytes))
    }

    fn get_within(&self, key: &str, most: u64) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.held_within(key, most)?.map(|held| held.bytes))
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        let mut attempt = 0;
        loop {
            let error = match self.read_list()? {
                Ok(mut keys) => {
                    // Not every store lists in byte order.
                    keys.sort_unstable();
                    return Ok(keys);
                }
                Err(Failed::Finally(error)) => return Err(error),
                Err(Failed::Store(error)) if meaning(&error) != Meaning::Passing => {
                    // A listing is never absent: it is the bucket that is not there.
                    return Err(match meaning(&error) {
                        Meaning::Absent => SourceError::Bucket { address: self.address.clone() },
                        _ => self.failed(&self.address, &error),
                    });
                }
                Err(Failed::Store(error)) => self.failed(&self.address, &error),
                Err(Failed::Source(error)) => error,
            };
            self.patience.pause_after(attempt);
            attempt += 1;
            if attempt >= self.patience.attempts {
                return Err(error);
            }
        }
    }

    fn lock(&self, key: &str) -> Result<Lock, SourceError> {
        let Some(locks) = self.locks.clone() else {
            return Ok(Lock::Unknown);
        };
        let path = self.path(key)?;
        // What fails here says nothing about the lock, and is no reason to stop.
        Ok(self.ask(0, locks.lock(path))?.unwrap_or_default())
    }
}

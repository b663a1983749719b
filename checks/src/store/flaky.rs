//! An object store in memory that fails by a script, and remembers what it has done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use ledger::hash::Digest;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};

/// Most requests that pass before a late write lands.
pub const LATE_MAX: usize = 40;

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 500, and nothing is done.
    Internal,
    /// 503 SlowDown, and nothing is done.
    SlowDown,
    /// It is done, and the answer does not come before the time is up.
    TimeOutAfter,
    /// The connection is reset: a write has been done, a read breaks off in the middle of its body.
    ResetAfter,
    /// A read ends in the middle of its body as if that were all; of a write, as `TimeOutAfter`.
    CutShort,
    /// A write is done twice, as by a connection that makes its requests again; the answer is the
    /// second one's, so that our own object is in our way.
    Twice,
    /// A write is done, and done again some requests later, up to [`LATE_MAX`]: by then its object may
    /// have been replaced or removed.
    Late,
    /// 409: someone else's request is in flight, and nothing is done.
    Conflict,
    /// A listing does not have the newest objects yet; of anything else, as `Internal`.
    Stale,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Internal,
        Self::SlowDown,
        Self::TimeOutAfter,
        Self::ResetAfter,
        Self::CutShort,
        Self::Twice,
        Self::Late,
        Self::Conflict,
        Self::Stale,
    ];
}

/// What a store has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// An object was written, with these bytes.
    Wrote(String, Digest),
    /// An object was given to its end, with these bytes.
    Gave(String, Digest),
    /// An upload in parts was begun.
    BeganParts(String),
}

struct Write {
    path: Path,
    bytes: Bytes,
    options: PutOptions,
}

#[derive(Default)]
struct State {
    /// What happens to the next requests, the last one first; nothing where it has run out.
    script: Vec<Option<Fault>>,
    acts: Vec<Act>,
    /// Writes that will be done again, each with the number of requests until then.
    late: Vec<(usize, Write)>,
    newest: Vec<Path>,
    hit: BTreeMap<String, u32>,
}

/// The store. Clones are the same one.
#[derive(Clone)]
pub struct Flaky {
    base: Arc<InMemory>,
    state: Arc<Mutex<State>>,
    ignores_conditions: bool,
    keeps_all: bool,
}

impl fmt::Debug for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flaky")
    }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flaky store")
    }
}

impl Default for Flaky {
    fn default() -> Self {
        Self::new()
    }
}

/// An error like the ones of an S3 connection.
fn failed(answer: &'static str) -> Error {
    let source =
        format!("Error performing request - Server returned non-2xx status code: {answer}");
    Error::Generic { store: "S3", source: source.into() }
}

fn broken(reason: &'static str) -> Error {
    Error::Generic { store: "S3", source: reason.into() }
}

fn conflict(path: &Path) -> Error {
    let answer = "Server returned non-2xx status code: 409 Conflict: ConditionalRequestConflict";
    Error::AlreadyExists { path: path.to_string(), source: answer.into() }
}

impl Flaky {
    /// An empty store that never fails.
    pub fn new() -> Self {
        let (base, state) = (Arc::new(InMemory::new()), Arc::default());
        Self { base, state, ignores_conditions: false, keeps_all: false }
    }

    /// One that overwrites whatever the condition of a write.
    pub fn without_conditions() -> Self {
        Self { ignores_conditions: true, ..Self::new() }
    }

    /// One that lets nobody remove anything.
    pub fn without_removal() -> Self {
        Self { keeps_all: true, ..Self::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to the next requests, in order.
    pub fn follow(&self, mut script: Vec<Option<Fault>>) {
        script.reverse();
        self.state().script = script;
    }

    /// How many requests of the script are left.
    pub fn left(&self) -> usize {
        self.state().script.len()
    }

    /// What it has done, in order.
    pub fn acts(&self) -> Vec<Act> {
        self.state().acts.clone()
    }

    /// How often each fault has met a request, by its name.
    pub fn hit(&self) -> BTreeMap<String, u32> {
        self.state().hit.clone()
    }

    /// What happens to a request that comes now. Late writes land first.
    async fn next(&self, request: &'static str) -> Option<Fault> {
        let late = {
            let mut state = self.state();
            state.late.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
            state.late.extract_if(.., |(left, _)| *left == 0).collect::<Vec<_>>()
        };
        for (_, write) in late {
            // Nobody hears of it.
            let _ = self.land(write).await;
        }
        let mut state = self.state();
        let fault = state.script.pop().flatten();
        if let Some(fault) = fault {
            *state.hit.entry(format!("{request} {fault:?}")).or_default() += 1;
        }
        fault
    }

    async fn land(&self, write: Write) -> Result<PutResult> {
        let Write { path, bytes, mut options } = write;
        if self.ignores_conditions {
            options.mode = PutMode::Overwrite;
        }
        let digest = Digest::of(&bytes);
        let landed = self.base.put_opts(&path, bytes.into(), options).await?;
        let mut state = self.state();
        state.acts.push(Act::Wrote(path.to_string(), digest));
        state.newest.push(path);
        Ok(landed)
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let bytes = Bytes::from(payload);
        let write = || Write { path: path.clone(), bytes: bytes.clone(), options: options.clone() };
        match self.next("PUT").await {
            None => self.land(write()).await,
            Some(Fault::Internal | Fault::Stale) => Err(failed("500 Internal Server Error")),
            Some(Fault::SlowDown) => Err(failed("503 Service Unavailable: SlowDown")),
            Some(Fault::Conflict) => Err(conflict(path)),
            Some(Fault::TimeOutAfter | Fault::CutShort) => {
                self.land(write()).await?;
                Err(broken("HTTP error: operation timed out"))
            }
            Some(Fault::ResetAfter) => {
                self.land(write()).await?;
                Err(broken("HTTP error: connection reset by peer"))
            }
            Some(Fault::Twice) => {
                self.land(write()).await?;
                self.land(write()).await
            }
            Some(Fault::Late) => {
                let landed = self.land(write()).await;
                let mut state = self.state();
                let left = state.script.len() % LATE_MAX + 1;
                state.late.push((left, write()));
                landed
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.state().acts.push(Act::BeganParts(path.to_string()));
        Err(failed("501 Not Implemented"))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.next("GET").await;
        match fault {
            Some(Fault::Internal | Fault::Stale | Fault::Conflict) => {
                return Err(failed("500 Internal Server Error"));
            }
            Some(Fault::SlowDown) => return Err(failed("503 Service Unavailable: SlowDown")),
            Some(Fault::TimeOutAfter) => return Err(broken("HTTP error: operation timed out")),
            None | Some(Fault::ResetAfter | Fault::CutShort | Fault::Twice | Fault::Late) => {}
        }
        let found = self.base.get_opts(path, options).await?;
        let (meta, range) = (found.meta.clone(), found.range.clone());
        let attributes = found.attributes.clone();
        let bytes = found.bytes().await?;
        let half = bytes.slice(..bytes.len() / 2);
        let pieces = match fault {
            Some(Fault::ResetAfter) => {
                vec![Ok(half), Err(broken("HTTP error: connection reset by peer"))]
            }
            Some(Fault::CutShort) if !bytes.is_empty() => vec![Ok(half)],
            _ => {
                let digest = Digest::of(&bytes);
                self.state().acts.push(Act::Gave(path.to_string(), digest));
                vec![Ok(bytes)]
            }
        };
        let payload = GetResultPayload::Stream(stream::iter(pieces).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |path: Result<Path>| {
            let store = store.clone();
            async move {
                let path = path?;
                let fault = store.next("DELETE").await;
                if store.keeps_all {
                    let answer = "DeleteObjects request failed for key: kept (code: AccessDenied)";
                    return Err(broken(answer));
                }
                match fault {
                    Some(Fault::Internal | Fault::Stale) => {
                        return Err(failed("500 Internal Server Error"));
                    }
                    Some(Fault::SlowDown) => {
                        return Err(failed("503 Service Unavailable: SlowDown"));
                    }
                    Some(Fault::Conflict) => return Err(conflict(&path)),
                    None
                    | Some(
                        Fault::TimeOutAfter
                        | Fault::ResetAfter
                        | Fault::CutShort
                        | Fault::Twice
                        | Fault::Late,
                    ) => {}
                }
                store.base.delete(&path).await?;
                match fault {
                    Some(Fault::TimeOutAfter | Fault::ResetAfter | Fault::CutShort) => {
                        Err(broken("HTTP error: operation timed out"))
                    }
                    _ => Ok(path),
                }
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listing = async move {
            let fault = store.next("LIST").await;
            let mut objects: Vec<_> = store.base.list(prefix.as_ref()).map(Ok).collect().await;
            match fault {
                Some(Fault::Stale) => {
                    let newest =
                        store.state().newest.iter().rev().take(3).cloned().collect::<Vec<_>>();
                    objects.retain(|object: &Result<Result<ObjectMeta>>| {
                        let location = match object {
                            Ok(Ok(object)) => &object.location,
                            _ => return true,
                        };
                        !newest.contains(location)
                    });
                }
                None | Some(Fault::Twice | Fault::Late) => {}
                Some(_) => {
                    objects.insert(objects.len() / 2, Err(failed("500 Internal Server Error")))
                }
            }
            stream::iter(objects.into_iter().map(|object| object.and_then(|object| object)))
        };
        stream::once(listing).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.base.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.base.copy_opts(from, to, options).await
    }
}

impl Flaky {
    /// Every object, as it lies there, without any fault.
    pub async fn objects(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut objects = BTreeMap::new();
        let mut listing = self.base.list(None);
        while let Some(object) = listing.try_next().await? {
            let bytes = self.base.get(&object.location).await?.bytes().await?;
            objects.insert(object.location.to_string(), bytes.to_vec());
        }
        Ok(objects)
    }
}

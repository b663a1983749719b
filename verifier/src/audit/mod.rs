//! Drives [`ledger::verify::Audit`]: fetches what it asks for, and checks chunks in parallel.

mod shard;

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope, available_parallelism};

use bytes::Bytes;
use ledger::chain::RESERVED;
use ledger::chunk::ChunkManifest;
use ledger::layout::Artefact;
use ledger::verify::{Audit, Check, ChunkCheck, ChunkOutcome, Depth, Finding, Need, Place};
use ledger::verify::{Policy, Report, Trust};

use crate::ids::{IdFile, Ids};
use crate::part::Parts;
use crate::room::{OBJECTS, Share};
use crate::rows::{self, RowsError};
use crate::state::{ResumeError, StateDirectory, Unkept};
use crate::store::{ArchiveSource, OBJECT_BYTES_MAX, SMALL_BYTES_MAX, SourceError};

pub use shard::{ShardReport, check_shard};

/// Small objects that are fetched at a time: a store far away answers each of them late.
const READERS: usize = 16;

/// Told how far a verification has come, and asked whether it should go on.
pub trait Progress: Sync {
    /// A chunk of so many events has been checked, of so many in all by what the log states; so many chunks are
    /// left.
    fn chunk(&self, events: u64, of: u64, chunks_left: usize);

    /// Whether to go on. Where not, what is under way is finished, and the report says that the rest
    /// was not checked.
    fn go_on(&self) -> bool {
        true
    }
}

/// Told nothing.
impl Progress for () {
    fn chunk(&self, _events: u64, _of: u64, _chunks_left: usize) {}
}

enum Answer {
    Listing(Result<Vec<String>, SourceError>),
    /// Behind the room that it takes, where it is large: what is named last is dropped first.
    Object(Option<Share<'static>>, Artefact, Result<Option<Vec<u8>>, SourceError>),
    Chunk(usize, Arc<ChunkManifest>, ChunkOutcome),
    Unreadable(Need, SourceError),
}

/// Verifies an archive: chunks on every core that this process may use, and no more of them in memory.
pub fn verify<S>(source: &S, trust: Trust, policy: Policy, progress: &dyn Progress) -> Report
where
    S: ArchiveSource + Sync,
{
    verify_by_parts(source, trust, policy, &Parts::default(), progress)
}

/// The same, where some chunks were checked before: they are not read again.
pub fn verify_by_parts<S>(
    source: &S,
    trust: Trust,
    policy: Policy,
    parts: &Parts,
    progress: &dyn Progress,
) -> Report
where
    S: ArchiveSource + Sync,
{
    let mut audit = Audit::new(trust, policy);
    run_by_parts(source, &mut audit, parts, progress);
    audit.finish()
}

/// Verifies what is new since the state in a directory, and keeps the new state there: not where tampering was
/// found, or something could not be read.
pub fn verify_from<S>(
    source: &S,
    trust: Trust,
    policy: Policy,
    directory: &StateDirectory,
    parts: &Parts,
    progress: &dyn Progress,
) -> Result<Report, ResumeError>
where
    S: ArchiveSource + Sync,
{
    let (audit, kept) = run_from(source, trust, policy, directory, parts, progress)?;
    let report = audit.finish();
    match kept {
        Ok(()) => Ok(report),
        Err(failure) => Err(ResumeError::Unkept { failure, report: Box::new(report) }),
    }
}

/// Brings an audit all that it needs, to its end; for who asks it for more than its report, as for the rollups that are
/// to be computed again ([`Audit::rollups`]).
pub fn run<S>(source: &S, audit: &mut Audit, progress: &dyn Progress)
where
    S: ArchiveSource + Sync,
{
    run_by_parts(source, audit, &Parts::default(), progress);
}

fn run_by_parts<S>(source: &S, audit: &mut Audit, parts: &Parts, progress: &dyn Progress)
where
    S: ArchiveSource + Sync,
{
    let mut whole = Whole { ids: Ids::default(), parts, progress };
    drive(source, audit, parts, &mut whole, progress);
    // There is no directory to keep files of ids in.
    let _ = tell(audit, whole.ids);
}

/// The same for one that goes on from the state in a directory, and is kept there; or why it could not be.
pub(crate) fn run_from<S>(
    source: &S,
    trust: Trust,
    policy: Policy,
    directory: &StateDirectory,
    parts: &Parts,
    progress: &dyn Progress,
) -> Result<(Audit, Result<(), Unkept>), ResumeError>
where
    S: ArchiveSource + Sync,
{
    let (mut audit, ids) = directory.audit(trust, policy)?;
    let mut whole = Whole { ids, parts, progress };
    drive(source, &mut audit, parts, &mut whole, progress);
    let files = tell(&mut audit, whole.ids);
    let kept = match (files, audit.state()) {
        (Some(files), Some(state)) => directory.keep(&state, &files),
        (None, _) | (_, None) => Ok(()),
    };
    Ok((audit, kept))
}

/// Tells the audit of the ids that stand twice; `None` where that cannot be known.
fn tell(audit: &mut Audit, ids: Ids) -> Option<Vec<IdFile>> {
    ids.tell(audit)
        .inspect_err(|error| {
            audit.unchecked(format!("that no event id stands twice: a file of ids: {error}"));
        })
        .ok()
}

/// Takes what was fetched and checked to where it belongs.
trait Sink {
    /// Whether something is to be fetched at all.
    fn wants(&mut self, audit: &Audit, need: &Need) -> bool;

    /// Takes the answer to a need.
    fn take(&mut self, audit: &mut Audit, answer: Answer);
}

/// All of it goes to the audit, and event ids beside it.
struct Whole<'a> {
    ids: Ids,
    parts: &'a Parts,
    progress: &'a dyn Progress,
}

impl Sink for Whole<'_> {
    fn wants(&mut self, _audit: &Audit, _need: &Need) -> bool {
        true
    }

    fn take(&mut self, audit: &mut Audit, answer: Answer) {
        let answer = match answer {
            // Whether a chunk that a part holds is still as it was then, nobody looks; that it is still there, the
            // listing says.
            Answer::Chunk(index, manifest, _)
                if self.parts.holds(&manifest) && !audit.may_be_there(&manifest.object) =>
            {
                let finding = Finding::new(Check::ObjectMissing, Place::chunk(&manifest));
                Answer::Chunk(index, manifest, ChunkOutcome::broken(finding))
            }
            answer => answer,
        };
        take(audit, answer, self.progress);
        self.ids.keep(audit.take_ids());
    }
}

/// Brings the audit everything that it needs, or what a sink wants of that.
fn drive<S>(
    source: &S,
    audit: &mut Audit,
    parts: &Parts,
    sink: &mut dyn Sink,
    progress: &dyn Progress,
) where
    S: ArchiveSource + Sync,
{
    let checkers = available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let (give, answers) = mpsc::channel();
        let mut chunks = Workers::start(scope, source, parts, checkers, &give);
        // One waits for whichever checker is done first.
        chunks.most = checkers.saturating_add(1);
        let mut objects = Workers::start(scope, source, parts, READERS, &give);
        drop(give);
        let mut held = None;
        loop {
            while progress.go_on()
                && let Some(need) = held.take().or_else(|| wanted(audit, sink))
            {
                let workers = if is_large(&need) { &mut chunks } else { &mut objects };
                if let Err(need) = workers.ask(need) {
                    held = Some(need);
                    break;
                }
            }
            if chunks.busy == 0 && objects.busy == 0 {
                break;
            }
            let Ok((large, answer)) = answers.recv() else { break };
            let workers = if large { &mut chunks } else { &mut objects };
            workers.busy = workers.busy.saturating_sub(1);
            sink.take(audit, answer);
        }
    });
    if let Some(hour) = audit.last_hour() {
        let lock = source.lock(&Artefact::HourNote(hour).to_string());
        // What keeps the store from saying so is no finding: it is not known then.
        audit.locked(lock.unwrap_or_default());
    }
}

/// The next need that a sink wants.
fn wanted(audit: &mut Audit, sink: &mut dyn Sink) -> Option<Need> {
    loop {
        let need = audit.need()?;
        if sink.wants(audit, &need) {
            return Some(need);
        }
    }
}

/// Whether what is needed is a chunk's object, where one that was pruned or replaced and is still there is as
/// large as one that counts; or a rollup's, which is as large as its figures are many.
fn is_large(need: &Need) -> bool {
    matches!(need, Need::Chunk { .. } | Need::Object(Artefact::Events { .. } | Artefact::Rollup(_)))
}

/// Threads that fetch what is needed and check it.
struct Workers {
    needs: Sender<Need>,
    busy: usize,
    most: usize,
}

impl Workers {
    fn start<'scope, S: ArchiveSource + Sync>(
        scope: &'scope Scope<'scope, '_>,
        source: &'scope S,
        parts: &'scope Parts,
        count: usize,
        give: &Sender<(bool, Answer)>,
    ) -> Self {
        let (needs, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..count {
            let (waiting, give) = (Arc::clone(&waiting), give.clone());
            scope.spawn(move || {
                while let Some(need) = next(&waiting) {
                    let large = is_large(&need);
                    // Where nobody takes answers any more, there is nothing left to do.
                    if give.send((large, guarded(source, parts, need))).is_err() {
                        break;
                    }
                }
            });
        }
        Self { needs, busy: 0, most: count }
    }

    /// Hands on a need; gives it back where enough is under way.
    fn ask(&mut self, need: Need) -> Result<(), Need> {
        if self.busy >= self.most {
            return Err(need);
        }
        self.needs.send(need).map_err(|unsent| unsent.0)?;
        self.busy += 1;
        Ok(())
    }
}

fn next(waiting: &Mutex<Receiver<Need>>) -> Option<Need> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// The answer to a need. A bug in what checks it is no verdict: then the need was not met.
fn guarded<S: ArchiveSource>(source: &S, parts: &Parts, need: Need) -> Answer {
    let again = need.clone();
    catch_unwind(AssertUnwindSafe(|| answer(source, parts, need))).unwrap_or_else(|_| {
        let key = match &again {
            Need::Listing => String::new(),
            Need::Object(artefact) => artefact.to_string(),
            Need::Chunk { manifest, .. } => manifest.object.clone(),
        };
        let reason = "this verifier failed over it: please report that".to_owned();
        Answer::Unreadable(again, SourceError::Store { key, reason })
    })
}

fn take(audit: &mut Audit, answer: Answer, progress: &dyn Progress) {
    match answer {
        Answer::Listing(Ok(keys)) => audit.listing(keys),
        Answer::Listing(Err(error)) => audit.unreadable(&Need::Listing, error),
        Answer::Object(_share, artefact, Ok(bytes)) => audit.object(&artefact, bytes.as_deref()),
        Answer::Object(_, artefact, Err(error)) => audit.unreadable(&Need::Object(artefact), error),
        Answer::Unreadable(need, error) => audit.unreadable(&need, error),
        Answer::Chunk(index, _manifest, outcome) => {
            let events = outcome.rows;
            audit.chunk(index, outcome);
            progress.chunk(events, audit.total(), audit.extent().1);
        }
    }
}

fn answer<S: ArchiveSource>(source: &S, parts: &Parts, need: Need) -> Answer {
    match need {
        Need::Listing => Answer::Listing(source.list()),
        Need::Object(artefact) => {
            let (share, bytes) = object(source, &artefact);
            Answer::Object(share, artefact, bytes)
        }
        Need::Chunk { index, manifest, depth } => {
            let known = match depth {
                Depth::Whole | Depth::Again => parts.outcome(&manifest),
                Depth::Keys => None,
            };
            match known.map_or_else(|| chunk(source, &manifest, depth), Ok) {
                Ok(outcome) => Answer::Chunk(index, manifest, outcome),
                Err(error) => Answer::Unreadable(Need::Chunk { index, manifest, depth }, error),
            }
        }
    }
}

/// What the object of a chunk comes to.
fn chunk<S: ArchiveSource>(
    source: &S,
    manifest: &ChunkManifest,
    depth: Depth,
) -> Result<ChunkOutcome, SourceError> {
    match chunk_object(source, manifest) {
        Err(error) => match larger(manifest, &error) {
            Some(finding) => Ok(ChunkOutcome::broken(finding)),
            None => Err(error),
        },
        Ok(None) => {
            let finding = Finding::new(Check::ObjectMissing, Place::chunk(manifest));
            Ok(ChunkOutcome::broken(finding))
        }
        Ok(Some((_share, object))) => Ok(match depth {
            Depth::Whole | Depth::Again => check_chunk(manifest, &object),
            Depth::Keys => check_keys(manifest, &object),
        }),
    }
}

/// An object besides those of chunks that count. How large it is shows when it is read: what may be large
/// is held alone.
fn object<S: ArchiveSource>(
    source: &S,
    artefact: &Artefact,
) -> (Option<Share<'static>>, Result<Option<Vec<u8>>, SourceError>) {
    let key = artefact.to_string();
    let may_be_large =
        matches!(artefact, Artefact::HourHeads(_) | Artefact::Events { .. } | Artefact::Rollup(_));
    if !may_be_large {
        return (None, source.get(&key));
    }
    match source.get_within(&key, SMALL_BYTES_MAX) {
        Err(SourceError::TooLarge { .. }) => {
            let share = OBJECTS.take_all();
            (Some(share), source.get(&key))
        }
        read => (None, read),
    }
}

/// The object of a chunk, no larger than its manifest says, with the room that it takes. What an error means
/// that tells of a larger one, [`larger`] says.
pub(crate) fn chunk_object<S: ArchiveSource + ?Sized>(
    source: &S,
    manifest: &ChunkManifest,
) -> Result<Option<(Share<'static>, Bytes)>, SourceError> {
    let bytes = manifest.digest.bytes.min(OBJECT_BYTES_MAX);
    let share = OBJECTS.take(bytes);
    Ok(source.get_within(&manifest.object, bytes)?.map(|object| (share, Bytes::from(object))))
}

/// An object larger than its manifest says is another one than that names, whatever its bytes are.
pub(crate) fn larger(manifest: &ChunkManifest, error: &SourceError) -> Option<Finding> {
    let SourceError::TooLarge { bytes, most, .. } = error else { return None };
    (*most == manifest.digest.bytes).then(|| {
        Finding::new(Check::ObjectDigest, Place::chunk(manifest))
            .differs(format!("{most} bytes"), format!("{bytes} bytes"))
    })
}

/// Checks the object of a chunk that lies outside of the times asked for: row by row only where it says that
/// one of its events is the ledger's own.
fn check_keys(manifest: &ChunkManifest, object: &Bytes) -> ChunkOutcome {
    let check = match ChunkCheck::open(manifest, object) {
        Ok(check) => check,
        Err(outcome) => return outcome,
    };
    match rows::event_types(manifest, object, |kind| kind.starts_with(RESERVED)) {
        Ok(true) => check_chunk(manifest, object),
        Ok(false) => ChunkOutcome::outside(check),
        Err(error) => check.abandon(unreadable(manifest, &error)),
    }
}

/// Checks the object of one chunk against its manifest. The archiver checks what it reads back
/// from the store by the same call.
pub fn check_chunk(manifest: &ChunkManifest, object: &Bytes) -> ChunkOutcome {
    let mut check = match ChunkCheck::open(manifest, object) {
        Ok(check) => check,
        Err(outcome) => return outcome,
    };
    match rows::read(manifest, object, |row| check.row(row)) {
        Ok(()) => check.finish(),
        Err(error) => check.abandon(unreadable(manifest, &error)),
    }
}

/// What an object that cannot be read to its end means, as closely located as the error allows.
pub fn unreadable(manifest: &ChunkManifest, error: &RowsError) -> Finding {
    let mut place = Place::chunk(manifest);
    if let RowsError::RowCount { expected, found } = error {
        return Finding::new(Check::RowCount, place).differs(expected, found);
    }
    place.column = error.column();
    place.seq = error.row().and_then(|row| manifest.first_seq.get().checked_add(row));
    Finding::new(Check::ObjectUnreadable, place).because(error)
}

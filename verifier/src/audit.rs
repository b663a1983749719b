//! Drives [`ledger::verify::Audit`]: fetches what it asks for, decodes chunks in parallel.

use ledger::chunk::ChunkManifest;
use ledger::layout::Artefact;
use ledger::verify::{Audit, Check, ChunkCheck, ChunkOutcome, Finding, Need, Place};
use ledger::verify::{Policy, Report, Trust};
use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::rows::{self, RowsError};
use crate::store::{ArchiveSource, SourceError};

/// Small objects fetched at a time. A chunk counts for as many of them as keep every core at work
/// and no more chunks in memory than there are cores.
const BATCH: usize = 256;

/// Told how far a verification has come.
pub trait Progress: Sync {
    /// A chunk of so many events has been checked; so many chunks are left.
    fn chunk(&self, events: u64, chunks_left: usize);
}

/// Told nothing.
impl Progress for () {
    fn chunk(&self, _events: u64, _chunks_left: usize) {}
}

enum Answer {
    Listing(Result<Vec<String>, SourceError>),
    Object(Artefact, Result<Option<Vec<u8>>, SourceError>),
    Chunk(usize, ChunkOutcome),
    Unreadable(Need, SourceError),
}

/// Verifies an archive.
pub fn verify<S>(source: &S, trust: Trust, policy: Policy, progress: &dyn Progress) -> Report
where
    S: ArchiveSource + Sync,
{
    let mut audit = Audit::new(trust, policy);
    let chunk_weight = BATCH.div_ceil(rayon::current_num_threads());
    loop {
        let mut batch = Vec::new();
        let mut weight = 0;
        while weight < BATCH {
            let Some(need) = audit.need() else { break };
            weight += match &need {
                // An object that was pruned and is still there is as large as one that was not.
                Need::Chunk { .. } | Need::Object(Artefact::Events { .. }) => chunk_weight,
                Need::Listing | Need::Object(_) => 1,
            };
            batch.push(need);
        }
        if batch.is_empty() {
            if let Some(hour) = audit.last_hour() {
                let lock = source.lock(&Artefact::HourNote(hour).to_string());
                // What keeps the store from saying so is no finding: it is not known then.
                audit.locked(lock.unwrap_or_default());
            }
            return audit.finish();
        }
        let answers: Vec<_> = batch.into_par_iter().map(|need| answer(source, need)).collect();
        for answer in answers {
            give(&mut audit, answer, progress);
        }
    }
}

fn give(audit: &mut Audit, answer: Answer, progress: &dyn Progress) {
    match answer {
        Answer::Listing(Ok(keys)) => audit.listing(keys),
        Answer::Listing(Err(error)) => audit.unreadable(&Need::Listing, error),
        Answer::Object(artefact, Ok(bytes)) => audit.object(&artefact, bytes.as_deref()),
        Answer::Object(artefact, Err(error)) => audit.unreadable(&Need::Object(artefact), error),
        Answer::Unreadable(need, error) => audit.unreadable(&need, error),
        Answer::Chunk(index, outcome) => {
            let events = outcome.rows;
            audit.chunk(index, outcome);
            progress.chunk(events, audit.extent().1);
        }
    }
}

fn answer<S: ArchiveSource>(source: &S, need: Need) -> Answer {
    match need {
        Need::Listing => Answer::Listing(source.list()),
        Need::Object(artefact) => {
            let bytes = source.get(&artefact.to_string());
            Answer::Object(artefact, bytes)
        }
        Need::Chunk { index, manifest } => match source.get(&manifest.object) {
            Err(error) => Answer::Unreadable(Need::Chunk { index, manifest }, error),
            Ok(None) => {
                let finding = Finding::new(Check::ObjectMissing, Place::chunk(&manifest));
                Answer::Chunk(index, ChunkOutcome::broken(finding))
            }
            Ok(Some(object)) => Answer::Chunk(index, check_chunk(&manifest, &object)),
        },
    }
}

/// Checks the object of one chunk against its manifest. The archiver checks what it reads back
/// from the store by the same call.
pub fn check_chunk(manifest: &ChunkManifest, object: &[u8]) -> ChunkOutcome {
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
pub(crate) fn unreadable(manifest: &ChunkManifest, error: &RowsError) -> Finding {
    let mut place = Place::chunk(manifest);
    if let RowsError::RowCount { expected, found } = error {
        return Finding::new(Check::RowCount, place).differs(expected, found);
    }
    place.column = error.column();
    place.seq = error.row().and_then(|row| manifest.first_seq.get().checked_add(row));
    Finding::new(Check::ObjectUnreadable, place).because(error)
}

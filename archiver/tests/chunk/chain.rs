//! A chain of signed submissions, as the database would have it, and chunks that are made of it.

use archiver::chunk::{Chunk, ChunkError, ChunkMaker, Recorded, Submission};
use archiver::erasure::Erased;
use ledger::entry::{Entry, genesis_link, next_link};
use ledger::hash::Digest;
use ledger::key::SigningKey;
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::submission::{Counter, Statement};
use ledger::time::Hour;

pub fn origin() -> Origin {
    Origin::new("ledger.example.com/test").unwrap()
}

pub fn workspace() -> Workspace {
    Workspace::new("acme").unwrap()
}

pub fn hour() -> Hour {
    Hour::parse("2026-11-23T16:00:00Z").unwrap()
}

pub fn key() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}

/// Signs a submission for what its digests are now, and names it.
pub fn sign(submission: &mut Submission) {
    let digest = |event: &Recorded| Digest::from_bytes(event.payload_digest);
    let digests: Vec<_> = submission.events.iter().map(digest).collect();
    let counter = Counter::new(submission.counter).unwrap();
    let statement = Statement::new(&origin(), &workspace(), counter, &digests);
    let signature = key().sign(statement.as_str().as_bytes());
    submission.public_key = *key().public().as_bytes();
    submission.signature = *signature.as_bytes();
    let hash = statement.submission_hash(&submission.public_key, &signature);
    submission.submission_hash = *hash.as_bytes();
}

/// Gives every event of a chain the link that follows.
pub fn link(submissions: &mut [Submission]) {
    let mut link = genesis_link(&origin(), &workspace());
    for submission in submissions {
        let count = u16::try_from(submission.events.len()).unwrap();
        for (index, event) in (0..count).zip(&mut submission.events) {
            let entry = Entry {
                seq: Seq::new(event.seq).unwrap(),
                recorded_at: ledger::time::Micros::new(submission.recorded_at).unwrap(),
                event_id: EventId::from_bytes(event.event_id).unwrap(),
                payload_digest: Digest::from_bytes(event.payload_digest),
                submission_hash: Digest::from_bytes(submission.submission_hash),
                index_in_submission: index,
                submission_count: count,
            };
            link = next_link(&link, &entry.leaf());
            event.link = *link.as_bytes();
        }
    }
}

/// A chain of submissions of these sizes, all recorded at `at`.
pub fn chain(sizes: &[u16], at: i64) -> Vec<Submission> {
    let mut seq = 0_u64;
    let mut submission = |count: u16| {
        let events = (0..count).map(|_| {
            seq += 1;
            let id = EventId::from_bytes(u128::from(seq).to_be_bytes()).unwrap();
            let payload = format!(
                r#"{{"event_id":"{id}","event_type":"note","occurred_at":"2026-11-23T16:00:00Z","workspace_id":"acme"}}"#
            );
            Recorded {
                seq,
                event_id: *id.as_bytes(),
                payload_digest: *Digest::of(payload.as_bytes()).as_bytes(),
                link: [0; 32],
                payload: Some(payload.into()),
                archived: false,
            }
        });
        let mut submission = Submission {
            recorded_at: at,
            counter: 1,
            submission_hash: [0; 32],
            public_key: [0; 32],
            signature: [0; 64],
            events: events.collect(),
        };
        sign(&mut submission);
        submission
    };
    let mut submissions: Vec<_> = sizes.iter().map(|count| submission(*count)).collect();
    link(&mut submissions);
    submissions
}

pub fn make(submissions: &[Submission]) -> Result<Option<Chunk>, ChunkError> {
    make_without(submissions, &Erased::default())
}

pub fn make_without(
    submissions: &[Submission],
    erased: &Erased,
) -> Result<Option<Chunk>, ChunkError> {
    let (origin, workspace) = (origin(), workspace());
    let genesis = genesis_link(&origin, &workspace);
    let mut maker =
        ChunkMaker::new(&origin, &workspace, hour(), Seq::FIRST, genesis, erased).unwrap();
    submissions.iter().try_for_each(|submission| maker.push(submission))?;
    maker.finish()
}

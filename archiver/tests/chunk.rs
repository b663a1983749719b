//! What goes into a chunk, and what is kept out of it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use archiver::chunk::{Chunk, ChunkError, ChunkMaker, Limits, Recorded, Submission};
use archiver::erasure::Erased;
use ledger::entry::{Entry, genesis_link, next_link};
use ledger::hash::Digest;
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::time::{HOUR, Hour};
use verifier::rows::ChunkRows;

fn origin() -> Origin {
    Origin::new("ledger.example.com/test").unwrap()
}

fn workspace() -> Workspace {
    Workspace::new("acme").unwrap()
}

fn hour() -> Hour {
    Hour::parse("2026-11-23T16:00:00Z").unwrap()
}

/// A chain of submissions of these sizes, all recorded at `at`.
fn chain(sizes: &[u16], at: i64) -> Vec<Submission> {
    let mut link = genesis_link(&origin(), &workspace());
    let mut seq = 0_u64;
    let mut submission = |count: u16| {
        let events = (0..count).map(|index| {
            seq += 1;
            let id = EventId::from_bytes(u128::from(seq).to_be_bytes()).unwrap();
            let payload = format!(
                r#"{{"event_id":"{id}","event_type":"note","occurred_at":"2026-11-23T16:00:00Z","workspace_id":"acme"}}"#
            );
            let entry = Entry {
                seq: Seq::new(seq).unwrap(),
                recorded_at: ledger::time::Micros::new(at).unwrap(),
                event_id: id,
                payload_digest: Digest::of(payload.as_bytes()),
                submission_hash: Digest::from_bytes([3; 32]),
                index_in_submission: index,
                submission_count: count,
            };
            link = next_link(&link, &entry.leaf());
            Recorded {
                seq,
                event_id: *id.as_bytes(),
                payload_digest: *entry.payload_digest.as_bytes(),
                link: *link.as_bytes(),
                payload: Some(payload.into_bytes()),
                archived: false,
            }
        });
        Submission {
            recorded_at: at,
            counter: 1,
            submission_hash: [3; 32],
            public_key: [4; 32],
            signature: [5; 64],
            events: events.collect(),
        }
    };
    sizes.iter().map(|count| submission(*count)).collect()
}

fn maker<'a>(workspace: &'a Workspace, erased: &'a Erased) -> ChunkMaker<'a> {
    let link = genesis_link(&origin(), workspace);
    ChunkMaker::new(&origin(), workspace, hour(), Seq::FIRST, link, erased).unwrap()
}

fn make(submissions: &[Submission]) -> Result<Option<Chunk>, ChunkError> {
    make_without(submissions, &Erased::default())
}

fn make_without(submissions: &[Submission], erased: &Erased) -> Result<Option<Chunk>, ChunkError> {
    let workspace = workspace();
    let mut maker = maker(&workspace, erased);
    submissions.iter().try_for_each(|submission| maker.push(submission))?;
    maker.finish()
}

#[test]
fn a_chunk_holds_what_was_pushed() {
    let submissions = chain(&[1, 3, 2], hour().start().get());
    let chunk = make(&submissions).unwrap().unwrap();
    assert_eq!((chunk.first_seq.get(), chunk.last_seq.get()), (1, 6));
    assert_eq!(*chunk.last_link.as_bytes(), submissions[2].events[1].link);
    let mut rows = Vec::new();
    for batch in ChunkRows::open(chunk.object, &origin(), &workspace(), 6).unwrap() {
        let batch = batch.unwrap();
        rows.extend(batch.rows().map(|row| (row.seq, row.submission_index, row.submission_count)));
    }
    assert_eq!(rows, [(1, 0, 1), (2, 0, 3), (3, 1, 3), (4, 2, 3), (5, 0, 2), (6, 1, 2)]);
}

#[test]
fn nothing_makes_no_chunk() {
    assert_eq!(make(&[]).unwrap(), None);
}

#[test]
fn a_submission_fits_whole_or_not_at_all() {
    let submissions = chain(&[4, 3, 100], hour().start().get());
    let workspace = workspace();
    let erased = Erased::default();
    let mut maker = maker(&workspace, &erased);
    let payload = submissions[0].events[0].payload.as_ref().unwrap().len() as u64;
    let rows = |rows| Limits { rows, payload_bytes: 1 << 20 };
    let bytes = |payload_bytes| Limits { rows: 1_000, payload_bytes };
    // The first one always fits, whatever its size: there is no smaller chunk to put it in.
    assert!(maker.fits(&submissions[2], &rows(1)));
    assert!(maker.fits(&submissions[2], &bytes(1)));
    maker.push(&submissions[0]).unwrap();
    assert!(maker.fits(&submissions[1], &rows(7)));
    assert!(!maker.fits(&submissions[1], &rows(6)));
    assert!(maker.fits(&submissions[1], &bytes(7 * payload)));
    assert!(!maker.fits(&submissions[1], &bytes(7 * payload - 1)));
    assert_eq!(maker.end().0.get(), 5);
}

#[test]
fn an_hour_is_its_first_to_its_last_microsecond() {
    let start = hour().start().get();
    for inside in [start, start + HOUR - 1] {
        let chunk = make(&chain(&[1], inside)).unwrap().unwrap();
        assert_eq!(chunk.first_recorded_at.get(), inside);
        assert_eq!(chunk.last_recorded_at.get(), inside);
    }
    for outside in [start - 1, start + HOUR] {
        let refused = make(&chain(&[1], outside));
        assert!(matches!(refused, Err(ChunkError::Time { seq: 1, found, .. }) if found == outside));
    }
}

/// Breaks the third event of a good chain, and gives the column that is named.
fn broken(alter: impl FnOnce(&mut Submission)) -> ChunkError {
    let mut submissions = chain(&[2, 2], hour().start().get());
    alter(&mut submissions[1]);
    make(&submissions).unwrap_err()
}

#[test]
fn a_record_that_is_not_what_was_recorded_is_named() {
    let column = |error| match error {
        ChunkError::Differs { seq, column, .. } => (seq, column),
        other => panic!("{other}"),
    };
    assert_eq!(column(broken(|s| s.events[0].payload_digest[0] ^= 1)), (3, "payload_digest"));
    assert_eq!(column(broken(|s| s.events[0].link[31] ^= 1)), (3, "link"));
    assert_eq!(column(broken(|s| s.events[0].event_id[0] ^= 1)), (3, "event_id"));
    assert_eq!(column(broken(|s| s.submission_hash[0] ^= 1)), (3, "link"));
    let at = broken(|s| s.events[1].payload.as_mut().unwrap()[0] = b'[');
    assert!(matches!(at, ChunkError::Payload { seq: 4, .. }));
    // A payload that reads the same with other bytes: the space after the type.
    let payload = broken(|s| {
        let text = String::from_utf8(s.events[0].payload.take().unwrap()).unwrap();
        let text = text.replace(r#"":"note""#, r#"": "note""#);
        s.events[0].payload = Some(text.into_bytes());
    });
    assert_eq!(column(payload), (3, "payload_digest"));
    let gap = broken(|s| drop(s.events.remove(0)));
    assert!(matches!(gap, ChunkError::Seq { expected: 3, found: 4 }));
    assert!(matches!(broken(|s| s.events.clear()), ChunkError::Count(3)));
    let earlier = broken(|s| s.recorded_at -= 1);
    assert!(matches!(earlier, ChunkError::Time { seq: 3, .. }));
}

/// What an entry at `by` erases: the events at these seqs.
fn erased(by: u64, seqs: &[u64]) -> Erased {
    let id = |seq: &u64| EventId::from_bytes(u128::from(*seq).to_be_bytes()).unwrap();
    let mut erased = Erased::default();
    erased.add(Seq::new(by).unwrap(), &seqs.iter().map(id).collect::<Vec<_>>());
    erased
}

#[test]
fn what_is_erased_is_sealed_without_its_payload_carried_out_or_not() {
    let erased = erased(4, &[2]);
    let mut submissions = chain(&[1, 2, 1], hour().start().get());
    let whole = make(&submissions).unwrap().unwrap();
    let size = submissions[1].events[0].payload.as_ref().unwrap().len() as u64;
    submissions[1].withhold(&workspace(), &erased);
    assert!(submissions[1].events[0].payload.is_none());
    assert!(submissions[1].events[1].payload.is_some());
    let chunk = make_without(&submissions, &erased).unwrap().unwrap();
    // Links, root and range are those of the whole; the bytes count only what is there.
    assert_eq!((chunk.last_link, chunk.root), (whole.last_link, whole.root));
    assert_eq!(chunk.payload_bytes, whole.payload_bytes - size);
    for batch in ChunkRows::open(chunk.object, &origin(), &workspace(), 4).unwrap() {
        for row in batch.unwrap().rows() {
            assert_eq!(row.payload.is_none(), row.seq == 2, "{}", row.seq);
            assert_eq!(&*row.derived.event_type == "ledger.erased", row.seq == 2);
        }
    }
}

#[test]
fn a_payload_that_nothing_later_erases_is_not_withheld() {
    let missing = |erased: &Erased| {
        let mut submissions = chain(&[1, 2, 1], hour().start().get());
        submissions[1].events[0].payload = None;
        make_without(&submissions, erased).unwrap_err()
    };
    // By nothing, by an entry before it, by itself, of another event.
    for erased in [Erased::default(), erased(1, &[2]), erased(2, &[2]), erased(4, &[3])] {
        assert!(matches!(missing(&erased), ChunkError::Withheld(2)), "{erased:?}");
    }
    let mut submissions = chain(&[1, 2], hour().start().get());
    for erased in [erased(1, &[2]), erased(2, &[2])] {
        submissions[1].withhold(&workspace(), &erased);
        assert!(submissions[1].events[0].payload.is_some(), "{erased:?}");
    }
}

#[test]
fn the_payload_of_an_event_of_the_ledger_stays() {
    let mut submissions = chain(&[1, 1], hour().start().get());
    let event = &mut submissions[1].events[0];
    let text = String::from_utf8(event.payload.take().unwrap()).unwrap();
    let text = text.replace("\"note\"", "\"ledger.key_revoked\"");
    event.payload = Some(text.into_bytes());
    submissions[1].withhold(&workspace(), &erased(3, &[2]));
    assert!(submissions[1].events[0].payload.is_some());
}

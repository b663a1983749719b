//! What goes into a chunk, what is kept out of it, and what is seen when it is read back.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod chain;
mod readback;

use archiver::chunk::{ChunkError, Fill, Limits, Submission};
use archiver::erasure::Erased;
use ledger::key::SigningKey;
use ledger::names::{EventId, Seq};
use ledger::time::HOUR;
use verifier::rows::ChunkRows;

use chain::{chain, hour, make, make_without, origin, sign, workspace};

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
    let mut fill = Fill::default();
    let payload = submissions[0].events[0].payload.as_ref().unwrap().len() as u64;
    let rows = |rows| Limits { rows, payload_bytes: 1 << 20 };
    let bytes = |payload_bytes| Limits { rows: 1_000, payload_bytes };
    // The first one always fits, whatever its size: there is no smaller chunk to put it in.
    assert!(fill.fits(&submissions[2], &rows(1)));
    assert!(fill.fits(&submissions[2], &bytes(1)));
    fill = fill.with(&submissions[0]);
    assert!(fill.fits(&submissions[1], &rows(7)));
    assert!(!fill.fits(&submissions[1], &rows(6)));
    assert!(fill.fits(&submissions[1], &bytes(7 * payload)));
    assert!(!fill.fits(&submissions[1], &bytes(7 * payload - 1)));
    let (seq, link) = submissions[0].end().unwrap();
    assert_eq!((seq.get(), *link.as_bytes()), (5, submissions[0].events[3].link));
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
    assert_eq!(column(broken(|s| s.events[0].link[31] ^= 1)), (3, "link"));
    assert_eq!(column(broken(|s| s.events[0].event_id[0] ^= 1)), (3, "event_id"));
    assert_eq!(column(broken(|s| s.submission_hash[0] ^= 1)), (3, "submission_hash"));
    let digest = |s: &mut Submission| {
        s.events[0].payload_digest[0] ^= 1;
        sign(s);
    };
    assert_eq!(column(broken(digest)), (3, "payload_digest"));
    let at = broken(|s| {
        let text = String::from_utf8(s.events[1].payload.take().unwrap().to_vec()).unwrap();
        s.events[1].payload = Some(text.replacen('{', "[", 1).into());
    });
    assert!(matches!(at, ChunkError::Payload { seq: 4, .. }));
    // A payload that reads the same with other bytes: the space after the type.
    let payload = broken(|s| {
        let text = String::from_utf8(s.events[0].payload.take().unwrap().to_vec()).unwrap();
        let text = text.replace(r#"":"note""#, r#"": "note""#);
        s.events[0].payload = Some(text.into());
    });
    assert_eq!(column(payload), (3, "payload_digest"));
    let gap = broken(|s| {
        s.events.remove(0);
        sign(s);
    });
    assert!(matches!(gap, ChunkError::Seq { expected: 3, found: 4 }));
    assert!(matches!(broken(|s| s.events.clear()), ChunkError::Count(3)));
    let earlier = broken(|s| s.recorded_at -= 1);
    assert!(matches!(earlier, ChunkError::Time { seq: 3, .. }));
}

#[test]
fn what_no_auditor_would_accept_of_a_submission_is_refused_before_it_is_written() {
    assert!(matches!(broken(|s| s.signature[5] ^= 1), ChunkError::Signature { seq: 3, .. }));
    assert!(matches!(broken(|s| s.counter += 1), ChunkError::Signature { seq: 3, .. }));
    assert!(matches!(broken(|s| s.counter = 1 << 63), ChunkError::Counter(3)));
    let other = *SigningKey::from_seed(&[5; 32]).public().as_bytes();
    assert!(matches!(broken(|s| s.public_key = other), ChunkError::Signature { seq: 3, .. }));
    // Of small order: whatever it signs is signed by anyone.
    let small = |s: &mut Submission| (s.public_key, s.public_key[0]) = ([0; 32], 1);
    assert!(matches!(broken(small), ChunkError::Key { seq: 3, .. }));
    // All rows of the right chain, but the event is signed for by nobody.
    let swapped = broken(|s| s.events.swap(0, 1));
    assert!(matches!(swapped, ChunkError::Signature { seq: 3, .. }));
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
    let text = String::from_utf8(event.payload.take().unwrap().to_vec()).unwrap();
    let text = text.replace("\"note\"", "\"ledger.key_revoked\"");
    event.payload = Some(text.into());
    submissions[1].withhold(&workspace(), &erased(3, &[2]));
    assert!(submissions[1].events[0].payload.is_some());
}

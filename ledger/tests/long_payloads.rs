//! Payloads longer than any may be, of which a small file can hold many: they are refused by their length, and hashed
//! only so far.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::{Derived, Row};
use ledger::hash::Digest;
use ledger::names::{Origin, Seq, Workspace};
use ledger::time::Micros;
use ledger::verify::{Check, ChunkCheck};

#[test]
fn a_gigabyte_of_them_is_hashed_and_no_more() {
    const ROWS: u64 = 6;
    let payload = vec![b' '; 250 << 20];
    let at = Micros::parse("2026-11-23T16:00:00.000000Z").unwrap();
    let manifest = ChunkManifest {
        origin: Origin::new("ledger.example.com/long").unwrap(),
        workspace: Workspace::new("acme").unwrap(),
        hour: at.hour(),
        part: 0,
        first_seq: Seq::FIRST,
        last_seq: Seq::new(ROWS).unwrap(),
        prev_link: Digest::ZERO,
        last_link: Digest::ZERO,
        root: Digest::ZERO,
        first_recorded_at: at,
        last_recorded_at: at,
        prev_manifest: Digest::ZERO,
        amends: Digest::ZERO,
        object: "events/long".to_owned(),
        digest: ObjectDigest::of(b""),
    };
    let mut check = ChunkCheck::open(&manifest, b"").unwrap();
    for seq in 1..=ROWS {
        check.row(&Row {
            seq,
            recorded_at: at.get(),
            event_id: [1; 16],
            payload: Some(&payload),
            // Another one's, which only hashing finds.
            payload_digest: [0; 32],
            link: [0; 32],
            submission_hash: [0; 32],
            submission_index: 0,
            submission_count: u16::MAX,
            counter: 0,
            public_key: [0; 32],
            signature: [0; 64],
            derived: Derived::withheld(at.get()),
        });
    }
    let outcome = check.finish();
    let seqs = |check: Check| {
        let found = outcome.findings.iter().filter(move |finding| finding.check == check);
        found.filter_map(|finding| finding.place.seq).collect::<Vec<_>>()
    };
    // Four of them are less than a gigabyte, five are more.
    assert_eq!(seqs(Check::PayloadDigest).last(), Some(&4), "{:?}", outcome.findings);
    assert!(seqs(Check::PayloadRules).last() > Some(&4), "{:?}", outcome.findings);
}

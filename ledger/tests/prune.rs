//! Prune records: what is read prints as it was, and every line that is not as it should be is refused.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use ledger::hash::Digest;
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::BodyError;
use ledger::prune::{PruneRecord, manifests_root};
use ledger::time::Micros;

fn prune() -> PruneRecord {
    PruneRecord {
        origin: Origin::new("ledger.example.com/test").unwrap(),
        workspace: Workspace::new("acme").unwrap(),
        first_seq: Seq::new(7).unwrap(),
        last_seq: Seq::new(9).unwrap(),
        chunks: 2,
        manifests_root: manifests_root(&[Digest::of(b"one"), Digest::of(b"two")]),
        last_recorded_at: Micros::parse("2026-11-23T16:00:03.000003Z").unwrap(),
        keep_days: 184,
        reason: "six months".to_owned(),
        policy_sha256: Digest::of(b"a policy"),
    }
}

#[test]
fn a_prune_record_that_contradicts_itself_is_refused() {
    let body = prune().to_body();
    assert_eq!(PruneRecord::parse(&body), Ok(prune()));
    let error = |from: &str, to: &str| {
        let wrong = body.replace(from, to);
        assert_ne!(wrong, body, "{from}");
        PruneRecord::parse(&wrong).unwrap_err()
    };
    let contradiction = BodyError::Contradiction;
    assert_eq!(error("last_seq 9", "last_seq 6"), contradiction("last_seq is below first_seq"));
    let none = contradiction("a prune record names a chunk at least");
    assert_eq!(error("chunks 2", "chunks 0"), none);
    let long = format!("reason {}", "x".repeat(1_025));
    for (from, to) in [
        ("origin ledger", "origin /ledger"),
        ("workspace acme", "workspace Acme"),
        ("first_seq 7", "first_seq 0"),
        ("first_seq 7", "first_seq 07"),
        ("last_seq 9", "last_seq 9223372036854775808"),
        ("chunks 2", "chunks -2"),
        ("manifests_root ", "manifests_root 0"),
        (".000003Z", ".00003Z"),
        ("keep_days 184", "keep_days 184.0"),
        ("keep_days 184", "keep_days 9223372036854775808"),
        ("reason six", "reason  six"),
        ("reason six months", &long),
        ("policy_sha256 ", "policy_sha256 A"),
    ] {
        error(from, to);
    }
    // A root over the notes' digests as leaf data, in order (RFC 9162).
    let node = |data: &[&[u8]]| Digest::of(&data.concat());
    let leaf = |of: &[u8]| node(&[&[0], Digest::of(of).as_bytes()]);
    let root = node(&[&[1], leaf(b"one").as_bytes(), leaf(b"two").as_bytes()]);
    assert_eq!(prune().manifests_root, root);
}

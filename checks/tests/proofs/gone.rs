//! Payloads that were erased, and chunks that retention has removed.

use ledger::proof::check;
use ledger::verify::{Check, Verdict};
use serde_json::json;
use verifier::prove::{ProveError, Which, prove};

use super::world::{World, id_of, trust};
use super::{acme, at, made, not_made};

#[test]
fn an_erased_event_is_proven_by_its_digest() {
    let mut world = World::new();
    let seq = world.work(3, 2);
    world.seal_hour();
    let context = json!({"event_ids": [id_of(seq).to_string()], "reason": "request 7"});
    let erasure = world.set(1, "ledger.payload_erased", context);
    let trust = trust(&[&world.seal]);
    let before = prove(&world.archive(), &trust, &acme(), at(seq), true).unwrap();
    assert!(!before.erased);
    world.seal_hour();
    world.erase(seq);
    let archive = world.archive();
    let erased = made(&archive, &trust, seq);
    assert!(erased.erased);
    let proven = erased.checked.proven.unwrap();
    assert_eq!((proven.event.payload, proven.said), (None, None));
    assert_eq!(proven.payload_digest, before.checked.proven.unwrap().payload_digest);
    assert_eq!(proven.log_index, 4, "the manifest in force is the amended one");
    // By its UUID too, and the event beside it with its payload.
    let by_id = prove(&archive, &trust, &acme(), Which::Id(id_of(seq)), false).unwrap();
    assert_eq!(by_id.bytes, erased.bytes);
    assert!(made(&archive, &trust, seq - 1).checked.proven.unwrap().event.payload.is_some());
    // The erasure itself is an event like another.
    let proven = made(&archive, &trust, erasure).checked.proven.unwrap();
    assert_eq!(proven.said.unwrap().event_type, "ledger.payload_erased");
    // A proof from before still holds: what was signed and recorded is as it was.
    assert_eq!(check(&before.bytes, &trust).verdict, Verdict::Proven);
}

#[test]
fn the_event_that_opens_a_chain_is_shown_whole() {
    let mut world = World::new();
    world.seal_hour();
    let trust = trust(&[&world.seal]);
    let refused = prove(&world.archive(), &trust, &acme(), at(1), true).unwrap_err();
    assert!(matches!(refused, ProveError::Opening), "{refused:?}");
}

#[test]
fn what_retention_removed_is_not_proven_and_the_rest_is() {
    let mut world = World::new();
    world.seal_hour();
    let gone = world.work(3, 2);
    world.seal_hour();
    let kept = world.work(3, 1);
    world.seal_hour();
    world.prune(1);
    let (archive, trust) = (world.archive(), trust(&[&world.seal]));
    let error = prove(&archive, &trust, &acme(), at(gone), false).unwrap_err();
    assert!(matches!(error, ProveError::Pruned { .. }), "{error:?}");
    let error = prove(&archive, &trust, &acme(), Which::Id(id_of(gone)), false).unwrap_err();
    assert!(error.to_string().contains("retention"), "{error}");
    let proven = made(&archive, &trust, kept).checked.proven.unwrap();
    assert_eq!(proven.event.seq.get(), kept);
}

#[test]
fn a_broken_archive_gives_no_proof() {
    let mut world = World::new();
    let seq = world.work(3, 2);
    world.seal_hour();
    let trust = trust(&[&world.seal]);
    let archive = world.archive();
    made(&archive, &trust, seq);
    for key in archive.keys().map(str::to_owned).collect::<Vec<_>>() {
        let mut without = archive.clone();
        without.0.remove(&key);
        let expected = match key.as_str() {
            "log/checkpoint" => Check::CheckpointMissing,
            key if key.starts_with("log/") => Check::LogMissing,
            _ => Check::ObjectMissing,
        };
        assert!(not_made(&without, &trust, seq).contains(&expected), "{key}");
        let mut changed = archive.clone();
        *changed.0.get_mut(&key).unwrap().last_mut().unwrap() ^= 1;
        assert!(!not_made(&changed, &trust, seq).is_empty(), "{key}");
    }
}

//! Keys of the workspace, and seal keys, that change.

use ledger::chain::{LedgerEvent, Role};
use ledger::hash::Digest;
use ledger::proof::{Proof, check};
use ledger::succession::{Cutoff, REVOCATION, SUCCESSION};
use ledger::verify::{Check, Trust, Verdict};
use verifier::prove::prove;

use super::world::{World, key, seal, trust};
use super::{acme, at, checks, made, not_made, proof, refused};

fn history(archive: &checks::forge::Archive, trust: &Trust, seq: u64) -> Vec<u64> {
    let proven = made(archive, trust, seq).checked.proven.unwrap();
    proven.authority.iter().map(|one| one.seq.get()).collect()
}

#[test]
fn a_key_registered_by_a_root_key_that_was_registered_later() {
    let mut world = World::new();
    let seq = world.work(3, 2);
    world.seal_hour();
    let (archive, trust) = (world.archive(), trust(&[&world.seal]));
    let made = made(&archive, &trust, seq);
    let proven = made.checked.proven.unwrap();
    assert_eq!(proven.role, Role::Agent);
    assert_eq!(proven.seqs.0.get() + 1, proven.seqs.1.get());
    assert_eq!(proven.seal_key, world.seal.verifier().to_string());
    assert!(proven.pinned);
    let [created, root, agent] = proven.authority.as_slice() else { panic!("{proven:?}") };
    assert!(matches!(&created.event, LedgerEvent::WorkspaceCreated { root_keys }
        if root_keys == &[key(1).public()]));
    assert_eq!((root.seq.get(), root.signed_by), (2, key(1).public()));
    assert_eq!((agent.seq.get(), agent.signed_by), (3, key(2).public()));
    // Without the step in between, nobody has put the agent's key in force.
    let whole = Proof::parse(&made.bytes).unwrap();
    for gone in [0, 1, 2] {
        let mut short = whole.clone();
        short.events.remove(gone);
        refused(&short.to_bytes(), &trust, Check::KeyRule);
    }
}

#[test]
fn only_what_is_needed_is_shown() {
    let mut world = World::new();
    let registered = world.register(1, 4, "custodian", None);
    world.register(2, 5, "agent", None);
    world.seal_hour();
    let custodian = world.work(4, 1);
    let revoked = world.revoke(2, 4);
    let self_revoked = world.revoke(2, 2);
    world.seal_hour();
    let (archive, trust) = (world.archive(), trust(&[&world.seal]));
    assert!(history(&archive, &trust, 1).is_empty());
    assert_eq!(history(&archive, &trust, 2), [1]);
    assert_eq!(history(&archive, &trust, custodian), [1, registered]);
    let role = made(&archive, &trust, custodian).checked.proven.unwrap().role;
    assert_eq!(role, Role::Custodian);
    // Whoever revokes: its own key in force, that of the other too, and a root key that remains.
    assert_eq!(history(&archive, &trust, revoked), [1, 2, registered]);
    assert_eq!(history(&archive, &trust, self_revoked), [1, 2]);
}

#[test]
fn what_a_key_was_not_allowed_to_sign_is_not_proven() {
    let mut world = World::new();
    let revoked = world.revoke(1, 3);
    let after = world.work(3, 1);
    world.seal_hour();
    let (archive, trust) = (world.archive(), trust(&[&world.seal]));
    made(&archive, &trust, revoked);
    assert_eq!(not_made(&archive, &trust, after), [Check::KeyRule]);

    let mut world = World::new();
    let unknown = world.work(77, 1);
    let agent = world.register(3, 8, "agent", None);
    world.seal_hour();
    let archive = world.archive();
    for seq in [unknown, agent] {
        assert_eq!(not_made(&archive, &trust, seq), [Check::KeyRule]);
    }

    // A key for one actor speaks for another: shown with the payload, and unknown without it.
    let mut world = World::new();
    world.register(2, 9, "agent", Some("actor-3"));
    let seq = world.work(9, 1);
    world.seal_hour();
    let archive = world.archive();
    assert_eq!(not_made(&archive, &trust, seq), [Check::KeyRule]);
    assert!(prove(&archive, &trust, &acme(), at(seq), true).is_ok());
}

#[test]
fn the_seal_key_is_followed_to_the_one_that_signed() {
    let mut world = World::new();
    world.seal_hour();
    world.succeed(&seal(51));
    world.work(3, 1);
    world.seal_hour();
    world.succeed(&seal(52));
    let seq = world.work(3, 1);
    world.seal_hour();
    let archive = world.archive();
    // Any key of the line is enough, for an event of any of the three terms.
    for known in [50, 51, 52] {
        let trust = trust(&[&seal(known)]);
        for seq in [2, seq - 1, seq] {
            let made = made(&archive, &trust, seq);
            assert_eq!((made.checked.verdict, made.checked.findings), (Verdict::Proven, vec![]));
            let whole = Proof::parse(&made.bytes).unwrap();
            let kinds = whole.notes.iter().filter(|note| note.note.starts_with(SUCCESSION));
            assert_eq!(kinds.count(), 2);
        }
    }
    // A succession that is left out breaks the line, but behind the first key that is trusted.
    let bytes = proof(&archive, &trust(&[&seal(50)]), seq);
    let whole = Proof::parse(&bytes).unwrap();
    let successions: Vec<_> =
        (0..whole.notes.len()).filter(|at| whole.notes[*at].note.starts_with(SUCCESSION)).collect();
    for at in successions {
        let mut short = whole.clone();
        short.notes.remove(at);
        for event in short.events.iter_mut().filter(|event| event.manifest > at) {
            event.manifest -= 1;
        }
        let checked = check(&short.to_bytes(), &trust(&[&seal(50)]));
        assert_eq!(checked.verdict, Verdict::Tampered);
        assert_eq!(checked.proven, None);
    }
}

#[test]
fn a_seal_key_that_was_stolen() {
    let mut world = World::new();
    world.seal_hour();
    let before = world.work(3, 1);
    world.seal_hour();
    let (stolen, cutoff) = world.revoke_seal(&seal(51));
    let after = world.work(3, 1);
    world.seal_hour();
    let archive = world.archive();
    for seq in [before, after] {
        // Only the stolen key is known: a revocation leads nowhere.
        assert_eq!(not_made(&archive, &trust(&[&seal(50)]), seq), [Check::CheckpointUntrusted]);
        let both = trust(&[&seal(50), &seal(51)]);
        let bytes = proof(&archive, &both, seq);
        let whole = Proof::parse(&bytes).unwrap();
        assert!(whole.notes.iter().any(|note| note.note.starts_with(REVOCATION)));
        // With the cut-off that the log has, and with another one.
        let with =
            |cutoff| Trust { revoked: vec![(stolen.clone(), cutoff)], ..trust(&[&seal(51)]) };
        assert_eq!(check(&bytes, &with(cutoff)).verdict, Verdict::Proven);
        let root = Digest::of(b"another log");
        refused(&bytes, &with(Cutoff { root, ..cutoff }), Check::CutoffRoot);
        // An earlier cut-off: of a log that this proof does not show. What is not known is not proven.
        let earlier = Cutoff { size: 2, root };
        let checked = check(&bytes, &with(earlier));
        assert_ne!(checked.verdict, Verdict::Proven, "{checked:?}");
        assert_eq!(checked.proven, None);
        let ahead = Cutoff { size: 1_000, root };
        refused(&bytes, &with(ahead), Check::CutoffAhead);
    }
}

#[test]
fn a_stolen_seal_key_signs_past_its_cut_off() {
    let mut world = World::new();
    let seq = world.work(3, 1);
    world.seal_hour();
    let (archive, cutoff) = (world.archive(), world.size());
    let stolen = world.seal.verifier().clone();
    let trust = trust(&[&seal(50)]);
    let good = proof(&archive, &trust, seq);
    // The thief goes on from there; the auditor knows until where the key was the ledger's.
    world.work(3, 1);
    world.seal_hour();
    let late = proof(&world.archive(), &trust, seq + 1);
    let warned = Trust { seal_keys: Vec::new(), revoked: vec![(stolen, cutoff)], ..trust };
    assert_eq!(check(&good, &warned).verdict, Verdict::Proven, "the log up to the cut-off");
    refused(&late, &warned, Check::RevokedKey);
}

#[test]
fn a_succession_by_a_key_that_the_log_revokes_later_falls_short() {
    let mut world = World::new();
    world.seal_hour();
    world.succeed(&seal(51));
    let size = world.size();
    let revocation = ledger::succession::Revocation {
        origin: super::world::origin(),
        key: seal(50).verifier().clone(),
        cutoff: size,
        new_key: seal(51).verifier().clone(),
        reason: "stolen".to_owned(),
    };
    world.log_by(&revocation.to_body(), &[&seal(51)]);
    let seq = world.work(3, 1);
    world.seal_hour();
    let archive = world.archive();
    let made = made(&archive, &trust(&[&seal(50)]), seq);
    assert_eq!(made.checked.verdict, Verdict::Short);
    assert_eq!(checks(&made.checked.findings), [Check::RestsOnRevoked]);
    assert!(made.checked.proven.is_some());
    let later = check(&made.bytes, &trust(&[&seal(51)]));
    assert_eq!((later.verdict, later.findings), (Verdict::Proven, vec![]));
}

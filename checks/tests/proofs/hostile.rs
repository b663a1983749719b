//! Files that prove nothing: every byte flipped, cut, lengthened, parts of others, other trust.

use checks::forge::golden;
use ledger::names::{Origin, Workspace};
use ledger::note::VerifierKey;
use ledger::proof::{Proof, check};
use ledger::verify::{Check, Trust, Verdict};

use super::world::{World, key, seal, trust};
use super::{acme, nothing, proof, refused};

/// A proof that holds all that a proof can: a succession, a root key registered by another, an agent
/// bound to an actor, several events in the submission.
fn rich() -> (Vec<u8>, Trust) {
    let mut world = World::new();
    world.work(3, 3);
    world.seal_hour();
    world.succeed(&seal(51));
    let seq = world.work(3, 2);
    world.seal_hour();
    world.close();
    world.close();
    let trust = trust(&[&seal(50)]);
    (proof(&world.archive(), &trust, seq), trust)
}

#[test]
fn every_byte_counts() {
    let (bytes, trust) = rich();
    assert_eq!(check(&bytes, &trust).verdict, Verdict::Proven);
    for mask in [1, 0x80] {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            let checked = check(&changed, &trust);
            let around =
                String::from_utf8_lossy(&bytes[at.saturating_sub(20)..at + 1]).into_owned();
            assert_eq!(checked.proven, None, "byte {at} ^ {mask:#x} behind {around:?}");
            nothing(&checked);
        }
    }
}

#[test]
fn no_byte_may_be_missing_or_more() {
    let (bytes, trust) = rich();
    for at in 0..bytes.len() {
        refused(&bytes[..at], &trust, Check::ProofMalformed);
        let without = [&bytes[..at], &bytes[at + 1..]].concat();
        nothing(&check(&without, &trust));
        let doubled = [&bytes[..=at], &bytes[at..]].concat();
        nothing(&check(&doubled, &trust));
    }
    for more in ["\n", " ", "x", "seq 9\n"] {
        let longer = [&bytes, more.as_bytes()].concat();
        refused(&longer, &trust, Check::ProofMalformed);
    }
    refused(&vec![b'x'; ledger::proof::PROOF_BYTES + 1], &trust, Check::ProofMalformed);
}

#[test]
fn parts_of_another_proof_do_not_fit() {
    let (archive, trust) = golden();
    let read = |seq| Proof::parse(&proof(&archive, &trust, seq)).unwrap();
    let (one, other) = (read(70), read(65));
    let refuse = |change: &dyn Fn(&mut Proof)| {
        let mut proof = one.clone();
        change(&mut proof);
        assert_ne!(proof, one);
        nothing(&check(&proof.to_bytes(), &trust));
    };
    let last = |proof: &Proof| proof.events.last().unwrap().clone();
    let theirs = last(&other);
    refuse(&|proof| proof.events.last_mut().unwrap().payload = theirs.payload.clone());
    refuse(&|proof| proof.events.last_mut().unwrap().signature = theirs.signature);
    refuse(&|proof| proof.events.last_mut().unwrap().public_key = theirs.public_key);
    refuse(&|proof| proof.events.last_mut().unwrap().event_id = theirs.event_id);
    refuse(&|proof| proof.events.last_mut().unwrap().recorded_at = theirs.recorded_at);
    refuse(&|proof| proof.events.last_mut().unwrap().path = theirs.path.clone());
    refuse(&|proof| proof.events.last_mut().unwrap().counter = theirs.counter);
    refuse(&|proof| proof.events.last_mut().unwrap().digests = theirs.digests.clone());
    refuse(&|proof| proof.events.last_mut().unwrap().manifest = 0);
    refuse(&|proof| *proof.events.last_mut().unwrap() = theirs.clone());
    refuse(&|proof| drop(proof.events.remove(0)));
    refuse(&|proof| drop(proof.events.remove(1)));
    refuse(&|proof| proof.events.swap(0, 1));
    refuse(&|proof| proof.events.insert(2, last(&other)));
    refuse(&|proof| drop(proof.notes.remove(1)));
    refuse(&|proof| proof.notes.swap(0, 1));
    refuse(&|proof| proof.notes[1] = other.notes[1].clone());
    refuse(&|proof| proof.notes[1].index = 5);
    refuse(&|proof| proof.notes[1].path = proof.notes[0].path.clone());
    refuse(&|proof| proof.workspace = Workspace::new("beta").unwrap());
    refuse(&|proof| proof.origin = Origin::new("ledger.example.com/other").unwrap());
    let mut more = one.clone();
    more.notes.insert(1, other.notes[1].clone());
    more.events.iter_mut().skip(1).for_each(|event| event.manifest = 2);
    refused(&more.to_bytes(), &trust, Check::ProofMalformed);
    // Of another log of the same ledger: its checkpoint states another root.
    let (rich, _) = rich();
    let mut foreign = one.clone();
    foreign.checkpoint = Proof::parse(&rich).unwrap().checkpoint;
    nothing(&check(&foreign.to_bytes(), &trust));
}

#[test]
fn another_trust_is_not_reached() {
    let (bytes, trust) = rich();
    let with = |change: &dyn Fn(&mut Trust)| {
        let mut trust = trust.clone();
        change(&mut trust);
        trust
    };
    let thief = with(&|trust| trust.seal_keys = vec![seal(66).verifier().clone()]);
    refused(&bytes, &thief, Check::CheckpointUntrusted);
    let origin = Origin::new("ledger.example.com/other").unwrap();
    let other = with(&|trust| {
        trust.origin = origin.clone();
        trust.seal_keys = vec![VerifierKey::seal(&origin, key(50).public())];
    });
    refused(&bytes, &other, Check::CheckpointOrigin);
    let foreign = with(&|trust| {
        trust.workspaces.insert(acme(), vec![key(2).public()]);
    });
    refused(&bytes, &foreign, Check::RootKeys);
    let open = with(&|trust| trust.workspaces.clear());
    let checked = check(&bytes, &open);
    assert_eq!((checked.verdict, checked.findings[0].check), (Verdict::Proven, Check::Unpinned));
    // The log as the auditor has seen it: of this size, it has another root.
    let size = check(&bytes, &trust).proven.unwrap().log.size;
    for (size, found) in [(size, true), (size - 1, false), (1, true), (size + 1, false)] {
        let seen = with(&|trust| {
            let root = ledger::hash::Digest::of(b"another log");
            trust.seen.push(ledger::succession::Cutoff { size, root });
        });
        let checked = check(&bytes, &seen);
        let forked = checked.findings.iter().any(|f| f.check == Check::SeenForked);
        assert_eq!(forked, found, "{size}: what the proof shows of the log is compared");
    }
}

#[test]
fn only_the_one_spelling_is_read() {
    let (bytes, trust) = rich();
    let text = String::from_utf8(bytes).unwrap();
    let id = super::world::id_of(8).to_string();
    for (from, to) in [
        (format!("event_id {id}\n"), format!("event_id {}\n", id.to_uppercase())),
        ("counter 6\n".to_owned(), "counter 06\n".to_owned()),
        ("counter 6\n".to_owned(), "counter +6\n".to_owned()),
        ("counter 6\n".to_owned(), "counter  6\n".to_owned()),
        ("counter 6\n".to_owned(), "counter 6\r\n".to_owned()),
        ("payload_digest ".to_owned(), "payload-digest ".to_owned()),
        ("notes ".to_owned(), "notes 0".to_owned()),
    ] {
        assert!(text.contains(&from), "{from:?}");
        refused(text.replace(&from, &to).as_bytes(), &trust, Check::ProofMalformed);
    }
}

//! Proofs whose every signature and path is right, by an operator with the seal key or a holder of a
//! workspace key: what is signed has to be sound too.

use ledger::checkpoint::Checkpoint;
use ledger::chunk::ChunkManifest;
use ledger::entry::Entry;
use ledger::hash::Digest;
use ledger::key::SigningKey;
use ledger::merkle::leaf_hash;
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::note::{self, Note, NoteSigner};
use ledger::proof::{LoggedNote, Proof, RecordedEvent, check};
use ledger::submission::{Counter, Statement};
use ledger::time::Micros;
use ledger::verify::{Check, Verdict};
use serde_json::{Value, json};

use super::every::second;
use super::world::{World, id_of, key, origin, seal, trust};
use super::{acme, checks, nothing, proof};

/// A log of this one note, under a checkpoint by the seal key.
fn logged(proof: &Proof, note: String) -> Proof {
    let root = leaf_hash(note.as_bytes());
    let body = Checkpoint { origin: origin(), size: 1, root }.to_body();
    let checkpoint = note::sign(&body, &[&seal(50)]);
    let notes = vec![LoggedNote { note, index: 0, path: Vec::new() }];
    Proof { checkpoint, notes, ..proof.clone() }
}

fn manifest(proof: &Proof) -> ChunkManifest {
    let note = Note::parse(proof.notes[0].note.as_bytes()).unwrap();
    ChunkManifest::parse(note.body()).unwrap()
}

/// Both implementations refuse each of these, ours for this reason.
async fn all_refused(forged: &[(&str, Proof, Check)]) {
    let trust = trust(&[&seal(50)]);
    let files: Vec<_> = forged.iter().map(|(_, proof, _)| proof.to_bytes()).collect();
    let told = second(&trust, &files).await;
    for (((name, _, expected), bytes), told) in forged.iter().zip(&files).zip(told) {
        let checked = check(bytes, &trust);
        assert_eq!(checks(&checked.findings), [*expected], "{name}: {:?}", checked.findings);
        nothing(&checked);
        assert!(!told, "{name}: the second implementation takes it");
    }
}

#[tokio::test]
async fn by_whoever_holds_the_seal_key() {
    let mut world = World::new();
    let seq = world.work(3, 3);
    world.chunk();
    let trust = trust(&[&seal(50)]);
    let right = Proof::parse(&proof(&world.archive(), &trust, seq)).unwrap();
    let sealed = |body: &str| logged(&right, note::sign(body, &[&seal(50)]));
    assert_eq!(
        check(&sealed(&manifest(&right).to_body()).to_bytes(), &trust).verdict,
        Verdict::Proven
    );
    let with = |edit: &dyn Fn(&mut ChunkManifest)| {
        let mut manifest = manifest(&right);
        edit(&mut manifest);
        let (range, erasure) = (manifest.range(), manifest.erasure());
        manifest.object = ledger::layout::Artefact::Events { range, erasure }.to_string();
        sealed(&manifest.to_body())
    };
    let elsewhere = Origin::new("ledger.example.com/other").unwrap();
    let beta = Workspace::new("beta").unwrap();
    let thief = logged(&right, note::sign(&manifest(&right).to_body(), &[&seal(66)]));
    let no_note = logged(&right, "no note".to_owned());
    let shorter = |seq: u64| Seq::new(seq).unwrap();
    all_refused(&[
        ("another root", with(&|m| m.root = Digest::of(b"another")), Check::ProofPath),
        ("an earlier end", with(&|m| m.last_recorded_at = m.first_recorded_at), Check::RowTime),
        ("a later start", with(&|m| m.first_recorded_at = m.last_recorded_at), Check::RowTime),
        ("a cut submission", with(&|m| m.last_seq = shorter(5)), Check::SubmissionCut),
        ("another workspace", with(&|m| m.workspace = beta.clone()), Check::ProofMalformed),
        ("another ledger", with(&|m| m.origin = elsewhere.clone()), Check::LeafOrigin),
        ("a contradiction", with(&|m| m.amends = Digest::of(b"x")), Check::ManifestMalformed),
        ("an unknown kind", sealed("tallystick/rollup/v1\n"), Check::ProofMalformed),
        ("another key", thief, Check::LeafSignature),
        ("no note", no_note, Check::LeafSignature),
    ])
    .await;
}

/// The proof of an event of seq 1, all of it right but for what is asked for.
fn opening(payload: &[u8], event_id: EventId, by: &SigningKey) -> Proof {
    let right = World::new();
    let at = Micros::parse("2026-11-23T22:00:01.000000Z").unwrap();
    let digests = vec![Digest::of(payload)];
    let statement = Statement::new(&origin(), &acme(), Counter::NONE, &digests);
    let signature = by.sign(statement.as_str().as_bytes());
    let public_key = by.public();
    let entry = Entry {
        seq: Seq::FIRST,
        recorded_at: at,
        event_id,
        payload_digest: digests[0],
        submission_hash: statement.submission_hash(public_key.as_bytes(), &signature),
        index_in_submission: 0,
        submission_count: 1,
    };
    let mut world = right;
    world.chunk();
    let mut manifest = world.chunks[0].0.manifest.clone();
    manifest.last_seq = Seq::FIRST;
    (manifest.first_recorded_at, manifest.last_recorded_at) = (at, at);
    manifest.root = entry.leaf();
    let range = manifest.range();
    manifest.object = ledger::layout::Artefact::Events { range, erasure: 0 }.to_string();
    let event = RecordedEvent {
        seq: Seq::FIRST,
        recorded_at: at,
        event_id,
        submission_index: 0,
        counter: Counter::NONE,
        public_key,
        signature,
        digests,
        manifest: 0,
        path: Vec::new(),
        payload: Some(payload.to_vec()),
    };
    let bare = Proof {
        origin: origin(),
        workspace: acme(),
        checkpoint: String::new(),
        notes: Vec::new(),
        events: vec![event],
    };
    let seal: NoteSigner = seal(50);
    logged(&bare, note::sign(&manifest.to_body(), &[&seal]))
}

#[tokio::test]
async fn by_whoever_holds_a_key_of_the_workspace() {
    let context = json!({"root_keys": [key(1).public().to_string()]});
    let created = |members: Value| {
        let mut event = json!({
            "event_id": id_of(1).to_string(),
            "event_type": "ledger.workspace_created",
            "occurred_at": "2026-11-23T22:00:00Z",
            "workspace_id": "acme",
            "context": context,
        });
        event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        event.to_string().into_bytes()
    };
    let with = |members: Value| opening(&created(members), id_of(1), &key(1));
    let right = with(json!({}));
    assert_eq!(check(&right.to_bytes(), &trust(&[&seal(50)])).verdict, Verdict::Proven);
    assert_eq!(second(&trust(&[&seal(50)]), &[right.to_bytes()]).await, [true]);
    let twice = String::from_utf8(created(json!({}))).unwrap();
    let twice = twice.replacen('{', "{\"salt\":\"a\",\"salt\":\"b\",", 1).into_bytes();
    let mut other = right.clone();
    other.events[0].payload = Some(created(json!({"salt": "x"})));
    let mut withheld = right.clone();
    withheld.events[0].payload = None;
    let keys = |keys: Value| json!({"context": {"root_keys": keys}});
    let (first, second) = (key(1).public().to_string(), key(2).public().to_string());
    let stranger = opening(&created(json!({})), id_of(1), &key(2));
    all_refused(&[
        ("a member twice", opening(&twice, id_of(1), &key(1)), Check::PayloadRules),
        ("another workspace", with(json!({"workspace_id": "beta"})), Check::PayloadRules),
        ("another event_id", opening(&created(json!({})), id_of(2), &key(1)), Check::EventId),
        ("another payload", other, Check::PayloadDigest),
        ("no payload", withheld, Check::LedgerWithheld),
        (
            "a member too many",
            with(json!({"context": {"root_keys": [first], "x": 1}})),
            Check::LedgerContext,
        ),
        ("no root key", with(keys(json!([]))), Check::LedgerContext),
        ("no founder", stranger, Check::KeyRule),
        ("another event", with(json!({"event_type": "business_event"})), Check::KeyRule),
        ("more root keys", with(keys(json!([first, second]))), Check::RootKeys),
    ])
    .await;
}

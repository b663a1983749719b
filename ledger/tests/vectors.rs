//! Every value of the golden vectors, made again and read back. Payloads have a test of their own.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::sync::LazyLock;

use ledger::checkpoint::Checkpoint;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::entry::{Entry, genesis_link, next_link};
use ledger::hash::Digest;
use ledger::hour::{Heads, HourNote};
use ledger::key::{PublicKey, Signature, SigningKey};
use ledger::merkle;
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::{self, Note, NoteSigner, VerifierKey};
use ledger::payload::{Rules, scan};
use ledger::receipt::Receipt;
use ledger::submission::{Counter, Statement};
use ledger::time::Micros;
use serde_json::Value;

static V1: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/spec/vectors/v1.json"
    )))
    .unwrap()
});

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text(value).as_bytes().chunks(2).map(byte).collect()
}

fn digest(value: &Value) -> Digest {
    let digest = Digest::parse(text(value)).unwrap();
    assert_eq!(digest.as_bytes().as_slice(), hex(value));
    digest
}

fn digests(value: &Value) -> Vec<Digest> {
    list(value).iter().map(digest).collect()
}

fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(&hex(&V1["keys"][name]["seed"]).try_into().unwrap())
}

fn origin() -> Origin {
    Origin::new(text(&V1["origin"])).unwrap()
}

fn workspace() -> Workspace {
    Workspace::new(text(&V1["workspace"])).unwrap()
}

fn seal() -> NoteSigner {
    NoteSigner::seal(&origin(), key("seal"))
}

/// The body of a golden note, once it is shown that signing it again gives the same bytes.
fn body_of<'a>(note: &'a Value, signer: &NoteSigner) -> &'a str {
    let body = Note::parse(text(note).as_bytes()).unwrap().verify(signer.verifier()).unwrap();
    assert_eq!(note::sign(body, &[signer]), text(note));
    body
}

#[test]
fn nothing_in_the_file_is_left_out() {
    let names: Vec<&str> = V1.as_object().unwrap().keys().map(String::as_str).collect();
    let here = [
        "genesis_link",
        "hour",
        "keys",
        "log",
        "manifest",
        "merkle",
        "origin",
        "refused_keys",
        "submissions",
        "vkeys",
        "workspace",
    ];
    let of_payload = ["accepted_payloads", "refused_payloads"];
    let mut expected = [&here[..], &of_payload[..]].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn keys_come_from_their_seeds() {
    for (name, golden) in V1["keys"].as_object().unwrap() {
        let public = key(name).public();
        assert_eq!(public.to_string(), text(&golden["public"]), "{name}");
        assert_eq!(PublicKey::parse(text(&golden["public"])), Ok(public));
    }
}

#[test]
fn verifier_keys_print_and_parse() {
    let receipt = NoteSigner::receipt(&origin(), key("receipt"));
    for (name, signer) in [("seal", seal()), ("receipt", receipt)] {
        let golden = text(&V1["vkeys"][name]);
        assert_eq!(signer.verifier().to_string(), golden);
        assert_eq!(golden.parse::<VerifierKey>().unwrap(), *signer.verifier());
    }
}

#[test]
fn submissions_are_signed_chained_and_receipted() {
    let mut link = genesis_link(&origin(), &workspace());
    assert_eq!(link, digest(&V1["genesis_link"]));
    let mut next_seq = Seq::FIRST;
    for golden in list(&V1["submissions"]) {
        let entries = list(&golden["entries"]);
        let payloads: Vec<Digest> =
            entries.iter().map(|entry| Digest::of(text(&entry["payload"]).as_bytes())).collect();
        let counter = Counter::new(golden["counter"].as_u64().unwrap()).unwrap();
        let statement = Statement::new(&origin(), &workspace(), counter, &payloads);
        assert_eq!(statement.as_str(), text(&golden["statement"]));
        let signer = key(text(&golden["signed_by"]));
        let signature = signer.sign(statement.as_str().as_bytes());
        assert_eq!(signature.as_bytes().as_slice(), hex(&golden["signature"]));
        let submission = statement.verify(&signer.public(), &signature).unwrap();
        assert_eq!(submission, digest(&golden["submission_hash"]));
        assert_eq!(Signature::parse(&signature.to_string()), Ok(signature));

        let first_seq = next_seq;
        let recorded_at = Micros::new(golden["recorded_at"].as_i64().unwrap()).unwrap();
        for (index, golden) in entries.iter().enumerate() {
            let payload = text(&golden["payload"]).as_bytes();
            let event = scan(payload, &workspace(), &Rules::default()).unwrap();
            let entry = Entry {
                seq: next_seq,
                recorded_at,
                event_id: event.event_id,
                payload_digest: Digest::of(payload),
                submission_hash: submission,
                index_in_submission: index.try_into().unwrap(),
                submission_count: entries.len().try_into().unwrap(),
            };
            assert_eq!(entry.seq.get(), golden["seq"].as_u64().unwrap());
            assert_eq!(entry.payload_digest, digest(&golden["payload_digest"]));
            assert_eq!(entry.to_bytes().as_slice(), hex(&golden["entry"]));
            assert_eq!(entry.leaf(), digest(&golden["leaf"]));
            link = next_link(&link, &entry.leaf());
            assert_eq!(link, digest(&golden["link"]));
            next_seq = next_seq.next().unwrap();
        }

        let signer = NoteSigner::receipt(&origin(), key("receipt"));
        let body = body_of(&golden["receipt"], &signer);
        let receipt = Receipt {
            origin: origin(),
            workspace: workspace(),
            submission,
            first_seq,
            last_seq: Seq::new(next_seq.get() - 1).unwrap(),
            recorded_at,
            link,
        };
        assert_eq!(receipt.to_body(), body);
        assert_eq!(Receipt::parse(body), Ok(receipt));
    }
}

#[test]
fn the_manifest_says_what_the_entries_come_to() {
    let body = body_of(&V1["manifest"], &seal());
    let manifest = ChunkManifest::parse(body).unwrap();
    assert_eq!(manifest.to_body(), body);
    let entries: Vec<&Value> =
        list(&V1["submissions"]).iter().flat_map(|golden| list(&golden["entries"])).collect();
    let leaves: Vec<Digest> = entries.iter().map(|entry| digest(&entry["leaf"])).collect();
    assert_eq!(manifest.root, merkle::root(&leaves));
    assert_eq!(manifest.prev_link, digest(&V1["genesis_link"]));
    assert_eq!(manifest.last_link, digest(&entries.last().unwrap()["link"]));
    assert_eq!(manifest.rows(), 5);
    assert!(manifest.is_original());
}

#[test]
fn the_manifests_object_is_measured_by_both_digests() {
    let manifest = ChunkManifest::parse(body_of(&V1["manifest"], &seal())).unwrap();
    let object = b"not a real parquet object";
    assert_eq!(ObjectDigest::of(object), manifest.digest);
}

#[test]
fn the_hour_note_states_the_heads() {
    let lines: Vec<&str> = list(&V1["hour"]["heads"]).iter().map(text).collect();
    let mut heads = Heads::new();
    for line in lines.iter().rev() {
        let [workspace, seq, link] = line.trim_end().split(' ').collect::<Vec<_>>()[..] else {
            panic!("a line of heads has three words")
        };
        heads.set(
            Workspace::new(workspace).unwrap(),
            Seq::new(seq.parse().unwrap()).unwrap(),
            Digest::parse(link).unwrap(),
        );
    }
    assert_eq!(heads.to_text(), lines.concat());
    let body = body_of(&V1["hour"]["note"], &seal());
    let hour = HourNote::parse(body).unwrap();
    assert_eq!(hour.to_body(), body);
    assert_eq!(hour.heads_root, heads.root());
    assert_eq!(hour.workspaces, u64::try_from(heads.len()).unwrap());
}

#[test]
fn the_checkpoint_is_over_the_notes() {
    let notes = [text(&V1["manifest"]), text(&V1["hour"]["note"])];
    let leaves: Vec<Digest> = notes.iter().map(|note| merkle::leaf_hash(note.as_bytes())).collect();
    assert_eq!(leaves, digests(&V1["log"]["leaves"]));
    let body = body_of(&V1["log"]["checkpoint"], &seal());
    let checkpoint = Checkpoint { origin: origin(), size: 2, root: merkle::root(&leaves) };
    assert_eq!(checkpoint.to_body(), body);
    assert_eq!(Checkpoint::parse(body), Ok(checkpoint));
}

/// The leaves of the Merkle vectors: byte i repeated i times.
fn leaves() -> Vec<Digest> {
    (0..20_u8).map(|i| merkle::leaf_hash(&vec![i; usize::from(i)])).collect()
}

fn golden_root(size: usize) -> Digest {
    digest(&V1["merkle"]["roots"][size.to_string()])
}

#[test]
fn roots_of_all_sizes() {
    assert_eq!(V1["merkle"]["roots"].as_object().unwrap().len(), 21);
    for size in 0..=20 {
        assert_eq!(merkle::root(&leaves()[..size]), golden_root(size), "{size}");
    }
}

#[test]
fn golden_proofs_are_made_and_accepted() {
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    for golden in list(&V1["merkle"]["inclusion"]) {
        let (size, index) = (number(&golden["size"]), number(&golden["index"]));
        let path = digests(&golden["path"]);
        assert_eq!(merkle::inclusion_path(&leaves()[..size], index), Some(path));
    }
    for golden in list(&V1["merkle"]["consistency"]) {
        let (old, size) = (number(&golden["from"]), number(&golden["to"]));
        let path = digests(&golden["path"]);
        assert_eq!(merkle::consistency_path(&leaves()[..size], old), Some(path));
    }
}

#[test]
fn every_proof_of_every_size_leads_to_the_golden_roots() {
    let leaves = leaves();
    for (size, n) in (0..=20).zip(0_u64..) {
        let (tree, root) = (&leaves[..size], golden_root(size));
        for (index, at) in (0..size).zip(0_u64..) {
            let path = merkle::inclusion_path(tree, index).unwrap();
            assert_eq!(merkle::check_inclusion(&root, n, at, &leaves[index], &path), Ok(()));
        }
        for (old, from) in (0..=size).zip(0_u64..) {
            let path = merkle::consistency_path(tree, old).unwrap();
            assert_eq!(merkle::check_consistency(from, &golden_root(old), n, &root, &path), Ok(()));
        }
    }
}

#[test]
fn refused_keys_are_refused_for_the_right_reason() {
    for golden in list(&V1["refused_keys"]) {
        let code = match text(&golden["why"]) {
            "small order" => "key-small-order",
            "not canonical" => "key-not-canonical",
            "31 bytes" | "33 bytes" => "key-length",
            other => panic!("a reason that this test does not know: {other}"),
        };
        let error = PublicKey::from_bytes(&hex(&golden["hex"])).unwrap_err();
        assert_eq!(error.code(), code, "{}", golden["hex"]);
    }
}

//! What every fuzz target does with its input, and what must hold of whatever is accepted.
//!
//! `fuzz_targets/` feeds these by libFuzzer; `ledger/tests/corpus.rs` feeds them the kept corpus on
//! a stable compiler.

use ledger::chain::LedgerEvent;
use ledger::checkpoint::Checkpoint;
use ledger::chunk::ChunkManifest;
use ledger::columns::Derived;
use ledger::hour::HourNote;
use ledger::key::{PublicKey, Signature};
use ledger::layout::{self, Artefact};
use ledger::names::{EventId, Origin, Workspace};
use ledger::note::{Note, VerifierKey};
use ledger::payload::{self, Rules};
use ledger::proof::{self, Proof, TlogProof};
use ledger::prune::PruneRecord;
use ledger::receipt::{HeadNote, Receipt};
use ledger::rollup::{Definition, RollupManifest};
use ledger::submission::Counter;
use ledger::succession::KeyNote;
use ledger::time::{Hour, Micros};
use ledger::verify::{Trust, Verdict};

/// One decoder's checks over one input.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus too.
pub const TARGETS: [(&str, Target); 6] = [
    ("key", key),
    ("layout", layout),
    ("manifest", manifest),
    ("note", note),
    ("payload", payload),
    ("proof", proof),
];

/// The event payload: what is accepted is JSON of the same members for another parser too, and is
/// accepted by the widest rules wherever it is by the usual ones.
pub fn payload(input: &[u8]) {
    let Ok(workspace) = Workspace::new("acme") else {
        return;
    };
    let usual = payload::scan(input, &workspace, &Rules::default());
    let widest = payload::scan(input, &workspace, &Rules::ceiling());
    match &widest {
        Ok(event) => {
            let value: serde_json::Value = match serde_json::from_slice(input) {
                // JSON all the same, and kept as it is: this reader takes no number that no double holds.
                Err(error) if error.to_string().starts_with("number out of range") => return,
                value => value.expect("a payload is JSON"),
            };
            let member = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
            assert_eq!(member("event_type"), Some(&*event.event_type));
            assert_eq!(member("workspace_id"), Some(workspace.as_str()));
            let id = EventId::parse(member("event_id").unwrap_or_default());
            assert_eq!(id, Ok(event.event_id));
            assert_eq!(member("session_id"), event.session_id.as_deref());
            assert_eq!(member("actor_id"), event.actor_id.as_deref());
            let tokens = value.get("input_tokens").and_then(serde_json::Value::as_i64);
            assert_eq!(tokens, event.input_tokens);
            let derived = Derived::of(event);
            assert_eq!(derived.difference(&derived), None);
            let _ = LedgerEvent::read(event);
        }
        Err(error) => {
            assert!(error.offset <= input.len(), "{error:?}");
            assert!(usual.is_err());
        }
    }
}

/// A signed note: it is its body, an empty line and its signature lines, and nothing else.
pub fn note(input: &[u8]) {
    let Ok(note) = Note::parse(input) else {
        return;
    };
    let text = std::str::from_utf8(input).expect("a note is UTF-8");
    let signatures = text
        .strip_prefix(note.body())
        .and_then(|rest| rest.strip_prefix('\n'))
        .expect("a note starts with its body and an empty line");
    assert!(note.body().ends_with('\n'));
    assert_eq!(note.signers().count(), signatures.lines().count());
    let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        .parse()
        .expect("a verifier key");
    if let Ok(body) = note.verify(&key) {
        assert_eq!(body, note.body());
        assert!(note.signers().any(|(name, id)| (name, id) == (key.name(), key.id())));
    }
}

/// The bodies of notes, and the definitions of rollups: what is read prints as the same text, and as one kind at most.
pub fn manifest(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let printed = [
        ChunkManifest::parse(text).ok().map(|manifest| {
            assert!(manifest.rows() > 0);
            assert_eq!(manifest.is_original(), manifest.erasure() == 0);
            manifest.to_body()
        }),
        HourNote::parse(text).ok().map(|hour| hour.to_body()),
        Receipt::parse(text).ok().map(|receipt| receipt.to_body()),
        HeadNote::parse(text).ok().map(|head| head.to_body()),
        Checkpoint::parse(text).ok().map(|checkpoint| checkpoint.to_body()),
        KeyNote::parse(text).and_then(Result::ok).map(|note| {
            assert_ne!(note.old_key(), note.new_key());
            note.to_body()
        }),
        PruneRecord::parse(text).ok().map(|record| {
            assert!(record.first_seq <= record.last_seq && record.chunks > 0);
            record.to_body()
        }),
        RollupManifest::parse(text).ok().map(|rollup| {
            assert!(rollup.inputs > 0 && rollup.version > 0);
            assert_eq!(Artefact::parse(&rollup.object), Some(Artefact::Rollup(rollup.place())));
            rollup.to_body()
        }),
        // No note, but it may not pass for one either.
        Definition::parse(text).ok().map(|definition| {
            assert!(definition.version > 0 && !definition.key.is_empty());
            definition.sql
        }),
    ];
    let printed: Vec<String> = printed.into_iter().flatten().collect();
    assert!(printed.len() <= 1);
    assert!(printed.iter().all(|body| body == text));
}

/// Archive keys print as they were read; bundles and tiles are made again from what they hold.
pub fn layout(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(artefact) = Artefact::parse(text)
    {
        assert_eq!(artefact.to_string(), text);
        assert!(!text.split('/').any(|segment| matches!(segment, "" | "." | "..")));
    }
    let Some((width, bytes)) = input.split_first() else {
        return;
    };
    let width = u16::from(*width) + 1;
    if let Ok(entries) = layout::decode_bundle(bytes, width) {
        assert_eq!(entries.len(), usize::from(width));
        assert_eq!(layout::encode_bundle(entries).as_deref(), Ok(bytes));
    }
    if let Some(hashes) = layout::decode_tile(bytes, width) {
        let again: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
        assert_eq!(again, bytes);
    }
}

/// The short texts that come with a submission: each has one form, which is the one it prints as.
pub fn key(input: &[u8]) {
    if let Ok(key) = PublicKey::from_bytes(input) {
        assert_eq!(PublicKey::parse(&key.to_string()), Ok(key));
        let neutral = Signature::from_bytes(std::array::from_fn(|at| u8::from(at == 0)));
        assert!(key.verify(input, &neutral).is_err());
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let printed = [
        PublicKey::parse(text).ok().map(|key| key.to_string()),
        Signature::parse(text).ok().map(|signature| signature.to_string()),
        text.parse::<VerifierKey>().ok().map(|key| key.to_string()),
        Counter::parse(text).map(|counter| counter.to_string()),
        Origin::new(text).ok().map(|origin| origin.to_string()),
        Workspace::new(text).ok().map(|workspace| workspace.to_string()),
        EventId::parse(&text.to_lowercase())
            .ok()
            .filter(|_| text == text.to_lowercase())
            .map(|id| id.to_string()),
        Micros::parse(text).ok().map(|at| at.to_string()),
        Hour::parse(text).ok().map(|hour| hour.to_string()),
    ];
    assert!(printed.iter().flatten().all(|printed| printed == text));
    if let Ok(at) = payload::occurred_at(text) {
        assert_eq!(Micros::parse(&at.to_string()), Ok(at));
    }
}

/// A proof of one event: what is read is written as the same bytes. Whatever it holds, the check of it
/// ends, and proves nothing that it then does not show.
pub fn proof(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(tlog) = TlogProof::parse(text)
    {
        let again = TlogProof::parse(&tlog.to_text());
        assert_eq!(again.as_ref(), Some(&tlog));
    }
    let read = Proof::parse(input);
    if let Ok(proof) = &read {
        assert_eq!(proof.to_bytes(), input);
    }
    let origin = "ledger.example.com/golden";
    let key = format!("{origin}+90c48343+AUj4HHK4qd719mZyZcylFTQ7svRipQBuDo2tsIfq2NEm");
    let trust = Trust {
        origin: Origin::new(origin).expect("an origin"),
        seal_keys: vec![key.parse().expect("a verifier key")],
        revoked: Vec::new(),
        seen: Vec::new(),
        receipt_keys: Vec::new(),
        workspaces: std::collections::BTreeMap::new(),
    };
    let checked = proof::check(input, &trust);
    let stands = matches!(checked.verdict, Verdict::Proven | Verdict::Short);
    assert_eq!(checked.proven.is_some(), stands);
    assert!(read.is_ok() || !stands);
    if let Some(proven) = &checked.proven {
        assert!(proven.seqs.0 <= proven.event.seq && proven.event.seq <= proven.seqs.1);
        assert!(proven.log_index < proven.log.size);
    }
}

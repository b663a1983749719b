//! Signed notes and their bodies: what is accepted, and that nothing that was changed is.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test stops at the first surprise"
)]

use ledger::checkpoint::Checkpoint;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::hash::Digest;
use ledger::hour::HourNote;
use ledger::key::{KeyError, Signature, SigningKey};
use ledger::layout::{Artefact, Range};
use ledger::limits::{NOTE_BYTES, NOTE_SIGNATURES};
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::{
    self, BodyError, Note, NoteError, NoteSigner, Signer, SignerError, VerifierKey,
    VerifierKeyError,
};
use ledger::prune::{PruneRecord, manifests_root};
use ledger::receipt::{HeadNote, Receipt};
use ledger::succession::{Cutoff, KeyNote, Revocation, Succession};
use ledger::time::{Hour, Micros};
use proptest::prelude::*;

fn origin() -> Origin {
    Origin::new("ledger.example.com/test").unwrap()
}

fn signer(seed: u8) -> NoteSigner {
    NoteSigner::seal(&origin(), SigningKey::from_seed(&[seed; 32]))
}

fn manifest() -> ChunkManifest {
    let range = Range {
        workspace: Workspace::new("acme").unwrap(),
        hour: Hour::parse("2026-11-23T16:00:00Z").unwrap(),
        first_seq: Seq::new(7).unwrap(),
        last_seq: Seq::new(9).unwrap(),
    };
    ChunkManifest {
        origin: origin(),
        workspace: range.workspace.clone(),
        hour: range.hour,
        part: 1,
        first_seq: range.first_seq,
        last_seq: range.last_seq,
        prev_link: Digest::of(b"prev"),
        last_link: Digest::of(b"last"),
        root: Digest::of(b"root"),
        first_recorded_at: range.hour.start(),
        last_recorded_at: Micros::new(range.hour.end() - 1).unwrap(),
        prev_manifest: Digest::of(b"before"),
        amends: Digest::ZERO,
        object: Artefact::Events { range, erasure: 0 }.to_string(),
        digest: ObjectDigest::of(b"object"),
    }
}

fn prune() -> PruneRecord {
    PruneRecord {
        origin: origin(),
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

/// Whether a text is a body of one kind; where it is, it must print as the same text again.
type Parses = fn(&str) -> bool;

/// A body of each kind, and the parser of that kind.
fn bodies() -> [(String, Parses); 8] {
    let at = Micros::parse("2026-11-23T16:00:00.000001Z").unwrap();
    let (workspace, link) = (Workspace::new("acme").unwrap(), Digest::of(b"link"));
    let receipt = Receipt {
        origin: origin(),
        workspace: workspace.clone(),
        submission: Digest::of(b"submission"),
        first_seq: Seq::new(3).unwrap(),
        last_seq: Seq::new(5).unwrap(),
        recorded_at: at,
        link,
    };
    let head = HeadNote {
        origin: origin(),
        workspace,
        last_seq: Seq::new(5).unwrap(),
        recorded_at: at,
        link,
    };
    let hour = HourNote {
        origin: origin(),
        hour: at.hour(),
        chunks: 1,
        workspaces: 2,
        heads_root: Digest::of(b"heads"),
        prev_hour: Digest::ZERO,
    };
    let checkpoint = Checkpoint { origin: origin(), size: 12, root: Digest::of(b"root") };
    let (old_key, new_key) = (signer(1).verifier().clone(), signer(2).verifier().clone());
    let succession = Succession {
        origin: origin(),
        old_key: old_key.clone(),
        new_key: new_key.clone(),
        reason: "yearly change".to_owned(),
    };
    let revocation = Revocation {
        origin: origin(),
        key: old_key,
        cutoff: Cutoff { size: 12, root: Digest::of(b"root") },
        new_key,
        reason: "stolen".to_owned(),
    };
    macro_rules! same {
        ($kind:ty) => {
            |text| {
                <$kind>::parse(text).is_ok_and(|body| {
                    assert_eq!(body.to_body(), text, "what parses prints as it was");
                    true
                })
            }
        };
    }
    [
        (receipt.to_body(), same!(Receipt)),
        (head.to_body(), same!(HeadNote)),
        (manifest().to_body(), same!(ChunkManifest)),
        (hour.to_body(), same!(HourNote)),
        (checkpoint.to_body(), same!(Checkpoint)),
        (succession.to_body(), same!(Succession)),
        (revocation.to_body(), same!(Revocation)),
        (prune().to_body(), same!(PruneRecord)),
    ]
}

#[test]
fn a_body_has_exactly_its_lines() {
    for (body, parses) in bodies() {
        assert!(parses(&body), "{body}");
        let lines: Vec<&str> = body.split_inclusive('\n').collect();
        let mut wrong = vec![
            String::new(),
            body.trim_end().to_owned(),
            format!("{body}\n"),
            format!("{body}extra 1\n"),
            format!("\n{body}"),
            body.replace('\n', "\r\n"),
            body.to_uppercase(),
        ];
        for (at, line) in lines.iter().enumerate() {
            let splice =
                |instead: &[&str]| [&lines[..at], instead, &lines[at + 1..]].concat().concat();
            wrong.push(splice(&[]));
            wrong.push(splice(&[line, line]));
            let name = line.split(' ').next().unwrap().trim_end();
            wrong.push(splice(&[&format!("{name}\n")]));
            wrong.push(splice(&[&format!("{name} \n")]));
            wrong.push(splice(&[&format!("{} \n", line.trim_end())]));
            wrong.push(splice(&[&format!(" {line}")]));
            wrong.push(splice(&[&line.replacen(' ', "  ", 1), "x\n"]));
            if let Some(next) = lines.get(at + 1) {
                let swapped = [&lines[..at], &[next, line], &lines[at + 2..]];
                wrong.push(swapped.concat().concat());
            }
        }
        for wrong in wrong.iter().filter(|wrong| **wrong != body) {
            assert!(!parses(wrong), "{wrong}");
        }
    }
}

#[test]
fn no_body_passes_for_another_kind() {
    for (at, (body, _)) in bodies().iter().enumerate() {
        for (other, (_, parses)) in bodies().iter().enumerate() {
            assert_eq!(parses(body), at == other, "{body}");
        }
    }
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let lie = |change: fn(&mut ChunkManifest)| {
        let mut manifest = manifest();
        change(&mut manifest);
        let error = ChunkManifest::parse(&manifest.to_body()).unwrap_err();
        error.to_string()
    };
    let hour = "first_recorded_at or last_recorded_at lies outside the hour";
    let object = "`object` is not the archive key of this workspace, hour and range";
    let before = |m: &mut ChunkManifest| m.last_recorded_at = Micros::EPOCH;
    assert_eq!(lie(before), "last_recorded_at is before first_recorded_at");
    assert_eq!(lie(|m| m.last_seq = Seq::FIRST), "last_seq is below first_seq");
    assert_eq!(lie(|m| m.last_recorded_at = Micros::new(m.hour.end()).unwrap()), hour);
    assert_eq!(lie(|m| m.first_recorded_at = m.hour.start().checked_add(-1).unwrap()), hour);
    assert_eq!(lie(|m| m.amends = Digest::of(b"an original")), object);
    assert_eq!(lie(|m| m.object = m.object.replace("acme", "beta")), object);
    assert_eq!(lie(|m| m.object = m.object.replace("hour=16", "hour=17")), object);
    assert_eq!(lie(|m| m.object = m.object.replace(".parquet", ".e1.parquet")), object);
    assert_eq!(lie(|m| m.object = format!("rollups/{}", m.object)), object);
    assert_eq!(lie(|m| m.object = "events/../log/checkpoint".to_owned()), object);
    let mut amended = manifest();
    amended.amends = Digest::of(b"an original");
    amended.object = amended.object.replace(".parquet", ".e2.parquet");
    let parsed = ChunkManifest::parse(&amended.to_body()).unwrap();
    assert_eq!((parsed.erasure(), parsed.is_original()), (2, false));
}

#[test]
fn a_note_about_seal_keys_names_two_keys_of_its_ledger() {
    let bodies = bodies();
    let (succession, revocation) = (&bodies[5].0, &bodies[6].0);
    let (one, two) = (signer(1).verifier().to_string(), signer(2).verifier().to_string());
    let other = Origin::new("ledger.example.com/other").unwrap();
    let other = NoteSigner::seal(&other, SigningKey::from_seed(&[2; 32]));
    let receipt = NoteSigner::receipt(&origin(), SigningKey::from_seed(&[2; 32]));
    for body in [succession, revocation] {
        let note = KeyNote::parse(body).unwrap().unwrap();
        assert_eq!((note.old_key(), note.new_key()), (signer(1).verifier(), signer(2).verifier()));
        assert_eq!((note.origin(), &note.to_body()), (&origin(), body));
        for key in [&one, &other.verifier().to_string(), &receipt.verifier().to_string()] {
            let error = KeyNote::parse(&body.replace(&two, key)).unwrap().unwrap_err();
            assert!(matches!(error, BodyError::Contradiction(_)), "{error}");
        }
        let long = body.replace("reason ", &format!("reason {}", "x".repeat(1_024)));
        assert!(KeyNote::parse(&long).unwrap().is_err());
    }
    assert_eq!(KeyNote::parse(&bodies[3].0), None, "an hour note is none");
}

/// A signer elsewhere that fails, or signs with another key than it says.
#[derive(Debug)]
struct Elsewhere(Option<SigningKey>);

impl Signer for Elsewhere {
    fn verifier(&self) -> &VerifierKey {
        static KEY: std::sync::OnceLock<VerifierKey> = std::sync::OnceLock::new();
        KEY.get_or_init(|| signer(1).verifier().clone())
    }

    fn sign(&self, body: &[u8]) -> Result<Signature, SignerError> {
        let failed =
            || SignerError { key: Box::new(self.verifier().clone()), reason: "away".to_owned() };
        self.0.as_ref().map(|key| key.sign(body)).ok_or_else(failed)
    }
}

#[test]
fn what_a_signer_elsewhere_answers_is_checked_before_it_stands_in_a_note() {
    let (body, two) = ("a body\n", signer(2));
    let by = |seed: u8| Elsewhere(Some(SigningKey::from_seed(&[seed; 32])));
    let note = note::sign_by(body, &[&by(1), &two]).unwrap();
    assert_eq!(note, note::sign(body, &[&signer(1), &two]));
    for wrong in [by(3), Elsewhere(None)] {
        let error = note::sign_by(body, &[&two, &wrong]).unwrap_err();
        assert_eq!(&*error.key, signer(1).verifier());
    }
}

#[test]
fn several_keys_sign_and_each_is_checked_alone() {
    let (one, two, absent) = (signer(1), signer(2), signer(3));
    let body = "a body\n\nwith an empty line\n";
    let note = note::sign(body, &[&one, &two]);
    let note = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(note.body(), body);
    assert_eq!(note.verify(one.verifier()), Ok(body));
    assert_eq!(note.verify(two.verifier()), Ok(body));
    // Same name, another key: not the one that signed.
    assert_eq!(
        note.verify(absent.verifier()),
        Err(NoteError::Unsigned(absent.verifier().to_string()))
    );
    let ids: Vec<_> = note.signers().map(|(_, id)| id).collect();
    assert_eq!(ids, [one.verifier().id(), two.verifier().id()]);
    // Same key, another name.
    let receipt = NoteSigner::receipt(&origin(), SigningKey::from_seed(&[1; 32]));
    assert!(note.verify(receipt.verifier()).is_err());
}

/// The line by which a key signs a body.
fn line(body: &str, signer: &NoteSigner) -> String {
    note::sign(body, &[signer])[body.len() + 1..].to_owned()
}

#[test]
fn signatures_of_unknown_keys_and_types_are_ignored() {
    let body = "a body\n";
    let (known, other) = (signer(1), signer(2));
    // A cosignature is longer than an Ed25519 signature: a type that this ledger does not read.
    let witness = "\u{2014} witness.example/w AAAAAAEBAQEBAQEBAQ==\n";
    let note = format!("{body}\n{witness}{}{}", line(body, &other), line(body, &known));
    let note = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(note.verify(known.verifier()), Ok(body));
}

#[test]
fn a_known_keys_signature_must_verify_wherever_it_stands() {
    let body = "a body\n";
    let known = signer(1);
    let (good, bad) = (line(body, &known), line("another body\n", &known));
    let verify = |lines: &[&str]| {
        let note = format!("{body}\n{}", lines.concat());
        let note = Note::parse(note.as_bytes()).unwrap();
        note.verify(known.verifier()).map(str::to_owned)
    };
    assert_eq!(verify(&[&good, &good]), Ok(body.to_owned()));
    let refused = Err(NoteError::BadSignature(known.verifier().to_string()));
    assert_eq!(verify(&[&bad]), refused);
    assert_eq!(verify(&[&good, &bad]), refused);
    assert_eq!(verify(&[&bad, &good]), refused);
}

#[test]
fn what_is_not_of_the_form_of_a_note_is_refused() {
    let body = "a body\n";
    let sig = line(body, &signer(1));
    let parse = |text: &str| Note::parse(text.as_bytes()).map(|_| ());
    assert_eq!(parse(&format!("{body}\n{sig}")), Ok(()));
    for text in ["", "\n", body, "a body\n\n", "\n\n"] {
        assert_eq!(parse(text), Err(NoteError::NoSignatures), "{text:?}");
    }
    let cut = format!("{body}\n{}", sig.trim_end());
    assert_eq!(parse(&cut), Err(NoteError::NoSignatures));
    for (line, bad) in [
        (1, "Unexpected line.\n".to_owned()),
        (2, format!("{sig}Unexpected line.\n")),
        (1, sig.replace("ledger.example.com/test", "two words")),
        (1, sig.replace("ledger.example.com/test", "plus+plus")),
        (1, sig.replace("ledger.example.com/test", "")),
        (1, sig.replace('\u{2014}', "-")),
        (1, sig.replace('\u{2014}', "\u{2014} ")),
        (1, sig.replace('=', "")),
        (1, format!("{} \n", sig.trim_end())),
        (1, "\u{2014} name AAAA\n".to_owned()),
        (1, "\u{2014} name AAAAAA==\n".to_owned()),
    ] {
        let parsed = parse(&format!("{body}\n{bad}"));
        assert_eq!(parsed, Err(NoteError::SignatureLine(line)), "{bad:?}");
    }
    for (at, byte) in [(0, "\u{1}"), (1, "\r"), (6, "\t"), (3, "\0")] {
        let mut text = format!("{body}\n{sig}");
        text.insert_str(at, byte);
        assert_eq!(parse(&text), Err(NoteError::Text(at)));
    }
    assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::Text(0)));
}

#[test]
fn a_note_is_read_up_to_its_limits_only() {
    let body = "a body\n";
    let key = signer(1);
    let sig = line(body, &key);
    let many = |count| format!("{body}\n{}", sig.repeat(count));
    let most = many(NOTE_SIGNATURES);
    let note = Note::parse(most.as_bytes()).unwrap();
    assert_eq!(note.verify(key.verifier()), Ok(body));
    let refused = Err(NoteError::TooLarge);
    assert_eq!(Note::parse(many(NOTE_SIGNATURES + 1).as_bytes()), refused);
    let long = |bytes: usize| {
        let sig = line(body, &key);
        "x".repeat(bytes - sig.len() - 2) + "\n\n" + &sig
    };
    assert!(Note::parse(long(NOTE_BYTES).as_bytes()).is_ok());
    assert_eq!(Note::parse(long(NOTE_BYTES + 1).as_bytes()), refused);
}

/// Keys and notes of another implementation: those of Go's `golang.org/x/mod/sumdb/note`.
#[test]
fn notes_of_another_implementation_verify() {
    let peter = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let enoch = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let by_peter = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let by_enoch = "\u{2014} EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
    let note = format!("{text}\n{by_peter}{by_enoch}");
    let note = Note::parse(note.as_bytes()).unwrap();
    for key in [peter, enoch] {
        let verifier: VerifierKey = key.parse().unwrap();
        assert_eq!(verifier.to_string(), key);
        assert_eq!(note.verify(&verifier), Ok(text));
    }
    // Wrong length and unknown algorithm, each with a key id that fits.
    let long = "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==";
    let kind = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert!(long.parse::<VerifierKey>().is_err());
    assert_eq!(kind.parse::<VerifierKey>(), Err(VerifierKeyError::Type(0x65)));
}

#[test]
fn a_verifier_key_that_was_cut_or_changed_is_refused() {
    let key = signer(1).verifier().to_string();
    for start in 0..key.len() {
        for end in start..=key.len() {
            let whole = (start, end) == (0, key.len());
            assert_eq!(key[start..end].parse::<VerifierKey>().is_ok(), whole);
        }
    }
    for at in 0..key.len() {
        let mut bytes = key.clone().into_bytes();
        bytes[at] += 1;
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.parse::<VerifierKey>().is_err(), "{text}");
    }
    let weak = "ledger.example.com/test+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(weak.parse::<VerifierKey>(), Err(VerifierKeyError::Key(KeyError::SmallOrder)));
}

/// A byte that can be put anywhere without making the note unreadable as such.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), prop::sample::select(b" \n0aA+=/\xe2\x80\x94".as_slice())]
}

proptest! {
    #[test]
    fn a_changed_note_never_verifies_to_something_else(
        kind in 0_usize..8,
        at: prop::sample::Index,
        byte in byte(),
        edit in 0_u8..3,
    ) {
        let (body, _) = &bodies()[kind];
        let (key, witness) = (signer(1), signer(2));
        let mut bytes = note::sign(body, &[&key, &witness]).into_bytes();
        let at = at.index(bytes.len());
        match edit {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => bytes.truncate(at),
        }
        if let Ok(note) = Note::parse(&bytes)
            && let Ok(verified) = note.verify(key.verifier())
        {
            prop_assert_eq!(verified, body);
        }
    }

    #[test]
    fn a_changed_body_prints_as_it_was_read_or_is_refused(
        kind in 0_usize..8,
        at: prop::sample::Index,
        byte in byte(),
        insert: bool,
    ) {
        let (body, parses) = &bodies()[kind];
        let mut bytes = body.clone().into_bytes();
        let at = at.index(bytes.len());
        if insert {
            bytes.insert(at, byte);
        } else {
            bytes[at] = byte;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            // `parses` asserts that what it reads prints as the same text.
            let read = parses(&text);
            prop_assert!(read || text != *body);
        }
    }

    #[test]
    fn parsing_never_panics(bytes: Vec<u8>, text in "(\\PC|\n){0,200}") {
        let lines = format!("{text}\n\n\u{2014} {text}\n");
        for bytes in [bytes.as_slice(), text.as_bytes(), lines.as_bytes()] {
            if let Ok(note) = Note::parse(bytes) {
                prop_assert!(note.body().ends_with('\n'));
                prop_assert!(note.signers().count() > 0);
            }
        }
        for (_, parses) in bodies() {
            prop_assert!(!parses(&text));
        }
        let _ = text.parse::<VerifierKey>().map(|key| assert_eq!(key.to_string(), text));
    }
}

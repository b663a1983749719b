//! Keys and signatures as bytes and text, and who may sign what along a chain (FORMAT section 6).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ledger::chain::{Acts, KeyRecord, Keys, LedgerEvent, Refusal, Role};
use ledger::key::{KeyError, PublicKey, Signature, SignatureError, SigningKey};
use ledger::names::{Seq, Workspace};
use ledger::payload::{Rules, scan};
use proptest::prelude::*;

/// l, the order of the group, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn key(seed: u8) -> PublicKey {
    signing(seed).public()
}

/// The signature with S + l for S: the same equation holds, in another encoding.
fn with_s_plus_l(signature: &Signature) -> Signature {
    let mut bytes = *signature.as_bytes();
    let mut carry = 0;
    for (byte, order) in bytes.iter_mut().skip(32).zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes().into_iter().next().unwrap();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    Signature::from_bytes(bytes)
}

/// The signature with other bytes for R.
fn with_r(signature: &Signature, r: [u8; 32]) -> Signature {
    let mut bytes = *signature.as_bytes();
    bytes
        .iter_mut()
        .zip(r)
        .for_each(|(slot, byte)| *slot = byte);
    Signature::from_bytes(bytes)
}

#[test]
fn signatures_are_checked_by_the_strict_rules() {
    let (key, message) = (signing(1), b"a statement");
    let good = key.sign(message);
    assert_eq!(key.public().verify(message, &good), Ok(()));
    let mut neutral = [0; 32];
    neutral.iter_mut().take(1).for_each(|byte| *byte = 1);
    let refused = [
        ("S + l", with_s_plus_l(&good)),
        ("R is the neutral point", with_r(&good, neutral)),
        ("R has order 4", with_r(&good, [0; 32])),
        ("R is not canonical", with_r(&good, [0xff; 32])),
        ("all zero", Signature::from_bytes([0; 64])),
        ("R and S of another message", key.sign(b"another")),
        ("by another key", signing(2).sign(message)),
    ];
    for (why, signature) in refused {
        let error = key.public().verify(message, &signature).unwrap_err();
        assert_eq!(error.code(), "signature-invalid", "{why}");
    }
    // Under a key of small order this signature would hold for every message; it is no key.
    assert_eq!(PublicKey::from_bytes(&neutral), Err(KeyError::SmallOrder));
}

#[test]
fn a_key_that_is_no_point_is_refused() {
    let mut bytes = *key(1).as_bytes();
    // Half of all y have no x: the first few neighbours of any key hold one.
    let refused = (0..=255).find_map(|low| {
        bytes.iter_mut().take(1).for_each(|byte| *byte = low);
        PublicKey::from_bytes(&bytes).err()
    });
    assert_eq!(refused.unwrap().code(), "key-not-a-point");
    for length in [0, 1, 31, 33, 64] {
        let error = PublicKey::from_bytes(&vec![1; length]).unwrap_err();
        assert_eq!(
            (error, error.code()),
            (KeyError::Length(length), "key-length")
        );
    }
}

#[test]
fn a_key_has_one_text() {
    let key = key(1);
    let text = key.to_string();
    assert_eq!(PublicKey::parse(&text), Ok(key));
    let bytes = key.as_bytes();
    let encoded = URL_SAFE_NO_PAD.encode(bytes);
    // The last character carries four bits: with another two below, the bytes would be the same.
    let mut other_bits = text.clone();
    let last = other_bits.pop().unwrap();
    let bumped = char::from(u8::try_from(last).unwrap() + 1);
    other_bits.push(bumped);
    for (bad, code) in [
        (String::new(), "key-text"),
        (encoded.clone(), "key-text"),
        (format!("ED25519:{encoded}"), "key-text"),
        (format!("ed25519: {encoded}"), "key-text"),
        (format!("ed25519:{encoded}\n"), "key-text"),
        (format!("ed25519:{}", URL_SAFE.encode(bytes)), "key-text"),
        (format!("ed25519:{}", STANDARD.encode(bytes)), "key-text"),
        (other_bits, "key-text"),
        (
            format!("ed25519:{}", URL_SAFE_NO_PAD.encode([1; 31])),
            "key-length",
        ),
        (
            format!("ed25519:{}", URL_SAFE_NO_PAD.encode([1; 33])),
            "key-length",
        ),
        ("ed25519:".to_owned(), "key-length"),
        (
            format!("ed25519:{}", URL_SAFE_NO_PAD.encode([0; 32])),
            "key-small-order",
        ),
        (
            format!("ed25519:{}", URL_SAFE_NO_PAD.encode([0xff; 32])),
            "key-not-canonical",
        ),
    ] {
        assert_eq!(PublicKey::parse(&bad).unwrap_err().code(), code, "{bad:?}");
    }
}

#[test]
fn a_signature_has_one_text() {
    let signature = signing(1).sign(b"a statement");
    let text = signature.to_string();
    assert_eq!(Signature::parse(&text), Ok(signature));
    for bad in [
        String::new(),
        STANDARD_NO_PAD.encode(signature.as_bytes()),
        URL_SAFE.encode([0xff; 64]),
        URL_SAFE_NO_PAD.encode(signature.as_bytes()),
        STANDARD.encode([1; 63]),
        STANDARD.encode([1; 65]),
        format!("{text}\n"),
        format!(" {text}"),
        format!("{text}="),
    ] {
        let error = Signature::parse(&bad).unwrap_err();
        assert_eq!(
            (error, error.code()),
            (SignatureError::Text, "signature-text"),
            "{bad:?}"
        );
    }
}

#[test]
fn a_private_key_comes_back_from_pem_and_is_never_shown() {
    let key = signing(7);
    let pem = key.to_pem().unwrap();
    assert_eq!(SigningKey::from_pem(&pem).unwrap().public(), key.public());
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey(of {})", key.public())
    );
    for bad in [
        "",
        "ed25519",
        &pem.replace("PRIVATE", "PUBLIC"),
        &pem.replace('M', ""),
    ] {
        assert_eq!(SigningKey::from_pem(bad).unwrap_err(), KeyError::Pem);
    }
}

/// An event of this type with these further members.
fn payload(event_type: &str, more: &str) -> String {
    format!(
        r#"{{"event_id":"d90d8297-ab71-50dd-a26c-4ee62fd9528c","event_type":"{event_type}","occurred_at":"2026-11-23T16:00:00Z","workspace_id":"acme"{more}}}"#
    )
}

fn acts_of(payloads: &[String]) -> Acts {
    let mut acts = Acts::new();
    for payload in payloads {
        let workspace = Workspace::new("acme").unwrap();
        let event = scan(payload.as_bytes(), &workspace, &Rules::default()).unwrap();
        acts.push(&event).unwrap();
    }
    acts
}

fn created(roots: &[u8]) -> Acts {
    let keys: Vec<String> = roots
        .iter()
        .map(|seed| format!("\"{}\"", key(*seed)))
        .collect();
    let context = format!(r#","context":{{"root_keys":[{}]}}"#, keys.join(","));
    acts_of(&[payload("ledger.workspace_created", &context)])
}

fn registered(seed: u8, role: Role, actor: Option<&str>) -> Acts {
    let actor = actor.map_or_else(String::new, |actor| format!(r#","actor_id":"{actor}""#));
    let context = format!(
        r#","context":{{"key":"{}","role":"{role}"{actor}}}"#,
        key(seed)
    );
    acts_of(&[payload("ledger.key_registered", &context)])
}

fn revoked(seed: u8) -> Acts {
    let context = format!(r#","context":{{"key":"{}","reason":"lost"}}"#, key(seed));
    acts_of(&[payload("ledger.key_revoked", &context)])
}

fn erased() -> Acts {
    let context =
        r#","context":{"event_ids":["d90d8297-ab71-50dd-a26c-4ee62fd9528c"],"reason":"asked"}"#;
    acts_of(&[payload("ledger.payload_erased", context)])
}

/// A plain submission whose events name these actors, or none.
fn plain(actors: &[&str]) -> Acts {
    let event = |actor: &&str| match *actor {
        "" => payload("business_event", ""),
        actor => payload("business_event", &format!(r#","actor_id":"{actor}""#)),
    };
    acts_of(&actors.iter().map(event).collect::<Vec<_>>())
}

fn seq(seq: u64) -> Seq {
    Seq::new(seq).unwrap()
}

/// Roots 1 and 2; 3 is an agent from seq 3 on, for actor `seven` alone; 4 a custodian from 4 on;
/// 5 was an agent for seqs 5 to 9 (registered at 4, revoked at 10).
fn workspace() -> Keys {
    let mut keys = Keys::new();
    for (signer, at, acts) in [
        (1, 1, created(&[1, 2])),
        (1, 2, registered(3, Role::Agent, Some("seven"))),
        (2, 3, registered(4, Role::Custodian, None)),
        (1, 4, registered(5, Role::Agent, None)),
        (1, 10, revoked(5)),
    ] {
        assert_eq!(keys.admit(&key(signer), seq(at), &acts), Ok(Role::Root));
    }
    keys
}

#[test]
fn every_refusal() {
    let not_root = |seed, role| Refusal::NotRoot {
        key: key(seed),
        role,
    };
    let gone = || Refusal::RevokedKey {
        key: key(5),
        revoked: seq(10),
    };
    let other_actor = |index, found: &str| Refusal::OtherActor {
        key: key(3),
        bound: "seven".to_owned(),
        index,
        found: found.to_owned(),
    };
    let table: [(&str, u8, u64, Acts, Refusal); 22] = [
        (
            "workspace-exists",
            1,
            11,
            created(&[1]),
            Refusal::WorkspaceExists,
        ),
        (
            "workspace-exists",
            9,
            11,
            created(&[9]),
            Refusal::WorkspaceExists,
        ),
        (
            "not-alone",
            1,
            11,
            acts_of(&[
                payload("business_event", ""),
                payload(
                    "ledger.key_revoked",
                    &format!(r#","context":{{"key":"{}","reason":"x"}}"#, key(3)),
                ),
            ]),
            Refusal::NotAlone(2),
        ),
        (
            "unknown-key",
            9,
            11,
            plain(&[""]),
            Refusal::UnknownKey(key(9)),
        ),
        (
            "unknown-key",
            9,
            11,
            registered(9, Role::Root, None),
            Refusal::UnknownKey(key(9)),
        ),
        ("revoked-key", 5, 10, plain(&[""]), gone()),
        ("revoked-key", 5, 11, plain(&[""]), gone()),
        (
            "revoked-key",
            5,
            11,
            registered(9, Role::Agent, None),
            gone(),
        ),
        (
            "not-yet-in-force",
            3,
            2,
            plain(&[""]),
            Refusal::NotYetInForce(key(3)),
        ),
        (
            "not-yet-in-force",
            4,
            3,
            plain(&[""]),
            Refusal::NotYetInForce(key(4)),
        ),
        (
            "not-root",
            3,
            11,
            registered(9, Role::Agent, None),
            not_root(3, Role::Agent),
        ),
        ("not-root", 3, 11, revoked(4), not_root(3, Role::Agent)),
        ("not-root", 3, 11, erased(), not_root(3, Role::Agent)),
        ("not-root", 4, 11, erased(), not_root(4, Role::Custodian)),
        (
            "other-actor",
            3,
            11,
            plain(&["eight"]),
            other_actor(0, "eight"),
        ),
        (
            "other-actor",
            3,
            11,
            plain(&["", "seven", "nine"]),
            other_actor(2, "nine"),
        ),
        (
            "already-registered",
            1,
            11,
            registered(3, Role::Agent, None),
            Refusal::AlreadyRegistered(key(3)),
        ),
        (
            "already-registered",
            1,
            11,
            registered(1, Role::Agent, None),
            Refusal::AlreadyRegistered(key(1)),
        ),
        (
            "registered-again",
            1,
            11,
            registered(5, Role::Agent, None),
            Refusal::Again(key(5)),
        ),
        (
            "not-in-force",
            1,
            11,
            revoked(9),
            Refusal::NotInForce(key(9)),
        ),
        (
            "not-in-force",
            1,
            11,
            revoked(5),
            Refusal::NotInForce(key(5)),
        ),
        ("no-workspace", 1, 1, plain(&[""]), Refusal::NoWorkspace),
    ];
    for (code, signer, at, acts, refusal) in table {
        let mut keys = workspace();
        assert_eq!(
            keys.admit(&key(signer), seq(at), &acts),
            Err(refusal.clone())
        );
        assert_eq!(refusal.code(), code);
        assert_eq!(keys, workspace(), "a refusal changes nothing");
    }
}

#[test]
fn a_workspace_is_opened_by_one_of_its_own_roots() {
    let open = |signer: u8, at: u64| Keys::new().admit(&key(signer), seq(at), &created(&[1, 2]));
    assert_eq!(open(1, 1), Ok(Role::Root));
    assert_eq!(open(2, 1), Ok(Role::Root));
    assert_eq!(open(3, 1), Err(Refusal::NotAFounder(key(3))));
    assert_eq!(open(1, 2), Err(Refusal::WorkspaceExists));
    let empty = Keys::new().admit(&key(1), seq(1), &registered(2, Role::Agent, None));
    assert_eq!(empty, Err(Refusal::NoWorkspace));
}

#[test]
fn the_last_root_key_stays() {
    let mut keys = workspace();
    assert_eq!(keys.admit(&key(1), seq(11), &revoked(1)), Ok(Role::Root));
    let last = keys.admit(&key(2), seq(12), &revoked(2));
    assert_eq!(last, Err(Refusal::LastRoot(key(2))));
    assert_eq!(last.unwrap_err().code(), "last-root");
    let another = registered(6, Role::Root, None);
    assert_eq!(keys.admit(&key(2), seq(12), &another), Ok(Role::Root));
    assert_eq!(keys.admit(&key(6), seq(13), &revoked(2)), Ok(Role::Root));
}

#[test]
fn a_key_is_in_force_after_its_registration_and_before_its_revocation() {
    let keys = workspace();
    let signs = |seed: u8, at: u64| keys.clone().admit(&key(seed), seq(at), &plain(&[""]));
    assert_eq!(signs(5, 4), Err(Refusal::NotYetInForce(key(5))));
    assert_eq!(signs(5, 5), Ok(Role::Agent));
    assert_eq!(signs(5, 9), Ok(Role::Agent));
    assert_eq!(signs(5, 10).unwrap_err().code(), "revoked-key");
    assert_eq!(signs(1, 2), Ok(Role::Root));
    assert_eq!(signs(4, 5), Ok(Role::Custodian));
    let record = keys.get(&key(5)).unwrap();
    let in_force: Vec<u64> = (1..12).filter(|at| record.in_force(seq(*at))).collect();
    assert_eq!(in_force, [5, 6, 7, 8, 9]);
    assert_eq!(
        Keys::from_records(keys.iter().map(|(key, r)| (*key, r.clone()))),
        keys
    );
}

#[test]
fn a_bound_key_speaks_for_its_actor_or_none() {
    let mut keys = workspace();
    for actors in [&["seven"][..], &[""], &["seven", "", "seven"]] {
        assert_eq!(
            keys.admit(&key(3), seq(11), &plain(actors)),
            Ok(Role::Agent)
        );
    }
    assert_eq!(
        keys.admit(&key(1), seq(11), &plain(&["seven", "eight"])),
        Ok(Role::Root)
    );
}

#[test]
fn the_context_of_a_ledger_event_is_read_strictly() {
    let known = key(1);
    let nine: Vec<String> = (1..=9).map(|seed| format!("\"{}\"", key(seed))).collect();
    let eight = nine.iter().take(8).cloned().collect::<Vec<_>>().join(",");
    let event = |kind: &str, context: &str| {
        let more = if context.is_empty() {
            String::new()
        } else {
            format!(r#","context":{context}"#)
        };
        let payload = payload(kind, &more);
        let workspace = Workspace::new("acme").unwrap();
        let event = scan(payload.as_bytes(), &workspace, &Rules::default()).unwrap();
        LedgerEvent::read(&event).map_err(|error| {
            assert_eq!(error.event_type, kind);
            error.reason
        })
    };
    let (created, registered) = ("ledger.workspace_created", "ledger.key_registered");
    let (revoked, erased) = ("ledger.key_revoked", "ledger.payload_erased");
    assert_eq!(event("business_event", "{}"), Ok(None));
    assert!(event(created, &format!(r#"{{"root_keys":[{eight}]}}"#)).is_ok());
    let since = format!(
        r#"{{"key":"{known}","reason":"x","compromised_since":"2026-11-23T16:00:00+01:00"}}"#
    );
    let Ok(Some(LedgerEvent::KeyRevoked {
        compromised_since, ..
    })) = event(revoked, &since)
    else {
        panic!("{since}")
    };
    assert_eq!(
        compromised_since.unwrap().to_string(),
        "2026-11-23T15:00:00.000000Z"
    );
    for (kind, context, reason) in [
        (created, String::new(), "required"),
        (created, r"{}".to_owned(), "root_keys"),
        (created, r#"{"root_keys":[]}"#.to_owned(), "1 to 8"),
        (
            created,
            format!(r#"{{"root_keys":[{}]}}"#, nine.join(",")),
            "1 to 8",
        ),
        (
            created,
            format!(r#"{{"root_keys":["{known}","{known}"]}}"#),
            "twice",
        ),
        (
            created,
            format!(r#"{{"root_keys":["{known}"],"more":1}}"#),
            "more",
        ),
        (
            created,
            r#"{"root_keys":["ed25519:AA"]}"#.to_owned(),
            "32 bytes",
        ),
        (registered, format!(r#"{{"key":"{known}"}}"#), "role"),
        (
            registered,
            format!(r#"{{"key":"{known}","role":"Root"}}"#),
            "Root",
        ),
        (
            registered,
            format!(r#"{{"key":"{known}","role":"admin"}}"#),
            "admin",
        ),
        (
            registered,
            format!(
                r#"{{"key":"{known}","role":"agent","actor_id":"{}"}}"#,
                "x".repeat(1_025)
            ),
            "1024",
        ),
        (
            registered,
            format!(r#"{{"key":"{known}","role":"agent","expires":1}}"#),
            "expires",
        ),
        (revoked, format!(r#"{{"key":"{known}"}}"#), "reason"),
        (
            revoked,
            format!(r#"{{"key":"{known}","reason":"x","compromised_since":"today"}}"#),
            "compromised_since",
        ),
        (
            erased,
            r#"{"event_ids":[],"reason":"x"}"#.to_owned(),
            "no event",
        ),
        (
            erased,
            r#"{"event_ids":["x"],"reason":"x"}"#.to_owned(),
            "event_ids",
        ),
        (
            erased,
            r#"{"event_ids":["d90d8297-ab71-50dd-a26c-4ee62fd9528c"]}"#.to_owned(),
            "reason",
        ),
    ] {
        let error = event(kind, &context).unwrap_err();
        assert!(error.contains(reason), "{kind} {context}: {error}");
    }
}

/// What a random submission tries.
#[derive(Clone, Debug)]
enum Try {
    Plain,
    Register(u8, Role),
    Revoke(u8),
    Erase,
}

fn tries() -> impl Strategy<Value = Try> {
    let roles = prop::sample::select(vec![Role::Root, Role::Agent, Role::Custodian]);
    prop_oneof![
        Just(Try::Plain),
        (1_u8..7, roles).prop_map(|(key, role)| Try::Register(key, role)),
        (1_u8..7).prop_map(Try::Revoke),
        Just(Try::Erase),
    ]
}

/// The rules of FORMAT section 6 over plain tuples: role, registered at, revoked at.
fn model(
    keys: &mut BTreeMap<u8, (Role, u64, Option<u64>)>,
    signer: u8,
    at: u64,
    attempt: &Try,
) -> Option<Role> {
    let (role, registered, revoked) = *keys.get(&signer)?;
    if at <= registered || revoked.is_some_and(|revoked| at >= revoked) {
        return None;
    }
    if !matches!(attempt, Try::Plain) && role != Role::Root {
        return None;
    }
    match attempt {
        Try::Register(key, role) => {
            if keys.contains_key(key) {
                return None;
            }
            keys.insert(*key, (*role, at, None));
        }
        Try::Revoke(key) => {
            let live =
                |(role, _, revoked): &(Role, u64, Option<u64>)| revoked.is_none().then_some(*role);
            let role = keys.get(key).and_then(live)?;
            let roots = keys
                .values()
                .filter(|record| live(record) == Some(Role::Root))
                .count();
            if role == Role::Root && roots < 2 {
                return None;
            }
            keys.entry(*key)
                .and_modify(|(_, _, revoked)| *revoked = Some(at));
        }
        Try::Plain | Try::Erase => {}
    }
    Some(role)
}

proptest! {
    #[test]
    fn keys_are_as_the_model_has_them(steps in prop::collection::vec((1_u8..7, tries()), 1..60)) {
        let mut keys = Keys::new();
        keys.admit(&key(1), seq(1), &created(&[1, 2])).unwrap();
        let mut expected = BTreeMap::from([(1, (Role::Root, 1, None)), (2, (Role::Root, 1, None))]);
        let mut at = 2;
        for (signer, attempt) in steps {
            let acts = match &attempt {
                Try::Plain => plain(&[""]),
                Try::Register(key, role) => registered(*key, *role, None),
                Try::Revoke(key) => revoked(*key),
                Try::Erase => erased(),
            };
            let admitted = keys.admit(&key(signer), seq(at), &acts).ok();
            prop_assert_eq!(admitted, model(&mut expected, signer, at, &attempt), "{:?} by {}", attempt, signer);
            at += u64::from(admitted.is_some());
        }
        let found: BTreeMap<PublicKey, KeyRecord> = keys.iter().map(|(k, r)| (*k, r.clone())).collect();
        prop_assert_eq!(found.len(), expected.len());
        for (seed, (role, registered, revoked)) in expected {
            let record = keys.get(&key(seed)).unwrap();
            prop_assert_eq!(record.role, role);
            prop_assert_eq!(record.registered, seq(registered));
            prop_assert_eq!(record.revoked, revoked.map(seq));
        }
    }
}

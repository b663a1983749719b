//! What is refused, with which reason, and that nothing is left of it.

use checks::submission::{Route, Submission};
use ledger::key::{PublicKey, Signature};
use ledger::names::{Origin, Workspace};
use ledger::submission::{Counter, Statement};
use reqwest::Method;
use serde_json::Value;

use crate::world::{ORIGIN, World, acme, event, founding, key, plain, registered, revoked, signed};

const VECTORS: &str = include_str!("../../../docs/spec/vectors/v1.json");

/// FAULTS 37.
#[tokio::test]
async fn keys_that_may_not() {
    let mut world = World::new().await;
    let agent = &world.agent;
    let bound = signed(&key(1), 0, vec![registered(3, &key(3), "agent", Some("ada"))]);
    let gone = signed(&key(1), 0, vec![registered(4, &key(4), "agent", None)]);
    let revoke = signed(&key(1), 0, vec![revoked(5, &key(4))]);
    for submission in [&bound, &gone, &revoke] {
        assert_eq!(agent.post_key(submission).await.status, 201);
    }
    // Key 5 is a root key, of another workspace.
    let founded = {
        let context = serde_json::json!({"root_keys": [key(5).public().to_string()]});
        let payload = event("beta", 1, "ledger.workspace_created", &context);
        let (origin, beta) = (Origin::new(ORIGIN).unwrap(), Workspace::new("beta").unwrap());
        let signed = Submission::sign(&origin, &beta, Counter::NONE, &key(5), vec![payload]);
        Submission { route: Route::Workspaces, ..signed }
    };
    assert_eq!(agent.post(&founded).await.status, 201);

    let for_other = |actor: &str| {
        let text = String::from_utf8(plain(30)).unwrap();
        let text = text.replacen('{', &format!("{{\"actor_id\":\"{actor}\","), 1);
        signed(&key(3), 0, vec![plain(31), text.into_bytes()])
    };
    let before = world.entries().await;
    let set = |signer: u8, payload: Vec<u8>| signed(&key(signer), 0, vec![payload]);
    let by_key = [
        (set(2, registered(10, &key(6), "agent", None)), 403, "not-root"),
        (set(2, revoked(11, &key(1))), 403, "not-root"),
        (set(5, registered(12, &key(5), "root", None)), 403, "unknown-key"),
        (set(4, registered(13, &key(6), "root", None)), 403, "revoked-key"),
        (set(1, revoked(14, &key(1))), 403, "last-root"),
        (set(1, registered(15, &key(4), "agent", None)), 403, "registered-again"),
        (set(1, registered(16, &key(2), "root", None)), 409, "already-registered"),
        (set(1, revoked(17, &key(7))), 409, "not-in-force"),
        (set(1, revoked(18, &key(4))), 409, "not-in-force"),
    ];
    for (submission, status, kind) in by_key {
        let reply = agent.post_key(&submission).await;
        assert_eq!((reply.status, reply.problem()), (status, kind.to_owned()));
    }
    let by_event = [
        (signed(&key(4), 0, vec![plain(20)]), 403, "revoked-key"),
        (signed(&key(5), 0, vec![plain(21)]), 403, "unknown-key"),
        (signed(&key(8), 0, vec![plain(22)]), 403, "unknown-key"),
        (for_other("bob"), 403, "other-actor"),
        (signed(&key(2), 0, vec![registered(23, &key(6), "agent", None)]), 403, "not-root"),
        (
            signed(&key(1), 0, vec![plain(24), registered(25, &key(6), "agent", None)]),
            422,
            "not-alone",
        ),
    ];
    for (submission, status, kind) in by_event {
        let reply = agent.post(&submission).await;
        assert_eq!((reply.status, reply.problem()), (status, kind.to_owned()));
    }
    // Whoever founds a workspace has one of its root keys.
    let stranger = {
        let founding = founding("gamma", 1);
        let statement = Statement::new(
            &Origin::new(ORIGIN).unwrap(),
            &founding.workspace,
            Counter::NONE,
            &founding.digests(),
        );
        let signature = key(6).sign(statement.as_str().as_bytes());
        Submission { public_key: key(6).public(), signature, ..founding }
    };
    let reply = agent.post(&stranger).await;
    assert_eq!((reply.status, reply.problem()), (403, "not-a-founder".to_owned()));
    assert_eq!(world.entries().await, before);
    assert_eq!(agent.post(&for_other("ada")).await.status, 201);
    world.stop().await;
}

/// FAULTS 35.
#[tokio::test]
async fn a_signature_cannot_be_carried_elsewhere() {
    let mut world = World::new().await;
    assert_eq!(world.agent.post(&founding("beta", 1)).await.status, 201);
    let sent = signed(&key(2), 7, vec![plain(10), plain(11), plain(12)]);
    let first = world.agent.post(&sent).await;
    assert_eq!(first.status, 201);
    let before = world.entries().await;

    let with = |change: &dyn Fn(&mut Submission)| {
        let mut changed = sent.clone();
        change(&mut changed);
        changed
    };
    let other_origin = {
        let origin = Origin::new("ledger.example.com/other").unwrap();
        let counter = Counter::new(7).unwrap();
        Submission::sign(&origin, &acme(), counter, &key(2), sent.payloads.clone())
    };
    let changed = [
        with(&|s| s.counter = Counter::new(8).unwrap()),
        with(&|s| s.counter = Counter::NONE),
        with(&|s| s.payloads.swap(0, 2)),
        with(&|s| s.payloads.truncate(2)),
        with(&|s| s.payloads.push(plain(13))),
        with(&|s| s.payloads[1] = plain(13)),
        with(&|s| s.public_key = key(1).public()),
        other_origin,
    ];
    for submission in changed {
        let (status, kind, reason) = world.agent.post(&submission).await.refusal();
        assert_eq!(
            (status, kind.as_str(), reason.as_str()),
            (403, "signature-invalid", "signature-invalid")
        );
    }
    // The events name their workspace: under another one they are refused before the signature.
    let (status, _, reason) =
        world.agent.post_to("/v1/workspaces/beta/events", &sent).await.refusal();
    assert_eq!((status, reason.as_str()), (422, "wrong-workspace"));
    assert_eq!(world.agent.post(&sent).await.text, first.text);
    assert_eq!(world.entries().await, before);
    world.stop().await;
}

/// FAULTS 36, the event whose signatures are forged below.
const FORGED: &str = r#"{"event_id":"00000000-0000-4000-8000-00000000f00d","event_type":"x","occurred_at":"2026-11-23T16:00:00Z","workspace_id":"acme"}"#;

/// R is the neutral point, S = H(R || A || statement) * a: the equation of Ed25519 holds, and
/// lax verifiers accept it. Made with the private key 2.
const SMALL_ORDER_R: &str = "0100000000000000000000000000000000000000000000000000000000000000c573dbe89da7491d6d761db4c96ba3b0de9cff18e57f09b54dc193b429a4740d";

/// The order of the group, in little-endian bytes.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// S + l: the same signature to whoever reduces S.
fn plus_order(signature: &Signature) -> Signature {
    let mut bytes = *signature.as_bytes();
    let mut carry = 0_u16;
    for (byte, more) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    Signature::from_bytes(bytes)
}

#[tokio::test]
async fn keys_and_signatures_that_prove_nothing() {
    let mut world = World::new().await;
    let before = world.entries().await;
    let good = signed(&key(2), 0, vec![FORGED.as_bytes().to_vec()]);
    let post = async |key: &str, signature: &str| {
        let headers = [
            ("content-type", "application/x-ndjson"),
            ("tally-public-key", key),
            ("tally-signature", signature),
        ];
        world.agent.send(Method::POST, &good.path(), &headers, good.body()).await.refusal()
    };
    let signature = good.signature.to_string();

    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let refused = vectors["refused_keys"].as_array().unwrap();
    assert!(refused.len() >= 28);
    for case in refused {
        let bytes = hex(case["hex"].as_str().unwrap());
        let code = PublicKey::from_bytes(&bytes).unwrap_err().code();
        let found = post(&key_text(&bytes), &signature).await;
        assert_eq!(found, (400, "bad-header".to_owned(), code.to_owned()), "{case}");
    }
    let key_text = good.public_key.to_string();
    for text in [
        format!("{key_text}="),
        key_text.replace("ed25519:", ""),
        key_text.to_uppercase(),
        key_text.replace("ed25519:", "ed25519: "),
    ] {
        let found = post(&text, &signature).await;
        assert_eq!(found, (400, "bad-header".to_owned(), "key-text".to_owned()), "{text}");
    }

    let small_order_r: [u8; 64] = hex(SMALL_ORDER_R).try_into().unwrap();
    let mut flipped = *good.signature.as_bytes();
    flipped[0] ^= 1;
    for forged in [
        plus_order(&good.signature),
        Signature::from_bytes(small_order_r),
        Signature::from_bytes([0; 64]),
        Signature::from_bytes(flipped),
    ] {
        let (status, _, reason) = post(&key_text, &forged.to_string()).await;
        assert_eq!((status, reason.as_str()), (403, "signature-invalid"));
    }
    let unpadded = signature.trim_end_matches('=');
    for text in [unpadded, &signature.repeat(2), &format!("{signature}="), "", "*", "AAAA"] {
        let found = post(&key_text, text).await;
        assert_eq!(found, (400, "bad-header".to_owned(), "signature-text".to_owned()), "{text}");
    }
    assert_eq!(world.entries().await, before);
    assert_eq!(world.agent.post(&good).await.status, 201);
    world.stop().await;
}

/// The text form of bytes that are no key.
fn key_text(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = "ed25519:".to_owned();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        let word = word << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[word >> (18 - 6 * digit) & 63]));
        }
    }
    text
}

/// FAULTS 31 to 34: a case of each, to show that HTTP stands before the same gate; the table is in
/// `ledger`.
#[tokio::test]
async fn payloads_that_break_a_rule() {
    let mut world = World::new().await;
    let before = world.entries().await;
    let start = format!(
        "{{\"event_id\":\"{}\",\"event_type\":\"x\",\"workspace_id\":\"acme\",",
        crate::world::event_id(1)
    );
    let at = "\"occurred_at\":\"2026-11-23T16:00:00Z\"";
    let deep = format!("\"context\":{{\"a\":{}{}}}", "[".repeat(31), "]".repeat(31));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        ([start.as_bytes(), at.as_bytes(), b",\"salt\":\"\xff\"}"].concat(), "not-utf8"),
        ([start.as_bytes(), at.as_bytes(), b",\"salt\":\"\xc0\xaf\"}"].concat(), "not-utf8"),
        (format!("\u{feff}{start}{at}}}").into(), "byte-order-mark"),
        (format!("{start}{at},\"salt\":\"\\u0000\"}}").into(), "nul"),
        (format!("{start}{at},\"salt\":\"\\udc00\"}}").into(), "lone-surrogate"),
        (format!("{start}{at},\"sаlt\":\"a Cyrillic letter\"}}").into(), "unknown-member"),
        (format!("{start}{at},\"context\":{{\"a\":1,\"\\u0061\":2}}}}").into(), "duplicate-member"),
        (format!("{start}{at},{at}}}").into(), "duplicate-member"),
        (format!("{start}{at},{deep}}}").into(), "too-deep"),
        (format!("{start}{at},\"input_tokens\":9223372036854775808}}").into(), "out-of-range"),
        (format!("{start}{at},\"input_tokens\":1.0}}").into(), "not-an-integer"),
        (format!("{start}{at},\"context\":{{\"a\":NaN}}}}").into(), "not-json"),
        (format!("{start}{at},\"unit_cost_input\":0.0000000001}}").into(), "bad-money"),
        (format!("{start}\"occurred_at\":\"1969-12-31T23:59:59Z\"}}").into(), "bad-time"),
        (format!("{start}\"occurred_at\":\"2026-12-31T23:59:60Z\"}}").into(), "bad-time"),
        (format!("{start}\"occurred_at\":\"2026-11-23T16:00:00+24:00\"}}").into(), "bad-time"),
        (
            format!("{start}{at},\"context\":{{\"a\":\"{}\"}}}}", "x".repeat(65_536)).into(),
            "too-long",
        ),
    ];
    for (payload, expected) in cases {
        let shown = String::from_utf8_lossy(&payload).chars().take(300).collect::<String>();
        // Beside an event that is well formed, so that the index is told.
        let submission = signed(&key(2), 0, vec![plain(9), payload]);
        let reply = world.agent.post(&submission).await;
        let (status, kind, reason) = reply.refusal();
        assert_eq!(
            (status, kind.as_str(), reason.as_str()),
            (422, "event-refused", expected),
            "{shown}"
        );
        assert_eq!(reply.json()["errors"][0]["index"], 1);
        assert!(reply.text.len() < 2_000, "an answer does not give back what was sent");
    }
    assert_eq!(world.entries().await, before);
    world.stop().await;
}

//! Payloads that are nearly valid: an honest event with one thing changed, at the edge of a rule.
//!
//! Here: changes of which the format accepts some and refuses others. Not here: which of them it
//! accepts: the point is that all parts of the system must agree about it.

#![expect(clippy::expect_used, reason = "never shipped: what cannot be made is a failed test")]

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::events::pick;
use crate::forge::Random;

/// Members, and values for them as they stand in the JSON text: on both sides of each rule.
const VALUES: [(&str, &[&str]); 16] = [
    (
        "input_tokens",
        &["0", "9223372036854775807", "9223372036854775808", "-1", "-0", "1.0", "1e3"],
    ),
    ("output_tokens", &["null", "\"5\"", "007", "18446744073709551616", "1E0", "42"]),
    ("latency_ms", &["0.5", "true", "[]", "9007199254740993", "1e400"]),
    (
        "unit_cost_input",
        &["0", "999999999.999999999", "1000000000", "0.0000000001", "1e-9", "1e8", "1e9", "-0.1"],
    ),
    (
        "unit_cost_output",
        &[
            "\"0.5\"",
            "\"5.\"",
            "\"\"",
            "-0",
            "0.100000000000",
            "123456789012345678e-9",
            "1e400",
            "{}",
        ],
    ),
    (
        "occurred_at",
        &[
            "\"1969-12-31T23:59:59Z\"",
            "\"1970-01-01T00:00:00Z\"",
            "\"9999-12-31T23:59:59.999999999Z\"",
            "\"10000-01-01T00:00:00Z\"",
            "\"2024-02-30T00:00:00Z\"",
            "\"2024-02-29T23:59:60Z\"",
            "\"2024-02-29T23:59:59.1234567890Z\"",
            "\"2024-02-29T23:59:59.123456789+23:59\"",
            "\"2024-02-29T23:59:59+24:00\"",
            "\"2024-02-29 23:59:59Z\"",
            "\"1970-01-01T00:00:00+00:01\"",
        ],
    ),
    (
        "event_type",
        &[
            "\"tool_call\"",
            "\"llm_call\"",
            "\"error\"",
            "\"my.own_type2\"",
            "\"Upper\"",
            "\"\"",
            "\"ledger.mine\"",
            "\"ledger.erased\"",
            "\"ledger.workspace_created\"",
            "\"ledger.payload_erased\"",
            "\"ledgerx\"",
        ],
    ),
    ("event_id", &["\"00000000-0000-0000-0000-000000000000\"", "\"not-a-uuid\"", "7", "null"]),
    (
        "parent_event_id",
        &[
            "\"F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6\"",
            "\"f81d4fae7dec11d0a76500a0c91e6bf6\"",
            "null",
        ],
    ),
    (
        "trace_id",
        &[
            "\"0123456789abcdef0123456789abcdef\"",
            "\"0123456789ABCDEF0123456789ABCDEF\"",
            "\"\"",
            "\"0\"",
        ],
    ),
    (
        "session_id",
        &[
            "\"\"",
            "\"\\u0000\"",
            "\"\\ud83d\"",
            "\"\\ud83d\\ude00\"",
            "\"\u{2028}\"",
            "\"a\\tb\\\"c\"",
            "\"\\x\"",
            "\"tab\tinside\"",
        ],
    ),
    ("status", &["\"done\"", "\"success\"", "\"\"", "null"]),
    ("success", &["true", "null", "1", "\"true\""]),
    (
        "context",
        &[
            "{}",
            "[]",
            "null",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"a\":{\"b\":[1e400,-0,1.50,\"\\u00e9\"]}}",
            "{\"a\":\"\\udc00\"}",
            "{ \"spaces\" : [ 1 , 2 ] }",
        ],
    ),
    ("actor_id", &["\"someone-else\"", "\"\"", "null", "{}"]),
    ("workspace_id", &["\"another\"", "null", "\"\\u0061nother\""]),
];

/// Changes one thing of a valid payload.
pub fn vary(random: &mut Random, payload: &[u8]) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    match random.below(12) {
        0 => flip(random, &mut bytes),
        1 => {
            let at = place(random, &bytes);
            bytes.remove(at);
        }
        2 => bytes.truncate(place(random, payload)),
        3 => bytes.insert(place(random, payload), pick(random, b" \"\\{}[],:0\r\x00\xff\xc3")),
        4 => surround(random, &mut bytes),
        5 => insert(&mut bytes, pick(random, &["\"extra\":1,", "\"sucess\":true,", "\"\":0,"])),
        6 => insert(&mut bytes, pick(random, &["\"event_id\":\"x\",", "\"\\u0073ource\":\"x\","])),
        7 => return long_text(random, payload),
        8 => return nested(random, payload),
        _ => {
            let (member, values) = pick(random, &VALUES);
            return with(payload, member, pick(random, values));
        }
    }
    bytes
}

/// A place within the bytes.
fn place(random: &mut Random, bytes: &[u8]) -> usize {
    usize::try_from(random.below(u64::try_from(bytes.len()).unwrap_or(0))).unwrap_or(0)
}

fn flip(random: &mut Random, bytes: &mut [u8]) {
    let at = place(random, bytes);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// Bytes before or after the object.
fn surround(random: &mut Random, bytes: &mut Vec<u8>) {
    match random.below(5) {
        0 => bytes.insert(0, b' '),
        1 => bytes.push(b' '),
        2 => bytes.push(b'\r'),
        3 => drop(bytes.splice(0..0, *b"\xef\xbb\xbf")),
        _ => bytes.extend_from_slice(b"{}"),
    }
}

/// A member in front of all others.
fn insert(bytes: &mut Vec<u8>, member: &str) {
    bytes.splice(1..1, member.bytes());
}

/// Text members just within and just over their limit, in one-byte and in two-byte characters.
fn long_text(random: &mut Random, payload: &[u8]) -> Vec<u8> {
    let member =
        pick(random, &["session_id", "source", "model", "salt", "on_behalf_of", "error_type"]);
    let text = match random.below(4) {
        0 => "x".repeat(ledger::limits::TEXT_BYTES),
        1 => "x".repeat(ledger::limits::TEXT_BYTES + 1),
        2 => "\u{e9}".repeat(ledger::limits::TEXT_BYTES / 2),
        _ => "\\u00e9".repeat(ledger::limits::TEXT_BYTES / 2 + 1),
    };
    with(payload, member, &format!("\"{text}\""))
}

/// Content just within and just over the depth; the payload is level 1, its context level 2.
fn nested(random: &mut Random, payload: &[u8]) -> Vec<u8> {
    let levels = ledger::limits::PAYLOAD_DEPTH - 2 + usize::from(random.once_in(2));
    with(payload, "context", &format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels)))
}

/// The payload with one member set to a value, which is JSON text of any kind, valid or not.
fn with(payload: &[u8], member: &str, value: &str) -> Vec<u8> {
    let members: BTreeMap<&str, &RawValue> =
        serde_json::from_slice(payload).expect("the generator writes JSON");
    let mut members: BTreeMap<_, _> =
        members.into_iter().map(|(name, value)| (name, value.get())).collect();
    members.insert(member, value);
    let members: Vec<_> =
        members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(",")).into_bytes()
}

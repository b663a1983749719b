//! Every payload of the golden vectors: accepted with the derived values, or refused for the right
//! reason at the right member.

use ledger::names::Workspace;
use ledger::payload::{Rules, scan};
use serde_json::Value;

/// What each refused vector breaks, and at which member.
const REFUSED: [(&str, &str, &str); 47] = [
    ("not json", "not-an-object", ""),
    ("array", "not-an-object", ""),
    ("trailing bytes", "trailing-bytes", ""),
    // The vector misspells the member, and a name that is not known comes before one that is not
    // there.
    ("missing event_id", "unknown-member", "/event_idx"),
    ("duplicate member", "duplicate-member", "/model"),
    ("duplicate member behind an escape", "duplicate-member", "/model"),
    ("duplicate inside context", "duplicate-member", "/context/a"),
    ("unknown member", "unknown-member", "/modle"),
    ("nil uuid", "bad-uuid", "/event_id"),
    ("no offset", "bad-time", "/occurred_at"),
    ("not a date", "bad-time", "/occurred_at"),
    ("other workspace", "wrong-workspace", "/workspace_id"),
    ("NUL in string", "nul", "/session_id"),
    ("lone surrogate", "lone-surrogate", "/session_id"),
    ("negative tokens", "out-of-range", "/input_tokens"),
    ("tokens over i64", "out-of-range", "/input_tokens"),
    ("tokens as float", "not-an-integer", "/input_tokens"),
    ("tokens as text", "not-an-integer", "/input_tokens"),
    ("cost with ten digits", "bad-money", "/unit_cost_input"),
    ("cost exponent overflow", "bad-money", "/unit_cost_input"),
    ("byte-order mark", "byte-order-mark", ""),
    ("tokens in exponent form", "not-an-integer", "/input_tokens"),
    ("tokens minus zero", "not-an-integer", "/input_tokens"),
    ("negative cost", "bad-money", "/unit_cost_output"),
    ("cost with ten integer digits", "bad-money", "/unit_cost_output"),
    ("space before", "white-space-around", ""),
    ("carriage return after", "white-space-around", ""),
    ("leap second", "bad-time", "/occurred_at"),
    ("ten fraction digits", "bad-time", "/occurred_at"),
    ("lower-case t", "bad-time", "/occurred_at"),
    ("space for T", "bad-time", "/occurred_at"),
    ("offset of a day", "bad-time", "/occurred_at"),
    ("year 1969", "bad-time", "/occurred_at"),
    ("hyphenless uuid", "bad-uuid", "/event_id"),
    ("braced uuid", "bad-uuid", "/event_id"),
    ("long text", "text-too-long", "/session_id"),
    ("cost with plus sign", "bad-money", "/unit_cost_input"),
    ("upper-case trace id", "bad-hex", "/trace_id"),
    ("success as text", "wrong-type", "/success"),
    ("context as text", "wrong-type", "/context"),
    (
        "too deep",
        "too-deep",
        // The payload, its context, and thirty arrays: the thirty-first is level 33.
        "/context/a/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0",
    ),
    ("llm_call without model", "missing-member", "/model"),
    ("tool_call bad status", "bad-status", "/status"),
    ("reserved type", "reserved-type", "/event_type"),
    ("upper case type", "bad-event-type", "/event_type"),
    ("empty type", "bad-event-type", "/event_type"),
    ("short trace id", "bad-hex", "/trace_id"),
];

fn vectors(list: &str) -> Vec<Value> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/spec/vectors/v1.json"));
    let vectors: Value = serde_json::from_str(text).unwrap();
    vectors.get(list).and_then(Value::as_array).unwrap().clone()
}

fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector.get(name).and_then(Value::as_str).unwrap()
}

#[test]
fn refuses_each_vector_for_its_reason() {
    let workspace = Workspace::new("acme").unwrap();
    let vectors = vectors("refused_payloads");
    assert_eq!(vectors.len(), REFUSED.len());
    for (vector, (why, code, pointer)) in vectors.iter().zip(REFUSED) {
        assert_eq!(text(vector, "why"), why);
        let payload = text(vector, "payload").as_bytes();
        for rules in [Rules::default(), Rules::ceiling()] {
            let error = scan(payload, &workspace, &rules).unwrap_err();
            assert_eq!((error.reason.code(), &*error.pointer), (code, pointer), "{why}: {error}");
        }
    }
}

#[test]
fn accepts_each_vector_with_its_derived_values() {
    let workspace = Workspace::new("acme").unwrap();
    let vectors = vectors("accepted_payloads");
    assert_eq!(vectors.len(), 15);
    for vector in &vectors {
        let why = text(vector, "why");
        let event = scan(text(vector, "payload").as_bytes(), &workspace, &Rules::default());
        let event = event.map_err(|error| format!("{why}: {error}")).unwrap();
        for (name, value) in vector.get("derived").and_then(Value::as_object).unwrap() {
            let found = match name.as_str() {
                "occurred_at" => Value::from(event.occurred_at.get()),
                "unit_cost_input" => Value::from(event.unit_cost_input.unwrap().to_string()),
                "unit_cost_output" => Value::from(event.unit_cost_output.unwrap().to_string()),
                other => Value::from(format!("no test for {other}")),
            };
            assert_eq!(&found, value, "{why}: {name}");
        }
    }
}

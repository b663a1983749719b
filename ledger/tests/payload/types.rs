//! Event types: their names, and the members that each needs.

use ledger::limits::EVENT_TYPE_BYTES;

use crate::support::{assert_accepted, assert_refused, with};

#[test]
fn event_types_are_short_names_and_ledger_names_are_reserved() {
    let longest = "x".repeat(EVENT_TYPE_BYTES);
    for name in [
        "a",
        "0",
        ".",
        "_",
        "a.b_c.0",
        &longest,
        "ledger",
        "ledgers.x",
        "x.ledger.",
        "agent_run_started",
        "ledger.workspace_created",
        "ledger.key_registered",
        "ledger.key_revoked",
        "ledger.payload_erased",
    ] {
        let payload = with("event_type", &format!("\"{name}\""));
        assert_eq!(assert_accepted(&payload).event_type, name);
    }
    let too_long = "x".repeat(EVENT_TYPE_BYTES + 1);
    for (name, code) in [
        ("", "bad-event-type"),
        (&*too_long, "bad-event-type"),
        ("A", "bad-event-type"),
        ("a-b", "bad-event-type"),
        ("a b", "bad-event-type"),
        ("é", "bad-event-type"),
        ("ledger.", "reserved-type"),
        ("ledger.erased", "reserved-type"),
        (r"ledger\u002eerased", "reserved-type"),
        ("ledger.key_registered.", "reserved-type"),
        ("ledger.Key_registered", "bad-event-type"),
    ] {
        assert_refused(with("event_type", &format!("\"{name}\"")), code, "/event_type");
    }
}

#[test]
fn a_member_that_is_null_is_missing_where_it_is_needed() {
    for name in ["event_id", "event_type", "occurred_at", "workspace_id"] {
        let error = assert_refused(with(name, "null"), "missing-member", &format!("/{name}"));
        assert_eq!(error.offset, 0);
    }
    for (kind, have, missing) in [
        ("llm_call", "", "model"),
        ("error", "", "error_type"),
        ("tool_call", r#","status":"success""#, "tool_name"),
        ("tool_call", r#","tool_name":"t""#, "status"),
        ("tool_call", "", "tool_name"),
    ] {
        let head = with("event_type", &format!("\"{kind}\""));
        let payload = head.replace('}', &format!("{have},\"{missing}\":null}}"));
        assert_refused(payload, "missing-member", &format!("/{missing}"));
    }
}

#[test]
fn a_tool_call_ends_in_one_of_three_ways() {
    let head = with("event_type", "\"tool_call\"").replace('}', r#","tool_name":"","status":"#);
    for status in ["success", "failure", "timeout"] {
        assert_accepted(&format!("{head}\"{status}\"}}"));
    }
    for status in ["", "ok", "Success", "success "] {
        let payload = format!("{head}\"{status}\"}}");
        assert_eq!(assert_refused(payload, "bad-status", "/status").offset, head.len());
    }
    assert_accepted(&with("status", "\"whatever\""));
}

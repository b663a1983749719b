//! The members of an event, a table each: FAULTS rows 33 and 34.

use ledger::limits::TEXT_BYTES;
use ledger::payload::Money;

use crate::support::{assert_accepted, assert_refused, event, with};

#[test]
fn refuses_each_top_level_member_twice_also_as_null() {
    let event_members = ["event_id", "event_type", "occurred_at", "workspace_id"];
    let more = [
        "session_id",
        "actor_id",
        "source",
        "model",
        "provider",
        "prompt_hash",
        "error_type",
        "tool_name",
        "status",
        "trace_id",
        "span_id",
        "agent_version",
        "on_behalf_of",
        "salt",
        "parent_event_id",
        "input_tokens",
        "output_tokens",
        "latency_ms",
        "success",
        "unit_cost_input",
        "unit_cost_output",
        "context",
    ];
    let nulls: Vec<String> = more.iter().map(|name| format!("\"{name}\":null")).collect();
    let all = event(&nulls.join(","));
    assert_accepted(&all);
    for name in event_members.iter().chain(&more) {
        let twice = all.replacen('}', &format!(",\"{name}\":null}}"), 1);
        let error = assert_refused(&twice, "duplicate-member", &format!("/{name}"));
        assert_eq!(error.offset, all.len());
    }
}

#[test]
fn counts_are_plain_digits_up_to_the_largest_i64() {
    for name in ["input_tokens", "output_tokens", "latency_ms"] {
        let pointer = format!("/{name}");
        for (value, code) in [
            ("-1", "out-of-range"),
            ("9223372036854775808", "out-of-range"),
            ("-9223372036854775809", "out-of-range"),
            ("-0", "not-an-integer"),
            ("1.0", "not-an-integer"),
            ("1e3", "not-an-integer"),
            ("1E-3", "not-an-integer"),
            ("0e0", "not-an-integer"),
            ("1e400", "not-an-integer"),
            ("\"7\"", "not-an-integer"),
            ("true", "not-an-integer"),
            ("[7]", "not-an-integer"),
            ("{}", "not-an-integer"),
            ("NaN", "not-json"),
            ("Infinity", "not-json"),
            ("-Infinity", "bad-number"),
            ("+7", "not-json"),
            ("07", "bad-number"),
        ] {
            assert_refused(with(name, value), code, &pointer);
        }
    }
    let counts = r#""input_tokens":0,"output_tokens":9223372036854775807,"latency_ms":42"#;
    let payload = event(counts);
    let event = assert_accepted(&payload);
    assert_eq!(event.input_tokens, Some(0));
    assert_eq!(event.output_tokens, Some(i64::MAX));
    assert_eq!(event.latency_ms, Some(42));
}

#[test]
fn money_is_exact_or_refused() {
    for (written, nano) in [
        ("0", 0),
        ("0.0", 0),
        ("0e400", 0),
        ("0.000e-999999999999999999999", 0),
        ("1", 1_000_000_000),
        ("0.000000001", 1),
        ("1e-9", 1),
        ("0.0000000001e1", 1),
        ("10E-10", 1),
        ("2.5e-6", 2_500),
        ("1e8", 100_000_000_000_000_000),
        ("1e+08", 100_000_000_000_000_000),
        ("0.000000000999999999e+9", 999_999_999),
        ("999999999.999999999", 999_999_999_999_999_999),
        ("999999999999999999e-9", 999_999_999_999_999_999),
        ("9.99999999999999999e8", 999_999_999_999_999_999),
        // The value counts, not the digits that it is written with.
        ("0.1000000000", 100_000_000),
        ("1.00000000000000000000", 1_000_000_000),
    ] {
        let money = Money::new(nano).unwrap();
        assert_eq!(Money::parse_json_number(written), Ok(money), "{written}");
        let quoted = format!("\"{written}\"");
        let payload = event(&format!(r#""unit_cost_input":{written},"unit_cost_output":{quoted}"#));
        let event = assert_accepted(&payload);
        assert_eq!((event.unit_cost_input, event.unit_cost_output), (Some(money), Some(money)));
    }
    for (written, as_number) in [
        ("0.0000000001", "bad-money"),
        ("1e-10", "bad-money"),
        ("999999999.9999999999", "bad-money"),
        ("1000000000", "bad-money"),
        ("1e9", "bad-money"),
        ("1e400", "bad-money"),
        ("1e-400", "bad-money"),
        ("1e99999999999999999999", "bad-money"),
        ("9223372036854775808", "bad-money"),
        ("12345678901234567890.1", "bad-money"),
        ("-0.1", "bad-money"),
        ("-0", "bad-money"),
        ("-0.0", "bad-money"),
        ("01", "bad-number"),
        ("1.", "bad-number"),
        ("1e", "bad-number"),
        ("-", "bad-number"),
        (".5", "not-json"),
        ("+1", "not-json"),
        ("NaN", "not-json"),
        ("Infinity", "not-json"),
        ("1_0", "not-json"),
        ("1 ", ""),
        (" 1", ""),
        ("", "not-json"),
        ("١", "not-json"),
    ] {
        let pointer = "/unit_cost_input";
        assert_refused(with("unit_cost_input", &format!("\"{written}\"")), "bad-money", pointer);
        // After `1` the number is over: the object goes wrong, not the member.
        let pointer = if written == "1_0" { "" } else { pointer };
        if !as_number.is_empty() {
            assert_refused(with("unit_cost_input", written), as_number, pointer);
        }
    }
    for value in ["true", "[1]", "{}"] {
        assert_refused(with("unit_cost_output", value), "wrong-type", "/unit_cost_output");
    }
    assert_eq!(Money::new(-1), None);
    assert_eq!(Money::new(1_000_000_000_000_000_000), None);
    assert_eq!(Money::MAX.to_string(), "999999999.999999999");
}

#[test]
fn occurred_at_is_an_instant_of_1970_to_9999() {
    for (written, micros) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T23:59:00+23:59", 0),
        ("1970-01-01T00:00:00.000000999Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1970-01-01T00:00:00-00:00", 0),
        ("2000-02-29T00:00:00+00:00", 951_782_400_000_000),
        ("2026-11-23T16:00:09.123456789-11:30", 1_795_491_009_123_456),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999),
        ("9999-12-31T00:00:59-23:59", 253_402_300_799_000_000),
    ] {
        let payload = with("occurred_at", &format!("\"{written}\""));
        assert_eq!(assert_accepted(&payload).occurred_at.get(), micros, "{written}");
    }
    for written in [
        "1969-12-31T23:59:59Z",
        "1969-12-31T23:59:59-01:00", // an instant of 1970, written as 1969
        "1970-01-01T00:00:00+00:01", // the other way round
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:59.999999-23:59",
        "10000-01-01T00:00:00Z",
        "+2026-11-23T16:00:00Z",
        "2026-11-23T23:59:60Z",
        "2016-12-31T23:59:60Z", // a leap second that was one
        "2026-11-23T24:00:00Z",
        "2026-11-23T16:60:00Z",
        "2026-11-23T16:00:00+24:00",
        "2026-11-23T16:00:00+23:60",
        "2026-11-23T16:00:00+1:00",
        "2026-11-23T16:00:00+01",
        "2026-11-23T16:00:00+0100",
        "2026-11-23T16:00:00+01:00:00",
        "2026-11-23T16:00:00\u{2212}01:00",
        "2026-11-23T16:00:00",
        "2026-11-23T16:00:00z",
        "2026-11-23T16:00:00 Z",
        "2026-11-23T16:00:00ZZ",
        "2026-11-23T16:00:00Z[UTC]",
        "2026-11-23t16:00:00Z",
        "2026-11-23 16:00:00Z",
        "2026-11-23T16:00Z",
        "2026-11-23T16:00:00.Z",
        "2026-11-23T16:00:00,5Z",
        "2026-11-23T16:00:00.1234567890Z",
        "2026-11-23T16:00:00.12345678901234567890Z",
        "2026-11-23T16:00:00.5",
        "2026-11-23",
        "2026-W48-1T16:00:00Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-1-01T000:00:00Z",
        "２026-11-23T16:00:00Z",
        " 2026-11-23T16:00:00Z",
        "1795449600",
        "",
    ] {
        assert_refused(with("occurred_at", &format!("\"{written}\"")), "bad-time", "/occurred_at");
    }
    assert_refused(with("occurred_at", "1795449600"), "wrong-type", "/occurred_at");
}

#[test]
fn texts_ids_flags_and_objects_take_their_own_form() {
    let id = "D90D8297-AB71-50DD-A26C-4EE62FD9528C";
    let payload = event(&format!(
        r#""parent_event_id":"{id}","trace_id":"{}","span_id":"{}","success":false,"context":{{ "a" : [] }}"#,
        "0f".repeat(16),
        "0".repeat(16)
    ));
    let accepted = assert_accepted(&payload);
    assert_eq!(accepted.parent_event_id, Some(accepted.event_id));
    assert_eq!(accepted.context, Some(&br#"{ "a" : [] }"#[..]));
    assert_eq!(accepted.success, Some(false));

    // 1,024 bytes once unescaped, whatever it takes to write them.
    let widest = format!("{}{}", r"\ud83d\ude00".repeat(TEXT_BYTES / 4 - 1), "😀");
    for name in [
        "session_id",
        "actor_id",
        "source",
        "model",
        "provider",
        "prompt_hash",
        "error_type",
        "tool_name",
        "status",
        "agent_version",
        "on_behalf_of",
        "salt",
    ] {
        let pointer = format!("/{name}");
        assert_accepted(&with(name, "\"\""));
        assert_accepted(&with(name, &format!("\"{widest}\"")));
        assert_refused(with(name, &format!("\"{widest}x\"")), "text-too-long", &pointer);
        for value in ["1", "true", "{}", "[\"x\"]"] {
            assert_refused(with(name, value), "wrong-type", &pointer);
        }
    }
    for (name, value, code) in [
        ("event_id", "\"d90d8297-ab71-50dd-a26c-4ee62fd9528\"", "bad-uuid"),
        ("event_id", "\"urn:uuid:d90d8297-ab71-50dd-a26c-4ee62fd9528c\"", "bad-uuid"),
        ("event_id", "7", "wrong-type"),
        ("parent_event_id", "\"00000000-0000-0000-0000-000000000000\"", "bad-uuid"),
        ("parent_event_id", "\"\"", "bad-uuid"),
        ("trace_id", "\"\"", "bad-hex"),
        ("trace_id", "\"4bf92f3577b34da6a3ce929d0e0e473g\"", "bad-hex"),
        ("span_id", "\"4bf92f3577b34da6a3ce929d0e0e4736\"", "bad-hex"),
        ("success", "1", "wrong-type"),
        ("success", "False", "not-json"),
        ("context", "[]", "wrong-type"),
        ("context", "true", "wrong-type"),
        ("workspace_id", "\"Acme\"", "wrong-workspace"),
        ("workspace_id", "\"acme \"", "wrong-workspace"),
        ("workspace_id", "[\"acme\"]", "wrong-type"),
    ] {
        assert_refused(with(name, value), code, &format!("/{name}"));
    }
    // Escapes are text like any other, also where a name or a time is expected.
    assert_accepted(&with("workspace_id", r#""\u0061cme""#));
    assert_accepted(&with("occurred_at", r#""2026-11-23T16:00:00\u005a""#));
}

//! FAULTS row 30: nesting and sizes. Each must end at once; none may recurse or grow with the input.

use ledger::limits::PAYLOAD_DEPTH;
use ledger::payload::Reason;

use crate::support::{HEAD, assert_accepted, assert_refused, event, read, with};

#[test]
fn counts_the_payload_as_the_first_level() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        // The payload and its context are two levels.
        let nested = |levels: usize| {
            let value = format!("{}0{}", open.repeat(levels), close.repeat(levels));
            with("context", &format!(r#"{{"a":{value}}}"#))
        };
        assert_accepted(&nested(PAYLOAD_DEPTH - 2));
        let payload = nested(PAYLOAD_DEPTH - 1);
        let step = if open == "[" { "/0" } else { "/a" };
        let pointer = format!("/context/a{}", step.repeat(PAYLOAD_DEPTH - 2));
        let error = assert_refused(&payload, "too-deep", &pointer);
        assert_eq!(error.reason, Reason::TooDeep { max: PAYLOAD_DEPTH });
        let deepest = payload.find(&open.repeat(2)).unwrap() + open.len() * (PAYLOAD_DEPTH - 2);
        assert_eq!(error.offset, deepest + usize::from(open != "[") * 5);
    }
}

#[test]
fn a_million_brackets_are_refused_at_the_thirty_third() {
    for bracket in ["[", r#"{"":"#] {
        let levels = 1_000_000 / bracket.len();
        let payload = format!("{HEAD},\"context\":{{\"a\":{}", bracket.repeat(levels));
        let step = if bracket == "[" { "/0" } else { "/" };
        assert_refused(payload, "too-deep", &format!("/context/a{}", step.repeat(30)));
    }
}

#[test]
fn an_object_may_have_a_hundred_thousand_members_but_none_twice() {
    let members: Vec<String> = (0..100_000).map(|n| format!("\"{n:x}\":0")).collect();
    let members = members.join(",");
    assert_accepted(&with("context", &format!("{{{members}}}")));
    for (again, name) in [("0", "0"), ("f", "f"), ("1\\u0030", "10"), ("1869f", "1869f")] {
        let head = format!("{HEAD},\"context\":{{{members},");
        let payload = format!("{head}\"{again}\":0}}}}");
        let error = assert_refused(payload, "duplicate-member", &format!("/context/{name}"));
        assert_eq!(error.offset, head.len());
    }
    let million: String = (0..1_000_000).map(|n| format!("\"{n}\":0,")).collect();
    assert_refused(with("context", &format!("{{{million}\"\":0}}")), "too-long", "");
}

#[test]
fn a_name_of_a_megabyte_is_a_name_but_does_not_come_back_in_the_error() {
    let name = "k".repeat(1_000_000);
    assert_accepted(&with("context", &format!(r#"{{"{name}":0}}"#)));
    let cut = format!("/{}…", "k".repeat(64));
    assert_refused(event(&format!(r#""{name}":0"#)), "unknown-member", &cut);
    let half = "é".repeat(200_000);
    let twice = with("context", &format!(r#"{{"{half}":0,"{half}":0}}"#));
    assert_refused(twice, "duplicate-member", &format!("/context/{}…", "é".repeat(32)));

    let names: String = (0..30).map(|_| format!(r#"{{"{}~":"#, "/".repeat(500))).collect();
    let error = read(with("context", &format!(r#"{{"a":{names}x"#)).as_bytes()).unwrap_err();
    assert_eq!(error.reason.code(), "not-json");
    assert!(error.pointer.len() < 32 * 72, "{}", error.pointer.len());
}

#[test]
fn a_number_of_a_hundred_thousand_digits_is_only_text_in_a_context() {
    let (ones, zeros) = ("1".repeat(100_000), "0".repeat(100_000));
    for number in [&ones, &format!("-{ones}.{ones}e-{ones}"), "1e400", "-0", "-0.0E+00"] {
        assert_accepted(&with("context", &format!(r#"{{"n":{number}}}"#)));
    }
    assert_refused(with("input_tokens", &ones), "out-of-range", "/input_tokens");
    for number in [&ones, &format!("1e{ones}"), &format!("1e-{ones}"), &format!("0.{zeros}1")] {
        assert_refused(with("unit_cost_input", number), "bad-money", "/unit_cost_input");
        let quoted = format!("\"{number}\"");
        assert_refused(with("unit_cost_input", &quoted), "bad-money", "/unit_cost_input");
    }
    for (number, value) in [
        (format!("0.{zeros}"), "0.000000000"),
        (format!("0e{ones}"), "0.000000000"),
        (format!("1.5{zeros}"), "1.500000000"),
        (format!("1{zeros}e-100000"), "1.000000000"),
        (format!("0.{zeros}25e100002"), "25.000000000"),
    ] {
        let payload = with("unit_cost_input", &number);
        assert_eq!(assert_accepted(&payload).unit_cost_input.unwrap().to_string(), value);
    }
}

#[test]
fn a_name_counts_only_within_its_own_object() {
    let many: String = (0..40).map(|n| format!("\"{n}\":0,")).collect();
    for context in [
        r#"{"a":{"b":1,"a":2},"b":{"a":{"a":3}},"c":[{"a":4},{"a":5}]}"#.to_owned(),
        format!(r#"{{{many}"x":[{{{many}"x":{{{many}"x":0}}}},{{{many}"x":0}}],"y":0}}"#),
        r#"{"event_id":1,"context":{"context":2},"modle":3}"#.to_owned(),
    ] {
        assert_accepted(&with("context", &context));
    }
    let inner = r#"{"a":{"b":1,"c":2},"b":3,"a":4}"#;
    assert_refused(with("context", inner), "duplicate-member", "/context/a");
}

//! What must hold for any bytes: no panic, no disagreement with other readers of JSON, decimals and
//! times, and no duplicate that slips through.

use ledger::payload::Money;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::{collection, sample};
use serde_json::Value;

use crate::support::{HEAD, read, with};

/// An event with a value in every member, and some of every kind of JSON in its context.
const RICH: &str = r#"{"event_id":"d90d8297-ab71-50dd-a26c-4ee62fd9528c","event_type":"tool_call","occurred_at":"2026-11-23T16:00:09.5+01:00","workspace_id":"acme","session_id":"s\n\u00e9","actor_id":"é😀","source":"","model":"m","provider":"p","prompt_hash":"h","error_type":"e","tool_name":"t","status":"success","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","agent_version":"1","on_behalf_of":"o","salt":"x","parent_event_id":"d90d8297-ab71-50dd-a26c-4ee62fd9528d","input_tokens":0,"output_tokens":12,"latency_ms":9223372036854775807,"success":true,"unit_cost_input":2.5e-6,"unit_cost_output":"0.00001","context":{"a":[1,-2.5e+3,{"b":null,"\ud83d\ude00":[]}],"c":{"d":false,"":"\\\""} , "e":0}}"#;

/// What this format refuses and JSON does not.
const STRICTER: [&str; 19] = [
    "duplicate-member",
    "nul",
    "too-deep",
    "too-long",
    "white-space-around",
    "unknown-member",
    "missing-member",
    "wrong-type",
    "text-too-long",
    "bad-uuid",
    "bad-time",
    "bad-hex",
    "not-an-integer",
    "out-of-range",
    "bad-money",
    "wrong-workspace",
    "bad-event-type",
    "reserved-type",
    "bad-status",
];

/// Whatever the scanner says must fit what serde_json says.
fn agrees_with_serde_json(payload: &[u8]) -> Result<(), String> {
    let value = serde_json::from_slice::<Value>(payload);
    let event = match (read(payload), &value) {
        (Ok(event), Ok(_)) => event,
        // Numbers of a context may be of any size; serde_json would make each a float.
        (Ok(_), Err(error)) if error.to_string().starts_with("number out of range") => {
            return Ok(());
        }
        (Ok(event), Err(error)) => return Err(format!("{error}, but read as {event:?}")),
        (Err(_), Err(_)) => return Ok(()),
        (Err(error), Ok(Value::Object(_))) if !STRICTER.contains(&error.reason.code()) => {
            return Err(format!("JSON, but refused: {error}"));
        }
        (Err(_), Ok(_)) => return Ok(()),
    };
    let value = value.map_err(|error| error.to_string())?;
    let is = |name: &str, found: Option<Value>| {
        let expected = value.get(name).filter(|value| !value.is_null());
        if found.as_ref() == expected {
            Ok(())
        } else {
            Err(format!("{name}: {found:?}, not {expected:?}"))
        }
    };
    for (name, text) in [
        ("event_type", Some(&event.event_type)),
        ("session_id", event.session_id.as_ref()),
        ("actor_id", event.actor_id.as_ref()),
        ("source", event.source.as_ref()),
        ("model", event.model.as_ref()),
        ("provider", event.provider.as_ref()),
        ("prompt_hash", event.prompt_hash.as_ref()),
        ("error_type", event.error_type.as_ref()),
        ("tool_name", event.tool_name.as_ref()),
        ("status", event.status.as_ref()),
        ("trace_id", event.trace_id.as_ref()),
        ("span_id", event.span_id.as_ref()),
        ("agent_version", event.agent_version.as_ref()),
        ("on_behalf_of", event.on_behalf_of.as_ref()),
        ("salt", event.salt.as_ref()),
    ] {
        is(name, text.map(|text| Value::from(&**text)))?;
    }
    is("input_tokens", event.input_tokens.map(Value::from))?;
    is("output_tokens", event.output_tokens.map(Value::from))?;
    is("latency_ms", event.latency_ms.map(Value::from))?;
    is("success", event.success.map(Value::from))?;
    is("context", event.context.map(|bytes| serde_json::from_slice(bytes).unwrap_or_default()))
}

#[test]
fn reads_every_member_as_serde_json_does() {
    assert!(read(RICH.as_bytes()).is_ok());
    assert_eq!(agrees_with_serde_json(RICH.as_bytes()), Ok(()));
}

#[test]
fn agrees_with_serde_json_wherever_one_byte_is_lost_or_changed() {
    for at in 0..RICH.len() {
        let (head, tail) = RICH.as_bytes().split_at(at);
        let (_, rest) = tail.split_first().unwrap();
        let changed = b"\0 \t\r\n\"\\{}[]:,-+.eE0159afu/x\x1f\x7f\x80\xc3\xed\xff";
        let mut all: Vec<Vec<u8>> = vec![[head, rest].concat(), head.to_vec()];
        for byte in changed {
            all.push([head, &[*byte], rest].concat());
            all.push([head, &[*byte], tail].concat());
        }
        for payload in all {
            let agreed = agrees_with_serde_json(&payload);
            assert_eq!(agreed, Ok(()), "{}", String::from_utf8_lossy(&payload));
        }
    }
}

/// Any JSON value, some levels deep.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 24, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..24).prop_map(Value::from),
            collection::hash_map(any::<String>(), inner, 0..24)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A JSON string of the text, with every character in `escaped` written as `\u`.
fn written(text: &str, escaped: &[bool]) -> String {
    let mut units = [0; 2];
    let escape = |unit: &u16| format!("\\u{unit:04x}");
    let written =
        text.chars().zip(escaped.iter().chain([true].iter().cycle())).map(|(c, escaped)| {
            if *escaped || c < ' ' || c == '"' || c == '\\' {
                c.encode_utf16(&mut units).iter().map(escape).collect()
            } else {
                String::from(c)
            }
        });
    format!("\"{}\"", written.collect::<String>())
}

/// The exact amount in 10^-9 units, by integers of 128 bits.
fn money_by_i128(integer: &str, fraction: &str, exponent: i32) -> Option<i64> {
    let digits: i128 = format!("{integer}{fraction}").parse().ok()?;
    let place = exponent - i32::try_from(fraction.len()).ok()? + 9;
    let power = 10_i128.checked_pow(place.unsigned_abs());
    let nano = match power {
        _ if digits == 0 => 0,
        Some(power) if place >= 0 => digits.checked_mul(power)?,
        Some(power) if digits % power == 0 => digits / power,
        _ => return None,
    };
    i64::try_from(nano).ok().filter(|nano| *nano < 1_000_000_000_000_000_000)
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, tail: Vec<u8>) {
        let _ = read(&bytes);
        let _ = read(&[HEAD.as_bytes(), &bytes, &tail].concat());
        let context = [HEAD.as_bytes(), br#","context":{"a":"#, &bytes, b"}}"].concat();
        let _ = read(&context);
        let _ = Money::parse_json_number(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_damaged_payload_is_read_as_serde_json_reads_it(
        edits in collection::vec(
            (any::<sample::Index>(), any::<sample::Index>(), 0..4_u8, any::<u8>()), 1..6)
    ) {
        let mut payload = RICH.as_bytes().to_vec();
        for (from, to, kind, byte) in edits {
            if payload.is_empty() { break; }
            let (from, to) = (from.index(payload.len()), to.index(payload.len()));
            let (from, to) = (from.min(to), from.max(to));
            match kind {
                0 => { payload.splice(from..=from, [byte]); }
                1 => { payload.drain(from..=to.min(from + 8)); }
                2 => { payload.insert(from, byte); }
                _ => {
                    let piece = payload.get(from..=to.min(from + 40)).unwrap().to_vec();
                    payload.splice(to..to, piece);
                }
            }
        }
        prop_assert_eq!(agrees_with_serde_json(&payload), Ok(()));
    }

    #[test]
    fn any_json_is_a_context_unless_a_string_holds_nul(value in json(), pretty: bool) {
        let value = Value::Object([("a".to_owned(), value)].into_iter().collect());
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let payload = with("context", &text);
        let event = read(payload.as_bytes());
        if text.contains("\\u0000") && event.is_err() {
            prop_assert_eq!(event.unwrap_err().reason.code(), "nul");
        } else {
            prop_assert_eq!(event.unwrap().context, Some(text.as_bytes()));
        }
    }

    // FAULTS row 32.
    #[test]
    fn a_name_that_comes_twice_is_refused_however_it_is_written(
        names in collection::hash_set("[^\0]{0,12}", 1..40),
        twice: sample::Index,
        escaped: (Vec<bool>, Vec<bool>),
        deep: bool,
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let again = twice.get(&names);
        let mut members: Vec<String> =
            names.iter().map(|name| format!("{}:0", written(name, &escaped.0))).collect();
        // As a context (level 2), and as the deepest object there may be (level 32).
        let (open, close) = if deep { (r#"{"a":"#.repeat(30), "}".repeat(30)) }
            else { Default::default() };
        let payload = |members: &[String]| {
            with("context", &format!("{open}{{{}}}{close}", members.join(",")))
        };
        prop_assert!(read(payload(&members).as_bytes()).is_ok());
        members.push(format!("{}:1", written(again, &escaped.1)));
        let payload = payload(&members);
        let error = read(payload.as_bytes()).unwrap_err();
        prop_assert_eq!(error.reason.code(), "duplicate-member");
        let name = again.replace('~', "~0").replace('/', "~1");
        let outer = if deep { "/a".repeat(30) } else { String::new() };
        prop_assert_eq!(error.pointer, format!("/context{outer}/{name}"));
    }

    #[test]
    fn money_equals_integers_of_128_bits(
        integer in "0|[1-9][0-9]{0,11}",
        fraction in "[0-9]{0,12}",
        zeros in 0..4_usize,
        exponent in -25..25_i32,
        form in 0..4_u8,
    ) {
        let fraction = format!("{fraction}{}", "0".repeat(zeros));
        let mut text = integer.clone();
        if !fraction.is_empty() {
            text = format!("{text}.{fraction}");
        }
        let exponent = match form {
            0 => 0,
            1 => { text = format!("{text}e{exponent}"); exponent }
            2 => { text = format!("{text}E{exponent:+}"); exponent }
            _ => { text = format!("{text}e{exponent:+04}"); exponent }
        };
        let expected = money_by_i128(&integer, &fraction, exponent);
        prop_assert_eq!(Money::parse_json_number(&text).ok().map(Money::get), expected, "{}", text);
    }

    #[test]
    fn money_comes_back_as_it_was_written(nano in 0..1_000_000_000_000_000_000_i64) {
        let money = Money::new(nano).unwrap();
        prop_assert_eq!(Money::parse_json_number(&money.to_string()), Ok(money));
    }

    // FAULTS row 34, against jiff where it goes as far as this format.
    #[test]
    fn occurred_at_equals_jiff(
        (year, month, day) in (1970..=9998_u16, 0..=13_u8, 0..=32_u8),
        (hour, minute, second) in (0..=24_u8, 0..=60_u8, 0..=59_u8),
        fraction in "(\\.[0-9]{1,9})?",
        offset in "Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]",
    ) {
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}");
        let expected = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
        let payload = with("occurred_at", &format!("\"{text}\""));
        let found = read(payload.as_bytes()).ok().map(|event| event.occurred_at.get());
        prop_assert_eq!(found, expected.filter(|micros| *micros >= 0), "{}", text);
    }
}

//! From bytes to a submission or a refusal: bodies, headers, signatures.

use super::support::{created, event, head, key, ndjson, origin, plain, registered, workspace};
use bytes::Bytes;
use ingest::accept::head::{COUNTER, HeadError, HeadFault, PUBLIC_KEY, SIGNATURE};
use ingest::accept::{Form, Head, Limits, Purpose, Refused, Submission, accept};
use ledger::key::{KeyError, SignatureError};
use ledger::submission::Counter;
use proptest::prelude::*;
use serde_json::json;

fn record(form: Form, body: &[u8], payloads: &[Vec<u8>]) -> Result<Submission, Refused> {
    let purpose = Purpose::Record(workspace("acme"));
    let head = head("acme", 7, &key(1), payloads);
    let body = Bytes::copy_from_slice(body);
    accept(&origin(), &purpose, head, form, &body, &Limits::default())
}

/// The event that is named, where one is, and the reason.
type Expected = (Option<usize>, &'static str);

fn reason(refused: Result<Submission, Refused>) -> Expected {
    match refused.unwrap_err() {
        Refused::Body { reason, .. } => (None, reason),
        Refused::Events(errors) => (Some(errors[0].index), errors[0].reason),
        other => panic!("{other}"),
    }
}

fn payloads_of(submission: &Submission) -> Vec<Vec<u8>> {
    let payloads = submission.events.iter().map(|event| event.payload.to_vec());
    payloads.collect()
}

#[test]
fn both_forms_give_the_exact_bytes_and_one_name() {
    let spaced = b"{ \"event_id\":\"00000000-0000-4000-8000-0000000000ff\",\"event_type\" : \"x\",\
        \"occurred_at\":\"2026-11-23T16:00:00Z\",\"workspace_id\":\"\\u0061cme\" }";
    let payloads = vec![plain("acme", 1), spaced.to_vec(), plain("acme", 2)];
    let json = [b" \r\n{ \"events\" : [ ", payloads.join(&b" ,\r\n\t"[..]).as_slice(), b" ] } \n"]
        .concat();
    let by_line = record(Form::Ndjson, &ndjson(&payloads), &payloads).unwrap();
    let without_end = record(Form::Ndjson, &payloads.join(&b'\n'), &payloads).unwrap();
    let by_array = record(Form::Json, &json, &payloads).unwrap();
    assert_eq!(payloads_of(&by_line), payloads);
    assert_eq!(by_line, without_end);
    assert_eq!(by_line, by_array);
}

#[test]
fn a_body_is_lines_of_events_and_nothing_else() {
    let (a, b) = (plain("acme", 1), plain("acme", 2));
    let both = vec![a.clone(), b.clone()];
    let cases: [(&[u8], Expected); 7] = [
        (b"", (None, "no-events")),
        (b"\n", (None, "no-events")),
        (b"\n\n", (Some(0), "blank-line")),
        (&[&a, &b"\n\n"[..], &b].concat(), (Some(1), "blank-line")),
        (&[&a, &b"\n"[..], &b, b"\n\n"].concat(), (Some(2), "blank-line")),
        (&[&a, &b"\r\n"[..], &b].concat(), (Some(0), "white-space-around")),
        (&[b"\xef\xbb\xbf", &a[..]].concat(), (Some(0), "byte-order-mark")),
    ];
    for (body, expected) in cases {
        let text = String::from_utf8_lossy(body).into_owned();
        assert_eq!(reason(record(Form::Ndjson, body, &both)), expected, "{text:?}");
    }
}

#[test]
fn an_envelope_is_one_object_with_one_array() {
    let event = String::from_utf8(plain("acme", 1)).unwrap();
    let one = vec![plain("acme", 1)];
    let refused = [
        format!("[[{event}]]"),
        format!("[{event}]"),
        event.clone(),
        String::new(),
        "{}".to_owned(),
        "{\"events\":{}}".to_owned(),
        format!("{{\"events\":[{event}]}} x"),
        format!("{{\"events\":[{event}]}}{{}}"),
        format!("{{\"events\":[{event},]}}"),
        format!("{{\"events\":[{event}],\"events\":[{event}]}}"),
        format!("{{\"events\":[{event}],\"event\":1}}"),
        format!("\u{feff}{{\"events\":[{event}]}}"),
    ];
    for body in refused {
        assert_eq!(
            reason(record(Form::Json, body.as_bytes(), &one)),
            (None, "body-form"),
            "{body}"
        );
    }
    let cases: [(&[u8], Expected); 4] = [
        (b"{\"events\":[]}", (None, "no-events")),
        (b"{\"events\":[\"\xff\"]}", (None, "not-utf8")),
        (b"{\"events\":[7]}", (Some(0), "not-an-object")),
        (b"{\"events\":[{\"salt\":\"\\ud800\"}]}", (Some(0), "lone-surrogate")),
    ];
    for (body, expected) in cases {
        assert_eq!(reason(record(Form::Json, body, &one)), expected);
    }
}

#[test]
fn the_gate_is_the_scanner_not_the_envelope() {
    // serde_json alone takes all of these as a RawValue.
    let nested = |levels: usize| {
        format!("{{\"context\":{{\"a\":{}{}}}}}", "[".repeat(levels), "]".repeat(levels))
    };
    for (payload, expected) in [
        (nested(100_000).as_str(), "too-long"),
        (&nested(31), "too-deep"),
        ("{\"context\":{\"a\":1,\"\\u0061\":2}}", "duplicate-member"),
        ("{\"salt\":\"\\u0000\"}", "nul"),
        ("{\"input_tokens\":1.0}", "not-an-integer"),
    ] {
        let body = format!("{{\"events\":[{payload}]}}");
        assert_eq!(reason(record(Form::Json, body.as_bytes(), &[])), (Some(0), expected));
    }
}

#[test]
fn no_more_events_than_the_ledger_takes() {
    let payloads: Vec<_> = (0..101).map(|n| plain("acme", n)).collect();
    let json = [b"{\"events\":[", payloads.join(&b',').as_slice(), b"]}"].concat();
    let expected = Err(Refused::TooManyEvents { max: 100, found: 101 });
    assert_eq!(record(Form::Ndjson, &ndjson(&payloads), &payloads), expected);
    assert_eq!(record(Form::Json, &json, &payloads), expected);
    assert!(record(Form::Ndjson, &ndjson(&payloads[..100]), &payloads[..100]).is_ok());
    let many = format!("{{\"events\":[{}0]}}", "0,".repeat(2_000));
    let found = 2_001;
    let expected = Err(Refused::TooManyEvents { max: 100, found });
    assert_eq!(record(Form::Json, many.as_bytes(), &[]), expected);
}

#[test]
fn every_bad_event_is_named_and_an_id_stands_once() {
    let twice = event("acme", 1, "other", json!({"salt": "x"}));
    let payloads = vec![plain("acme", 1), plain("beta", 2), twice, b"{}".to_vec()];
    let Err(Refused::Events(errors)) = record(Form::Ndjson, &ndjson(&payloads), &payloads) else {
        panic!("refused by its events");
    };
    let found: Vec<_> =
        errors.iter().map(|error| (error.index, error.pointer.as_str(), error.reason)).collect();
    assert_eq!(
        found,
        [
            (1, "/workspace_id", "wrong-workspace"),
            (2, "/event_id", "duplicate-event-id"),
            (3, "/event_id", "missing-member"),
        ]
    );
}

#[test]
fn each_route_takes_its_own_events() {
    let (root, agent) = (key(1), key(2));
    let limits = Limits::default();
    let acme = || workspace("acme");
    let check = |purpose: Purpose, form: Form, payload: Vec<u8>| {
        let payloads = [payload];
        let head = head("acme", 0, &root, &payloads);
        let body = Bytes::from(payloads.concat());
        accept(&origin(), &purpose, head, form, &body, &limits)
    };
    let creates = || created("acme", 1, &[&root]);
    let registers = || registered("acme", 1, &agent, "agent");
    let wrong = |found: Result<Submission, Refused>| matches!(found, Err(Refused::WrongRoute(_)));
    assert_eq!(check(Purpose::Create, Form::Bare, creates()).unwrap().workspace, acme());
    assert!(wrong(check(Purpose::Create, Form::Bare, registers())));
    assert!(wrong(check(Purpose::Create, Form::Bare, plain("acme", 1))));
    assert!(check(Purpose::SetKey(acme()), Form::Bare, registers()).is_ok());
    assert!(wrong(check(Purpose::SetKey(acme()), Form::Bare, creates())));
    assert!(wrong(check(Purpose::SetKey(acme()), Form::Bare, plain("acme", 1))));
    assert!(check(Purpose::Record(acme()), Form::Ndjson, registers()).is_ok());
    assert!(wrong(check(Purpose::Record(acme()), Form::Ndjson, creates())));
}

#[test]
fn a_creating_body_must_name_a_workspace() {
    let root = key(1);
    for body in [
        &b""[..],
        b"nope",
        b"{}",
        b"{\"workspace_id\":7}",
        b"{\"workspace_id\":\"../etc\"}",
        b"{\"workspace_id\":\"acme\",\"workspace_id\":\"beta\"}",
    ] {
        let head = head("acme", 0, &root, &[]);
        let body = Bytes::copy_from_slice(body);
        let limits = Limits::default();
        let found = accept(&origin(), &Purpose::Create, head, Form::Bare, &body, &limits);
        assert_eq!(reason(found), (None, "workspace-name"), "{body:?}");
    }
}

fn read(headers: &[(&'static str, &[u8])]) -> Result<Head, HeadError> {
    Head::read(|name| {
        let of_name = headers.iter().filter(move |(found, _)| *found == name);
        of_name.map(|(_, value)| *value)
    })
}

#[test]
fn headers_are_there_once_and_well_formed() {
    let signed = head("acme", 7, &key(1), &[plain("acme", 1)]);
    let key_text = signed.public_key.to_string();
    let signature_text = signed.signature.to_string();
    let (k, s) = (key_text.as_bytes(), signature_text.as_bytes());
    assert_eq!(read(&[(PUBLIC_KEY, k), (SIGNATURE, s), (COUNTER, b"7")]), Ok(signed));
    let none = Head { counter: Counter::NONE, ..signed };
    assert_eq!(read(&[(PUBLIC_KEY, k), (SIGNATURE, s)]), Ok(none));

    let fails = |headers: &[(&'static str, &[u8])]| {
        let HeadError { name, fault } = read(headers).unwrap_err();
        (name, fault)
    };
    assert_eq!(fails(&[(SIGNATURE, s)]), (PUBLIC_KEY, HeadFault::Missing));
    assert_eq!(fails(&[(PUBLIC_KEY, k)]), (SIGNATURE, HeadFault::Missing));
    for name in [PUBLIC_KEY, SIGNATURE, COUNTER] {
        let value = if name == COUNTER {
            &b"7"[..]
        } else if name == SIGNATURE {
            s
        } else {
            k
        };
        let twice = [(PUBLIC_KEY, k), (SIGNATURE, s), (COUNTER, b"7"), (name, value)];
        assert_eq!(fails(&twice), (name, HeadFault::Repeated));
    }
    for counter in ["", "07", "-1", "+1", "1.0", " 1", "9223372036854775808", "x", "\u{661}"] {
        let headers = [(PUBLIC_KEY, k), (SIGNATURE, s), (COUNTER, counter.as_bytes())];
        assert_eq!(fails(&headers), (COUNTER, HeadFault::Counter), "{counter}");
    }
    let padded = [k, b"="].concat();
    for text in [&padded[..], b"", &k[1..], &k[..49], b"\xff"] {
        let fault = HeadFault::Key(KeyError::Text);
        assert_eq!(fails(&[(PUBLIC_KEY, text), (SIGNATURE, s)]), (PUBLIC_KEY, fault));
    }
    for text in [&s[..87], &s[..86], b"", &[s, b"="].concat(), b"\xff"] {
        let fault = HeadFault::Signature(SignatureError::Text);
        assert_eq!(fails(&[(PUBLIC_KEY, k), (SIGNATURE, text)]), (SIGNATURE, fault));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// FAULTS 35: a signature stands for exactly these events, in this order, under this
    /// workspace, origin and counter.
    #[test]
    fn a_signature_stands_for_one_statement(count in 2_usize..6, change in 0_usize..5) {
        let payloads: Vec<_> = (0..count as u64).map(|n| plain("acme", n)).collect();
        let mut sent = payloads.clone();
        let mut head = head("acme", 7, &key(1), &payloads);
        let mut ledger = origin();
        match change {
            0 => sent.swap(0, count - 1),
            1 => drop(sent.pop()),
            2 => sent.push(plain("acme", 99)),
            3 => head.counter = Counter::new(8).unwrap(),
            _ => ledger = ledger::names::Origin::new("ledger.example.com/other").unwrap(),
        }
        let purpose = Purpose::Record(workspace("acme"));
        let body = ndjson(&sent);
        let found = accept(&ledger, &purpose, head, Form::Ndjson, &body, &Limits::default());
        prop_assert_eq!(
            found,
            Err(Refused::Signature(SignatureError::Invalid, workspace("acme"), ledger))
        );
    }

    /// Whatever bytes come: a submission that gives them back, or a refusal; never a panic.
    #[test]
    fn any_body_is_accepted_whole_or_refused(body: Vec<u8>, form in 0_u8..3) {
        let form = [Form::Ndjson, Form::Json, Form::Bare][usize::from(form)];
        for purpose in [Purpose::Create, Purpose::Record(workspace("acme"))] {
            let head = head("acme", 7, &key(1), &[]);
            let body = Bytes::from(body.clone());
            let found = accept(&origin(), &purpose, head, form, &body, &Limits::default());
            prop_assert!(found.is_err());
        }
    }
}

//! CloudEvents: the mapping `cloudevents/v1` by golden files. What is recorded under that name must
//! mean the same for ever: these files are never edited, another mapping gets another name.

use bytes::Bytes;
use ingest::accept::Refused;
use ingest::accept::cloudevents::{Mode, payloads, place};
use ledger::names::Workspace;
use ledger::payload::{Rules, scan};
use serde_json::{Value, json};

const GOLDEN: &str = include_str!("../vectors/cloudevents-v1.json");

fn map(event: &str, workspace: Option<&str>) -> Result<String, (String, &'static str)> {
    let workspace = workspace.map(|name| Workspace::new(name).unwrap());
    let body = Bytes::copy_from_slice(event.as_bytes());
    match payloads(Mode::One, &body, 100, workspace.as_ref()) {
        Ok(payloads) => Ok(String::from_utf8(payloads[0].to_vec()).unwrap()),
        Err(Refused::Events(errors)) => Err((errors[0].pointer.clone(), errors[0].reason)),
        Err(Refused::Body { reason, .. }) => Err(("(body)".to_owned(), reason)),
        Err(other) => Err((other.to_string(), "")),
    }
}

/// The least that an event has.
fn event(members: &Value) -> String {
    let mut event = json!({
        "specversion": "1.0", "id": "1", "source": "/agents/a", "type": "order.created",
        "time": "2026-11-23T16:00:00Z", "tallyworkspace": "acme",
    });
    event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    event.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    event.to_string()
}

#[test]
fn each_golden_event_becomes_its_payload_byte_for_byte() {
    let golden: Vec<Value> = serde_json::from_str(GOLDEN).unwrap();
    assert!(golden.len() >= 8);
    let acme = Workspace::new("acme").unwrap();
    for case in &golden {
        let (event, payload) =
            (case["cloudevent"].as_str().unwrap(), case["payload"].as_str().unwrap());
        assert_eq!(map(event, case["workspace"].as_str()).as_deref(), Ok(payload), "{case}");
        let read = scan(payload.as_bytes(), &acme, &Rules::default()).unwrap();
        // Nothing is lost: the event stands in the payload as it was sent.
        let kept = format!("{{\"mapping\":\"cloudevents/v1\",\"cloudevent\":{}}}", event.trim());
        assert_eq!(read.context, Some(kept.as_bytes()), "{case}");
    }
}

#[test]
fn what_makes_an_event_no_event_is_named() {
    let acme = Some("acme");
    for (members, pointer, reason) in [
        (json!({"specversion": "0.3"}), "/specversion", "cloudevent-version"),
        (json!({"specversion": null}), "/specversion", "cloudevent-attribute"),
        (json!({"specversion": 1.0}), "/specversion", "cloudevent-attribute"),
        (json!({"id": ""}), "/id", "cloudevent-attribute"),
        (json!({"id": 7}), "/id", "cloudevent-attribute"),
        (json!({"source": null}), "/source", "cloudevent-attribute"),
        (json!({"type": null}), "/type", "cloudevent-attribute"),
        (json!({"time": null}), "/time", "cloudevent-attribute"),
        (json!({"tallyworkspace": "beta"}), "/tallyworkspace", "cloudevent-workspace"),
        (json!({"tallyworkspace": "A"}), "/tallyworkspace", "cloudevent-workspace"),
        (json!({"tallyworkspace": 1}), "/tallyworkspace", "cloudevent-attribute"),
    ] {
        let refused = map(&event(&members), acme);
        assert_eq!(refused, Err((pointer.to_owned(), reason)), "{members}");
    }
    let nowhere = event(&json!({"tallyworkspace": null}));
    assert_eq!(map(&nowhere, None), Err(("/tallyworkspace".to_owned(), "cloudevent-workspace")));
    assert!(map(&nowhere, acme).is_ok());
    for (body, reason) in [("", "body-form"), ("{", "body-form"), ("{}{}", "body-form")] {
        assert_eq!(map(body, acme), Err(("(body)".to_owned(), reason)));
    }
    assert_eq!(map("[]", acme), Err((String::new(), "cloudevent-form")));
}

#[test]
fn a_batch_keeps_its_order_and_names_the_events_that_are_wrong() {
    let batch = |body: String, max| payloads(Mode::Batch, &Bytes::from(body), max, None);
    let (one, two) = (event(&json!({"id": "1"})), event(&json!({"id": "2"})));
    let mapped = batch(format!(" [{one} ,\n{two}] "), 2).unwrap();
    assert_eq!(mapped, [one.as_str(), &two].map(|e| Bytes::from(map(e, None).unwrap())));
    assert!(matches!(batch("[]".into(), 2), Err(Refused::Body { reason: "no-events", .. })));
    assert!(matches!(batch(one.clone(), 2), Err(Refused::Body { reason: "body-form", .. })));
    let three = format!("[{one},{one},{one}]");
    assert!(matches!(batch(three, 2), Err(Refused::TooManyEvents { max: 2, found: 3 })));
    let places = match batch(format!("[{one},7,{{}}]"), 3) {
        Err(Refused::Events(errors)) => errors.iter().map(|error| error.index).collect(),
        _ => Vec::new(),
    };
    assert_eq!(places, [1, 2]);
}

#[test]
fn ids_that_are_no_uuids_are_told_apart_by_source_and_id() {
    let id = |source: &str, id: &str| {
        let payload = map(&event(&json!({"source": source, "id": id})), None).unwrap();
        serde_json::from_str::<Value>(&payload).unwrap()["event_id"].as_str().unwrap().to_owned()
    };
    let ids = [id("/a", "b"), id("/a", "c"), id("/ab", "x"), id("/", "ab"), id("/a", "b ")];
    let ids: std::collections::BTreeSet<_> = ids.into_iter().collect();
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|id| id.as_bytes()[14] == b'8'), "{ids:?}");
}

#[test]
fn a_fault_of_the_payload_is_told_as_one_of_the_event() {
    for (of_payload, of_event) in [
        ("/event_id", "/id"),
        ("/event_type", "/type"),
        ("/occurred_at", "/time"),
        ("/workspace_id", "/tallyworkspace"),
        ("/source", "/source"),
        ("/status", "/data/status"),
        ("/context/cloudevent/data/a", "/data/a"),
        ("", ""),
    ] {
        assert_eq!(place(of_payload), of_event);
    }
}

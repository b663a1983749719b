//! What the tests share: keys, payloads, signed submissions.

use bytes::Bytes;
use ingest::accept::{Form, Head, Limits, Purpose, Refused, Submission, accept};
use ledger::hash::Digest;
use ledger::key::{Signature, SigningKey};
use ledger::names::{Origin, Workspace};
use ledger::submission::{Counter, Statement};
use serde_json::{Value, json};

/// The ledger of the tests.
pub fn origin() -> Origin {
    Origin::new("ledger.example.com/test").unwrap()
}

/// A workspace.
pub fn workspace(name: &str) -> Workspace {
    Workspace::new(name).unwrap()
}

/// A key that is the same in every run.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// An event id that is the same in every run.
pub fn event_id(n: u64) -> String {
    format!("00000000-0000-4000-8000-{:012x}", n + 1)
}

/// The payload of an event.
pub fn event(workspace: &str, n: u64, event_type: &str, members: Value) -> Vec<u8> {
    let mut event = json!({
        "event_id": event_id(n),
        "event_type": event_type,
        "occurred_at": "2026-11-23T16:00:00Z",
        "workspace_id": workspace,
    });
    let (Value::Object(event), Value::Object(members)) = (&mut event, members) else {
        panic!("members are an object");
    };
    event.extend(members);
    serde_json::to_vec(&event).unwrap()
}

/// The payload of an event that any key may sign.
pub fn plain(workspace: &str, n: u64) -> Vec<u8> {
    event(workspace, n, "business_event", json!({}))
}

/// The payload that creates a workspace.
pub fn created(workspace: &str, n: u64, roots: &[&SigningKey]) -> Vec<u8> {
    let roots: Vec<String> = roots.iter().map(|key| key.public().to_string()).collect();
    let context = json!({"context": {"root_keys": roots}});
    event(workspace, n, "ledger.workspace_created", context)
}

/// The payload that registers a key.
pub fn registered(workspace: &str, n: u64, key: &SigningKey, role: &str) -> Vec<u8> {
    let context = json!({"context": {"key": key.public().to_string(), "role": role}});
    event(workspace, n, "ledger.key_registered", context)
}

/// The payload that revokes a key.
pub fn revoked(workspace: &str, n: u64, key: &SigningKey) -> Vec<u8> {
    let context = json!({"context": {"key": key.public().to_string(), "reason": "a test"}});
    event(workspace, n, "ledger.key_revoked", context)
}

/// The signature of an honest agent.
pub fn signature(
    workspace: &str,
    counter: u64,
    key: &SigningKey,
    payloads: &[Vec<u8>],
) -> Signature {
    let digests: Vec<Digest> = payloads.iter().map(|payload| Digest::of(payload)).collect();
    let counter = Counter::new(counter).unwrap();
    let workspace = Workspace::new(workspace).unwrap();
    let statement = Statement::new(&origin(), &workspace, counter, &digests);
    key.sign(statement.as_str().as_bytes())
}

/// The head of an honest agent.
pub fn head(workspace: &str, counter: u64, key: &SigningKey, payloads: &[Vec<u8>]) -> Head {
    Head {
        public_key: key.public(),
        signature: signature(workspace, counter, key, payloads),
        counter: Counter::new(counter).unwrap(),
    }
}

/// A body of one payload a line.
pub fn ndjson(payloads: &[Vec<u8>]) -> Bytes {
    Bytes::from([payloads.join(&b'\n').as_slice(), b"\n"].concat())
}

/// Has an honest agent's payloads accepted, on the route that they belong to.
pub fn submitted(
    workspace: &str,
    counter: u64,
    key: &SigningKey,
    payloads: &[Vec<u8>],
) -> Result<Submission, Refused> {
    let is = |part: &str| {
        let first = payloads.first().map(|p| String::from_utf8_lossy(p).into_owned());
        first.is_some_and(|text| text.contains(part))
    };
    let named = Workspace::new(workspace).unwrap();
    let (purpose, form) = if is("ledger.workspace_created") {
        (Purpose::Create, Form::Bare)
    } else if is("ledger.key_") {
        (Purpose::SetKey(named), Form::Bare)
    } else {
        (Purpose::Record(named), Form::Ndjson)
    };
    let body = match form {
        Form::Bare => Bytes::from(payloads.concat()),
        Form::Ndjson | Form::Json => ndjson(payloads),
    };
    let head = head(workspace, counter, key, payloads);
    accept(&origin(), &purpose, head, form, &body, &Limits::default())
}

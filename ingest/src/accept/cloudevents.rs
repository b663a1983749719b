//! CloudEvents 1.0 in structured mode, mapped to payloads.
//!
//! Here, pure: the mapping `cloudevents/v1`, the table of `docs/cloudevents.md`. A CloudEvent stands
//! in the payload's `context` byte for byte, so that nothing of it is lost; the other members are
//! taken from it. What comes out depends on nothing but the bytes: the same event again is the same
//! payload. Not here: who signs it (see [`super::custody`]), and every rule of a payload (see
//! [`ledger::payload`]).

use std::collections::BTreeMap;

use bytes::Bytes;
use ledger::hash::Digest;
use ledger::limits::EVENT_TYPE_BYTES;
use ledger::names::{EventId, Workspace};
use ledger::payload::{Rules, scan};
use serde_json::value::RawValue;
use uuid::Builder;

use super::body::{self, fail};
use super::{ERRORS, EventError, Refused};

/// What `context.mapping` says of a payload that was made by this table.
pub const MAPPING: &str = "cloudevents/v1";
/// The extension attribute that names the workspace.
pub const WORKSPACE: &str = "tallyworkspace";
/// The first line of what an `event_id` is made from, where `id` is no UUID.
const ID_DOMAIN: &[u8] = b"tallystick/cloudevents/v1\n";

/// Members of an object in `data` that become members of the payload, in this order, where they
/// have the form that the payload asks for.
const LIFTED: [&str; 20] = [
    "session_id",
    "actor_id",
    "on_behalf_of",
    "agent_version",
    "model",
    "provider",
    "prompt_hash",
    "tool_name",
    "status",
    "error_type",
    "success",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "unit_cost_input",
    "unit_cost_output",
    "parent_event_id",
    "salt",
    "trace_id",
    "span_id",
];

/// How a body holds its CloudEvents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `application/cloudevents+json`: one.
    One,
    /// `application/cloudevents-batch+json`: an array.
    Batch,
}

type Attributes<'a> = BTreeMap<String, &'a RawValue>;

/// The payloads of a body, in order; at most `max`. An event that names no workspace is of
/// `workspace`.
pub fn payloads(
    mode: Mode,
    body: &Bytes,
    max: usize,
    workspace: Option<&Workspace>,
) -> Result<Vec<Bytes>, Refused> {
    let text = body::text(body)?;
    let raw = match mode {
        Mode::One => {
            let raw: &RawValue = serde_json::from_str(text)
                .map_err(|error| fail("body-form", format!("the body is not JSON: {error}")))?;
            vec![raw]
        }
        Mode::Batch => body::array(text, max)?,
    };
    if raw.is_empty() {
        return Err(fail("no-events", "the batch is empty".to_owned()));
    }
    let mut payloads = Vec::with_capacity(raw.len());
    let mut errors = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        match payload(raw.get(), workspace) {
            Ok(payload) => payloads.push(Bytes::from(payload)),
            Err(error) => errors.push(EventError { index, ..error }),
        }
        if errors.len() == ERRORS {
            break;
        }
    }
    if errors.is_empty() { Ok(payloads) } else { Err(Refused::Events(errors)) }
}

/// Where in the CloudEvent a place of its payload comes from.
pub fn place(pointer: &str) -> String {
    let of = |member: &str| pointer == format!("/{member}");
    if let Some(rest) = pointer.strip_prefix("/context/cloudevent") {
        rest.to_owned()
    } else if of("event_id") {
        "/id".to_owned()
    } else if of("event_type") {
        "/type".to_owned()
    } else if of("occurred_at") {
        "/time".to_owned()
    } else if of("workspace_id") {
        format!("/{WORKSPACE}")
    } else if LIFTED.iter().any(|name| of(name)) {
        format!("/data{pointer}")
    } else {
        pointer.to_owned()
    }
}

/// The payload of one CloudEvent.
fn payload(event: &str, workspace: Option<&Workspace>) -> Result<Vec<u8>, EventError> {
    let attributes: Attributes<'_> = serde_json::from_str(event)
        .map_err(|error| refuse("", "cloudevent-form", format!("this is no object: {error}")))?;
    let version = required(&attributes, "specversion")?;
    if version != "1.0" {
        let detail = format!("specversion 1.0 is taken, not {version:?}");
        return Err(refuse("specversion", "cloudevent-version", detail));
    }
    let id = required(&attributes, "id")?;
    let source = required(&attributes, "source")?;
    let event_type = event_type(&required(&attributes, "type")?);
    let time = required(&attributes, "time").map_err(|error| EventError {
        detail: format!("{}: it becomes occurred_at, which every event has", error.detail),
        ..error
    })?;
    let workspace = self::workspace(&attributes, workspace)?;

    let mut payload = Payload::new();
    payload.add("event_id", &quoted(&event_id(&source, &id)));
    payload.add("event_type", &quoted(&event_type));
    payload.add("occurred_at", &quoted(&time));
    payload.add("workspace_id", &quoted(workspace.as_str()));
    payload.add("source", &quoted(&source));
    let data = attributes.get("data").map_or("null", |data| data.get());
    // Anything but an object has no members to lift.
    let mut data: Attributes<'_> = serde_json::from_str(data).unwrap_or_default();
    data.retain(|name, value| LIFTED.contains(&name.as_str()) && fits(name, value.get()));
    for name in LIFTED {
        if let Some(value) = data.get(name) {
            payload.add(name, value.get());
        }
    }
    if let Some((trace, span)) = trace(&attributes)
        && !data.contains_key("trace_id")
        && !data.contains_key("span_id")
    {
        payload.add("trace_id", &quoted(&trace));
        payload.add("span_id", &quoted(&span));
    }
    payload.add("context", &format!("{{\"mapping\":\"{MAPPING}\",\"cloudevent\":{event}}}"));
    Ok(payload.close())
}

/// The workspace that the event names, or that the request does.
fn workspace(
    attributes: &Attributes<'_>,
    request: Option<&Workspace>,
) -> Result<Workspace, EventError> {
    let refuse = |detail: String| refuse(WORKSPACE, "cloudevent-workspace", detail);
    let named = match text(attributes, WORKSPACE)? {
        Some(name) => Some(Workspace::new(&name).map_err(|error| refuse(error.to_string()))?),
        None => None,
    };
    match (named, request) {
        (Some(named), Some(request)) if named != *request => {
            Err(refuse(format!("the event names workspace {named}, the request {request}")))
        }
        (Some(workspace), _) => Ok(workspace),
        (None, Some(request)) => Ok(request.clone()),
        (None, None) => Err(refuse(format!(
            "no workspace is named: set the attribute {WORKSPACE}, or ?workspace= in the URL"
        ))),
    }
}

/// `id` itself where it is a UUID; otherwise a UUID made of source and id (version 8 of RFC 9562).
fn event_id(source: &str, id: &str) -> String {
    if EventId::parse(id).is_ok() {
        return id.to_owned();
    }
    // With its length before it, where the source ends and the id starts is never in doubt.
    let length = u64::try_from(source.len()).unwrap_or(u64::MAX).to_be_bytes();
    let parts: [&[u8]; 4] = [ID_DOMAIN, &length, source.as_bytes(), id.as_bytes()];
    let digest = Digest::of_parts(&parts);
    let half = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    Builder::from_custom_bytes(half).into_uuid().hyphenated().to_string()
}

/// `type` in the alphabet of an event type: lower case, `_` for what it has not; of a longer one
/// the end.
fn event_type(name: &str) -> String {
    let mapped: Vec<char> = name
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '_' | '.') => c,
            _ => '_',
        })
        .collect();
    mapped.iter().skip(mapped.len().saturating_sub(EVENT_TYPE_BYTES)).collect()
}

/// The trace and span of a `traceparent` (the extension of CloudEvents, W3C Trace Context).
fn trace(attributes: &Attributes<'_>) -> Option<(String, String)> {
    let value = text(attributes, "traceparent").ok()??;
    let mut parts = value.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_set = |text: &str| text.bytes().any(|byte| byte != b'0');
    let is_whole = parts.next().is_none() && version == "00" && is_hex(flags, 2);
    (is_whole && is_hex(trace, 32) && is_hex(span, 16) && is_set(trace) && is_set(span))
        .then(|| (trace.to_owned(), span.to_owned()))
}

/// Whether a payload takes this value for this member; null counts as absent.
fn fits(name: &str, value: &str) -> bool {
    let Ok(workspace) = Workspace::new("w") else {
        return false;
    };
    let mut probe = Payload::new();
    probe.add("event_id", "\"00000000-0000-8000-8000-000000000001\"");
    probe.add("event_type", "\"probe\"");
    probe.add("occurred_at", "\"2026-01-01T00:00:00Z\"");
    probe.add("workspace_id", "\"w\"");
    probe.add(name, value);
    value != "null" && scan(&probe.close(), &workspace, &Rules::ceiling()).is_ok()
}

fn required(attributes: &Attributes<'_>, name: &'static str) -> Result<String, EventError> {
    let missing =
        || refuse(name, "cloudevent-attribute", format!("the attribute {name} is missing"));
    text(attributes, name)?.filter(|text| !text.is_empty()).ok_or_else(missing)
}

/// An attribute that is a string; null counts as absent.
fn text(attributes: &Attributes<'_>, name: &'static str) -> Result<Option<String>, EventError> {
    let Some(value) = attributes.get(name) else {
        return Ok(None);
    };
    serde_json::from_str(value.get()).map_err(|_| {
        refuse(name, "cloudevent-attribute", format!("the attribute {name} is no string"))
    })
}

fn refuse(attribute: &str, reason: &'static str, detail: String) -> EventError {
    let pointer = if attribute.is_empty() { String::new() } else { format!("/{attribute}") };
    EventError { index: 0, pointer, reason, detail }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A payload that is written member by member.
struct Payload(String);

impl Payload {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn add(&mut self, name: &str, value: &str) {
        let comma = if self.0.len() == 1 { "" } else { "," };
        self.0.push_str(&format!("{comma}\"{name}\":{value}"));
    }

    fn close(mut self) -> Vec<u8> {
        self.0.push('}');
        self.0.into_bytes()
    }
}

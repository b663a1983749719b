//! The payloads in a body: exact bytes, never parsed and written again.
//!
//! Here: where each payload starts and ends. Not here: what a payload may hold: serde_json is no
//! gate (it takes lone surrogates, duplicate members and any depth), [`ledger::payload::scan`] is.

use std::fmt;

use bytes::Bytes;
use ledger::limits::SUBMISSION_EVENTS_CEILING;
use ledger::names::Workspace;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Refused;

/// How a body holds its payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One payload a line.
    Ndjson,
    /// `{"events": [...]}`: each element's exact bytes are its payload.
    Json,
    /// The body is the payload.
    Bare,
}

/// The payloads in a body, in order; at most `max` of them.
pub fn payloads(form: Form, body: &Bytes, max: usize) -> Result<Vec<Bytes>, Refused> {
    let payloads = match form {
        Form::Ndjson => lines(body, max)?,
        Form::Json => elements(body, max)?,
        Form::Bare => vec![body.clone()],
    };
    if payloads.is_empty() {
        return Err(Refused::Body {
            reason: "no-events",
            detail: "the body holds no event: a submission has at least one".to_owned(),
        });
    }
    Ok(payloads)
}

fn lines(body: &Bytes, max: usize) -> Result<Vec<Bytes>, Refused> {
    let text = body.strip_suffix(b"\n").unwrap_or(body);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let found = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    if found > max {
        return Err(Refused::TooManyEvents { max, found });
    }
    Ok(text.split(|byte| *byte == b'\n').map(|line| body.slice_ref(line)).collect())
}

fn elements(body: &Bytes, max: usize) -> Result<Vec<Bytes>, Refused> {
    let text = text(body)?;
    // serde would take an array in place of the object, member by member.
    if !text.trim_start().starts_with('{') {
        let detail = "the body is not an object: `{\"events\": [...]}` is expected";
        return Err(fail("body-form", detail.to_owned()));
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| {
        let detail = format!("the body is not of the form {{\"events\": [...]}}: {error}");
        fail("body-form", detail)
    })?;
    let raw = envelope.events.at_most(max)?;
    Ok(raw.into_iter().map(|element| body.slice_ref(element.get().as_bytes())).collect())
}

/// The elements of a body that is an array, at most `max` of them.
pub(super) fn array(text: &str, max: usize) -> Result<Vec<&RawValue>, Refused> {
    let elements: Elements<'_> = serde_json::from_str(text).map_err(|error| {
        fail("body-form", format!("the body is not an array of events: {error}"))
    })?;
    elements.at_most(max)
}

/// A body that has to be UTF-8.
pub(super) fn text(body: &Bytes) -> Result<&str, Refused> {
    std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        fail("not-utf8", format!("the body is not UTF-8 at byte {at}"))
    })
}

pub(super) fn fail(reason: &'static str, detail: String) -> Refused {
    Refused::Body { reason, detail }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Envelope<'a> {
    events: Elements<'a>,
}

/// The elements of an array, kept up to the most that any ledger takes, counted beyond.
struct Elements<'a> {
    found: usize,
    raw: Vec<&'a RawValue>,
}

impl<'a> Elements<'a> {
    fn at_most(self, max: usize) -> Result<Vec<&'a RawValue>, Refused> {
        let Self { found, raw } = self;
        if found > max { Err(Refused::TooManyEvents { max, found }) } else { Ok(raw) }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut raw = Vec::new();
                while raw.len() < SUBMISSION_EVENTS_CEILING {
                    let Some(element) = seq.next_element()? else {
                        break;
                    };
                    raw.push(element);
                }
                let mut found = raw.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    found += 1;
                }
                Ok(Elements { found, raw })
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

/// The workspace that a creating payload names. It is read before the payload is scanned, and
/// scanned against afterwards: so it is no gate.
pub fn named_workspace(body: &[u8]) -> Result<Workspace, Refused> {
    #[derive(Deserialize)]
    struct Named {
        workspace_id: String,
    }
    let fail = |detail: String| Refused::Body {
        reason: "workspace-name",
        detail: format!("`workspace_id` of the body names no workspace: {detail}"),
    };
    let Named { workspace_id } =
        serde_json::from_slice(body).map_err(|error| fail(error.to_string()))?;
    Workspace::new(&workspace_id).map_err(|error| fail(error.to_string()))
}

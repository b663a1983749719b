//! An event: a payload, read.
//!
//! Here: its members, and which of them its type needs (FORMAT section 2). Not here: the `context`
//! of a `ledger.` event (see [`crate::chain`]).

use std::borrow::Cow;

use super::draft::{Draft, missing};
use super::number::Money;
use super::scan::Scanner;
use super::{PayloadError, Reason};
use crate::names::{EventId, Workspace};
use crate::time::Micros;

/// A payload, read. Text is borrowed from the payload where it has no escape.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// The event's UUID.
    pub event_id: EventId,
    /// What kind of event it is.
    pub event_type: Cow<'a, str>,
    /// When it happened, by the agent's clock, cut off at the microsecond.
    pub occurred_at: Micros,
    /// The session that it belongs to.
    pub session_id: Option<Cow<'a, str>>,
    /// The agent that acted.
    pub actor_id: Option<Cow<'a, str>>,
    /// The program that sent it.
    pub source: Option<Cow<'a, str>>,
    /// The language model.
    pub model: Option<Cow<'a, str>>,
    /// Who serves the model.
    pub provider: Option<Cow<'a, str>>,
    /// The digest of the prompt.
    pub prompt_hash: Option<Cow<'a, str>>,
    /// The kind of error.
    pub error_type: Option<Cow<'a, str>>,
    /// The tool that was called.
    pub tool_name: Option<Cow<'a, str>>,
    /// How it ended; of a `tool_call`: success, failure or timeout.
    pub status: Option<Cow<'a, str>>,
    /// The trace: 32 lower-case hex digits.
    pub trace_id: Option<Cow<'a, str>>,
    /// The span: 16 lower-case hex digits.
    pub span_id: Option<Cow<'a, str>>,
    /// The agent's version.
    pub agent_version: Option<Cow<'a, str>>,
    /// The person or system that is answerable.
    pub on_behalf_of: Option<Cow<'a, str>>,
    /// Random text that keeps an erased payload from being guessed.
    pub salt: Option<Cow<'a, str>>,
    /// The intent that this event is the outcome of.
    pub parent_event_id: Option<EventId>,
    /// Tokens read by the model.
    pub input_tokens: Option<i64>,
    /// Tokens written by the model.
    pub output_tokens: Option<i64>,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<i64>,
    /// Whether it went well.
    pub success: Option<bool>,
    /// The price of a token read.
    pub unit_cost_input: Option<Money>,
    /// The price of a token written.
    pub unit_cost_output: Option<Money>,
    /// Free-form data: the exact bytes of the object.
    pub context: Option<&'a [u8]>,
}

/// Reads a payload that starts with `{`.
pub(super) fn read<'a>(text: &'a str, workspace: &Workspace) -> Result<Event<'a>, PayloadError> {
    let mut scanner = Scanner::new(text);
    let mut draft = Draft::default();
    let mut seen = 0_u32;
    scanner.enter(1)?;
    while let Some((at, name)) = scanner.name(seen == 0)? {
        let fail = |reason| PayloadError::new(reason, at).under(&name);
        let (bit, slot) = draft.slot(&name).ok_or_else(|| fail(Reason::UnknownMember))?;
        if seen & 1 << bit != 0 {
            return Err(fail(Reason::DuplicateMember));
        }
        seen |= 1 << bit;
        scanner.colon()?;
        let value_at = scanner.at;
        if !scanner.word("null") {
            slot.read(&mut scanner, workspace).map_err(|error| error.under(&name))?;
        }
        if name == "status" {
            draft.status_at = value_at;
        }
    }
    if !scanner.rest().is_empty() {
        let blank = scanner.rest().iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        let reason = if blank { Reason::WhiteSpaceAround } else { Reason::TrailingBytes };
        return Err(PayloadError::new(reason, scanner.at));
    }
    let status_at = draft.status_at;
    let event = draft.finish()?;
    check_needs(&event, status_at)?;
    Ok(event)
}

/// What the core types need (FORMAT section 2).
fn check_needs(event: &Event<'_>, status_at: usize) -> Result<(), PayloadError> {
    match &*event.event_type {
        "tool_call" => {
            need(&event.tool_name, "tool_name", "a tool_call")?;
            match need(&event.status, "status", "a tool_call")? {
                "success" | "failure" | "timeout" => Ok(()),
                _ => Err(PayloadError::new(Reason::BadStatus, status_at).under("status")),
            }
        }
        "llm_call" => need(&event.model, "model", "an llm_call").map(drop),
        "error" => need(&event.error_type, "error_type", "an error").map(drop),
        _ => Ok(()),
    }
}

fn need<'e>(
    text: &'e Option<Cow<'_, str>>,
    member: &'static str,
    needed_by: &'static str,
) -> Result<&'e str, PayloadError> {
    text.as_deref().ok_or_else(|| missing(member, needed_by))
}

//! The members of an event as they come in, one after the other.
//!
//! Here: the one table of members, each with its slot. Not here: how a value is read (see
//! `value`).

use std::borrow::Cow;

use super::number::Money;
use super::value::Slot;
use super::{Event, PayloadError, Reason};
use crate::names::EventId;
use crate::time::Micros;

/// The members that have been read so far.
#[derive(Default)]
pub(super) struct Draft<'a> {
    event_id: Option<EventId>,
    event_type: Option<Cow<'a, str>>,
    occurred_at: Option<Micros>,
    workspace_id: Option<()>,
    session_id: Option<Cow<'a, str>>,
    actor_id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    model: Option<Cow<'a, str>>,
    provider: Option<Cow<'a, str>>,
    prompt_hash: Option<Cow<'a, str>>,
    error_type: Option<Cow<'a, str>>,
    tool_name: Option<Cow<'a, str>>,
    status: Option<Cow<'a, str>>,
    pub(super) status_at: usize,
    trace_id: Option<Cow<'a, str>>,
    span_id: Option<Cow<'a, str>>,
    agent_version: Option<Cow<'a, str>>,
    on_behalf_of: Option<Cow<'a, str>>,
    salt: Option<Cow<'a, str>>,
    parent_event_id: Option<EventId>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    latency_ms: Option<i64>,
    success: Option<bool>,
    unit_cost_input: Option<Money>,
    unit_cost_output: Option<Money>,
    context: Option<&'a [u8]>,
}

impl<'a> Draft<'a> {
    /// The slot of a member, and the bit that tells whether it was there before.
    pub(super) fn slot(&mut self, name: &str) -> Option<(u32, Slot<'_, 'a>)> {
        Some(match name {
            "event_id" => (0, Slot::Uuid(&mut self.event_id)),
            "event_type" => (1, Slot::Type(&mut self.event_type)),
            "occurred_at" => (2, Slot::Time(&mut self.occurred_at)),
            "workspace_id" => (3, Slot::Workspace(&mut self.workspace_id)),
            "session_id" => (4, Slot::Text(&mut self.session_id)),
            "actor_id" => (5, Slot::Text(&mut self.actor_id)),
            "source" => (6, Slot::Text(&mut self.source)),
            "model" => (7, Slot::Text(&mut self.model)),
            "provider" => (8, Slot::Text(&mut self.provider)),
            "prompt_hash" => (9, Slot::Text(&mut self.prompt_hash)),
            "error_type" => (10, Slot::Text(&mut self.error_type)),
            "tool_name" => (11, Slot::Text(&mut self.tool_name)),
            "status" => (12, Slot::Text(&mut self.status)),
            "trace_id" => (13, Slot::Hex(32, &mut self.trace_id)),
            "span_id" => (14, Slot::Hex(16, &mut self.span_id)),
            "agent_version" => (15, Slot::Text(&mut self.agent_version)),
            "on_behalf_of" => (16, Slot::Text(&mut self.on_behalf_of)),
            "salt" => (17, Slot::Text(&mut self.salt)),
            "parent_event_id" => (18, Slot::Uuid(&mut self.parent_event_id)),
            "input_tokens" => (19, Slot::Count(&mut self.input_tokens)),
            "output_tokens" => (20, Slot::Count(&mut self.output_tokens)),
            "latency_ms" => (21, Slot::Count(&mut self.latency_ms)),
            "success" => (22, Slot::Flag(&mut self.success)),
            "unit_cost_input" => (23, Slot::Money(&mut self.unit_cost_input)),
            "unit_cost_output" => (24, Slot::Money(&mut self.unit_cost_output)),
            "context" => (25, Slot::Object(&mut self.context)),
            _ => return None,
        })
    }

    /// The event, if it has what every event needs.
    pub(super) fn finish(self) -> Result<Event<'a>, PayloadError> {
        let missing = |member| missing(member, "every event");
        let event = Event {
            event_id: self.event_id.ok_or_else(|| missing("event_id"))?,
            event_type: self.event_type.ok_or_else(|| missing("event_type"))?,
            occurred_at: self.occurred_at.ok_or_else(|| missing("occurred_at"))?,
            session_id: self.session_id,
            actor_id: self.actor_id,
            source: self.source,
            model: self.model,
            provider: self.provider,
            prompt_hash: self.prompt_hash,
            error_type: self.error_type,
            tool_name: self.tool_name,
            status: self.status,
            trace_id: self.trace_id,
            span_id: self.span_id,
            agent_version: self.agent_version,
            on_behalf_of: self.on_behalf_of,
            salt: self.salt,
            parent_event_id: self.parent_event_id,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            latency_ms: self.latency_ms,
            success: self.success,
            unit_cost_input: self.unit_cost_input,
            unit_cost_output: self.unit_cost_output,
            context: self.context,
        };
        self.workspace_id.map(|()| event).ok_or_else(|| missing("workspace_id"))
    }
}

/// A member that is needed is not there, so that the error has no place but the object's start.
#[cold]
pub(super) fn missing(member: &'static str, needed_by: &'static str) -> PayloadError {
    PayloadError::new(Reason::MissingMember { member, needed_by }, 0).under(member)
}

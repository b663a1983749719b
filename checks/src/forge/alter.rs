//! Another value in one column of one row.

use std::borrow::Cow;

use super::OwnedRow;

/// The columns of the format, in order.
pub const COLUMNS: [&str; 34] = [
    "seq",
    "recorded_at",
    "event_id",
    "payload",
    "payload_digest",
    "link",
    "submission_hash",
    "submission_index",
    "submission_count",
    "counter",
    "public_key",
    "signature",
    "event_type",
    "occurred_at",
    "session_id",
    "actor_id",
    "source",
    "model",
    "provider",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "success",
    "error_type",
    "prompt_hash",
    "tool_name",
    "status",
    "unit_cost_input",
    "unit_cost_output",
    "trace_id",
    "span_id",
    "agent_version",
    "on_behalf_of",
    "parent_event_id",
];

/// The value of one column.
enum Slot<'r> {
    U16(&'r mut u16),
    U64(&'r mut u64),
    Time(&'r mut i64),
    Fixed(&'r mut [u8]),
    Type(&'r mut Cow<'static, str>),
    Payload(&'r mut Option<Vec<u8>>),
    Text(&'r mut Option<Cow<'static, str>>),
    Number(&'r mut Option<i64>),
    Flag(&'r mut Option<bool>),
    Uuid(&'r mut Option<[u8; 16]>),
}

#[expect(clippy::panic, reason = "a test that names no column is wrong itself")]
fn slot<'r>(row: &'r mut OwnedRow, column: &str) -> Slot<'r> {
    let OwnedRow { payload, row } = row;
    let derived = &mut row.derived;
    match column {
        "seq" => Slot::U64(&mut row.seq),
        "recorded_at" => Slot::Time(&mut row.recorded_at),
        "event_id" => Slot::Fixed(&mut row.event_id),
        "payload" => Slot::Payload(payload),
        "payload_digest" => Slot::Fixed(&mut row.payload_digest),
        "link" => Slot::Fixed(&mut row.link),
        "submission_hash" => Slot::Fixed(&mut row.submission_hash),
        "submission_index" => Slot::U16(&mut row.submission_index),
        "submission_count" => Slot::U16(&mut row.submission_count),
        "counter" => Slot::U64(&mut row.counter),
        "public_key" => Slot::Fixed(&mut row.public_key),
        "signature" => Slot::Fixed(&mut row.signature),
        "event_type" => Slot::Type(&mut derived.event_type),
        "occurred_at" => Slot::Time(&mut derived.occurred_at),
        "session_id" => Slot::Text(&mut derived.session_id),
        "actor_id" => Slot::Text(&mut derived.actor_id),
        "source" => Slot::Text(&mut derived.source),
        "model" => Slot::Text(&mut derived.model),
        "provider" => Slot::Text(&mut derived.provider),
        "input_tokens" => Slot::Number(&mut derived.input_tokens),
        "output_tokens" => Slot::Number(&mut derived.output_tokens),
        "latency_ms" => Slot::Number(&mut derived.latency_ms),
        "success" => Slot::Flag(&mut derived.success),
        "error_type" => Slot::Text(&mut derived.error_type),
        "prompt_hash" => Slot::Text(&mut derived.prompt_hash),
        "tool_name" => Slot::Text(&mut derived.tool_name),
        "status" => Slot::Text(&mut derived.status),
        "unit_cost_input" => Slot::Number(&mut derived.unit_cost_input),
        "unit_cost_output" => Slot::Number(&mut derived.unit_cost_output),
        "trace_id" => Slot::Text(&mut derived.trace_id),
        "span_id" => Slot::Text(&mut derived.span_id),
        "agent_version" => Slot::Text(&mut derived.agent_version),
        "on_behalf_of" => Slot::Text(&mut derived.on_behalf_of),
        "parent_event_id" => Slot::Uuid(&mut derived.parent_event_id),
        _ => panic!("there is no column {column}"),
    }
}

/// Gives the column another value of its type, as close to the one before as there is. A payload
/// gets a space that changes nothing of what it says.
///
/// # Panics
/// On a name that is not one of [`COLUMNS`].
pub fn alter(row: &mut OwnedRow, column: &str) {
    match slot(row, column) {
        Slot::U16(value) => *value += 1,
        Slot::U64(value) => *value += 1,
        Slot::Time(value) => *value += 1,
        Slot::Fixed(bytes) => flip(bytes),
        Slot::Type(text) => text.to_mut().push('x'),
        Slot::Payload(payload) => payload.get_or_insert_default().insert(1, b' '),
        Slot::Text(text) => text.get_or_insert_default().to_mut().push('x'),
        Slot::Number(value) => *value = Some(value.map_or(0, |value| value ^ 1)),
        Slot::Flag(value) => *value = Some(!value.unwrap_or(true)),
        Slot::Uuid(value) => flip(value.get_or_insert([0; 16])),
    }
}

/// Takes the column's value away, so that it is null. Says whether there was one to take.
///
/// # Panics
/// On a name that is not one of [`COLUMNS`].
pub fn erase(row: &mut OwnedRow, column: &str) -> bool {
    match slot(row, column) {
        Slot::Payload(payload) => payload.take().is_some(),
        Slot::Text(text) => text.take().is_some(),
        Slot::Number(value) => value.take().is_some(),
        Slot::Flag(value) => value.take().is_some(),
        Slot::Uuid(value) => value.take().is_some(),
        // The format has no null here.
        Slot::U16(_) | Slot::U64(_) | Slot::Time(_) | Slot::Fixed(_) | Slot::Type(_) => false,
    }
}

fn flip(bytes: &mut [u8]) {
    if let Some(byte) = bytes.last_mut() {
        *byte ^= 1;
    }
}

//! The schema of an event, as far as JSON Schema can say it.
//!
//! Here: members, types, lengths. Not here, as no schema can say it: exact bytes, no member twice,
//! no number outside its range as written (see `docs/spec/payload.md`).

use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, KnownFormat, SchemaFormat};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{OneOfBuilder, Ref, RefOr};

use ledger::limits::SUBMISSION_EVENTS_CEILING;

const TEXTS: [&str; 12] = [
    "session_id",
    "actor_id",
    "source",
    "model",
    "prompt_hash",
    "error_type",
    "tool_name",
    "status",
    "provider",
    "agent_version",
    "on_behalf_of",
    "salt",
];
/// Longest text of those, in bytes: fewer characters where they are not ASCII.
const TEXT: usize = 1_024;
const UUID: &str = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$";
const TIME: &str = "^(19[7-9][0-9]|[2-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\
    T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?\
    (Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
/// Text without U+0000, which no member holds.
const NO_NUL: &str = "^[^\\u0000]*$";
/// The text of a workspace name.
pub(super) const WORKSPACE: &str = "^[a-z0-9][a-z0-9._-]{0,62}$";

/// A string that matches a pattern.
pub(super) fn text(pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
}

/// A number that a `bigint` holds.
pub(super) fn number(least: i64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(least))
        .maximum(Some(i64::MAX))
}

/// An event's payload.
pub(super) fn schema() -> RefOr<Schema> {
    let mut event = ObjectBuilder::new()
        .description(Some("An event. Its exact bytes are what is signed and recorded."))
        .property("event_id", text(UUID))
        .property("event_type", text("^[a-z0-9_.]{1,64}$"))
        .property("occurred_at", text(TIME))
        .property("workspace_id", text(WORKSPACE))
        .property("trace_id", text("^[0-9a-f]{32}$"))
        .property("span_id", text("^[0-9a-f]{16}$"))
        .property("parent_event_id", text(UUID))
        .property("success", ObjectBuilder::new().schema_type(Type::Boolean))
        .property("context", ObjectBuilder::new());
    for name in TEXTS {
        let short = text(NO_NUL).max_length(Some(TEXT));
        event = event.property(name, short);
    }
    for name in ["input_tokens", "output_tokens", "latency_ms"] {
        event = event.property(name, number(0));
    }
    for name in ["unit_cost_input", "unit_cost_output"] {
        event = event.property(name, money());
    }
    for name in ["event_id", "event_type", "occurred_at", "workspace_id"] {
        event = event.required(name);
    }
    let none = AdditionalProperties::FreeForm(false);
    Schema::Object(
        event
            .additional_properties(Some(none))
            .examples([json!({
                "event_id": "0195fe3a-7d2c-7bd1-9d0f-3c2b1a098765",
                "event_type": "tool_call",
                "occurred_at": "2026-11-24T10:00:00Z",
                "workspace_id": "acme",
                "tool_name": "search",
                "status": "success",
            })])
            .build(),
    )
    .into()
}

/// Money per token, never through a binary float.
fn money() -> OneOfBuilder {
    let most = 1_000_000_000_u32;
    OneOfBuilder::new()
        .item(
            ObjectBuilder::new()
                .schema_type(Type::Number)
                .minimum(Some(0))
                .exclusive_maximum(Some(most)),
        )
        .item(text("^[0-9]{1,9}(\\.[0-9]{1,9})?$"))
}

/// `{"events": [...]}`.
pub(super) fn list() -> RefOr<Schema> {
    let events = ArrayBuilder::new()
        .items(Ref::from_schema_name("Event"))
        .min_items(Some(1))
        .max_items(Some(SUBMISSION_EVENTS_CEILING));
    Schema::Object(
        ObjectBuilder::new()
            .description(Some("Events that are signed together, in order."))
            .property("events", events)
            .required("events")
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .build(),
    )
    .into()
}

/// A CloudEvent, as far as it is mapped (`docs/api.md`).
pub(super) fn cloud() -> RefOr<Schema> {
    let any = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
    Schema::Object(
        ObjectBuilder::new()
            .description(Some("A CloudEvent in the JSON format, version 1.0."))
            .property(
                "specversion",
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["1.0"])),
            )
            .property("id", any())
            .property("source", any())
            .property("type", any())
            .property("time", text(TIME))
            .property("data", ObjectBuilder::new().schema_type(SchemaType::AnyValue))
            .required("specversion")
            .required("id")
            .required("source")
            .required("type")
            .build(),
    )
    .into()
}

/// A batch of them.
pub(super) fn cloud_list() -> RefOr<Schema> {
    Schema::Array(ArrayBuilder::new().items(Ref::from_schema_name("CloudEvent")).build()).into()
}

//! The API as programs read it: OpenAPI 3.1 at `/openapi.json`.
//!
//! Here: the document, made once from `operations` (every route, and everything it may answer),
//! `parts` (what they share) and the schemas of answers. `docs/openapi.json` is a copy of it, which
//! a test compares. Not here: the page that shows it (see `docs`).

mod event;
mod operations;
mod parts;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder};
use utoipa::openapi::{PathsBuilder, tag::TagBuilder};

use super::answer::{
    EntriesAnswer, EntryAnswer, HeadAnswer, KeyAnswer, KeysAnswer, LedgerAnswer, LimitsAnswer,
    SubmissionAnswer,
};
use super::error::{Body, Fault};
use super::hmac::{CustodyReceipt, IngestAnswer};
use super::keys::{JsonWebKey, JwksAnswer, TallyKeysAnswer};
use super::queued::QueuedAnswer;
use super::ready::{Check, Checks, Health, NotReadyAnswer, ReadyAnswer};
use super::tokens::{NewToken, TokenAnswer, TokensAnswer};

const ABOUT: &str = "An append-only ledger of what agents do. Agents sign what they submit; the \
    ledger chains it and gives receipts. Numbers may go up to 2^63-1: read them as 64-bit \
    integers. What goes wrong is told as a problem (RFC 9457), whose `type` is the address of a \
    page that explains it. A submission may be sent again at any time: it is recorded once, and \
    always answered with the same receipt.";

/// The document.
pub fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Tallystick")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(License::new("Apache-2.0")))
        .build();
    let mut paths = PathsBuilder::new();
    for operation in operations::all() {
        paths = paths.path(operation.path, operation.item());
    }
    let tag =
        |name: &str, about: &str| TagBuilder::new().name(name).description(Some(about)).build();
    OpenApiBuilder::new()
        .info(info)
        .tags(Some([
            tag("submit", "What records"),
            tag("read", "What shows a workspace to its tenant"),
            tag("administer", "Who may read"),
            tag("operate", "What operators and their programs ask"),
        ]))
        .paths(paths)
        .components(Some(parts::securities(schemas()).build()))
        .build()
}

fn schemas() -> ComponentsBuilder {
    ComponentsBuilder::new()
        .schema("Event", event::schema())
        .schema("Events", event::list())
        .schema("CloudEvent", event::cloud())
        .schema("CloudEvents", event::cloud_list())
        .schema_from::<Body<'_>>()
        .schema_from::<Fault>()
        .schema_from::<LedgerAnswer<'_>>()
        .schema_from::<LimitsAnswer>()
        .schema_from::<SubmissionAnswer>()
        .schema_from::<QueuedAnswer>()
        .schema_from::<HeadAnswer<'_>>()
        .schema_from::<KeyAnswer>()
        .schema_from::<KeysAnswer>()
        .schema_from::<EntryAnswer>()
        .schema_from::<EntriesAnswer>()
        .schema_from::<NewToken>()
        .schema_from::<TokenAnswer>()
        .schema_from::<TokensAnswer>()
        .schema_from::<CustodyReceipt>()
        .schema_from::<IngestAnswer>()
        .schema_from::<TallyKeysAnswer>()
        .schema_from::<JsonWebKey>()
        .schema_from::<JwksAnswer>()
        .schema_from::<Health>()
        .schema_from::<Check>()
        .schema_from::<Checks>()
        .schema_from::<ReadyAnswer>()
        .schema_from::<NotReadyAnswer>()
}

/// The document as JSON, for people too.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        // It is made of plain data; a test reads it back.
        document().to_pretty_json().unwrap_or_default() + "\n"
    });
    &TEXT
}

pub(super) async fn json() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
        // It holds no secret, and tools on other sites may read it.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    (headers, text()).into_response()
}

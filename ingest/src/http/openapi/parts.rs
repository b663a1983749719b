//! What operations share: parameters, headers, ways to prove who asks, problems.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, Header, Ref, Required, Response, ResponseBuilder,
};

use super::event::{WORKSPACE, number, text};
use crate::http::error::Kind;

/// Whoever may create workspaces and tokens.
pub(super) const ADMIN: &str = "admin_token";
/// Whoever may read a workspace.
pub(super) const READER: &str = "reader_token";
/// Whoever signs a submission.
pub(super) const SIGNATURE: &str = "submission_signature";

/// Names a secret that a client shares.
pub(super) const API_KEY: &str = "api_key";
/// Shows that a client has the secret.
pub(super) const HMAC: &str = "hmac";

/// Adds the ways to prove who asks.
pub(super) fn securities(components: ComponentsBuilder) -> ComponentsBuilder {
    let bearer = |about: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about));
        SecurityScheme::Http(scheme.build())
    };
    let header = |name: &str, about: &str| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, about)))
    };
    components
        .security_scheme(ADMIN, bearer("A token of the settings, for administrative acts"))
        .security_scheme(READER, bearer("A token of the workspace, for reading it"))
        .security_scheme(API_KEY, header("X-Api-Key", "The name of a shared secret"))
        .security_scheme(
            HMAC,
            header("X-Signature", "The hex HMAC-SHA256 of the body under the shared secret"),
        )
        .security_scheme(
            SIGNATURE,
            header(
                "Tally-Signature",
                "An Ed25519 signature over the statement of the submission, by the key of \
                 Tally-Public-Key",
            ),
        )
}

pub(super) fn needs(name: &str) -> SecurityRequirement {
    SecurityRequirement::new(name, std::iter::empty::<String>())
}

fn parameter(place: ParameterIn, name: &str, about: &str) -> ParameterBuilder {
    let required = Required::True;
    let builder = ParameterBuilder::new().name(name).parameter_in(place).required(required);
    builder.description(Some(about))
}

pub(super) fn workspace() -> Parameter {
    parameter(ParameterIn::Path, "workspace", "The workspace's name")
        .schema(Some(text(WORKSPACE)))
        .example(Some(json!("acme")))
        .build()
}

pub(super) fn in_path(name: &str, about: &str, pattern: &str) -> Parameter {
    parameter(ParameterIn::Path, name, about).schema(Some(text(pattern))).build()
}

pub(super) fn in_query(name: &str, about: &str, schema: ObjectBuilder) -> Parameter {
    parameter(ParameterIn::Query, name, about)
        .required(Required::False)
        .schema(Some(schema))
        .build()
}

pub(super) fn in_header(name: &str, about: &str, pattern: &str, required: Required) -> Parameter {
    parameter(ParameterIn::Header, name, about)
        .required(required)
        .schema(Some(text(pattern)))
        .build()
}

/// How long a client would rather wait than be told to come again. A preference that cannot be read is
/// passed over, so any text will do.
pub(super) fn prefer() -> Parameter {
    let about =
        "Of a ledger with a queue: `wait=20` waits so many seconds, 25 at most, for the chain";
    parameter(ParameterIn::Header, "Prefer", about)
        .required(Required::False)
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// The three headers of a submission.
pub(super) fn signed() -> [Parameter; 3] {
    let key = "^ed25519:[A-Za-z0-9_-]{43}$";
    let signature = "^[A-Za-z0-9+/]{86}==$";
    [
        in_header("Tally-Public-Key", "Who signs", key, Required::True),
        in_header("Tally-Signature", "The signature, in base64", signature, Required::True),
        in_header(
            "Tally-Counter",
            "The agent's own count for this key and workspace; 0 for none",
            "^(0|[1-9][0-9]{0,17})$",
            Required::False,
        ),
    ]
}

/// What a body may be sent with.
pub(super) fn coded() -> [Parameter; 2] {
    let digest = "^sha-(256|512)=:[A-Za-z0-9+/]+={0,2}:$";
    let about = "A digest of the content as it is sent (RFC 9530), which is checked";
    let coding = "What the body is packed with: what is signed is what it expands to";
    [
        in_header("Content-Digest", about, digest, Required::False),
        in_header("Content-Encoding", coding, "^(identity|gzip|zstd)$", Required::False),
    ]
}

/// A header of answers.
fn header(about: &str, schema: ObjectBuilder) -> Header {
    HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build()
}

/// An answer, with what every answer has.
pub(super) fn answer(about: &str) -> ResponseBuilder {
    let id = text("^[A-Za-z0-9._:-]{1,128}$");
    ResponseBuilder::new()
        .description(about)
        .header("X-Request-Id", header("Names the request in the service's log", id))
}

/// The answers that tell of these kinds of problems: one for each status.
pub(super) fn problems(kinds: &[Kind]) -> Vec<(u16, Response)> {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status().as_u16()).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status, problem(status, &kinds))).collect()
}

fn problem(status: u16, kinds: &[Kind]) -> Response {
    let lines = kinds.iter().map(|kind| format!("- `{}`: {}", kind.slug(), kind.title()));
    let about = lines.collect::<Vec<_>>().join("\n");
    let types: Vec<Value> = kinds.iter().map(|kind| Value::from(kind.uri())).collect();
    let schema = if kinds == [Kind::NotReady] {
        AllOfBuilder::new().item(Ref::from_schema_name("NotReadyAnswer"))
    } else {
        AllOfBuilder::new().item(Ref::from_schema_name("Problem"))
    };
    let exact = ObjectBuilder::new()
        .property("type", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(types)))
        .property(
            "status",
            ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status])),
        );
    let content = ContentBuilder::new().schema(Some(schema.item(exact))).build();
    let mut response = answer(&about).content("application/problem+json", content);
    if matches!(status, 429 | 503) {
        let about = "Seconds after which to ask again";
        response = response.header("Retry-After", header(about, number(1)));
    }
    if status == 401 {
        let about = "How to prove who asks";
        let any = ObjectBuilder::new().schema_type(Type::String);
        response = response.header("WWW-Authenticate", header(about, any));
    }
    response.build()
}

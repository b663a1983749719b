//! Every operation: what it takes, and everything that it may answer.
//!
//! Here: one entry a method and route, in the order of the book. Not here: what answers hold (their
//! schemas are derived from what is sent).

use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, PathItem, Ref, Required, Response};

use super::event::{WORKSPACE, number, text};
use super::parts::{
    ADMIN, API_KEY, HMAC, READER, SIGNATURE, answer, coded, in_header, in_path, in_query, needs,
    prefer, problems, signed, workspace,
};
use crate::http::error::Kind;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// What every route may answer.
const EVERY: [Kind; 2] = [Kind::Internal, Kind::Overloaded];
/// What every route that reads a workspace may answer.
const READING: [Kind; 8] = [
    Kind::Unauthorized,
    Kind::TooFast,
    Kind::NoWorkspace,
    Kind::NotOnRecord,
    Kind::Unavailable,
    Kind::BehindReceipts,
    Kind::ClockApart,
    Kind::ClockBehind,
];
/// What every route that takes a submission may answer.
const SUBMITTING: [Kind; 30] = [
    Kind::BadRequest,
    Kind::BadHeader,
    Kind::BadCoding,
    Kind::DigestMismatch,
    Kind::SignatureInvalid,
    Kind::UnknownKey,
    Kind::RevokedKey,
    Kind::NotYetInForce,
    Kind::NotRoot,
    Kind::OtherActor,
    Kind::NoWorkspace,
    Kind::RequestTimeout,
    Kind::AlreadyRegistered,
    Kind::NotInForce,
    Kind::CounterReused,
    Kind::EventExists,
    Kind::ChainFull,
    Kind::TooLarge,
    Kind::TooManyEvents,
    Kind::UnsupportedMediaType,
    Kind::UnsupportedCoding,
    Kind::BodyRefused,
    Kind::EventRefused,
    Kind::NotAlone,
    Kind::WrongRoute,
    Kind::TooFast,
    Kind::Unavailable,
    Kind::BehindReceipts,
    Kind::ClockApart,
    Kind::ClockBehind,
];

/// What every route that takes keys may answer beside that.
const SETTING_KEYS: [Kind; 3] = [Kind::LastRoot, Kind::RegisteredAgain, Kind::TooManyKeys];

/// What a ledger with a queue may answer beside that.
const QUEUEING: [Kind; 2] = [Kind::SubmissionRefused, Kind::QueueUnavailable];
/// What it means there that a submission is accepted.
const QUEUED: &str = "Of a ledger with a queue: stored there, and not recorded yet";

/// One method of one route.
pub(super) struct Operation {
    pub(super) path: &'static str,
    method: HttpMethod,
    builder: OperationBuilder,
    kinds: Vec<Kind>,
}

impl Operation {
    fn new(method: HttpMethod, path: &'static str, tag: &str, id: &str, summary: &str) -> Self {
        let builder = OperationBuilder::new().tag(tag).operation_id(Some(id));
        let builder = builder.summary(Some(summary));
        Self { path, method, builder, kinds: EVERY.to_vec() }
    }

    fn get(path: &'static str, tag: &str, id: &str, summary: &str) -> Self {
        Self::new(HttpMethod::Get, path, tag, id, summary)
    }

    fn post(path: &'static str, tag: &str, id: &str, summary: &str) -> Self {
        Self::new(HttpMethod::Post, path, tag, id, summary)
    }

    fn about(self, text: &str) -> Self {
        Self { builder: self.builder.description(Some(text)), ..self }
    }

    fn with(self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        let add = |builder: OperationBuilder, parameter| builder.parameter(parameter);
        Self { builder: parameters.into_iter().fold(self.builder, add), ..self }
    }

    fn body(self, types: &[(&str, &str)]) -> Self {
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for (media_type, schema) in types {
            let content = match *schema {
                "" => ContentBuilder::new()
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
                name => ContentBuilder::new().schema(Some(Ref::from_schema_name(name))),
            };
            body = body.content(*media_type, content.build());
        }
        Self { builder: self.builder.request_body(Some(body.build())), ..self }
    }

    fn answers(self, status: u16, about: &str, types: &[(&str, &str)]) -> Self {
        let mut response = answer(about);
        for (media_type, schema) in types {
            let content = match *schema {
                "" => ContentBuilder::new()
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
                name => ContentBuilder::new().schema(Some(Ref::from_schema_name(name))),
            };
            response = response.content(*media_type, content.build());
        }
        Self { builder: self.builder.response(status.to_string(), response), ..self }
    }

    fn refuses(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.kinds.extend(kinds);
        self
    }

    fn needs(self, requirement: SecurityRequirement) -> Self {
        Self { builder: self.builder.security(requirement), ..self }
    }

    /// What the document holds.
    pub(super) fn item(self) -> PathItem {
        let add = |builder: OperationBuilder, (status, response): (u16, Response)| {
            builder.response(status.to_string(), response)
        };
        let builder = problems(&self.kinds).into_iter().fold(self.builder, add);
        PathItem::new(self.method, builder)
    }
}

/// Every operation.
pub(super) fn all() -> Vec<Operation> {
    [submitting(), reading(), administering(), operating()].into_iter().flatten().collect()
}

fn receipted(operation: Operation) -> Operation {
    let types = [(JSON, "SubmissionAnswer"), (TEXT, "")];
    operation
        .answers(201, "Recorded; with `Accept: text/plain` the bare receipt", &types)
        .answers(200, "Recorded before: the same receipt again", &types)
        .with(coded())
        .refuses(SUBMITTING)
}

fn submitting() -> Vec<Operation> {
    let tag = "submit";
    let create = Operation::post("/v1/workspaces", tag, "createWorkspace", "Create a workspace")
        .about("One `ledger.workspace_created` event, signed by one of the keys it names.")
        .with(signed())
        .body(&[(JSON, "Event")])
        .needs(needs(ADMIN).add(SIGNATURE, std::iter::empty::<String>()));
    let create = receipted(create).refuses([
        Kind::Unauthorized,
        Kind::NotAFounder,
        Kind::WorkspaceExists,
        Kind::NotOnRecord,
    ]);
    let keys = "/v1/workspaces/{workspace}/keys";
    let set_key = Operation::post(keys, tag, "setKey", "Register or revoke a key")
        .about("One `ledger.key_registered` or `ledger.key_revoked` event.")
        .with([workspace()])
        .with(signed())
        .body(&[(JSON, "Event")])
        .needs(needs(SIGNATURE));
    let set_key = receipted(set_key).refuses(SETTING_KEYS);
    let events = "/v1/workspaces/{workspace}/events";
    let record = Operation::post(events, tag, "record", "Record events")
        .about("One event a line, or `{\"events\": [...]}`; all of them or none.")
        .with([workspace()])
        .with(signed())
        .body(&[("application/x-ndjson", ""), (JSON, "Events")])
        .needs(needs(SIGNATURE));
    let record = receipted(record)
        .answers(202, QUEUED, &[(JSON, "QueuedAnswer"), (TEXT, "")])
        .with([prefer()])
        .refuses(SETTING_KEYS)
        .refuses([Kind::NotErasable])
        .refuses(QUEUEING);
    vec![create, set_key, record, ingest()]
}

/// What clients of a plain HMAC pipeline send.
fn ingest() -> Operation {
    let workspace = "The workspace of CloudEvents that name none";
    let hex = "^[0-9A-Fa-f]{64}$";
    Operation::post(
        "/ingest",
        "submit",
        "ingest",
        "Record events for a client that shares a secret",
    )
    .about(
        "The ledger's custodian key signs them: each workspace must have registered it. \
             Events go to the workspaces that they name, which the secret must be for.",
    )
    .with([
        in_query("workspace", workspace, text(WORKSPACE)),
        in_header("X-Api-Key", "The secret's name", "^[A-Za-z0-9._-]{1,64}$", Required::True),
        in_header("X-Signature", "HMAC-SHA256 of the body, in hex", hex, Required::True),
    ])
    .with(coded())
    .body(&[
        (JSON, "Events"),
        ("application/cloudevents+json", "CloudEvent"),
        ("application/cloudevents-batch+json", "CloudEvents"),
    ])
    .needs(needs(API_KEY).add(HMAC, std::iter::empty::<String>()))
    .answers(200, "Recorded, or recorded before", &[(JSON, "IngestAnswer")])
    .answers(202, QUEUED, &[(JSON, "IngestAnswer")])
    .with([prefer()])
    .refuses(SUBMITTING)
    .refuses(QUEUEING)
    .refuses([Kind::NotAuthentic, Kind::OtherWorkspace, Kind::NoCustodian])
}

fn reading() -> Vec<Operation> {
    let tag = "read";
    let read = |path, id, summary| {
        Operation::get(path, tag, id, summary)
            .with([workspace()])
            .refuses(READING)
            .needs(needs(READER))
    };
    let head = read("/v1/workspaces/{workspace}/head", "head", "The newest entry").answers(
        200,
        "Signed by the receipt key",
        &[(JSON, "HeadAnswer"), (TEXT, "")],
    );
    let keys = read("/v1/workspaces/{workspace}/keys", "keys", "All keys, revoked ones too")
        .answers(200, "The keys", &[(JSON, "KeysAnswer")]);
    let wait = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let wait = wait.maximum(Some(25)).default(Some(0.into()));
    let submission = read(
        "/v1/workspaces/{workspace}/submissions/{hash}",
        "submission",
        "A submission's receipt",
    )
    .with([
        in_path("hash", "The submission hash, in hex", "^[0-9a-f]{64}$"),
        in_query("wait", "Of a ledger with a queue: seconds to wait for the chain", wait),
    ])
    .answers(200, "What it was answered", &[(JSON, "SubmissionAnswer"), (TEXT, "")])
    .refuses([Kind::NotFound, Kind::BadRequest, Kind::SubmissionRefused]);
    let uuid = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$";
    let event = read("/v1/workspaces/{workspace}/events/{event_id}", "event", "An event's entry")
        .with([in_path("event_id", "The event's UUID", uuid)])
        .answers(200, "The entry", &[(JSON, "EntryAnswer")])
        .refuses([Kind::NotFound, Kind::InArchive]);
    let limit = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let limit = limit.maximum(Some(1_000)).default(Some(100.into()));
    let entries = read("/v1/workspaces/{workspace}/entries", "entries", "Entries in order")
        .with([
            in_query("from_seq", "The first seq", number(1).default(Some(1.into()))),
            in_query("limit", "Most entries; fewer where payloads are long", limit),
        ])
        .answers(200, "Entries, and where to go on", &[(JSON, "EntriesAnswer")])
        .refuses([Kind::BadRequest]);
    let ledger = Operation::get("/v1/ledger", tag, "ledger", "What a client needs to know")
        .answers(200, "Name, keys and limits", &[(JSON, "LedgerAnswer")]);
    vec![ledger, head, keys, submission, event, entries]
}

/// What administrators do.
fn administering() -> Vec<Operation> {
    let tag = "administer";
    let tokens = "/v1/workspaces/{workspace}/tokens";
    let token = "/v1/workspaces/{workspace}/tokens/{token_id}";
    let act = |method, path, id, summary| {
        Operation::new(method, path, tag, id, summary)
            .with([workspace()])
            .refuses(READING)
            .needs(needs(ADMIN))
    };
    let create = act(HttpMethod::Post, tokens, "createToken", "Make a token of a reader")
        .body(&[(JSON, "NewToken")])
        .answers(201, "The token, shown this once", &[(JSON, "Token")])
        .refuses([
            Kind::BadRequest,
            Kind::RequestTimeout,
            Kind::TooLarge,
            Kind::UnsupportedMediaType,
        ]);
    let list = act(HttpMethod::Get, tokens, "tokens", "All tokens, revoked ones too").answers(
        200,
        "The tokens, without their secrets",
        &[(JSON, "Tokens")],
    );
    let revoke = act(HttpMethod::Delete, token, "revokeToken", "Revoke a token")
        .with([in_path("token_id", "The token's id", "^[A-Za-z0-9_-]{1,64}$")])
        .answers(200, "It is revoked, or was before", &[(JSON, "Token")])
        .refuses([Kind::NotFound]);
    vec![create, list, revoke]
}

fn operating() -> Vec<Operation> {
    let tag = "operate";
    let get = |path, id, summary| Operation::get(path, tag, id, summary);
    let metrics = crate::metrics::CONTENT_TYPE;
    vec![
        get("/healthz", "healthz", "Whether the process runs").answers(
            200,
            "It does; nothing else was asked",
            &[(TEXT, "")],
        ),
        get("/readyz", "readyz", "Whether the service can record now")
            .answers(200, "It can", &[(JSON, "ReadyAnswer")])
            .refuses([Kind::NotReady]),
        get("/metrics", "metrics", "Figures for Prometheus")
            .answers(200, "OpenMetrics text", &[(metrics, "")])
            .refuses([Kind::NotFound]),
        get("/openapi.json", "openapi", "This document").answers(200, "OpenAPI 3.1", &[(JSON, "")]),
        get("/docs", "toDocs", "The way to the page").answers(308, "It is at /docs/", &[]),
        get("/docs/", "docs", "This document as a page").answers(
            200,
            "HTML that needs nothing from elsewhere",
            &[("text/html", "")],
        ),
        get("/problems", "problems", "All types of problems").answers(
            200,
            "A list with a page for each",
            &[(HTML, "")],
        ),
        get("/problems/{problem}", "problem", "What a type of problem means")
            .with([in_path("problem", "The last part of a `type`", "^[a-z-]{1,64}$")])
            .answers(200, "Its page", &[(HTML, "")])
            .refuses([Kind::NotFound]),
        get("/.well-known/tally-keys", "tallyKeys", "Keys that check what the ledger signs")
            .answers(200, "As verifier keys of signed notes", &[(JSON, "TallyKeysAnswer")]),
        get("/.well-known/jwks.json", "jwks", "The same keys as JSON Web Keys").answers(
            200,
            "OKP keys with Ed25519",
            &[(JSON, "JwksAnswer")],
        ),
    ]
}

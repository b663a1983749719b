//! Problems (RFC 9457): the one table from refusals to status codes.
//!
//! Here: every `type` that an answer may have, described for clients in `docs/problems.md`. Not
//! here: why something is refused (each noun's own error says so). What becomes of each: `from`.

mod from;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::chain::Refusal;
use ledger::names::Seq;
use ledger::time::Hour;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::coding;
use super::hmac::CustodyReceipt;

/// Seconds after which a client should ask again where the service could not answer.
const RETRY_AFTER: &str = "1";

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $status:literal $slug:literal $title:literal,)*) => {
        /// What went wrong, as clients may branch on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $(#[doc = $title] $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            const fn row(self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$kind => ($status, $slug, $title),)*
                }
            }
        }
    };
}

kinds! {
    BadRequest 400 "bad-request" "The request cannot be read",
    BadHeader 400 "bad-header" "A header is missing or malformed",
    BadCoding 400 "bad-coding" "The body is not coded as its Content-Encoding says",
    DigestMismatch 400 "digest-mismatch" "The body is not the one that Content-Digest was made of",
    NotAuthentic 401 "not-authentic" "The request is not signed with a shared secret",
    Unauthorized 401 "unauthorized" "The request shows no token, or one that is not in force",
    SignatureInvalid 403 "signature-invalid" "The signature does not verify",
    UnknownKey 403 "unknown-key" "The workspace does not know the key",
    RevokedKey 403 "revoked-key" "The key was revoked",
    NotYetInForce 403 "not-yet-in-force" "The key is not in force yet",
    NotRoot 403 "not-root" "Only a root key may do this",
    OtherActor 403 "other-actor" "The key speaks for another actor",
    NotAFounder 403 "not-a-founder" "The key is none of the new workspace's root keys",
    LastRoot 403 "last-root" "The last root key cannot be revoked",
    RegisteredAgain 403 "registered-again" "A revoked key cannot be registered again",
    OtherWorkspace 403 "other-workspace" "The secret is not for this workspace",
    NoCustodian 403 "no-custodian" "The workspace has no custodian",
    NotFound 404 "not-found" "There is nothing here",
    NoWorkspace 404 "no-workspace" "There is no such workspace",
    MethodNotAllowed 405 "method-not-allowed" "The route does not take this method",
    RequestTimeout 408 "request-timeout" "The request took too long to arrive",
    WorkspaceExists 409 "workspace-exists" "The workspace exists already",
    AlreadyRegistered 409 "already-registered" "The key is registered already",
    NotInForce 409 "not-in-force" "The key is not in force",
    CounterReused 409 "counter-reused" "The counter stands for another submission",
    EventExists 409 "event-exists" "An event of this id is recorded already",
    TooManyKeys 409 "too-many-keys" "The workspace has as many keys as the ledger takes",
    NotErasable 409 "not-erasable" "An event cannot be erased",
    ChainFull 409 "chain-full" "The chain has no seq left",
    SubmissionRefused 409 "submission-refused" "The submission was queued, and the chain refused it",
    InArchive 410 "in-archive" "The payload is in the archive, and not here any more",
    TooLarge 413 "too-large" "The body is too large",
    TooManyEvents 413 "too-many-events" "The submission has too many events",
    UnsupportedMediaType 415 "unsupported-media-type" "The body is of another type",
    UnsupportedCoding 415 "unsupported-coding" "The body has another Content-Encoding",
    BodyRefused 422 "body-refused" "The body holds no submission",
    EventRefused 422 "event-refused" "An event breaks a rule of the format",
    NotAlone 422 "not-alone" "A ledger event stands alone in its submission",
    WrongRoute 422 "wrong-route" "The event belongs to another route",
    TooFast 429 "too-fast" "The caller sends more than they may",
    Internal 500 "internal" "A fault of the service",
    NotOnRecord 503 "not-on-record" "What was asked could not be put on record",
    NotReady 503 "not-ready" "The service cannot record now",
    Overloaded 503 "overloaded" "Too much is waiting to be recorded",
    Unavailable 503 "unavailable" "The ledger's database does not answer",
    QueueUnavailable 503 "queue-unavailable" "The queue does not answer",
    BehindReceipts 503 "behind-receipts" "The ledger's database is behind receipts that were given",
    ClockApart 503 "clock-apart" "The ledger's clock and its database's do not agree",
    ClockBehind 503 "clock-behind" "The ledger's clock is behind what it has recorded",
}

impl Kind {
    /// The status code.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The last part of `type`: `/problems/<slug>`.
    pub const fn slug(self) -> &'static str {
        self.row().1
    }

    /// What stays the same from case to case, in words.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// `type`.
    pub fn uri(self) -> String {
        format!("/problems/{}", self.slug())
    }

    /// The kind that tells of a status alone: of what libraries answer by themselves.
    pub const fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            413 => Self::TooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::BodyRefused,
            400..500 => Self::BadRequest,
            _ => Self::Internal,
        }
    }

    /// The kind of a refusal by the rules of keys: their codes are our slugs.
    fn of_refusal(refusal: &Refusal) -> Self {
        let code = refusal.code();
        let kind = Self::ALL.iter().find(|kind| kind.slug() == code);
        kind.copied().unwrap_or(Self::Internal)
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// The event's place in the submission, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The member, as a JSON pointer; empty for the event as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<&'static str>,
    /// A stable code.
    pub reason: &'static str,
    /// What, where, and how to mend it.
    pub detail: String,
}

/// An answer that says what went wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    seq: Option<Seq>,
    hour: Option<Hour>,
    errors: Vec<Fault>,
    retry_after: Option<u64>,
    recorded: Vec<CustodyReceipt>,
    refusal: Option<Box<RawValue>>,
}

impl Problem {
    /// A problem without further facts.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            seq: None,
            hour: None,
            errors: Vec::new(),
            retry_after: None,
            recorded: Vec::new(),
            refusal: None,
        }
    }

    pub(super) fn with(mut self, fault: Fault) -> Self {
        self.errors.push(fault);
        self
    }

    pub(super) fn at_seq(mut self, seq: Seq) -> Self {
        self.seq = Some(seq);
        self
    }

    pub(super) fn of_hour(mut self, hour: Hour) -> Self {
        self.hour = Some(hour);
        self
    }

    /// The same, with the time after which to ask again, in seconds.
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// What went wrong, as clients may branch on it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same, with the problem for which the chain refused the submission, as JSON.
    pub(super) fn with_refusal(mut self, problem: Box<RawValue>) -> Self {
        self.refusal = Some(problem);
        self
    }

    /// As JSON (RFC 9457).
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.body()).unwrap_or_default()
    }

    fn body(&self) -> Body<'_> {
        let (status, _, title) = self.kind.row();
        Body {
            r#type: self.kind.uri(),
            title,
            status,
            detail: &self.detail,
            seq: self.seq.map(Seq::get),
            hour: self.hour.map(|hour| hour.to_string()),
            errors: &self.errors,
            recorded: &self.recorded,
            refusal: self.refusal.as_deref(),
        }
    }

    /// The same, of a part of a body whose parts before it are recorded; `places` says where in
    /// the body the events of this part stand.
    pub(super) fn after(mut self, places: &[usize], recorded: Vec<CustodyReceipt>) -> Self {
        for fault in &mut self.errors {
            fault.index = fault.index.and_then(|index| places.get(index).copied());
        }
        if !recorded.is_empty() {
            self.detail.push_str("; what stands in `recorded` was recorded before that");
        }
        self.recorded = recorded;
        self
    }
}

/// A problem as RFC 9457 has it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body<'a> {
    /// What went wrong, for programs to branch on. The page of this name tells more.
    #[schema(format = "uri-reference")]
    r#type: String,
    /// What the type means, in words.
    title: &'static str,
    /// The HTTP status again.
    status: u16,
    /// What happened in this case, and how to mend it.
    detail: &'a str,
    /// The seq that holds the event, or that the counter stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seq: Option<u64>,
    /// The hour in whose chunks the archive has the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hour: Option<String>,
    /// What is wrong, and where, if there is more to say; at most 20.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [Fault],
    /// Of `POST /ingest`: what was recorded before something went wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    recorded: &'a [CustodyReceipt],
    /// Of `submission-refused`: the problem for which the chain refused the submission.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    refusal: Option<&'a RawValue>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, ..) = self.kind.row();
        let mut response = (self.kind.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        } else if status == 503 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if self.kind == Kind::UnsupportedCoding {
            let accepted = HeaderValue::from_static(coding::ACCEPTED);
            headers.insert(header::ACCEPT_ENCODING, accepted);
        }
        if self.kind == Kind::NotAuthentic {
            let challenge = HeaderValue::from_static("HMAC-SHA256");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For the log and the metrics.
        response.extensions_mut().insert(self.kind);
        response
    }
}

#[cfg(test)]
mod tests {
    use ledger::key::SigningKey;

    use super::*;

    const DOCUMENTED: &str = include_str!("../../../docs/problems.md");

    #[test]
    fn every_kind_is_documented_with_its_status() {
        for kind in Kind::ALL {
            let row = format!("| `{}` | {} |", kind.slug(), kind.status().as_u16());
            assert!(DOCUMENTED.contains(&row), "docs/problems.md lacks {row}");
        }
    }

    #[test]
    fn every_refusal_by_the_rules_of_keys_has_its_kind() {
        let key = SigningKey::from_seed(&[1; 32]).public();
        let refusals = [
            Refusal::NoWorkspace,
            Refusal::WorkspaceExists,
            Refusal::NotAFounder(key),
            Refusal::NotAlone(2),
            Refusal::UnknownKey(key),
            Refusal::RevokedKey { key, revoked: Seq::FIRST },
            Refusal::NotYetInForce(key),
            Refusal::NotRoot { key, role: ledger::chain::Role::Agent },
            Refusal::OtherActor { key, bound: String::new(), index: 0, found: String::new() },
            Refusal::AlreadyRegistered(key),
            Refusal::Again(key),
            Refusal::NotInForce(key),
            Refusal::LastRoot(key),
        ];
        for refusal in refusals {
            assert_eq!(Kind::of_refusal(&refusal).slug(), refusal.code());
        }
    }
}

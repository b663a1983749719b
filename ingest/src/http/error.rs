//! Problems (RFC 9457): the one table from refusals to status codes.
//!
//! Here: every `type` that an answer may have, described for clients in `docs/problems.md`. Not
//! here: why something is refused (each noun's own error says so).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::chain::Refusal;
use ledger::names::Seq;
use serde::Serialize;

use crate::accept::head::HeadError;
use crate::accept::{self, EventError};
use crate::chain::{Refused, WriteError};
use crate::store::StoreError;

/// Seconds after which a client should ask again where the service could not answer.
const RETRY_AFTER: &str = "1";
/// Longest text that tells of a refused event, in bytes: it may quote what was sent.
const DETAIL_BYTES: usize = 512;

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
    SignatureInvalid 403 "signature-invalid" "The signature does not verify",
    UnknownKey 403 "unknown-key" "The workspace does not know the key",
    RevokedKey 403 "revoked-key" "The key was revoked",
    NotYetInForce 403 "not-yet-in-force" "The key is not in force yet",
    NotRoot 403 "not-root" "Only a root key may do this",
    OtherActor 403 "other-actor" "The key speaks for another actor",
    NotAFounder 403 "not-a-founder" "The key is none of the new workspace's root keys",
    LastRoot 403 "last-root" "The last root key cannot be revoked",
    RegisteredAgain 403 "registered-again" "A revoked key cannot be registered again",
    NotFound 404 "not-found" "There is nothing here",
    NoWorkspace 404 "no-workspace" "There is no such workspace",
    MethodNotAllowed 405 "method-not-allowed" "The route does not take this method",
    RequestTimeout 408 "request-timeout" "The request took too long to arrive",
    WorkspaceExists 409 "workspace-exists" "The workspace exists already",
    AlreadyRegistered 409 "already-registered" "The key is registered already",
    NotInForce 409 "not-in-force" "The key is not in force",
    CounterReused 409 "counter-reused" "The counter stands for another submission",
    EventExists 409 "event-exists" "An event of this id is recorded already",
    ChainFull 409 "chain-full" "The chain has no seq left",
    TooLarge 413 "too-large" "The body is too large",
    TooManyEvents 413 "too-many-events" "The submission has too many events",
    UnsupportedMediaType 415 "unsupported-media-type" "The body is of another type",
    BodyRefused 422 "body-refused" "The body holds no submission",
    EventRefused 422 "event-refused" "An event breaks a rule of the format",
    NotAlone 422 "not-alone" "A ledger event stands alone in its submission",
    WrongRoute 422 "wrong-route" "The event belongs to another route",
    Internal 500 "internal" "A fault of the service",
    Overloaded 503 "overloaded" "Too much is waiting to be recorded",
    Unavailable 503 "unavailable" "The ledger's database does not answer",
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

    /// The kind of a refusal by the rules of keys: their codes are our slugs.
    fn of_refusal(refusal: &Refusal) -> Self {
        let code = refusal.code();
        let kind = Self::ALL.iter().find(|kind| kind.slug() == code);
        kind.copied().unwrap_or(Self::Internal)
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: Kind,
    detail: String,
    seq: Option<Seq>,
    errors: Vec<Fault>,
}

impl Problem {
    /// A problem without further facts.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), seq: None, errors: Vec::new() }
    }

    fn with(mut self, fault: Fault) -> Self {
        self.errors.push(fault);
        self
    }

    fn at_seq(mut self, seq: Seq) -> Self {
        self.seq = Some(seq);
        self
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, slug, title) = self.kind.row();
        let body = Body {
            r#type: format!("/problems/{slug}"),
            title,
            status,
            detail: &self.detail,
            seq: self.seq.map(Seq::get),
            errors: &self.errors,
        };
        let mut response = (self.kind.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if status == 503 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

impl From<HeadError> for Problem {
    fn from(error: HeadError) -> Self {
        Self::new(Kind::BadHeader, error.to_string()).with(Fault {
            index: None,
            pointer: None,
            header: Some(error.name),
            reason: error.fault.code(),
            detail: error.fault.to_string(),
        })
    }
}

impl From<EventError> for Fault {
    fn from(error: EventError) -> Self {
        let mut detail = error.detail;
        if detail.len() > DETAIL_BYTES {
            let end = detail.floor_char_boundary(DETAIL_BYTES);
            detail.truncate(end);
            detail.push('…');
        }
        Self {
            index: Some(error.index),
            pointer: Some(error.pointer),
            header: None,
            reason: error.reason,
            detail,
        }
    }
}

impl From<accept::Refused> for Problem {
    fn from(refused: accept::Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            accept::Refused::Body { reason, detail } => {
                Self::new(Kind::BodyRefused, detail.clone()).with(Fault {
                    index: None,
                    pointer: None,
                    header: None,
                    reason,
                    detail,
                })
            }
            accept::Refused::TooManyEvents { .. } => Self::new(Kind::TooManyEvents, detail),
            accept::Refused::Events(errors) => Self {
                errors: errors.into_iter().map(Fault::from).collect(),
                ..Self::new(Kind::EventRefused, detail)
            },
            accept::Refused::WrongRoute(_) => Self::new(Kind::WrongRoute, detail),
            accept::Refused::Signature(error, ..) => {
                Self::new(Kind::SignatureInvalid, detail.clone()).with(Fault {
                    index: None,
                    pointer: None,
                    header: Some(accept::head::SIGNATURE),
                    reason: error.code(),
                    detail: error.to_string(),
                })
            }
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Key(refusal) => Self::new(Kind::of_refusal(&refusal), detail),
            Refused::CounterReused { seq, .. } => {
                Self::new(Kind::CounterReused, detail).at_seq(seq)
            }
            Refused::EventExists { index, seq, .. } => {
                let fault = Fault {
                    index: Some(index),
                    pointer: Some("/event_id".to_owned()),
                    header: None,
                    reason: Kind::EventExists.slug(),
                    detail: detail.clone(),
                };
                Self::new(Kind::EventExists, detail).at_seq(seq).with(fault)
            }
            Refused::Clock(_) => Self::new(Kind::ClockBehind, detail),
            Refused::ChainFull => Self::new(Kind::ChainFull, detail),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::Refused(refused) => refused.into(),
            WriteError::Full | WriteError::Closed => {
                Self::new(Kind::Overloaded, format!("{detail}: send the same again later"))
            }
            WriteError::Unknown => Self::new(
                Kind::Unavailable,
                format!("{detail}: send the same bytes again, they are recorded once"),
            ),
        }
    }
}

impl From<StoreError> for Problem {
    /// The error's own text may tell of hosts and roles: it stays in the log.
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the database could not be read");
        Self::new(Kind::Unavailable, "the ledger's database could not be read")
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

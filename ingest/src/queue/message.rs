//! What lies in the queue: a submission as it was received.
//!
//! Here, pure: the value is the body's exact bytes, the key the workspace, and the headers hold the rest
//! (`docs/queue-messages.md`). What is read from the queue is checked as if it had come over HTTP. Not here:
//! where it lies (see [`crate::queue::kafka`]).

use bytes::Bytes;
use ledger::hash::Digest;
use ledger::names::{Origin, Workspace};
use ledger::time::Micros;

use crate::accept::{Form, Head, Limits, Purpose, Submission, accept, head};
use crate::http::error::{Kind, Problem};

/// The version of what this module writes, and the one that it reads.
pub const FORMAT: &str = "1";
/// The header with the version.
pub const FORMAT_HEADER: &str = "tally-format";
/// The header that says how the value holds its payloads: a media type.
pub const FORM_HEADER: &str = "content-type";
/// The header that says when the submission was accepted: microseconds since 1970.
pub const ACCEPTED_HEADER: &str = "tally-accepted-at";
/// The W3C headers that join a caller's trace.
pub const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];
/// The header of a dead letter with the reason: the last part of the problem's type.
pub const REASON_HEADER: &str = "tally-refused";
/// The header of a dead letter with the problem as JSON (RFC 9457).
pub const PROBLEM_HEADER: &str = "tally-problem";
/// The header of a dead letter that says where the message lay: partition and position.
pub const SOURCE_HEADER: &str = "tally-source";

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The workspace, as bytes: a message that others wrote may hold anything.
    pub key: Bytes,
    /// Names and values, in order.
    pub headers: Vec<(String, Bytes)>,
    /// The body of the submission.
    pub value: Bytes,
}

impl Message {
    /// The message of a submission that was accepted.
    pub fn of(submission: &Submission, form: Form, body: Bytes, accepted_at: Micros) -> Self {
        let form = match form {
            Form::Ndjson => NDJSON,
            // A bare payload is never queued: what creates workspaces and sets keys is recorded at once.
            Form::Json | Form::Bare => JSON,
        };
        let headers = [
            (FORMAT_HEADER, FORMAT.to_owned()),
            (FORM_HEADER, form.to_owned()),
            (head::PUBLIC_KEY, submission.public_key().to_string()),
            (head::SIGNATURE, submission.signature().to_string()),
            (head::COUNTER, submission.head.counter.to_string()),
            (ACCEPTED_HEADER, accepted_at.get().to_string()),
        ];
        Self {
            key: Bytes::copy_from_slice(submission.workspace.as_str().as_bytes()),
            headers: headers.map(|(name, value)| (name.to_owned(), Bytes::from(value))).to_vec(),
            value: body,
        }
    }

    /// The same for a submission that has no body of its own, as the custodian signed it.
    pub fn of_payloads(submission: &Submission, accepted_at: Micros) -> Self {
        let mut body = Vec::with_capacity(submission.bytes() + submission.events.len() + 16);
        body.extend_from_slice(br#"{"events":["#);
        for (index, event) in submission.events.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&event.payload);
        }
        body.extend_from_slice(b"]}");
        Self::of(submission, Form::Json, Bytes::from(body), accepted_at)
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The values of a header.
    pub fn values<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m [u8]> + use<'m> {
        let named = move |(found, value): &'m (String, Bytes)| (found == name).then_some(&**value);
        self.headers.iter().filter_map(named)
    }

    /// The one value of a header, as text.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        let (_, first) = values.next()?;
        if values.next().is_some() { None } else { std::str::from_utf8(first).ok() }
    }

    /// The workspace that it names, where a workspace can have that name.
    pub fn workspace(&self) -> Option<Workspace> {
        Workspace::new(std::str::from_utf8(&self.key).ok()?).ok()
    }

    /// When it was accepted, by its own word.
    pub fn accepted_at(&self) -> Option<Micros> {
        Micros::new(self.value(ACCEPTED_HEADER)?.parse().ok()?)
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        self.key.len() + self.value.len() + headers
    }

    /// Tells this message from another in its place: a digest over all of it.
    pub fn digest(&self) -> Digest {
        let headers = self.headers.iter().flat_map(|(name, value)| [name.as_bytes(), value]);
        let parts = [&*self.key, &*self.value].into_iter().chain(headers);
        let mut bytes = Vec::with_capacity(self.bytes());
        for part in parts {
            // Lengths first: no two messages run together to the same bytes.
            bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Digest::of(&bytes)
    }

    /// Reads the submission, and checks every rule that needs no database, its signature too.
    pub fn submission(&self, origin: &Origin, limits: &Limits) -> Result<Submission, Problem> {
        let bad = |detail: String| Problem::new(Kind::BadHeader, detail);
        match self.value(FORMAT_HEADER) {
            Some(FORMAT) => {}
            found => {
                let found = found.unwrap_or("none, or several");
                return Err(bad(format!(
                    "header {FORMAT_HEADER}: this service reads version {FORMAT}, the message has \
                     {found:?}"
                )));
            }
        }
        let workspace = self.workspace().ok_or_else(|| {
            Problem::new(Kind::NoWorkspace, "the key of the message names no workspace")
        })?;
        let form = match self.value(FORM_HEADER) {
            Some(NDJSON) => Form::Ndjson,
            Some(JSON) => Form::Json,
            _ => {
                let detail = format!("header {FORM_HEADER}: {NDJSON} or {JSON} is expected");
                return Err(Problem::new(Kind::UnsupportedMediaType, detail));
            }
        };
        let most = limits.max_body_bytes();
        if self.value.len() > most {
            let detail = format!("the message has more than {most} bytes");
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        let head = Head::read(|name| self.values(name))?;
        let purpose = Purpose::Record(workspace);
        Ok(accept(origin, &purpose, head, form, &self.value, limits)?)
    }
}

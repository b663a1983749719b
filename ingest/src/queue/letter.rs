//! Dead letters: messages that were not recorded, each with the reason.
//!
//! Here: what is kept of one, and what goes to the dead-letter topic. Not here: where they are kept (see
//! [`crate::store::queue`]).

use std::fmt::Write as _;

use bytes::Bytes;
use ledger::hash::Digest;
use ledger::time::Micros;
use serde::{Deserialize, Serialize};

use super::message::{PROBLEM_HEADER, REASON_HEADER, SOURCE_HEADER};
use super::{Message, Position};
use crate::http::error::Problem;

/// Longest value of which the bytes are kept: more than the body of any submission that this service
/// takes by default, and a bound on what a topic that others write to puts into the database.
const KEPT_BYTES: usize = 8 * 1024 * 1024;
/// Longest header, and most of them, that are kept.
const HEADER_BYTES: usize = 4_096;
const HEADERS: usize = 32;

/// A message that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it lay.
    pub position: Position,
    /// The workspace, where it names one.
    pub workspace: Option<String>,
    /// The submission, where it holds one that its key signed.
    pub submission: Option<Digest>,
    /// When it was refused.
    pub refused_at: Micros,
    /// The last part of the problem's type.
    pub kind: &'static str,
    /// The problem as JSON (RFC 9457).
    pub problem: String,
    /// Its headers as JSON: names and values, in order; a value that is not UTF-8 in hex.
    pub headers: String,
    /// Its value; none where that is too long to be kept.
    pub value: Option<Bytes>,
    /// The length of its value, in bytes.
    pub value_bytes: usize,
    /// The digest of its value.
    pub value_sha256: Digest,
}

/// A header as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Text(String, String),
    Hex { name: String, hex: String },
}

impl Letter {
    /// The letter of a message that was refused.
    pub fn new(
        position: Position,
        message: &Message,
        submission: Option<Digest>,
        problem: &Problem,
        refused_at: Micros,
    ) -> Self {
        let value = &message.value;
        Self {
            position,
            workspace: message.workspace().map(|workspace| workspace.to_string()),
            submission,
            refused_at,
            kind: problem.kind().slug(),
            problem: problem.to_json(),
            headers: headers_json(message),
            value: (value.len() <= KEPT_BYTES).then(|| value.clone()),
            value_bytes: value.len(),
            value_sha256: Digest::of(value),
        }
    }
}

fn headers_json(message: &Message) -> String {
    let kept: Vec<Kept> = message
        .headers
        .iter()
        .take(HEADERS)
        .map(|(name, value)| {
            let name = shortened(name);
            let value = value.get(..HEADER_BYTES).unwrap_or(value);
            match std::str::from_utf8(value) {
                // Postgres has no text with a NUL.
                Ok(text) if !text.contains('\0') => Kept::Text(name, text.to_owned()),
                _ => Kept::Hex { name, hex: hex(value) },
            }
        })
        .collect();
    serde_json::to_string(&kept).unwrap_or_else(|_| "[]".to_owned())
}

fn shortened(name: &str) -> String {
    name.chars().filter(|c| *c != '\0').take(256).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Only a writer that fails ends this with an error, and a string never does.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Bytes> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    Some(digits?.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit)).collect())
}

/// The headers of a message, as [`Letter::headers`] keeps them; `None` where that is no such text.
pub fn read_headers(json: &str) -> Option<Vec<(String, Bytes)>> {
    let kept: Vec<Kept> = serde_json::from_str(json).ok()?;
    kept.into_iter()
        .map(|kept| match kept {
            Kept::Text(name, text) => Some((name, Bytes::from(text))),
            Kept::Hex { name, hex } => Some((name, unhex(&hex)?)),
        })
        .collect()
}

/// A letter as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLetter {
    /// Its number.
    pub id: i64,
    /// The queue that it lay in.
    pub queue: String,
    /// The partition.
    pub partition: i32,
    /// Where in that.
    pub position: Position,
    /// The workspace, where it names one.
    pub workspace: Option<String>,
    /// The submission, where it holds one that its key signed.
    pub submission: Option<Digest>,
    /// When it was refused.
    pub refused_at: Micros,
    /// The last part of the problem's type.
    pub kind: String,
    /// The problem as JSON.
    pub problem: String,
    /// Its headers as JSON.
    pub headers: String,
    /// Its value; none where that was too long to be kept.
    pub value: Option<Bytes>,
    /// The length of its value, in bytes.
    pub value_bytes: i64,
    /// The digest of its value.
    pub value_sha256: Digest,
    /// When it went to the dead-letter topic.
    pub sent_at: Option<Micros>,
    /// When it was last put on the queue again.
    pub retried_at: Option<Micros>,
}

impl KeptLetter {
    /// The message as it was; `None` where its value was not kept, or its row is none of ours.
    pub fn message(&self) -> Option<Message> {
        let key = Bytes::from(self.workspace.clone().unwrap_or_default());
        Some(Message { key, headers: read_headers(&self.headers)?, value: self.value.clone()? })
    }

    /// The message with the reason, for the dead-letter topic. One whose value was not kept goes there
    /// empty: it still lies where its header says.
    pub fn refused(&self) -> Option<Message> {
        let message = Message {
            key: Bytes::from(self.workspace.clone().unwrap_or_default()),
            headers: read_headers(&self.headers)?,
            value: self.value.clone().unwrap_or_default(),
        };
        let source = format!("{}/{}/{}", self.queue, self.partition, self.position);
        Some(
            message
                .with(REASON_HEADER, self.kind.clone())
                .with(PROBLEM_HEADER, self.problem.clone())
                .with(SOURCE_HEADER, source),
        )
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
    use super::*;
    use crate::http::error::Kind;

    fn message() -> Message {
        let bare = Message { key: "acme".into(), headers: Vec::new(), value: "{}".into() };
        bare.with("plain", "text").with("bytes", vec![0, 255, 16]).with("nul", "a\0b")
    }

    #[test]
    fn headers_come_back_as_they_were() {
        let message = message();
        assert_eq!(read_headers(&headers_json(&message)), Some(message.headers));
        assert_eq!(read_headers("{}"), None);
        assert_eq!(read_headers(r#"[{"name":"a","hex":"zz"}]"#), None);
    }

    #[test]
    fn a_letter_says_what_was_wrong_and_keeps_the_message_within_bounds() {
        let at = Position { major: 4, minor: 0 };
        let problem = Problem::new(Kind::WrongRoute, "elsewhere");
        let letter = Letter::new(at, &message(), None, &problem, Micros::EPOCH);
        assert_eq!((letter.kind, letter.workspace.as_deref()), ("wrong-route", Some("acme")));
        let told: serde_json::Value = serde_json::from_str(&letter.problem).unwrap();
        assert_eq!((&told["status"], &told["detail"]), (&422.into(), &"elsewhere".into()));
        assert_eq!(letter.value.as_deref(), Some(b"{}".as_slice()));

        let long = Message { value: vec![b' '; KEPT_BYTES + 1].into(), ..message() };
        let letter = Letter::new(at, &long, None, &problem, Micros::EPOCH);
        assert_eq!((letter.value, letter.value_bytes), (None, KEPT_BYTES + 1));
        assert_eq!(letter.value_sha256, Digest::of(&long.value));
    }
}

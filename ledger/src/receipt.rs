//! Receipts: what an agent holds against the ledger (FORMAT section 7), and signed heads.

use crate::hash::Digest;
use crate::names::{Origin, Seq, Workspace};
use crate::note::{Body, BodyError, Lines};
use crate::time::Micros;

const KIND: &str = "tallystick/receipt/v1";
const HEAD_KIND: &str = "tallystick/head/v1";

/// The body of a receipt, made when a submission has been committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The ledger.
    pub origin: Origin,
    /// The workspace.
    pub workspace: Workspace,
    /// The submission that was recorded.
    pub submission: Digest,
    /// Seq of its first event.
    pub first_seq: Seq,
    /// Seq of its last event.
    pub last_seq: Seq,
    /// When it was recorded.
    pub recorded_at: Micros,
    /// `link(last_seq)`: pins the whole history up to this submission.
    pub link: Digest,
}

impl Receipt {
    /// The text to be signed.
    pub fn to_body(&self) -> String {
        Body::of(KIND)
            .line("origin", &self.origin)
            .line("workspace", &self.workspace)
            .line("submission", self.submission)
            .line("first_seq", self.first_seq)
            .line("last_seq", self.last_seq)
            .line("recorded_at", self.recorded_at)
            .line("link", self.link)
            .finish()
    }

    /// Reads the body of a note.
    pub fn parse(body: &str) -> Result<Self, BodyError> {
        let mut lines = Lines::of(KIND, body)?;
        let receipt = Self {
            origin: lines.value("origin", Origin::new)?,
            workspace: lines.value("workspace", Workspace::new)?,
            submission: lines.value("submission", Digest::parse)?,
            first_seq: seq(&mut lines, "first_seq")?,
            last_seq: seq(&mut lines, "last_seq")?,
            recorded_at: lines.value("recorded_at", Micros::parse)?,
            link: lines.value("link", Digest::parse)?,
        };
        lines.end()?;
        if receipt.last_seq < receipt.first_seq {
            return Err(BodyError::Contradiction("last_seq is below first_seq"));
        }
        Ok(receipt)
    }
}

/// The body of a signed head: the newest link of a workspace, as the service tells it.
///
/// Not a note of FORMAT: it is signed by the receipt key and promises no more than a receipt does
/// (`docs/decisions/0004-head-note.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadNote {
    /// The ledger.
    pub origin: Origin,
    /// The workspace.
    pub workspace: Workspace,
    /// Seq of the newest entry.
    pub last_seq: Seq,
    /// When it was recorded.
    pub recorded_at: Micros,
    /// `link(last_seq)`.
    pub link: Digest,
}

impl HeadNote {
    /// The text to be signed.
    pub fn to_body(&self) -> String {
        Body::of(HEAD_KIND)
            .line("origin", &self.origin)
            .line("workspace", &self.workspace)
            .line("last_seq", self.last_seq)
            .line("recorded_at", self.recorded_at)
            .line("link", self.link)
            .finish()
    }

    /// Reads the body of a note.
    pub fn parse(body: &str) -> Result<Self, BodyError> {
        let mut lines = Lines::of(HEAD_KIND, body)?;
        let head = Self {
            origin: lines.value("origin", Origin::new)?,
            workspace: lines.value("workspace", Workspace::new)?,
            last_seq: seq(&mut lines, "last_seq")?,
            recorded_at: lines.value("recorded_at", Micros::parse)?,
            link: lines.value("link", Digest::parse)?,
        };
        lines.end()?;
        Ok(head)
    }
}

/// The value of the next line as a seq.
pub(crate) fn seq(lines: &mut Lines<'_>, name: &'static str) -> Result<Seq, BodyError> {
    lines.value(name, |text| {
        crate::note::plain_number(text)
            .and_then(Seq::new)
            .ok_or("a number in plain digits, from 1 to 2^63-1, is expected")
    })
}

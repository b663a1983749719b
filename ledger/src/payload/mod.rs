//! The event payload: the exact bytes that an agent sent, and what they say (FORMAT section 2).
//!
//! Here: one scan that either reads every member of a payload or says which rule it breaks, where,
//! and how to mend it. Not here: what the `context` of a `ledger.` event holds (see
//! [`crate::chain`]), and NDJSON lines (a payload has no line end around it).
//!
//! In order: `scan` (the JSON grammar), `text` and `number` (its scalars), `time` (`occurred_at`),
//! `value` (what members take), `draft` (the table of members), `event` (what a type needs).

mod draft;
mod error;
mod event;
mod number;
mod scan;
mod text;
mod time;
mod value;

pub use error::{PayloadError, Reason};
pub use event::Event;
pub use number::{Money, MoneyError};
pub use time::occurred_at;

use crate::limits::{PAYLOAD_BYTES_CEILING, PAYLOAD_BYTES_DEFAULT};
use crate::names::Workspace;

/// The rules that differ from ledger to ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Largest payload accepted, in bytes; more than [`PAYLOAD_BYTES_CEILING`] counts as that.
    pub max_bytes: usize,
}

impl Rules {
    /// The widest rules that any ledger may have: what a verifier checks by.
    pub const fn ceiling() -> Self {
        Self { max_bytes: PAYLOAD_BYTES_CEILING }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { max_bytes: PAYLOAD_BYTES_DEFAULT }
    }
}

/// Reads a payload that was submitted to `workspace`, or says which rule it breaks.
///
/// Where it breaks several, the first of these is named: too long, not opened by `{`, not UTF-8;
/// then whatever comes first in the bytes, from the syntax to the value of a member; then what
/// stands after the object; then a member that is missing.
///
/// Time and memory are linear in the bytes, times the logarithm of the members of one object.
pub fn scan<'a>(
    bytes: &'a [u8],
    workspace: &Workspace,
    rules: &Rules,
) -> Result<Event<'a>, PayloadError> {
    let max = rules.max_bytes.min(PAYLOAD_BYTES_CEILING);
    if bytes.len() > max {
        return Err(PayloadError::new(Reason::TooLong { max, found: bytes.len() }, max));
    }
    match bytes {
        [b'{', ..] => {}
        [0xef, 0xbb, 0xbf, ..] => return Err(PayloadError::new(Reason::ByteOrderMark, 0)),
        [b' ' | b'\t' | b'\n' | b'\r', ..] => {
            return Err(PayloadError::new(Reason::WhiteSpaceAround, 0));
        }
        _ => return Err(PayloadError::new(Reason::NotAnObject, 0)),
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| PayloadError::new(Reason::NotUtf8, error.valid_up_to()))?;
    event::read(text, workspace)
}

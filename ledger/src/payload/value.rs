//! The values that the members of an event take.
//!
//! Here: one kind of value an arm. Not here: which member takes which (see `draft`).

use std::borrow::Cow;

use super::number::{Money, count};
use super::scan::Scanner;
use super::time::occurred_at;
use super::{PayloadError, Reason};
use crate::limits::{EVENT_TYPE_BYTES, TEXT_BYTES};
use crate::names::{EventId, Workspace};
use crate::time::Micros;

/// The event types that start with `ledger.` (FORMAT sections 6 and 10).
const LEDGER_TYPES: [&str; 4] = [
    "ledger.workspace_created",
    "ledger.key_registered",
    "ledger.key_revoked",
    "ledger.payload_erased",
];

/// Where the value of a member goes, and by that what it takes.
pub(super) enum Slot<'d, 'a> {
    Uuid(&'d mut Option<EventId>),
    Type(&'d mut Option<Cow<'a, str>>),
    Time(&'d mut Option<Micros>),
    Workspace(&'d mut Option<()>),
    Text(&'d mut Option<Cow<'a, str>>),
    Hex(usize, &'d mut Option<Cow<'a, str>>),
    Count(&'d mut Option<i64>),
    Flag(&'d mut Option<bool>),
    Money(&'d mut Option<Money>),
    Object(&'d mut Option<&'a [u8]>),
}

impl<'a> Slot<'_, 'a> {
    /// Reads the value that the cursor stands at.
    pub(super) fn read(
        self,
        scanner: &mut Scanner<'a>,
        workspace: &Workspace,
    ) -> Result<(), PayloadError> {
        let at = scanner.at;
        let fail = |reason| PayloadError::new(reason, at);
        match self {
            Self::Uuid(slot) => {
                let id = EventId::parse(&text(scanner)?);
                *slot = Some(id.map_err(|_| fail(Reason::BadUuid))?);
            }
            Self::Type(slot) => *slot = Some(event_type(text(scanner)?).map_err(fail)?),
            Self::Time(slot) => *slot = Some(occurred_at(&text(scanner)?).map_err(fail)?),
            Self::Workspace(slot) => {
                if text(scanner)? != workspace.as_str() {
                    return Err(fail(Reason::WrongWorkspace { submitted_to: workspace.clone() }));
                }
                *slot = Some(());
            }
            Self::Text(slot) => *slot = Some(short(text(scanner)?).map_err(fail)?),
            Self::Hex(digits, slot) => *slot = Some(hex(digits, text(scanner)?).map_err(fail)?),
            Self::Count(slot) => {
                if !matches!(scanner.peek(), Some(b'-' | b'0'..=b'9')) {
                    return Err(other_type(scanner, Reason::NotAnInteger));
                }
                *slot = Some(count(scanner.number()?).map_err(fail)?);
            }
            Self::Flag(slot) => {
                *slot = match (scanner.word("true"), scanner.word("false")) {
                    (true, _) => Some(true),
                    (_, true) => Some(false),
                    _ => {
                        let reason = Reason::WrongType { expected: "true or false" };
                        return Err(other_type(scanner, reason));
                    }
                }
            }
            Self::Money(slot) => {
                let number = match scanner.peek() {
                    Some(b'"') => scanner.string()?,
                    Some(b'-' | b'0'..=b'9') => Cow::Borrowed(scanner.number()?),
                    _ => {
                        let reason = Reason::WrongType { expected: "a number, or a text of one" };
                        return Err(other_type(scanner, reason));
                    }
                };
                *slot = Some(Money::parse_json_number(&number).map_err(|e| fail(e.into()))?);
            }
            Self::Object(slot) => {
                if scanner.peek() != Some(b'{') {
                    return Err(other_type(scanner, Reason::WrongType { expected: "an object" }));
                }
                // The payload is level 1.
                scanner.skip_object(2)?;
                *slot = Some(scanner.since(at).as_bytes());
            }
        }
        Ok(())
    }
}

/// The error where a value of another type stands, or none at all.
#[cold]
fn other_type(scanner: &Scanner<'_>, reason: Reason) -> PayloadError {
    match scanner.peek() {
        Some(b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b't' | b'f') => {
            PayloadError::new(reason, scanner.at)
        }
        _ => scanner.unexpected("a value"),
    }
}

fn text<'a>(scanner: &mut Scanner<'a>) -> Result<Cow<'a, str>, PayloadError> {
    if scanner.peek() == Some(b'"') {
        return scanner.string();
    }
    Err(other_type(scanner, Reason::WrongType { expected: "text" }))
}

fn short(text: Cow<'_, str>) -> Result<Cow<'_, str>, Reason> {
    if text.len() > TEXT_BYTES {
        return Err(Reason::TextTooLong { max: TEXT_BYTES, found: text.len() });
    }
    Ok(text)
}

fn hex(digits: usize, text: Cow<'_, str>) -> Result<Cow<'_, str>, Reason> {
    if text.len() != digits || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Reason::BadHex { digits });
    }
    Ok(text)
}

fn event_type(name: Cow<'_, str>) -> Result<Cow<'_, str>, Reason> {
    let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.');
    if name.is_empty() || name.len() > EVENT_TYPE_BYTES || !name.bytes().all(allowed) {
        return Err(Reason::BadEventType);
    }
    if name.starts_with("ledger.") && !LEDGER_TYPES.contains(&&*name) {
        return Err(Reason::ReservedType);
    }
    Ok(name)
}

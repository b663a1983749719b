//! Why a payload is refused: which rule, where, and how to mend it.
//!
//! Here: the reasons and their stable codes. Not here: status codes and the response body that
//! carries them (see `ingest`).

use std::fmt;

use crate::names::Workspace;

/// Longest part of a pointer that stands for one member name, in bytes. A hostile name of a
/// megabyte must not come back in a response or a log line.
const SEGMENT_BYTES: usize = 64;

/// A payload that is refused: the rule that it breaks, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError {
    /// The rule.
    pub reason: Reason,
    /// The member, as a JSON pointer (RFC 6901); empty for the payload as a whole. Of a name that
    /// is longer than 64 bytes only the first ones stand here, with `…` after them.
    pub pointer: String,
    /// The byte of the payload at which the rule is broken.
    pub offset: usize,
}

/// The rule of FORMAT section 2 that a payload breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// More bytes than the ledger takes.
    #[error("the payload has {found} bytes, at most {max} are taken")]
    TooLong {
        /// Most bytes the ledger takes.
        max: usize,
        /// Bytes the payload has.
        found: usize,
    },
    /// A byte-order mark before the object.
    #[error("a byte-order mark stands before the object")]
    ByteOrderMark,
    /// White space before or after the object.
    #[error("white space stands before or after the object")]
    WhiteSpaceAround,
    /// The first byte is not `{`.
    #[error("the payload is not a JSON object")]
    NotAnObject,
    /// Something stands after the object.
    #[error("bytes follow the object")]
    TrailingBytes,
    /// Not UTF-8: also overlong forms, and surrogates written as UTF-8.
    #[error("the bytes are not UTF-8")]
    NotUtf8,
    /// The bytes end inside the object.
    #[error("the payload ends inside the object")]
    CutOff,
    /// Not the JSON grammar.
    #[error("this is not JSON: {expected} expected")]
    NotJson {
        /// What the grammar expects here.
        expected: &'static str,
    },
    /// Not the JSON grammar of numbers.
    #[error("this is not a JSON number")]
    BadNumber,
    /// A backslash with something after it that JSON does not know.
    #[error("this is not a JSON escape")]
    BadEscape,
    /// A control character that is not escaped.
    #[error("the control character {byte:#04x} stands in a string without an escape")]
    ControlCharacter {
        /// The character.
        byte: u8,
    },
    /// U+0000, as it is or escaped.
    #[error("a string holds U+0000")]
    Nul,
    /// Half of a surrogate pair.
    #[error("a string holds half of a surrogate pair")]
    LoneSurrogate,
    /// More levels of objects and arrays than a payload may have.
    #[error("objects and arrays are nested deeper than {max} levels")]
    TooDeep {
        /// Most levels; the payload itself is the first.
        max: usize,
    },
    /// An object names a member twice.
    #[error("the object has this member twice")]
    DuplicateMember,
    /// A top-level member that the format does not know.
    #[error("an event has no member of this name")]
    UnknownMember,
    /// A member that is needed and is absent or null.
    #[error("{needed_by} needs the member `{member}`")]
    MissingMember {
        /// The member.
        member: &'static str,
        /// Who needs it: every event, or those of one type.
        needed_by: &'static str,
    },
    /// A value of another JSON type.
    #[error("{expected} expected")]
    WrongType {
        /// What the member takes.
        expected: &'static str,
    },
    /// A text member that is too long.
    #[error("the text has {found} bytes, at most {max} are taken")]
    TextTooLong {
        /// Most bytes.
        max: usize,
        /// Bytes it has, once unescaped.
        found: usize,
    },
    /// Not a UUID of the 8-4-4-4-12 form, or the nil UUID.
    #[error("this is not the UUID of an event")]
    BadUuid,
    /// Not a time that `occurred_at` takes.
    #[error("this is not a time: {0}")]
    BadTime(&'static str),
    /// Not the hex of a trace or span.
    #[error("{digits} lower-case hex digits expected")]
    BadHex {
        /// How many digits.
        digits: usize,
    },
    /// Not an integer in plain digits.
    #[error("this is not an integer in plain digits")]
    NotAnInteger,
    /// An integer below 0 or above 2^63-1.
    #[error("the integer is not within 0 to 2^63-1")]
    OutOfRange,
    /// Not an amount of money.
    #[error(transparent)]
    BadMoney(#[from] super::MoneyError),
    /// The event belongs to another workspace.
    #[error("the event was submitted to workspace `{submitted_to}` and names another")]
    WrongWorkspace {
        /// The workspace that it was submitted to.
        submitted_to: Workspace,
    },
    /// Not a name that an event type may have.
    #[error("this is not the name of an event type")]
    BadEventType,
    /// A name starting with `ledger.` that the format does not know.
    #[error("event types that start with `ledger.` are reserved")]
    ReservedType,
    /// A `tool_call` with a status that is none.
    #[error("this is not the status of a tool call")]
    BadStatus,
}

impl Reason {
    /// A code that stays the same from release to release, for clients to branch on.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too-long",
            Self::ByteOrderMark => "byte-order-mark",
            Self::WhiteSpaceAround => "white-space-around",
            Self::NotAnObject => "not-an-object",
            Self::TrailingBytes => "trailing-bytes",
            Self::NotUtf8 => "not-utf8",
            Self::CutOff => "cut-off",
            Self::NotJson { .. } => "not-json",
            Self::BadNumber => "bad-number",
            Self::BadEscape => "bad-escape",
            Self::ControlCharacter { .. } => "control-character",
            Self::Nul => "nul",
            Self::LoneSurrogate => "lone-surrogate",
            Self::TooDeep { .. } => "too-deep",
            Self::DuplicateMember => "duplicate-member",
            Self::UnknownMember => "unknown-member",
            Self::MissingMember { .. } => "missing-member",
            Self::WrongType { .. } => "wrong-type",
            Self::TextTooLong { .. } => "text-too-long",
            Self::BadUuid => "bad-uuid",
            Self::BadTime(_) => "bad-time",
            Self::BadHex { .. } => "bad-hex",
            Self::NotAnInteger => "not-an-integer",
            Self::OutOfRange => "out-of-range",
            Self::BadMoney(_) => "bad-money",
            Self::WrongWorkspace { .. } => "wrong-workspace",
            Self::BadEventType => "bad-event-type",
            Self::ReservedType => "reserved-type",
            Self::BadStatus => "bad-status",
        }
    }

    /// How to mend the payload.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "keep large content elsewhere and its digest in `context`",
            Self::ByteOrderMark => "write plain UTF-8, without U+FEFF at the start",
            Self::WhiteSpaceAround => "start with `{`, end with `}`, nothing around them",
            Self::NotAnObject => "send one JSON object, its first byte `{`",
            Self::TrailingBytes => "end the payload with the object's `}`",
            Self::NotUtf8 => "encode the payload as UTF-8",
            Self::CutOff => "send the payload whole",
            Self::NotJson { .. } => "write JSON as RFC 8259 has it",
            Self::BadNumber => "write numbers like 0, -1, 2.5 or 1e-6",
            Self::BadEscape => "use \\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u and four hex digits",
            Self::ControlCharacter { .. } => "escape it, such as \\n or \\u001b",
            Self::Nul => "leave U+0000 out",
            Self::LoneSurrogate => "write both halves, or the character itself",
            Self::TooDeep { .. } => "flatten the content, or send it as text",
            Self::DuplicateMember => "keep one of the two",
            Self::UnknownMember => "check the spelling; free-form data goes in `context`",
            Self::MissingMember { .. } => "add it; null counts as absent",
            Self::WrongType { .. } => "send that type, or leave the member out",
            Self::TextTooLong { .. } => "shorten it, or put the text in `context`",
            Self::BadUuid => "write 8-4-4-4-12 hex digits, not all of them 0",
            Self::BadTime(_) => "write RFC 3339, such as 2026-11-23T16:00:00.123456Z",
            Self::BadHex { .. } => "write exactly so many of 0-9 a-f",
            Self::NotAnInteger => "write a number such as 42: no sign, point, exponent or quotes",
            Self::OutOfRange => "send a count from 0 to 9223372036854775807, or leave it out",
            Self::BadMoney(_) => {
                "write an amount such as 0.0000025: 9 digits before the point, 9 after"
            }
            Self::WrongWorkspace { .. } => "submit the event to the workspace that it names",
            Self::BadEventType => "write 1 to 64 of a-z 0-9 _ .",
            Self::ReservedType => "choose a name that does not start with `ledger.`",
            Self::BadStatus => "write success, failure or timeout",
        }
    }
}

impl PayloadError {
    #[cold]
    pub(super) const fn new(reason: Reason, offset: usize) -> Self {
        Self { reason, pointer: String::new(), offset }
    }

    /// The same error, seen from the object or array that holds the member `segment`.
    #[cold]
    pub(super) fn under(mut self, segment: &str) -> Self {
        let mut path = String::from("/");
        for c in segment.chars() {
            if path.len() > SEGMENT_BYTES {
                path.push('…');
                break;
            }
            match c {
                '~' => path.push_str("~0"),
                '/' => path.push_str("~1"),
                _ => path.push(c),
            }
        }
        self.pointer.insert_str(0, &path);
        self
    }
}

impl fmt::Display for PayloadError {
    /// What, where, and how to mend it. The pointer is escaped: a name may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, pointer, offset } = self;
        write!(f, "{reason} (")?;
        if !pointer.is_empty() {
            write!(f, "at {}, ", pointer.escape_debug())?;
        }
        write!(f, "byte {offset}): {}", reason.mend())
    }
}

// No source: the reason is in the text already.
impl std::error::Error for PayloadError {}

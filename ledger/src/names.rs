//! Names: the ledger's origin, a workspace, an event's id, a sequence number, a rollup.
//!
//! Here: what a name may hold, checked once when it enters. Not here: keys (see [`crate::key`]).

use std::fmt;

use crate::limits::{ORIGIN_BYTES, ROLLUP_BYTES, WORKSPACE_BYTES};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty or too long.
    #[error("a name of kind {kind} has 1 to {max} bytes, this has {found}")]
    Length {
        /// What the name was to name.
        kind: &'static str,
        /// Most bytes it may have.
        max: usize,
        /// Bytes it has.
        found: usize,
    },
    /// A character that such a name may not hold.
    #[error("a name of kind {kind} may not hold {found:?} (at byte {at}); allowed: {allowed}")]
    Character {
        /// What the name was to name.
        kind: &'static str,
        /// The character.
        found: char,
        /// Its byte offset.
        at: usize,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// An origin with an empty, `.` or `..` path segment.
    #[error("an origin has no empty path segment, and none that is `.` or `..`")]
    Segment,
    /// Not a UUID in the 8-4-4-4-12 form, or the nil UUID.
    #[error("not a UUID of the form 8-4-4-4-12 that is not nil")]
    EventId,
}

/// The name of one ledger, e.g. `ledger.example.com/prod` (FORMAT section 1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// Checks a text and takes it as an origin.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let allowed = "a-z 0-9 . - _ /";
        check(
            "origin",
            text,
            ORIGIN_BYTES,
            allowed,
            |c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_' | '/'),
        )?;
        if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(NameError::Segment);
        }
        Ok(Self(text.to_owned()))
    }

    /// The origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a workspace; safe as a path segment as it stands (FORMAT section 1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workspace(String);

impl Workspace {
    /// Checks a text and takes it as a workspace name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let allowed = "a-z 0-9 . - _, starting with a letter or a digit";
        let kind = "workspace";
        check(
            kind,
            text,
            WORKSPACE_BYTES,
            allowed,
            |c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_'),
        )?;
        match text.chars().next() {
            Some(first @ ('.' | '-' | '_')) => {
                Err(NameError::Character { kind, found: first, at: 0, allowed })
            }
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a rollup, or of a column of one; safe as a path segment and in SQL as it stands (FORMAT section 11).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RollupName(String);

impl RollupName {
    /// Checks a text and takes it as the name of a rollup.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let (kind, allowed) = ("rollup", "a-z 0-9 _, starting with a letter");
        check(kind, text, ROLLUP_BYTES, allowed, |c| matches!(c, 'a'..='z' | '0'..='9' | '_'))?;
        match text.chars().next() {
            Some(found @ ('0'..='9' | '_')) => {
                Err(NameError::Character { kind, found, at: 0, allowed })
            }
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RollupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(
    kind: &'static str,
    text: &str,
    max: usize,
    allowed: &'static str,
    ok: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length { kind, max, found: text.len() });
    }
    match text.char_indices().find(|(_, c)| !ok(*c)) {
        Some((at, found)) => Err(NameError::Character { kind, found, at, allowed }),
        None => Ok(()),
    }
}

/// The 16 bytes of an event's UUID, never nil (FORMAT section 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// Takes the bytes of a UUID; the nil UUID is refused.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, NameError> {
        if bytes == [0; 16] { Err(NameError::EventId) } else { Ok(Self(bytes)) }
    }

    /// Reads the 8-4-4-4-12 form, in either case, and no other.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text: &[u8; 36] = text.as_bytes().try_into().map_err(|_| NameError::EventId)?;
        let mut bytes = [0_u8; 16];
        let mut slots = bytes.iter_mut();
        for (group, width) in text.split(|b| *b == b'-').zip([8_usize, 4, 4, 4, 12]) {
            if group.len() != width {
                return Err(NameError::EventId);
            }
            for (pair, slot) in group.chunks_exact(2).zip(&mut slots) {
                *slot = crate::hash::hex_pair(pair, true).ok_or(NameError::EventId)?;
            }
        }
        if slots.next().is_some() {
            return Err(NameError::EventId);
        }
        Self::from_bytes(bytes)
    }

    /// The 16 bytes, as they stand in an entry.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for EventId {
    /// The 8-4-4-4-12 form in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The place of an entry in its workspace's chain, counted from 1 with no gap (FORMAT section 4).
///
/// At most 2^63-1, so that databases and Parquet readers without unsigned integers can hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// The first entry of every chain.
    pub const FIRST: Self = Self(1);

    /// Takes a number from 1 to 2^63-1.
    pub const fn new(seq: u64) -> Option<Self> {
        if seq == 0 || seq > i64::MAX.unsigned_abs() { None } else { Some(Self(seq)) }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The seq after this one; `None` when the chain is full.
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// The seq `n` places further; `None` when the chain is full.
    pub fn checked_add(self, n: u64) -> Option<Self> {
        self.0.checked_add(n).and_then(Self::new)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

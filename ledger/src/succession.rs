//! Notes by which the seal key changes (FORMAT section 11): a succession, and the revocation of a
//! stolen key with its cut-off.
//!
//! Here: what they say. Not here: which key is in force where (see [`crate::line`]).

use std::fmt;

use crate::hash::Digest;
use crate::limits::TEXT_BYTES;
use crate::names::Origin;
use crate::note::{Body, BodyError, Lines, VerifierKey};

/// The first line of a succession's body.
pub const SUCCESSION: &str = "tallystick/succession/v1";
/// The first line of a revocation's body.
pub const REVOCATION: &str = "tallystick/revocation/v1";

/// The body of a succession: from the next leaf on, another seal key is in force. Signed by the old
/// key and by the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// The ledger.
    pub origin: Origin,
    /// The key in force up to this leaf.
    pub old_key: VerifierKey,
    /// The key in force from the next leaf on.
    pub new_key: VerifierKey,
    /// Why, in words.
    pub reason: String,
}

/// The body of a revocation: others hold, or may hold, a seal key. What it has signed counts in the
/// log up to the cut-off alone. Signed by `new_key`: the revoked key proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The ledger.
    pub origin: Origin,
    /// The key that is revoked.
    pub key: VerifierKey,
    /// The cut-off.
    pub cutoff: Cutoff,
    /// The key in force from here on: the one that is in force already, where the revoked key is an
    /// earlier one; else a new one, which signs this leaf.
    pub new_key: VerifierKey,
    /// Why, in words.
    pub reason: String,
}

/// Up to where a revoked key is believed: the first leaves of the one log that has this root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoff {
    /// Leaves before the cut-off.
    pub size: u64,
    /// Merkle root over them.
    pub root: Digest,
}

impl fmt::Display for Cutoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leaves with root {}", self.size, self.root)
    }
}

/// A reason in words: it has one spelling, so no white space around it.
pub(crate) fn reason(text: &str) -> Result<String, &'static str> {
    if text.len() > TEXT_BYTES {
        Err("a reason has at most 1024 bytes")
    } else if text.trim() != text {
        Err("a reason has no white space around it")
    } else {
        Ok(text.to_owned())
    }
}

/// Both keys are this ledger's, and they are two.
fn check_keys(origin: &Origin, old: &VerifierKey, new: &VerifierKey) -> Result<(), BodyError> {
    if [old, new].iter().any(|key| key.name() != origin.as_str()) {
        Err(BodyError::Contradiction("a seal key has the ledger's origin as its name"))
    } else if old == new {
        Err(BodyError::Contradiction("a key does not take its own place"))
    } else {
        Ok(())
    }
}

impl Succession {
    /// The text to be signed.
    pub fn to_body(&self) -> String {
        Body::of(SUCCESSION)
            .line("origin", &self.origin)
            .line("old_key", &self.old_key)
            .line("new_key", &self.new_key)
            .line("reason", &self.reason)
            .finish()
    }

    /// Reads the body of a note.
    pub fn parse(body: &str) -> Result<Self, BodyError> {
        let mut lines = Lines::of(SUCCESSION, body)?;
        let note = Self {
            origin: lines.value("origin", Origin::new)?,
            old_key: lines.value("old_key", str::parse)?,
            new_key: lines.value("new_key", str::parse)?,
            reason: lines.value("reason", reason)?,
        };
        lines.end()?;
        check_keys(&note.origin, &note.old_key, &note.new_key)?;
        Ok(note)
    }
}

impl Revocation {
    /// The text to be signed.
    pub fn to_body(&self) -> String {
        Body::of(REVOCATION)
            .line("origin", &self.origin)
            .line("key", &self.key)
            .line("size", self.cutoff.size)
            .line("root", self.cutoff.root)
            .line("new_key", &self.new_key)
            .line("reason", &self.reason)
            .finish()
    }

    /// Reads the body of a note.
    pub fn parse(body: &str) -> Result<Self, BodyError> {
        let mut lines = Lines::of(REVOCATION, body)?;
        let note = Self {
            origin: lines.value("origin", Origin::new)?,
            key: lines.value("key", str::parse)?,
            cutoff: Cutoff {
                size: lines.number("size")?,
                root: lines.value("root", Digest::parse)?,
            },
            new_key: lines.value("new_key", str::parse)?,
            reason: lines.value("reason", reason)?,
        };
        lines.end()?;
        check_keys(&note.origin, &note.key, &note.new_key)?;
        Ok(note)
    }
}

/// A note about the seal keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyNote {
    /// One key takes another's place.
    Succession(Succession),
    /// A key is revoked.
    Revocation(Revocation),
}

impl KeyNote {
    /// Reads the body of a note; `None` where it is of another kind.
    pub fn parse(body: &str) -> Option<Result<Self, BodyError>> {
        match body.split('\n').next() {
            Some(SUCCESSION) => Some(Succession::parse(body).map(Self::Succession)),
            Some(REVOCATION) => Some(Revocation::parse(body).map(Self::Revocation)),
            _ => None,
        }
    }

    /// The ledger.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Succession(note) => &note.origin,
            Self::Revocation(note) => &note.origin,
        }
    }

    /// The key whose time ends, or has ended.
    pub fn old_key(&self) -> &VerifierKey {
        match self {
            Self::Succession(note) => &note.old_key,
            Self::Revocation(note) => &note.key,
        }
    }

    /// The key in force behind it.
    pub fn new_key(&self) -> &VerifierKey {
        match self {
            Self::Succession(note) => &note.new_key,
            Self::Revocation(note) => &note.new_key,
        }
    }

    /// The text to be signed.
    pub fn to_body(&self) -> String {
        match self {
            Self::Succession(note) => note.to_body(),
            Self::Revocation(note) => note.to_body(),
        }
    }
}

//! The line of seal keys: which one is in force at which leaf of the log (FORMAT section 11).
//!
//! Here: following the log's own notes about it, the same for whoever seals and whoever verifies. Not
//! here: which of these keys to trust (see [`crate::verify`]).

use crate::hash::Digest;
use crate::merkle::{Frontier, leaf_hash};
use crate::names::Origin;
use crate::note::{BodyError, Note, NoteError, VerifierKey};
use crate::succession::{Cutoff, KeyNote, Revocation, Succession};

/// How a key came into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// It signed the first leaf.
    First,
    /// The key before has signed for it.
    Succession,
    /// The key before was revoked, so that nothing but its own signature speaks for it.
    Revocation,
}

impl Entrance {
    /// Its word, for whoever keeps it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Succession => "succession",
            Self::Revocation => "revocation",
        }
    }

    /// Reads its word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::First, Self::Succession, Self::Revocation].into_iter().find(|e| e.as_str() == word)
    }
}

/// A key, and from where on it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The key.
    pub key: VerifierKey,
    /// What lies before: its size is the index of the first leaf that this key signs alone. It is the
    /// cut-off of the key before, should that be revoked.
    pub before: Cutoff,
    /// How it came into force.
    pub entrance: Entrance,
}

/// The seal keys of a log in order, as far as it has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLine {
    first: Term,
    later: Vec<Term>,
    revoked: Vec<VerifierKey>,
}

/// Why a leaf does not stand where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The key in force did not sign it, or in a succession one of the two did not.
    #[error(transparent)]
    Unsigned(#[from] NoteError),
    /// It is signed by a key past the cut-off of its revocation.
    #[error("it is signed by {0}, which is revoked")]
    Revoked(Box<VerifierKey>),
    /// It is a note about seal keys that cannot be read.
    #[error(transparent)]
    Malformed(#[from] BodyError),
    /// It is a note about the seal keys of another ledger.
    #[error("it is of the ledger {0}")]
    Origin(Origin),
    /// It is a note about seal keys that the log before it contradicts.
    #[error("{what}: expected {expected}, found {found}")]
    Order {
        /// What does not fit.
        what: &'static str,
        /// What the log comes to.
        expected: String,
        /// What the note says.
        found: String,
    },
}

fn same(
    what: &'static str,
    expected: &dyn ToString,
    found: &dyn ToString,
) -> Result<(), LineError> {
    let (expected, found) = (expected.to_string(), found.to_string());
    if expected == found { Ok(()) } else { Err(LineError::Order { what, expected, found }) }
}

impl KeyLine {
    /// A log whose first leaf this key signs.
    pub fn starting_with(key: VerifierKey) -> Self {
        let before = Cutoff { size: 0, root: Digest::of(b"") };
        let first = Term { key, before, entrance: Entrance::First };
        Self { first, later: Vec::new(), revoked: Vec::new() }
    }

    /// The keys, in order.
    pub fn terms(&self) -> impl DoubleEndedIterator<Item = &Term> {
        std::iter::once(&self.first).chain(&self.later)
    }

    /// The last key: in force at the end of what was read.
    pub fn in_force(&self) -> &VerifierKey {
        &self.last().key
    }

    /// The last key, and since when.
    pub fn last(&self) -> &Term {
        self.later.last().unwrap_or(&self.first)
    }

    /// The key in force at a leaf.
    pub fn at(&self, index: u64) -> &VerifierKey {
        let term = self.later.iter().rev().find(|term| term.before.size <= index);
        &term.unwrap_or(&self.first).key
    }

    /// The keys that the log has revoked.
    pub fn revoked(&self) -> &[VerifierKey] {
        &self.revoked
    }

    /// Up to where a key was in force that is so no longer; `None` for any other.
    pub fn end_of(&self, key: &VerifierKey) -> Option<Cutoff> {
        let mut next = self.terms().skip_while(|term| term.key != *key).skip(1);
        next.next().map(|term| term.before)
    }

    fn knows(&self, key: &VerifierKey) -> bool {
        self.terms().any(|term| term.key == *key)
    }

    /// Checks the signature of the next leaf, `data`, behind the leaves in `tree`, and what it does
    /// to the line: gives the line as it is behind a note about seal keys, and `None` behind any
    /// other.
    pub fn follow(
        &self,
        note: &Note<'_>,
        data: &[u8],
        tree: &Frontier,
    ) -> Result<Option<Self>, LineError> {
        let Some(read) = KeyNote::parse(note.body()) else {
            return self.signed(note).map(|()| None);
        };
        let key_note = read?;
        // A seal key's name is its ledger's origin.
        if key_note.origin().as_str() != self.first.key.name() {
            return Err(LineError::Origin(key_note.origin().clone()));
        }
        match &key_note {
            KeyNote::Succession(succession) => self.succeed(note, succession, data, tree),
            KeyNote::Revocation(revocation) => self.revoke(note, revocation, tree),
        }
        .map(Some)
    }

    fn signed(&self, note: &Note<'_>) -> Result<(), LineError> {
        let error = match note.verify(self.in_force()) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let by = self.revoked.iter().find(|key| note.verify(key).is_ok());
        Err(by.map_or_else(|| error.into(), |key| LineError::Revoked(Box::new(key.clone()))))
    }

    fn enter(&self, key: &VerifierKey, before: Cutoff, entrance: Entrance) -> Self {
        let mut line = self.clone();
        line.later.push(Term { key: key.clone(), before, entrance });
        line
    }

    fn succeed(
        &self,
        note: &Note<'_>,
        succession: &Succession,
        data: &[u8],
        tree: &Frontier,
    ) -> Result<Self, LineError> {
        let Succession { old_key, new_key, .. } = succession;
        same("a succession starts at the key in force", self.in_force(), old_key)?;
        self.check_new(new_key)?;
        note.verify(old_key)?;
        note.verify(new_key)?;
        let mut behind = tree.clone();
        behind.push(leaf_hash(data));
        let before = Cutoff { size: behind.size(), root: behind.root() };
        Ok(self.enter(new_key, before, Entrance::Succession))
    }

    fn revoke(
        &self,
        note: &Note<'_>,
        revocation: &Revocation,
        tree: &Frontier,
    ) -> Result<Self, LineError> {
        let Revocation { key, cutoff, new_key, .. } = revocation;
        let mut line = if key == self.in_force() {
            self.check_new(new_key)?;
            let before = Cutoff { size: tree.size(), root: tree.root() };
            same("a revoked key is believed up to here", &before, cutoff)?;
            self.enter(new_key, before, Entrance::Revocation)
        } else {
            let Some(end) = self.end_of(key).filter(|_| !self.revoked.contains(key)) else {
                let expected = "a key of this log that is not revoked yet".to_owned();
                let what = "what is revoked";
                return Err(LineError::Order { what, expected, found: key.to_string() });
            };
            same("a revocation is made by the key in force", self.in_force(), new_key)?;
            same("a revoked key is believed up to its end", &end, cutoff)?;
            self.clone()
        };
        note.verify(new_key)?;
        line.revoked.push(key.clone());
        Ok(line)
    }

    /// A key that has been in force never comes back.
    fn check_new(&self, key: &VerifierKey) -> Result<(), LineError> {
        if !self.knows(key) {
            return Ok(());
        }
        let (what, expected) = ("who comes into force", "a key that has not been".to_owned());
        Err(LineError::Order { what, expected, found: key.to_string() })
    }

    /// Puts a line together again from its terms, in order; `None` where there is none, or the first
    /// one does not start the log. Who kept them vouches for them.
    pub fn from_terms(
        terms: impl IntoIterator<Item = Term>,
        revoked: Vec<VerifierKey>,
    ) -> Option<Self> {
        let mut terms = terms.into_iter();
        let first = terms.next().filter(|term| term.before.size == 0)?;
        Some(Self { first, later: terms.collect(), revoked })
    }
}

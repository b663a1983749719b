//! A submission: 1 to 1,000 events that one key signs together (FORMAT section 3).
//!
//! Here: the statement that is signed, and the hash that names the submission. Not here: the
//! events themselves (see [`crate::payload`]) and whether the key may sign (see [`crate::chain`]).

use std::fmt::{self, Write as _};

use crate::hash::Digest;
use crate::key::{PublicKey, Signature, SignatureError};
use crate::names::{Origin, Workspace};

/// An agent's own count of what it signed with one key for one workspace; 0 where it keeps none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(u64);

impl Counter {
    /// No count kept.
    pub const NONE: Self = Self(0);

    /// Takes a number from 0 to 2^63-1.
    pub const fn new(counter: u64) -> Option<Self> {
        if counter > i64::MAX.unsigned_abs() { None } else { Some(Self(counter)) }
    }

    /// Reads plain decimal digits without leading zeros.
    pub fn parse(text: &str) -> Option<Self> {
        crate::note::plain_number(text).and_then(Self::new)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The text that an agent signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement(String);

impl Statement {
    /// Writes the statement over the payloads' digests, in order.
    pub fn new(
        origin: &Origin,
        workspace: &Workspace,
        counter: Counter,
        payload_digests: &[Digest],
    ) -> Self {
        let mut text = format!(
            "tallystick/submission/v1\n{origin}\n{workspace}\n{counter}\n{}\n",
            payload_digests.len()
        );
        text.reserve(65 * payload_digests.len());
        for digest in payload_digests {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{digest}");
        }
        Self(text)
    }

    /// The text, every line ended by `\n`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks the signature over this statement by the strict rules, and names the submission.
    pub fn verify(
        &self,
        public_key: &PublicKey,
        signature: &Signature,
    ) -> Result<Digest, SignatureError> {
        public_key.verify(self.0.as_bytes(), signature)?;
        Ok(self.submission_hash(public_key.as_bytes(), signature))
    }

    /// `H(0x04 || public_key || signature || H(statement))`: the name of the submission.
    pub fn submission_hash(&self, public_key: &[u8; 32], signature: &Signature) -> Digest {
        let statement = Digest::of(self.0.as_bytes());
        Digest::of_parts(&[&[0x04], public_key, signature.as_bytes(), statement.as_bytes()])
    }
}

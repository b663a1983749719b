//! SHA-256 digests: `H` of the format, and one way to write and read them.
//!
//! Here: the digest type and its hex. Not here: what is hashed (each noun says so itself).

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest (FORMAT, `H`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The text is not 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: 64 lower-case hex digits expected")]
pub struct DigestError;

impl Digest {
    /// 32 zero bytes: "there is none before" in `prev_manifest`, `amends` and `prev_hour`.
    pub const ZERO: Self = Self([0; 32]);

    /// The SHA-256 of one run of bytes.
    pub fn of(data: &[u8]) -> Self {
        Self(Sha256::digest(data).into())
    }

    /// The SHA-256 of several runs of bytes, one after the other.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// Takes 32 bytes as a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Takes a slice as a digest; `None` unless it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 bytes: enough to tell objects apart in a key, and no proof of anything.
    pub fn prefix(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }

    /// Reads 64 lower-case hex digits, and no other form.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        hex_bytes(text).map(Self).ok_or(DigestError)
    }
}

/// SHA-256 of bytes that come piece by piece.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// No byte yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: each statement has one of these for each of its events.
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        let mut text = [0_u8; 64];
        for (place, byte) in text.as_chunks_mut().0.iter_mut().zip(self.0) {
            *place = [digit(byte >> 4), digit(byte & 0xf)];
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One byte from two hex digits; upper case only where `any_case`.
pub(crate) fn hex_pair(pair: &[u8], any_case: bool) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' if any_case => Some(byte - b'A' + 10),
        _ => None,
    };
    match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// `N` bytes from 2 `N` lower-case hex digits.
pub(crate) fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (pair, slot) in text.as_bytes().chunks_exact(2).zip(&mut bytes) {
        *slot = hex_pair(pair, false)?;
    }
    Some(bytes)
}

//! Bearer tokens: 256 random bits that are shown once, and a digest that is kept.
//!
//! A reader's token carries the public id of its row, so that one row is looked up and one digest
//! compared, in constant time. Nothing here prints a secret but [`Secret::reveal`].

use std::fmt;

use ledger::hash::Digest;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// What the token of an administrator starts with.
const ADMIN: &str = "tally_admin_";
/// What the token of a reader starts with.
const READER: &str = "tally_reader_";
/// Bytes of a token that nobody can guess.
const SECRET_BYTES: usize = 32;
/// Bytes of the public name of a reader's token.
const ID_BYTES: usize = 8;
/// No token is longer: what is longer is not hashed at all.
const TOKEN_BYTES: usize = 256;

/// The system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes, so no token can be made")]
pub struct NoRandomness;

/// A new token, before it is handed over.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Makes a token for an administrator.
    pub fn admin() -> Result<Self, NoRandomness> {
        Ok(Self(Zeroizing::new(format!("{ADMIN}{}", *random_hex::<SECRET_BYTES>()?))))
    }

    /// Makes a token for a reader, and its id.
    pub fn reader() -> Result<(TokenId, Self), NoRandomness> {
        let id = random_hex::<ID_BYTES>()?.to_string();
        let text = format!("{READER}{id}_{}", *random_hex::<SECRET_BYTES>()?);
        Ok((TokenId(id), Self(Zeroizing::new(text))))
    }

    /// The text, to be handed over once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

fn random_hex<const N: usize>() -> Result<Zeroizing<String>, NoRandomness> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    // All of it at once: a text that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * N));
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    bytes.zeroize();
    Ok(text)
}

/// The public name of a reader's token: 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(String);

impl TokenId {
    /// Reads an id as it stands in a list of tokens.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == 2 * ID_BYTES && is_hex).then(|| Self(text.to_owned()))
    }

    /// The id that a reader's token carries; `None` where the text is none.
    pub fn of_token(token: &str) -> Option<Self> {
        let (id, secret) = token.strip_prefix(READER)?.split_once('_')?;
        (secret.len() == 2 * SECRET_BYTES).then(|| Self::parse(id))?
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 digest of a token. Of 256 random bits no slower digest is needed.
#[derive(Clone, Copy, Debug)]
pub struct TokenHash(Digest);

impl TokenHash {
    /// What is compared where there is no token of this id, so that it takes as long.
    pub const NONE: Self = Self(Digest::ZERO);

    /// The digest of a token.
    pub fn of(token: &str) -> Self {
        Self(Digest::of(token.as_bytes()))
    }

    /// A digest that was kept.
    pub fn new(digest: Digest) -> Self {
        Self(digest)
    }

    /// Reads `sha256:` and 64 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("sha256:").and_then(|hex| Digest::parse(hex).ok()).map(Self)
    }

    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }

    /// Whether it is that of the token. Takes the same time whatever the answer is.
    pub fn is_of(&self, token: &str) -> bool {
        if token.len() > TOKEN_BYTES {
            return false;
        }
        Digest::of(token.as_bytes()).as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_alone() {
        let (id, secret) = Secret::reader().unwrap();
        let hash = secret.hash();
        assert_eq!(TokenId::of_token(secret.reveal()), Some(id.clone()));
        assert_eq!(TokenId::parse(id.as_str()), Some(id));
        assert!(hash.is_of(secret.reveal()));
        assert!(!hash.is_of(&secret.reveal().replace("reader", "admin")));
        assert!(!TokenHash::NONE.is_of(secret.reveal()));
        let read_back = TokenHash::parse(&hash.to_string()).unwrap();
        assert!(read_back.is_of(secret.reveal()));
    }

    #[test]
    fn what_is_no_token_carries_no_id() {
        let (id, _) = Secret::reader().unwrap();
        let upper = format!("{READER}{}_{}", "A".repeat(16), "0".repeat(64));
        let short = format!("{READER}{id}_{}", "0".repeat(63));
        for text in ["", READER, "tally_reader__", &upper, &short, "tally_admin_00"] {
            assert_eq!(TokenId::of_token(text), None, "{text}");
        }
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let one = Secret::admin().unwrap();
        let two = Secret::admin().unwrap();
        assert_eq!(one.reveal().len(), ADMIN.len() + 64);
        assert_ne!(one.reveal(), two.reveal());
    }
}

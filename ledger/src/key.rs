//! Ed25519 keys: checked wherever they enter, strict wherever they verify.
//!
//! Here: the public key with its text form, the signing key with its PEM form, a signature.
//! Not here: who may sign what (see [`crate::chain`]), and named keys of notes (see
//! [`crate::note`]).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, VerifyingKey};

/// What a public key's text starts with.
const PREFIX: &str = "ed25519:";

/// Why bytes or a text are not a public key (FORMAT section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text lacks its prefix, or is not 43 characters of unpadded base64url.
    #[error("a public key is written `ed25519:` and 43 characters of unpadded base64url")]
    Text,
    /// Not 32 bytes.
    #[error("a public key has 32 bytes, this has {0}")]
    Length(usize),
    /// The y coordinate is not below p = 2^255-19.
    #[error("the key's encoding is not canonical: y is not below 2^255-19")]
    NotCanonical,
    /// No point of the curve has this encoding.
    #[error("the key is not a point of the curve")]
    NotAPoint,
    /// The point has small order: signatures under it prove nothing.
    #[error("the key is a point of small order, under which anyone can sign")]
    SmallOrder,
    /// The PEM text holds no PKCS#8 Ed25519 private key.
    #[error("not a PKCS#8 PEM file with an unencrypted Ed25519 private key")]
    Pem,
}

impl KeyError {
    /// A stable name of the reason, the same at ingest and in a verifier's finding.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Text => "key-text",
            Self::Length(_) => "key-length",
            Self::NotCanonical => "key-not-canonical",
            Self::NotAPoint => "key-not-a-point",
            Self::SmallOrder => "key-small-order",
            Self::Pem => "key-pem",
        }
    }
}

/// A public key that has been checked: canonical, on the curve, not of small order.
#[derive(Clone, Copy)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Checks 32 bytes and takes them as a key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::Length(bytes.len()))?;
        // dalek decodes y >= p as y - p, so two encodings could name one key (RFC 8032 forbids it).
        if !is_canonical(bytes) {
            return Err(KeyError::NotCanonical);
        }
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() { Err(KeyError::SmallOrder) } else { Ok(Self(key)) }
    }

    /// Reads `ed25519:` and unpadded base64url.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(KeyError::Text)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| KeyError::Text)?;
        Self::from_bytes(&bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Checks a signature by the strict rules: canonical S, and neither A nor R of small order.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(message, &signature).map_err(|_| SignatureError::Invalid)
    }
}

/// y is below p = 2^255-19, the sign bit aside. Only 19 values are not: they share all high bits.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}
impl Eq for PublicKey {}
impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}
impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Not standard padded base64 of 64 bytes.
    #[error("a signature is written as padded standard base64 of 64 bytes")]
    Text,
    /// It does not verify under the key by the strict rules.
    #[error("the signature does not verify under this key")]
    Invalid,
}

impl SignatureError {
    /// A stable name of the reason, the same at ingest and in a verifier's finding.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Text => "signature-text",
            Self::Invalid => "signature-invalid",
        }
    }
}

/// The 64 bytes of an Ed25519 signature, not yet verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Takes 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Reads standard base64 with padding.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let bytes = STANDARD.decode(text).map_err(|_| SignatureError::Text)?;
        bytes.try_into().map(Self).map_err(|_| SignatureError::Text)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A private key with the public key that belongs to it, so that the two are never mixed up
/// (signing under a foreign public key leaks the private one). Wiped from memory when dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Makes a key from 32 bytes of randomness that the caller brings.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads PKCS#8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Pem)?;
        Ok(Self(key))
    }

    /// Writes PKCS#8 PEM. The caller wipes the text when it has stored it.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pem = self.0.to_pkcs8_pem(Default::default()).map_err(|_| KeyError::Pem)?;
        Ok(pem.to_string())
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a message. Deterministic: the same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public())
    }
}

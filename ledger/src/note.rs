//! Signed notes, as in C2SP signed-note (FORMAT section 7).
//!
//! Here: named keys, making and reading notes with any number of signatures, and the lines of
//! `name value` that every body of this format is made of. Not here: what each body says (see
//! [`crate::receipt`], [`crate::chunk`], [`crate::hour`], [`crate::checkpoint`]).

use std::fmt::{self, Write as _};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Digest;
use crate::key::{KeyError, PublicKey, Signature, SigningKey};
use crate::limits::{NOTE_BYTES, NOTE_SIGNATURES};
use crate::names::Origin;

/// The signature type of Ed25519 in C2SP signed-note.
const ED25519: u8 = 0x01;

/// The first four bytes of `H(name || "\n" || type || key)`.
pub type KeyId = [u8; 4];

/// A public key with the name it signs notes under. Written `name+hex(id)+base64(0x01 || key)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    key: PublicKey,
}

/// Why a text is not a verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierKeyError {
    /// Not three parts joined by `+`, or a name that cannot stand in a signature line.
    #[error("a verifier key is written `name+<8 hex digits>+<base64>`; the name has no space or +")]
    Form,
    /// Another signature type than Ed25519.
    #[error("the key is of signature type {0}; this ledger signs with type 1, Ed25519")]
    Type(u8),
    /// The id does not belong to the name and key: one of the three was changed.
    #[error("the key id does not belong to this name and key: the text was cut or changed")]
    Id,
    /// The key itself is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

fn key_id(name: &str, key: &PublicKey) -> KeyId {
    let digest = Digest::of_parts(&[name.as_bytes(), b"\n", &[ED25519], key.as_bytes()]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

impl VerifierKey {
    /// The key of this ledger that signs manifests, hour notes and checkpoints.
    pub fn seal(origin: &Origin, key: PublicKey) -> Self {
        Self::named(origin.as_str().to_owned(), key)
    }

    /// The key of this ledger that signs receipts and heads.
    pub fn receipt(origin: &Origin, key: PublicKey) -> Self {
        Self::named(format!("{origin}/receipt"), key)
    }

    fn named(name: String, key: PublicKey) -> Self {
        let id = key_id(&name, &key);
        Self { name, id, key }
    }

    /// The name that stands in signature lines.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The four bytes that tell keys of one name apart.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.key
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let form = VerifierKeyError::Form;
        let (name, rest) = text.split_once('+').ok_or(VerifierKeyError::Form)?;
        let (id, key) = rest.split_once('+').ok_or(VerifierKeyError::Form)?;
        let id: KeyId = crate::hash::hex_bytes(id).ok_or(VerifierKeyError::Form)?;
        let key = STANDARD.decode(key).map_err(|_| VerifierKeyError::Form)?;
        let (kind, key) = key.split_first().ok_or(VerifierKeyError::Form)?;
        if !is_key_name(name) {
            return Err(form);
        }
        if *kind != ED25519 {
            return Err(VerifierKeyError::Type(*kind));
        }
        let key = Self::named(name.to_owned(), PublicKey::from_bytes(key)?);
        if key.id == id { Ok(key) } else { Err(VerifierKeyError::Id) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.id;
        let key = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{a:02x}{b:02x}{c:02x}{d:02x}+{}", self.name, STANDARD.encode(key))
    }
}

/// A signing key with the name it signs notes under.
#[derive(Clone, Debug)]
pub struct NoteSigner {
    verifier: VerifierKey,
    key: SigningKey,
}

impl NoteSigner {
    /// Signs manifests, hour notes and checkpoints of this ledger.
    pub fn seal(origin: &Origin, key: SigningKey) -> Self {
        Self { verifier: VerifierKey::seal(origin, key.public()), key }
    }

    /// Signs receipts and heads of this ledger.
    pub fn receipt(origin: &Origin, key: SigningKey) -> Self {
        Self { verifier: VerifierKey::receipt(origin, key.public()), key }
    }

    /// The verifier key that checks these signatures.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }
}

/// Why a key did not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} did not sign: {reason}")]
pub struct SignerError {
    /// The key.
    pub key: Box<VerifierKey>,
    /// What failed.
    pub reason: String,
}

/// Signs notes by a named key: one in memory ([`NoteSigner`]), or one that another keeps, as a KMS
/// does.
///
/// - Consistency: the same body gets the same signature, as Ed25519 (RFC 8032) has it. Whoever goes on
///   where another died relies on it.
/// - Retry: nothing is changed by signing. After an error the same call may be made again.
/// - Concurrency: calls may come from any thread, and may block.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The verifier key that checks these signatures.
    fn verifier(&self) -> &VerifierKey;

    /// Signs the body of a note.
    fn sign(&self, body: &[u8]) -> Result<Signature, SignerError>;
}

impl Signer for NoteSigner {
    fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, body: &[u8]) -> Result<Signature, SignerError> {
        Ok(self.key.sign(body))
    }
}

/// A signature line, as it stands at the end of a note.
fn write_line(note: &mut String, key: &VerifierKey, signature: &Signature) {
    let blob = [key.id.as_slice(), signature.as_bytes()].concat();
    // Writing to a String cannot fail.
    let _ = writeln!(note, "\u{2014} {} {}", key.name, STANDARD.encode(blob));
}

/// Signs a body with one or more keys, whoever keeps them. What comes back is checked: a signature
/// that does not verify is an error, and never in a note.
pub fn sign_by(body: &str, signers: &[&dyn Signer]) -> Result<String, SignerError> {
    let mut note = format!("{body}\n");
    for signer in signers {
        let (key, signature) = (signer.verifier(), signer.sign(body.as_bytes())?);
        if key.key.verify(body.as_bytes(), &signature).is_err() {
            let reason = "what came back is not its signature over this note".to_owned();
            return Err(SignerError { key: Box::new(key.clone()), reason });
        }
        write_line(&mut note, key, &signature);
    }
    Ok(note)
}

/// Signs a body with one or more keys. The body ends in `\n`, as all bodies of this format do.
pub fn sign(body: &str, signers: &[&NoteSigner]) -> String {
    let mut note = format!("{body}\n");
    for signer in signers {
        write_line(&mut note, &signer.verifier, &signer.key.sign(body.as_bytes()));
    }
    note
}

/// Why bytes are not a signed note, or not one that a given key signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// More bytes or signatures than any note of this format has.
    #[error("a note has at most {NOTE_BYTES} bytes and {NOTE_SIGNATURES} signatures")]
    TooLarge,
    /// Not UTF-8, or control characters in it.
    #[error("the note is not plain UTF-8 text: byte {0} is a control character or not UTF-8")]
    Text(usize),
    /// No empty line between body and signatures, or no signature.
    #[error("the note lacks an empty line followed by at least one signature line")]
    NoSignatures,
    /// A line after the body is not a signature.
    #[error("line {0} after the body is not `\u{2014} <key name> <base64>`")]
    SignatureLine(usize),
    /// None of the keys signed it.
    #[error("no signature by {0}")]
    Unsigned(String),
    /// A key's signature line is there, but the signature is not by that key over this body.
    #[error("the signature by {0} does not verify")]
    BadSignature(String),
}

/// A note, read but not yet believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    body: &'a str,
    signatures: &'a str,
}

impl<'a> Note<'a> {
    /// Reads a note; its signatures are checked by [`Note::verify`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES {
            return Err(NoteError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|e| NoteError::Text(e.valid_up_to()))?;
        if let Some(at) = text.bytes().position(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Text(at));
        }
        // The body may hold empty lines, so the last one is the border.
        let (body, signatures) = text.rsplit_once("\n\n").ok_or(NoteError::NoSignatures)?;
        let body = text.get(..=body.len()).ok_or(NoteError::NoSignatures)?;
        let note = Self { body, signatures };
        if signatures.is_empty() || !signatures.ends_with('\n') {
            return Err(NoteError::NoSignatures);
        }
        for (at, line) in signatures.lines().enumerate() {
            if at >= NOTE_SIGNATURES {
                return Err(NoteError::TooLarge);
            }
            signature_line(line).ok_or(NoteError::SignatureLine(at + 1))?;
        }
        Ok(note)
    }

    /// The text that is signed; it ends in `\n`.
    pub fn body(&self) -> &'a str {
        self.body
    }

    /// The key names and ids in the signature lines, in order.
    pub fn signers(&self) -> impl Iterator<Item = (&'a str, KeyId)> + use<'a> {
        self.signatures.lines().filter_map(signature_line).map(|(name, id, _)| (name, id))
    }

    /// Checks that this key signed the note, and gives the body.
    ///
    /// Signatures by other keys are ignored, as C2SP signed-note asks: a witness may add its own.
    pub fn verify(&self, key: &VerifierKey) -> Result<&'a str, NoteError> {
        let mut by_key = self
            .signatures
            .lines()
            .filter_map(signature_line)
            .filter(|(name, id, _)| *name == key.name && *id == key.id)
            .peekable();
        if by_key.peek().is_none() {
            return Err(NoteError::Unsigned(key.to_string()));
        }
        let bad = || NoteError::BadSignature(key.to_string());
        for (_, _, signature) in by_key {
            let signature = signature.try_into().map(Signature::from_bytes).map_err(|_| bad())?;
            key.key.verify(self.body.as_bytes(), &signature).map_err(|_| bad())?;
        }
        Ok(self.body)
    }
}

/// The key name, key id and signature of `— <key name> <base64(key id || signature)>`.
fn signature_line(line: &str) -> Option<(&str, KeyId, Vec<u8>)> {
    let (name, blob) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let blob = STANDARD.decode(blob).ok()?;
    let (id, signature) = blob.split_first_chunk::<4>()?;
    (is_key_name(name) && !signature.is_empty()).then(|| (name, *id, signature.to_vec()))
}

/// Why a note's body is not of the kind it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The first line names another kind.
    #[error("the note is a `{found}`, not a `{expected}`")]
    Kind {
        /// The kind that was asked for.
        expected: &'static str,
        /// The first line, shortened.
        found: String,
    },
    /// A line is missing, or stands in another place.
    #[error("line {line} should be `{name} <value>`")]
    Line {
        /// The line's number in the body, from 1.
        line: usize,
        /// The name it should start with.
        name: &'static str,
    },
    /// A line's value is not of its form.
    #[error("`{name}` on line {line}: {reason}")]
    Value {
        /// The line's number in the body, from 1.
        line: usize,
        /// The line's name.
        name: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// Lines after the last one.
    #[error("the note has lines after `{last}`, which should be the last")]
    Trailing {
        /// The name of the last line.
        last: &'static str,
    },
    /// Lines that contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Reads the lines of a body, one after the other, each by its name.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    rest: std::str::Split<'a, char>,
    line: usize,
    name: &'static str,
}

impl<'a> Lines<'a> {
    /// Starts behind the first line, which says what the note is.
    pub(crate) fn of(kind: &'static str, body: &'a str) -> Result<Self, BodyError> {
        let mut rest = body.split('\n');
        match rest.next() {
            Some(first) if first == kind => Ok(Self { rest, line: 1, name: kind }),
            found => {
                let found = found.unwrap_or_default().chars().take(64).collect();
                Err(BodyError::Kind { expected: kind, found })
            }
        }
    }

    /// The value of the next line, which has this name.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<&'a str, BodyError> {
        self.line += 1;
        self.name = name;
        self.rest
            .next()
            .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .filter(|value| !value.is_empty() && !value.contains(char::is_control))
            .ok_or(BodyError::Line { line: self.line, name })
    }

    /// The value of the next line, read by a parser.
    pub(crate) fn value<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, BodyError> {
        let text = self.text(name)?;
        parse(text).map_err(|e| BodyError::Value { line: self.line, name, reason: e.to_string() })
    }

    /// The value of the next line as a plain decimal number.
    pub(crate) fn number(&mut self, name: &'static str) -> Result<u64, BodyError> {
        self.value(name, |text| {
            plain_number(text).ok_or("a number in plain digits, below 2^63, is expected")
        })
    }

    /// Nothing follows but the end of the last line.
    pub(crate) fn end(mut self) -> Result<(), BodyError> {
        match (self.rest.next(), self.rest.next()) {
            (Some(""), None) => Ok(()),
            _ => Err(BodyError::Trailing { last: self.name }),
        }
    }
}

/// Decimal digits with no sign and no leading zero, below 2^63.
pub(crate) fn plain_number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok().filter(|n| *n <= i64::MAX.unsigned_abs())
}

/// Writes a body: the kind, then lines of `name value`.
#[derive(Debug)]
pub(crate) struct Body(String);

impl Body {
    pub(crate) fn of(kind: &str) -> Self {
        Self(format!("{kind}\n"))
    }

    pub(crate) fn line(mut self, name: &str, value: impl fmt::Display) -> Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name} {value}");
        self
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

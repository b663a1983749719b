//! The three headers of a submission.

use ledger::key::{KeyError, PublicKey, Signature, SignatureError};
use ledger::submission::Counter;

/// The header with the public key, `ed25519:` and unpadded base64url.
pub const PUBLIC_KEY: &str = "tally-public-key";
/// The header with the signature, padded standard base64.
pub const SIGNATURE: &str = "tally-signature";
/// The header with the counter, plain digits; 0 where absent.
pub const COUNTER: &str = "tally-counter";

/// Who signed a submission, and how they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The key.
    pub public_key: PublicKey,
    /// Its signature over the statement, not yet verified.
    pub signature: Signature,
    /// The agent's own count; 0 where it keeps none.
    pub counter: Counter,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header {name}: {fault}")]
pub struct HeadError {
    /// The header, in lower case.
    pub name: &'static str,
    /// What is wrong with it.
    pub fault: HeadFault,
}

/// What may be wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// It is not there.
    #[error("it is required")]
    Missing,
    /// It is there twice.
    #[error("it is there more than once")]
    Repeated,
    /// It names no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It holds no signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It holds no counter.
    #[error("a counter is plain digits without leading zeros, up to 9223372036854775807")]
    Counter,
}

impl HeadFault {
    /// A stable code; of keys and signatures the same as in a verifier's finding.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "header-missing",
            Self::Repeated => "header-repeated",
            Self::Key(error) => error.code(),
            Self::Signature(error) => error.code(),
            Self::Counter => "counter-text",
        }
    }
}

impl Head {
    /// Reads the headers; `values` gives every value of a name, as it was sent.
    pub fn read<'h, I>(values: impl Fn(&'static str) -> I) -> Result<Self, HeadError>
    where
        I: Iterator<Item = &'h [u8]>,
    {
        let one = |name| {
            let fail = |fault| HeadError { name, fault };
            let mut found = values(name);
            match (found.next(), found.next()) {
                (first, None) => Ok(first),
                (_, Some(_)) => Err(fail(HeadFault::Repeated)),
            }
        };
        let required = |name| {
            let fault = HeadFault::Missing;
            one(name)?.ok_or(HeadError { name, fault })
        };
        // What is not UTF-8 is none of the three forms, and reads like an empty text.
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let key = PublicKey::parse(text(required(PUBLIC_KEY)?))
            .map_err(|error| HeadError { name: PUBLIC_KEY, fault: error.into() })?;
        let signature = Signature::parse(text(required(SIGNATURE)?))
            .map_err(|error| HeadError { name: SIGNATURE, fault: error.into() })?;
        let counter = match one(COUNTER)? {
            None => Counter::NONE,
            Some(bytes) => Counter::parse(text(bytes))
                .ok_or(HeadError { name: COUNTER, fault: HeadFault::Counter })?,
        };
        Ok(Self { public_key: key, signature, counter })
    }
}

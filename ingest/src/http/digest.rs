//! `Content-Digest` (RFC 9530): checked when it is sent.
//!
//! Here, pure: what the header says, and whether the bytes match. The digest is over the content as
//! it was sent, a content coding included. Not here: what is signed (see [`ledger::submission`]).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest as _, Sha256, Sha512};

/// The header, in lower case.
pub const CONTENT_DIGEST: &str = "content-digest";

/// RFC 8941 lets a recipient take byte sequences without their padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a `Content-Digest` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It is not a dictionary of byte sequences.
    #[error(
        "it has the form sha-256=:<base64>: or sha-512=:<base64>:, with commas between several"
    )]
    Form,
    /// A digest of another length than its algorithm has.
    #[error("the digest for {0} has another length")]
    Length(&'static str),
    /// The bytes that came are not those that it was made of.
    #[error("the content that arrived has another {0} digest")]
    Mismatch(&'static str),
}

impl DigestError {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Form => "digest-form",
            Self::Length(_) => "digest-length",
            Self::Mismatch(_) => "digest-mismatch",
        }
    }
}

/// The digests that a request names and that can be checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentDigest {
    sha256: Option<[u8; 32]>,
    sha512: Option<[u8; 64]>,
}

impl ContentDigest {
    /// Reads the values of the header. Other algorithms are passed over, as the RFC lets a
    /// recipient do; where one stands twice, the last counts.
    pub fn read<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<Self, DigestError> {
        let mut digests = Self::default();
        for value in values {
            let text = std::str::from_utf8(value).map_err(|_| DigestError::Form)?;
            for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
                let (name, value) = member.split_once('=').ok_or(DigestError::Form)?;
                let value = value.split(';').next().unwrap_or_default().trim_end();
                let encoded = value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
                let bytes = encoded.and_then(|text| BASE64.decode(text).ok());
                let bytes = bytes.ok_or(DigestError::Form)?;
                match name {
                    "sha-256" => {
                        let length = |_| DigestError::Length("sha-256");
                        digests.sha256 = Some(bytes.try_into().map_err(length)?);
                    }
                    "sha-512" => {
                        let length = |_| DigestError::Length("sha-512");
                        digests.sha512 = Some(bytes.try_into().map_err(length)?);
                    }
                    // As the other algorithms of the registry are: broken, or not for this.
                    _ => {}
                }
            }
        }
        Ok(digests)
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.sha256.is_none() && self.sha512.is_none()
    }

    /// Checks the content.
    pub fn check(&self, content: &[u8]) -> Result<(), DigestError> {
        if self.sha256.is_some_and(|digest| Sha256::digest(content)[..] != digest) {
            return Err(DigestError::Mismatch("sha-256"));
        }
        if self.sha512.is_some_and(|digest| Sha512::digest(content)[..] != digest) {
            return Err(DigestError::Mismatch("sha-512"));
        }
        Ok(())
    }
}

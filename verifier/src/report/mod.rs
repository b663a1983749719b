//! Reports as text, as JSON and as an HTML page: of an archive ([`text`], [`json`], [`html`]), of a
//! shard, of proofs, of receipts.

pub mod html;
pub mod json;
pub mod proof;
pub mod receipts;
pub mod shard;
pub mod text;

use crate::part::PartInput;

/// What a report rests on, besides the bytes of the archive.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Where the archive lies, as the auditor has named it.
    pub archive: &'a str,
    /// SHA-256 of the trust file.
    pub trust_sha256: &'a str,
    /// Parts that were taken from: what other runs have checked.
    pub parts: &'a [PartInput],
}

//! Reports as text and as JSON: of an archive ([`text`], [`json`]), of proofs, of receipts.

pub mod json;
pub mod proof;
pub mod receipts;
pub mod text;

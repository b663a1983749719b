//! Reports as text, as JSON and as an HTML page: of an archive ([`text`], [`json`], [`html`]), of proofs, of receipts.

pub mod html;
pub mod json;
pub mod proof;
pub mod receipts;
pub mod text;

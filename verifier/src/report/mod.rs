//! The report as text, as JSON and as an HTML page.

pub mod html;
pub mod json;
pub mod text;

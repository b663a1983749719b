//! The payload scanner against FORMAT section 2: golden vectors, a table a rule, and properties.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod members;
mod properties;
mod sizes;
mod support;
mod text;
mod types;
mod vectors;
mod whole;

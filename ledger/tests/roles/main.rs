//! Who may sign what along a chain (FORMAT section 6): a table a rule, and a model of all of them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod model;
mod support;
mod table;

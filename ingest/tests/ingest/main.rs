//! What needs no server: from bytes to a submission, from submissions to a plan, settings.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod accept;
mod config;
mod plan;
mod support;

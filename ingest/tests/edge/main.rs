//! The edge, as far as it needs no socket: codings, digests, secrets, custody, CloudEvents, limits.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

mod cloud;
mod coding;
mod custody;
mod limits;

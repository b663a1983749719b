//! The front door: the real service in a process of its own, with settings from a file, and clients
//! who have a shared secret, send too much, too slowly, or what expands to too much.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

mod bodies;
mod cloud;
mod custody;
mod limits;
mod slow;
mod tls;
mod world;

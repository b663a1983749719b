//! Erasure, from the request to the last copy, and retention, from the policy to the last object: on a real
//! database, a real directory, and the service
//! that takes the request (FAULTS row 27).
//!
//! Every payload to be erased holds a canary, which is looked for in every object, decoded, and in
//! every row of every table.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and tells its figures"
)]

mod archive;
mod canary;
mod commands;
mod database;
mod door;
mod faults;
mod restore;
mod retain;
mod retain_faults;
mod world;

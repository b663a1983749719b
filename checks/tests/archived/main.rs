//! Retention of the database: days whose payloads are in the archive alone, on a real database, a real
//! directory, and the service that goes on recording.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and tells its figures"
)]

mod dedupe;
mod erased;
mod load;
mod reads;
mod refused;
mod world;

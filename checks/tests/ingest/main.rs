//! The ingest service over HTTP, on a real Postgres.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod client;
mod crowd;
mod outage;
mod record;
mod refuse;
mod shape;
mod world;

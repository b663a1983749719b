//! What every vault promises: one suite for directories, object stores in memory, and servers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod file;
mod s3;
mod suite;

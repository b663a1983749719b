//! A queue between API and chain (FAULTS rows 11 to 14): each submission is chained once and in order,
//! whatever is delivered again, and what is refused is told.
//!
//! On a broker that is a program of its own, on librdkafka's mock cluster, which fails on demand, and on
//! Redis; all over sockets. At the end of each test nothing that was acknowledged is lost, nothing is there twice,
//! and the sealed archive is proven. `CHECKS_LONG=1` runs the long figures.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and tells its figures"
)]

mod broker;
mod consumers;
mod letters;
mod plain;
mod positions;
mod streams;
mod tls;
mod world;

use std::path::Path;

/// Prints a pass line, and keeps it in the target directory.
fn print(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

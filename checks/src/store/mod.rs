//! Object stores to test with: servers that speak S3, and one in memory that fails on demand.
//!
//! Here: [`server`] and [`flaky`]. Not here: what must come of it (see `tests/vault` and
//! `tests/seal`).

pub mod flaky;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use verifier::store::s3::Patience;
use verifier::store::{S3Source, SourceError};

/// Bucket and prefix of archives in tests.
pub const ADDRESS: &str = "s3://tally/deep/archive";
/// The prefix alone.
pub const PREFIX: &str = "deep/archive";
/// The bucket alone.
pub const BUCKET: &str = "tally";

/// An archive in a store, whose requests are made again without a wait.
pub fn source(store: Arc<dyn ObjectStore>) -> Result<S3Source, SourceError> {
    with_silence(store, Patience::DEFAULT.silence)
}

/// The same, where the store may be silent for so long.
pub fn with_silence(
    store: Arc<dyn ObjectStore>,
    silence: Duration,
) -> Result<S3Source, SourceError> {
    let patience = Patience { attempts: 4, pause: Duration::ZERO, silence };
    S3Source::over(store, ADDRESS, PREFIX, patience)
}

//! What time it is.
//!
//! Here: the clock as an argument. Not here: which time an entry gets (see
//! [`ledger::entry::next_recorded_at`]).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ledger::time::Micros;

/// A clock. Production has [`SystemClock`] and no way to be told another; tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Micros;

    /// How far it may be from the database's clock before one of them counts as wrong; `None` where
    /// they have nothing to do with each other, as in a test.
    fn tolerance(&self) -> Option<Duration> {
        None
    }
}

/// A leap of the clock would be recorded for good: nothing may be recorded before it later.
const TOLERANCE: Duration = Duration::from_secs(60);

/// The clock of the machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// A clock that stands outside the years 1970 to 9999 reads as 1970: far behind every entry,
    /// so that nothing is accepted until it is mended.
    fn now(&self) -> Micros {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_micros()).ok())
            .and_then(Micros::new)
            .unwrap_or(Micros::EPOCH)
    }

    fn tolerance(&self) -> Option<Duration> {
        Some(TOLERANCE)
    }
}

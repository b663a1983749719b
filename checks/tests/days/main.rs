//! Records over many days: an event is recorded once, however long ago; the service knows a database
//! that is not its ledger.

#![expect(clippy::unwrap_used, reason = "tests fail by panic")]
#![expect(clippy::indexing_slicing, reason = "tests know what they made")]
#![expect(clippy::panic, reason = "tests fail by panic")]

mod dedupe;
mod migration;
mod restored;
mod world;

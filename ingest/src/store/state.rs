//! Whether the database can record now.
//!
//! Here: two questions to it. Not here: what follows from the answers (see [`crate::http`]).

use ledger::time::Micros;
use sqlx::PgPool;

use super::{StoreError, micros};

/// What the database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// It follows another server, and takes no writes of its own.
    pub is_standby: bool,
    /// No entry may be recorded before this time.
    pub not_before: Micros,
}

/// Asks the database what state it is in. With `must_write` it has to write a few bytes to its log
/// and wait for the disk, as for a commit.
pub async fn state(pool: &PgPool, must_write: bool) -> Result<State, StoreError> {
    let question = "SELECT pg_is_in_recovery(), not_before FROM fence";
    let (is_standby, not_before): (bool, i64) = sqlx::query_as(question).fetch_one(pool).await?;
    let state = State { is_standby, not_before: micros(not_before, "fence.not_before")? };
    if must_write && !is_standby {
        // A transaction that has a number is noted in the log when it commits, also one that may
        // not change any table.
        sqlx::query("SELECT pg_current_xact_id() IS NOT NULL").execute(pool).await?;
    }
    Ok(state)
}

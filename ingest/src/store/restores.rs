//! The records that this database was made from the archive (`migrations/0006_restores.sql`).
//!
//! Here: those that are not told yet, and that one is. Not here: telling them (see
//! [`crate::access::acts`]).

use ledger::hash::Digest;
use ledger::time::Micros;
use sqlx::PgPool;

use super::{StoreError, digest, micros};

/// The database was made from an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// When.
    pub at: Micros,
    /// By which login of the database.
    pub by: String,
    /// How many leaves the archive's log had.
    pub log_size: i64,
    /// `H` of its checkpoint.
    pub checkpoint: Digest,
}

/// Those that are not in the ledger's own workspace yet, the oldest first.
pub async fn untold(pool: &PgPool) -> Result<Vec<Restore>, StoreError> {
    let rows: Vec<(i64, String, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT restored_at, restored_by, log_size, checkpoint_sha256 FROM restores
         WHERE told_at IS NULL ORDER BY restored_at",
    )
    .fetch_all(pool)
    .await?;
    let read = |(at, by, log_size, checkpoint): (i64, String, i64, Vec<u8>)| {
        Ok(Restore {
            at: micros(at, "restores.restored_at")?,
            by,
            log_size,
            checkpoint: digest(&checkpoint, "restores.checkpoint_sha256")?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// It is there now. Where two services told it, the first one's time stands.
pub async fn told(pool: &PgPool, restore: &Restore, now: Micros) -> Result<(), StoreError> {
    sqlx::query("UPDATE restores SET told_at = $2 WHERE restored_at = $1 AND told_at IS NULL")
        .bind(restore.at.get())
        .bind(now.get())
        .execute(pool)
        .await?;
    Ok(())
}

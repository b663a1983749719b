//! The two locks of sealing: one archiver at a time, and no entry behind the fence.
//!
//! Both are Postgres advisory locks; their numbers are part of the database's contract (see
//! `migrations/README.md`). Why a fence is needed: `docs/decisions/0005-fence.md`.

use sqlx::{Connection as _, PgConnection, PgPool};

use crate::SealError;

/// Shared by every transaction that records entries, exclusive while the fence is advanced:
/// the bytes `tally_f`.
pub const FENCE_LOCK: i64 = 0x0074_616c_6c79_5f66;

/// Held by the one archiver that is at work: the bytes `tally_a`.
pub const ARCHIVER_LOCK: i64 = 0x0074_616c_6c79_5f61;

/// How long an archiver waits for the one before it: the database may take a moment to notice that
/// its connection is gone.
const ARCHIVER_PATIENCE: &str = "2s";

/// How long the fence may wait for open transactions. Whoever wants to record waits behind it, so
/// a transaction that hangs must not stop them all.
const FENCE_PATIENCE: &str = "10s";

/// What Postgres answers where `lock_timeout` has passed.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A connection of its own that holds the archiver's lock for as long as it lives.
pub async fn archiver(pool: &PgPool) -> Result<PgConnection, SealError> {
    let mut conn = pool.acquire().await?.detach();
    // Locks of a session outlive the transaction that takes them; its time-out does not.
    let mut tx = conn.begin().await?;
    if !taken(&mut tx, "SELECT pg_advisory_lock($1)", ARCHIVER_LOCK, ARCHIVER_PATIENCE).await? {
        return Err(SealError::Busy);
    }
    tx.commit().await?;
    Ok(conn)
}

/// Sees to it that no entry is recorded any more with a time before `not_before` (microseconds
/// since 1970): neither by a transaction that is open now nor by a later one.
pub async fn fence(conn: &mut PgConnection, not_before: i64) -> Result<(), SealError> {
    let mut tx = conn.begin().await?;
    hold_fence(&mut tx).await?;
    sqlx::query("UPDATE fence SET not_before = $1 WHERE not_before < $1")
        .bind(not_before)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Keeps everyone from recording until the transaction ends.
pub async fn hold_fence(tx: &mut PgConnection) -> Result<(), SealError> {
    if taken(tx, "SELECT pg_advisory_xact_lock($1)", FENCE_LOCK, FENCE_PATIENCE).await? {
        Ok(())
    } else {
        Err(SealError::FenceBusy(FENCE_PATIENCE))
    }
}

/// Takes a lock, and says whether it came within `patience`.
async fn taken(
    tx: &mut PgConnection,
    take: &'static str,
    lock: i64,
    patience: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT set_config('lock_timeout', $1, true)")
        .bind(patience)
        .execute(&mut *tx)
        .await?;
    match sqlx::query(take).bind(lock).execute(tx).await {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| code == LOCK_NOT_AVAILABLE) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

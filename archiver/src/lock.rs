//! The two locks of sealing: one archiver at a time, and no entry behind the fence.
//!
//! Both are Postgres advisory locks; their numbers are part of the database's contract (see
//! `migrations/README.md`). Why a fence is needed: `docs/decisions/0005-fence.md`.

use sqlx::{Connection as _, PgConnection, PgPool};

use crate::SealError;

/// Shared by every transaction that records entries, exclusive while the fence is advanced:
/// the bytes `tallyf`.
pub const FENCE_LOCK: i64 = 0x7461_6c6c_7966;

/// Held by the one archiver that is at work: the bytes `tallya`.
pub const ARCHIVER_LOCK: i64 = 0x7461_6c6c_7961;

/// How long the fence may wait for open transactions. Whoever wants to record waits behind it, so
/// a transaction that hangs must not stop them all.
const FENCE_PATIENCE: &str = "10s";

/// What Postgres answers where `lock_timeout` has passed.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A connection of its own that holds the archiver's lock for as long as it lives.
pub async fn archiver(pool: &PgPool) -> Result<PgConnection, SealError> {
    let mut conn = pool.acquire().await?.detach();
    let got: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(ARCHIVER_LOCK)
        .fetch_one(&mut conn)
        .await?;
    if got { Ok(conn) } else { Err(SealError::Busy) }
}

/// Sees to it that no entry is recorded any more with a time before `not_before` (microseconds
/// since 1970): neither by a transaction that is open now nor by a later one.
pub async fn fence(conn: &mut PgConnection, not_before: i64) -> Result<(), SealError> {
    let mut tx = conn.begin().await?;
    sqlx::query("SELECT set_config('lock_timeout', $1, true)")
        .bind(FENCE_PATIENCE)
        .execute(&mut *tx)
        .await?;
    let waited = sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(FENCE_LOCK)
        .execute(&mut *tx)
        .await;
    match waited {
        Ok(_) => {}
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| code == LOCK_NOT_AVAILABLE) =>
        {
            return Err(SealError::FenceBusy(FENCE_PATIENCE));
        }
        Err(error) => return Err(error.into()),
    }
    sqlx::query("UPDATE fence SET not_before = $1 WHERE not_before < $1")
        .bind(not_before)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

//! Days of records: which there are, what ids they hold, how a new one is made.

use futures_util::TryStreamExt as _;
use ledger::names::EventId;
use sqlx::{Acquire as _, PgConnection, PgPool};
use uuid::Uuid;

use super::StoreError;
use crate::chain::days::DAY;
use crate::chain::filter::Filter;

/// Makes the partitions of the day that `at` (microseconds since 1970) lies in, if they are not
/// there.
pub async fn ensure(connection: &mut PgConnection, at: i64) -> Result<(), StoreError> {
    sqlx::query("SELECT ensure_day($1)").bind(at).execute(connection).await?;
    Ok(())
}

/// Where the fence stands, and the days that have partitions, in order.
pub async fn all(pool: &PgPool) -> Result<(i64, Vec<i64>), StoreError> {
    // One statement, so one moment: a day that is missing here was made when the fence was lower
    // than this, or will be made above it.
    let rows: Vec<(i64, Option<i64>)> =
        sqlx::query_as("SELECT not_before, day FROM fence LEFT JOIN days ON true ORDER BY day")
            .fetch_all(pool)
            .await?;
    let not_before = rows.first().map(|(not_before, _)| *not_before);
    let not_before = not_before.ok_or(StoreError::Corrupt { column: "fence.not_before" })?;
    Ok((not_before, rows.into_iter().filter_map(|(_, day)| day).collect()))
}

/// How many entries a day has.
pub async fn count(pool: &PgPool, first: i64) -> Result<usize, StoreError> {
    let mut connection = pool.acquire().await?;
    let mut transaction = unhurried(&mut connection).await?;
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM entries WHERE recorded_at >= $1 AND recorded_at < $2",
    )
    .bind(first)
    .bind(first.saturating_add(DAY))
    .fetch_one(&mut *transaction)
    .await?;
    usize::try_from(count).map_err(|_| StoreError::Corrupt { column: "entries.seq" })
}

/// The ids of a closed day, of which there are `ids`.
pub async fn filter(pool: &PgPool, first: i64, ids: usize) -> Result<Filter, StoreError> {
    let mut filter = Filter::with_room_for(ids);
    let mut connection = pool.acquire().await?;
    let mut transaction = unhurried(&mut connection).await?;
    let mut rows = sqlx::query_scalar::<_, Uuid>(
        "SELECT event_id FROM entries WHERE recorded_at >= $1 AND recorded_at < $2",
    )
    .bind(first)
    .bind(first.saturating_add(DAY))
    .fetch(&mut *transaction);
    while let Some(id) = rows.try_next().await? {
        let id = EventId::from_bytes(id.into_bytes());
        filter.insert(&id.map_err(|_| StoreError::Corrupt { column: "entries.event_id" })?);
    }
    Ok(filter)
}

/// A transaction that reads a whole day, in whatever way is best for that.
async fn unhurried(
    connection: &mut PgConnection,
) -> Result<sqlx::Transaction<'_, sqlx::Postgres>, StoreError> {
    let mut transaction = connection.begin().await?;
    for setting in ["SET LOCAL statement_timeout = 0", "SET LOCAL enable_seqscan = on"] {
        sqlx::query(setting).execute(&mut *transaction).await?;
    }
    Ok(transaction)
}

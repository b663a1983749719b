//! The limit: the rows that the service wrote, copied into the same tables without it.

use std::time::Instant;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgPoolCopyExt as _, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};
use std::str::FromStr as _;

use crate::rig::Failure;

/// Connections that copy at once, as many as the service has shards.
const CONNECTIONS: usize = 8;

/// The rows of one transaction, as COPY takes them.
pub(super) struct Batch {
    submissions: Vec<u8>,
    entries: Vec<u8>,
    rows: usize,
}

/// Reads the rows of every workspace, cut into transactions of about `group` entries; whole
/// submissions, in the order of their chains.
pub(super) async fn take(pool: &PgPool, group: usize) -> Result<Vec<Batch>, Failure> {
    let workspaces: Vec<String> =
        sqlx::query_scalar("SELECT workspace FROM heads ORDER BY workspace")
            .fetch_all(pool)
            .await?;
    let mut batches = Vec::new();
    for workspace in workspaces {
        let last: i64 = sqlx::query_scalar("SELECT last_seq FROM heads WHERE workspace = $1")
            .bind(&workspace)
            .fetch_one(pool)
            .await?;
        let mut from = 1;
        while from <= last {
            // The first submission at or after the end of a full group starts the next.
            let next: Option<i64> = sqlx::query_scalar(
                "SELECT min(first_seq) FROM submissions WHERE workspace = $1 AND first_seq >= $2",
            )
            .bind(&workspace)
            .bind(from + i64::try_from(group.max(1))?)
            .fetch_one(pool)
            .await?;
            let before = next.unwrap_or(last + 1);
            let part = |table: &str, seq: &str| {
                format!(
                    "COPY (SELECT * FROM {table} WHERE workspace = '{workspace}'
                     AND {seq} >= {from} AND {seq} < {before} ORDER BY {seq})
                     TO STDOUT (FORMAT binary)"
                )
            };
            batches.push(Batch {
                submissions: copied(pool, &part("submissions", "first_seq")).await?,
                entries: copied(pool, &part("entries", "seq")).await?,
                rows: usize::try_from(before - from)?,
            });
            from = before;
        }
    }
    Ok(batches)
}

async fn copied(pool: &PgPool, statement: &str) -> Result<Vec<u8>, Failure> {
    let mut stream = pool.copy_out_raw(statement).await?;
    let mut bytes = Vec::new();
    while let Some(part) = stream.try_next().await? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// Copies the batches into an empty ledger; gives the entries and the seconds.
pub(super) async fn copy(url: &str, batches: Vec<Batch>) -> Result<(usize, f64), Failure> {
    let options = PgConnectOptions::from_str(url)?.options([("synchronous_commit", "on")]);
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    let days: Vec<i64> = vec![today()?];
    for day in days {
        sqlx::query("SELECT ensure_day($1)").bind(day).execute(&pool).await?;
    }
    let rows = batches.iter().map(|batch| batch.rows).sum();
    let mut shares: Vec<Vec<Batch>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
    for (index, batch) in batches.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(index % CONNECTIONS) {
            share.push(batch);
        }
    }
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(PgConnection::connect_with(&options).await?);
    }
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (mut connection, share) in connections.into_iter().zip(shares) {
        tasks.spawn(async move {
            for batch in share {
                let mut transaction = connection.begin().await?;
                for (table, bytes) in
                    [("submissions", &batch.submissions), ("entries", &batch.entries)]
                {
                    let statement = format!("COPY {table} FROM STDIN (FORMAT binary)");
                    let mut sink = transaction.copy_in_raw(&statement).await?;
                    for part in bytes.chunks(256 * 1024) {
                        sink.send(part).await?;
                    }
                    sink.finish().await?;
                }
                transaction.commit().await?;
            }
            Ok::<_, sqlx::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok((rows, start.elapsed().as_secs_f64()))
}

/// Now, in microseconds since 1970.
fn today() -> Result<i64, Failure> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_micros())?)
}

/// Bytes that the server has written to its log so far.
pub(super) async fn wal(pool: &PgPool) -> Result<usize, Failure> {
    let bytes: i64 =
        sqlx::query_scalar("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetch_one(pool).await?;
    Ok(usize::try_from(bytes)?)
}

/// Transactions that have written records so far: entries of one share their writer.
pub(super) async fn transactions(pool: &PgPool) -> Result<usize, Failure> {
    let count: i64 = sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM submissions")
        .fetch_one(pool)
        .await?;
    Ok(usize::try_from(count)?)
}

/// Bytes of the tables of records, and of their indexes.
pub(super) async fn sizes(pool: &PgPool) -> Result<(usize, usize), Failure> {
    let (tables, indexes): (i64, i64) = sqlx::query_as(
        "SELECT sum(pg_table_size(inhrelid))::bigint, sum(pg_indexes_size(inhrelid))::bigint
         FROM pg_inherits WHERE inhparent IN ('entries'::regclass, 'submissions'::regclass)",
    )
    .fetch_one(pool)
    .await?;
    Ok((usize::try_from(tables)?, usize::try_from(indexes)?))
}

/// Entries of all workspaces.
pub(super) async fn count(pool: &PgPool) -> Result<usize, Failure> {
    let count: i64 = sqlx::query_scalar("SELECT coalesce(sum(last_seq), 0)::bigint FROM heads")
        .fetch_one(pool)
        .await?;
    Ok(usize::try_from(count)?)
}

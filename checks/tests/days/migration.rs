//! What was recorded before there were days moves to them, and stays what it was.

use checks::postgres::Postgres;
use ledger::names::Origin;
use sqlx::{Executor as _, PgPool, Row as _};

const DAY: i64 = 86_400_000_000;

/// The schema before days, with two submissions of two days, and a key that counted to 8.
const BEFORE: &str = "
    INSERT INTO ledger (origin) VALUES ('ledger.example.com/old');
    INSERT INTO submissions
    SELECT 'acme', n * 10 + 1, 10, n * 86400000000 + 5, n + 7, sha256(n::text::bytea),
           sha256('key'), sha512(n::text::bytea), sha256(('link' || n)::bytea)
    FROM generate_series(0, 1) n;
    INSERT INTO entries
    SELECT 'acme', n, (n - 1) / 10 * 86400000000 + 5, gen_random_uuid(), sha256(n::text::bytea),
           sha256(('link' || n)::bytea), ('payload ' || n)::bytea
    FROM generate_series(1, 20) n;
    INSERT INTO heads VALUES ('acme', 20, sha256('link'), 86400000005);
    INSERT INTO keys VALUES ('acme', sha256('key'), 'root', NULL, 1, NULL, NULL);";

async fn all(pool: &PgPool) -> Vec<String> {
    let rows = sqlx::query(
        "SELECT (workspace, seq, recorded_at, event_id, payload_digest, link, payload)::text AS row
         FROM entries UNION ALL SELECT s::text FROM submissions s ORDER BY 1",
    );
    rows.fetch_all(pool).await.unwrap().iter().map(|row| row.get("row")).collect()
}

#[tokio::test]
async fn records_move_to_their_days_unchanged() {
    let postgres = Postgres::start().unwrap();
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    // As `tally-ingest migrate` of a version before days has left it.
    let mut old = sqlx::migrate!("../migrations");
    old.migrations = old.iter().filter(|m| m.version <= 2).cloned().collect();
    old.run(&pool).await.unwrap();
    pool.execute(BEFORE).await.unwrap();
    let before = all(&pool).await;
    assert_eq!(before.len(), 22);

    let origin = Origin::new("ledger.example.com/old").unwrap();
    ingest::store::migrate(&postgres.url(), &origin).await.unwrap();
    assert_eq!(all(&pool).await, before);
    let days: Vec<i64> =
        sqlx::query_scalar("SELECT day FROM days ORDER BY 1").fetch_all(&pool).await.unwrap();
    assert_eq!(days, [0, DAY]);
    let highest: i64 =
        sqlx::query_scalar("SELECT highest_counter FROM keys").fetch_one(&pool).await.unwrap();
    assert_eq!(highest, 8);
    for table in ["entries_19700101", "entries_19700102", "submissions_19700102", "entries"] {
        for change in [format!("DELETE FROM {table}"), format!("TRUNCATE {table}")] {
            let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(change.clone())).execute(&pool).await;
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("records of the ledger are never changed"), "{change}: {error}");
        }
    }
}

#[tokio::test]
async fn a_day_is_made_once_by_many_and_no_day_beyond_the_last() {
    let postgres = Postgres::start().unwrap();
    let origin = Origin::new("ledger.example.com/days").unwrap();
    ingest::store::migrate(&postgres.url(), &origin).await.unwrap();
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    let mut making = tokio::task::JoinSet::new();
    for at in (0..16).map(|n| 20_000 * DAY + n) {
        let pool = pool.clone();
        making.spawn(
            async move { sqlx::query("SELECT ensure_day($1)").bind(at).execute(&pool).await },
        );
    }
    while let Some(made) = making.join_next().await {
        made.unwrap().unwrap();
    }
    let parts: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_inherits").fetch_one(&pool).await.unwrap();
    assert_eq!(parts, 2);
    for at in [-1_i64, 253_402_300_800_000_000] {
        let refused = sqlx::query("SELECT ensure_day($1)").bind(at).execute(&pool).await;
        assert!(refused.unwrap_err().to_string().contains("no day of the ledger"), "{at}");
    }
    sqlx::query("SELECT ensure_day($1)")
        .bind(253_402_300_799_999_999_i64)
        .execute(&pool)
        .await
        .unwrap();
}

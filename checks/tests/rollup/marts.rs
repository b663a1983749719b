//! What was rolled up, in Postgres: for those who may read it, with the manifest in every row.

use sqlx::{AssertSqlSafe, PgPool, Row as _, raw_sql};

use super::figures::days;
use super::world::at;

#[tokio::test(flavor = "multi_thread")]
async fn marts_hold_the_newest_revisions_and_can_be_made_again() {
    let mut world = days().await;
    let rolled = world.roll_up().await;
    let published = world.publish(false).await;
    assert_eq!(published.days, u64::try_from(rolled.days.len()).unwrap());
    assert!(published.unknown.is_empty());
    let again = world.publish(false).await;
    assert_eq!((again.days, again.current), (0, published.days));

    let pool = world.rig.pool.clone();
    let pool = &pool;
    let count = |table: &'static str| async move {
        let sql = format!("SELECT count(*) FROM marts.{table}");
        sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap()
    };
    let tables = [
        "llm_daily",
        "tool_reliability_hourly",
        "agent_health_daily",
        "errors_daily",
        "prompts_failing_daily",
        "workspace_cost_daily",
    ];
    let mut rows = 0;
    for table in tables {
        rows += count(table).await;
    }
    assert_eq!(u64::try_from(rows).unwrap(), published.rows);
    // Each row names a manifest that the archive has, and money comes to the last digit.
    let row = sqlx::query(
        "SELECT d.cost::text AS cost, sum(m.cost)::text AS sum, min(m.manifest) AS manifest, d.day::text AS day
         FROM marts.workspace_cost_daily d JOIN marts.llm_daily m USING (workspace, day)
         GROUP BY d.cost, d.day HAVING d.cost > 0 ORDER BY d.day DESC LIMIT 1",
    );
    let row = row.fetch_one(pool).await.unwrap();
    assert_eq!(row.get::<String, _>("cost"), row.get::<String, _>("sum"));
    let manifest: String = row.get("manifest");
    let day: String = row.get("day");
    let note = rolled
        .days
        .iter()
        .find(|done| done.name.as_str() == "llm_daily" && done.day.to_string() == day);
    let note = note.unwrap().object.replace(".parquet", ".note");
    let note = std::fs::read(world.archive().join(note)).unwrap();
    assert_eq!(manifest, ledger::hash::Digest::of(&note).to_string());

    // A late event restates a day, and that day alone is replaced.
    world.clock.reach(at(50));
    world.work(30, at(-24)).await;
    world.seal(at(52)).await;
    let restated = world.roll_up().await;
    assert!(!restated.days.is_empty());
    let second = world.publish(false).await;
    assert_eq!(second.days, u64::try_from(restated.days.len()).unwrap());
    let stale: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM marts.llm_daily m LEFT JOIN marts.periods p
         ON p.workspace = m.workspace AND p.day = m.day AND p.rollup = 'llm_daily' AND p.manifest = m.manifest
         WHERE p.manifest IS NULL",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(stale, 0);

    // What somebody has changed in a mart is as before once all is published anew.
    let dump = || async {
        let sql = "SELECT coalesce(json_agg(m ORDER BY m.day, m.model, m.provider)::text, '') FROM marts.llm_daily m";
        sqlx::query_scalar::<_, String>(sql).fetch_one(pool).await.unwrap()
    };
    let before = dump().await;
    raw_sql("UPDATE marts.llm_daily SET calls = calls + 1").execute(pool).await.unwrap();
    assert_ne!(dump().await, before);
    world.publish(true).await;
    assert_eq!(dump().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_login_reads_its_own_marts_and_changes_nothing() {
    let world = days().await;
    world.roll_up().await;
    world.publish(false).await;
    let pool = &world.rig.pool;
    raw_sql(
        "CREATE ROLE acme_sql LOGIN IN ROLE tally_reader; CREATE ROLE other_sql LOGIN IN ROLE tally_reader;
         INSERT INTO reader_roles (login, workspace) VALUES ('acme_sql', 'acme'), ('other_sql', 'other')",
    )
    .execute(pool)
    .await
    .unwrap();
    let url = world.rig.postgres.url();
    let (before, after) = url.split_once("@").unwrap();
    let scheme = before.split_once("://").unwrap().0;
    for (login, sees) in [("acme_sql", true), ("other_sql", false)] {
        let tenant = PgPool::connect(&format!("{scheme}://{login}@{after}")).await.unwrap();
        for table in ["llm_daily", "periods", "workspace_cost_daily"] {
            let sql = format!("SELECT count(*) FROM marts.{table}");
            let rows: i64 =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&tenant).await.unwrap();
            assert_eq!(rows > 0, sees, "{login} {table}");
            for change in ["DELETE FROM", "TRUNCATE"] {
                let refused = raw_sql(AssertSqlSafe(format!("{change} marts.{table}")))
                    .execute(&tenant)
                    .await;
                let refused = refused.unwrap_err();
                let code =
                    refused.as_database_error().and_then(|error| error.code()).unwrap_or_default();
                assert_eq!(code, "42501", "{login}: {change} {table}");
            }
        }
        for hidden in ["rollups", "chunk_days"] {
            let sql = format!("SELECT count(*) FROM {hidden}");
            assert!(
                sqlx::query(AssertSqlSafe(sql)).fetch_one(&tenant).await.is_err(),
                "{login} {hidden}"
            );
        }
        tenant.close().await;
    }
}

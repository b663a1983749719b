//! When a day is not archived.

use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::world::{DAY, World, archive, noon, start};

impl World {
    /// All rows of the days, and where the partitions lie.
    async fn state(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT e::text FROM entries e UNION ALL SELECT d::text FROM days d
             UNION ALL SELECT oid || ' ' || relname FROM pg_class WHERE relname LIKE 'entries%'
             ORDER BY 1",
        )
        .fetch_all(&self.rig.pool)
        .await
        .unwrap()
    }

    /// Makes sure that a day is refused with a text, and nothing has changed.
    async fn check_refused(&self, first: i64, code: &str, text: &str) {
        let before = self.state().await;
        let (found, message) = self.archive(first).await.unwrap_err();
        assert!(found == code && message.contains(text), "{found} {message}, not {code} {text}");
        assert!(self.state().await == before, "{text}");
    }

    /// Makes sure that a day is refused while the database is changed so.
    async fn check_while(&self, change: &str, undo: &str, text: &str) {
        self.force(change).await;
        self.check_refused(start(0), "55000", text).await;
        self.force(undo).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_not_wholly_in_the_archive_stays() {
    let mut world = World::new().await;
    world.work(10, 0).await;
    world.work(10, 0).await;
    let state = "55000";
    world.check_refused(start(5), "22023", "no day of records begins").await;
    world.check_refused(start(0) + 1, "22023", "no day of records begins").await;
    world.check_refused(i64::MAX, "22023", "no day of records begins").await;
    world.check_refused(start(0), state, "20241004 is open").await;
    // Sealed up to the hour before the last.
    world.clock.reach(noon(1));
    world.rig.seal(ledger::time::Micros::new(start(1) - 1).unwrap()).await.unwrap();
    world.check_refused(start(0), state, "20241004 is open").await;
    sqlx::query("UPDATE fence SET not_before = $1")
        .bind(start(1))
        .execute(&world.rig.pool)
        .await
        .unwrap();
    world.check_refused(start(0), state, "20241004 is not sealed").await;
    world.work(10, 1).await;
    world.seal(1).await;
    world.check_refused(start(1), state, "20241005 is open").await;

    world.stop().await;
    world.force("CREATE TABLE kept AS SELECT * FROM sealed_chunks").await;
    let back = "TRUNCATE sealed_chunks; INSERT INTO sealed_chunks SELECT * FROM kept";
    for change in [
        "DELETE FROM sealed_chunks WHERE workspace = 'acme'",
        "UPDATE sealed_chunks SET last_seq = last_seq - 1 WHERE workspace = 'acme'",
        "UPDATE sealed_chunks SET first_seq = 2 WHERE workspace = 'acme'",
        "UPDATE sealed_chunks SET workspace = 'beta' WHERE workspace = 'acme'",
        "UPDATE sealed_chunks SET hour = hour + 3600000000 WHERE workspace = 'acme'",
        "DELETE FROM sealed_chunks WHERE workspace = 'ledger.acts'",
    ] {
        world.check_while(change, back, "which lies in no sealed chunk of its hour").await;
    }
    world.force("CREATE TABLE rows AS SELECT * FROM entries WHERE workspace = 'acme'").await;
    for seq in [3, 12, 22] {
        let change = format!("DELETE FROM entries WHERE workspace = 'acme' AND seq = {seq}");
        let back = format!("INSERT INTO entries SELECT * FROM rows WHERE seq = {seq}");
        world.check_while(&change, &back, "lacks entries of the submission of acme at seq").await;
    }
    world.force("CREATE TABLE submitted AS SELECT * FROM submissions").await;
    let change = "DELETE FROM submissions WHERE workspace = 'acme' AND first_seq = 13";
    let back = "INSERT INTO submissions SELECT * FROM submitted
                WHERE workspace = 'acme' AND first_seq = 13";
    world.check_while(change, back, "its submissions have").await;
    for (first, at) in [("NULL", "1"), ("0", "NULL"), ("0", "-1")] {
        let statement = format!("SELECT archive_day({first}, {at})");
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&world.rig.pool).await;
        assert!(refused.unwrap_err().to_string().contains("archive_day takes"));
    }

    // With all of it in place again, once.
    assert_eq!(world.archive(start(0)).await, Ok(21));
    world.check_refused(start(0), state, "20241004 is archived already").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_archiver_works_at_a_time() {
    let mut world = World::of_days().await;
    world.stop().await;
    let mut other = PgConnection::connect(&world.rig.postgres.url()).await.unwrap();
    let lock = format!("SELECT pg_advisory_lock({})", archiver::lock::ARCHIVER_LOCK);
    other.execute(sqlx::AssertSqlSafe(lock)).await.unwrap();
    world.check_refused(start(0), "55P03", "another session is the archiver").await;
    other.close().await.unwrap();
    // The session that has the lock gets it again, as an archiver does.
    let mut archiver = archiver::lock::archiver(&world.rig.pool).await.unwrap();
    archiver.execute("SET ROLE tally_archiver").await.unwrap();
    assert_eq!(archive(&mut archiver, start(0)).await, Ok(15));
}

/// Whoever dies at it leaves everything as it was, though the copy was made already.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dies_has_done_nothing() {
    let mut world = World::of_days().await;
    world.stop().await;
    let before = world.state().await;
    let mut reader = PgConnection::connect(&world.rig.postgres.url()).await.unwrap();
    reader.execute("BEGIN; SELECT * FROM entries").await.unwrap();
    let mut archiver = world.as_archiver().await;
    let archiving = tokio::spawn(async move {
        sqlx::query("SELECT archive_day($1, 7)").bind(start(0)).execute(&mut archiver).await
    });
    // It waits for the reader, the copy beside it.
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&world.rig.pool).await.unwrap() == 0 {
        assert!(!archiving.is_finished());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    world.rig.postgres.kill_9().unwrap();
    archiving.await.unwrap().unwrap_err();
    world.rig.postgres.start_again().unwrap();
    assert!(world.state().await == before);
    assert_eq!(world.archive(start(0)).await, Ok(15));
}

/// An hour of an archived day is never sealed again: whatever makes somebody try, the error says why.
#[tokio::test(flavor = "multi_thread")]
async fn sealing_that_meets_an_archived_day_stops_and_says_so() {
    let mut world = World::of_days().await;
    world.archive(start(0)).await.unwrap();
    world.stop().await;
    std::fs::remove_dir_all(world.rig.archive()).unwrap();
    world.force("TRUNCATE sealed_chunks, sealed_hours, published").await;
    let stopped = world.rig.seal(noon(2)).await.unwrap_err().to_string();
    assert!(stopped.contains("its payload is in the archive alone"), "{stopped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_schema_is_brought_up_to_date_with_its_days() {
    let postgres = checks::postgres::Postgres::start().unwrap();
    let pool = sqlx::PgPool::connect(&postgres.url()).await.unwrap();
    let mut old = sqlx::migrate!("../migrations");
    old.migrations = old.iter().filter(|m| m.version <= 7).cloned().collect();
    old.run(&pool).await.unwrap();
    let rows = format!(
        "SELECT ensure_day({DAY});
         INSERT INTO entries SELECT 'acme', n, {DAY} + n, gen_random_uuid(), sha256('x'), sha256('y'),
                CASE WHEN n > 2 THEN convert_to('{{}}', 'UTF8') END, CASE WHEN n <= 2 THEN 9 END
         FROM generate_series(1, 9) n"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&pool).await.unwrap();
    let origin = ledger::names::Origin::new("ledger.example.com/old").unwrap();
    ingest::store::migrate(&postgres.url(), &origin).await.unwrap();
    let rows: (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(payload), count(*) FILTER (WHERE archived) FROM entries",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(rows, (9, 7, 0));
    let days: Vec<(i64, Option<i64>)> =
        sqlx::query_as("SELECT day, archived_at FROM days").fetch_all(&pool).await.unwrap();
    assert_eq!(days, [(DAY, None)]);
}

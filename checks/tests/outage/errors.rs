//! Postgres refuses: deadlocks, serialization failures, time-outs, no connection left (FAULTS row
//! 10).

use std::time::Duration;

use checks::crowd::{Crowd, long, now};
use checks::postgres::{Options, Postgres};
use ingest::store::FENCE_LOCK;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::print;

/// What Postgres may say to any row that is copied, and why.
const CODES: [(&str, &str); 10] = [
    ("40001", "serialization_failure"),
    ("40P01", "deadlock_detected"),
    ("57014", "statement_timeout"),
    ("55P03", "lock_timeout"),
    ("53100", "disk_full"),
    ("53200", "out_of_memory"),
    ("53300", "too_many_connections"),
    ("58030", "io_error"),
    ("57P01", "admin_shutdown"),
    ("XX000", "internal_error"),
];

/// A trigger that fails at every nth row that is copied. A sequence counts also what is rolled back.
const FAULT: &str = "
    CREATE SEQUENCE fault_rows;
    CREATE TABLE fault (code text NOT NULL, seconds int NOT NULL, one_in bigint NOT NULL);
    CREATE FUNCTION fault() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE f fault%ROWTYPE;
    BEGIN
        SELECT * INTO f FROM fault;
        IF FOUND AND nextval('fault_rows') % f.one_in = 0 THEN
            PERFORM pg_sleep(f.seconds);
            RAISE EXCEPTION 'a fault, on purpose' USING ERRCODE = f.code;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fault BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION fault();";

async fn run(crowd: &Crowd, statement: &str) {
    let statement = AssertSqlSafe(statement.to_owned());
    sqlx::raw_sql(statement).execute(&crowd.rig.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_every_error_of_the_database_is_retried_or_told() {
    let more = if long() { 1_000 } else { 40 };
    let mut crowd = Crowd::new().await;
    let service = crowd.serve(&crowd.rig.postgres.url()).await;
    let base = format!("http://{}", service.local_addr());
    let workers = crowd.open(&base, 4, 4).await;
    run(&crowd, FAULT).await;
    let shift = crowd.work(&base, workers, 10);
    let mut told_of_each = Vec::new();
    let mut before = 0;
    for (code, name) in CODES {
        run(&crowd, &format!("TRUNCATE fault; INSERT INTO fault VALUES ('{code}', 0, 41)")).await;
        shift.more(more).await;
        let refused = shift.told().refused;
        told_of_each.push(format!("{name} {}", refused - before));
        before = refused;
    }
    if long() {
        // A statement that really takes too long: more than the 20 s that it is given.
        run(&crowd, "TRUNCATE fault; INSERT INTO fault VALUES ('57014', 60, 500)").await;
        shift.more(100).await;
    }
    run(&crowd, "TRUNCATE fault").await;
    let told = shift.end().await;
    service.shutdown().await;
    assert_eq!(told.broken, 0, "every request was answered");
    let rows: i64 = sqlx::query_scalar("SELECT last_value FROM fault_rows")
        .fetch_one(&crowd.rig.pool)
        .await
        .unwrap();
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    print(&format!(
        "2.1 row 10: {} kinds of errors, {} in all; 503 was told: {}; 0 partial submissions, \
         {figures}",
        CODES.len(),
        rows / 41,
        told_of_each.join(", ")
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_a_deadlock_is_retried() {
    const ROUNDS: i64 = 3;
    let mut crowd = Crowd::new().await;
    let service = crowd.serve(&crowd.rig.postgres.url()).await;
    let base = format!("http://{}", service.local_addr());
    let mut worker = crowd.open(&base, 1, 1).await.pop().unwrap();
    let asks_waiting = "SELECT count(*) > 0 FROM pg_stat_activity
                        WHERE application_name = 'tally-ingest' AND wait_event_type = 'Lock'";
    for _ in 0..ROUNDS {
        // Takes the head before the fence: the other way round. It waits longer than the service.
        let mut rogue = crowd.rig.pool.begin().await.unwrap();
        for statement in [
            "SET LOCAL deadlock_timeout = '1min'",
            "SELECT FROM heads WHERE workspace = 'crowd-0' FOR UPDATE",
        ] {
            sqlx::query(statement).execute(&mut *rogue).await.unwrap();
        }
        let (desk, submission) = (crowd.desk(&base), worker.work(5, now()));
        let posting = tokio::spawn(async move {
            desk.sent(&submission).await;
            let answer = desk.client.post(&submission).await;
            desk.deliver(&submission).await;
            answer
        });
        while !sqlx::query_scalar::<_, bool>(asks_waiting).fetch_one(&mut *rogue).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(FENCE_LOCK)
            .execute(&mut *rogue)
            .await
            .unwrap();
        rogue.rollback().await.unwrap();
        let answer = posting.await.unwrap();
        assert!(matches!(answer, checks::driver::Answer::Receipt(_)), "{answer:?}");
    }
    let asks = "SELECT deadlocks >= $1 FROM pg_stat_database WHERE datname = current_database()";
    while !sqlx::query_scalar::<_, bool>(asks)
        .bind(ROUNDS)
        .fetch_one(&crowd.rig.pool)
        .await
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    service.shutdown().await;
    let figures = crowd.held().await;
    print(&format!("2.1 row 10: {ROUNDS} deadlocks, retried within the request, {figures}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_no_connection_is_left() {
    let settings = ["max_connections=24"];
    let options = Options { fsync: false };
    let postgres = Postgres::within(&std::env::temp_dir(), options, &settings).unwrap();
    let mut crowd = Crowd::on(postgres).await;
    let url = crowd.rig.postgres.url();
    let service = crowd.serve(&url).await;
    let base = format!("http://{}", service.local_addr());
    let workers = crowd.open(&base, 4, 2).await;
    let shift = crowd.work(&base, workers, 5);
    shift.more(20).await;
    // Others take every connection, the service's too once they are ended.
    let mut control = PgConnection::connect(&url).await.unwrap();
    let (mut taken, mut free) = (Vec::new(), 0);
    let ours = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE application_name = 'tally-ingest'";
    // A connection that was told to end frees its place a moment later: looks twice.
    while free < 2 {
        while let Ok(connection) = PgConnection::connect(&url).await {
            taken.push(connection);
        }
        let left: i64 = sqlx::query_scalar(ours).fetch_one(&mut control).await.unwrap();
        free = if left == 0 { free + 1 } else { 0 };
    }
    let before = shift.told();
    while shift.told().refused < before.refused + 10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(shift.acked(), before.acked, "nothing can be recorded");
    drop(taken);
    let resumed = shift.more(20).await;
    let told = shift.end().await;
    service.shutdown().await;
    assert_eq!(told.broken, 0, "every request was answered");
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    print(&format!(
        "2.1 row 10: no connection left, {} times told 503, 20 more within {} ms once there was \
         one, {figures}",
        told.refused,
        resumed.as_millis()
    ));
}

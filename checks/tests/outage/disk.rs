//! Postgres' disk is full, during intake and during checkpoints (FAULTS row 7).
//!
//! The disk is a file system in memory of a fixed size. Where the test may not mount one, it says
//! so and tests nothing.

use std::time::{Duration, Instant};

use checks::crowd::Crowd;
use checks::disk::Disk;
use checks::driver::Answer;
use checks::postgres::{Options, Postgres};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use crate::{print, slug};

/// `None` where this machine does not let the test mount one.
fn mount(mib: u32) -> Option<Disk> {
    let disk = Disk::mount(mib);
    if disk.is_none() {
        print("2.1 row 7: SKIPPED, this machine does not let the test mount a file system");
    }
    disk
}

async fn run(postgres: &Postgres, statements: &[&str]) {
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).execute(&pool).await.unwrap();
    }
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_7_the_disk_of_the_tables_is_full() {
    let Some(disk) = mount(16) else { return };
    let space = disk.path().join("space");
    std::fs::create_dir(&space).unwrap();
    let postgres = Postgres::start().unwrap();
    postgres.give(&space).unwrap();
    let create = format!("CREATE TABLESPACE small LOCATION '{}'", space.display());
    let all = "ALTER DATABASE postgres SET default_tablespace = small";
    // The ledger's owner makes tables there too.
    let grant = "GRANT CREATE ON TABLESPACE small TO PUBLIC";
    run(&postgres, &[&create, all, grant]).await;

    let mut crowd = Crowd::on(postgres).await;
    let service = crowd.serve(&crowd.rig.postgres.url()).await;
    let base = format!("http://{}", service.local_addr());
    let mut workers = crowd.open(&base, 2, 5).await;
    let mut asking = workers.pop().unwrap();
    let shift = crowd.work(&base, workers, 100);
    while shift.told().refused < 30 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A client that asks now is told what it can do: come back.
    let desk = crowd.desk(&base);
    let submission = asking.work(100, checks::crowd::now());
    desk.sent(&submission).await;
    let answer = desk.client.post(&submission).await;
    let Answer::Unknown(told) = answer else { panic!("{answer:?}") };
    let problem: Value = serde_json::from_str(told.trim_start_matches("503: ")).unwrap();
    assert_eq!(slug(&problem), "unavailable", "{told}");
    let when_full = shift.acked();

    disk.grow(512).unwrap();
    let start = Instant::now();
    shift.more(20).await;
    let resumed = start.elapsed();
    desk.deliver(&submission).await;
    let told = shift.end().await;
    service.shutdown().await;
    assert_eq!(told.broken, 0, "every request was answered");
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    print(&format!(
        "2.1 row 7: tablespace full after {when_full} submissions, {} times told 503, 20 more \
         within {} ms once there was space, no restart, {figures}",
        told.refused,
        resumed.as_millis()
    ));
}

/// Postgres cannot write its log and its checkpoints either: it ends. It is started again by its
/// operator; the service is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_7_the_disk_of_all_of_postgres_is_full() {
    let Some(disk) = mount(144) else { return };
    let settings = ["max_wal_size=32MB", "min_wal_size=32MB", "shared_buffers=16MB"];
    let postgres = Postgres::within(&disk.path(), Options { fsync: true }, &settings).unwrap();
    let mut crowd = Crowd::on(postgres).await;
    let service = crowd.serve(&crowd.rig.postgres.url()).await;
    let base = format!("http://{}", service.local_addr());
    let workers = crowd.open(&base, 2, 5).await;
    let shift = crowd.work(&base, workers, 100);
    while shift.told().refused < 30 {
        // It fails where the disk is full: that is the point.
        let _ = sqlx::query("CHECKPOINT").execute(&crowd.rig.pool).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let when_full = shift.acked();

    disk.grow(1_024).unwrap();
    let mut ended = false;
    while tokio::time::timeout(Duration::from_secs(2), shift.more(20)).await.is_err() {
        if !crowd.rig.postgres.is_running() {
            ended = true;
            crowd.rig.postgres.start_again().unwrap();
        }
    }
    let told = shift.end().await;
    service.shutdown().await;
    assert_eq!(told.broken, 0, "every request was answered");
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    let end = if ended { "ended, and was started again by hand" } else { "went on by itself" };
    print(&format!(
        "2.1 row 7: whole disk full after {when_full} submissions, with checkpoints; Postgres \
         {end}; {} times told 503; the service was not restarted; {figures}",
        told.refused
    ));
    // The server goes before its disk.
    drop(crowd);
    drop(disk);
}

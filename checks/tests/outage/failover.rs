//! Another database takes the primary's place (FAULTS row 9).

use std::time::Duration;

use checks::crowd::{Crowd, now};
use checks::driver::{Answer, Client};
use checks::postgres::Postgres;
use checks::proxy::Proxy;
use checks::submission::Submission;
use checks::worker::Worker;
use ledger::names::Workspace;
use serde_json::Value;
use sqlx::PgPool;

use crate::{print, slug};

/// Waits until the standby has all that the primary has.
async fn caught_up(crowd: &Crowd, standby: &PgPool) {
    let primary: String = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::text")
        .fetch_one(&crowd.rig.pool)
        .await
        .unwrap();
    let asks = "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)";
    while !sqlx::query_scalar::<_, bool>(asks).bind(&primary).fetch_one(standby).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn entries(postgres: &Postgres) -> i64 {
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    let clients = "SELECT count(*) FROM entries WHERE workspace <> 'ledger.acts'";
    let count = sqlx::query_scalar(clients).fetch_one(&pool).await.unwrap();
    pool.close().await;
    count
}

/// The problem of an answer that says 503.
async fn refusal(client: &Client, submission: &Submission) -> String {
    let answer = client.post(submission).await;
    let Answer::Unknown(told) = &answer else { panic!("recorded: {answer:?}") };
    let problem: Value = serde_json::from_str(told.trim_start_matches("503: ")).unwrap();
    slug(&problem)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_9_a_replica_that_lacks_the_last_commits_is_not_the_ledger() {
    let mut crowd = Crowd::new().await;
    let proxy = Proxy::start(crowd.rig.postgres.address()).await.unwrap();
    let service = crowd.serve(&proxy.url(&crowd.rig.postgres.url())).await;
    let base = format!("http://{}", service.local_addr());
    let mut workers = crowd.open(&base, 1, 2).await;
    let (mut one, mut other) = (workers.pop().unwrap(), workers.pop().unwrap());
    let desk = crowd.desk(&base);
    let kept = one.work(10, now());
    let receipt = desk.deliver(&kept).await;

    let mut replica = crowd.rig.postgres.standby().unwrap();
    caught_up(&crowd, &PgPool::connect(&replica.url()).await.unwrap()).await;
    replica.stop_immediate().unwrap();
    let lost = one.work(10, now());
    let receipt_of_lost = desk.deliver(&lost).await;
    crowd.rig.postgres.kill_9().unwrap();
    replica.start_again().unwrap();
    replica.promote().unwrap();
    proxy.lead_to(replica.address());

    let before = entries(&replica).await;
    assert_eq!(before, 3 + 10, "the replica lacks what was acknowledged last");
    let new = other.work(10, now());
    desk.sent(&new).await;
    for (submission, what) in [(&new, "new"), (&lost, "lost"), (&new, "new, again")] {
        assert_eq!(refusal(&desk.client, submission).await, "behind-receipts", "{what}");
    }
    assert_eq!(entries(&replica).await, before, "nothing was recorded on it");

    // The right database comes back: the service goes on, and has kept its word.
    crowd.rig.postgres.start_again().unwrap();
    proxy.lead_to(crowd.rig.postgres.address());
    desk.deliver(&new).await;
    assert_eq!(desk.deliver(&kept).await, receipt);
    assert_eq!(desk.deliver(&lost).await, receipt_of_lost);
    service.shutdown().await;
    let figures = crowd.held().await;
    print(&format!(
        "2.1 row 9: a replica 10 events behind was refused 3 of 3 times (behind-receipts), nothing \
         recorded on it, {figures}"
    ));
}

/// A key that the replica has never heard of may be one whose registration it lacks: it is not refused
/// for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_9_a_key_whose_registration_is_lost_is_not_refused_for_good() {
    let mut crowd = Crowd::new().await;
    let proxy = Proxy::start(crowd.rig.postgres.address()).await.unwrap();
    let url = crowd.rig.postgres.url();
    let service = crowd.serve(&proxy.url(&url)).await;
    let base = format!("http://{}", service.local_addr());
    let mut one = crowd.open(&base, 1, 1).await.pop().unwrap();
    let desk = crowd.desk(&base);
    let mut replica = crowd.rig.postgres.standby().unwrap();
    caught_up(&crowd, &PgPool::connect(&replica.url()).await.unwrap()).await;
    replica.stop_immediate().unwrap();
    // Another process registers the key: this one never looked for it.
    let other = crowd.serve(&url).await;
    let elsewhere = crowd.desk(&format!("http://{}", other.local_addr()));
    let workspace = Workspace::new("crowd-0").unwrap();
    let mut new = Worker::new(&crowd.rig.origin, &workspace, "new", 77);
    let registered = crowd.founders().first_mut().unwrap().register(&new, now());
    elsewhere.deliver(&registered).await;
    desk.deliver(&one.work(1, now())).await;
    other.shutdown().await;
    let unknown = Worker::new(&crowd.rig.origin, &workspace, "unknown", 79).work(1, now());
    assert!(matches!(desk.client.post(&unknown).await, Answer::Refused { status: 403, .. }));
    crowd.rig.postgres.kill_9().unwrap();
    replica.start_again().unwrap();
    replica.promote().unwrap();
    proxy.lead_to(replica.address());

    let first = new.work(1, now());
    desk.sent(&first).await;
    let nowhere = Workspace::new("nowhere").unwrap();
    let stranger = Worker::new(&crowd.rig.origin, &nowhere, "stranger", 78).work(1, now());
    // Who may not know whether a workspace is there is told the same of all of them.
    for (submission, what) in [(&first, "first"), (&unknown, "unknown"), (&stranger, "stranger")] {
        assert_eq!(refusal(&desk.client, submission).await, "behind-receipts", "{what}");
    }

    crowd.rig.postgres.start_again().unwrap();
    proxy.lead_to(crowd.rig.postgres.address());
    desk.deliver(&first).await;
    assert!(matches!(desk.client.post(&unknown).await, Answer::Refused { status: 403, .. }));
    service.shutdown().await;
    crowd.held().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_9_a_synchronous_replica_takes_over_and_nothing_is_lost() {
    let mut crowd = Crowd::new().await;
    let proxy = Proxy::start(crowd.rig.postgres.address()).await.unwrap();
    let service = crowd.serve(&proxy.url(&crowd.rig.postgres.url())).await;
    let base = format!("http://{}", service.local_addr());
    let workers = crowd.open(&base, 4, 4).await;
    let replica = crowd.rig.postgres.standby().unwrap();
    for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"]
    {
        sqlx::query(statement).execute(&crowd.rig.pool).await.unwrap();
    }
    let asks = "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
    while !sqlx::query_scalar::<_, bool>(asks).fetch_one(&crowd.rig.pool).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let shift = crowd.work(&base, workers, 10);
    shift.more(100).await;
    crowd.rig.postgres.kill_9().unwrap();
    replica.promote().unwrap();
    proxy.lead_to(replica.address());
    let resumed = shift.more(1).await;
    shift.more(50).await;
    let told = shift.end().await;
    service.shutdown().await;
    assert_eq!(told.broken, 0, "every request was answered");

    crowd.rig.pool = PgPool::connect(&replica.url()).await.unwrap();
    crowd.rig.postgres = replica;
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    print(&format!(
        "2.1 row 9: a synchronous replica took over under load, intake resumed after {} ms, \
         {figures}",
        resumed.as_millis()
    ));
}

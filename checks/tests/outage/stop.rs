//! The service is told to end at its peak, and killed a second later (FAULTS row 16).

use std::time::{Duration, Instant};

use checks::crowd::{Crowd, long};
use checks::service::{base, free_address};

use crate::{print, process};

/// How long the service may take to end when it is told to.
const DRAIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_16_told_to_end_at_the_peak_and_killed_a_second_later() {
    let rounds = if long() { 20 } else { 3 };
    let mut crowd = Crowd::new().await;
    let (url, address) = (crowd.rig.postgres.url(), free_address().unwrap());
    let mut service = process(&crowd, &url, address).await;
    let workers = crowd.open(&base(address), 4, 8).await;
    let shift = crowd.work(&base(address), workers, 20);
    let mut slowest = Duration::ZERO;
    for round in 0..2 * rounds {
        shift.more(100).await;
        service.terminate().await.unwrap();
        if round % 2 == 0 {
            let start = Instant::now();
            let status = service.ended().await.unwrap();
            slowest = slowest.max(start.elapsed());
            assert!(status.success() && slowest < DRAIN, "{status} after {slowest:?}");
        } else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            service.kill().await.unwrap();
        }
        service = process(&crowd, &url, address).await;
    }
    let told = shift.end().await;
    service.stop().await.unwrap();
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    print(&format!(
        "2.1 row 16: {rounds} SIGTERMs at the peak, drained in {} ms at most; {rounds} followed by \
         SIGKILL a second later; {} connections broke; {figures}",
        slowest.as_millis(),
        told.broken
    ));
}

/// A stuck database does not keep the service from ending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_16_told_to_end_while_the_database_is_stuck() {
    let mut crowd = Crowd::new().await;
    let (url, address) = (crowd.rig.postgres.url(), free_address().unwrap());
    let mut service = process(&crowd, &url, address).await;
    let workers = crowd.open(&base(address), 4, 4).await;
    let shift = crowd.work(&base(address), workers, 10);
    shift.more(20).await;
    let mut stuck = crowd.rig.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE heads IN ACCESS EXCLUSIVE MODE").execute(&mut *stuck).await.unwrap();
    service.terminate().await.unwrap();
    let start = Instant::now();
    let status = service.ended().await.unwrap();
    let took = start.elapsed();
    assert!(status.success() && took < DRAIN, "{status} after {took:?}");
    stuck.rollback().await.unwrap();
    let service = process(&crowd, &url, address).await;
    shift.more(20).await;
    shift.end().await;
    service.stop().await.unwrap();
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    let took = took.as_millis();
    print(&format!("2.1 row 16: ended in {took} ms while the database was stuck, {figures}"));
}

//! Postgres is killed, stopped at once, and killed in the middle of a COPY (FAULTS row 5).

use std::time::Duration;

use checks::crowd::{Crowd, long};
use checks::proxy::Proxy;

use crate::{ask, print};

/// How long intake may take to resume, once Postgres takes connections.
const RESUMES: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_5_postgres_dies_under_load() {
    let kills = if long() { 50 } else { 5 };
    let mut crowd = Crowd::new().await;
    let proxy = Proxy::start(crowd.rig.postgres.address()).await.unwrap();
    let service = crowd.serve(&proxy.url(&crowd.rig.postgres.url())).await;
    let base = format!("http://{}", service.local_addr());
    let workers = crowd.open(&base, 4, 4).await;
    // Large enough that groups go by COPY.
    let shift = crowd.work(&base, workers, 100);
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        shift.more(20).await;
        match kill % 3 {
            0 => {
                assert!(proxy.hold_copy(RESUMES).await, "{:?}", shift.told());
                crowd.rig.postgres.kill_9().unwrap();
            }
            1 => crowd.rig.postgres.stop_immediate().unwrap(),
            _ => crowd.rig.postgres.kill_9().unwrap(),
        }
        assert_eq!(ask(&base, "/readyz").await, (503, "not-ready".to_owned()));
        assert_eq!(ask(&base, "/healthz").await.0, 200);
        crowd.rig.postgres.start_again().unwrap();
        let resumed = shift.more(1).await;
        assert!(resumed < RESUMES, "intake resumes after {resumed:?}");
        slowest = slowest.max(resumed);
        assert_eq!(ask(&base, "/readyz").await.0, 200);
    }
    let told = shift.end().await;
    service.shutdown().await;
    assert_eq!(told.broken, 0, "every request was answered");
    let figures = crowd.held().await;
    assert_eq!(figures.sent, figures.acked);
    print(&format!(
        "2.1 row 5: {kills} deaths of Postgres (a third of them mid-COPY), intake resumed after \
         {} ms at most, {} times told 503, {figures}",
        slowest.as_millis(),
        told.refused
    ));
}

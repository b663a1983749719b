//! The ledger's clock goes wrong (FAULTS row 15).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use checks::crowd::{Crowd, Desk, now};
use checks::driver::Answer;
use checks::forge::Random;
use checks::worker::Worker;
use ingest::Clock;
use ledger::entry::next_recorded_at;
use ledger::time::{Micros, SECOND};
use serde_json::Value;

use crate::{print, slug};

/// A clock that says whatever it is told to.
#[derive(Clone)]
struct Wild(Arc<AtomicI64>);

impl Wild {
    fn set(&self, at: i64) {
        self.0.store(at, Ordering::SeqCst);
    }
}

impl Clock for Wild {
    fn now(&self) -> Micros {
        Micros::new(self.0.load(Ordering::SeqCst)).unwrap_or(Micros::EPOCH)
    }
}

/// The last recorded time of a workspace.
async fn last(crowd: &Crowd, workspace: &str) -> i64 {
    sqlx::query_scalar("SELECT recorded_at FROM heads WHERE workspace = $1")
        .bind(workspace)
        .fetch_one(&crowd.rig.pool)
        .await
        .unwrap()
}

/// Sends what is refused because of the clock, and sends it again once the clock says `mended`.
async fn refused_until(crowd: &Crowd, desk: &Desk, worker: &mut Worker, wild: &Wild, mended: i64) {
    let before = (crowd.count("entries").await, crowd.count("submissions").await);
    let submission = worker.work(3, now());
    desk.sent(&submission).await;
    let answer = desk.client.post(&submission).await;
    let Answer::Unknown(told) = &answer else { panic!("recorded: {answer:?}") };
    let problem: Value = serde_json::from_str(told.trim_start_matches("503: ")).unwrap();
    assert_eq!(slug(&problem), "clock-behind", "{told}");
    assert_eq!((crowd.count("entries").await, crowd.count("submissions").await), before);
    wild.set(mended);
    desk.deliver(&submission).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_the_clock_goes_wrong() {
    let mut crowd = Crowd::new().await;
    let start = now().get();
    let wild = Wild(Arc::new(AtomicI64::new(start)));
    let url = crowd.rig.postgres.url();
    let service = crowd.rig.serve_on(&url, Arc::new(wild.clone())).await.unwrap();
    let base = format!("http://{}", service.local_addr());
    let mut workers = crowd.open(&base, 2, 1).await;
    let (mut other, mut worker) = (workers.pop().unwrap(), workers.pop().unwrap());
    let workspace = worker.workspace.to_string();
    let desk = crowd.desk(&base);

    // Frozen: time stands, events go on.
    for _ in 0..20 {
        desk.deliver(&worker.work(2, now())).await;
        assert_eq!(last(&crowd, &workspace).await, start);
    }
    // A second back: held.
    wild.set(start - SECOND);
    desk.deliver(&worker.work(2, now())).await;
    assert_eq!(last(&crowd, &workspace).await, start);
    // Further back: nothing is recorded until the clock is mended.
    for behind in [SECOND + 1, 600 * SECOND, start] {
        wild.set(start - behind);
        refused_until(&crowd, &desk, &mut worker, &wild, start).await;
        assert_eq!(last(&crowd, &workspace).await, start);
    }
    // To 2090 and back: what was recorded there stands, and nothing older follows it.
    let far = Micros::parse("2090-01-01T00:00:00.000000Z").unwrap().get();
    wild.set(far);
    let ahead = worker.work(2, now());
    let answer = desk.client.post(&ahead).await;
    desk.sent(&ahead).await;
    let leapt = match &answer {
        Answer::Receipt(_) => {
            desk.deliver(&ahead).await;
            assert_eq!(last(&crowd, &workspace).await, far);
            wild.set(start + 1);
            refused_until(&crowd, &desk, &mut worker, &wild, far - SECOND).await;
            assert_eq!(last(&crowd, &workspace).await, far);
            "recorded, and the mended clock refused after it"
        }
        Answer::Unknown(told) => {
            assert!(told.contains("/problems/clock"), "{told}");
            wild.set(start + 1);
            desk.deliver(&ahead).await;
            "refused"
        }
        Answer::Refused { .. } => panic!("{answer:?}"),
    };
    // A workspace that recorded nothing in 2090 goes on by the mended clock.
    wild.set(start + 2);
    desk.deliver(&other.work(2, now())).await;
    service.shutdown().await;
    let falls: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT recorded_at < lag(recorded_at) OVER
             (PARTITION BY workspace ORDER BY seq) AS falls FROM entries) e WHERE falls",
    )
    .fetch_one(&crowd.rig.pool)
    .await
    .unwrap();
    assert_eq!(falls, 0, "recorded_at never falls");
    let figures = crowd.rig.judge(crowd.path(), None).await.unwrap();
    assert!(figures.held(), "{:#?}", figures.findings);
    print(&format!(
        "2.1 row 15: frozen and 1 s back: held; 1 s and 1 us, 10 min, to 1970: clock-behind until \
         mended, nothing recorded; 2090: {leapt}; {figures}"
    ));
}

/// Ten million steps of a clock that is steady, stands, jumps and falls.
#[test]
fn row_15_recorded_at_never_falls_in_ten_million_steps() {
    const STEPS: u64 = 10_000_000;
    let seed = 15;
    let mut random = Random::new(seed);
    let start = Micros::parse("2026-11-24T12:00:00.000000Z").unwrap();
    let (mut clock, mut last) = (start.get(), start);
    let (mut held, mut refused) = (0_u64, 0_u64);
    for step in 0..STEPS {
        let more = |random: &mut Random, most: u64| i64::try_from(random.below(most)).unwrap();
        clock = match random.below(1_000) {
            0 => last.get() - more(&mut random, 600_000_000),
            1 => last.get() + more(&mut random, 600_000_000),
            2..=20 => last.get() - more(&mut random, 2_000_001),
            21..=200 => clock,
            _ => clock + more(&mut random, 2_000),
        };
        let now = Micros::new(clock).unwrap();
        match next_recorded_at(last, now) {
            Ok(at) => {
                assert!(at >= last && at >= now, "seed {seed}, step {step}");
                assert!(at == now || last.get() - clock <= SECOND, "seed {seed}, step {step}");
                held += u64::from(at > now);
                last = at;
            }
            Err(_) => {
                assert!(last.get() - clock > SECOND, "seed {seed}, step {step}");
                refused += 1;
                // Someone mends it, sooner or later.
                if random.once_in(50) {
                    clock = last.get();
                }
            }
        }
    }
    assert!(held > 1_000 && refused > 1_000, "{held} held, {refused} refused");
    print(&format!(
        "2.1 row 15: {STEPS} steps of a wild clock: recorded_at never fell, {held} held, {refused} \
         refused (seed {seed})"
    ));
}

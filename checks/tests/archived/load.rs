//! Days are archived while everybody works.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use checks::driver::Answer;
use checks::figures::tell;
use checks::worker::Worker;
use ledger::verify::Verdict;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;

use crate::world::{World, archive, event, noon, start};

/// Events of a submission of the days that are archived, and submissions of each day.
const EVENTS: u64 = 100;
const SUBMISSIONS: u64 = 80;
/// Agents at work while that happens.
const AGENTS: u64 = 4;

/// What the agents met.
#[derive(Debug, Default)]
struct Met {
    recorded: u64,
    slowest: Duration,
}

impl World {
    /// Agents that record and a reader that reads until they are told to stop. No submission may be
    /// refused or left without an answer, and no read either.
    async fn at_work(&mut self, stop: &Arc<AtomicBool>) -> JoinSet<Met> {
        let mut work = JoinSet::new();
        for seed in 10..10 + AGENTS {
            let acme = self.founder.workspace.clone();
            let mut agent = Worker::new(&self.rig.origin, &acme, "busy", seed);
            let registered = self.founder.register(&agent, noon(2));
            self.deliver(registered).await;
            let (client, history, stop) = (self.client(), self.history.clone(), Arc::clone(stop));
            work.spawn(async move {
                let mut met = Met::default();
                while !stop.load(Ordering::Relaxed) {
                    let submission = agent.work(3, noon(2));
                    let sent = Instant::now();
                    // Once: it is answered, and not only when it is sent again.
                    let answer = client.deliver(&history, &submission, Duration::ZERO).await;
                    assert!(matches!(answer, Ok(Answer::Receipt(_))), "{answer:?}");
                    met.slowest = met.slowest.max(sent.elapsed());
                    met.recorded += 3;
                }
                met
            });
        }
        let (base, stop) = (self.base.clone(), Arc::clone(stop));
        work.spawn(async move {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut met = Met::default();
            while !stop.load(Ordering::Relaxed) {
                let url = format!("{base}/v1/workspaces/acme/entries?limit=50");
                let sent = Instant::now();
                let request = http.get(url).bearer_auth(checks::token::reader("acme"));
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 200, "{answer:?}");
                let page: serde_json::Value = answer.json().await.unwrap();
                assert_eq!(page["entries"].as_array().unwrap().len(), 50);
                met.slowest = met.slowest.max(sent.elapsed());
            }
            met
        });
        work
    }

    /// Bytes of the partition of day 0 with its indexes.
    async fn bytes(&self) -> i64 {
        sqlx::query_scalar("SELECT pg_total_relation_size('entries_20241004')")
            .fetch_one(&self.rig.pool)
            .await
            .unwrap()
    }

    async fn count(&self) -> u64 {
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM entries WHERE workspace = 'acme'")
                .fetch_one(&self.rig.pool)
                .await
                .unwrap();
        count.cast_unsigned()
    }

    /// Every promise kept: what was acknowledged is there once, and what is sealed is proven.
    async fn check_all(&mut self, day: i64) {
        self.stop().await;
        self.seal(day).await;
        let report = self.verify(false);
        assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
        let figures = self.judge(Some(&report)).await;
        assert!(figures.held(), "{figures}: {:?}", figures.findings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_and_readers_go_on_while_days_are_archived() {
    let mut world = World::new().await;
    for day in 0..2 {
        world.clock.reach(noon(day));
        for _ in 0..SUBMISSIONS {
            world.work(EVENTS, day).await;
        }
    }
    world.clock.reach(noon(2));
    world.seal(2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut work = world.at_work(&stop).await;
    let before = (world.count().await, world.bytes().await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    let expected = i64::try_from(EVENTS * SUBMISSIONS).unwrap();
    for day in 0..2 {
        // And the record of the one administrative act of day 0.
        assert_eq!(world.archive(start(day)).await, Ok(expected + 1 - day));
    }
    let took = started.elapsed() / 2;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut met = Met::default();
    while let Some(of_one) = work.join_next().await {
        let of_one = of_one.unwrap();
        met.recorded += of_one.recorded;
        met.slowest = met.slowest.max(of_one.slowest);
    }
    assert!(met.recorded > 0, "{met:?}");
    let after = (world.count().await, world.bytes().await);
    assert!(after.0 >= before.0 && after.1 * 2 < before.1, "{before:?} {after:?}");
    // Measured beside each other, so the machine's load does not matter.
    let each = |bytes: i64| bytes / expected;
    let line = format!(
        "archived {expected} events in {took:.1?} beside {} recorded events, the slowest answer in \
         {:.0?}: {} bytes an event before, {} after",
        met.recorded,
        met.slowest,
        each(before.1),
        each(after.1),
    );
    tell(Path::new(env!("CARGO_TARGET_TMPDIR")), &line).unwrap();
    world.check_all(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_reader_holds_archiving_up_and_nobody_else() {
    let mut world = World::of_days().await;
    let mut reader = PgConnection::connect(&world.rig.postgres.url()).await.unwrap();
    reader.execute("BEGIN; SELECT * FROM entries").await.unwrap();
    let mut archiver = world.as_archiver().await;
    let archiving = tokio::spawn(async move { archive(&mut archiver, start(0)).await });
    // Long enough for the archiver to have waited, let others pass, and come again.
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut n = 100;
    while begun.elapsed() < Duration::from_secs(6) {
        let sent = Instant::now();
        world.record(vec![event(n), event(n + 1)]).await;
        slowest = slowest.max(sent.elapsed());
        n += 2;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!archiving.is_finished());
    reader.execute("ROLLBACK").await.unwrap();
    assert_eq!(archiving.await.unwrap(), Ok(15));
    let line =
        format!("{} events recorded beside a long reader, the slowest in {slowest:.0?}", n - 100);
    tell(Path::new(env!("CARGO_TARGET_TMPDIR")), &line).unwrap();
    world.check_all(3).await;
}

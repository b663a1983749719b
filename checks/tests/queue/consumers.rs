//! Consumers die, come and go, and sleep (FAULTS row 12): each message is recorded once.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use checks::broker::{self, Mock};
use checks::crowd::{Crowd, long, now};
use checks::forge::Random;
use checks::service::{Process, free_address};
use ingest::SystemClock;
use ingest::chain::{Probe, Step};
use ingest::config::ConsumerConfig;
use ingest::queue::consume;
use ingest::queue::consume::State;
use ingest::queue::node::RunningNode;
use tokio::process::Command;

use crate::print;
use crate::world::{PATIENCE, begin, start, until};

/// SIGABRT: the hook of the fault kills its own process, as SIGKILL would.
const ABORTED: i32 = 6;
/// The steps of a consumer.
const STEPS: [Step; 9] = [
    Step::Taken,
    Step::Begun,
    Step::Locked,
    Step::Planned,
    Step::Moved,
    Step::Advanced,
    Step::Copied,
    Step::BeforeCommit,
    Step::Committed,
];
/// Consumers that run, and die, at the same time: each in a group of its own, so that all have all
/// partitions at once and take them from each other.
const LANES: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_consumers_are_killed_at_every_step() {
    let mock = Mock::start(1, 2).unwrap();
    killed_at_every_step(&mut Crowd::new().await, &mock.servers, "2.1 row 12").await;
}

/// On a queue with two partitions.
pub async fn killed_at_every_step(crowd: &mut Crowd, servers: &str, row: &str) {
    let kills_a_step = if long() { 60 } else { 12 };
    let partitions = ["--queue-partitions", "2"];
    let (serving, base) = start(crowd, servers, "serve", &partitions).await;
    let workers = crowd.open(&base, 4, 2).await;
    let shift = crowd.work(&base, workers, 10);

    let mut random = Random::new(12);
    let mut deaths: Vec<(Step, u64)> = STEPS
        .iter()
        .flat_map(|step| (0..kills_a_step).map(move |_| *step))
        .map(|step| (step, 1 + random.below(4)))
        .collect();
    for at in (1..deaths.len()).rev() {
        let other = usize::try_from(random.below(u64::try_from(at + 1).unwrap())).unwrap();
        deaths.swap(at, other);
    }
    let kills = deaths.len();
    let deaths = Mutex::new(VecDeque::from(deaths));
    let lane = async |lane: usize| {
        let mut killed = 0;
        loop {
            let Some((step, passage)) = deaths.lock().unwrap().pop_front() else { return };
            let group = format!("lane-{lane}-{killed}");
            let passage = passage.to_string();
            let arguments =
                ["--abort-at", step.name(), "--passage", &passage, "--queue-group", &group];
            let arguments = [&arguments[..], &partitions].concat();
            let address = free_address().unwrap();
            let mut process = begin(crowd, servers, "consume", &arguments, address);
            let ended = tokio::time::timeout(PATIENCE * 2, async {
                loop {
                    match process.ended().await {
                        Ok(status) => break status,
                        // It waits for its turn.
                        Err(_) => continue,
                    }
                }
            });
            let status = ended.await.unwrap();
            let log = std::fs::read_to_string(crowd.rig.directory.join("service.log")).unwrap();
            let said: Vec<_> = log.lines().rev().take(20).collect();
            assert_eq!(
                status.signal(),
                Some(ABORTED),
                "it ended at {step:?} otherwise than told ({status}); the latest that was said, last \
                 first: {said:#?}"
            );
            killed += 1;
        }
    };
    let lanes: Vec<_> = (0..LANES).map(lane).collect();
    futures_util::future::join_all(lanes).await;

    let (consuming, _) = start(crowd, servers, "consume", &partitions).await;
    let acked = shift.end().await.acked;
    consuming.stop().await.unwrap();
    serving.stop().await.unwrap();
    assert_eq!(crowd.count("dead_letters").await, 0, "nothing of it was refused");
    let figures = crowd.held().await;
    let claims: i64 = sqlx::query_scalar("SELECT sum(epoch)::bigint FROM queue_positions")
        .fetch_one(&crowd.rig.pool)
        .await
        .unwrap();
    print(&format!(
        "{row}: {kills} kills ({} steps x {kills_a_step}), {claims} claims, {acked} acked, {figures}",
        STEPS.len()
    ));
}

async fn signal(process: &Process, signal: &str) {
    let pid = process.pid().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
}

/// Three consumers of one group under load: one stops, one is killed, one sleeps for longer than its
/// group waits and wakes up again; others come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_consumers_come_and_go_under_load() {
    let mock = Mock::start(2, 8).unwrap();
    come_and_go(&mut Crowd::new().await, &mock.servers, "2.1 row 12").await;
}

/// On a queue with eight partitions.
pub async fn come_and_go(crowd: &mut Crowd, servers: &str, row: &str) {
    let (serving, base) = start(crowd, servers, "serve", &[]).await;
    let workers = crowd.open(&base, 8, 1).await;
    let shift = crowd.work(&base, workers, 10);
    let consumer = async || start(crowd, servers, "consume", &[]).await.0;
    let (one, two, three) = tokio::join!(consumer(), consumer(), consumer());
    shift.more(200).await;

    one.stop().await.unwrap();
    shift.more(100).await;
    two.kill().await.unwrap();
    let four = consumer().await;
    shift.more(100).await;
    signal(&three, "-STOP").await;
    // Its group takes its partitions away after six seconds.
    tokio::time::sleep(Duration::from_secs(9)).await;
    shift.more(100).await;
    signal(&three, "-CONT").await;
    shift.more(100).await;
    let five = consumer().await;
    shift.more(100).await;

    let acked = shift.end().await.acked;
    for process in [three, four, five] {
        process.stop().await.unwrap();
    }
    serving.stop().await.unwrap();
    assert_eq!(crowd.count("dead_letters").await, 0, "nothing of it was refused");
    let owners: i64 = sqlx::query_scalar("SELECT max(epoch) FROM queue_positions")
        .fetch_one(&crowd.rig.pool)
        .await
        .unwrap();
    assert!(owners >= 2, "partitions changed hands");
    let figures = crowd.held().await;
    print(&format!("{row}: 5 consumers come and go, one as a zombie, {acked} acked, {figures}"));
}

/// Sleeps at a step, once, until it is told to go on.
#[derive(Default)]
struct Sleeper {
    sleeps: AtomicBool,
    may_go_on: AtomicBool,
}

impl Probe for Sleeper {
    fn at(&self, step: Step) {
        if step == Step::Taken && !self.sleeps.swap(true, Ordering::SeqCst) {
            tokio::task::block_in_place(|| {
                while !self.may_go_on.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
    }
}

/// The settings of a consumer in this process.
fn config(crowd: &Crowd, servers: &str, group: &str) -> ConsumerConfig {
    let service = crowd.rig.config(&crowd.rig.postgres.url()).unwrap();
    let mut broker = broker::settings(servers);
    broker.group = group.to_owned();
    ConsumerConfig {
        origin: service.origin,
        database_url: service.database_url,
        database_read_url: None,
        seal_verifier_key: None,
        archive_url: None,
        limits: service.limits,
        max_keys: service.max_keys,
        filter_mib: service.filter_mib,
        broker,
        telemetry: service.telemetry,
    }
}

async fn until_state(consumer: &consume::Consumer, what: &str, is: impl Fn(&State) -> bool) {
    let start = Instant::now();
    while !consumer.state(0).is_some_and(|state| is(&state)) {
        assert!(start.elapsed() < PATIENCE, "never {what}: {:?}", consumer.state(0));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A consumer that has taken messages and sleeps, while another records them, can record nothing when it
/// wakes up: not even where they were not known by their hash.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_12_a_zombie_that_wakes_up_finds_its_claim_gone() {
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(1, 1).unwrap();
    let (serving, base) = start(&crowd, &mock.servers, "serve", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);

    let sleeper = Arc::new(Sleeper::default());
    let zombie = config(&crowd, &mock.servers, "zombies");
    let zombie = RunningNode::start(zombie, Arc::new(SystemClock), Arc::clone(&sleeper) as _);
    let zombie = zombie.await.unwrap();
    let submission = worker.work(5, now());
    desk.sent(&submission).await;
    let put = crate::world::submission(&base, &submission).send().await.unwrap();
    assert_eq!(put.status(), 202);
    let start_ = Instant::now();
    while !sleeper.sleeps.load(Ordering::SeqCst) {
        assert!(start_.elapsed() < PATIENCE, "nothing was taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let (awake, _) = start(&crowd, &mock.servers, "consume", &[]).await;
    desk.deliver(&submission).await;
    until(&crowd, "submissions WHERE workspace = 'crowd-0' AND event_count = 5", 1).await;
    let position = async || -> (i64, i64) {
        let sql = "SELECT epoch, major FROM queue_positions";
        sqlx::query_as(sql).fetch_one(&crowd.rig.pool).await.unwrap()
    };
    // The submission was sent twice, and the second time may still be on its way.
    let mut before = position().await;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = position().await;
        if now == std::mem::replace(&mut before, now) {
            break;
        }
    }
    sleeper.may_go_on.store(true, Ordering::SeqCst);
    until_state(zombie.consumer(), "shut out", |state| matches!(state, State::Yielded { .. }))
        .await;
    assert_eq!(position().await, before, "it has moved nothing");

    // Once whoever has the partition is gone, it takes it up again, from where that is recorded.
    awake.stop().await.unwrap();
    let working = |state: &State| matches!(state, State::Working { waits: None });
    until_state(zombie.consumer(), "at work again", working).await;
    desk.deliver(&worker.work(3, now())).await;
    zombie.shutdown().await;
    serving.stop().await.unwrap();
    let figures = crowd.held().await;
    print(&format!("2.1 row 12: a zombie is shut out and takes up the partition again, {figures}"));
}

//! Positions and the topic do not agree (FAULTS row 13): the partition stops and says so, or what comes
//! again is recorded once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use checks::broker::{Broker, Mock, Stranger, partition_of, read_all};
use checks::crowd::{Crowd, now};
use checks::forge::Random;
use checks::service::Process;
use ingest::queue::Message;
use sqlx::PgPool;

use crate::print;
use crate::world::{PATIENCE, command, metric, start, start_at, told};

async fn move_position(pool: &PgPool, partition: i32, to: Option<i64>) {
    move_in(pool, "kafka:tally-submissions", partition, to).await;
}

/// Moves the position of a queue by this name.
pub async fn move_in(pool: &PgPool, queue: &str, partition: i32, to: Option<i64>) {
    sqlx::query("SELECT move_queue_position($1, $2, $3, $4, 'a test')")
        .bind(queue)
        .bind(partition)
        .bind(to)
        .bind(to.map(|_| 0_i64))
        .execute(pool)
        .await
        .unwrap();
}

/// Waits until a service says that it is not ready, for this reason.
pub async fn unready(base: &str, reason: &str) {
    let start = Instant::now();
    loop {
        let (code, body) = told(reqwest::get(format!("{base}/readyz")).await.unwrap()).await;
        let detail = body["detail"].as_str().unwrap_or_default();
        if code == 503 && detail.contains(reason) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not told: {reason}: {code} {body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn both(crowd: &Crowd, servers: &str) -> (Process, String) {
    start(crowd, servers, "both", &[]).await
}

/// All of the topic is delivered again, from its beginning: under the consumer's feet, and to a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_what_is_read_again_from_the_beginning_is_recorded_once() {
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(1, 2).unwrap();
    let (process, base) = both(&crowd, &mock.servers).await;
    let workers = crowd.open(&base, 4, 1).await;
    let shift = crowd.work(&base, workers, 10);
    shift.more(50).await;
    for _ in 0..2 {
        for partition in 0..2 {
            move_position(&crowd.rig.pool, partition, None).await;
        }
        shift.more(50).await;
    }
    // With what was there already: everything is known.
    let acked = shift.end().await.acked;
    process.stop().await.unwrap();
    for partition in 0..2 {
        move_position(&crowd.rig.pool, partition, None).await;
    }
    let entries = crowd.count("entries").await;
    let (process, _) = both(&crowd, &mock.servers).await;
    let start = Instant::now();
    let used: BTreeSet<i32> = (0..4).map(|n| partition_of(&format!("crowd-{n}"), 2)).collect();
    let used = i64::try_from(used.len()).unwrap();
    while crowd.count("queue_positions WHERE major IS NOT NULL").await < used {
        assert!(start.elapsed() < PATIENCE, "nothing is read again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    process.stop().await.unwrap();
    assert_eq!(crowd.count("entries").await, entries, "nothing was recorded twice");
    assert_eq!(crowd.count("dead_letters").await, 0, "what is known is not refused");
    let moves = crowd.count("queue_moves").await;
    assert_eq!(moves, 6, "each move is on record");
    let figures = crowd.held().await;
    print(&format!("2.1 row 13: {acked} submissions, read again {} times, {figures}", moves / 2));
}

/// The topic ends before what is recorded, as one that was made anew does: nothing is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_a_topic_that_was_made_anew_stops_its_partitions() {
    let mut crowd = Crowd::new().await;
    let broker = Broker::start(&crowd.rig.directory, 1).await.unwrap();
    let address = broker.servers.parse().unwrap();
    let (process, base) = both(&crowd, &broker.servers).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    for _ in 0..5 {
        desk.deliver(&worker.work(2, now())).await;
    }
    process.stop().await.unwrap();
    broker.kill().await.unwrap();
    let broker = Broker::empty(&crowd.rig.directory, address).await.unwrap();
    broker.make_topics(1).await.unwrap();

    let (process, base) = both(&crowd, &broker.servers).await;
    unready(&base, "partition 0 is not read on: the topic ends before message 4").await;
    assert_eq!(metric(&base, "tally_broker_partitions_stopped").await, 1.0);
    process.stop().await.unwrap();
    crowd.held().await;
}

/// The same, when it has grown beyond what is recorded since: the last message that was recorded is
/// another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_another_topic_of_the_same_length_stops_its_partitions() {
    let mut crowd = Crowd::new().await;
    let broker = Broker::start(&crowd.rig.directory, 1).await.unwrap();
    let (process, base) = both(&crowd, &broker.servers).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    crowd.desk(&base).deliver(&worker.work(2, now())).await;
    process.stop().await.unwrap();
    let address = broker.servers.parse().unwrap();
    broker.kill().await.unwrap();
    let broker = Broker::empty(&crowd.rig.directory, address).await.unwrap();
    broker.make_topics(1).await.unwrap();

    // Nobody consumes at first: the new topic fills.
    let at = checks::service::free_address().unwrap();
    let serving = start_at(&crowd, &broker.servers, "serve", &[], at).await;
    let base = checks::service::base(at);
    for _ in 0..3 {
        let submission = worker.work(2, now());
        crowd.desk(&base).sent(&submission).await;
        let sent = crate::world::submission(&base, &submission).send().await.unwrap();
        assert_eq!(sent.status(), 202);
    }
    let entries = crowd.count("entries").await;
    let (consuming, watched) = start(&crowd, &broker.servers, "consume", &[]).await;
    unready(&watched, "partition 0 is not read on: message 0 is another one").await;
    assert_eq!(crowd.count("entries").await, entries, "nothing was recorded");

    // The operator says, on record, that it is to be read from its beginning.
    move_position(&crowd.rig.pool, 0, None).await;
    consuming.stop().await.unwrap();
    let (consuming, _) = start(&crowd, &broker.servers, "consume", &[]).await;
    crate::world::until(&crowd, "submissions WHERE workspace = 'crowd-0'", 6).await;
    consuming.stop().await.unwrap();
    serving.stop().await.unwrap();
    crowd.held().await;
}

/// Messages that were never recorded are gone from the topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_a_gap_stops_the_partition_until_an_operator_goes_over_it() {
    let mut crowd = Crowd::new().await;
    // It keeps 5 MB of a partition, and forgets what is older.
    let mock = Mock::start(1, 1).unwrap();
    let at = checks::service::free_address().unwrap();
    let serving = start_at(&crowd, &mock.servers, "serve", &[], at).await;
    let base = checks::service::base(at);
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let first = worker.work(2, now());
    let (consuming, _) = start(&crowd, &mock.servers, "consume", &[]).await;
    crowd.desk(&base).deliver(&first).await;
    consuming.stop().await.unwrap();

    let lost = worker.work(100, now());
    crowd.desk(&base).sent(&lost).await;
    let answer = crate::world::submission(&base, &lost).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let stranger = Stranger::new(&mock.servers).unwrap();
    let mut random = Random::new(3);
    for _ in 0..8 {
        let noise: Vec<u8> = (0..30_000).flat_map(|_| random.bytes::<32>()).take(900_000).collect();
        let key = worker.workspace.as_str().to_owned().into();
        let message = Message { key, headers: Vec::new(), value: noise.into() };
        stranger.put(0, &message).await.unwrap();
    }
    let entries = crowd.count("entries").await;
    let (consuming, watched) = start(&crowd, &mock.servers, "consume", &[]).await;
    unready(&watched, "partition 0 is not read on: message 1 is missing").await;
    assert_eq!(crowd.count("entries").await, entries, "nothing was skipped silently");

    // The operator goes over it, on record. What lies behind is read: here it is noise.
    let low = told(reqwest::get(format!("{base}/readyz")).await.unwrap()).await;
    assert_eq!(low.0, 200, "who only serves is ready: {low:?}");
    let first = read_all(&mock.servers, "tally-submissions", 0).await.unwrap()[0].0;
    let behind = (first - 1).to_string();
    let arguments = ["queue", "move", "--partition", "0", "--to-beginning", "--reason", "lost"];
    let (code, done, told) = command(&crowd, &mock.servers, &arguments).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(done.contains(&format!("behind message {behind}")), "{done}");
    // The consumer that runs takes it up.
    crowd.desk(&base).deliver(&worker.work(2, now())).await;
    let noise = crowd.count("dead_letters").await;
    assert_eq!(noise, 10 - first, "each message behind the gap was looked at");
    consuming.stop().await.unwrap();
    let moved: (String, i64, i64) =
        sqlx::query_as("SELECT reason, old_major, new_major FROM queue_moves")
            .fetch_one(&crowd.rig.pool)
            .await
            .unwrap();
    assert_eq!(moved, ("lost".to_owned(), 0, first - 1));
    crowd.held().await;
    serving.stop().await.unwrap();
    print("2.1 row 13: a gap, a topic made anew, another topic: each stopped, nothing skipped");
}

/// Reading is held up as the database is slow, and the partition is then moved: it is read on all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_was_held_up_when_it_was_moved_is_read_on() {
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(1, 1).unwrap();
    let (process, base) = both(&crowd, &mock.servers).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    crowd.desk(&base).deliver(&worker.work(1, now())).await;
    let mut locked = crowd.rig.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE heads IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    // More than a consumer takes while nothing is recorded.
    let noise = Message { key: "".into(), headers: Vec::new(), value: "noise".into() };
    let stranger = Stranger::new(&mock.servers).unwrap();
    for _ in 0..40 {
        let puts = (0..100).map(|_| stranger.put(0, &noise));
        futures_util::future::try_join_all(puts).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    move_position(&crowd.rig.pool, 0, None).await;
    locked.rollback().await.unwrap();

    crowd.desk(&base).deliver(&worker.work(1, now())).await;
    assert!(crowd.count("dead_letters").await >= 4_000, "each message was looked at");
    process.stop().await.unwrap();
    crowd.held().await;
}

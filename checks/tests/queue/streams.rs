//! Redis Streams in place of Kafka: the same promises, by the same tests, and what is different.

use std::time::{Duration, Instant};

use checks::crowd::{Crowd, long, now};
use checks::redis::Redis;
use checks::worker::Worker;
use serde_json::json;

use crate::consumers::{come_and_go, killed_at_every_step};
use crate::letters::{Poison, poison};
use crate::positions::{move_in, unready};
use crate::print;
use crate::world::{
    PATIENCE, admit, command, metric, slug, start, status, submission, told, until,
};

const QUEUE: &str = "redis:tally-submissions";
/// One partition, so that it is known where everything lies.
const ONE: [&str; 2] = ["--queue-partitions", "1"];
const STREAM: &str = "tally-submissions:0";

/// Sends a submission, and gives what it is told.
async fn send(crowd: &Crowd, base: &str, worker: &mut Worker) -> (u16, serde_json::Value) {
    let next = worker.work(2, now());
    crowd.desk(base).sent(&next).await;
    told(submission(base, &next).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_is_acknowledged_then_recorded_then_receipted() {
    let mut crowd = Crowd::new().await;
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let (serving, base) = start(&crowd, &redis.url, "serve", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    admit(&crowd, &worker.workspace).await;
    let first = worker.work(5, now());
    desk.sent(&first).await;
    let (code, queued) = told(submission(&base, &first).send().await.unwrap()).await;
    assert_eq!((code, &queued["submission"]), (202, &json!(first.hash.to_string())));
    let (code, problem) = status(&base, &first, "").await;
    assert_eq!(code, 404, "nobody consumes: {problem}");

    let (consuming, watched) = start(&crowd, &redis.url, "consume", &[]).await;
    let (code, recorded) = status(&base, &first, "?wait=25").await;
    assert_eq!(code, 200, "{recorded}");
    let receipt = recorded["receipt"].as_str().unwrap().to_owned();
    // The same bytes again: stored once more, recorded once, the same receipt.
    assert_eq!(desk.deliver(&first).await, receipt);
    // Whoever would rather wait gets what they would get without a queue.
    let second = worker.work(5, now());
    desk.sent(&second).await;
    let waiting = submission(&base, &second).header("Prefer", "wait=25");
    let (code, recorded) = told(waiting.send().await.unwrap()).await;
    assert_eq!((code, recorded["first_seq"].as_u64()), (201, Some(8)), "{recorded}");

    let ready = told(reqwest::get(format!("{base}/readyz")).await.unwrap()).await;
    assert_eq!(ready.1["checks"]["queue"], json!({"status": "ok"}), "{ready:?}");
    assert_eq!(told(reqwest::get(format!("{watched}/readyz")).await.unwrap()).await.0, 200);
    assert_eq!(metric(&watched, "tally_broker_lag_messages").await, 0.0);
    assert_eq!(metric(&base, "tally_broker_up").await, 1.0);
    consuming.stop().await.unwrap();
    // A consumer that was told to end leaves at once: its partitions are free.
    let leases: Vec<String> = redis.ask(&["KEYS", "tally-submissions:lease:*"]).await.unwrap();
    assert_eq!(leases, Vec::<String>::new());
    let alive = ["ZCARD", "tally-submissions:consumers:tally-consumers"];
    assert_eq!(redis.ask::<i64>(&alive).await.unwrap(), 0);
    serving.stop().await.unwrap();
    crowd.held().await;
}

/// The server dies, again and again, and comes back with what it had on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_the_server_dies_under_load() {
    let deaths = if long() { 100 } else { 10 };
    let mut crowd = Crowd::new().await;
    let mut redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let (process, base) = start(&crowd, &redis.url, "both", &[]).await;
    let workers = crowd.open(&base, 8, 4).await;
    let shift = crowd.work(&base, workers, 2);
    let mut most = Duration::ZERO;
    for death in 0..deaths {
        shift.more(60).await;
        redis.kill().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200 * (death % 3))).await;
        redis.start_again().await.unwrap();
        let begun = Instant::now();
        shift.more(1).await;
        most = most.max(begun.elapsed());
    }
    let acked = shift.end().await.acked;
    process.stop().await.unwrap();
    assert_eq!(crowd.count("dead_letters").await, 0, "nothing of it was refused");
    let figures = crowd.held().await;
    print(&format!(
        "2.1 row 11, Redis: {deaths} deaths of the server, {acked} acked, intake resumed after {} ms at \
         most, {figures}",
        most.as_millis()
    ));
}

/// One client puts submissions one after the other without waiting for the chain: they are chained in that
/// order, whatever becomes of the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_the_order_of_a_workspace_is_kept() {
    const SENT: u64 = 200;
    let mut crowd = Crowd::new().await;
    let mut redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let (process, base) = start(&crowd, &redis.url, "both", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    for n in 0..SENT {
        if n % 50 == 25 {
            redis.kill().await.unwrap();
            redis.start_again().await.unwrap();
        }
        let next = worker.work(1, now());
        desk.sent(&next).await;
        let begun = Instant::now();
        while submission(&base, &next).send().await.unwrap().status() != 202 {
            assert!(begun.elapsed() < PATIENCE, "{n} is not taken");
        }
    }
    let sql = "submissions WHERE workspace = 'crowd-0' AND first_seq > 2";
    until(&crowd, sql, i64::try_from(SENT).unwrap()).await;
    process.stop().await.unwrap();
    let sql = "SELECT counter FROM submissions WHERE workspace = 'crowd-0' AND first_seq > 2
               ORDER BY first_seq";
    let counters: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&crowd.rig.pool).await.unwrap();
    assert!(counters.is_sorted(), "in the order in which they were sent: {counters:?}");
    crowd.held().await;
}

/// The server is away, or hangs, or is full: 503, nothing is acknowledged, and it goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_nothing_is_acknowledged_that_is_not_stored() {
    let mut crowd = Crowd::new().await;
    let mut redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let more = ["--queue-put-timeout", "2"];
    let (process, base) = start(&crowd, &redis.url, "both", &more).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    desk.deliver(&worker.work(1, now())).await;
    redis.kill().await.unwrap();
    let (code, problem) = send(&crowd, &base, &mut worker).await;
    assert_eq!((code, slug(&problem)), (503, "queue-unavailable"), "{problem}");
    unready(&base, "it does not answer").await;
    redis.start_again().await.unwrap();
    desk.deliver(&worker.work(1, now())).await;

    // Full: the largest memory is what it has already.
    let _: String = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let (code, problem) = send(&crowd, &base, &mut worker).await;
    assert_eq!((code, slug(&problem)), (503, "overloaded"), "{problem}");
    let _: String = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    desk.deliver(&worker.work(1, now())).await;
    process.stop().await.unwrap();
    let figures = crowd.held().await;
    print(&format!("2.1 row 11, Redis: away, and full: nothing acknowledged meanwhile, {figures}"));
}

/// A server that would lose what it has acknowledged is not used, and it is said why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_store_what_it_acknowledges_is_refused() {
    let mut crowd = Crowd::new().await;
    let (process, base) = {
        let redis = Redis::start(&crowd.rig.directory).await.unwrap();
        start(&crowd, &redis.url, "serve", &[]).await
    };
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    process.stop().await.unwrap();
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    for (settings, reason) in [
        (vec!["--appendonly", "no"], "appendonly is no"),
        (vec!["--appendonly", "yes"], "appendfsync is everysec"),
        (
            [&durable[..], &["--no-appendfsync-on-rewrite", "yes"]].concat(),
            "no-appendfsync-on-rewrite is yes",
        ),
        ([&durable[..], &["--maxmemory-policy", "allkeys-lru"]].concat(), "maxmemory-policy is"),
        ([&durable[..], &["--rename-command", "CONFIG", ""]].concat(), "allow CONFIG GET"),
        ([&durable[..], &["--cluster-enabled", "yes"]].concat(), "Redis Cluster"),
    ] {
        let redis = Redis::start_with(&crowd.rig.directory, &settings).await.unwrap();
        let more = ["--queue-put-timeout", "1"];
        let (process, base) = start(&crowd, &redis.url, "both", &more).await;
        let (code, problem) = send(&crowd, &base, &mut worker).await;
        assert_eq!((code, slug(&problem)), (503, "queue-unavailable"), "{settings:?}: {problem}");
        unready(&base, reason).await;
        process.stop().await.unwrap();
    }
    // Another number of partitions than others have written to.
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let (process, base) = start(&crowd, &redis.url, "serve", &[]).await;
    assert_eq!(send(&crowd, &base, &mut worker).await.0, 202);
    process.stop().await.unwrap();
    let (process, base) = start(&crowd, &redis.url, "serve", &ONE).await;
    unready(&base, "this topic has 8 partitions").await;
    process.stop().await.unwrap();
}

/// It is acknowledged once so many replicas have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_waited_for() {
    let mut crowd = Crowd::new().await;
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let more = ["--queue-replicas", "1", "--queue-put-timeout", "2"];
    let (process, base) = start(&crowd, &redis.url, "both", &more).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let (code, problem) = send(&crowd, &base, &mut worker).await;
    assert_eq!((code, slug(&problem)), (503, "queue-unavailable"), "there is none: {problem}");
    let replica = redis.replica().await.unwrap();
    let begun = Instant::now();
    while send(&crowd, &base, &mut worker).await.0 != 202 {
        assert!(begun.elapsed() < PATIENCE, "the replica is not heeded");
    }
    let stored: i64 = replica.ask(&["DBSIZE"]).await.unwrap();
    assert!(stored > 0, "it has what was acknowledged");
    crowd.desk(&base).deliver(&worker.work(1, now())).await;
    process.stop().await.unwrap();
    crowd.held().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_consumers_are_killed_at_every_step_of_streams() {
    let mut crowd = Crowd::new().await;
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    killed_at_every_step(&mut crowd, &redis.url, "2.1 row 12, Redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_consumers_of_streams_come_and_go_under_load() {
    let mut crowd = Crowd::new().await;
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    come_and_go(&mut crowd, &redis.url, "2.1 row 12, Redis").await;
}

/// A stream that was made anew, or lacks what was never recorded, or has what others put: nothing is read
/// past that until an operator has looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_positions_and_streams_that_do_not_agree() {
    let mut crowd = Crowd::new().await;
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let (process, base) = start(&crowd, &redis.url, "both", &ONE).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    for _ in 0..5 {
        desk.deliver(&worker.work(2, now())).await;
    }
    let entries = crowd.count("entries").await;
    // All of it again, from the beginning: it is recorded once.
    move_in(&crowd.rig.pool, QUEUE, 0, None).await;
    until(&crowd, "queue_positions WHERE major = 5 AND epoch > 2", 1).await;
    assert_eq!(crowd.count("entries").await, entries);
    process.stop().await.unwrap();

    // One that was never recorded is gone.
    let (serving, base) = start(&crowd, &redis.url, "serve", &ONE).await;
    for _ in 0..3 {
        assert_eq!(send(&crowd, &base, &mut worker).await.0, 202);
    }
    assert_eq!(redis.ask::<i64>(&["XDEL", STREAM, "0-7"]).await.unwrap(), 1);
    let (consuming, watched) = start(&crowd, &redis.url, "consume", &ONE).await;
    unready(&watched, "partition 0 is not read on: message 7 is missing: the next one is 8").await;
    assert_eq!(metric(&watched, "tally_broker_partitions_stopped").await, 1.0);
    let arguments = ["queue", "move", "--partition", "0", "--behind", "7", "--reason", "lost"];
    let (code, done, said) = command(&crowd, &redis.url, &arguments).await;
    assert_eq!((code, done.contains("behind message 7")), (Some(0), true), "{done}{said}");
    // The consumer that runs takes it up.
    until(&crowd, "queue_positions WHERE major = 8", 1).await;

    // What others put with the server's clock for a number: nothing can be put behind it.
    let stray = poison(&mut worker).whole;
    let stray = redis.put(STREAM, "*", &stray).await.unwrap();
    unready(&watched, "an entry that is not the ledger's stands where message 9 should").await;
    let (code, problem) = send(&crowd, &base, &mut worker).await;
    assert_eq!((code, slug(&problem)), (503, "queue-unavailable"), "{problem}");
    // As the book says.
    assert_eq!(redis.ask::<i64>(&["XDEL", STREAM, &stray]).await.unwrap(), 1);
    let _: String = redis.ask(&["XSETID", STREAM, "0-8"]).await.unwrap();
    crowd.desk(&base).deliver(&worker.work(1, now())).await;
    consuming.stop().await.unwrap();

    // Made anew: it ends before what is recorded; then it has grown, and another message stands there.
    let _: i64 = redis.ask(&["DEL", STREAM]).await.unwrap();
    let (consuming, watched) = start(&crowd, &redis.url, "consume", &ONE).await;
    unready(&watched, "the topic ends before message 9").await;
    consuming.stop().await.unwrap();
    for _ in 0..10 {
        assert_eq!(send(&crowd, &base, &mut worker).await.0, 202);
    }
    let (consuming, watched) = start(&crowd, &redis.url, "consume", &ONE).await;
    unready(&watched, "message 9 is another one than was recorded there").await;
    let again = ["queue", "move", "--partition", "0", "--to-beginning", "--reason", "made anew"];
    let again = [&again[..], &ONE].concat();
    let (code, done, said) = command(&crowd, &redis.url, &again).await;
    assert_eq!((code, done.contains("behind message 0")), (Some(0), true), "{done}{said}");
    until(&crowd, "queue_positions WHERE major = 10", 1).await;
    consuming.stop().await.unwrap();
    serving.stop().await.unwrap();
    let figures = crowd.held().await;
    print(&format!(
        "2.1 row 13, Redis: read again, a gap, a stray entry, made anew twice, {figures}"
    ));
}

/// The stream is replaced while it is read, and outgrows what was read of the first one before anybody looks:
/// what is in memory of the first is recorded, and nothing of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_a_stream_that_is_replaced_under_its_reader_stops() {
    let mut crowd = Crowd::new().await;
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let (process, base) = start(&crowd, &redis.url, "both", &ONE).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    for _ in 0..3 {
        crowd.desk(&base).deliver(&worker.work(2, now())).await;
    }
    let stray = poison(&mut worker).whole;
    let mut connection = redis.connection().await.unwrap();
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("DEL").arg(STREAM).ignore();
    for _ in 0..6 {
        pipe.cmd("XADD").arg(STREAM).arg("0-*");
        pipe.arg("key").arg(&*stray.key).arg("value").arg("another").ignore();
    }
    pipe.exec_async(&mut connection).await.unwrap();
    unready(&base, "message 3").await;
    assert_eq!(crowd.count("queue_positions WHERE major = 3").await, 1, "nothing of the other");
    assert_eq!(crowd.count("dead_letters").await, 0);
    assert_eq!(redis.ask::<i64>(&["XLEN", STREAM]).await.unwrap(), 6, "nothing is removed");
    process.stop().await.unwrap();
    crowd.held().await;
}

/// A server that has been full drains by itself once the database is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_is_read_and_drains() {
    let mut crowd = Crowd::new().await;
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let (serving, base) = start(&crowd, &redis.url, "serve", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let mut sent = Vec::new();
    for _ in 0..20 {
        let next = worker.work(2, now());
        crowd.desk(&base).sent(&next).await;
        assert_eq!(submission(&base, &next).send().await.unwrap().status(), 202);
        sent.push(next);
    }
    let _: String = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let (consuming, _) = start(&crowd, &redis.url, "consume", &[]).await;
    until(&crowd, "submissions WHERE first_seq > 2 AND workspace = 'crowd-0'", 20).await;
    let _: String = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    for submission in &sent {
        crowd.desk(&base).deliver(submission).await;
    }
    consuming.stop().await.unwrap();
    serving.stop().await.unwrap();
    crowd.held().await;
}

/// What is recorded is removed, but for the last ones; what is not, never.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_keep_what_is_not_recorded_and_little_else() {
    let mut crowd = Crowd::new().await;
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let more = [&ONE[..], &["--queue-keep", "10"]].concat();
    let (serving, base) = start(&crowd, &redis.url, "serve", &more).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    for _ in 0..400 {
        assert_eq!(send(&crowd, &base, &mut worker).await.0, 202);
    }
    assert_eq!(redis.ask::<i64>(&["XLEN", STREAM]).await.unwrap(), 400);
    let (consuming, _) = start(&crowd, &redis.url, "consume", &more).await;
    until(&crowd, "queue_positions WHERE major = 400", 1).await;
    let begun = Instant::now();
    // By whole nodes of a hundred entries, which cost the server nothing.
    while redis.ask::<i64>(&["XLEN", STREAM]).await.unwrap() > 110 {
        assert!(begun.elapsed() < PATIENCE, "nothing is removed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(redis.ask::<i64>(&["XLEN", STREAM]).await.unwrap() >= 10);
    // Whoever comes next reads the last one again, and goes on.
    consuming.stop().await.unwrap();
    assert_eq!(send(&crowd, &base, &mut worker).await.0, 202);
    let (consuming, _) = start(&crowd, &redis.url, "consume", &more).await;
    until(&crowd, "queue_positions WHERE major = 401", 1).await;
    consuming.stop().await.unwrap();
    serving.stop().await.unwrap();
    crowd.held().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_poison_in_a_stream_is_set_aside_and_the_partition_goes_on() {
    let mut crowd = Crowd::new().await;
    let redis = Redis::start(&crowd.rig.directory).await.unwrap();
    let (process, base) = start(&crowd, &redis.url, "both", &ONE).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    admit(&crowd, &worker.workspace).await;
    let Poison { good, whole, unknown, messages, .. } = poison(&mut worker);
    for (_, message) in &messages {
        redis.put(STREAM, "0-*", message).await.unwrap();
    }
    // An entry that is none of ours at all.
    let _: String = redis.ask(&["XADD", STREAM, "0-*", "colour", "red"]).await.unwrap();
    redis.put(STREAM, "0-*", &whole).await.unwrap();
    crowd.desk(&base).deliver(&good).await;
    let count = i64::try_from(messages.len()).unwrap() + 1;
    until(&crowd, "dead_letters WHERE sent_at IS NOT NULL", count).await;
    for (kind, message) in &messages {
        let like =
            format!("dead_letters WHERE kind = '{kind}' AND value_bytes = {}", message.value.len());
        assert!(crowd.count(&like).await > 0, "{like}");
    }
    assert_eq!(redis.ask::<i64>(&["XLEN", "tally-dead-letters"]).await.unwrap(), count);
    let (code, problem) = status(&base, &unknown, "").await;
    assert_eq!((code, slug(&problem["refusal"])), (409, "unknown-key"), "{problem}");

    // Tried again, by the command of operators: refused again, and kept again.
    let sql = "SELECT id FROM dead_letters WHERE kind = 'unknown-key'";
    let id: i64 = sqlx::query_scalar(sql).fetch_one(&crowd.rig.pool).await.unwrap();
    let id = id.to_string();
    let retry = ["dead-letters", "retry", &id];
    let (code, done, said) = command(&crowd, &redis.url, &retry).await;
    assert_eq!(code, Some(3), "not where the settings say eight partitions: {done}{said}");
    let (code, done, said) = command(&crowd, &redis.url, &[&retry[..], &ONE].concat()).await;
    assert_eq!(code, Some(0), "{done}{said}");
    until(&crowd, "dead_letters WHERE kind = 'unknown-key'", 2).await;
    process.stop().await.unwrap();
    let figures = crowd.held().await;
    print(&format!("2.1 row 14, Redis: {count} poisoned messages, {figures}"));
}

//! The broker fails (FAULTS row 11): nothing is acknowledged that it has not stored, and what it stores
//! twice is recorded once.

use std::time::{Duration, Instant};

use checks::broker::{Mock, RDKafkaRespErr};
use checks::crowd::{Crowd, long, now};
use checks::forge::Random;

use crate::print;
use crate::world::{PATIENCE, slug, start, submission, told, until};

/// Errors that brokers answer with while leaders change and requests time out.
const ERRORS: [RDKafkaRespErr; 4] = [
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
];

/// So many answers, three in ten of them errors.
fn errors(random: &mut Random, count: usize) -> Vec<RDKafkaRespErr> {
    let one = |_| {
        if random.below(10) < 3 {
            ERRORS[usize::try_from(random.below(4)).unwrap()]
        } else {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        }
    };
    (0..count).map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_errors_leaders_that_change_and_brokers_that_go() {
    // A round of errors takes as long for many clients as for few.
    let (goal, workspaces, clients) = if long() { (100_000, 32, 24) } else { (1_500, 16, 8) };
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(3, 4).unwrap();
    let (process, base) = start(&crowd, &mock.servers, "both", &[]).await;
    let workers = crowd.open(&base, workspaces, clients).await;
    let shift = crowd.work(&base, workers, 2);
    let mut random = Random::new(11);
    let begun = Instant::now();
    let mut rounds = 0;
    while shift.acked() < goal {
        mock.produce_errors(errors(&mut random, 100)).unwrap();
        mock.fetch_errors(errors(&mut random, 20)).unwrap();
        let leader = 1 + i32::try_from(random.below(3)).unwrap();
        mock.lead(i32::try_from(random.below(4)).unwrap(), leader).unwrap();
        if rounds % 8 == 3 {
            mock.down(leader).unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            mock.up(leader).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        rounds += 1;
        assert!(begun.elapsed() < PATIENCE * 60, "{:?}", shift.told());
    }
    let told = shift.end().await;
    process.stop().await.unwrap();
    assert_eq!(crowd.count("dead_letters").await, 0, "nothing of it was refused");
    let figures = crowd.held().await;
    let (acked, refused) = (told.acked, told.refused);
    print(&format!(
        "2.1 row 11: {rounds} rounds of errors, {acked} acked, {refused} told to come again, {figures}"
    ));
}

/// One client puts submissions one after the other without waiting for the chain: they are chained in
/// that order, whatever the broker answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_the_order_of_a_workspace_is_kept() {
    const SENT: u64 = 200;
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(3, 4).unwrap();
    let (process, base) = start(&crowd, &mock.servers, "both", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    let mut random = Random::new(5);
    for n in 0..SENT {
        if n % 40 == 0 {
            mock.produce_errors(errors(&mut random, 30)).unwrap();
            mock.lead(0, 1 + i32::try_from(random.below(3)).unwrap()).unwrap();
        }
        let next = worker.work(1, now());
        desk.sent(&next).await;
        let begun = Instant::now();
        while submission(&base, &next).send().await.unwrap().status() != 202 {
            assert!(begun.elapsed() < PATIENCE, "{n} is not taken");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let sql = "submissions WHERE workspace = 'crowd-0' AND counter > 0 AND first_seq > 2";
    until(&crowd, sql, i64::try_from(SENT).unwrap()).await;
    process.stop().await.unwrap();
    let counters: Vec<i64> = sqlx::query_scalar(
        "SELECT counter FROM submissions WHERE workspace = 'crowd-0' AND first_seq > 2
         ORDER BY first_seq",
    )
    .fetch_all(&crowd.rig.pool)
    .await
    .unwrap();
    assert_eq!(counters.len(), usize::try_from(SENT).unwrap());
    assert!(counters.is_sorted(), "in the order in which they were sent: {counters:?}");
    crowd.held().await;
}

/// A broker whose topic takes less than the ledger's largest submission says so: 413, nothing is recorded, and what
/// follows is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_the_topic_is_refused() {
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(1, 1).unwrap();
    let (process, base) = start(&crowd, &mock.servers, "both", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    let large = worker.work(1, now());
    mock.produce_errors(vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]).unwrap();
    let (code, problem) = told(submission(&base, &large).send().await.unwrap()).await;
    assert_eq!((code, slug(&problem)), (413, "too-large"), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("send fewer or smaller events at once"), "{problem}");
    let next = worker.work(2, now());
    desk.sent(&next).await;
    desk.deliver(&next).await;
    let recorded: i64 =
        sqlx::query_scalar("SELECT count(*) FROM submissions WHERE submission_hash = $1")
            .bind(large.hash.as_bytes().as_slice())
            .fetch_one(&crowd.rig.pool)
            .await
            .unwrap();
    assert_eq!(recorded, 0);
    process.stop().await.unwrap();
    crowd.held().await;
}

/// All brokers are away: 503, nothing is acknowledged, and it goes on once they are back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_nothing_is_acknowledged_while_the_broker_is_away() {
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(1, 1).unwrap();
    let (process, base) = start(&crowd, &mock.servers, "both", &["--queue-put-timeout", "2"]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    desk.deliver(&worker.work(1, now())).await;
    mock.down(1).unwrap();

    let lost = worker.work(1, now());
    desk.sent(&lost).await;
    let answer = submission(&base, &lost).send().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    let (code, problem) = told(answer).await;
    assert_eq!((code, slug(&problem)), (503, "queue-unavailable"), "{problem}");
    let (code, problem) = told(reqwest::get(format!("{base}/readyz")).await.unwrap()).await;
    assert_eq!((code, slug(&problem)), (503, "not-ready"), "{problem}");
    assert_eq!(problem["checks"]["queue"]["status"], "down", "{problem}");
    assert_eq!(problem["checks"]["database"]["status"], "ok", "{problem}");
    // What reads needs no broker, nor what is recorded at once.
    let head = reqwest::get(format!("{base}/v1/ledger")).await.unwrap();
    assert_eq!(head.status(), 200);

    mock.up(1).unwrap();
    desk.deliver(&lost).await;
    let begun = Instant::now();
    while told(reqwest::get(format!("{base}/readyz")).await.unwrap()).await.0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "it is not ready again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process.stop().await.unwrap();
    let figures = crowd.held().await;
    print(&format!(
        "2.1 row 11: the broker away and back, nothing acknowledged meanwhile, {figures}"
    ));
}

/// The database is away: what is acknowledged is in the queue, and is recorded once the database is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_queued_while_the_database_is_away_is_recorded_later() {
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(1, 2).unwrap();
    let (process, base) = start(&crowd, &mock.servers, "both", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    desk.deliver(&worker.work(1, now())).await;
    crowd.rig.postgres.kill_9().unwrap();
    let mut sent = Vec::new();
    for _ in 0..20 {
        let next = worker.work(3, now());
        desk.sent(&next).await;
        let answer = submission(&base, &next).send().await.unwrap();
        assert_eq!(answer.status(), 202, "a key that is known may go on");
        sent.push(next);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    crowd.rig.postgres.start_again().unwrap();
    for submission in &sent {
        desk.deliver(submission).await;
    }
    process.stop().await.unwrap();
    assert_eq!(crowd.count("dead_letters").await, 0, "a database that is away refuses nothing");
    let figures = crowd.held().await;
    print(&format!("2.1 row 5, queued: 20 acknowledged without a database, {figures}"));
}

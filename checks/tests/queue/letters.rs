//! Messages that cannot be recorded (FAULTS row 14): kept and told with the reason, and the partition
//! goes on.

use std::collections::BTreeMap;

use checks::broker::{Broker, Stranger, partition_of, read_all};
use checks::crowd::{Crowd, now};
use checks::submission::Submission;
use checks::worker::Worker;
use ingest::queue::Message;
use ledger::names::Workspace;
use serde_json::Value;

use crate::print;
use crate::world::{admit, command, metric, slug, start, status, until};

const PARTITIONS: i32 = 2;

/// The message of a submission, as the service puts it.
fn message(submission: &Submission) -> Message {
    let key = submission.workspace.as_str().to_owned();
    Message { key: key.into(), headers: Vec::new(), value: submission.body().into() }
        .with("tally-format", "1")
        .with("content-type", "application/x-ndjson")
        .with("tally-public-key", submission.public_key.to_string())
        .with("tally-signature", submission.signature.to_string())
        .with("tally-counter", submission.counter.to_string())
        .with("tally-accepted-at", now().get().to_string())
}

/// The same without a header.
fn without(message: &Message, name: &str) -> Message {
    let mut bare = message.clone();
    bare.headers.retain(|(header, _)| header != name);
    bare
}

/// Messages that cannot be recorded, and one that can.
pub struct Poison {
    /// A submission that is in order, and its message.
    pub good: Submission,
    pub whole: Message,
    /// Signed by a key that nobody knows; signed for other events.
    pub unknown: Submission,
    pub forged: Submission,
    /// The poison, each with the reason why it is refused.
    pub messages: Vec<(&'static str, Message)>,
}

pub fn poison(worker: &mut Worker) -> Poison {
    let good = worker.work(3, now());
    let whole = message(&good);
    let mut unknown = Worker::new(&worker.origin, &worker.workspace, "stranger", 99);
    let unknown = unknown.work(1, now());
    let nowhere = Workspace::new("nowhere").unwrap();
    let nowhere = Worker::new(&worker.origin, &nowhere, "stranger", 98).work(1, now());
    let mut forged = worker.work(2, now());
    forged.payloads.reverse();
    let mut elsewhere = message(&worker.work(1, now()));
    elsewhere.key = "acme/../other".into();
    let big = Message { value: vec![b'x'; 10_000_000].into(), ..whole.clone() };
    let messages = vec![
        ("bad-header", Message { key: "".into(), headers: Vec::new(), value: vec![0; 300].into() }),
        ("bad-header", without(&whole, "tally-format").with("tally-format", "2")),
        ("bad-header", without(&whole, "tally-signature")),
        ("bad-header", whole.clone().with("tally-counter", "7")),
        ("unsupported-media-type", without(&whole, "content-type")),
        ("no-workspace", elsewhere),
        ("no-workspace", message(&nowhere)),
        ("signature-invalid", message(&forged)),
        ("body-refused", Message { value: "".into(), ..whole.clone() }),
        ("event-refused", Message { value: "{\"a\":1}".into(), ..whole.clone() }),
        ("too-large", big),
        // Kept, and more than the dead-letter topic is sent: it must not hold up those behind it.
        ("too-large", Message { value: vec![b'x'; 7_500_000].into(), ..whole.clone() }),
        ("unknown-key", message(&unknown)),
    ];
    Poison { good, whole, unknown, forged, messages }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_poison_is_set_aside_with_the_reason_and_the_partition_goes_on() {
    let mut crowd = Crowd::new().await;
    let broker = Broker::start(&crowd.rig.directory, PARTITIONS).await.unwrap();
    let (process, base) = start(&crowd, &broker.servers, "both", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    admit(&crowd, &worker.workspace).await;
    let desk = crowd.desk(&base);
    let partition = partition_of(worker.workspace.as_str(), PARTITIONS);
    let stranger = Stranger::new(&broker.servers).unwrap();

    let Poison { good, whole, unknown, forged, messages: poison } = poison(&mut worker);
    for (_, message) in &poison {
        stranger.put(partition, message).await.unwrap();
    }
    // Behind them in the same partition.
    stranger.put(partition, &whole).await.unwrap();
    desk.deliver(&good).await;
    until(&crowd, "dead_letters WHERE sent_at IS NOT NULL", i64::try_from(poison.len()).unwrap())
        .await;

    let kinds: Vec<(String, i64)> =
        sqlx::query_as("SELECT kind, value_bytes FROM dead_letters ORDER BY id")
            .fetch_all(&crowd.rig.pool)
            .await
            .unwrap();
    let expected: Vec<(String, i64)> = poison
        .iter()
        .map(|(kind, message)| ((*kind).to_owned(), i64::try_from(message.value.len()).unwrap()))
        .collect();
    let sorted = |mut kinds: Vec<(String, i64)>| {
        kinds.sort();
        kinds
    };
    // Those that need no chain are refused first within one transaction.
    assert_eq!(sorted(kinds), sorted(expected));
    assert_eq!(metric(&base, "tally_dead_letters_total").await, 13.0);

    // On their topic, each with its reason, its problem and where it lay; the bytes as they were.
    let letters = read_all(&broker.servers, "tally-dead-letters", 0).await.unwrap();
    assert_eq!(letters.len(), poison.len());
    for (kind, message) in &poison {
        let found = letters.iter().map(|(_, letter)| letter).find(|letter| {
            letter.value("tally-refused") == Some(kind)
                && (letter.value == message.value || message.value.len() > 7_000_000)
        });
        let letter = found.unwrap_or_else(|| panic!("{kind} is not there"));
        let problem: Value = serde_json::from_str(letter.value("tally-problem").unwrap()).unwrap();
        assert_eq!(slug(&problem), *kind);
        let source = letter.value("tally-source").unwrap();
        let place = format!("kafka:tally-submissions/{partition}/");
        assert!(source.starts_with(&place), "{source}");
    }

    // A submission that is known by its hash is told of, to those who may read its workspace.
    let (code, problem) = status(&base, &unknown, "").await;
    assert_eq!((code, slug(&problem["refusal"])), (409, "unknown-key"), "{problem}");
    // A forged one has no hash: nobody can have it said of another's submission that it was refused.
    let (code, _) = status(&base, &forged, "").await;
    assert_eq!(code, 404);

    process.stop().await.unwrap();
    let figures = crowd.held().await;
    print(&format!("2.1 row 14: {} poisoned messages, {figures}", poison.len()));
}

/// What is refused today may be in order tomorrow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_listed_shown_and_tried_again() {
    let mut crowd = Crowd::new().await;
    let broker = Broker::start(&crowd.rig.directory, PARTITIONS).await.unwrap();
    let servers = &broker.servers;
    let (process, base) = start(&crowd, servers, "both", &[]).await;
    let worker = crowd.open(&base, 1, 1).await.remove(0);
    admit(&crowd, &worker.workspace).await;
    let desk = crowd.desk(&base);
    let partition = partition_of(worker.workspace.as_str(), PARTITIONS);
    let mut late = Worker::new(&worker.origin, &worker.workspace, "late", 77);
    let early = late.work(2, now());
    desk.sent(&early).await;
    Stranger::new(servers).unwrap().put(partition, &message(&early)).await.unwrap();
    until(&crowd, "dead_letters", 1).await;

    let run = async |arguments: &[&str]| command(&crowd, servers, arguments).await;
    let (code, listed, told) = run(&["dead-letters", "list", "--json"]).await;
    assert_eq!(code, Some(0), "{told}");
    let letter: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(letter["submission"], early.hash.to_string());
    assert_eq!(slug(&letter["problem"]), "unknown-key", "{letter}");
    let id = letter["id"].to_string();
    let (code, shown, _) = run(&["dead-letters", "show", &id]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &shown["id"]), (Some(0), &letter["id"]));
    assert_eq!(shown["value"].as_str().unwrap().as_bytes(), early.body());
    let (_, others, _) = run(&["dead-letters", "list", "--workspace", "other"]).await;
    assert_eq!(others, "");

    // Nothing is sent where one of them is not there.
    let (code, _, told) = run(&["dead-letters", "retry", &id, "4711"]).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("there is no dead letter 4711"), "{told}");
    assert_eq!(crowd.count("dead_letters WHERE retried_at IS NOT NULL").await, 0);

    let registration = crowd.founders()[0].register(&late, now());
    desk.deliver(&registration).await;
    let run = async |arguments: &[&str]| command(&crowd, servers, arguments).await;
    let (code, done, told) = run(&["dead-letters", "retry", &id]).await;
    assert_eq!((code, done.trim()), (Some(0), &*format!("{id} is on the queue again")), "{told}");
    let (code, recorded) = status(&base, &early, "?wait=25").await;
    assert_eq!(code, 200, "{recorded}");
    let (_, open, _) = run(&["dead-letters", "list"]).await;
    assert_eq!(open, "", "nothing is left to do");
    let (_, all, _) = run(&["dead-letters", "list", "--all"]).await;
    assert!(all.contains("unknown-key"), "{all}");

    // How far the queue is recorded, for an operator.
    let (code, positions, told) = run(&["queue", "show", "--json"]).await;
    assert_eq!(code, Some(0), "{told}");
    let rows: BTreeMap<i64, Value> = positions
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|row| (row["partition"].as_i64().unwrap(), row))
        .collect();
    assert_eq!(rows.len(), usize::try_from(PARTITIONS).unwrap(), "{positions}");
    assert_eq!(rows[&i64::from(partition)]["last"], "1", "{positions}");
    process.stop().await.unwrap();
    crowd.held().await;
}

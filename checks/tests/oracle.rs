//! An oracle that finds nothing proves nothing: each kind of harm is done once, and is found.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::time::Duration;

use checks::driver::{Answer, Client};
use checks::figures::Figures;
use checks::history::{self, History, Record};
use checks::oracle::Oracle;
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::service::base;
use checks::worker::Worker;
use ledger::hash::Digest;
use ledger::names::Workspace;
use ledger::time::{HOUR, Micros};

/// A ledger of 43 events in 13 submissions: seq 1 to 3 set keys, then two agents submit four events
/// five times each; with what the clients sent and were told.
struct World {
    rig: Rig,
    records: Vec<Record>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        let rig = Rig::new(directory.path(), "ledger.example.com/oracle", postgres).await.unwrap();
        let now = start();
        let service = rig.serve(HandClock::new(now)).await.unwrap();
        let client = Client::new(&base(service.local_addr()), Duration::from_secs(30)).unwrap();
        let path = rig.directory.join("history.ndjson");
        let history = History::open(&path).unwrap();
        let workspace = Workspace::new("acme").unwrap();
        let worker = |actor, seed| Worker::new(&rig.origin, &workspace, actor, seed);
        let mut founder = worker("founder", 1);
        let mut agents = [worker("a", 2), worker("b", 3)];
        let mut submissions = vec![founder.open_workspace(now)];
        submissions.extend(agents.iter().map(|agent| founder.register(agent, now)));
        submissions
            .extend(agents.iter_mut().flat_map(|agent| [(); 5].map(|()| agent.work(4, now))));
        for submission in submissions {
            let answer = client.deliver(&history, &submission, Duration::ZERO).await.unwrap();
            assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
        }
        service.shutdown().await;
        Self { rig, records: history::read(&path).unwrap(), _directory: directory }
    }

    async fn judge(&self, records: &[Record]) -> Figures {
        let trust = std::fs::read_to_string(self.rig.trust()).unwrap();
        let oracle = Oracle::new(verifier::trust::parse(&trust).unwrap(), records).unwrap();
        oracle.compare(&self.rig.pool, None).await.unwrap()
    }

    /// `check-history`: its exit code, and what it prints.
    fn program(&self) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_check-history"))
            .args(["--label", "2.1 row 0", "--database", &self.rig.postgres.url(), "--trust"])
            .arg(self.rig.trust())
            .arg(self.rig.directory.join("history.ndjson"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    async fn sql(&self, statements: &str) {
        let statements = sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()));
        statements.execute(&self.rig.pool).await.unwrap();
    }
}

fn start() -> Micros {
    Micros::parse("2026-11-23T16:00:00.000000Z").unwrap()
}

fn submission_of(record: &Record) -> &str {
    match record {
        Record::Sent { submission, .. }
        | Record::Acked { submission, .. }
        | Record::Refused { submission, .. } => submission,
    }
}

#[tokio::test]
async fn histories_that_do_not_fit_are_found() {
    let world = World::new().await;
    let figures = world.judge(&world.records).await;
    assert!(figures.held(), "{figures}");
    assert_eq!((figures.sent, figures.acked, figures.recorded, figures.events), (13, 13, 13, 43));
    // Recorded, and nobody sent it.
    let gone = submission_of(world.records.last().unwrap());
    let fewer: Vec<_> =
        world.records.iter().filter(|record| submission_of(record) != gone).cloned().collect();
    assert_eq!(world.judge(&fewer).await.strangers, 1);
    // Recorded, and the client was told that it was refused; the other receipts are good.
    let told = |tell: &dyn Fn(&str, &str) -> Record| -> Vec<Record> {
        let told = world.records.iter().map(|record| match record {
            Record::Acked { submission, receipt } if submission == gone => {
                tell(submission, receipt)
            }
            record => record.clone(),
        });
        told.collect()
    };
    let refused =
        told(&|submission, _| Record::Refused { submission: submission.to_owned(), status: 403 });
    assert_eq!(world.judge(&refused).await.strangers, 1);
    // A receipt that was changed is not the ledger's.
    let changed = told(&|submission, receipt| Record::Acked {
        submission: submission.to_owned(),
        receipt: receipt.replace("first_seq 40", "first_seq 39"),
    });
    assert_eq!(world.judge(&changed).await.wrong, 1);
    // A second receipt for the same submission.
    let mut again = world.records.clone();
    again.extend(changed.into_iter().last());
    assert_eq!(world.judge(&again).await.wrong, 1);
}

#[tokio::test]
async fn an_archive_of_another_history_is_found() {
    let world = World::new().await;
    world.rig.seal(start().checked_add(HOUR).unwrap()).await.unwrap();
    let mut report = world.rig.verify().unwrap();
    let path = world.rig.directory.join("history.ndjson");
    let figures = world.rig.judge(&path, Some(&report)).await.unwrap();
    assert!(figures.held(), "{:?}", figures.findings);
    report.workspaces.retain(|of| of.workspace != ingest::access::settings::acts_workspace());
    for workspace in &mut report.workspaces {
        workspace.head = workspace.head.map(|(seq, _)| (seq, Digest::ZERO));
    }
    assert_eq!(world.rig.judge(&path, Some(&report)).await.unwrap().wrong, 1);
    for workspace in &mut report.workspaces {
        workspace.workspace = Workspace::new("unheard-of").unwrap();
    }
    assert_eq!(world.rig.judge(&path, Some(&report)).await.unwrap().wrong, 1);
}

/// What is done to the database, how it is undone, what must be found, and how often.
type Harm = (&'static str, &'static str, fn(&Figures) -> u64, u64);

/// In this order: the last one is not undone.
const HARMS: [Harm; 6] = [
    (
        "UPDATE entries SET payload = overlay(payload PLACING 'X' FROM 400) WHERE seq = 9",
        "UPDATE entries SET payload = kept.payload FROM kept
         WHERE kept.workspace = entries.workspace AND kept.seq = entries.seq",
        |figures| figures.wrong,
        1,
    ),
    (
        "UPDATE entries SET recorded_at = recorded_at + 1 WHERE seq = 9",
        "UPDATE entries SET recorded_at = recorded_at - 1 WHERE seq = 9",
        |figures| figures.wrong,
        // The row, and the one after it, at which the time falls.
        2,
    ),
    (
        "INSERT INTO submissions SELECT workspace, first_seq + 4, event_count, recorded_at, counter,
         submission_hash, public_key, signature, last_link FROM submissions WHERE first_seq = 40;
         INSERT INTO entries SELECT workspace, seq + 4, recorded_at, event_id, payload_digest, link,
         payload FROM entries WHERE seq >= 40",
        "DELETE FROM entries WHERE seq > 43; DELETE FROM submissions WHERE first_seq > 43",
        |figures| figures.doubled,
        // The submission, and its four events.
        5,
    ),
    (
        "DELETE FROM entries WHERE seq = 20",
        "INSERT INTO entries SELECT * FROM kept WHERE seq = 20",
        |figures| figures.gaps,
        1,
    ),
    (
        "UPDATE heads SET last_seq = last_seq + 1 WHERE workspace <> 'ledger.acts'",
        "UPDATE heads SET last_seq = last_seq - 1 WHERE workspace <> 'ledger.acts'",
        |figures| figures.wrong,
        1,
    ),
    (
        "DELETE FROM entries WHERE seq >= 40; DELETE FROM submissions WHERE first_seq >= 40",
        "SELECT 1",
        |figures| figures.lost,
        1,
    ),
];

#[tokio::test]
async fn harm_to_the_database_is_found() {
    let world = World::new().await;
    assert_eq!(world.program().0, Some(0));
    world
        .sql(
            "CREATE TABLE kept AS SELECT * FROM entries; ALTER TABLE entries DISABLE TRIGGER ALL;
             ALTER TABLE submissions DISABLE TRIGGER ALL; ALTER TABLE heads DISABLE TRIGGER ALL;
             -- Triggers and indexes of a day belong to its partitions.
             DO $$ DECLARE part regclass; index regclass; BEGIN
                 FOR part IN SELECT inhrelid FROM pg_inherits LOOP
                     EXECUTE format('ALTER TABLE %s DISABLE TRIGGER ALL', part);
                     FOR index IN SELECT indexrelid FROM pg_index WHERE indrelid = part LOOP
                         EXECUTE format('DROP INDEX %s', index);
                     END LOOP;
                 END LOOP;
             END $$",
        )
        .await;
    for (harm, undo, found, count) in HARMS {
        let clean = world.judge(&world.records).await;
        assert!(clean.held(), "before {harm}: {:?}", clean.findings);
        world.sql(harm).await;
        let figures = world.judge(&world.records).await;
        assert_eq!(found(&figures), count, "{harm}: {figures} {:?}", figures.findings);
        world.sql(undo).await;
    }
    let (code, text) = world.program();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("2.1 row 0: 1 acked lost, 0 duplicates, 0 gaps"), "{text}");
    assert!(text.contains("was acknowledged and is not recorded"), "{text}");
}

//! A ledger with a crowd at work in it: clients that send until they are told to stop, and keep a
//! history of what they were told.
//!
//! Here: what tests of faults under load share. Not here: the faults.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "never shipped: a crowd that cannot work is a failed test"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ingest::{Clock as _, SystemClock};
use ledger::names::Workspace;
use ledger::time::{HOUR, Micros};
use ledger::verify::Verdict;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::driver::{Answer, Client};
use crate::figures::Figures;
use crate::history::{History, Record};
use crate::postgres::Postgres;
use crate::rig::Rig;
use crate::submission::Submission;
use crate::worker::Worker;

/// How long a client waits for one answer, and how long it goes on asking.
const TIMEOUT: Duration = Duration::from_secs(40);
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a client waits before it asks again.
const PAUSE: Duration = Duration::from_millis(20);

/// The machine's time.
pub fn now() -> Micros {
    SystemClock.now()
}

/// Whether the long figures are asked for.
pub fn long() -> bool {
    std::env::var_os("CHECKS_LONG").is_some()
}

/// A ledger, and the history of its clients.
pub struct Crowd {
    /// The ledger.
    pub rig: Rig,
    /// What clients write down.
    pub history: History,
    path: PathBuf,
    founders: Vec<Worker>,
    // Gone last: everything else lies in it.
    _directory: TempDir,
}

impl Crowd {
    /// A ledger on a server of its own.
    pub async fn new() -> Self {
        Self::on(Postgres::start().expect("a server")).await
    }

    /// A ledger on this server.
    pub async fn on(postgres: Postgres) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let rig = Rig::new(directory.path(), "ledger.example.com/crowd", postgres).await;
        let rig = rig.expect("a ledger");
        let path = rig.directory.join("history.ndjson");
        let history = History::open(&path).expect("a history");
        Self { rig, history, path, founders: Vec::new(), _directory: directory }
    }

    /// Serves by the machine's clock, in this process.
    pub async fn serve(&self, url: &str) -> ingest::Running {
        self.rig.serve_on(url, Arc::new(SystemClock)).await.expect("a service")
    }

    /// Opens so many workspaces, each with so many agents whose keys are in force.
    pub async fn open(&mut self, base: &str, workspaces: u64, agents: u64) -> Vec<Worker> {
        let desk = Desk::new(base, &self.history);
        let mut workers = Vec::new();
        for n in 0..workspaces {
            let workspace = Workspace::new(&format!("crowd-{n}")).expect("a name");
            let seed = 1_000 * (n + 1);
            let mut founder = Worker::new(&self.rig.origin, &workspace, "founder", seed);
            desk.deliver(&founder.open_workspace(now())).await;
            for agent in 1..=agents {
                let actor = format!("agent-{agent}");
                let worker = Worker::new(&self.rig.origin, &workspace, &actor, seed + agent);
                desk.deliver(&founder.register(&worker, now())).await;
                workers.push(worker);
            }
            self.founders.push(founder);
        }
        workers
    }

    /// Who opened the workspaces.
    pub fn founders(&mut self) -> &mut [Worker] {
        &mut self.founders
    }

    /// A client's view of the service at `base`.
    pub fn desk(&self, base: &str) -> Desk {
        Desk::new(base, &self.history)
    }

    /// Puts workers to work, `events` in each submission.
    pub fn work(&self, base: &str, workers: Vec<Worker>, events: u64) -> Shift {
        let mut shift = Shift { tally: Arc::default(), tasks: JoinSet::new() };
        self.join(&mut shift, base, workers, events);
        shift
    }

    /// Puts more workers to work, at another service.
    pub fn join(&self, shift: &mut Shift, base: &str, workers: Vec<Worker>, events: u64) {
        for mut worker in workers {
            let mut desk = self.desk(base);
            desk.tally = Arc::clone(&shift.tally);
            shift.tasks.spawn(async move {
                while !desk.tally.stop.load(Ordering::SeqCst) {
                    let submission = worker.work(events, now());
                    desk.deliver(&submission).await;
                }
            });
        }
    }

    /// Seals all of it, verifies the archive, and compares it and the database with the history.
    ///
    /// # Panics
    /// Where a promise was not held.
    pub async fn held(&self) -> Figures {
        let later = now().checked_add(HOUR).expect("an hour later");
        self.rig.seal(later).await.expect("sealed");
        let report = self.rig.verify().expect("a report");
        assert_eq!(report.verdict, Verdict::Proven, "{:#?}", report.findings);
        let figures = self.rig.judge(&self.path, Some(&report)).await.expect("figures");
        assert!(figures.held(), "{figures}: {:#?}", figures.findings);
        // The ledger's own acts are there too.
        let entries = u64::try_from(self.count("entries").await).ok();
        assert_eq!(Some(report.events), entries, "all of it is sealed");
        figures
    }

    /// The rows of a table.
    pub async fn count(&self, table: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(sql).fetch_one(&self.rig.pool).await.expect("a count")
    }

    /// Where the history lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What clients of one shift were told.
#[derive(Debug, Default)]
pub struct Tally {
    stop: AtomicBool,
    acked: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
}

/// A client that writes down what it is told.
#[derive(Clone, Debug)]
pub struct Desk {
    /// Sends once.
    pub client: Client,
    history: History,
    tally: Arc<Tally>,
}

impl Desk {
    fn new(base: &str, history: &History) -> Self {
        let client = Client::new(base, TIMEOUT).expect("a client");
        Self { client, history: history.clone(), tally: Arc::default() }
    }

    /// Sends a submission until it is acknowledged, and gives its receipt.
    ///
    /// # Panics
    /// Where it is refused for good, or not acknowledged in two minutes.
    pub async fn deliver(&self, submission: &Submission) -> String {
        let hash = submission.hash.to_string();
        self.write(&Record::sent(submission)).await;
        let start = Instant::now();
        loop {
            match self.client.post(submission).await {
                Answer::Receipt(receipt) => {
                    let acked = Record::Acked { submission: hash, receipt: receipt.clone() };
                    self.write(&acked).await;
                    self.tally.acked.fetch_add(1, Ordering::SeqCst);
                    return receipt;
                }
                Answer::Unknown(told) if start.elapsed() < PATIENCE => {
                    let is_answer = told.starts_with("503: ");
                    let count = if is_answer { &self.tally.refused } else { &self.tally.broken };
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(PAUSE).await;
                }
                answer => panic!("submission {hash}: {answer:?}"),
            }
        }
    }

    /// Writes down that a submission was sent that nobody waits for.
    pub async fn sent(&self, submission: &Submission) {
        self.write(&Record::sent(submission)).await;
    }

    async fn write(&self, record: &Record) {
        self.history.append(record).await.expect("a history");
    }
}

/// Workers at work.
pub struct Shift {
    tally: Arc<Tally>,
    tasks: JoinSet<()>,
}

/// What the clients of a shift were told, counted.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Receipts.
    pub acked: u64,
    /// Answers 503.
    pub refused: u64,
    /// Connections that broke without an answer.
    pub broken: u64,
}

impl Shift {
    /// Submissions that were acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.tally.acked.load(Ordering::SeqCst)
    }

    /// What the clients were told so far.
    pub fn told(&self) -> Told {
        let Tally { acked, refused, broken, .. } = &*self.tally;
        let [acked, refused, broken] =
            [acked, refused, broken].map(|count| count.load(Ordering::SeqCst));
        Told { acked, refused, broken }
    }

    /// Waits until so many more submissions are acknowledged; gives how long that took.
    ///
    /// # Panics
    /// Where they are not in two minutes.
    pub async fn more(&self, count: u64) -> Duration {
        let start = Instant::now();
        let goal = self.acked() + count;
        while self.acked() < goal {
            assert!(start.elapsed() < PATIENCE, "nothing is recorded: {:?}", self.told());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }

    /// Tells the workers to stop, and waits until all that they sent is acknowledged.
    pub async fn end(self) -> Told {
        self.tally.stop.store(true, Ordering::SeqCst);
        let tally = Arc::clone(&self.tally);
        self.tasks.join_all().await;
        Shift { tally, tasks: JoinSet::new() }.told()
    }
}

//! No acknowledged event lost; none twice; no gap; in order (FAULTS rows 1 to 4, and row 35).
//!
//! The service runs in processes of its own on a real Postgres, clients write down what they send
//! and what they are told, and the oracle compares. `CHECKS_LONG=1` runs the long figures.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic, and tells its figures")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use checks::driver::{Answer, Client};
use checks::figures::Figures;
use checks::forge::Random;
use checks::history::History;
use checks::postgres::Postgres;
use checks::rig::Rig;
use checks::service::{Process, base, free_address};
use checks::submission::Submission;
use checks::worker::Worker;
use ingest::chain::Step;
use ingest::{Clock as _, SystemClock};
use ledger::names::{Origin, Workspace};
use ledger::submission::Counter;
use ledger::time::Micros;
use tokio::task::JoinSet;

/// How long a client waits for one answer, and how long it goes on asking.
const TIMEOUT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
/// SIGABRT: the hook of the fault kills its own process.
const ABORTED: i32 = 6;

fn now() -> Micros {
    SystemClock.now()
}

fn long() -> bool {
    std::env::var_os("CHECKS_LONG").is_some()
}

/// Prints a pass line, and keeps it in the target directory.
fn print(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

/// A ledger with one workspace, and clients that keep a history.
struct Ground {
    rig: Rig,
    address: SocketAddr,
    history: History,
    path: PathBuf,
    founder: Worker,
    // Gone last: everything else lies in it.
    _directory: tempfile::TempDir,
}

impl Ground {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        let rig = Rig::new(directory.path(), "ledger.example.com/faults", postgres).await.unwrap();
        let path = rig.directory.join("history.ndjson");
        let history = History::open(&path).unwrap();
        let founder = Worker::new(&rig.origin, &Workspace::new("acme").unwrap(), "founder", 1);
        Self {
            rig,
            address: free_address().unwrap(),
            history,
            path,
            founder,
            _directory: directory,
        }
    }

    fn start(&self, address: SocketAddr, arguments: &[&str]) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_tally-ingest-under-fault"));
        Process::start(program, &self.rig, address, arguments).unwrap()
    }

    /// A service that nothing happens to.
    async fn serve(&self, address: SocketAddr) -> Process {
        let mut process = self.start(address, &[]);
        process.listening().await.unwrap();
        process
    }

    fn client(&self) -> Client {
        Client::new(&base(self.address), TIMEOUT).unwrap()
    }

    async fn deliver(&self, submission: &Submission) -> String {
        deliver(&self.client(), &self.history, submission).await
    }

    /// Opens the workspace, and brings the keys of so many workers into force.
    async fn workers(&mut self, count: u64) -> Vec<Worker> {
        let opening = self.founder.open_workspace(now());
        self.deliver(&opening).await;
        let mut workers = Vec::new();
        for n in 0..count {
            let Worker { origin, workspace, .. } = &self.founder;
            let worker = Worker::new(origin, workspace, &format!("agent-{n}"), 100 + n);
            let registration = self.founder.register(&worker, now());
            self.deliver(&registration).await;
            workers.push(worker);
        }
        workers
    }

    /// Every promise held; prints the row's line.
    async fn held(&self, row: &str, what: &str) -> Figures {
        let figures = self.rig.judge(&self.path, None).await.unwrap();
        print(&format!("{row}: {what}, {figures}"));
        assert!(figures.held(), "{:#?}", figures.findings);
        figures
    }
}

/// Delivers a submission that can only be acknowledged.
async fn deliver(client: &Client, history: &History, submission: &Submission) -> String {
    match client.deliver(history, submission, PATIENCE).await.unwrap() {
        Answer::Receipt(receipt) => receipt,
        answer => panic!("{}: {answer:?}", submission.hash),
    }
}

/// Works until it is told to stop; after each kill, and at the end, sends what it has receipts for
/// again. Gives how often the same receipt came back.
async fn client_under_faults(
    client: Client,
    history: History,
    mut worker: Worker,
    kills: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> u64 {
    let mut receipts: Vec<(Submission, String)> = Vec::new();
    let (mut seen, mut again) = (0, 0);
    loop {
        let stopped = stop.load(Ordering::SeqCst);
        let killed = kills.load(Ordering::SeqCst);
        let recent = if stopped { 0 } else { receipts.len().saturating_sub(5) };
        if stopped || killed > seen {
            for (submission, receipt) in receipts.iter().skip(recent) {
                assert_eq!(&deliver(&client, &history, submission).await, receipt);
                again += 1;
            }
            seen = killed;
        }
        if stopped {
            return again;
        }
        let submission = worker.work(10, now());
        let receipt = deliver(&client, &history, &submission).await;
        receipts.push((submission, receipt));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_1_and_2_the_service_is_killed_at_every_step() {
    let kills_a_step = if long() { 500 } else { 20 };
    let mut ground = Ground::new().await;
    let healthy = ground.serve(ground.address).await;
    let workers = ground.workers(8).await;
    healthy.stop().await.unwrap();

    let (kills, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for worker in workers {
        let (client, history) = (ground.client(), ground.history.clone());
        clients.spawn(client_under_faults(client, history, worker, kills.clone(), stop.clone()));
    }
    let mut random = Random::new(7);
    for step in Step::ALL {
        for _ in 0..kills_a_step {
            let passage = (1 + random.below(5)).to_string();
            let arguments = ["--abort-at", step.name(), "--passage", &passage];
            let status = ground.start(ground.address, &arguments).ended().await.unwrap();
            assert_eq!(status.signal(), Some(ABORTED), "killed at {step:?}, not otherwise");
            kills.fetch_add(1, Ordering::SeqCst);
        }
    }
    let healthy = ground.serve(ground.address).await;
    stop.store(true, Ordering::SeqCst);
    let again: u64 = clients.join_all().await.into_iter().sum();
    healthy.stop().await.unwrap();

    let kills = kills.load(Ordering::SeqCst);
    let what = format!("{kills} kills ({} steps x {kills_a_step})", Step::ALL.len());
    let figures = ground.held("2.1 row 1", &what).await;
    assert_eq!(figures.sent, figures.acked, "everything was acknowledged in the end");
    print(&format!("2.1 row 2: {again} sent again after kills, the same receipt bytes for 100 %"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_3_the_same_bytes_twice_at_once() {
    const PAIRS: u64 = 10_000;
    const CLIENTS: u64 = 32;
    let mut ground = Ground::new().await;
    let healthy = ground.serve(ground.address).await;
    let mut clients = JoinSet::new();
    for mut worker in ground.workers(CLIENTS).await {
        let (client, history) = (ground.client(), ground.history.clone());
        clients.spawn(async move {
            let (mut gave_up, mut usual) = (0, Duration::ZERO);
            for pair in 0..PAIRS.div_ceil(CLIENTS) {
                let submission = worker.work(1, now());
                let second = deliver(&client, &history, &submission);
                let start = Instant::now();
                let (first, second) = if pair % 2 == 0 {
                    let answers = tokio::join!(client.post(&submission), second);
                    usual = start.elapsed();
                    answers
                } else {
                    // The first connection is cut while the service is still at it: early, late,
                    // and anywhere between.
                    let patience = usual * u32::try_from(pair / 2 % 16).unwrap() / 16;
                    let first = tokio::time::timeout(patience, client.post(&submission));
                    let (first, second) = tokio::join!(first, second);
                    gave_up += u64::from(first.is_err());
                    match first {
                        Ok(first) => (first, second),
                        Err(_) => (client.post(&submission).await, second),
                    }
                };
                assert_eq!(first, Answer::Receipt(second));
            }
            gave_up
        });
    }
    let gave_up: u64 = clients.join_all().await.into_iter().sum();
    healthy.stop().await.unwrap();
    let pairs = PAIRS.div_ceil(CLIENTS) * CLIENTS;
    let what = format!("{pairs} pairs, {gave_up} with the first connection cut, one receipt each");
    let figures = ground.held("2.1 row 3", &what).await;
    assert_eq!(figures.recorded, pairs + CLIENTS + 1, "one row for each pair");
    assert!(gave_up > PAIRS / 10, "connections were cut indeed: {gave_up}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_4_two_processes_one_workspace() {
    const CLIENTS: u64 = 64;
    // 64 x 157 x 100: a million events.
    const SUBMISSIONS_EACH: u64 = 157;
    let mut ground = Ground::new().await;
    let other = free_address().unwrap();
    let processes = [ground.serve(ground.address).await, ground.serve(other).await];
    let mut clients = JoinSet::new();
    for (n, mut worker) in ground.workers(CLIENTS).await.into_iter().enumerate() {
        let history = ground.history.clone();
        let client =
            Client::new(&base(if n % 2 == 0 { ground.address } else { other }), PATIENCE).unwrap();
        clients.spawn(async move {
            for _ in 0..SUBMISSIONS_EACH {
                let submission = worker.work(100, now());
                deliver(&client, &history, &submission).await;
            }
        });
    }
    clients.join_all().await;
    for process in processes {
        process.stop().await.unwrap();
    }
    let events = CLIENTS * SUBMISSIONS_EACH * 100;
    let what = format!("2 processes, {CLIENTS} clients, {events} events");
    let figures = ground.held("2.1 row 4", &what).await;
    assert_eq!(figures.events, events + CLIENTS + 1);
}

/// Everything that someone who saw a submission may try with it.
fn replays(submission: &Submission, other: &Workspace) -> BTreeMap<&'static str, Submission> {
    let with = |change: &dyn Fn(&mut Submission)| {
        let mut replay = submission.clone();
        change(&mut replay);
        replay
    };
    BTreeMap::from([
        ("another workspace", with(&|replay| replay.workspace = other.clone())),
        (
            "another counter",
            with(&|replay| {
                replay.counter = Counter::new(submission.counter.get() + 1).unwrap();
            }),
        ),
        ("no counter", with(&|replay| replay.counter = Counter::NONE)),
        ("reordered", with(&|replay| replay.payloads.reverse())),
        ("one event dropped", with(&|replay| drop(replay.payloads.pop()))),
        (
            "one event doubled",
            with(&|replay| replay.payloads.extend(submission.payloads.last().cloned())),
        ),
        ("no event", with(&|replay| replay.payloads.clear())),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_replays_never_make_a_row() {
    let mut ground = Ground::new().await;
    let healthy = ground.serve(ground.address).await;
    let mut workers = ground.workers(4).await;
    let other = Workspace::new("other").unwrap();
    let mut founder = Worker::new(&ground.rig.origin, &other, "founder", 2);
    let opening = founder.open_workspace(now());
    ground.deliver(&opening).await;
    // The same keys in both workspaces: what tells them apart is the statement alone.
    for worker in &workers {
        let registration = founder.register(worker, now());
        ground.deliver(&registration).await;
    }
    let client = ground.client();
    let (mut same, mut refused) = (0_u64, 0_u64);
    for round in 0..40 {
        for worker in &mut workers {
            let submission = worker.work(3, now());
            let receipt = ground.deliver(&submission).await;
            assert_eq!(client.post(&submission).await, Answer::Receipt(receipt));
            same += 1;
            for (replay, submission) in replays(&submission, &other) {
                let answer = client.post(&submission).await;
                assert!(matches!(answer, Answer::Refused { .. }), "{replay}: {answer:?}");
                refused += 1;
            }
            // Signed for another ledger, with events that this one has never seen.
            let elsewhere = Origin::new(&format!("elsewhere.example.com/{round}")).unwrap();
            let home = std::mem::replace(&mut worker.origin, elsewhere);
            let answer = client.post(&worker.work(2, now())).await;
            assert!(matches!(answer, Answer::Refused { .. }), "another origin: {answer:?}");
            worker.origin = home;
            refused += 1;
        }
    }
    healthy.stop().await.unwrap();
    let what = format!("{same} replays with the same receipt, {refused} altered ones refused");
    ground.held("2.3 row 35", &what).await;
}

//! `tally-archiver run`: the program itself, and the daemon by a clock that is set by hand.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use archiver::chunk::Limits;
use archiver::daemon::{self, Schedule, Stop};
use archiver::seal::Archiver;
use archiver::vault::FileVault;
use checks::bin_path::tally;
use checks::crowd::{Crowd, now};
use checks::postgres::Postgres;
use checks::rig::HandClock;
use checks::service::base;
use ingest::Clock as _;
use ledger::note::NoteSigner;
use ledger::time::HOUR;
use ledger::verify::Verdict;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{Ledger, World};

const PATIENCE: Duration = Duration::from_secs(90);

/// `tally-archiver` on a made-up ledger, by the machine's clock.
struct Program {
    world: World,
    program: PathBuf,
}

impl Program {
    async fn new(postgres: &Postgres) -> Self {
        let world = World::new(postgres, Ledger::of_several_hours()).await;
        let program = Self { world, program: tally("tally-archiver") };
        std::fs::write(program.key(), &program.world.ledger.seal_pem).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(program.key(), private).unwrap();
        std::fs::create_dir_all(program.archive()).unwrap();
        program
    }

    fn key(&self) -> PathBuf {
        self.world.path().join("seal.pem")
    }

    fn archive(&self) -> PathBuf {
        self.world.path().join("archive")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let options = self.world.pool.connect_options();
        let (port, database) = (options.get_port(), options.get_database().unwrap());
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--origin", self.world.ledger.content.origin.as_str()])
            .args(["--database-url", &format!("postgres://postgres@127.0.0.1:{port}/{database}")])
            .arg("--archive-url")
            .arg(self.archive())
            .arg("--seal-key")
            .arg(self.key())
            .args(["--log-format", "json"])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn run(&self) -> Child {
        self.command(&["run"]).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// `status --check`: its exit code, and what it says.
    async fn status(&self) -> (i32, Value) {
        let arguments = ["status", "--check", "--max-hours-behind", "1", "--json"];
        let output = self.command(&arguments).output().await.unwrap();
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Waits until its exit code is this one, and a member of what it says is not null.
    async fn until(&self, code: i32, told: &str) -> Value {
        let start = Instant::now();
        loop {
            let (found, status) = self.status().await;
            if found == code && !status[told].is_null() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "{found} and not {code}: {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it by SIGTERM, and gives its exit code and log lines.
    async fn stop(&self, child: Child) -> (Option<i32>, Vec<Value>) {
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
        ended(child).await
    }
}

async fn ended(child: Child) -> (Option<i32>, Vec<Value>) {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let lines = String::from_utf8(output.stderr).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null));
    (output.status.code(), lines.collect())
}

/// Made-up ledgers begin days before today.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_of_days_hour_by_hour() {
    let postgres = Postgres::start().unwrap();
    let program = Program::new(&postgres).await;
    let (code, before) = program.status().await;
    assert!(code == 3 && before["last_hour"].is_null(), "{before}");
    let behind = before["hours_behind"].as_i64().unwrap();
    assert!(behind > 48, "{before}");

    // Killed on its way, twice.
    for millis in [150, 300] {
        let mut child = program.run();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        child.kill().await.unwrap();
    }
    let child = program.run();
    let status = program.until(0, "last_ok_at").await;
    assert_eq!(status["failures"], 0, "{status}");
    // There is nothing more to do, and it goes on.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (code, lines) = program.stop(child).await;
    assert_eq!(code, Some(0), "{lines:?}");
    assert!(lines.iter().all(|line| line["level"].is_string()), "{lines:?}");

    let hours: Vec<i64> = sqlx::query_scalar("SELECT hour FROM sealed_hours ORDER BY log_index")
        .fetch_all(&program.world.pool)
        .await
        .unwrap();
    assert!(i64::try_from(hours.len()).unwrap() >= behind, "{} hours", hours.len());
    assert!(hours.windows(2).all(|pair| pair[1] - pair[0] == HOUR), "one note an hour, in order");
    let report = super::verify(&program.archive(), program.world.ledger.trust.clone());
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
    assert_eq!(report.events, program.world.ledger.rows().count() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_tried_again_and_what_must_be_looked_at_ends_it() {
    let postgres = Postgres::start().unwrap();
    let program = Program::new(&postgres).await;
    // A file stands where objects are to lie.
    let block = program.archive().join("events");
    std::fs::write(&block, "").unwrap();
    let child = program.run();
    let failed = program.until(3, "last_failure").await;
    assert!(failed["last_failure"]["error"].as_str().unwrap().contains("events/"), "{failed}");
    std::fs::remove_file(&block).unwrap();
    let mended = program.until(0, "last_ok_at").await;
    assert!(mended["failures"] == 0 && mended["last_failure"].is_null(), "{mended}");
    // A second one stands by.
    let second = program.run();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(program.stop(second).await.0, Some(0));
    let (code, lines) = program.stop(child).await;
    assert_eq!(code, Some(0));
    assert!(lines.iter().any(|line| line["level"] == "ERROR"), "{lines:?}");

    // The archive loses its checkpoint.
    std::fs::remove_file(program.archive().join("log/checkpoint")).unwrap();
    let (code, lines) = ended(program.run()).await;
    assert_eq!(code, Some(4), "{lines:?}");
    let status = program.until(4, "last_failure").await;
    assert!(
        status["last_failure"]["error"].as_str().unwrap().contains("no checkpoint"),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_close_while_events_come_in_at_full_load() {
    let mut crowd = Crowd::new().await;
    let clock = HandClock::new(now());
    let running = crowd.rig.serve(clock.clone()).await.unwrap();
    let base = base(running.local_addr());
    let workers = crowd.open(&base, 2, 3).await;
    let shift = crowd.work(&base, workers, 20);
    let key = ingest::keyfile::read(&crowd.rig.directory.join("keys/seal.pem")).unwrap();
    let (pool, origin, archive) =
        (crowd.rig.pool.clone(), crowd.rig.origin.clone(), crowd.rig.archive());
    let (stop, watch) = (Arc::new(Stop::new()), clock.clone());
    let told = Arc::clone(&stop);
    let daemon = tokio::spawn(async move {
        let vault = FileVault::open(&archive.to_string_lossy()).unwrap();
        let signer = Arc::new(NoteSigner::seal(&origin, key));
        let limits = Limits { rows: 500, payload_bytes: 1 << 20 };
        let archiver = Archiver { pool, vault: &vault, signer, origin, limits, probe: &*told };
        let tick = Duration::from_millis(5);
        let schedule = Schedule { grace: Duration::ZERO, tick, retention: None };
        daemon::run(&archiver, &schedule, &|| Some(watch.now()), &told).await
    });
    let sealed = async |through: i64| {
        let start = Instant::now();
        loop {
            let last: Option<i64> = sqlx::query_scalar("SELECT max(hour) FROM sealed_hours")
                .fetch_one(&crowd.rig.pool)
                .await
                .unwrap();
            if last >= Some(through) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{last:?}: {through} is not sealed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let hours = 6;
    for _ in 0..hours {
        shift.more(20).await;
        let closed = clock.now().hour();
        clock.reach(clock.now().checked_add(HOUR).unwrap());
        sealed(closed.start().get()).await;
    }
    let told = shift.end().await;
    let closed = clock.now().hour();
    clock.reach(clock.now().checked_add(HOUR).unwrap());
    sealed(closed.start().get()).await;
    stop.stop();
    daemon.await.unwrap().unwrap();
    running.shutdown().await;
    let report = crowd.rig.verify().unwrap();
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
    let figures = crowd.rig.judge(crowd.path(), Some(&report)).await.unwrap();
    assert!(figures.held(), "{figures}: {:?}", figures.findings);
    assert!(told.acked >= 20 * hours, "{told:?}");
    assert_eq!(Some(report.events), u64::try_from(crowd.count("entries").await).ok());
}

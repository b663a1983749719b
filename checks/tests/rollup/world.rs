//! A ledger whose agents' work lies in the days before, and what is rolled up of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use archiver::SealError;
use archiver::chunk::Limits;
use archiver::computing::Computing;
use archiver::rollup::{Rolled, Rolling};
use archiver::seal::Archiver;
use archiver::step::Probe;
use archiver::vault::FileVault;
use checks::bin_path::tally;
use checks::driver::{Answer, Client};
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::service::base;
use checks::tools::python;
use checks::worker::Worker;
use ingest::Running;
use ledger::names::Workspace;
use ledger::note::NoteSigner;
use ledger::rollup::Definition;
use ledger::time::{HOUR, Micros};
use serde_json::{Value, json};
use tempfile::TempDir;
use verifier::rollup::{Engine, definitions};

/// Half past an hour, or so many hours later. The ledger begins at 0.
pub fn at(hours: i64) -> Micros {
    let start = ledger::payload::occurred_at("2026-11-23T16:30:00Z").unwrap();
    start.checked_add(hours * HOUR).unwrap()
}

/// A ledger with the workspace `acme`.
pub struct World {
    pub rig: Rig,
    pub clock: HandClock,
    pub founder: Worker,
    /// Where facts are kept between two runs.
    pub facts: TempDir,
    base: String,
    _running: Running,
    _directory: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        let rig = Rig::new(directory.path(), "ledger.example.com/rollup", postgres).await.unwrap();
        let clock = HandClock::new(at(0));
        let running = rig.serve(clock.clone()).await.unwrap();
        let acme = Workspace::new("acme").unwrap();
        checks::token::admit(&rig.pool, &acme).await.unwrap();
        let mut founder = Worker::new(&rig.origin, &acme, "founder", 7);
        let opening = founder.open_workspace(at(0));
        rig.write_trust(std::slice::from_ref(&founder)).unwrap();
        let world = Self {
            base: base(running.local_addr()),
            rig,
            clock,
            founder,
            facts: tempfile::tempdir().unwrap(),
            _running: running,
            _directory: directory,
        };
        world.post(&opening).await;
        world
    }

    async fn post(&self, submission: &checks::submission::Submission) {
        let client = Client::new(&self.base, Duration::from_secs(30)).unwrap();
        let answer = client.post(submission).await;
        assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
    }

    /// Records `count` events that occurred up to this time, one a second.
    pub async fn work(&mut self, count: u64, occurred: Micros) {
        let payloads = self.founder.agent.events(count, occurred);
        self.record(payloads).await;
    }

    pub async fn record(&mut self, payloads: Vec<Vec<u8>>) {
        for payloads in payloads.chunks(100) {
            let submission = self.founder.sign(payloads.to_vec());
            self.post(&submission).await;
        }
    }

    fn archiver<'a>(&self, vault: &'a FileVault, probe: &'a dyn Probe) -> Archiver<'a> {
        let key = ingest::keyfile::read(&self.rig.directory.join("keys/seal.pem")).unwrap();
        Archiver {
            pool: self.rig.pool.clone(),
            vault,
            signer: Arc::new(NoteSigner::seal(&self.rig.origin, key)),
            origin: self.rig.origin.clone(),
            limits: Limits { rows: 400, payload_bytes: 1 << 20 },
            probe,
        }
    }

    fn vault(&self) -> FileVault {
        FileVault::open(&self.archive().to_string_lossy()).unwrap()
    }

    pub fn archive(&self) -> PathBuf {
        self.rig.archive()
    }

    /// Seals every hour that has closed at this time, which becomes that of the ledger.
    pub async fn seal(&self, now: Micros) {
        self.clock.reach(now);
        self.archiver(&self.vault(), &()).seal(now, Duration::ZERO).await.unwrap();
    }

    pub async fn erase(&self) {
        self.archiver(&self.vault(), &()).erase().await.unwrap();
    }

    pub async fn roll_up(&self) -> Rolled {
        self.roll_up_with(2, false, &()).await.unwrap()
    }

    pub async fn roll_up_with(
        &self,
        partitions: usize,
        rebuild: bool,
        probe: &dyn Probe,
    ) -> Result<Rolled, SealError> {
        self.roll_up_by(definitions(), partitions, rebuild, probe).await
    }

    pub async fn roll_up_by(
        &self,
        definitions: &[Definition],
        partitions: usize,
        rebuild: bool,
        probe: &dyn Probe,
    ) -> Result<Rolled, SealError> {
        let spill = tempfile::tempdir().unwrap();
        let engine = Engine::new(64 << 20, partitions, spill.path());
        let rolling = Rolling {
            definitions,
            workspace: None,
            rebuild,
            computing: Computing::here(&engine, self.facts.path().to_owned()),
        };
        self.archiver(&self.vault(), probe).roll_up(&rolling).await
    }

    #[cfg(feature = "distributed")]
    pub async fn roll_up_as(&self, rolling: &Rolling<'_>) -> Result<Rolled, SealError> {
        self.archiver(&self.vault(), &()).roll_up(rolling).await
    }

    pub async fn publish(&self, all: bool) -> archiver::marts::Published {
        self.archiver(&self.vault(), &()).publish_marts(all).await.unwrap()
    }

    /// `tally-verify rollup`, or another command of it.
    pub fn verifier(&self, command: &str, more: &[&str]) -> Output {
        verify(&self.archive(), &self.rig.trust(), command, more)
    }

    /// The rollups as DuckDB has them, beside what the archive says.
    pub async fn duckdb(&self) -> Value {
        compare(&self.archive()).await
    }
}

pub fn verify(archive: &Path, trust: &Path, command: &str, more: &[&str]) -> Output {
    Command::new(tally("tally-verify"))
        .arg(command)
        .arg("--archive")
        .arg(archive)
        .arg("--trust")
        .arg(trust)
        .arg("--any-age")
        .args(more)
        .output()
        .unwrap()
}

/// The rollups of an archive as DuckDB has them, beside what the archive says.
pub async fn compare(archive: &Path) -> Value {
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../archiver/rollups");
    let arguments = [Path::new("compare"), archive, &definitions];
    let (code, told) = python("rollups.py", &arguments).await.unwrap();
    assert_eq!((code, &told["wrongs"]), (Some(0), &json!(0)), "{told:#}");
    told
}

pub fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

/// The ids and places of what a report in JSON says was found.
pub fn findings(output: &Output) -> Vec<(String, String)> {
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    let finding = |finding: &Value| {
        let object = finding["object"].as_str().unwrap_or_default().to_owned();
        (finding["id"].as_str().unwrap().to_owned(), object)
    };
    report["findings"].as_array().unwrap().iter().map(finding).collect()
}

//! A ledger of three hours: two to be sealed, and one in which erasures are asked for; or of three days,
//! of which much is to go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use archiver::SealError;
use archiver::amend::{InForce, Place};
use archiver::chunk::Limits;
use archiver::daemon::{self, Schedule, Stop};
use archiver::erase::Outcome;
use archiver::erasure::Erased;
use archiver::policy::RetentionPolicy;
use archiver::retain::{Retained, rehearse};
use archiver::seal::{Archiver, Sealed};
use archiver::step::Probe;
use archiver::vault::FileVault;
use checks::driver::{Answer, Client};
use checks::forge::{Archive, Chunk, Content, Leaf};
use checks::killed::Archivers;
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::service::base;
use checks::submission::Submission;
use checks::token;
use checks::worker::Worker;
use ingest::Running;
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::note::NoteSigner;
use ledger::time::{HOUR, Micros};
use ledger::verify::{Check, Policy, Report, Severity};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use verifier::store::FileSource;

use crate::canary::{canary, in_archive, in_database};

/// Rows of a chunk, so that an hour has several.
const ROWS: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// Half past the first hour, or so many hours later.
pub fn at(hours: i64) -> Micros {
    let start = ledger::payload::occurred_at("2026-11-23T16:30:00Z").unwrap();
    start.checked_add(hours * HOUR).unwrap()
}

/// The id of the event `n`.
pub fn id(n: u64) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

/// An event of an agent, with its canary in several places.
pub fn event(n: u64) -> Vec<u8> {
    typed(n, "note", &json!({ "text": canary(n) }))
}

/// An event of any type.
pub fn typed(n: u64, event_type: &str, context: &Value) -> Vec<u8> {
    json!({
        "event_id": id(n),
        "event_type": event_type,
        "occurred_at": "2026-11-23T16:00:00Z",
        "workspace_id": "acme",
        "session_id": canary(n),
        "on_behalf_of": canary(n),
        "context": context,
    })
    .to_string()
    .into_bytes()
}

/// A request to erase events, as the event `n`.
pub fn erasure(n: u64, events: &[u64]) -> Vec<u8> {
    let ids: Vec<String> = events.iter().map(|n| id(*n)).collect();
    typed(n, "ledger.payload_erased", &json!({ "event_ids": ids, "reason": "asked for" }))
}

/// A ledger with the workspace `acme`, its root key at work.
pub struct World {
    pub rig: Rig,
    pub clock: HandClock,
    pub base: String,
    pub founder: Worker,
    pub http: reqwest::Client,
    running: Option<Running>,
    directory: TempDir,
}

impl World {
    /// Only the event that opens the workspace, at seq 1.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        let rig = Rig::new(directory.path(), "ledger.example.com/erase", postgres).await.unwrap();
        let clock = HandClock::new(at(0));
        let running = rig.serve(clock.clone()).await.unwrap();
        let base = base(running.local_addr());
        let acme = Workspace::new("acme").unwrap();
        token::admit(&rig.pool, &acme).await.unwrap();
        let mut founder = Worker::new(&rig.origin, &acme, "founder", 1);
        let opening = founder.open_workspace(at(0));
        rig.write_trust(std::slice::from_ref(&founder)).unwrap();
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
        let running = Some(running);
        let world = Self { rig, clock, base, founder, http, running, directory };
        world.post(&opening).await;
        world
    }

    /// Three hours. Events 1 to 9 in the first, in chunks of seqs 1 to 4, 5 to 7, 8 to 10; 10 to 12
    /// in the second, in one chunk; 13 and 14 in the third, at seqs 14 and 15, and two requests:
    /// seq 16 erases 2 and 3 (one chunk), 5 (another), and 13 (of its own hour); seq 17 erases 1 and,
    /// once more, 2.
    pub async fn of_three_hours() -> Self {
        let mut world = Self::new().await;
        for first in [1, 4, 7] {
            world.record((first..first + 3).map(event).collect()).await;
        }
        world.clock.reach(at(1));
        world.record((10..13).map(event).collect()).await;
        world.clock.reach(at(2));
        world.record((13..15).map(event).collect()).await;
        world.record(vec![erasure(101, &[2, 3, 5, 13])]).await;
        world.record(vec![erasure(102, &[1, 2])]).await;
        world
    }

    /// Three days, and two more in which nothing happens; all times are of 2026-11.
    ///
    /// | hour | events | seqs, by chunk |
    /// |---|---|---|
    /// | 23T16 | the workspace opens; 1 to 3 | 1-4 |
    /// | 23T17 | 4 to 9 | 5-7, 8-10 |
    /// | 24T16 | 10 to 12 | 11-13 |
    /// | 24T17 | a request to erase 5 | 14 |
    /// | 24T18 | 13 to 15 | 15-17 |
    /// | 25T16 | 16 to 18 | 18-20 |
    pub async fn of_three_days() -> Self {
        let mut world = Self::new().await;
        world.record((1..4).map(event).collect()).await;
        world.clock.reach(at(1));
        world.record((4..7).map(event).collect()).await;
        world.record((7..10).map(event).collect()).await;
        world.clock.reach(at(24));
        world.record((10..13).map(event).collect()).await;
        world.clock.reach(at(25));
        world.record(vec![erasure(101, &[5])]).await;
        world.clock.reach(at(26));
        world.record((13..16).map(event).collect()).await;
        world.clock.reach(at(48));
        world.record((16..19).map(event).collect()).await;
        world.clock.reach(at(5 * 24));
        world
    }

    /// Records events, signed by the root key.
    pub async fn record(&mut self, payloads: Vec<Vec<u8>>) {
        let submission = self.founder.sign(payloads);
        self.post(&submission).await;
    }

    async fn post(&self, submission: &Submission) {
        let answer = self.client().post(submission).await;
        assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
    }

    pub fn client(&self) -> Client {
        Client::new(&self.base, PATIENCE).unwrap()
    }

    /// Reads as the reader of `acme`.
    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}/v1/workspaces/acme/{path}", self.base);
        let request = self.http.get(url).bearer_auth(token::reader("acme"));
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Starts the service anew on the same database.
    pub async fn restart(&mut self) {
        if self.running.is_some() {
            self.stop().await;
        }
        let running = self.rig.serve(self.clock.clone()).await.unwrap();
        self.base = base(running.local_addr());
        self.running = Some(running);
    }

    /// Stops the service; its database stays.
    pub async fn stop(&mut self) {
        self.running.take().unwrap().shutdown().await;
    }

    /// The archiver's view of the ledger.
    pub fn copy(&self) -> Copy {
        Copy {
            pool: self.rig.pool.clone(),
            origin: self.rig.origin.clone(),
            keys: self.rig.directory.clone(),
            archive: self.rig.archive(),
            _directory: None,
        }
    }

    /// A copy of database and archive. Nobody else may be on the database.
    pub async fn another(&self, number: usize) -> Copy {
        let url = self.rig.postgres.url();
        let (server, _) = url.rsplit_once('/').unwrap();
        let admin = PgPool::connect(&format!("{server}/template1")).await.unwrap();
        let copy = format!("CREATE DATABASE copy{number} TEMPLATE postgres");
        sqlx::raw_sql(AssertSqlSafe(copy)).execute(&admin).await.unwrap();
        admin.close().await;
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("archive");
        if self.rig.archive().exists() {
            Archive::load(&self.rig.archive()).unwrap().store(&archive).unwrap();
        }
        Copy {
            pool: PgPool::connect(&format!("{server}/copy{number}")).await.unwrap(),
            origin: self.rig.origin.clone(),
            keys: self.directory.path().to_owned(),
            archive,
            _directory: Some(directory),
        }
    }
}

/// A database and its archive.
pub struct Copy {
    pub pool: PgPool,
    origin: Origin,
    /// Where keys and trust file lie.
    keys: PathBuf,
    pub archive: PathBuf,
    _directory: Option<TempDir>,
}

impl Copy {
    /// A copy of the archive, for another database.
    pub fn on(&self, pool: PgPool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("archive");
        self.objects().store(&archive).unwrap();
        let (origin, keys) = (self.origin.clone(), self.keys.clone());
        Self { pool, origin, keys, archive, _directory: Some(directory) }
    }

    fn archiver<'a>(&self, vault: &'a FileVault, probe: &'a dyn Probe) -> Archiver<'a> {
        let key = ingest::keyfile::read(&self.keys.join("keys/seal.pem")).unwrap();
        Archiver {
            pool: self.pool.clone(),
            vault,
            signer: std::sync::Arc::new(NoteSigner::seal(&self.origin, key)),
            origin: self.origin.clone(),
            limits: Limits { rows: ROWS, payload_bytes: 1 << 20 },
            probe,
        }
    }

    fn vault(&self) -> FileVault {
        FileVault::open(&self.archive.to_string_lossy()).unwrap()
    }

    /// Seals every hour that has closed by `now`.
    pub async fn seal_with(&self, now: Micros, probe: &dyn Probe) -> Result<Sealed, SealError> {
        self.archiver(&self.vault(), probe).seal(now, Duration::ZERO).await
    }

    pub async fn seal(&self, now: Micros) -> Sealed {
        self.seal_with(now, &()).await.unwrap()
    }

    pub async fn erase_with(&self, probe: &dyn Probe) -> Result<Outcome, SealError> {
        self.archiver(&self.vault(), probe).erase().await
    }

    pub async fn retain_with(
        &self,
        policy: &str,
        now: Micros,
        probe: &dyn Probe,
    ) -> Result<Retained, SealError> {
        let policy = RetentionPolicy::parse(policy).unwrap();
        self.archiver(&self.vault(), probe).retain(&policy, now).await
    }

    pub async fn retain(&self, policy: &str, now: Micros) -> Retained {
        self.retain_with(policy, now, &()).await.unwrap()
    }

    /// What retention would do.
    pub async fn rehearse(&self, policy: &str, now: Micros) -> Retained {
        let policy = RetentionPolicy::parse(policy).unwrap();
        rehearse(&mut self.pool.acquire().await.unwrap(), &policy, now).await.unwrap()
    }

    /// Lets the daemon work at this time, until its first pass has ended well.
    pub async fn run_daemon(&self, now: Micros, retention: Option<PathBuf>) {
        self.run_daemon_until(now, retention, "ok_at IS NOT NULL").await;
    }

    /// Lets the daemon work at this time, until it has left word of its passes that is like this.
    pub async fn run_daemon_until(&self, now: Micros, retention: Option<PathBuf>, told: &str) {
        let (vault, stop) = (self.vault(), Stop::new());
        let archiver = self.archiver(&vault, &stop);
        let tick = Duration::from_millis(5);
        let schedule = Schedule { grace: Duration::ZERO, tick, retention };
        let told = async {
            let ended = format!("SELECT count(*) FROM passes WHERE {told}");
            let ended = || AssertSqlSafe(ended.clone());
            while sqlx::query_scalar::<_, i64>(ended()).fetch_one(&self.pool).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.stop();
        };
        let now = || Some(now);
        let (ended, ()) = tokio::join!(daemon::run(&archiver, &schedule, &now, &stop), told);
        ended.unwrap();
    }

    /// Works in a process of its own, which is killed after so many steps; whether it was.
    pub async fn is_killed(&self, work: &str, now: Micros, steps: u64) -> bool {
        let retention = self.keys.join("retention.toml");

        let archivers = Archivers {
            program: Path::new(env!("CARGO_BIN_EXE_tally-archiver-under-fault")),
            origin: &self.origin,
            pool: &self.pool,
            archive: &self.archive,
            seal_key: self.keys.join("keys/seal.pem"),
            grace: Duration::ZERO,
            rows: ROWS,
            retention: retention.exists().then_some(retention),
        };
        archivers.is_killed(work, now, None, steps).await.unwrap()
    }

    pub async fn erase(&self) -> Outcome {
        self.erase_with(&()).await.unwrap()
    }

    /// Lets another seal key take over, whose file takes the old one's place.
    pub async fn rotate(&self, now: Micros) {
        let vault = self.vault();
        let next = self.keys.join("keys/next.pem");
        let key = ingest::keyfile::create(&next).unwrap();
        let to = std::sync::Arc::new(NoteSigner::seal(&self.origin, key));
        let change = archiver::rotate::Change::Succeed { to };
        let archiver = self.archiver(&vault, &());
        archiver.change_key(&change, "yearly", now, Duration::ZERO).await.unwrap();
        std::fs::rename(next, self.keys.join("keys/seal.pem")).unwrap();
    }

    /// Puts a new key in the place of the one in force, which was stolen.
    pub async fn revoke(&self, now: Micros) {
        let (vault, path) = (self.vault(), self.keys.join("keys/seal.pem"));
        let stolen = ingest::keyfile::read(&path).unwrap();
        let stolen = NoteSigner::seal(&self.origin, stolen).verifier().clone();
        std::fs::remove_file(&path).unwrap();
        ingest::keyfile::create(&path).unwrap();
        let change = archiver::rotate::Change::Revoke { key: Box::new(stolen) };
        let archiver = self.archiver(&vault, &());
        archiver.change_key(&change, "stolen", now, Duration::ZERO).await.unwrap();
    }

    /// What an archiver gone bad might sign: a chunk without the payload at `seq`, which nothing
    /// erases.
    pub async fn amend_without_a_record(&self, seq: u64) {
        let mut content = Content::read(&self.objects());
        let key = ingest::keyfile::read(&self.keys.join("keys/seal.pem")).unwrap();
        let signer = NoteSigner::seal(&self.origin, key);
        let (origin, key) = (&self.origin, signer.verifier());
        let conn = &mut self.pool.acquire().await.unwrap();
        let acme = Workspace::new("acme").unwrap();
        let at = Seq::new(seq).unwrap();
        let place = Place::of(conn, &acme, at).await.unwrap().unwrap();
        let chunk = InForce::load(&self.vault(), key, origin, &place).unwrap();
        let row = content.row_mut("acme", seq).row.event_id;
        let mut erased = Erased::default();
        erased.add(Seq::new(1_000).unwrap(), &[EventId::from_bytes(row).unwrap()]);
        let (manifest, object) = chunk.without(&erased).unwrap().unwrap();
        content.leaves.push(Leaf::Chunk(Box::new(Chunk { manifest, rows: Vec::new(), object })));
        content.seal(&signer).store(&self.archive).unwrap();
    }

    pub fn objects(&self) -> Archive {
        Archive::load(&self.archive).unwrap()
    }

    /// Verifies as an auditor who allows what is recorded, and whose floor is that of the tests' policy.
    pub fn verify_kept(&self, min_kept_days: u64) -> Report {
        let allowed = Policy { allow_erased: true, allow_pruned: true, ..Policy::default() };
        self.verify_by(Policy { min_kept_days, ..allowed })
    }

    pub fn verify(&self, allow_erased: bool) -> Report {
        self.verify_by(Policy { allow_erased, ..Policy::default() })
    }

    fn verify_by(&self, policy: Policy) -> Report {
        let trust = std::fs::read_to_string(self.keys.join("trust.toml")).unwrap();
        let trust = verifier::trust::parse(&trust).unwrap();
        let source = FileSource::open(&self.archive.to_string_lossy()).unwrap();
        verifier::audit::verify(&source, trust, policy, &())
    }

    /// Checks that an auditor who comes now finds no tampering; what is not sealed yet is not there.
    pub fn check_so_far(&self, when: &str) {
        let missing = [Check::NoArchive, Check::WorkspaceMissing];
        for finding in self.verify(true).findings {
            let grave = finding.check.severity() == Severity::Tampering;
            assert!(!grave || missing.contains(&finding.check), "{when}: {finding}");
        }
    }

    /// Where the canary of an event still is: objects, then tables.
    pub async fn traces(&self, n: u64) -> (Vec<String>, Vec<String>) {
        let needle = canary(n);
        let objects = in_archive(&self.objects(), &self.origin, &needle);
        (objects, in_database(&self.pool, &needle).await)
    }

    /// The seqs whose payloads the database withholds, each with the entry that erased it.
    pub async fn withheld(&self) -> Vec<(i64, i64)> {
        sqlx::query_as(
            "SELECT seq, erased_by FROM entries WHERE workspace = 'acme' AND erased_by IS NOT NULL
             ORDER BY seq",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }
}

/// The path of a file of the rig, for commands.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

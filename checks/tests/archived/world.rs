//! A ledger whose days pass by hand: two of them are sealed, and may be archived.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use archiver::chunk::Limits;
use archiver::erase::Outcome;
use archiver::seal::Archiver;
use archiver::vault::FileVault;
use checks::driver::{Answer, Client};
use checks::figures::Figures;
use checks::history::History;
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::service::base;
use checks::submission::Submission;
use checks::token;
use checks::worker::Worker;
use ingest::chain::NoProbe;
use ingest::{Config, Running, Service};
use ledger::names::Workspace;
use ledger::note::NoteSigner;
use ledger::time::Micros;
use ledger::verify::{Policy, Report};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use verifier::store::FileSource;

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// Noon of the `n`th day.
pub fn noon(n: i64) -> Micros {
    Micros::new((20_000 + n) * DAY + DAY / 2).unwrap()
}

/// The first microsecond of the `n`th day.
pub fn start(n: i64) -> i64 {
    noon(n).get() - DAY / 2
}

/// The id of the event `n`.
pub fn id(n: u64) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

/// What stands in the payload of the event `n`, and nowhere else.
pub fn canary(n: u64) -> String {
    format!("canary-{n:04}-of-a-person")
}

/// An event of any type.
fn typed(n: u64, event_type: &str, context: &Value) -> Vec<u8> {
    let event = json!({
        "event_id": id(n),
        "event_type": event_type,
        "occurred_at": noon(0).to_string(),
        "workspace_id": "acme",
        "context": context,
    });
    event.to_string().into_bytes()
}

/// An event with its canary.
pub fn event(n: u64) -> Vec<u8> {
    typed(n, "note", &json!({ "text": canary(n) }))
}

/// A request to erase events, as the event `n`.
pub fn erasure(n: u64, events: &[u64]) -> Vec<u8> {
    let ids: Vec<String> = events.iter().map(|n| id(*n)).collect();
    typed(n, "ledger.payload_erased", &json!({ "event_ids": ids, "reason": "asked for" }))
}

/// A ledger with the workspace `acme`, its root key and an agent at work.
pub struct World {
    pub rig: Rig,
    pub clock: HandClock,
    pub base: String,
    pub founder: Worker,
    pub agent: Worker,
    /// What was sent, each with its receipt.
    pub sent: Vec<(Submission, String)>,
    pub history: History,
    pub history_path: PathBuf,
    http: reqwest::Client,
    running: Option<Running>,
    _directory: TempDir,
}

impl World {
    /// The workspace with its two keys, at seqs 1 and 2, on day 0.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        let rig = Rig::new(directory.path(), "ledger.example.com/archived", postgres);
        let rig = rig.await.unwrap();
        let clock = HandClock::new(noon(0));
        let running = rig.serve(clock.clone()).await.unwrap();
        let base = base(running.local_addr());
        let acme = Workspace::new("acme").unwrap();
        token::admit(&rig.pool, &acme).await.unwrap();
        let mut founder = Worker::new(&rig.origin, &acme, "founder", 1);
        let agent = Worker::new(&rig.origin, &acme, "agent", 2);
        rig.write_trust(std::slice::from_ref(&founder)).unwrap();
        let keys = [founder.open_workspace(noon(0)), founder.register(&agent, noon(0))];
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
        let history_path = rig.directory.join("history.ndjson");
        let history = History::open(&history_path).unwrap();
        let mut world = Self {
            rig,
            clock,
            base,
            founder,
            agent,
            sent: Vec::new(),
            history,
            history_path,
            http,
            running: Some(running),
            _directory: directory,
        };
        for submission in keys {
            world.deliver(submission).await;
        }
        world
    }

    /// Two days, sealed, and a third that is open. Day 0: the agent's events at seqs 3 to 12, event 1
    /// alone at 13, events 2 to 4 at 14 to 16, these by the root key; and the record of the one
    /// administrative act. Day 1: the agent's at 17 to 26, events 5 and 6 at 27 and 28. Day 2: the
    /// agent's at 29 to 31.
    pub async fn of_days() -> Self {
        let mut world = Self::new().await;
        world.work(10, 0).await;
        world.record(vec![event(1)]).await;
        world.record((2..5).map(event).collect()).await;
        world.clock.reach(noon(1));
        world.work(10, 1).await;
        world.record(vec![event(5), event(6)]).await;
        world.clock.reach(noon(2));
        world.work(3, 2).await;
        world.seal(2).await;
        world
    }

    /// Sends a submission that must be recorded.
    pub async fn deliver(&mut self, submission: Submission) {
        let answer = self.client().deliver(&self.history, &submission, PATIENCE).await.unwrap();
        let Answer::Receipt(receipt) = answer else { panic!("{answer:?}") };
        self.sent.push((submission, receipt));
    }

    /// The agent's next events, of one day.
    pub async fn work(&mut self, count: u64, day: i64) {
        let submission = self.agent.work(count, noon(day));
        self.deliver(submission).await;
    }

    /// Records events that the root key signs.
    pub async fn record(&mut self, payloads: Vec<Vec<u8>>) {
        let submission = self.founder.sign(payloads);
        self.deliver(submission).await;
    }

    pub fn client(&self) -> Client {
        Client::new(&self.base, PATIENCE).unwrap()
    }

    /// The status of a submission that is sent again.
    pub async fn status_of(&self, submission: &Submission) -> u16 {
        let request = self
            .http
            .post(format!("{}{}", self.base, submission.path()))
            .header("Content-Type", submission.content_type())
            .header("Tally-Public-Key", submission.public_key.to_string())
            .header("Tally-Signature", submission.signature.to_string())
            .header("Tally-Counter", submission.counter.to_string())
            .bearer_auth(token::ADMIN)
            .body(submission.body());
        request.send().await.unwrap().status().as_u16()
    }

    /// Reads as the reader of `acme`: the status and what it says.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}/v1/workspaces/acme/{path}", self.base);
        let answer = self.http.get(url).bearer_auth(token::reader("acme")).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// All entries of `acme`, as they are shown.
    pub async fn entries(&self) -> Vec<Value> {
        let (status, page) = self.get("entries?limit=1000").await;
        assert_eq!((status, &page["next_seq"]), (200, &Value::Null), "{page}");
        page["entries"].as_array().unwrap().clone()
    }

    /// Seals every hour that has closed by noon of a day.
    pub async fn seal(&self, day: i64) {
        self.rig.seal(noon(day)).await.unwrap();
    }

    /// Carries out erasures.
    pub async fn erase(&self) -> Outcome {
        let vault = FileVault::open(&self.rig.archive().to_string_lossy()).unwrap();
        let key = ingest::keyfile::read(&self.rig.directory.join("keys/seal.pem")).unwrap();
        let archiver = Archiver {
            pool: self.rig.pool.clone(),
            vault: &vault,
            signer: Arc::new(NoteSigner::seal(&self.rig.origin, key)),
            origin: self.rig.origin.clone(),
            limits: Limits::DEFAULT,
            probe: &(),
        };
        archiver.erase().await.unwrap()
    }

    pub fn verify(&self, allow_erased: bool) -> Report {
        let trust = std::fs::read_to_string(self.rig.trust()).unwrap();
        let trust = verifier::trust::parse(&trust).unwrap();
        let source = FileSource::open(&self.rig.archive().to_string_lossy()).unwrap();
        let policy = Policy { allow_erased, ..Policy::default() };
        verifier::audit::verify(&source, trust, policy, &())
    }

    /// What clients were told, against the database and what the archive proves.
    pub async fn judge(&self, archive: Option<&Report>) -> Figures {
        self.rig.judge(&self.history_path, archive).await.unwrap()
    }

    /// A connection that has the rights of the archiver, and no others.
    pub async fn as_archiver(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.rig.postgres.url()).await.unwrap();
        connection.execute("SET ROLE tally_archiver").await.unwrap();
        connection
    }

    /// Archives a day; the payloads that went, or code and text of the refusal.
    pub async fn archive(&self, first: i64) -> Result<i64, (String, String)> {
        archive(&mut self.as_archiver().await, first).await
    }

    /// Does what nobody may, behind the triggers.
    pub async fn force(&self, statement: &str) {
        let statement = format!(
            "SET session_replication_role = replica; {statement};
                                 SET session_replication_role = DEFAULT"
        );
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&self.rig.pool).await.unwrap();
    }

    /// Starts the service anew on the same database, its configuration changed, and with the archive
    /// to compare the database with.
    pub async fn restart(&mut self, change: impl FnOnce(&mut Config)) {
        self.stop().await;
        let mut config = self.rig.config(&self.rig.postgres.url()).unwrap();
        config.seal_verifier_key = Some(self.rig.seal_verifier_key());
        config.archive_url = Some(format!("file://{}", self.rig.archive().display()));
        change(&mut config);
        let clock = Arc::new(self.clock.clone());
        let running = Service::start(config, clock, Arc::new(NoProbe)).await.unwrap();
        self.base = base(running.local_addr());
        self.running = Some(running);
    }

    /// Stops the service; its database stays.
    pub async fn stop(&mut self) {
        self.running.take().unwrap().shutdown().await;
    }
}

/// Archives a day over this connection.
pub async fn archive(connection: &mut PgConnection, first: i64) -> Result<i64, (String, String)> {
    let gone = sqlx::query_scalar("SELECT archive_day($1, $2)")
        .bind(first)
        .bind(noon(30).get())
        .fetch_one(connection)
        .await;
    gone.map_err(|error| match error {
        sqlx::Error::Database(error) => {
            (error.code().unwrap_or_default().into_owned(), error.message().to_owned())
        }
        other => panic!("{other}"),
    })
}

//! A ledger whose database was lost: made again from the archive, it goes on, and an auditor sees one
//! history across the joint.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use archiver::chunk::Limits;
use archiver::seal::Archiver;
use archiver::vault::FileVault;
use checks::bin_path::tally;
use checks::driver::{Answer, Client};
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::service::base;
use checks::submission::Submission;
use checks::worker::Worker;
use ingest::chain::NoProbe;
use ingest::{Running, Service};
use ledger::key::SigningKey;
use ledger::names::Workspace;
use ledger::note::NoteSigner;
use ledger::time::{HOUR, Micros};
use ledger::verify::Verdict;
use sqlx::PgPool;

const PATIENCE: Duration = Duration::from_secs(30);

fn receipt(answer: Answer) -> String {
    match answer {
        Answer::Receipt(receipt) => receipt,
        other => panic!("{other:?}"),
    }
}

/// The status of a refusal, and the last part of its type.
fn refusal(answer: Answer) -> (u16, String) {
    match answer {
        Answer::Refused { status, problem } => {
            let problem: serde_json::Value = serde_json::from_str(&problem).unwrap();
            let kind = problem["type"].as_str().unwrap().rsplit('/').next().unwrap();
            (status, kind.to_owned())
        }
        other => panic!("{other:?}"),
    }
}

async fn serve(rig: &Rig, url: &str, clock: &HandClock) -> (Running, Client) {
    let mut config = rig.config(url).unwrap();
    config.seal_verifier_key = Some(rig.seal_verifier_key());
    config.archive_url = Some(format!("file://{}", rig.archive().display()));
    let service = Service::start(config, Arc::new(clock.clone()), Arc::new(NoProbe)).await.unwrap();
    let client = Client::new(&base(service.local_addr()), PATIENCE).unwrap();
    (service, client)
}

async fn seal(rig: &Rig, pool: &PgPool, now: Micros) {
    let pem = std::fs::read_to_string(rig.directory.join("keys/seal.pem")).unwrap();
    let vault = FileVault::open(&rig.archive().to_string_lossy()).unwrap();
    let archiver = Archiver {
        pool: pool.clone(),
        vault: &vault,
        signer: Arc::new(NoteSigner::seal(&rig.origin, SigningKey::from_pem(&pem).unwrap())),
        origin: rig.origin.clone(),
        limits: Limits::DEFAULT,
        probe: &(),
    };
    archiver.seal(now, Duration::ZERO).await.unwrap();
}

/// `tally-archiver restore`, as an operator runs it: exit code and what it said.
fn restore(rig: &Rig, url: &str) -> (i32, String) {
    let output = Command::new(tally("tally-archiver"))
        .args(["restore", "--origin", rig.origin.as_str(), "--database-url", url])
        .args(["--archive-url", &format!("file://{}", rig.archive().display())])
        .arg("--seal-key")
        .arg(rig.directory.join("keys/seal.pem"))
        .arg("--trust")
        .arg(rig.trust())
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_goes_on_from_its_archive_alone() {
    let directory = tempfile::tempdir().unwrap();
    let postgres = Postgres::start().unwrap();
    let rig = Rig::new(directory.path(), "ledger.example.com/lost", postgres).await.unwrap();
    // Over midnight, so that there are two days of records.
    let start = Micros::parse("2026-11-23T22:10:00.000000Z").unwrap();
    let hour = |n: i64| Micros::new(start.get() + n * HOUR).unwrap();
    let clock = HandClock::new(start);
    std::fs::create_dir_all(rig.archive()).unwrap();
    let url = rig.postgres.url();
    let (service, client) = serve(&rig, &url, &clock).await;
    let workspace = Workspace::new("acme").unwrap();
    let mut founder = Worker::new(&rig.origin, &workspace, "founder", 1);
    let mut agents =
        [2, 3].map(|seed| Worker::new(&rig.origin, &workspace, &format!("agent {seed}"), seed));
    rig.write_trust(std::slice::from_ref(&founder)).unwrap();
    let mut sent: Vec<(Submission, String)> = Vec::new();
    let mut deliver = async |client: &Client, submission: Submission| {
        let receipt = receipt(client.post(&submission).await);
        sent.push((submission, receipt));
    };
    deliver(&client, founder.open_workspace(start)).await;
    for agent in &agents {
        deliver(&client, founder.register(agent, start)).await;
    }
    for n in 0..4 {
        clock.reach(hour(n));
        for agent in &mut agents {
            deliver(&client, agent.work(20, hour(n))).await;
        }
    }
    // Acknowledged, and never sealed.
    clock.reach(hour(4));
    let unsealed = agents[0].work(5, hour(4));
    receipt(client.post(&unsealed).await);
    service.shutdown().await;
    seal(&rig, &rig.pool, hour(4)).await;

    // The database is gone. Another one is set up, and made the ledger.
    let lost = rig.postgres.database().unwrap();
    let (code, said) = restore(&rig, &lost);
    assert_eq!(code, 3, "there is no schema yet: {said}");
    ingest::store::migrate(&lost, &rig.origin).await.unwrap();
    let (code, said) = restore(&rig, &lost);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("2 workspaces") && said.contains("2026-11-24T02:00:00"), "{said}");
    let (code, said) = restore(&rig, &lost);
    assert_eq!(code, 4, "{said}");
    let pool = PgPool::connect(&lost).await.unwrap();
    let keys = "SELECT string_agg(k::text, E'\\n' ORDER BY k::text) FROM keys k
                WHERE workspace = 'acme'";
    let found: String = sqlx::query_scalar(keys).fetch_one(&pool).await.unwrap();
    // The one counter that was not sealed is not there.
    let was: String = sqlx::query_scalar(keys).fetch_one(&rig.pool).await.unwrap();
    let differs = found.lines().zip(was.lines()).filter(|(found, was)| found != was).count();
    assert_eq!((found.lines().count(), was.lines().count(), differs), (3, 3, 1));

    // What was sealed has its receipts still, byte for byte, and nothing of it is taken twice.
    let (service, client) = serve(&rig, &lost, &clock).await;
    for (submission, before) in &sent {
        assert_eq!(&receipt(client.post(submission).await), before);
    }
    let (first, _) = &sent[3];
    let again = Submission::sign(
        &rig.origin,
        &workspace,
        ledger::submission::Counter::NONE,
        &agents[0].key,
        first.payloads.clone(),
    );
    assert_eq!(refusal(client.post(&again).await), (409, "event-exists".to_owned()));
    let reused = Submission::sign(
        &rig.origin,
        &workspace,
        first.counter,
        &agents[0].key,
        agents[0].agent.events(1, hour(4)),
    );
    assert_eq!(refusal(client.post(&reused).await), (409, "counter-reused".to_owned()));
    // The agent sends what it holds a receipt for and the ledger lost; then all go on.
    receipt(client.post(&unsealed).await);
    clock.reach(hour(5));
    for agent in &mut agents {
        receipt(client.post(&agent.work(20, hour(5))).await);
    }
    // The chain says that the database was restored, and says it once.
    service.shutdown().await;
    serve(&rig, &lost, &clock).await.0.shutdown().await;
    let acts: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload FROM entries WHERE workspace = 'ledger.acts'
         AND convert_from(payload, 'UTF8')::json ->> 'status' = 'restored'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(acts.len(), 1);
    let act: serde_json::Value = serde_json::from_slice(&acts[0]).unwrap();
    assert_eq!(act["event_type"], "ledger_act");
    assert!(act["actor_id"].as_str().unwrap().starts_with("operator:"), "{act}");

    seal(&rig, &pool, hour(6)).await;
    let report = rig.verify().unwrap();
    assert_eq!(report.verdict, Verdict::Proven, "{:#?}", report.findings);
    let acme = report.workspaces.iter().find(|report| report.workspace == workspace).unwrap();
    assert_eq!(acme.events, 3 + 8 * 20 + 5 + 2 * 20);
    assert_eq!(acme.missing_counters, []);
}

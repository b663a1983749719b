//! A ledger with a queue, in processes of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use checks::bin_path::tally;
use checks::crowd::Crowd;
use checks::service::{Process, base, free_address};
use checks::submission::Submission;
use checks::token;
use ledger::names::Workspace;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::process::Command;

/// How long something that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a process of the ledger: `serve`, `consume`, or `both`.
pub async fn start(crowd: &Crowd, servers: &str, part: &str, more: &[&str]) -> (Process, String) {
    let address = free_address().unwrap();
    let process = start_at(crowd, servers, part, more, address).await;
    (process, base(address))
}

/// The same at an address.
pub async fn start_at(
    crowd: &Crowd,
    servers: &str,
    part: &str,
    more: &[&str],
    address: SocketAddr,
) -> Process {
    let mut process = begin(crowd, servers, part, more, address);
    process.listening().await.unwrap();
    process
}

/// The same, without waiting until it listens: it may die before.
pub fn begin(
    crowd: &Crowd,
    servers: &str,
    part: &str,
    more: &[&str],
    address: SocketAddr,
) -> Process {
    let program = Path::new(env!("CARGO_BIN_EXE_tally-ingest-under-fault"));
    let arguments = [&["--queue-servers", servers, "--part", part], more].concat();
    Process::start(program, &crowd.rig, address, &arguments).unwrap()
}

/// An HTTP client without any care.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

/// The request that submits.
pub fn submission(base: &str, submission: &Submission) -> RequestBuilder {
    http()
        .post(format!("{base}{}", submission.path()))
        .header("Content-Type", submission.content_type())
        .header("Tally-Public-Key", submission.public_key.to_string())
        .header("Tally-Signature", submission.signature.to_string())
        .header("Tally-Counter", submission.counter.to_string())
        .body(submission.body())
}

/// Status and JSON of an answer.
pub async fn told(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

/// Asks what became of a submission, as a reader of its workspace.
pub async fn status(base: &str, submission: &Submission, query: &str) -> (u16, Value) {
    let Submission { workspace, hash, .. } = submission;
    let url = format!("{base}/v1/workspaces/{workspace}/submissions/{hash}{query}");
    let request = http().get(url).bearer_auth(token::reader(workspace.as_str()));
    told(request.send().await.unwrap()).await
}

/// Lets whoever has the workspace's token read it.
pub async fn admit(crowd: &Crowd, workspace: &Workspace) {
    token::admit(&crowd.rig.pool, workspace).await.unwrap();
}

/// The last part of a problem's type.
pub fn slug(problem: &Value) -> &str {
    problem["type"].as_str().unwrap_or_default().trim_start_matches("/problems/")
}

/// Waits until a count in the database is reached.
pub async fn until(crowd: &Crowd, table: &str, at_least: i64) {
    let start = Instant::now();
    while crowd.count(table).await < at_least {
        assert!(start.elapsed() < PATIENCE, "{table} does not come to {at_least}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A figure of a service's metrics: the sum over its labels.
pub async fn metric(base: &str, name: &str) -> f64 {
    let text = http().get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
    let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let values = text.lines().filter(of).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}

/// What a command of `tally-ingest` prints, on the ledger's database and queue.
pub async fn command(
    crowd: &Crowd,
    servers: &str,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let url = crowd.rig.postgres.url();
    let output = Command::new(tally("tally-ingest"))
        .args(arguments)
        .env("TALLY_DATABASE_URL", url)
        .env("TALLY_QUEUE_KIND", if servers.contains("://") { "redis" } else { "kafka" })
        .env("TALLY_QUEUE_SERVERS", servers)
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

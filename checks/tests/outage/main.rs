//! The ingest service while something breaks: Postgres, the network, the clock, the service itself
//! (FAULTS rows 5 to 7, 9, 10, 15 and 16).
//!
//! Real servers, clients that write down what they are told, and at the end of each test: nothing
//! acknowledged is lost, nothing is there twice, no seq is missing, and the sealed archive is
//! proven. `CHECKS_LONG=1` runs the long figures.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic, and tells its figures")]

mod clock;
mod commit;
mod disk;
mod errors;
mod failover;
mod network;
mod postgres;
mod stop;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use checks::crowd::Crowd;
use checks::service::Process;
use serde_json::Value;

/// Prints a pass line, and keeps it in the target directory.
fn print(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

/// The service in a process of its own, on the database at `url`.
async fn process(crowd: &Crowd, url: &str, address: SocketAddr) -> Process {
    let program = Path::new(env!("CARGO_BIN_EXE_tally-ingest-under-fault"));
    let mut process = Process::start_on(program, &crowd.rig, url, address, &[]).unwrap();
    process.listening().await.unwrap();
    process
}

/// Status and problem of a route that needs no token; the problem is empty where there is none.
async fn ask(base: &str, path: &str) -> (u16, String) {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60));
    let answer = http.build().unwrap().get(format!("{base}{path}")).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
    (status, slug(&body))
}

/// The last part of a problem's type.
fn slug(problem: &Value) -> String {
    let kind = problem.get("type").and_then(Value::as_str).unwrap_or_default();
    kind.trim_start_matches("/problems/").to_owned()
}

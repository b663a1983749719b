//! Requests of people who mean harm: malformed, forged, oversized, slow, curious (FAULTS rows 28 to
//! 38).
//!
//! Here: whole requests against a service in a process of its own. Not here: the table of payloads
//! that break a rule of the format (rows 30 to 34, see `ledger/tests/payload`), and who may set
//! which key (row 37, see `tests/ingest/refuse.rs`). `CHECKS_LONG=1` runs the long figures.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and tells its figures"
)]

mod heavy;
mod idle;
mod mutation;
mod requests;
mod signatures;
mod tenants;
mod wire;

use std::path::Path;

use checks::crowd::{Crowd, now};
use checks::service::{Process, base, free_address};
use checks::token::ADMIN;
use checks::worker::Worker;
use ledger::names::Workspace;

/// Prints a pass line, and keeps it in the target directory.
fn print(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

/// A service under attack: two workspaces, each with a founder and two agents.
struct Ground {
    crowd: Crowd,
    service: Process,
    base: String,
    agents: Vec<Worker>,
}

impl Ground {
    async fn new() -> Self {
        let mut crowd = Crowd::new().await;
        let address = free_address().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_tally-ingest-under-fault"));
        let mut service = Process::start(program, &crowd.rig, address, &[]).unwrap();
        service.listening().await.unwrap();
        let base = base(address);
        let agents = crowd.open(&base, 2, 2).await;
        Self { crowd, service, base, agents }
    }

    /// What a refused request must not change.
    async fn rows(&self) -> [i64; 4] {
        let mut rows = [0; 4];
        for (rows, table) in rows.iter_mut().zip(["entries", "submissions", "heads", "keys"]) {
            // The ledger records there who asked for what: refused or not.
            let table = format!("{table} WHERE workspace <> 'ledger.acts'");
            *rows = self.crowd.count(&table).await;
        }
        rows
    }

    /// What else an administrator sends.
    fn admin(&self) -> Vec<(String, String)> {
        let token = format!("Bearer {ADMIN}");
        vec![("Authorization".to_owned(), token)]
    }

    /// A new token that reads a workspace.
    async fn token(&self, workspace: &str) -> String {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = http.post(format!("{}/v1/workspaces/{workspace}/tokens", self.base));
        for (name, value) in self.admin() {
            request = request.header(name, value);
        }
        let body = r#"{"name":"an auditor"}"#;
        let request = request.header("Content-Type", "application/json").body(body);
        let text = request.send().await.unwrap().text().await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        answer["token"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    /// The service still does its work.
    async fn works(&mut self) {
        let desk = self.crowd.desk(&self.base);
        for agent in &mut self.agents {
            desk.deliver(&agent.work(3, now())).await;
        }
    }
}

/// A worker of a workspace that nobody opened.
fn newcomer(ground: &Ground, n: u64) -> Worker {
    let workspace = Workspace::new(&format!("new-{n}")).unwrap();
    Worker::new(&ground.crowd.rig.origin, &workspace, "founder", 77_000 + n)
}

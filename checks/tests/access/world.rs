//! A ledger with two tenants, `acme` and `beta`, each with a few events.

use std::time::Duration;

use checks::driver::{Answer, Client};
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::service::base;
use checks::submission::Submission;
use checks::token::ADMIN;
use checks::worker::Worker;
use ingest::{Config, Running};
use ledger::names::Workspace;
use ledger::time::Micros;
use reqwest::{Method, header};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// Events of each tenant, beside the one that opens its workspace.
pub const EVENTS: u64 = 5;

/// Half past an hour that has closed long ago.
pub fn start() -> Micros {
    ledger::payload::occurred_at("2026-11-23T16:30:00Z").unwrap()
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub challenge: Option<String>,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// Status and the last part of the problem's type.
    pub fn problem(&self) -> (u16, String) {
        let json = self.json();
        let kind = json["type"].as_str().unwrap().strip_prefix("/problems/").unwrap().to_owned();
        (self.status, kind)
    }
}

/// A ledger that serves.
pub struct World {
    pub rig: Rig,
    pub clock: HandClock,
    pub base: String,
    pub founders: Vec<Worker>,
    pub http: reqwest::Client,
    pub running: Option<Running>,
    _directory: TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same, its configuration changed.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut world = Self::empty(change).await;
        for (name, seed) in [("acme", 1), ("beta", 2)] {
            let workspace = Workspace::new(name).unwrap();
            let mut founder = Worker::new(&world.rig.origin, &workspace, "founder", seed);
            let opening = [founder.open_workspace(start()), founder.work(EVENTS, start())];
            for submission in &opening {
                world.post(submission).await;
            }
            world.founders.push(founder);
        }
        world.rig.write_trust(&world.founders).unwrap();
        world
    }

    /// No workspace yet.
    pub async fn empty(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        let rig = Rig::new(directory.path(), "ledger.example.com/access", postgres).await.unwrap();
        let mut config = rig.config(&rig.postgres.url()).unwrap();
        change(&mut config);
        let clock = HandClock::new(start());
        let running = serve(config, &clock).await;
        let base = base(running.local_addr());
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
        let running = Some(running);
        Self { rig, clock, base, founders: Vec::new(), http, running, _directory: directory }
    }

    /// Sends a submission that must be recorded.
    pub async fn post(&self, submission: &Submission) {
        let client = Client::new(&self.base, PATIENCE).unwrap();
        let answer = client.post(submission).await;
        assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        authorization: &[&str],
        body: Option<Value>,
    ) -> Reply {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for value in authorization {
            request = request.header(header::AUTHORIZATION, *value);
        }
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        let headers = response.headers();
        let mut all: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .filter(|(name, _)| !matches!(name.as_str(), "date" | "traceparent" | "x-request-id"))
            .collect();
        all.sort_unstable();
        let challenge = headers.get(header::WWW_AUTHENTICATE);
        Reply {
            status: response.status().as_u16(),
            challenge: challenge.map(|value| value.to_str().unwrap().to_owned()),
            headers: all,
            text: response.text().await.unwrap(),
        }
    }

    pub async fn get(&self, path: &str, token: &str) -> Reply {
        self.ask(Method::GET, path, &[&format!("Bearer {token}")], None).await
    }

    pub async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.ask(method, path, &[&format!("Bearer {ADMIN}")], body).await
    }

    /// Makes a token for a workspace; its id and the token.
    pub async fn token(&self, workspace: &str) -> (String, String) {
        let path = format!("/v1/workspaces/{workspace}/tokens");
        let made = self.admin(Method::POST, &path, Some(json!({ "name": "a test" }))).await;
        assert_eq!(made.status, 201, "{made:?}");
        let text = |member: &str| made.json()[member].as_str().unwrap().to_owned();
        (text("id"), text("token"))
    }

    /// The acts on record, in order; the event that opened their workspace left out.
    pub async fn acts(&self) -> Vec<Value> {
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT payload FROM entries WHERE workspace = 'ledger.acts' AND seq > 1 ORDER BY seq",
        )
        .fetch_all(&self.rig.pool)
        .await
        .unwrap();
        rows.iter().map(|payload| serde_json::from_slice(payload).unwrap()).collect()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.rig.pool).await.unwrap()
    }

    pub async fn stop(&mut self) {
        self.running.take().unwrap().shutdown().await;
    }
}

/// Starts a service by the hand clock.
pub async fn serve(config: Config, clock: &HandClock) -> Running {
    let (clock, probe) =
        (std::sync::Arc::new(clock.clone()), std::sync::Arc::new(ingest::chain::NoProbe));
    ingest::Service::start(config, clock, probe).await.unwrap()
}

/// Every route that shows a workspace.
pub fn routes(workspace: &str) -> Vec<String> {
    let id = "00000000-0000-4000-8000-000000000001";
    let hash = "0".repeat(64);
    ["head", "keys", "entries", "entries?from_seq=2&limit=1"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("events/{id}"), format!("submissions/{hash}")])
        .map(|rest| format!("/v1/workspaces/{workspace}/{rest}"))
        .collect()
}

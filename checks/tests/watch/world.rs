//! The program `tally-ingest serve`, its database, and a client that speaks plain HTTP.

use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use checks::bin_path;
use checks::postgres::Postgres;
use checks::rig::Rig;
use checks::service::{base, free_address};
use checks::submission::{Route, Submission};
use checks::token;
use ingest::chain::Probe;
use ingest::{Running, Service, SystemClock};
use ledger::key::SigningKey;
use ledger::names::Workspace;
use ledger::submission::Counter;
use reqwest::header::HeaderMap;
use reqwest::{Method, Request, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

/// A key that is the same in every run: 1 is the root key.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The payload of an event of `acme`.
pub fn event(n: u64, event_type: &str, context: &Value) -> Value {
    json!({
        "event_id": format!("00000000-0000-4000-8000-{n:012x}"),
        "event_type": event_type,
        "occurred_at": "2026-11-24T10:00:00Z",
        "workspace_id": "acme",
        "context": context,
    })
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The last part of the problem's type, once it is sure that it is a problem.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        for member in ["title", "detail"] {
            assert!(!body[member].as_str().unwrap().is_empty(), "{body}");
        }
        body["type"].as_str().unwrap().strip_prefix("/problems/").unwrap().to_owned()
    }
}

/// A ledger with one workspace, `acme`, whose root key is key 1, and its service.
pub struct World {
    pub rig: Rig,
    pub base: String,
    /// Lets its holder read `acme`; empty as long as there is no workspace.
    pub reader: String,
    http: reqwest::Client,
    child: Child,
    _directory: TempDir,
}

impl World {
    /// A service with more arguments, and `acme` in it.
    pub async fn new(arguments: &[&str]) -> Self {
        Self::with(arguments, "info").await
    }

    /// The same, which logs by `rust_log`.
    pub async fn with(arguments: &[&str], rust_log: &str) -> Self {
        let mut world = Self::empty(arguments, rust_log).await;
        let founding = event(
            1,
            "ledger.workspace_created",
            &json!({"root_keys": [key(1).public().to_string()]}),
        );
        let founding = world.signed(&[founding]);
        let founding = Submission { route: Route::Workspaces, ..founding };
        let made = world.post(&founding).await;
        assert_eq!(made.status, 201, "{made:?}");
        let token = world
            .request(Method::POST, "/v1/workspaces/acme/tokens")
            .bearer_auth(token::ADMIN)
            .json(&json!({"name": "watch"}));
        let token = world.send(token).await;
        assert_eq!(token.status, 201, "{token:?}");
        world.reader = token.json()["token"].as_str().unwrap().to_owned();
        world
    }

    /// A service with more arguments, which logs by `rust_log`, and no workspace.
    pub async fn empty(arguments: &[&str], rust_log: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        let rig = Rig::new(directory.path(), "ledger.example.com/watch", postgres).await.unwrap();
        let address = free_address().unwrap();
        let log = File::create(rig.directory.join("service.log")).unwrap();
        let mut command = Command::new(bin_path::tally("tally-ingest"));
        command
            .arg("serve")
            .args(["--origin", rig.origin.as_str(), "--database-url", &rig.postgres.url()])
            .args(["--listen", &address.to_string()])
            .arg("--receipt-key")
            .arg(rig.receipt_key())
            .arg("--custodian-key")
            .arg(rig.custodian_key())
            .args(["--admin-token-hash", &token::admin_setting()])
            .args(arguments)
            .env("RUST_LOG", rust_log)
            .current_dir(&rig.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                assert_eq!(child.try_wait().unwrap(), None, "{}", log_of(&rig));
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, listens).await.unwrap();
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
        let http = http.redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let (base, reader) = (base(address), String::new());
        Self { rig, base, reader, http, child, _directory: directory }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub async fn send(&self, request: RequestBuilder) -> Reply {
        self.execute(request.build().unwrap()).await
    }

    pub async fn execute(&self, request: Request) -> Reply {
        let response = self.http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, text: response.text().await.unwrap() }
    }

    /// What anybody may see.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    /// What a reader of `acme` may see.
    pub async fn read(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path).bearer_auth(&self.reader)).await
    }

    /// Events of `acme`, signed by its root key.
    pub fn signed(&self, events: &[Value]) -> Submission {
        let payloads = events.iter().map(|event| serde_json::to_vec(event).unwrap()).collect();
        let acme = Workspace::new("acme").unwrap();
        Submission::sign(&self.rig.origin, &acme, Counter::NONE, &key(1), payloads)
    }

    /// The request that a submission is.
    pub fn submission(&self, submission: &Submission) -> RequestBuilder {
        let request = self
            .request(Method::POST, &submission.path())
            .header("content-type", submission.content_type())
            .header("tally-public-key", submission.public_key.to_string())
            .header("tally-signature", submission.signature.to_string())
            .body(submission.body());
        match submission.route {
            Route::Workspaces => request.bearer_auth(token::ADMIN),
            Route::Lines | Route::Array => request,
        }
    }

    pub async fn post(&self, submission: &Submission) -> Reply {
        self.send(self.submission(submission)).await
    }

    /// Another service on the same ledger, in this process, with a probe.
    pub async fn beside(&self, probe: Arc<dyn Probe>) -> Running {
        let config = self.rig.config(&self.rig.postgres.url()).unwrap();
        Service::start(config, Arc::new(SystemClock), probe).await.unwrap()
    }

    /// All that the service has logged.
    pub fn log(&self) -> String {
        log_of(&self.rig)
    }

    /// Stops the service in order, and gives all that it has logged.
    pub async fn stop(mut self) -> String {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill").arg(pid).status().await.unwrap();
        let ended = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}\n{}", self.log());
        self.log()
    }
}

fn log_of(rig: &Rig) -> String {
    std::fs::read_to_string(rig.directory.join("service.log")).unwrap()
}

//! A service, its database, and an agent that speaks plain HTTP.

use std::sync::Arc;
use std::time::Duration;

use checks::postgres::Postgres;
use checks::submission::{Route, Submission};
use checks::token::{self, ADMIN};
use ingest::chain::{NoProbe, Probe};
use ingest::{Config, Running, Service, SystemClock};
use ledger::key::SigningKey;
use ledger::names::{Origin, Workspace};
use ledger::note::VerifierKey;
use ledger::submission::Counter;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

/// The ledger.
pub const ORIGIN: &str = "ledger.example.com/test";

/// A key that is the same in every run: 1 is the root key, 2 the agent's.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The workspace of the tests.
pub fn acme() -> Workspace {
    Workspace::new("acme").unwrap()
}

/// An event id that is the same in every run.
pub fn event_id(n: u64) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

/// The payload of an event.
pub fn event(workspace: &str, n: u64, event_type: &str, context: &Value) -> Vec<u8> {
    let event = json!({
        "event_id": event_id(n),
        "event_type": event_type,
        "occurred_at": "2026-11-23T16:00:00Z",
        "workspace_id": workspace,
        "context": context,
    });
    serde_json::to_vec(&event).unwrap()
}

/// The payload of an event that any key may sign.
pub fn plain(n: u64) -> Vec<u8> {
    event("acme", n, "business_event", &Value::Null)
}

/// The payload that registers a key.
pub fn registered(n: u64, key: &SigningKey, role: &str, actor_id: Option<&str>) -> Vec<u8> {
    let key = key.public().to_string();
    let context = json!({"key": key, "role": role, "actor_id": actor_id});
    event("acme", n, "ledger.key_registered", &context)
}

/// The payload that revokes a key.
pub fn revoked(n: u64, key: &SigningKey) -> Vec<u8> {
    let context = json!({"key": key.public().to_string(), "reason": "a test"});
    event("acme", n, "ledger.key_revoked", &context)
}

/// A submission to the workspace of the tests.
pub fn signed(key: &SigningKey, counter: u64, payloads: Vec<Vec<u8>>) -> Submission {
    let origin = Origin::new(ORIGIN).unwrap();
    Submission::sign(&origin, &acme(), Counter::new(counter).unwrap(), key, payloads)
}

/// The submission that creates a workspace, with key 1 as its root key.
pub fn founding(workspace: &str, n: u64) -> Submission {
    let context = json!({"root_keys": [key(1).public().to_string()]});
    let payload = event(workspace, n, "ledger.workspace_created", &context);
    let (origin, name) = (Origin::new(ORIGIN).unwrap(), Workspace::new(workspace).unwrap());
    let signed = Submission::sign(&origin, &name, Counter::NONE, &key(1), vec![payload]);
    Submission { route: Route::Workspaces, ..signed }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub allow: Option<String>,
    pub retry_after: Option<String>,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The last part of the problem's type, once it is sure that it is a problem.
    pub fn problem(&self) -> String {
        assert_eq!(self.content_type, "application/problem+json", "{}", self.text);
        let body = self.json();
        assert_eq!(body["status"], self.status);
        for member in ["title", "detail"] {
            assert!(!body[member].as_str().unwrap().is_empty(), "{body}");
        }
        let kind = body["type"].as_str().unwrap().strip_prefix("/problems/");
        kind.unwrap().to_owned()
    }

    /// Status, problem and the reason of the first error.
    pub fn refusal(&self) -> (u16, String, String) {
        let reason = self.json()["errors"][0]["reason"].as_str().unwrap_or_default().to_owned();
        (self.status, self.problem(), reason)
    }
}

/// An agent that speaks plain HTTP.
#[derive(Clone)]
pub struct Agent {
    http: reqwest::Client,
    pub base: String,
}

impl Agent {
    pub fn new(base: String) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy();
        Self { http: http.build().unwrap(), base }
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> reqwest::Result<Reply> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        Ok(Reply {
            status: response.status().as_u16(),
            content_type: header("content-type").unwrap_or_default(),
            allow: header("allow"),
            retry_after: header("retry-after"),
            text: response.text().await?,
        })
    }

    /// Reads as the reader of `acme`.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[("authorization", &bearer())], Vec::new()).await
    }

    pub async fn get_text(&self, path: &str) -> Reply {
        let headers = [("accept", "text/plain"), ("authorization", &bearer())];
        self.send(Method::GET, path, &headers, Vec::new()).await
    }

    /// Sends a submission to a path that may not be its own.
    pub async fn post_to(&self, path: &str, submission: &Submission) -> Reply {
        self.try_post_to(path, submission).await.unwrap()
    }

    /// Sends a submission to a service that may be gone.
    pub async fn try_post(&self, submission: &Submission) -> reqwest::Result<Reply> {
        self.try_post_to(&submission.path(), submission).await
    }

    async fn try_post_to(&self, path: &str, submission: &Submission) -> reqwest::Result<Reply> {
        let (key, signature) =
            (submission.public_key.to_string(), submission.signature.to_string());
        let counter = submission.counter.to_string();
        let admin = format!("Bearer {ADMIN}");
        let mut headers = vec![
            ("content-type", submission.content_type()),
            ("tally-public-key", key.as_str()),
            ("tally-signature", &signature),
            ("tally-counter", &counter),
        ];
        if path == "/v1/workspaces" {
            headers.push(("authorization", &admin));
        }
        self.try_send(Method::POST, path, &headers, submission.body()).await
    }

    pub async fn post(&self, submission: &Submission) -> Reply {
        self.post_to(&submission.path(), submission).await
    }

    /// Sends a submission that sets a key.
    pub async fn post_key(&self, submission: &Submission) -> Reply {
        let body = Submission { route: Route::Workspaces, ..submission.clone() };
        self.post_to("/v1/workspaces/acme/keys", &body).await
    }
}

/// A service with a workspace `acme`, root key 1 and agent key 2.
pub struct World {
    pub postgres: Postgres,
    pub url: String,
    pub pool: PgPool,
    pub agent: Agent,
    running: Option<Running>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Arc::new(NoProbe)).await
    }

    pub async fn with(probe: Arc<dyn Probe>) -> Self {
        let world = Self::empty(probe).await;
        assert_eq!(world.agent.post(&founding("acme", 1)).await.status, 201);
        let registered = signed(&key(1), 0, vec![registered(2, &key(2), "agent", None)]);
        assert_eq!(world.agent.post_key(&registered).await.status, 201);
        world
    }

    /// No workspace yet.
    pub async fn empty(probe: Arc<dyn Probe>) -> Self {
        let postgres = Postgres::start().unwrap();
        let url = postgres.database().unwrap();
        ingest::store::migrate(&url, &Origin::new(ORIGIN).unwrap()).await.unwrap();
        let pool = PgPool::connect(&url).await.unwrap();
        token::admit(&pool, &acme()).await.unwrap();
        let running = serve(&url, probe).await;
        let agent = Agent::new(base(&running));
        Self { postgres, url, pool, agent, running: Some(running) }
    }

    /// Another service on the same database.
    pub async fn another(&self) -> (Running, Agent) {
        let running = serve(&self.url, Arc::new(NoProbe)).await;
        let agent = Agent::new(base(&running));
        (running, agent)
    }

    /// Rows of a table, the ledger's own left out: what a refused submission must not change.
    pub async fn entries(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM entries WHERE workspace <> 'ledger.acts'")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Stops the service; its database stays until this is dropped.
    pub async fn stop(&mut self) {
        self.running.take().unwrap().shutdown().await;
    }
}

/// The reader of `acme`.
pub fn bearer() -> String {
    format!("Bearer {}", token::reader("acme"))
}

fn base(running: &Running) -> String {
    format!("http://{}", running.local_addr())
}

async fn serve(url: &str, probe: Arc<dyn Probe>) -> Running {
    let mut config = Config::new(Origin::new(ORIGIN).unwrap(), url, key(9), key(10));
    config.admin_tokens = token::admins().unwrap();
    Service::start(config, Arc::new(SystemClock), probe).await.unwrap()
}

/// The key that checks receipts.
pub fn receipt_key() -> VerifierKey {
    VerifierKey::receipt(&Origin::new(ORIGIN).unwrap(), key(9).public())
}

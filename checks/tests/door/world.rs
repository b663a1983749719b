//! A service with settings of its own, its database, and clients of every kind.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use checks::bin_path::tally;
use checks::postgres::Postgres;
use checks::submission::{Route, Submission};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ingest::access::token::Secret;
use ingest::keyfile;
use ledger::key::SigningKey;
use ledger::names::{Origin, Workspace};
use ledger::submission::Counter;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};

/// The ledger.
pub const ORIGIN: &str = "ledger.example.com/door";
/// How long anything may take that is to happen at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A key that is the same in every run: 1 is the root key, 2 an agent's.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The payload of an event.
pub fn event(workspace: &str, n: u64, event_type: &str, context: &Value) -> Vec<u8> {
    let event = json!({
        "event_id": format!("00000000-0000-4000-8000-{n:012x}"),
        "event_type": event_type,
        "occurred_at": "2026-11-23T16:00:00Z",
        "workspace_id": workspace,
        "context": context,
    });
    serde_json::to_vec(&event).unwrap()
}

/// The payload of an event that any key may sign.
pub fn plain(workspace: &str, n: u64) -> Vec<u8> {
    event(workspace, n, "business_event", &Value::Null)
}

/// A body as clients of a plain HMAC pipeline send it.
pub fn batch(events: &[Vec<u8>]) -> Vec<u8> {
    [b"{\"events\": [", events.join(&b", "[..]).as_slice(), b"]}"].concat()
}

/// A submission to a workspace.
pub fn signed(workspace: &str, key: &SigningKey, payloads: Vec<Vec<u8>>) -> Submission {
    let (origin, workspace) = (Origin::new(ORIGIN).unwrap(), Workspace::new(workspace).unwrap());
    Submission::sign(&origin, &workspace, Counter::NONE, key, payloads)
}

/// The hex HMAC-SHA256 of a body.
pub fn tag(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Reply {
    pub async fn of(request: RequestBuilder) -> Self {
        Self::try_of(request).await.unwrap()
    }

    pub async fn try_of(request: RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, text: response.text().await? })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, and the last part of the problem's type.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let kind = self.json()["type"].as_str().unwrap().to_owned();
        (self.status, kind.strip_prefix("/problems/").unwrap().to_owned())
    }

    /// The reason of the first error.
    pub fn reason(&self) -> String {
        self.json()["errors"][0]["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a service is set up with, before it runs.
pub struct Site {
    pub dir: TempDir,
    _postgres: Postgres,
    pub pool: PgPool,
    pub custodian: SigningKey,
    url: String,
    admin: Secret,
}

impl Site {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        let url = postgres.database().unwrap();
        ingest::store::migrate(&url, &Origin::new(ORIGIN).unwrap()).await.unwrap();
        let pool = PgPool::connect(&url).await.unwrap();
        keyfile::create(&dir.path().join("receipt.pem")).unwrap();
        let custodian = keyfile::create(&dir.path().join("custodian.pem")).unwrap();
        Self { dir, _postgres: postgres, pool, custodian, url, admin: Secret::admin().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that only its owner can read.
    pub fn private(&self, name: &str, bytes: &[u8]) -> PathBuf {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.path(name);
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.as_mut().unwrap().write_all(bytes).unwrap();
        path
    }

    /// Settings: what every service has, and `more`, the first lines of which belong to `[ingest]`.
    pub fn settings(&self, more: &str) -> PathBuf {
        let (dir, url, admin) = (self.dir.path().display(), &self.url, self.admin.hash());
        let text = format!(
            "[ledger]\norigin = \"{ORIGIN}\"\n[database]\nurl = \"{url}\"\n[ingest]\n\
             receipt_key = \"{dir}/receipt.pem\"\ncustodian_key = \"{dir}/custodian.pem\"\n\
             admin_tokens = {{ test = \"{admin}\" }}\n{more}"
        );
        self.private("tally.toml", text.as_bytes())
    }

    /// Starts the service with these settings.
    pub async fn serve(&self, more: &str) -> Served {
        let listen = if more.contains("listen =") { "" } else { "listen = \"127.0.0.1:0\"\n" };
        let settings = self.settings(&format!("{listen}{more}"));
        let log = File::options().create(true).append(true).open(self.path("service.log"));
        let mut child = Command::new(tally("tally-ingest"))
            .args(["serve", "--config"])
            .arg(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, stdout.read_line(&mut line)).await.unwrap().unwrap();
        let log = std::fs::read_to_string(self.path("service.log")).unwrap();
        let base = line.trim().strip_prefix("listening on ");
        assert!(base.is_some(), "{log}");
        let base = base.unwrap().to_owned();
        Served { child, base, http: client(None), admin: self.admin.reveal().to_owned() }
    }

    /// Rows that are there: what is refused must not change them.
    pub async fn entries(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM entries WHERE workspace IN ('acme', 'beta')")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("service.log")).unwrap()
    }
}

/// An HTTP client that trusts one more authority.
pub fn client(authority: Option<&Path>) -> Client {
    let mut client = Client::builder().timeout(PATIENCE).no_proxy();
    if let Some(path) = authority {
        let pem = std::fs::read(path).unwrap();
        client = client.add_root_certificate(reqwest::Certificate::from_pem(&pem).unwrap());
    }
    client.build().unwrap()
}

/// A service that runs.
pub struct Served {
    pub child: Child,
    pub base: String,
    pub http: Client,
    admin: String,
}

impl Served {
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.base))
    }

    /// A submission as its signer sends it, its body still to come.
    pub fn signed_post(&self, submission: &Submission, path: &str) -> RequestBuilder {
        self.post(path)
            .header("content-type", submission.content_type())
            .header("tally-public-key", submission.public_key.to_string())
            .header("tally-signature", submission.signature.to_string())
            .bearer_auth(&self.admin)
    }

    pub async fn submit(&self, submission: &Submission) -> Reply {
        let request = self.signed_post(submission, &submission.path());
        Reply::of(request.body(submission.body())).await
    }

    /// Opens a workspace with root key 1 and agent key 2.
    pub async fn open_workspace(&self, name: &str) {
        let context = json!({"root_keys": [key(1).public().to_string()]});
        let created = event(name, 1, "ledger.workspace_created", &context);
        let created =
            Submission { route: Route::Workspaces, ..signed(name, &key(1), vec![created]) };
        let reply = self.submit(&created).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        self.register(name, 2, &key(2), "agent").await;
    }

    /// Brings a key into force.
    pub async fn register(&self, workspace: &str, n: u64, key: &SigningKey, role: &str) {
        let context = json!({"key": key.public().to_string(), "role": role});
        self.set_key(workspace, event(workspace, n, "ledger.key_registered", &context)).await;
    }

    /// Sends an event that sets a key, signed by root key 1.
    pub async fn set_key(&self, workspace: &str, payload: Vec<u8>) {
        let set = signed(workspace, &key(1), vec![payload]);
        let set = Submission { route: Route::Workspaces, ..set };
        let request = self.signed_post(&set, &format!("/v1/workspaces/{workspace}/keys"));
        let reply = Reply::of(request.body(set.body())).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
    }

    /// A request of a client that shares a secret.
    pub fn ingest(&self, name: &str, secret: &[u8], body: &[u8]) -> RequestBuilder {
        self.post("/ingest")
            .header("x-api-key", name)
            .header("x-signature", tag(secret, body))
            .header("content-type", "application/json")
            .body(body.to_vec())
    }

    pub fn admin_token(&self) -> &str {
        &self.admin
    }

    /// A connection of one's own.
    pub async fn connect(&self) -> TcpStream {
        let address = self.base.strip_prefix("http://").unwrap();
        TcpStream::connect(address).await.unwrap()
    }

    /// The same, with so much room for what is on its way, there and back.
    pub async fn connect_with(&self, send_buffer: u32, receive_buffer: u32) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(send_buffer).unwrap();
        socket.set_recv_buffer_size(receive_buffer).unwrap();
        let address = self.base.strip_prefix("http://").unwrap().parse().unwrap();
        socket.connect(address).await.unwrap()
    }

    /// What the service holds of memory, in KiB: now, and at most so far.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = format!("/proc/{}/status", self.child.id().unwrap());
        let status = std::fs::read_to_string(status).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Tells the service to end, and waits until it has.
    pub async fn stop(mut self) {
        self.signal("TERM").await;
        let ended = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
        assert!(ended.unwrap().unwrap().success());
    }

    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(sent.unwrap().success());
    }
}

/// What the service answers on a connection until it closes it; empty if it says nothing.
pub async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await;
    // A reset after the answer is a close too.
    let _ = read.unwrap();
    String::from_utf8(text).unwrap()
}

/// Sends chunks as long as the service takes them; gives how many bytes it took.
pub async fn flood(stream: &mut TcpStream, chunk: &[u8], most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        match tokio::time::timeout(Duration::from_secs(10), stream.write_all(chunk)).await {
            Ok(Ok(())) => sent += chunk.len(),
            _ => break,
        }
    }
    sent
}

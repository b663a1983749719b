//! HTTP as no client library would speak it: bytes out, bytes in.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the service may take to answer, its own limits for slow senders included.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer that a refusal may have.
pub const ANSWER_BYTES: usize = 16 * 1024;

/// A request, down to its last byte.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Takes away every header of this name.
    pub fn without(&mut self, name: &str) {
        self.headers.retain(|(header, _)| !header.eq_ignore_ascii_case(name));
    }

    pub fn with(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.headers.push((name.to_owned(), value.into()));
    }

    pub fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.without(name);
        self.with(name, value);
    }

    /// The request's head: the body's length is told unless a header tells something of it.
    pub fn head(&self) -> Vec<u8> {
        let start = format!("{} {} HTTP/1.1\r\nHost: x\r\n", self.method, self.path);
        let mut head = start.into_bytes();
        let told = ["content-length", "transfer-encoding"];
        if !self.headers.iter().any(|(name, _)| told.contains(&&*name.to_ascii_lowercase())) {
            head.extend(format!("Content-Length: {}\r\n", self.body.len()).bytes());
        }
        for (name, value) in &self.headers {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(b"Connection: close\r\n\r\n");
        head
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads an answer; interim ones before it are skipped.
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = bytes[end + 4..].to_vec();
        if status < 200 { Self::read(&body) } else { Some(Self { status, head, body }) }
    }

    pub fn is_problem(&self) -> bool {
        self.head.contains("content-type: application/problem+json")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The last part of the problem's type, and the reason of its first error.
    pub fn problem(&self) -> (String, String) {
        let body = self.json();
        let kind = body["type"].as_str().unwrap_or_default().trim_start_matches("/problems/");
        let reason = body["errors"][0]["reason"].as_str().unwrap_or_default();
        (kind.to_owned(), reason.to_owned())
    }

    /// The problem is whole, of this status, short, and says what and where.
    pub fn check(&self) -> Result<(), String> {
        let body = self.json();
        let text = |member: &str| body[member].as_str().is_some_and(|text| !text.is_empty());
        let placed = ["header", "pointer", "index"];
        let (kind, reason) = self.problem();
        let says_where = match kind.as_str() {
            "bad-header" | "event-refused" | "signature-invalid" | "event-exists" => {
                !reason.is_empty() && placed.iter().any(|name| !body["errors"][0][name].is_null())
            }
            "body-refused" => !reason.is_empty(),
            _ => true,
        };
        if !self.is_problem() || !text("title") || !text("detail") || kind.is_empty() {
            Err("no whole problem".to_owned())
        } else if body["status"] != self.status {
            Err("another status inside".to_owned())
        } else if !says_where {
            Err("does not say where".to_owned())
        } else if self.body.len() > ANSWER_BYTES {
            Err(format!("an answer of {} bytes", self.body.len()))
        } else {
            Ok(())
        }
    }
}

/// Sends bytes and reads the answer; `None` where the connection is closed without one.
pub async fn send(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    exchange(address, request, false).await
}

/// Sends bytes, says that no more will come, and reads the answer.
pub async fn send_all(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    exchange(address, request, true).await
}

async fn exchange(address: SocketAddr, request: &[u8], is_all: bool) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        // The service may have answered and closed before it has read all.
        if writer.write_all(request).await.is_ok() && is_all {
            let _ = writer.shutdown().await;
        }
    };
    let read = async {
        let _ = reader.read_to_end(&mut answer).await;
    };
    let both = async { tokio::join!(write, read) };
    timeout(PATIENCE, both).await.ok()?;
    Answer::read(&answer)
}

/// Reads the answer on a stream that stays open for writing.
pub async fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut answer = Vec::new();
    // What came before the connection broke counts.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    Answer::read(&answer)
}

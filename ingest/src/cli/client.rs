//! The client side of the HTTP API: sign, send, send the same again, check the receipt.
//!
//! Here: one submission at a time. Not here: which ones, and what is remembered of them (see
//! [`super::submit`], [`super::state`]).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use ledger::hash::Digest;
use ledger::key::{PublicKey, Signature, SigningKey};
use ledger::limits::SUBMISSION_EVENTS_CEILING;
use ledger::names::{Origin, Workspace};
use ledger::note::{Note, VerifierKey};
use ledger::receipt::Receipt;
use ledger::submission::{Counter, Statement};
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::state::write_file;
use super::{CliError, print};
use crate::accept::Limits;
use crate::accept::head::{COUNTER, PUBLIC_KEY, SIGNATURE};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(40);
/// Asks a ledger with a queue to answer once the submission is recorded (RFC 7240).
const PREFER: &str = "prefer";
const WAIT: u64 = 20;
/// The first pause before the same bytes are sent again; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Which service, and how far it is believed.
#[derive(Clone, Debug, Args)]
pub(super) struct ServiceArgs {
    /// Where the service is, e.g. https://ledger.example.com
    #[arg(long)]
    url: Url,
    /// The file with the key that signs
    #[arg(long, value_name = "FILE")]
    pub(super) key: PathBuf,
    /// Go on only if the service is this ledger
    #[arg(long)]
    origin: Option<String>,
    /// The ledger's receipt key (name+id+key), as you got it from elsewhere; otherwise the one that
    /// the service shows is believed
    #[arg(long, value_name = "KEY")]
    receipt_key: Option<VerifierKey>,
    /// Where to keep receipts, a file each
    #[arg(long, value_name = "DIR")]
    receipts: Option<PathBuf>,
    /// PEM file with certificates that the service's own may come from, beside those that browsers
    /// trust
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long to try before giving up
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    give_up_after: u64,
}

/// Why a submission has no receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ClientError {
    /// The arguments contradict each other or the ledger.
    #[error("{0}")]
    Usage(String),
    /// The service is another ledger.
    #[error("the service is the ledger `{found}`, not `{expected}`")]
    Origin {
        /// What it says.
        found: Origin,
        /// What was expected.
        expected: String,
    },
    /// The service refused, and will refuse the same bytes again.
    #[error("refused: {problem}")]
    Refused {
        /// What it said.
        problem: String,
    },
    /// The service did not say what became of it, for as long as was to be waited.
    #[error("no answer within {seconds} seconds; last: {last}")]
    NoAnswer {
        /// How long it was tried.
        seconds: u64,
        /// What came last.
        last: String,
    },
    /// The service said something that its own description does not allow.
    #[error("the service's answer cannot be used: {0}")]
    Answer(String),
    /// The receipt is not one for what was sent.
    #[error("the receipt cannot be trusted: {0}")]
    Receipt(String),
}

#[derive(Deserialize)]
struct LedgerAnswer {
    origin: String,
    receipt_key: String,
    limits: LimitsAnswer,
}

#[derive(Deserialize)]
struct LimitsAnswer {
    max_payload_bytes: usize,
    max_events: usize,
}

/// A connection to one ledger.
pub(super) struct Client {
    http: reqwest::Client,
    args: ServiceArgs,
    /// The ledger.
    pub(super) origin: Origin,
    receipt_key: VerifierKey,
    /// What it takes at once.
    pub(super) limits: Limits,
    /// The token of the administrator who asks, where one is needed.
    admin_token: Option<Zeroizing<String>>,
}

/// A submission that is signed: the same bytes however often it is sent.
pub(super) struct Signed {
    workspace: Workspace,
    counter: Counter,
    public_key: PublicKey,
    signature: Signature,
    hash: Digest,
    count: u64,
    body: Vec<u8>,
}

impl Signed {
    /// Its name.
    pub(super) fn hash(&self) -> Digest {
        self.hash
    }

    /// Signs payloads; `body` is how they are sent.
    pub(super) fn new<'p>(
        origin: &Origin,
        workspace: &Workspace,
        counter: Counter,
        key: &SigningKey,
        payloads: impl Iterator<Item = &'p [u8]>,
        body: Vec<u8>,
    ) -> Self {
        let digests: Vec<Digest> = payloads.map(Digest::of).collect();
        let statement = Statement::new(origin, workspace, counter, &digests);
        let signature = key.sign(statement.as_str().as_bytes());
        let public_key = key.public();
        Self {
            workspace: workspace.clone(),
            counter,
            public_key,
            signature,
            hash: statement.submission_hash(public_key.as_bytes(), &signature),
            count: u64::try_from(digests.len()).unwrap_or(u64::MAX),
            body,
        }
    }
}

/// What became of a submission that was sent.
pub(super) enum Sent {
    /// It is recorded.
    Recorded(Box<Received>),
    /// It is stored in the ledger's queue.
    Queued,
}

/// A receipt that was checked, and its note.
pub(super) struct Received {
    /// What it states.
    pub(super) receipt: Receipt,
    /// The signed note, byte for byte.
    pub(super) note: String,
}

impl Received {
    /// As one JSON object.
    pub(super) fn json(&self) -> Value {
        serde_json::json!({
            "workspace": self.receipt.workspace.as_str(),
            "first_seq": self.receipt.first_seq.get(),
            "last_seq": self.receipt.last_seq.get(),
            "recorded_at": self.receipt.recorded_at.to_string(),
            "submission": self.receipt.submission.to_string(),
            "receipt": self.note,
        })
    }
}

/// What came of one try.
enum Tried {
    Answer(StatusCode, String),
    Again(String, Option<Duration>),
}

impl Client {
    /// Asks the service which ledger it is.
    pub(super) async fn connect(args: ServiceArgs) -> Result<Self, ClientError> {
        let usage = |error: &dyn std::fmt::Display| ClientError::Usage(error.to_string());
        let mut http = reqwest::Client::builder().timeout(REQUEST);
        for certificate in args.ca.as_deref().map(authorities).transpose()?.unwrap_or_default() {
            http = http.add_root_certificate(certificate);
        }
        let http = http.build().map_err(|error| usage(&error))?;
        let url = route(&args.url, "v1/ledger")?;
        let (_, text) = retry(args.give_up_after, || tried(http.get(url.clone()))).await?;
        let bad = |error: &dyn std::fmt::Display| ClientError::Answer(error.to_string());
        let answer: LedgerAnswer = serde_json::from_str(&text).map_err(|error| bad(&error))?;
        let origin = Origin::new(&answer.origin).map_err(|error| bad(&error))?;
        if let Some(expected) = args.origin.as_ref().filter(|o| *o != origin.as_str()) {
            return Err(ClientError::Origin { found: origin, expected: expected.clone() });
        }
        let receipt_key = match args.receipt_key.clone() {
            Some(key) => key,
            None => answer.receipt_key.parse().map_err(|error| bad(&error))?,
        };
        let LimitsAnswer { max_payload_bytes, max_events } = answer.limits;
        let limits = Limits::new(max_payload_bytes, max_events.min(SUBMISSION_EVENTS_CEILING))
            .ok_or_else(|| bad(&"its limits are not those of any ledger"))?;
        Ok(Self { http, args, origin, receipt_key, limits, admin_token: None })
    }

    /// The same, asking as an administrator.
    pub(super) fn by_admin(self, token: Zeroizing<String>) -> Self {
        Self { admin_token: Some(token), ..self }
    }

    /// Sends a submission until the service says what became of it, checks the receipt and keeps it.
    pub(super) async fn send(
        &self,
        path: &str,
        content_type: &str,
        signed: &Signed,
    ) -> Result<Received, CliError> {
        match self.send_queued(path, content_type, signed, true).await? {
            Sent::Recorded(received) => Ok(*received),
            Sent::Queued => {
                let seconds = self.args.give_up_after;
                let last = "it is stored in the queue, and not recorded yet".to_owned();
                Err(ClientError::NoAnswer { seconds, last }.into())
            }
        }
    }

    /// The same, where a ledger with a queue may only have stored it. `waits`: until it is recorded, by
    /// sending it again, which records nothing twice.
    pub(super) async fn send_queued(
        &self,
        path: &str,
        content_type: &str,
        signed: &Signed,
        waits: bool,
    ) -> Result<Sent, CliError> {
        let url = route(&self.args.url, path)?;
        let send = || {
            let request = self
                .http
                .post(url.clone())
                .header(CONTENT_TYPE, content_type)
                .header(ACCEPT, "text/plain")
                .header(PUBLIC_KEY, signed.public_key.to_string())
                .header(SIGNATURE, signed.signature.to_string())
                .header(COUNTER, signed.counter.to_string())
                .body(signed.body.clone());
            let request = match &self.admin_token {
                Some(token) => request.bearer_auth(token.as_str()),
                None => request,
            };
            let wait = format!("wait={}", WAIT.min(self.args.give_up_after));
            tried(if waits { request.header(PREFER, wait) } else { request })
        };
        let start = Instant::now();
        let note = loop {
            let (status, text) = retry(self.args.give_up_after, send).await?;
            if status != StatusCode::ACCEPTED {
                break text;
            }
            if !waits || start.elapsed() >= Duration::from_secs(self.args.give_up_after) {
                return Ok(Sent::Queued);
            }
        };
        let received = self.check(signed, note)?;
        if let Some(dir) = &self.args.receipts {
            self.keep(dir, &received)?;
        }
        Ok(Sent::Recorded(Box::new(received)))
    }

    /// Whether the note is the ledger's receipt for exactly this submission.
    fn check(&self, signed: &Signed, note: String) -> Result<Received, ClientError> {
        let bad = |error: &dyn std::fmt::Display| ClientError::Receipt(error.to_string());
        let parsed = Note::parse(note.as_bytes()).map_err(|error| bad(&error))?;
        let body = parsed.verify(&self.receipt_key).map_err(|error| bad(&error))?;
        let receipt = Receipt::parse(body).map_err(|error| bad(&error))?;
        let count = receipt.last_seq.get() - receipt.first_seq.get() + 1;
        if receipt.origin == self.origin
            && receipt.workspace == signed.workspace
            && receipt.submission == signed.hash
            && count == signed.count
        {
            Ok(Received { receipt, note })
        } else {
            Err(bad(&"it is one for something else than what was sent"))
        }
    }

    fn keep(&self, dir: &Path, received: &Received) -> Result<(), CliError> {
        std::fs::create_dir_all(dir)?;
        let Receipt { workspace, first_seq, last_seq, .. } = &received.receipt;
        let (first_seq, last_seq) = (first_seq.get(), last_seq.get());
        let name = format!("{workspace}-{first_seq:020}-{last_seq:020}.receipt");
        Ok(write_file(&dir.join(name), received.note.as_bytes())?)
    }

    /// Tells of a receipt: as JSON, or as the bare note where it is kept nowhere.
    pub(super) fn tell(&self, received: &Received, json: bool) -> Result<(), CliError> {
        if json {
            print(received.json())?;
        } else if self.args.receipts.is_none() {
            print(received.note.trim_end())?;
        } else {
            print(format_args!("recorded at seq {}", received.receipt.last_seq))?;
        }
        Ok(())
    }
}

/// The certificates in a PEM file.
fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let fail = |error: &dyn std::fmt::Display| {
        ClientError::Usage(format!("--ca {}: {error}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|error| fail(&error))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| fail(&error))?;
    if found.is_empty() { Err(fail(&"it holds no certificate")) } else { Ok(found) }
}

/// Asks as an administrator, with JSON in both directions, until the service says what came of it.
pub(super) async fn ask(
    (method, url, path): (Method, &Url, &str),
    token: &str,
    body: Option<Value>,
    give_up_after: u64,
) -> Result<Value, ClientError> {
    let http = reqwest::Client::builder().timeout(REQUEST).build();
    let http = http.map_err(|error| ClientError::Usage(error.to_string()))?;
    let url = route(url, path)?;
    let send = || {
        let request = http.request(method.clone(), url.clone()).bearer_auth(token);
        tried(match &body {
            Some(body) => request.json(body),
            None => request,
        })
    };
    let (_, text) = retry(give_up_after, send).await?;
    serde_json::from_str(&text).map_err(|error| ClientError::Answer(error.to_string()))
}

fn route(base: &Url, path: &str) -> Result<Url, ClientError> {
    let mut base = base.clone();
    if !base.path().ends_with('/') {
        let with_slash = format!("{}/", base.path());
        base.set_path(&with_slash);
    }
    base.join(path).map_err(|error| ClientError::Usage(format!("--url: {error}")))
}

/// One try. What the service may answer otherwise when asked again is no answer.
async fn tried(request: reqwest::RequestBuilder) -> Tried {
    let sent = async {
        let response = request.send().await?;
        let status = response.status();
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        Ok::<_, reqwest::Error>((status, wait, response.text().await?))
    };
    match sent.await {
        Ok((status, wait, text))
            if status.is_server_error()
                || matches!(
                    status,
                    StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                ) =>
        {
            Tried::Again(problem_text(status, &text), wait)
        }
        Ok((status, _, text)) => Tried::Answer(status, text),
        Err(error) => Tried::Again(chain_text(&error), None),
    }
}

async fn retry<F: Future<Output = Tried>>(
    give_up_after: u64,
    attempt: impl Fn() -> F,
) -> Result<(StatusCode, String), ClientError> {
    let start = Instant::now();
    let mut pause = PAUSE;
    loop {
        let (last, wait) = match attempt().await {
            Tried::Answer(status, text) if status.is_success() => return Ok((status, text)),
            Tried::Answer(status, text) => {
                let problem = problem_text(status, &text);
                return Err(ClientError::Refused { problem });
            }
            Tried::Again(last, wait) => (last, wait),
        };
        if start.elapsed() >= Duration::from_secs(give_up_after) {
            let seconds = give_up_after;
            return Err(ClientError::NoAnswer { seconds, last });
        }
        tokio::time::sleep(wait.unwrap_or(pause).clamp(PAUSE, PAUSE_MAX)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A problem as one text: its title and detail, and each error on a line of its own.
fn problem_text(status: StatusCode, text: &str) -> String {
    #[derive(Deserialize)]
    struct Problem {
        title: String,
        #[serde(default)]
        detail: String,
        #[serde(default)]
        errors: Vec<Fault>,
        /// Why the chain refused what was queued.
        refusal: Option<Box<Problem>>,
    }
    #[derive(Deserialize)]
    struct Fault {
        index: Option<u64>,
        reason: String,
        #[serde(default)]
        detail: String,
    }
    let Ok(mut problem) = serde_json::from_str::<Problem>(text) else {
        return format!("HTTP status {status}");
    };
    if let Some(refusal) = problem.refusal.take() {
        problem = *refusal;
    }
    let mut told = format!("{} ({status}): {}", problem.title, problem.detail);
    for Fault { index, reason, detail } in problem.errors {
        let place = index.map_or(String::new(), |index| format!("event {index}: "));
        told.push_str(&format!("\n  {place}{reason}: {detail}"));
    }
    told
}

/// An error with what caused it: reqwest's own text leaves that out.
fn chain_text(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

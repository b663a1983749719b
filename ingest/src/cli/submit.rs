//! `submit`: events from a file or standard input, signed in batches.
//!
//! Here: the order of effects. A submission is on disk before it is sent, and its receipt before it
//! is forgotten: so a crash at any point is mended by running the same command again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use ledger::hash::Digest;
use ledger::key::SigningKey;
use ledger::limits::SUBMISSION_EVENTS_DEFAULT;
use ledger::names::Workspace;
use ledger::submission::Counter;

use super::client::{Client, ClientError, Sent, ServiceArgs, Signed};
use super::keys::parse_workspace;
use super::state::{Pending, Position, State};
use super::{CliError, print};
use crate::accept::{self, Limits, Refused};
use crate::keyfile;

/// Arguments of `submit`.
#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// Events, one a line; `-` for standard input
    file: PathBuf,
    /// The workspace
    #[arg(long, value_parser = parse_workspace)]
    workspace: Workspace,
    /// Events that are signed together; fewer where the ledger takes fewer
    #[arg(long, value_name = "N", default_value_t = SUBMISSION_EVENTS_DEFAULT)]
    batch: usize,
    /// What is remembered between runs; by default beside the key, with the workspace in its name
    #[arg(long, value_name = "FILE")]
    counter_state: Option<PathBuf>,
    /// Count from here on: for a key whose state file was lost
    #[arg(long, value_name = "N", value_parser = parse_counter)]
    next_counter: Option<Counter>,
    #[command(flatten)]
    service: ServiceArgs,
    /// Where the ledger has a queue: wait until each submission is recorded, and keep its receipt
    #[arg(long)]
    wait: bool,
    /// Print one JSON object for each submission
    #[arg(long)]
    json: bool,
}

fn parse_counter(text: &str) -> Result<Counter, String> {
    Counter::parse(text)
        .filter(|counter| *counter != Counter::NONE)
        .ok_or_else(|| "a number from 1 to 9223372036854775807 is expected".to_owned())
}

/// Why events were not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SubmitError {
    /// A line that no ledger takes; the lines of its batch were not sent.
    #[error("{}:{line}: {detail}", path.display())]
    Event {
        /// The input.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The input cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The input.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It was waited for long enough, and is not recorded yet. The same command goes on waiting.
    #[error("{0}: run the same command again to wait on")]
    Queued(String),
    /// No counter is left.
    #[error("the key has no counter left: register a new one")]
    Counter,
}

pub(super) async fn submit(args: SubmitArgs) -> Result<(), CliError> {
    if args.batch == 0 {
        let text = "--batch: at least one event is signed at once";
        return Err(ClientError::Usage(text.to_owned()).into());
    }
    let key = keyfile::read(&args.service.key)?;
    let state_path = args.counter_state.clone().unwrap_or_else(|| {
        let extension = format!("{}.state", args.workspace);
        args.service.key.with_added_extension(extension)
    });
    let client = Client::connect(args.service.clone()).await?;
    let mut state = State::open(state_path, &client.origin, &args.workspace, &key.public())?;
    let mut run = Run {
        sender: Sender { client, workspace: args.workspace, key, wait: args.wait },
        json: args.json,
        events: 0,
        submissions: 0,
        queued: 0,
    };
    run.send_pending(&mut state).await?;
    if let Some(next) = args.next_counter {
        state.count_from(next)?;
    }
    let limits = run.sender.client.limits;
    let batch = args.batch.min(limits.max_events());
    let mut input = Input::open(&args.file, state.input())?;
    while let Some(body) = input.next_batch(&run.sender.workspace, batch, &limits)? {
        let counter = state.next_counter().ok_or(SubmitError::Counter)?;
        state.prepare(Pending { counter: counter.get(), body, after: input.position() })?;
        run.send_pending(&mut state).await?;
    }
    if !args.json {
        let Run { events, submissions, queued, .. } = run;
        if submissions > 0 || queued == 0 {
            print(format_args!("{events} events recorded in {submissions} submissions"))?;
        }
        if queued > 0 {
            print(format_args!(
                "{queued} submissions are stored in the queue, without a receipt yet"
            ))?;
        }
    }
    Ok(())
}

struct Run {
    sender: Sender,
    json: bool,
    events: u64,
    submissions: u64,
    queued: u64,
}

impl Run {
    async fn send_pending(&mut self, state: &mut State) -> Result<(), CliError> {
        let Some(pending) = state.pending() else {
            return Ok(());
        };
        match self.sender.send(pending).await {
            Ok((_, Sent::Recorded(received))) => {
                self.submissions += 1;
                let receipt = &received.receipt;
                self.events += receipt.last_seq.get() - receipt.first_seq.get() + 1;
                state.settle()?;
                if self.json {
                    print(received.json())?;
                }
                Ok(())
            }
            Ok((hash, Sent::Queued)) if !self.sender.wait => {
                self.queued += 1;
                state.settle()?;
                if self.json {
                    print(serde_json::json!({ "submission": hash.to_string(), "queued": true }))?;
                }
                Ok(())
            }
            Ok((hash, Sent::Queued)) => {
                let text = format!("submission {hash} is stored in the queue and not recorded yet");
                Err(SubmitError::Queued(text).into())
            }
            Err(error @ CliError::Client(ClientError::Refused { .. })) => {
                state.abandon()?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}

struct Sender {
    client: Client,
    workspace: Workspace,
    key: SigningKey,
    /// Whether to wait until what is queued is recorded.
    wait: bool,
}

impl Sender {
    /// Signs again and sends: Ed25519 is deterministic, so the same body is the same submission.
    async fn send(&self, pending: &Pending) -> Result<(Digest, Sent), CliError> {
        let counter = Counter::new(pending.counter).ok_or(SubmitError::Counter)?;
        let body = pending.body.as_bytes();
        let payloads = body.strip_suffix(b"\n").unwrap_or(body).split(|b| *b == b'\n');
        let signed = Signed::new(
            &self.client.origin,
            &self.workspace,
            counter,
            &self.key,
            payloads,
            body.to_vec(),
        );
        let path = format!("v1/workspaces/{}/events", self.workspace);
        let hash = signed.hash();
        let sending = self.client.send_queued(&path, "application/x-ndjson", &signed, self.wait);
        Ok((hash, sending.await?))
    }
}

/// Lines that are still to be sent.
struct Input {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    bytes: u64,
    lines: u64,
    last: Option<(Digest, u64)>,
}

impl Input {
    /// Opens the input behind what is recorded of it already.
    fn open(path: &Path, recorded: Option<&Position>) -> Result<Self, SubmitError> {
        let fail = |source| SubmitError::Read { path: path.to_owned(), source };
        let mut input = Self {
            path: path.to_owned(),
            reader: Box::new(io::empty()),
            bytes: 0,
            lines: 0,
            last: None,
        };
        if path == Path::new("-") {
            input.reader = Box::new(BufReader::new(io::stdin()));
            return Ok(input);
        }
        let mut file = File::open(path).map_err(fail)?;
        input.path = path.canonicalize().map_err(fail)?;
        if let Some(position) = recorded.filter(|position| position.path == input.path)
            && is_behind(&mut file, position).map_err(fail)?
        {
            input.bytes = position.bytes;
            input.lines = position.lines;
        }
        file.seek(SeekFrom::Start(input.bytes)).map_err(fail)?;
        input.reader = Box::new(BufReader::new(file));
        Ok(input)
    }

    /// Where the input stands; none for standard input, which cannot be read again.
    fn position(&self) -> Option<Position> {
        let (digest, bytes) = self.last?;
        (self.path != Path::new("-")).then(|| Position {
            path: self.path.clone(),
            bytes: self.bytes,
            lines: self.lines,
            last_line: digest.to_string(),
            last_line_bytes: bytes,
        })
    }

    /// The next lines as one body, each checked as the service will check it; `None` at the end.
    fn next_batch(
        &mut self,
        workspace: &Workspace,
        batch: usize,
        limits: &Limits,
    ) -> Result<Option<String>, SubmitError> {
        let first_line = self.lines + 1;
        let mut lines = VecDeque::new();
        while lines.len() < batch
            && let Some(line) = self.next_line(limits)?
        {
            lines.push_back(Bytes::from(line));
        }
        let body: Vec<u8> =
            lines.iter().flat_map(|line| line.iter().chain(b"\n")).copied().collect();
        if lines.is_empty() {
            return Ok(None);
        }
        let event = |index: usize, detail: String| SubmitError::Event {
            path: self.path.clone(),
            line: first_line.saturating_add(u64::try_from(index).unwrap_or(u64::MAX)),
            detail,
        };
        match accept::read(workspace, lines.into(), limits) {
            Ok(_) => {}
            Err(Refused::Events(errors)) => {
                let first = errors.into_iter().next();
                return Err(first.map_or_else(
                    || event(0, String::new()),
                    |error| event(error.index, error.detail),
                ));
            }
            Err(other) => return Err(event(0, other.to_string())),
        }
        // What was checked is UTF-8.
        String::from_utf8(body).map(Some).map_err(|error| event(0, error.to_string()))
    }

    /// The next line without its end; one that is too long comes cut, and still too long.
    fn next_line(&mut self, limits: &Limits) -> Result<Option<Vec<u8>>, SubmitError> {
        let most = u64::try_from(limits.max_payload_bytes()).unwrap_or(u64::MAX);
        let mut line = Vec::new();
        let read = (&mut self.reader).take(most.saturating_add(2)).read_until(b'\n', &mut line);
        let read = read.map_err(|source| SubmitError::Read { path: self.path.clone(), source })?;
        if read == 0 {
            return Ok(None);
        }
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        self.bytes += bytes;
        self.lines += 1;
        self.last = Some((Digest::of(&line), bytes));
        Ok(Some(line))
    }
}

/// Whether the file still holds the last recorded line just before the position.
fn is_behind(file: &mut File, position: &Position) -> io::Result<bool> {
    let Some(start) = position.bytes.checked_sub(position.last_line_bytes) else {
        return Ok(false);
    };
    file.seek(SeekFrom::Start(start))?;
    let mut line = Vec::new();
    file.take(position.last_line_bytes).read_to_end(&mut line)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(Digest::of(line).to_string() == position.last_line)
}

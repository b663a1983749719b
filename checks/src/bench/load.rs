//! Requests: signed beforehand, so that the run measures the service and not its clients.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ledger::names::{Origin, Workspace};
use ledger::time::Micros;
use tokio::task::JoinSet;

use super::Requests;
use crate::driver::{Answer, Client};
use crate::forge::Random;
use crate::rig::{Failure, Rig};
use crate::submission::Submission;
use crate::worker::Worker;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a payload.
const PAYLOAD: usize = 500;

/// How event ids are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Ids {
    /// UUID version 7: the time first.
    V7,
    /// UUID version 4: random.
    V4,
}

/// A request, ready to be sent.
pub(super) struct Request {
    path: String,
    headers: [(&'static str, String); 3],
    body: Bytes,
    events: usize,
}

/// Agents, one a workspace, who sign with its root key.
pub(super) struct Load {
    workers: Vec<Worker>,
    ids: Ids,
    random: Random,
    next: usize,
    made: u64,
}

impl Load {
    pub(super) fn new(origin: &Origin, workspaces: usize, ids: Ids, seed: u64) -> Self {
        let workers = (0..workspaces)
            .filter_map(|n| Workspace::new(&format!("team-{n}")).ok())
            .zip(1_000_u64..)
            .map(|(workspace, n)| Worker::new(origin, &workspace, "bench", seed * 10_000 + n))
            .collect();
        Self { workers, ids, random: Random::new(seed + 5), next: 0, made: 0 }
    }

    pub(super) async fn open_workspaces(&mut self, rig: &Rig, base: &str) -> Result<(), Failure> {
        let client = Client::new(base, PATIENCE)?;
        let _ = rig;
        for worker in &mut self.workers {
            match client.post(&worker.open_workspace(now()?)).await {
                Answer::Receipt(_) => {}
                other => return Err(format!("a workspace was not opened: {other:?}").into()),
            }
        }
        Ok(())
    }

    /// So many events, in submissions of `batch`, one workspace after the other.
    pub(super) fn submissions(&mut self, events: usize, batch: usize) -> Vec<Submission> {
        let now = now().unwrap_or(Micros::EPOCH);
        (0..events.div_ceil(batch.max(1)))
            .filter_map(|_| {
                let index = self.next % self.workers.len();
                self.next += 1;
                let workspace = self.workers.get(index)?.workspace.clone();
                let payloads = (0..batch).map(|_| self.payload(&workspace, now)).collect();
                Some(self.workers.get_mut(index)?.sign(payloads))
            })
            .collect()
    }

    pub(super) fn requests(&mut self, events: usize, batch: usize) -> Requests {
        self.submissions(events, batch)
            .into_iter()
            .map(|submission| {
                Arc::new(Request {
                    path: submission.path(),
                    headers: [
                        ("Tally-Public-Key", submission.public_key.to_string()),
                        ("Tally-Signature", submission.signature.to_string()),
                        ("Tally-Counter", submission.counter.to_string()),
                    ],
                    body: Bytes::from(submission.body()),
                    events: submission.payloads.len(),
                })
            })
            .collect()
    }

    /// An event of a call to a model, of 500 bytes.
    fn payload(&mut self, workspace: &Workspace, now: Micros) -> Vec<u8> {
        self.made += 1;
        let mut id: [u8; 16] = self.random.bytes();
        let version = match self.ids {
            Ids::V4 => 0x40,
            Ids::V7 => {
                // The time of each event is a little later than that of the one before.
                let at = now.get().unsigned_abs() / 1_000 + self.made / 30;
                let time = at.to_be_bytes();
                id.iter_mut().zip(time.iter().skip(2)).for_each(|(to, from)| *to = *from);
                0x70
            }
        };
        let [.., six, _, eight, _, _, _, _, _, _, _] = &mut id;
        *six = version | (*six & 0x0f);
        *eight = 0x80 | (*eight & 0x3f);
        let id = uuid::Uuid::from_bytes(id);
        let (tokens, latency) = (self.random.below(4_000), self.random.below(9_000));
        let trace = self.random.bytes::<16>().map(|byte| format!("{byte:02x}")).concat();
        let mut text = format!(
            "{{\"event_id\":\"{id}\",\"event_type\":\"llm_call\",\"occurred_at\":\"{now}\",\
             \"workspace_id\":\"{workspace}\",\"session_id\":\"session-{}\",\"actor_id\":\"bench\",\
             \"model\":\"atlas-large\",\"provider\":\"north\",\"input_tokens\":{tokens},\
             \"output_tokens\":{},\"latency_ms\":{latency},\"success\":true,\
             \"unit_cost_input\":0.0000025,\"unit_cost_output\":\"0.00001\",\
             \"trace_id\":\"{trace}\",\"context\":{{\"note\":\"",
            self.made / 40,
            tokens / 3,
        );
        while text.len() + 3 < PAYLOAD {
            text.push('x');
        }
        text.push_str("\"}}");
        text.into_bytes()
    }
}

pub(super) fn now() -> Result<Micros, Failure> {
    use ingest::Clock as _;
    Ok(ingest::SystemClock.now())
}

fn client() -> Result<reqwest::Client, Failure> {
    Ok(reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?)
}

/// What a client wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// That it is recorded, as without a queue.
    Recorded,
    /// That it is queued.
    Queued,
    /// That it is recorded, of a ledger with a queue.
    Waits,
}

async fn send(
    http: &reqwest::Client,
    base: &str,
    request: &Request,
    manner: Manner,
) -> Result<usize, Failure> {
    let mut post = http
        .post(format!("{base}{}", request.path))
        .header("Content-Type", "application/x-ndjson")
        .header("Accept", "text/plain");
    for (name, value) in &request.headers {
        post = post.header(*name, value);
    }
    if manner == Manner::Waits {
        post = post.header("Prefer", "wait=25");
    }
    let answer = post.body(request.body.clone()).send().await?;
    let status = answer.status().as_u16();
    let text = answer.text().await?;
    let expected = if manner == Manner::Queued { 202 } else { 201 };
    if status == expected { Ok(request.events) } else { Err(format!("{status}: {text}").into()) }
}

/// Sends all of them as fast as they are answered; gives the events that were acknowledged.
pub(super) async fn closed(
    base: &str,
    requests: Requests,
    clients: usize,
    manner: Manner,
) -> Result<usize, Failure> {
    let http = client()?;
    let waiting = Arc::new(Mutex::new(VecDeque::from(requests)));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (http, base, waiting) = (http.clone(), base.to_owned(), Arc::clone(&waiting));
        tasks.spawn(async move {
            let mut acked = 0;
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(request) = next else {
                    return Ok::<_, Failure>(acked);
                };
                acked += send(&http, &base, &request, manner).await?;
            }
        });
    }
    let mut acked = 0;
    while let Some(done) = tasks.join_next().await {
        acked += done??;
    }
    Ok(acked)
}

/// How fast requests are sent, whether or not those before are answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) events_per_second: f64,
    pub(super) batch: usize,
}

/// Sends at a pace; gives the median and the 99th percentile of the seconds from when a request was
/// due to its acknowledgement.
pub(super) async fn open(
    base: &str,
    requests: Requests,
    pace: Pace,
    manner: Manner,
) -> Result<(f64, f64), Failure> {
    let http = client()?;
    let gap = Duration::from_secs_f64(super::number(pace.batch) / pace.events_per_second);
    let mut tasks = JoinSet::new();
    let mut due = Instant::now();
    for request in requests {
        due += gap;
        tokio::time::sleep_until(due.into()).await;
        let (http, base) = (http.clone(), base.to_owned());
        tasks.spawn(async move {
            send(&http, &base, &request, manner).await?;
            Ok::<_, Failure>(due.elapsed().as_secs_f64())
        });
    }
    let mut seconds = Vec::new();
    while let Some(done) = tasks.join_next().await {
        seconds.push(done??);
    }
    seconds.sort_by(f64::total_cmp);
    let at = |share: usize| seconds.get(seconds.len() * share / 100).copied();
    at(50).zip(at(99)).ok_or_else(|| "no request was sent".into())
}

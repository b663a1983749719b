//! Submissions that go through a queue: put, and answered with 202; or, where the client would rather
//! wait, with what became of them.
//!
//! Not here: the queue itself (see [`crate::queue`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use ledger::hash::Digest;
use ledger::names::Workspace;
use ledger::note::sign;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tracing::Span;
use utoipa::ToSchema;

use super::App;
use super::error::{Kind, Problem};
use crate::accept::{Limits, Submission};
use crate::chain::plan::Verdict;
use crate::chain::{Committer, Recorded, Step};
use crate::queue::message::TRACE_HEADERS;
use crate::queue::outcomes::{Outcome, Outcomes};
use crate::queue::run::{self, Consuming};
use crate::queue::{self, Consumer, Message, Queue, QueueConfig, Topic};
use crate::service::StartError;
use crate::store;
use crate::telemetry::span;

/// Connections on which it is asked what became of submissions.
const ASKERS: u32 = 1;

/// The queue of a service.
pub struct Queueing {
    /// Puts.
    pub queue: Arc<dyn Queue>,
    /// Tells what became of what was put.
    pub outcomes: Arc<Outcomes>,
    /// The consumer in this process, where there is one.
    pub consumer: Option<Arc<Consumer>>,
}

/// What became of a submission that was put.
pub(super) enum Queued {
    /// It is recorded already; its receipt.
    Chained(Verdict, String),
    /// It waits.
    Waiting(QueuedAnswer),
}

/// A submission that is stored in the queue, and not recorded yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct QueuedAnswer {
    /// The workspace.
    workspace: String,
    /// The submission hash, in hex.
    submission: String,
    /// Where its receipt will be, or the reason why there is none.
    status: String,
}

impl QueuedAnswer {
    fn new(workspace: &Workspace, hash: &Digest) -> Self {
        Self {
            workspace: workspace.to_string(),
            submission: hash.to_string(),
            status: format!("/v1/workspaces/{workspace}/submissions/{hash}"),
        }
    }

    /// 202, with where to ask.
    pub(super) fn into_response(self, wants_text: bool) -> Response {
        let location = HeaderValue::from_str(&self.status);
        let mut response = if wants_text {
            (StatusCode::ACCEPTED, format!("{}\n", self.submission)).into_response()
        } else {
            (StatusCode::ACCEPTED, Json(self)).into_response()
        };
        if let Ok(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// A queue that was started: what requests use, the consumer beside it, and the task that asks what
/// became of submissions.
pub(crate) type Started = (Queueing, Option<Consuming>, JoinHandle<()>);

impl Queueing {
    /// Connects to the queue, and starts to consume where the settings say so.
    pub(crate) fn start(
        config: &QueueConfig,
        database_url: &str,
        limits: &Limits,
        committer: &Committer,
    ) -> Result<Started, StartError> {
        let queue = queue::open(config, limits.max_body_bytes())?;
        let pool = store::writers(database_url, run::CONNECTIONS + ASKERS)?;
        let consuming = if config.consume {
            Some(Consuming::start(run::Parts {
                config: config.clone(),
                origin: committer.origin.clone(),
                limits: *limits,
                committer: committer.clone(),
                pool: pool.clone(),
                queue: Arc::clone(&queue),
            })?)
        } else {
            None
        };
        let outcomes = Arc::new(Outcomes::new(pool));
        let asking = Arc::clone(&outcomes);
        let watching = tokio::spawn(async move { asking.serve().await });
        let consumer = consuming.as_ref().map(|consuming| Arc::clone(consuming.consumer()));
        Ok((Self { queue, outcomes, consumer }, consuming, watching))
    }

    /// Puts a submission; `memory` is held until the broker has stored it. Waits for what becomes of it
    /// for as long as the client prefers to.
    pub(super) async fn enqueue(
        &self,
        app: &App,
        submission: &Submission,
        message: Message,
        trace: &HeaderMap,
        patience: Duration,
        memory: OwnedSemaphorePermit,
    ) -> Result<Queued, Problem> {
        let started = Instant::now();
        let accepted = app.clock.now();
        let message = with_trace(message, trace);
        app.probe.at(Step::Putting);
        let put = self.queue.put(Topic::Submissions, &message).await;
        drop((message, memory));
        let broker = app.metrics.broker();
        broker.is(put.is_ok());
        if let Err(error) = put {
            broker.put_failed();
            return Err(error.into());
        }
        broker.put(started.elapsed());
        app.probe.at(Step::Put);
        let Submission { workspace, hash, .. } = submission;
        if patience.is_zero() {
            return Ok(Queued::Waiting(QueuedAnswer::new(workspace, hash)));
        }
        match self.outcomes.wait(workspace, hash, accepted, patience).await {
            None => Ok(Queued::Waiting(QueuedAnswer::new(workspace, hash))),
            Some(Outcome::Recorded(recorded)) => {
                let receipt = receipt(app, workspace, *hash, recorded);
                let is_new = recorded.recorded_at >= accepted;
                Ok(Queued::Chained(Verdict { recorded, is_new }, receipt))
            }
            Some(Outcome::Refused(problem)) => Err(refused(&problem)),
        }
    }
}

fn receipt(app: &App, workspace: &Workspace, hash: Digest, recorded: Recorded) -> String {
    let receipt = recorded.receipt(&app.origin, workspace, hash);
    sign(&receipt.to_body(), &[&app.receipts])
}

/// The headers that join a trace: this request's span, and what else its caller sent.
fn with_trace(message: Message, sent: &HeaderMap) -> Message {
    let [parent, state] = TRACE_HEADERS;
    let state_sent = sent.get(state).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let parent_now = span::traceparent(&Span::current(), sent);
    let parent_now = parent_now.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let pairs = [(parent, parent_now), (state, state_sent)];
    pairs.into_iter().fold(message, |message, (name, value)| match value {
        Some(value) => message.with(name, value),
        None => message,
    })
}

/// The answer of a submission that the chain refused.
pub(super) fn refused(problem: &str) -> Problem {
    let told = Problem::new(
        Kind::SubmissionRefused,
        "the submission was queued, and the chain refused it: `refusal` says why; nothing of it is \
         recorded",
    );
    match RawValue::from_string(problem.to_owned()) {
        Ok(problem) => told.with_refusal(problem),
        Err(_) => told,
    }
}

//! What the service counts: every figure of `GET /metrics`.
//!
//! Here: all metrics in one struct, made once for a service and handed to whoever counts; no global
//! state. Labels are of sets that are fixed when the program is built (routes, outcomes, status
//! codes, kinds of problems, steps) or folded (shards): no workspace, key or event is a label, so
//! the number of series has a bound whatever is sent. Not here: what is worth an alert (see
//! `docs/operating/watching.md`).

mod broker;
mod process;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::chain::Step;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Shards from this one on share a label.
const SHARDS: usize = 8;
/// The labels of shards.
const SHARD: [&str; SHARDS + 1] = ["0", "1", "2", "3", "4", "5", "6", "7", "8+"];

type CounterF64 = Counter<f64, std::sync::atomic::AtomicU64>;
type GaugeF64 = Gauge<f64, std::sync::atomic::AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Shard {
    shard: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct At {
    step: &'static str,
}

/// The metrics of one service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    answers: Family<Status, Counter>,
    refusals: Family<Refusal, Counter>,
    request_seconds: Histogram,
    ack_seconds: Histogram,
    submissions: Counter,
    events: Counter,
    queued: Family<Shard, Gauge>,
    group_submissions: Histogram,
    transaction_seconds: Histogram,
    step_seconds: Family<At, CounterF64>,
    database_up: Gauge,
    body_memory: Gauge,
    answer_memory: Gauge,
    connections: Gauge,
    clock_behind: GaugeF64,
    broker: broker::Broker,
    process: process::Gauges,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tally");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        let mut metrics = Self {
            requests: Family::default(),
            answers: Family::default(),
            refusals: Family::default(),
            request_seconds: Histogram::new([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0]),
            ack_seconds: Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]),
            submissions: Counter::default(),
            events: Counter::default(),
            queued: Family::default(),
            group_submissions: Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0]),
            transaction_seconds: Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0]),
            step_seconds: Family::default(),
            database_up: Gauge::default(),
            body_memory: Gauge::default(),
            answer_memory: Gauge::default(),
            connections: Gauge::default(),
            clock_behind: GaugeF64::default(),
            broker: broker::Broker::default(),
            process: process::Gauges::default(),
            registry: Registry::default(),
        };
        metrics.register(&mut registry);
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// The metrics of a service with a queue, which has some more.
    pub fn with_queue() -> Self {
        let mut metrics = Self::default();
        let mut registry = std::mem::take(&mut metrics.registry);
        metrics.broker.register(&mut registry);
        metrics.registry = registry;
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let help = "Requests, by route and outcome: ok, refused (4xx) or failed (5xx)";
        registry.register("requests", help, self.requests.clone());
        registry.register("answers", "Answers, by status code", self.answers.clone());
        let help = "Problems that were answered, by the last part of their type";
        registry.register("problems", help, self.refusals.clone());
        let help = "From the head of a request to the head of its answer";
        registry.register_with_unit("request", help, Unit::Seconds, self.request_seconds.clone());
        let help = "From the head of a submission to its receipt, of those that got one";
        registry.register_with_unit("ack", help, Unit::Seconds, self.ack_seconds.clone());
        let help = "Submissions that were recorded; one that came again is counted once";
        registry.register("submissions_accepted", help, self.submissions.clone());
        registry.register("events_accepted", "Events that were recorded", self.events.clone());
        let help = "Submissions that wait to be recorded, by shard";
        registry.register("queue_submissions", help, self.queued.clone());
        let help = "Submissions that were recorded in one transaction";
        registry.register("group_submissions", help, self.group_submissions.clone());
        let (help, unit) = ("Transactions that recorded submissions", Unit::Seconds);
        registry.register_with_unit("transaction", help, unit, self.transaction_seconds.clone());
        let help = "Time in transactions, by the step that it led to";
        let seconds = Unit::Seconds;
        registry.register_with_unit("transaction_step", help, seconds, self.step_seconds.clone());
        let help = "1 where the database answered when it was last asked, else 0";
        registry.register("database_up", help, self.database_up.clone());
        let help = "Memory that is set aside for bodies that are read, checked or waiting";
        registry.register_with_unit("body_memory", help, Unit::Bytes, self.body_memory.clone());
        let help = "Memory that is set aside for answers that are made or sent";
        let unit = Unit::Bytes;
        registry.register_with_unit("answer_memory", help, unit, self.answer_memory.clone());
        registry.register("open_connections", "Connections of clients", self.connections.clone());
        let help = "How far the clock stands behind what is recorded; 0 where it does not";
        registry.register_with_unit("clock_behind", help, Unit::Seconds, self.clock_behind.clone());
        self.process.register(registry);
    }

    /// A request was answered. `route` is a template from a fixed table, `kind` the slug of the
    /// problem that was the answer.
    pub fn answered(
        &self,
        route: &'static str,
        status: u16,
        kind: Option<&'static str>,
        elapsed: Duration,
    ) {
        let outcome = match status {
            ..400 => "ok",
            400..500 => "refused",
            500.. => "failed",
        };
        self.requests.get_or_create(&Request { route, outcome }).inc();
        self.answers.get_or_create(&Status { status }).inc();
        if let Some(kind) = kind {
            self.refusals.get_or_create(&Refusal { kind }).inc();
        }
        self.request_seconds.observe(elapsed.as_secs_f64());
    }

    /// A submission was answered with its receipt.
    pub fn acknowledged(&self, elapsed: Duration) {
        self.ack_seconds.observe(elapsed.as_secs_f64());
    }

    /// A submission waits in a shard.
    pub fn queued(&self, shard: usize) {
        self.queued.get_or_create(&Self::shard(shard)).inc();
    }

    /// A shard has taken submissions from its queue.
    pub fn taken(&self, shard: usize, submissions: usize) {
        let taken = i64::try_from(submissions).unwrap_or(i64::MAX);
        self.queued.get_or_create(&Self::shard(shard)).dec_by(taken);
    }

    fn shard(shard: usize) -> Shard {
        let [.., last] = SHARD;
        Shard { shard: SHARD.get(shard).copied().unwrap_or(last) }
    }

    /// A transaction was committed: how many submissions and events it recorded, and its time.
    pub fn group_recorded(&self, submissions: usize, events: usize, elapsed: Duration) {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.submissions.inc_by(wide(submissions));
        self.events.inc_by(wide(events));
        let size = u32::try_from(submissions).unwrap_or(u32::MAX);
        self.group_submissions.observe(f64::from(size));
        self.transaction_seconds.observe(elapsed.as_secs_f64());
    }

    /// Starts to time the steps of a transaction.
    pub fn stopwatch(&self) -> Stopwatch<'_> {
        let now = Instant::now();
        Stopwatch { metrics: self, started: now, last: now }
    }

    /// The database answered, or did not.
    pub fn database_is(&self, up: bool) {
        self.database_up.set(up.into());
    }

    /// So much memory is set aside for bodies.
    pub fn body_memory_is(&self, bytes: usize) {
        self.body_memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So much memory is set aside for answers.
    pub fn answer_memory_is(&self, bytes: usize) {
        self.answer_memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The clock stands so far behind what is recorded.
    pub fn clock_is_behind(&self, by: Duration) {
        self.clock_behind.set(by.as_secs_f64());
    }

    /// What concerns the queue between API and chain.
    pub fn broker(&self) -> &broker::Broker {
        &self.broker
    }

    /// A client has connected; the connection is open until what this gives is dropped.
    pub fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// All of it, as OpenMetrics text.
    pub fn text(&self) -> String {
        self.process.refresh();
        let mut text = String::new();
        // Only a writer that fails ends this with an error, and a string never does.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The connection of a client, as long as it is open.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Times the steps of one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch<'m> {
    metrics: &'m Metrics,
    started: Instant,
    last: Instant,
}

impl Stopwatch<'_> {
    /// The transaction has come to this step.
    pub fn at(&mut self, step: Step) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.last).as_secs_f64();
        self.metrics.step_seconds.get_or_create(&At { step: step.name() }).inc_by(elapsed);
        self.last = now;
    }

    /// The time since it was started.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

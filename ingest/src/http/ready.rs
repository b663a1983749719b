//! Whether the service can record now, and if not, what is in its way.
//!
//! Here: `GET /readyz` and the checks behind it: the database answers and takes writes, its schema
//! is this program's, the clock is not behind. `GET /healthz` is here too, and asks nobody. Not
//! here: what a load balancer makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use ledger::time::Micros;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::App;
use super::error::Kind;
use crate::store::{self, StoreError, state};

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Whether the database takes writes is asked this seldom: the question costs it a small write.
const WRITES: Duration = Duration::from_secs(1);
/// How far the clock may stand behind what is recorded (FORMAT section 4).
const CLOCK: Duration = Duration::from_secs(1);

/// The state of one thing that the service depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Down,
    /// Not known, as another is down.
    Unknown,
}

/// One thing that the service depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Check {
    status: Health,
    /// What is wrong, and what may mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Check {
    const OK: Self = Self { status: Health::Ok, detail: None };
    const UNKNOWN: Self = Self { status: Health::Unknown, detail: None };

    fn down(detail: impl Into<String>) -> Self {
        Self { status: Health::Down, detail: Some(detail.into()) }
    }
}

/// All that the service depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Checks {
    /// The database answers and takes writes.
    database: Check,
    /// Its schema is this program's, and it is this ledger's.
    schema: Check,
    /// The clock is not behind what is recorded.
    clock: Check,
    /// The broker answers and has its topic, and no partition that this process consumes is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Check>,
}

impl Checks {
    fn named(&self) -> impl Iterator<Item = (&'static str, &Check)> {
        [("database", &self.database), ("schema", &self.schema), ("clock", &self.clock)]
            .into_iter()
            .chain(self.queue.iter().map(|queue| ("queue", queue)))
    }

    fn is_ready(&self) -> bool {
        self.named().all(|(_, check)| *check == Check::OK)
    }

    fn detail(&self) -> String {
        let down = self.named().filter_map(|(name, check)| Some((name, check.detail.as_ref()?)));
        let down: Vec<_> = down.map(|(name, detail)| format!("{name}: {detail}")).collect();
        down.join("; ")
    }
}

/// `GET /readyz` where all is well.
#[derive(Serialize, ToSchema)]
pub(super) struct ReadyAnswer {
    ready: bool,
    checks: Checks,
}

/// `GET /readyz` where something is in the way: a problem that says what.
#[derive(Serialize, ToSchema)]
pub(super) struct NotReadyAnswer {
    /// `/problems/not-ready`
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    ready: bool,
    checks: Checks,
}

/// What is remembered between questions.
#[derive(Debug, Default)]
pub struct Readiness {
    last: Mutex<Last>,
    /// The newest time that this process has recorded.
    recorded_at: AtomicI64,
}

#[derive(Debug, Default)]
struct Last {
    answer: Option<(Instant, Checks)>,
    took_writes: Option<Instant>,
}

impl Readiness {
    /// A submission was recorded, or found, at this time.
    pub fn has_recorded(&self, at: Micros) {
        self.recorded_at.fetch_max(at.get(), Ordering::Relaxed);
    }
}

/// Asks what the service depends on, one question at a time: who has waited for another's answer
/// takes that.
pub(super) async fn checks(app: &App) -> Checks {
    let asked = Instant::now();
    let mut last = app.readiness.last.lock().await;
    if let Some((answered, checks)) = &last.answer
        && *answered > asked
    {
        return checks.clone();
    }
    let must_write = last.took_writes.is_none_or(|at| at.elapsed() > WRITES);
    let probed = tokio::time::timeout(PATIENCE, probe(app, must_write));
    let (probed, queue) = tokio::join!(probed, queue(app));
    let checks = probed.unwrap_or_else(|_| {
        let detail = format!("it did not answer within {} seconds", PATIENCE.as_secs());
        database_down(detail)
    });
    let checks = Checks { queue, ..checks };
    app.metrics.database_is(checks.database == Check::OK);
    if checks.database != Check::OK {
        last.took_writes = None;
    } else if must_write {
        last.took_writes = Some(Instant::now());
    }
    last.answer = Some((Instant::now(), checks.clone()));
    checks
}

fn database_down(detail: impl Into<String>) -> Checks {
    let database = Check::down(detail);
    Checks { database, schema: Check::UNKNOWN, clock: Check::UNKNOWN, queue: None }
}

/// The broker, and what this process consumes of it.
async fn queue(app: &App) -> Option<Check> {
    let queueing = app.queue.as_ref()?;
    let answered = queueing.queue.check(PATIENCE).await;
    app.metrics.broker().is(answered.is_ok());
    let faults = queueing.consumer.as_ref().map(|consumer| consumer.faults()).unwrap_or_default();
    Some(match answered {
        Err(detail) => Check::down(detail),
        Ok(()) if faults.is_empty() => Check::OK,
        Ok(()) => Check::down(faults.join("; ")),
    })
}

async fn probe(app: &App, must_write: bool) -> Checks {
    let schema = match store::check(&app.readers, &app.origin).await {
        Ok(()) => Check::OK,
        // Facts of the ledger itself, which clients may know.
        Err(error @ (StoreError::Schema { .. } | StoreError::Origin { .. })) => {
            Check::down(error.to_string())
        }
        // The error's own text may tell of hosts and roles: it stays in the log.
        Err(error) => {
            tracing::warn!(%error, "not ready");
            return database_down("it does not answer, or not as it should");
        }
    };
    let state = match state::state(&app.readers, must_write).await {
        Ok(state) => state,
        Err(error) => {
            tracing::warn!(%error, "not ready");
            return database_down("it answers, and takes no writes");
        }
    };
    let database = if state.is_standby {
        Check::down("it is a standby, which takes no writes")
    } else {
        Check::OK
    };
    Checks { database, schema, clock: clock(app, state.not_before), queue: None }
}

/// The clock against the newest time that is known without a look at every workspace.
fn clock(app: &App, not_before: Micros) -> Check {
    let newest = app.readiness.recorded_at.load(Ordering::Relaxed).max(not_before.get());
    let behind = newest.saturating_sub(app.clock.now().get());
    let behind = Duration::from_micros(u64::try_from(behind).unwrap_or(0));
    app.metrics.clock_is_behind(behind);
    if behind > CLOCK {
        let seconds = behind.as_secs();
        Check::down(format!("it stands {seconds} seconds behind what is recorded: set it right"))
    } else {
        Check::OK
    }
}

/// The process runs; its dependencies are not asked.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The service can record.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    let checks = checks(&app).await;
    if checks.is_ready() {
        return Json(ReadyAnswer { ready: true, checks }).into_response();
    }
    let kind = Kind::NotReady;
    let answer = NotReadyAnswer {
        r#type: kind.uri(),
        title: kind.title(),
        status: kind.status().as_u16(),
        detail: checks.detail(),
        ready: false,
        checks,
    };
    let mut response = (kind.status(), Json(answer)).into_response();
    let headers = response.headers_mut();
    let problem = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, problem);
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response.extensions_mut().insert(kind);
    response
}

//! The edge: HTTP in, problems and receipts out.
//!
//! Here: the routes; [`error`] (the one table from refusals to status codes), `submit` (what
//! records), `read` (what shows), `answer` (the shapes of answers), `listen` (connections and their
//! time limits), `observe` (what is around every request), `ready`, `keys`, `docs` and [`openapi`]
//! (what operators and programs ask). Not here: any decision about a submission (see
//! [`crate::accept`], [`crate::chain`]).

mod answer;
mod auth;
mod body;
pub mod coding;
pub mod crowd;
pub mod digest;
mod docs;
pub mod door;
pub mod error;
mod guard;
pub mod hmac;
mod keys;
pub mod limits;
pub mod listen;
pub mod node;
mod observe;
pub mod openapi;
mod pages;
mod prefer;
pub mod queued;
pub mod rate;
pub mod read;
pub mod ready;
pub mod room;
mod submit;
pub mod tls;
mod tokens;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post};
use ledger::names::{Origin, Workspace};
use ledger::note::{NoteSigner, VerifierKey};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use crate::accept::Limits;
use crate::accept::secrets::Secrets;
use crate::access::{AdminTokens, KnownKeys, Porter, Recorder};
use crate::chain::{Probe, Writer};
use crate::clock::Clock;
use crate::metrics::{self, Metrics};
use error::{Kind, Problem};
use hmac::Custodian;
use limits::EdgeLimits;
use queued::Queueing;
use rate::Rate;
use ready::Readiness;
use room::Room;

/// The templates of all routes: what logs, metrics and traces say of a path.
pub const ROUTES: [&str; 23] = [
    "/ingest",
    "/v1/ledger",
    "/v1/workspaces",
    "/v1/workspaces/{workspace}/keys",
    "/v1/workspaces/{workspace}/events",
    "/v1/workspaces/{workspace}/events/{event_id}",
    "/v1/workspaces/{workspace}/submissions/{hash}",
    "/v1/workspaces/{workspace}/head",
    "/v1/workspaces/{workspace}/entries",
    "/v1/workspaces/{workspace}/tokens",
    "/v1/workspaces/{workspace}/tokens/{token_id}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/",
    "/docs/{*file}",
    "/problems",
    "/problems/",
    "/problems/{problem}",
    "/.well-known/tally-keys",
    "/.well-known/jwks.json",
];
/// Stands in logs, metrics and traces for a path that no route takes.
pub const OTHER: &str = "(other)";

/// What every request may use.
pub struct App {
    /// The ledger.
    pub origin: Origin,
    /// Signs receipts and heads.
    pub receipts: NoteSigner,
    /// The seal key's public part, shown to clients where the operator has set it.
    pub seal_verifier_key: Option<VerifierKey>,
    /// What a submission may have.
    pub limits: Limits,
    /// What one client, and all of them, may ask for.
    pub edge: EdgeLimits,
    /// How fast each may send.
    pub rate: Rate,
    /// How fast each may read.
    pub read_rate: Rate,
    /// Which keys may send at all.
    pub known: KnownKeys,
    /// Who may submit at `POST /ingest`.
    pub secrets: Arc<Secrets>,
    /// Who signs for them.
    pub custodian: Custodian,
    /// Looks up readers' tokens.
    pub porter: Porter,
    /// Connections made by [`crate::store::readers`].
    pub readers: PgPool,
    /// Connections on which tokens are made and revoked.
    pub registrars: PgPool,
    /// Who administers.
    pub admins: AdminTokens,
    /// Puts reads and administrative acts on record.
    pub acts: Recorder,
    /// Records submissions.
    pub writer: Arc<Writer>,
    /// The queue between here and the chain, where there is one.
    pub queue: Option<Queueing>,
    /// The ledger's clock.
    pub clock: Arc<dyn Clock>,
    /// Is told of every step.
    pub probe: Arc<dyn Probe>,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
    /// Whether the metrics are shown here, and not at an address of their own.
    pub shows_metrics: bool,
    /// What is known of the service's dependencies.
    pub readiness: Readiness,
    /// The memory that there is for bodies, in KiB.
    pub memory_kib: usize,
    /// Memory for bodies, in KiB: a permit is taken before a body is read.
    pub memory: Arc<Semaphore>,
    /// Memory for answers.
    pub room: Room,
    /// Processors for checking submissions: so many at once, the others wait.
    pub processors: Arc<Semaphore>,
}

/// The routes.
pub fn router(app: Arc<App>) -> Router {
    // What shows a workspace: to its readers alone, and on record.
    let show = |method: MethodRouter<Arc<App>>| {
        method.route_layer(from_fn_with_state(Arc::clone(&app), auth::reading))
    };
    Router::new()
        .route("/ingest", post(hmac::ingest))
        .route("/v1/ledger", get(read::ledger))
        .route("/v1/workspaces", post(submit::create))
        .route("/v1/workspaces/{workspace}/keys", show(get(read::keys)).post(submit::set_key))
        .route("/v1/workspaces/{workspace}/events", post(submit::record))
        .route("/v1/workspaces/{workspace}/events/{event_id}", show(get(read::event)))
        .route("/v1/workspaces/{workspace}/submissions/{hash}", show(get(read::submission)))
        .route("/v1/workspaces/{workspace}/head", show(get(read::head)))
        .route("/v1/workspaces/{workspace}/entries", show(get(read::entries)))
        .route("/v1/workspaces/{workspace}/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/workspaces/{workspace}/tokens/{token_id}", delete(tokens::revoke))
        .route("/healthz", get(ready::healthz))
        .route("/readyz", get(ready::readyz))
        .route("/metrics", get(public_metrics))
        .route("/openapi.json", get(openapi::json))
        .route("/docs", get(docs::to_index))
        .route("/docs/", get(docs::index))
        .route("/docs/{*file}", get(docs::asset))
        .route("/problems", get(docs::problems))
        .route("/problems/", get(docs::problems))
        .route("/problems/{problem}", get(docs::problem))
        .route("/.well-known/tally-keys", get(keys::tally_keys))
        .route("/.well-known/jwks.json", get(keys::jwks))
        .fallback(async || Problem::new(Kind::NotFound, "there is no such route"))
        .method_not_allowed_fallback(other_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&app), observe::observe))
        .with_state(app)
}

/// The routes of an address that shows metrics and nothing else.
pub fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(private_metrics))
        .fallback(async || Problem::new(Kind::NotFound, "only /metrics is here"))
        .method_not_allowed_fallback(other_method)
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(app)
}

async fn public_metrics(State(app): State<Arc<App>>) -> Response {
    if app.shows_metrics {
        show_metrics(&app).await
    } else {
        Problem::new(Kind::NotFound, "metrics are shown at an address of their own").into_response()
    }
}

async fn private_metrics(State(app): State<Arc<App>>) -> Response {
    show_metrics(&app).await
}

/// All figures, those first that are only known when somebody asks.
async fn show_metrics(app: &App) -> Response {
    ready::checks(app).await;
    if let Some(consumer) = app.queue.as_ref().and_then(|queue| queue.consumer.as_ref()) {
        consumer.measure();
    }
    let free = app.memory.available_permits();
    app.metrics.body_memory_is(app.memory_kib.saturating_sub(free).saturating_mul(1_024));
    app.metrics.answer_memory_is(app.room.taken());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], app.metrics.text()).into_response()
}

/// A method that the route does not have. What it has stands in `Allow`, which the router adds.
async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(Kind::MethodNotAllowed, "see the Allow header").into_response()
}

/// The panic's own text goes to the log only by the panic hook: it may hold anything.
fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(Kind::Internal, "a fault of the service, which its log tells of").into_response()
}

/// The workspace that a path names, and the item in it.
struct InWorkspace {
    workspace: Workspace,
    item: String,
}

impl<S: Send + Sync> FromRequestParts<S> for InWorkspace {
    type Rejection = Problem;

    /// A name that no workspace can have names no workspace: 404, like any that is not there.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let not_found = auth::no_workspace;
        let Path(mut params) = Path::<BTreeMap<String, String>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Kind::NotFound, "the path is not UTF-8"))?;
        let name = params.remove("workspace").ok_or_else(not_found)?;
        Ok(Self {
            workspace: Workspace::new(&name).map_err(|_| not_found())?,
            // No route has more than one.
            item: params.into_values().next().unwrap_or_default(),
        })
    }
}

/// Whether the client asks for the bare note instead of JSON.
fn wants_text(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .find(|range| matches!(*range, "text/plain" | "application/json" | "*/*"))
        == Some("text/plain")
}

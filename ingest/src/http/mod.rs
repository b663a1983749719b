//! The edge: HTTP in, problems and receipts out.
//!
//! Here: the routes; [`error`] (the one table from refusals to status codes), `submit` (what
//! records), `read` (what shows), `answer` (the shapes of answers), `listen` (connections and their
//! time limits). Not here: any decision about a submission (see [`crate::accept`],
//! [`crate::chain`]).

mod answer;
pub mod error;
pub mod listen;
mod read;
mod submit;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use ledger::names::{Origin, Workspace};
use ledger::note::{NoteSigner, VerifierKey};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use crate::accept::Limits;
use crate::chain::{Probe, Writer};
use error::{Kind, Problem};

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
    /// Connections made by [`crate::store::readers`].
    pub readers: PgPool,
    /// Records submissions.
    pub writer: Writer,
    /// Is told of every step.
    pub probe: Arc<dyn Probe>,
    /// Memory for bodies, in KiB: a permit is taken before a body is read.
    pub memory: Arc<Semaphore>,
    /// Processors for checking submissions: so many at once, the others wait.
    pub processors: Semaphore,
}

/// The routes.
pub fn router(app: Arc<App>) -> Router {
    let body_limit = DefaultBodyLimit::max(app.limits.max_body_bytes());
    Router::new()
        .route("/v1/ledger", get(read::ledger))
        .route("/v1/workspaces", post(submit::create))
        .route("/v1/workspaces/{workspace}/keys", post(submit::set_key).get(read::keys))
        .route("/v1/workspaces/{workspace}/events", post(submit::record))
        .route("/v1/workspaces/{workspace}/events/{item}", get(read::event))
        .route("/v1/workspaces/{workspace}/submissions/{item}", get(read::submission))
        .route("/v1/workspaces/{workspace}/head", get(read::head))
        .route("/v1/workspaces/{workspace}/entries", get(read::entries))
        .route("/healthz", get(read::healthz))
        .route("/readyz", get(read::readyz))
        .fallback(async || Problem::new(Kind::NotFound, "there is no such route"))
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::MethodNotAllowed, "see the Allow header")
        })
        .layer(body_limit)
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(app)
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
        let not_found = || Problem::new(Kind::NoWorkspace, "no workspace has such a name");
        let Path(mut params) = Path::<BTreeMap<String, String>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Kind::NotFound, "the path is not UTF-8"))?;
        let name = params.remove("workspace").ok_or_else(not_found)?;
        Ok(Self {
            workspace: Workspace::new(&name).map_err(|_| not_found())?,
            item: params.remove("item").unwrap_or_default(),
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

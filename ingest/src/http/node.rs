//! What a consumer that runs alone answers to: who watches it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use ledger::names::Origin;
use serde_json::json;
use sqlx::PgPool;

use super::error::{Kind, Problem};
use super::ready;
use crate::metrics::{self, Metrics};
use crate::queue::{Consumer, Queue};
use crate::store;

/// How long the database and the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A consumer, for those who watch it.
pub struct Node {
    /// The ledger.
    pub origin: Origin,
    /// Connections made by [`crate::store::readers`].
    pub readers: PgPool,
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// The consumer.
    pub consumer: Arc<Consumer>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The routes.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/healthz", get(ready::healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures))
        .fallback(async || Problem::new(Kind::NotFound, "/healthz, /readyz and /metrics are here"))
        .with_state(node)
}

async fn figures(State(node): State<Arc<Node>>) -> Response {
    faults(&node).await;
    node.consumer.measure();
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], node.metrics.text()).into_response()
}

/// What is in the way, each with what it is of.
async fn faults(node: &Node) -> Vec<(&'static str, String)> {
    let asked = tokio::time::timeout(PATIENCE, store::check(&node.readers, &node.origin));
    let (database, queue) = tokio::join!(asked, node.queue.check(PATIENCE));
    let is_up = matches!(database, Ok(Ok(())));
    node.metrics.database_is(is_up);
    node.metrics.broker().is(queue.is_ok());
    let database = (!is_up).then(|| {
        if let Ok(Err(error)) = database {
            tracing::warn!(%error, "not ready");
        }
        ("database", "it does not answer, or not as it should".to_owned())
    });
    let queue = queue.err().map(|detail| ("queue", detail));
    let partitions = node.consumer.faults().into_iter().map(|fault| ("queue", fault));
    database.into_iter().chain(queue).chain(partitions).collect()
}

async fn readyz(State(node): State<Arc<Node>>) -> Response {
    let faults = faults(&node).await;
    if faults.is_empty() {
        return Json(json!({ "ready": true })).into_response();
    }
    let told: Vec<String> = faults.iter().map(|(of, fault)| format!("{of}: {fault}")).collect();
    let mut response = Problem::new(Kind::NotReady, told.join("; ")).into_response();
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

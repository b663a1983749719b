//! Tokens of readers: made, listed and revoked by administrators.
//!
//! Here: the three routes. A token is in force, or out of force, only once it is on record who made
//! it so: the transaction is committed after the act. Not here: what a token is (see
//! [`crate::access::token`]).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ledger::names::Workspace;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, Transaction};
use utoipa::ToSchema;

use super::auth::{Admin, no_workspace};
use super::error::{Kind, Problem};
use super::{App, InWorkspace};
use crate::access::token::{Secret, TokenId};
use crate::store::access::{self, Token};
use crate::store::{StoreError, read};

/// Largest body, in bytes.
const BODY_BYTES: usize = 4_096;
/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(10);
/// Longest name of a token, in bytes.
const NAME_BYTES: usize = 128;

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// Whose it is, in words: 1 to 128 bytes.
    name: String,
}

/// A token of a reader.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenAnswer {
    /// Its public name.
    id: String,
    /// The workspace that it reads.
    workspace: String,
    /// Whose it is, in words.
    name: String,
    /// The token itself: shown when it is made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// When it was made.
    created_at: String,
    /// Who made it.
    created_by: String,
    /// When it was revoked; null while it is in force.
    revoked_at: Option<String>,
    /// Who revoked it.
    revoked_by: Option<String>,
}

/// The tokens of a workspace.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(super) struct TokensAnswer {
    /// The oldest first, revoked ones too.
    tokens: Vec<TokenAnswer>,
}

impl TokenAnswer {
    fn new(token: Token, secret: Option<&Secret>) -> Self {
        let (revoked_at, revoked_by) = token.revoked.unzip();
        Self {
            id: token.id.to_string(),
            workspace: token.workspace.to_string(),
            name: token.name,
            token: secret.map(|secret| secret.reveal().to_owned()),
            created_at: token.created_at.to_string(),
            created_by: token.created_by,
            revoked_at: revoked_at.map(|at| at.to_string()),
            revoked_by,
        }
    }
}

/// What an act came to: nothing of it holds before it is on record.
struct Done {
    answer: Response,
    /// The token it was about.
    item: Option<String>,
    /// What was changed and is not yet committed.
    change: Option<Transaction<'static, Postgres>>,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    admin: Admin,
    InWorkspace { workspace, .. }: InWorkspace,
    request: Request,
) -> Result<Response, Problem> {
    let done = make(&app, &admin, workspace, request).await;
    finish(app, admin, done).await
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    InWorkspace { workspace, .. }: InWorkspace,
) -> Result<Response, Problem> {
    let done = show(&app, workspace).await;
    finish(app, admin, done).await
}

pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    admin: Admin,
    InWorkspace { workspace, item }: InWorkspace,
) -> Result<Response, Problem> {
    let done = end(&app, &admin, workspace, &item).await;
    finish(app, admin, done).await
}

/// Records what became of an act, and then lets it hold; both, though its client hangs up between.
async fn finish(
    app: Arc<App>,
    admin: Admin,
    done: Result<Done, Problem>,
) -> Result<Response, Problem> {
    match tokio::spawn(async move { conclude(&app, admin, done).await }).await {
        Ok(answer) => answer,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn conclude(
    app: &App,
    admin: Admin,
    done: Result<Done, Problem>,
) -> Result<Response, Problem> {
    let (mut answer, item, change) = match done {
        Ok(Done { answer, item, change }) => (answer, item, change),
        Err(problem) => (problem.into_response(), None, None),
    };
    admin.record(app, item, answer.status()).await?;
    if let Some(change) = change {
        change.commit().await.map_err(StoreError::from)?;
    }
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

async fn make(
    app: &App,
    admin: &Admin,
    workspace: Workspace,
    request: Request,
) -> Result<Done, Problem> {
    let name = name(request).await?;
    is_there(app, &workspace).await?;
    let (id, secret) = Secret::reader().map_err(|error| {
        tracing::error!(%error, "no token was made");
        Problem::new(Kind::Internal, error.to_string())
    })?;
    let token = Token {
        id,
        workspace,
        name,
        hash: secret.hash(),
        created_at: app.clock.now(),
        created_by: admin.actor.clone(),
        revoked: None,
    };
    let mut change = app.registrars.begin().await.map_err(StoreError::from)?;
    access::add_token(&mut change, &token).await?;
    let item = Some(token.id.to_string());
    let answer = (StatusCode::CREATED, Json(TokenAnswer::new(token, Some(&secret))));
    Ok(Done { answer: answer.into_response(), item, change: Some(change) })
}

/// Reads the name of a new token.
async fn name(request: Request) -> Result<String, Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let essence = content_type.and_then(|value| value.to_str().ok()?.split(';').next());
    if !essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json")) {
        let detail = "this route takes application/json";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let body = tokio::time::timeout(BODY, to_bytes(request.into_body(), BODY_BYTES)).await;
    let too_late = |_| Problem::new(Kind::RequestTimeout, "the body took too long to arrive");
    let body = body.map_err(too_late)?.map_err(|_| {
        Problem::new(Kind::TooLarge, format!("a body has at most {BODY_BYTES} bytes here"))
    })?;
    let bad = |detail: String| Problem::new(Kind::BadRequest, detail);
    let NewToken { name } = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is not of the form {{\"name\": ...}}: {error}")))?;
    if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
        let detail = format!("`name` has 1 to {NAME_BYTES} bytes and no control characters");
        return Err(bad(detail));
    }
    Ok(name)
}

async fn show(app: &App, workspace: Workspace) -> Result<Done, Problem> {
    is_there(app, &workspace).await?;
    let tokens = access::tokens(&app.readers, &workspace).await?;
    let tokens = tokens.into_iter().map(|token| TokenAnswer::new(token, None)).collect();
    let answer = Json(TokensAnswer { tokens }).into_response();
    Ok(Done { answer, item: None, change: None })
}

/// Revokes a token; one that is revoked already stays as it is.
async fn end(app: &App, admin: &Admin, workspace: Workspace, item: &str) -> Result<Done, Problem> {
    let not_found = || Problem::new(Kind::NotFound, "the workspace has no token of this id");
    let id = TokenId::parse(item).ok_or_else(not_found)?;
    let mut connection = app.readers.acquire().await.map_err(StoreError::from)?;
    let token = access::token(&mut connection, &id).await?;
    drop(connection);
    let token = token.filter(|token| token.workspace == workspace).ok_or_else(not_found)?;
    let mut change = app.registrars.begin().await.map_err(StoreError::from)?;
    let now = (app.clock.now(), admin.actor.as_str());
    let is_new = access::revoke_token(&mut change, &workspace, &id, now).await?;
    let revoked = if is_new { Some((now.0, now.1.to_owned())) } else { token.revoked.clone() };
    let answer = Json(TokenAnswer::new(Token { revoked, ..token }, None)).into_response();
    Ok(Done { answer, item: Some(id.to_string()), change: Some(change) })
}

/// Administrators may know which workspaces there are. The ledger's own is, or will be.
async fn is_there(app: &App, workspace: &Workspace) -> Result<(), Problem> {
    if workspace == app.acts.workspace() {
        return Ok(());
    }
    read::head(&app.readers, workspace).await?.map(|_| ()).ok_or_else(no_workspace)
}

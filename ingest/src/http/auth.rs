//! Who asks: bearer tokens of readers and administrators, and the record of what they asked.
//!
//! Here: what stands before every route that shows a workspace ([`reading`]), who administers
//! ([`Admin`]), and what both leave on record. Who may not know whether a workspace is there is told
//! the same, by the same work, whether it is or not. Not here: what tokens are (see
//! [`crate::access`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ledger::chain::Refusal;
use ledger::key::PublicKey;
use ledger::names::Workspace;

use super::App;
use super::crowd::Turn;
use super::error::{Kind, Problem};
use super::rate::Caller;
use crate::accept::Submission;
use crate::access::acts::{ACT, READ, REQUESTED};
use crate::access::token::{TokenHash, TokenId};
use crate::access::{Act, ActError};
use crate::chain::{Refused, WriteError};
use crate::store::access::Token;

/// Longest item of a path that is taken for one, in bytes: an event id or a submission hash.
const ITEM_BYTES: usize = 64;

/// There is no such workspace, or it is none of the caller's business whether there is.
pub(super) fn no_workspace() -> Problem {
    Problem::new(Kind::NoWorkspace, "there is no such workspace")
}

fn unauthorized(what: &str) -> Problem {
    Problem::new(Kind::Unauthorized, format!("this needs `Authorization: Bearer` and {what}"))
}

/// The token of a request that has one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Lets a request through to what shows a workspace if its token is for that workspace, and has it
/// recorded that it was let through or not: the answer is given after that.
pub(super) async fn reading(
    State(app): State<Arc<App>>,
    route: MatchedPath,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let reader = reader(&app, request.headers()).await?;
    Turn::of(request.extensions()).inspect(Turn::proves);
    app.read_rate.ask(&Caller::Token(reader.id.clone()), 1)?;
    let (mut parts, body) = request.into_parts();
    let named = Named::in_path(&mut parts, &app).await;
    let (method, query) = (parts.method.clone(), parts.uri.query().map(str::to_owned));
    // Nothing is looked up of a workspace that is not the reader's: it may be there or not.
    let response = if named.workspace.as_ref() == Some(&reader.workspace) {
        next.run(Request::from_parts(parts, body)).await
    } else {
        no_workspace().into_response()
    };
    let status = response.status();
    // A query is only known to be one, and not a secret that was put there, if it was answered.
    let actor = format!("reader:{}", reader.id);
    let act = named.act(READ, actor, &method, &route);
    let item = act.item.clone().or(query.filter(|_| status.is_success()));
    record(&app, Act { item, ..act }, status).await?;
    Ok(response)
}

/// The reader's token of a request, in force.
async fn reader(app: &App, headers: &HeaderMap) -> Result<Token, Problem> {
    let refused = || unauthorized("a token of the workspace: see `tally-ingest token`");
    let text = bearer(headers).ok_or_else(refused)?;
    let id = TokenId::of_token(text).ok_or_else(refused)?;
    let token = app.porter.token(&id).await?;
    let hash = token.as_ref().map_or(TokenHash::NONE, |token| token.hash);
    let is_it = hash.is_of(text);
    token.filter(|token| is_it && token.revoked.is_none()).ok_or_else(refused)
}

async fn record(app: &App, act: Act, status: StatusCode) -> Result<(), Problem> {
    let status = (status.as_str().to_owned(), Some(!is_failure(status)));
    Ok(app.acts.record(Act { status: status.0, success: status.1, ..act }).await?)
}

fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// What a path names.
struct Named {
    /// The workspace; none where no workspace can have that name.
    workspace: Option<Workspace>,
    /// What in it, as far as it looks like an item.
    item: Option<String>,
}

impl Named {
    async fn in_path(parts: &mut Parts, app: &Arc<App>) -> Self {
        let found = Path::<BTreeMap<String, String>>::from_request_parts(parts, app).await;
        let mut found = match found {
            Ok(Path(found)) => found,
            // What is not UTF-8 may be the item alone, as in `/v1/workspaces/acme/events/%ff`.
            Err(_) => {
                let name = parts.uri.path().split('/').nth(3).unwrap_or_default();
                BTreeMap::from([("workspace".to_owned(), name.to_owned())])
            }
        };
        let workspace = found.remove("workspace").and_then(|name| Workspace::new(&name).ok());
        // What looks like none may be anything, a token that was put there by mistake too.
        let is_item = |text: &String| {
            text.len() <= ITEM_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        };
        Self { workspace, item: found.into_values().next().filter(is_item) }
    }

    fn act(
        &self,
        event_type: &'static str,
        actor: String,
        method: &Method,
        route: &MatchedPath,
    ) -> Act {
        Act {
            event_type,
            actor,
            route: format!("{method} {}", route.as_str()),
            workspace: self.workspace.as_ref().map(ToString::to_string),
            item: self.item.clone(),
            status: REQUESTED.to_owned(),
            success: None,
        }
    }
}

/// An administrator, and what they ask for.
pub(super) struct Admin {
    /// Who: `admin:` and the name in the settings.
    pub(super) actor: String,
    act: Act,
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let holder = bearer(&parts.headers).and_then(|token| app.admins.holder(token));
        let holder = holder.ok_or_else(|| {
            unauthorized("the token of an administrator: see `tally-ingest admin-token`")
        })?;
        Turn::of(&parts.extensions).inspect(Turn::proves);
        let actor = format!("admin:{holder}");
        let route = MatchedPath::from_request_parts(parts, app)
            .await
            .map_err(|_| Problem::new(Kind::Internal, "the route has no name"))?;
        let named = Named::in_path(parts, app).await;
        let act = named.act(ACT, actor.clone(), &parts.method, &route);
        Ok(Self { actor, act })
    }
}

impl Admin {
    /// Records what became of it.
    pub(super) async fn record(
        self,
        app: &App,
        item: Option<String>,
        status: StatusCode,
    ) -> Result<(), Problem> {
        let item = item.or(self.act.item.clone());
        record(app, Act { item, ..self.act }, status).await
    }

    /// Records that a workspace is about to be created: before it is, so that none is ever there of
    /// which nobody knows who let it in. What became of it stands in its own chain.
    pub(super) async fn creates(self, app: &App, submission: &Submission) -> Result<(), Problem> {
        let workspace = &submission.workspace;
        if workspace == app.acts.workspace() {
            let detail = format!("`{workspace}` is the ledger's own: it opens it by itself");
            return Err(Problem::new(Kind::WorkspaceExists, detail));
        }
        let (workspace, item) = (workspace.to_string(), submission.hash.to_string());
        let act = Act { workspace: Some(workspace), item: Some(item), ..self.act };
        Ok(app.acts.record(act).await?)
    }
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        let detail = "what is asked is given once it is on record, and that failed: ask again";
        match error {
            ActError::Full | ActError::Write(WriteError::Full | WriteError::Closed) => {
                Self::new(Kind::Overloaded, format!("{error}: ask again later"))
            }
            ActError::Write(error @ (WriteError::Behind | WriteError::ClockApart)) => error.into(),
            ActError::Write(WriteError::Refused(Refused::Clock(clock))) => {
                WriteError::Refused(Refused::Clock(clock)).into()
            }
            ActError::Write(WriteError::Refused(_) | WriteError::Unknown)
            | ActError::Store
            | ActError::Event(_) => Self::new(Kind::NotOnRecord, detail),
        }
    }
}

/// The same refusal for a workspace that is not there and for one that does not know the key.
pub(super) fn hide_workspace(error: WriteError, key: &PublicKey) -> WriteError {
    match error {
        WriteError::Refused(Refused::Key(refusal)) if *refusal == Refusal::NoWorkspace => {
            WriteError::Refused(Refused::Key(Box::new(Refusal::UnknownKey(*key))))
        }
        error => error,
    }
}

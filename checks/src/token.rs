//! Tokens of tests: who administers, and who reads.
//!
//! Here: one administrator whom every rig knows, and a token for each workspace that follows from
//! its name. Not here: making tokens as users do (see `checks/tests/access`).

use ingest::access::AdminTokens;
use ingest::access::admin::AdminTokenError;
use ingest::access::token::{TokenHash, TokenId};
use ingest::store::StoreError;
use ingest::store::access::{self, Token};
use ledger::hash::Digest;
use ledger::names::Workspace;
use ledger::time::Micros;
use sqlx::PgPool;

/// The administrator's token.
pub const ADMIN: &str =
    "tally_admin_0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
/// Their name.
pub const ADMIN_NAME: &str = "tester";

/// The administrator, as `--admin-token-hash` takes it.
pub fn admin_setting() -> String {
    format!("{ADMIN_NAME}={}", TokenHash::of(ADMIN))
}

/// The administrator, as a configuration takes it.
pub fn admins() -> Result<AdminTokens, AdminTokenError> {
    let hash = TokenHash::of(ADMIN).to_string();
    AdminTokens::new([(ADMIN_NAME, hash.as_str())])
}

/// The token that reads a workspace, once [`admit`] has brought it into force.
pub fn reader(workspace: &str) -> String {
    let secret = Digest::of(format!("reader of {workspace}").as_bytes()).to_string();
    let id = secret.get(..16).unwrap_or_default();
    format!("tally_reader_{id}_{secret}")
}

/// Brings the token of a workspace into force without asking the service: nothing is recorded.
pub async fn admit(pool: &PgPool, workspace: &Workspace) -> Result<(), StoreError> {
    let text = reader(workspace.as_str());
    let corrupt = StoreError::Corrupt { column: "reader_tokens.token_id" };
    let token = Token {
        id: TokenId::of_token(&text).ok_or(corrupt)?,
        workspace: workspace.clone(),
        name: "a test".to_owned(),
        hash: TokenHash::of(&text),
        created_at: Micros::EPOCH,
        created_by: ADMIN_NAME.to_owned(),
        revoked: None,
    };
    let mut connection = pool.acquire().await?;
    access::add_token(&mut connection, &token).await
}

//! Tokens of readers, keys that are known at all, and transactions that see one workspace.
//!
//! Here: one function a question. Row-level security shows a connection of the service nothing but
//! the workspace that its transaction names (`migrations/0004_access.sql`). Not here: who may ask
//! (see `http/auth.rs`).

use ledger::key::PublicKey;
use ledger::names::Workspace;
use ledger::time::Micros;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::{StoreError, digest, micros, seq};
use crate::access::token::{TokenHash, TokenId};
use crate::chain::plan::Head;

/// A token of a reader, as its row says it.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its public name.
    pub id: TokenId,
    /// The workspace that it reads.
    pub workspace: Workspace,
    /// Whose it is, in words.
    pub name: String,
    /// The digest of the token.
    pub hash: TokenHash,
    /// When it was made.
    pub created_at: Micros,
    /// Who made it.
    pub created_by: String,
    /// When and by whom it was revoked.
    pub revoked: Option<(Micros, String)>,
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    token_id: String,
    workspace: String,
    name: String,
    sha256: Vec<u8>,
    created_at: i64,
    created_by: String,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
}

impl TokenRow {
    fn read(self) -> Result<Token, StoreError> {
        let corrupt = |column| StoreError::Corrupt { column };
        let revoked_at = self.revoked_at.map(|at| micros(at, "reader_tokens.revoked_at"));
        Ok(Token {
            id: TokenId::parse(&self.token_id).ok_or(corrupt("reader_tokens.token_id"))?,
            workspace: Workspace::new(&self.workspace)
                .map_err(|_| corrupt("reader_tokens.workspace"))?,
            name: self.name,
            hash: TokenHash::new(digest(&self.sha256, "reader_tokens.sha256")?),
            created_at: micros(self.created_at, "reader_tokens.created_at")?,
            created_by: self.created_by,
            revoked: revoked_at.transpose()?.zip(self.revoked_by),
        })
    }
}

/// The token of an id.
pub async fn token(
    connection: &mut PgConnection,
    id: &TokenId,
) -> Result<Option<Token>, StoreError> {
    let row: Option<TokenRow> = sqlx::query_as(
        "SELECT token_id, workspace, name, sha256, created_at, created_by, revoked_at, revoked_by
         FROM reader_tokens WHERE token_id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    row.map(TokenRow::read).transpose()
}

/// The tokens of a workspace, the oldest first.
pub async fn tokens(pool: &PgPool, workspace: &Workspace) -> Result<Vec<Token>, StoreError> {
    let rows: Vec<TokenRow> = sqlx::query_as(
        "SELECT token_id, workspace, name, sha256, created_at, created_by, revoked_at, revoked_by
         FROM reader_tokens WHERE workspace = $1 ORDER BY created_at, token_id",
    )
    .bind(workspace.as_str())
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(TokenRow::read).collect()
}

/// Adds a token.
pub async fn add_token(connection: &mut PgConnection, token: &Token) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO reader_tokens (token_id, workspace, name, sha256, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(token.id.as_str())
    .bind(token.workspace.as_str())
    .bind(&token.name)
    .bind(token.hash.digest().as_bytes().as_slice())
    .bind(token.created_at.get())
    .bind(&token.created_by)
    .execute(connection)
    .await?;
    Ok(())
}

/// Revokes a token of a workspace, once; `false` where none of this id is in force there.
pub async fn revoke_token(
    connection: &mut PgConnection,
    workspace: &Workspace,
    id: &TokenId,
    (at, by): (Micros, &str),
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE reader_tokens SET revoked_at = $3, revoked_by = $4
         WHERE workspace = $1 AND token_id = $2 AND revoked_at IS NULL",
    )
    .bind(workspace.as_str())
    .bind(id.as_str())
    .bind(at.get())
    .bind(by)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What the database says of a key that may be new.
pub struct KeyFound {
    /// Whether the workspace has registered it, be it revoked since.
    pub is_there: bool,
    /// Heads, of those workspaces that were asked for and are there.
    pub heads: Vec<(Workspace, Head)>,
}

/// Looks for a key of a workspace, and for the heads of some workspaces, at one moment.
pub async fn find_key(
    connection: &mut PgConnection,
    workspace: &Workspace,
    key: &PublicKey,
    heads: &[&Workspace],
) -> Result<KeyFound, StoreError> {
    type Row = (bool, Option<String>, Option<i64>, Option<Vec<u8>>, Option<i64>);
    let heads: Vec<&str> = heads.iter().map(|name| name.as_str()).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM keys WHERE workspace = $1 AND public_key = $2),
                h.workspace, h.last_seq, h.link, h.recorded_at
         FROM (VALUES (1)) AS one LEFT JOIN heads h ON h.workspace = ANY ($3)",
    )
    .bind(workspace.as_str())
    .bind(key.as_bytes().as_slice())
    .bind(heads)
    .fetch_all(connection)
    .await?;
    let mut found = KeyFound { is_there: false, heads: Vec::new() };
    for (is_there, workspace, last_seq, link, recorded_at) in rows {
        found.is_there = is_there;
        let (Some(workspace), Some(last_seq), Some(link), Some(at)) =
            (workspace, last_seq, link, recorded_at)
        else {
            continue;
        };
        let corrupt = |_| StoreError::Corrupt { column: "heads.workspace" };
        let head = Head {
            last_seq: seq(last_seq, "heads.last_seq")?,
            link: digest(&link, "heads.link")?,
            recorded_at: micros(at, "heads.recorded_at")?,
        };
        found.heads.push((Workspace::new(&workspace).map_err(corrupt)?, head));
    }
    Ok(found)
}

/// A transaction that sees the records of one workspace and of no other.
pub async fn within(
    pool: &PgPool,
    workspace: &Workspace,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT set_config('tally.workspace', $1, true)")
        .bind(workspace.as_str())
        .execute(&mut *transaction)
        .await?;
    Ok(transaction)
}

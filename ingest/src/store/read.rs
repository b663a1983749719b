//! What the HTTP routes show: heads, entries, submissions, keys.
//!
//! Here: one function a question. Records never change, but for a payload that is erased or
//! archived, and a question is one statement: so an answer never mixes two states. Not here: how answers look (see [`crate::http`]).

use ledger::chain::{KeyRecord, Role};
use ledger::hash::Digest;
use ledger::key::PublicKey;
use ledger::names::{EventId, Seq, Workspace};
use sqlx::PgPool;
use uuid::Uuid;

use super::access::within;
use super::write::{KeyRow, recorded};
use super::{StoreError, digest, micros, seq};
use crate::chain::plan::{Head, Recorded};

/// Most bytes of payload in one answer, beyond its first entry.
pub const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// An entry with what its submission states, as its row says it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct EntryRow {
    /// Place in the chain.
    pub seq: i64,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// The event's UUID.
    pub event_id: Uuid,
    /// The exact bytes that the agent sent; none where they are erased or archived.
    pub payload: Option<Vec<u8>>,
    /// The seq of the entry that erased them.
    pub erased_by: Option<i64>,
    /// Whether they are in the archive alone, or were before they were erased.
    pub archived: bool,
    /// `H(payload)`.
    pub payload_digest: Vec<u8>,
    /// `link(seq)`.
    pub link: Vec<u8>,
    /// The first seq of its submission.
    pub first_seq: i64,
    /// Events in its submission.
    pub event_count: i16,
    /// The name of its submission.
    pub submission_hash: Vec<u8>,
    /// The agent's own count.
    pub counter: i64,
    /// Who signed.
    pub public_key: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl EntryRow {
    /// Whether the payload is there, in the archive alone.
    pub fn is_in_archive(&self) -> bool {
        self.archived && self.erased_by.is_none()
    }
}

/// The newest entry of a workspace; `None` where there is no such workspace.
pub async fn head(pool: &PgPool, workspace: &Workspace) -> Result<Option<Head>, StoreError> {
    let mut transaction = within(pool, workspace).await?;
    let row: Option<(i64, Vec<u8>, i64)> =
        sqlx::query_as("SELECT last_seq, link, recorded_at FROM heads WHERE workspace = $1")
            .bind(workspace.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
    row.map(|(last_seq, link, recorded_at)| {
        Ok(Head {
            last_seq: seq(last_seq, "heads.last_seq")?,
            link: digest(&link, "heads.link")?,
            recorded_at: micros(recorded_at, "heads.recorded_at")?,
        })
    })
    .transpose()
}

/// How far a workspace goes, 0 where it is not there; and the link of one of its entries, where the
/// entry or its head is there.
pub async fn sealed(
    pool: &PgPool,
    workspace: &Workspace,
    seq: Seq,
) -> Result<(u64, Option<Digest>), StoreError> {
    let Some(head) = head(pool, workspace).await? else {
        return Ok((0, None));
    };
    if head.last_seq == seq {
        return Ok((seq.get(), Some(head.link)));
    }
    let mut transaction = within(pool, workspace).await?;
    let link: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT link FROM entries WHERE workspace = $1 AND seq = $2")
            .bind(workspace.as_str())
            .bind(seq.get().cast_signed())
            .fetch_optional(&mut *transaction)
            .await?;
    let link = link.map(|link| digest(&link, "entries.link")).transpose()?;
    Ok((head.last_seq.get(), link))
}

/// Where a submission lies.
pub async fn submission(
    pool: &PgPool,
    workspace: &Workspace,
    hash: &Digest,
) -> Result<Option<Recorded>, StoreError> {
    let mut transaction = within(pool, workspace).await?;
    let row: Option<(i64, i16, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT first_seq, event_count, recorded_at, last_link FROM submissions
         WHERE workspace = $1 AND submission_hash = $2",
    )
    .bind(workspace.as_str())
    .bind(hash.as_bytes().as_slice())
    .fetch_optional(&mut *transaction)
    .await?;
    row.map(|(first, count, at, link)| recorded(first, count, at, &link)).transpose()
}

/// The entry of an event.
pub async fn event(
    pool: &PgPool,
    workspace: &Workspace,
    event_id: EventId,
) -> Result<Option<EntryRow>, StoreError> {
    let mut transaction = within(pool, workspace).await?;
    let row = sqlx::query_as(
        "SELECT e.seq, e.recorded_at, e.event_id, e.payload, e.erased_by, e.archived,
                e.payload_digest, e.link, s.first_seq, s.event_count, s.submission_hash, s.counter,
                s.public_key, s.signature
         FROM entries e
         CROSS JOIN LATERAL (SELECT * FROM submissions s
                             WHERE s.workspace = e.workspace AND s.first_seq <= e.seq
                               AND s.recorded_at = e.recorded_at
                             ORDER BY s.first_seq DESC LIMIT 1) s
         WHERE e.workspace = $1 AND e.event_id = $2",
    )
    .bind(workspace.as_str())
    .bind(Uuid::from_bytes(*event_id.as_bytes()))
    .fetch_optional(&mut *transaction)
    .await?;
    Ok(row)
}

/// Up to `limit` entries from `from` on, in order; fewer where their payloads are large.
pub async fn entries(
    pool: &PgPool,
    workspace: &Workspace,
    from: Seq,
    limit: u16,
) -> Result<Vec<EntryRow>, StoreError> {
    let mut transaction = within(pool, workspace).await?;
    let first = from.get().cast_signed();
    let last = first.saturating_add(i64::from(limit) - 1);
    let rows = sqlx::query_as(
        "SELECT e.seq, e.recorded_at, e.event_id, e.payload, e.erased_by, e.archived,
                e.payload_digest, e.link, s.first_seq, s.event_count, s.submission_hash, s.counter,
                s.public_key, s.signature
         FROM (SELECT *, sum(coalesce(octet_length(payload), 0)) OVER (ORDER BY seq) AS bytes
               FROM entries WHERE workspace = $1 AND seq BETWEEN $2 AND $3) e
         CROSS JOIN LATERAL (SELECT * FROM submissions s
                             WHERE s.workspace = e.workspace AND s.first_seq <= e.seq
                               AND s.recorded_at = e.recorded_at
                             ORDER BY s.first_seq DESC LIMIT 1) s
         WHERE e.bytes <= $4 OR e.seq = $2
         ORDER BY e.seq",
    )
    .bind(workspace.as_str())
    .bind(first)
    .bind(last)
    .bind(i64::try_from(PAGE_BYTES).unwrap_or(i64::MAX))
    .fetch_all(&mut *transaction)
    .await?;
    Ok(rows)
}

/// The keys of a workspace, in byte order.
pub async fn keys(
    pool: &PgPool,
    workspace: &Workspace,
) -> Result<Vec<(PublicKey, KeyRecord)>, StoreError> {
    let mut transaction = within(pool, workspace).await?;
    let rows: Vec<KeyRow> = sqlx::query_as(
        "SELECT workspace, public_key, role, actor_id, registered_seq, revoked_seq,
                compromised_since, highest_counter
         FROM keys WHERE workspace = $1 ORDER BY public_key",
    )
    .bind(workspace.as_str())
    .fetch_all(&mut *transaction)
    .await?;
    rows.into_iter().map(KeyRow::read).collect()
}

/// How many keys a workspace has registered.
pub async fn key_count(pool: &PgPool, workspace: &Workspace) -> Result<usize, StoreError> {
    let mut transaction = within(pool, workspace).await?;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM keys WHERE workspace = $1")
        .bind(workspace.as_str())
        .fetch_one(&mut *transaction)
        .await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// As what a workspace has registered a key, be it revoked since.
pub async fn role(
    pool: &PgPool,
    workspace: &Workspace,
    key: &PublicKey,
) -> Result<Option<Role>, StoreError> {
    let mut transaction = within(pool, workspace).await?;
    let role: Option<String> =
        sqlx::query_scalar("SELECT role FROM keys WHERE workspace = $1 AND public_key = $2")
            .bind(workspace.as_str())
            .bind(key.as_bytes().as_slice())
            .fetch_optional(&mut *transaction)
            .await?;
    let read = |role: String| Role::parse(&role).ok_or(StoreError::Corrupt { column: "keys.role" });
    role.map(read).transpose()
}

/// Whether the database answers.
pub async fn ping(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

//! How far each partition of the queue is recorded, and what of it was refused.
//!
//! Here: one function a statement. Not here: what is recorded beside it in the same transaction (see
//! [`crate::chain::commit`]), and who has a partition (see [`crate::queue::consume`]).

use bytes::Bytes;
use ledger::hash::Digest;
use ledger::names::Workspace;
use ledger::time::Micros;
use sqlx::{PgConnection, PgPool};

use super::access::within;
use super::write::recorded;
use super::{StoreError, digest, micros};
use crate::chain::days::DAY;
use crate::chain::plan::Recorded;
use crate::queue::letter::KeptLetter;
use crate::queue::track::Taken;
use crate::queue::{Letter, Position};

/// A claim on a partition: it holds until somebody else makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The queue's name.
    pub queue: String,
    /// The partition.
    pub partition: i32,
    /// Which claim on it this is.
    pub epoch: i64,
}

/// Claims a partition, and gives how far it is recorded. Waits for a transaction that goes on with it
/// under the claim before, which is the last one that can.
pub async fn claim(
    pool: &PgPool,
    queue: &str,
    partition: i32,
    owner: &str,
    now: Micros,
) -> Result<(Claim, Option<Taken>), StoreError> {
    let (epoch, major, minor, digest): (i64, Option<i64>, Option<i64>, Option<Vec<u8>>) =
        sqlx::query_as(
            "INSERT INTO queue_positions AS p (queue, partition, epoch, owner, claimed_at)
             VALUES ($1, $2, 1, $3, $4)
             ON CONFLICT (queue, partition) DO UPDATE
             SET epoch = p.epoch + 1, owner = excluded.owner, claimed_at = excluded.claimed_at
             RETURNING epoch, major, minor, digest",
        )
        .bind(queue)
        .bind(partition)
        .bind(owner)
        .bind(now.get())
        .fetch_one(pool)
        .await?;
    let claim = Claim { queue: queue.to_owned(), partition, epoch };
    Ok((claim, taken(major, minor, digest)?))
}

fn taken(
    major: Option<i64>,
    minor: Option<i64>,
    known: Option<Vec<u8>>,
) -> Result<Option<Taken>, StoreError> {
    let known = known.map(|known| digest(&known, "queue_positions.digest")).transpose()?;
    Ok(major.zip(minor).map(|(major, minor)| (Position { major, minor }, known)))
}

/// Holds the row of a claim to the end of the transaction, and gives how far the partition is recorded.
/// Fails where somebody else has made a claim since.
pub async fn hold(
    connection: &mut PgConnection,
    claim: &Claim,
) -> Result<Option<Position>, StoreError> {
    let row: Option<(Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT major, minor FROM queue_positions
         WHERE queue = $1 AND partition = $2 AND epoch = $3 FOR UPDATE",
    )
    .bind(&claim.queue)
    .bind(claim.partition)
    .bind(claim.epoch)
    .fetch_optional(connection)
    .await?;
    let (major, minor) = row.ok_or_else(|| StoreError::ClaimedAnew {
        queue: claim.queue.clone(),
        partition: claim.partition,
    })?;
    Ok(major.zip(minor).map(|(major, minor)| Position { major, minor }))
}

/// Moves the position on: `to` is the last message that was taken, `digest` its bytes'.
pub async fn advance(
    connection: &mut PgConnection,
    claim: &Claim,
    to: Position,
    digest: &Digest,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE queue_positions SET major = $4, minor = $5, digest = $6
         WHERE queue = $1 AND partition = $2 AND epoch = $3",
    )
    .bind(&claim.queue)
    .bind(claim.partition)
    .bind(claim.epoch)
    .bind(to.major)
    .bind(to.minor)
    .bind(digest.as_bytes().as_slice())
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps what was refused.
pub async fn keep(
    connection: &mut PgConnection,
    claim: &Claim,
    letters: &[Letter],
) -> Result<(), StoreError> {
    for letter in letters {
        sqlx::query(
            "INSERT INTO dead_letters (queue, partition, major, minor, workspace, submission_hash,
                 refused_at, kind, problem, headers, value, value_bytes, value_sha256)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(&claim.queue)
        .bind(claim.partition)
        .bind(letter.position.major)
        .bind(letter.position.minor)
        .bind(&letter.workspace)
        .bind(letter.submission.as_ref().map(|hash| hash.as_bytes().as_slice()))
        .bind(letter.refused_at.get())
        .bind(letter.kind)
        .bind(&letter.problem)
        .bind(&letter.headers)
        .bind(letter.value.as_deref())
        .bind(i64::try_from(letter.value_bytes).unwrap_or(i64::MAX))
        .bind(letter.value_sha256.as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// A statement that reads a [`LetterRow`].
macro_rules! letter_sql {
    ($rest:literal) => {
        concat!(
            "SELECT id, queue, partition, major, minor, workspace, submission_hash, refused_at,
                 kind, problem, headers, value, value_bytes, value_sha256, sent_at, retried_at
             FROM dead_letters ",
            $rest
        )
    };
}

#[derive(sqlx::FromRow)]
struct LetterRow {
    id: i64,
    queue: String,
    partition: i32,
    major: i64,
    minor: i64,
    workspace: Option<String>,
    submission_hash: Option<Vec<u8>>,
    refused_at: i64,
    kind: String,
    problem: String,
    headers: String,
    value: Option<Vec<u8>>,
    value_bytes: i64,
    value_sha256: Vec<u8>,
    sent_at: Option<i64>,
    retried_at: Option<i64>,
}

impl LetterRow {
    fn read(self) -> Result<KeptLetter, StoreError> {
        let hash = self.submission_hash.map(|hash| digest(&hash, "dead_letters.submission_hash"));
        let sent_at = self.sent_at.map(|at| micros(at, "dead_letters.sent_at"));
        let retried_at = self.retried_at.map(|at| micros(at, "dead_letters.retried_at"));
        Ok(KeptLetter {
            id: self.id,
            queue: self.queue,
            partition: self.partition,
            position: Position { major: self.major, minor: self.minor },
            workspace: self.workspace,
            submission: hash.transpose()?,
            refused_at: micros(self.refused_at, "dead_letters.refused_at")?,
            kind: self.kind,
            problem: self.problem,
            headers: self.headers,
            value: self.value.map(Bytes::from),
            value_bytes: self.value_bytes,
            value_sha256: digest(&self.value_sha256, "dead_letters.value_sha256")?,
            sent_at: sent_at.transpose()?,
            retried_at: retried_at.transpose()?,
        })
    }
}

/// Letters that are not on the dead-letter topic yet, the oldest first. Others who ask meanwhile get
/// others: the rows are held to the end of the transaction.
pub async fn unsent(
    connection: &mut PgConnection,
    most: i64,
) -> Result<Vec<KeptLetter>, StoreError> {
    let rows: Vec<LetterRow> = sqlx::query_as(letter_sql!(
        "WHERE sent_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"
    ))
    .bind(most)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(LetterRow::read).collect()
}

/// Notes that a letter is on the dead-letter topic.
pub async fn sent(connection: &mut PgConnection, id: i64, at: Micros) -> Result<(), StoreError> {
    sqlx::query("UPDATE dead_letters SET sent_at = $2 WHERE id = $1")
        .bind(id)
        .bind(at.get())
        .execute(connection)
        .await?;
    Ok(())
}

/// Which letters are asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this workspace alone.
    pub workspace: Option<Workspace>,
    /// Those that were not put on the queue again.
    pub is_open: bool,
    /// With a greater number than this.
    pub after: i64,
    /// Most of them.
    pub most: i64,
}

/// Letters, the oldest first.
pub async fn letters(pool: &PgPool, wanted: &Wanted) -> Result<Vec<KeptLetter>, StoreError> {
    let rows: Vec<LetterRow> = sqlx::query_as(letter_sql!(
        "WHERE id > $1 AND ($2::text IS NULL OR workspace = $2) AND NOT ($3 AND retried_at IS NOT NULL)
         ORDER BY id LIMIT $4"
    ))
    .bind(wanted.after)
    .bind(wanted.workspace.as_ref().map(Workspace::as_str))
    .bind(wanted.is_open)
    .bind(wanted.most)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(LetterRow::read).collect()
}

/// The letter of a number.
pub async fn letter(pool: &PgPool, id: i64) -> Result<Option<KeptLetter>, StoreError> {
    let row: Option<LetterRow> =
        sqlx::query_as(letter_sql!("WHERE id = $1")).bind(id).fetch_optional(pool).await?;
    row.map(LetterRow::read).transpose()
}

/// Notes that a letter was put on the queue again.
pub async fn retried(pool: &PgPool, id: i64, at: Micros) -> Result<(), StoreError> {
    sqlx::query("UPDATE dead_letters SET retried_at = $2 WHERE id = $1")
        .bind(id)
        .bind(at.get())
        .execute(pool)
        .await?;
    Ok(())
}

/// The newest refusal of a submission that was not put on the queue again since: the problem as JSON.
pub async fn refusal(
    pool: &PgPool,
    workspace: &Workspace,
    hash: &Digest,
) -> Result<Option<String>, StoreError> {
    let mut transaction = within(pool, workspace).await?;
    let problem = sqlx::query_scalar(
        "SELECT problem FROM dead_letters
         WHERE workspace = $1 AND submission_hash = $2 AND retried_at IS NULL
         ORDER BY id DESC LIMIT 1",
    )
    .bind(workspace.as_str())
    .bind(hash.as_bytes().as_slice())
    .fetch_optional(&mut *transaction)
    .await?;
    Ok(problem)
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is recorded.
    Recorded(Recorded),
    /// The chain refused it: the problem as JSON.
    Refused(String),
}

#[derive(sqlx::FromRow)]
struct OutcomeRow {
    at: i64,
    first_seq: Option<i64>,
    event_count: Option<i16>,
    recorded_at: Option<i64>,
    last_link: Option<Vec<u8>>,
    problem: Option<String>,
}

/// A submission that somebody asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The workspace.
    pub workspace: Workspace,
    /// The submission.
    pub hash: Digest,
    /// Refusals before that are of an earlier try (microseconds since 1970).
    pub refused_since: i64,
    /// Days before that were looked into (microseconds since 1970).
    pub recorded_since: i64,
}

impl Asked {
    /// It was not recorded in any day when it was asked for: from now on the newest are enough.
    pub fn was_not_there(&mut self) {
        self.recorded_since = self.refused_since.saturating_sub(DAY);
    }
}

/// What became of those submissions that something became of, each with its place in `asked`.
pub async fn outcomes(
    pool: &PgPool,
    asked: &[&Asked],
) -> Result<Vec<(usize, Outcome)>, StoreError> {
    let names: Vec<&str> = asked.iter().map(|asked| asked.workspace.as_str()).collect();
    let hashes: Vec<&[u8]> = asked.iter().map(|asked| asked.hash.as_bytes().as_slice()).collect();
    let refused: Vec<i64> = asked.iter().map(|asked| asked.refused_since).collect();
    let recorded: Vec<i64> = asked.iter().map(|asked| asked.recorded_since).collect();
    let rows: Vec<OutcomeRow> = sqlx::query_as(
        "SELECT q.at, s.first_seq, s.event_count, s.recorded_at, s.last_link, d.problem
         FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
              AS q (workspace, hash, refused_since, recorded_since, at)
         LEFT JOIN LATERAL (SELECT * FROM submissions s
                            WHERE s.workspace = q.workspace AND s.submission_hash = q.hash
                              AND s.recorded_at >= q.recorded_since
                            LIMIT 1) s ON true
         LEFT JOIN LATERAL (SELECT d.problem FROM dead_letters d
                            WHERE d.workspace = q.workspace AND d.submission_hash = q.hash
                              AND d.refused_at >= q.refused_since AND d.retried_at IS NULL
                            ORDER BY d.id DESC LIMIT 1) d ON true
         WHERE s.first_seq IS NOT NULL OR d.problem IS NOT NULL",
    )
    .bind(names)
    .bind(hashes)
    .bind(refused)
    .bind(recorded)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(OutcomeRow::read).collect()
}

impl OutcomeRow {
    fn read(self) -> Result<(usize, Outcome), StoreError> {
        let corrupt = || StoreError::Corrupt { column: "submissions.first_seq" };
        let place = usize::try_from(self.at).ok().and_then(|at| at.checked_sub(1));
        let outcome = match (self.first_seq, self.event_count, self.recorded_at, self.last_link) {
            (Some(first), Some(count), Some(at), Some(link)) => {
                Outcome::Recorded(recorded(first, count, at, &link)?)
            }
            _ => Outcome::Refused(self.problem.ok_or_else(corrupt)?),
        };
        Ok((place.ok_or_else(corrupt)?, outcome))
    }
}

/// How far a partition is recorded, and by whom.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct PositionRow {
    /// The queue's name.
    pub queue: String,
    /// The partition.
    pub partition: i32,
    /// How often it was claimed.
    pub epoch: i64,
    /// Who claimed it last.
    pub owner: String,
    /// When, in microseconds since 1970.
    pub claimed_at: i64,
    /// The last message that was taken.
    pub major: Option<i64>,
    /// The same.
    pub minor: Option<i64>,
}

/// All partitions that were ever claimed.
pub async fn positions(pool: &PgPool) -> Result<Vec<PositionRow>, StoreError> {
    let rows = sqlx::query_as(
        "SELECT queue, partition, epoch, owner, claimed_at, major, minor
         FROM queue_positions ORDER BY queue, partition",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// The newest claim on each partition of a queue.
pub async fn epochs(pool: &PgPool, queue: &str) -> Result<Vec<(i32, i64)>, StoreError> {
    let sql = "SELECT partition, epoch FROM queue_positions WHERE queue = $1";
    Ok(sqlx::query_as(sql).bind(queue).fetch_all(pool).await?)
}

/// Moves a position, on record; needs the owner's login. `None`: to the beginning.
pub async fn move_position(
    pool: &PgPool,
    queue: &str,
    partition: i32,
    to: Option<Position>,
    why: &str,
) -> Result<(), StoreError> {
    sqlx::query("SELECT move_queue_position($1, $2, $3, $4, $5)")
        .bind(queue)
        .bind(partition)
        .bind(to.map(|to| to.major))
        .bind(to.map(|to| to.minor))
        .bind(why)
        .execute(pool)
        .await?;
    Ok(())
}

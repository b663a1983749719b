//! Reads records out of the database, in the order of a chain, a bounded number at a time.

use std::collections::VecDeque;

use ledger::names::Workspace;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::chunk::{Recorded, Submission};

/// Submissions whose frames are fetched at a time.
const FRAMES: i64 = 256;

/// Events that are fetched at a time, by whole submissions: a question for each would take longer than
/// its answer, and many large payloads would take much memory.
const EVENTS: i64 = 2_048;

/// The submissions of one workspace from a seq on, up to a time.
pub struct Records<'a> {
    workspace: &'a Workspace,
    next_seq: i64,
    before: i64,
    frames: VecDeque<Frame>,
    /// With their events.
    ready: VecDeque<Submission>,
    done: bool,
}

/// A submission without its events.
struct Frame {
    count: i64,
    submission: Submission,
}

fn frame(row: &PgRow) -> Result<Frame, sqlx::Error> {
    Ok(Frame {
        count: row.try_get::<i16, _>("event_count")?.into(),
        submission: Submission {
            recorded_at: row.try_get("recorded_at")?,
            counter: unsigned(row, "counter")?,
            submission_hash: bytes(row, "submission_hash")?,
            public_key: bytes(row, "public_key")?,
            signature: bytes(row, "signature")?,
            events: Vec::new(),
        },
    })
}

fn recorded(row: &PgRow) -> Result<Recorded, sqlx::Error> {
    Ok(Recorded {
        seq: unsigned(row, "seq")?,
        event_id: bytes(row, "event_id")?,
        payload_digest: bytes(row, "payload_digest")?,
        link: bytes(row, "link")?,
        payload: row.try_get::<Option<Vec<u8>>, _>("payload")?,
        archived: row.try_get("archived")?,
    })
}

/// A `bytea` of a fixed length, as the table's checks promise.
pub(crate) fn bytes<const N: usize>(row: &PgRow, column: &str) -> Result<[u8; N], sqlx::Error> {
    decoded(column, row.try_get::<&[u8], _>(column)?.try_into())
}

/// A `bigint` that is never negative, as the table's checks promise.
pub(crate) fn unsigned(row: &PgRow, column: &str) -> Result<u64, sqlx::Error> {
    decoded(column, u64::try_from(row.try_get::<i64, _>(column)?))
}

/// A column's value as the type that the table promises, or an error that names the column.
pub(crate) fn decoded<T, E>(column: &str, value: Result<T, E>) -> Result<T, sqlx::Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    value.map_err(|error| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: Box::new(error),
    })
}

impl<'a> Records<'a> {
    /// Starts at `first_seq`, which opens a submission, and ends before the first submission that
    /// was recorded at `before` (microseconds since 1970) or later.
    pub fn new(workspace: &'a Workspace, first_seq: i64, before: i64) -> Self {
        let (frames, ready) = (VecDeque::new(), VecDeque::new());
        Self { workspace, next_seq: first_seq, before, frames, ready, done: false }
    }

    /// The next submission with its events.
    pub async fn next(
        &mut self,
        conn: &mut PgConnection,
    ) -> Result<Option<Submission>, sqlx::Error> {
        if self.ready.is_empty() {
            if self.frames.is_empty() && !self.done {
                self.fetch_frames(conn).await?;
            }
            self.fetch_events(conn).await?;
        }
        Ok(self.ready.pop_front())
    }

    /// Fetches the events of the next frames.
    async fn fetch_events(&mut self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (first_seq, mut events) = (self.next_seq, 0_i64);
        let mut group = Vec::new();
        while events < EVENTS
            && let Some(frame) = self.frames.pop_front()
        {
            events = events.saturating_add(frame.count);
            group.push(frame);
        }
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(());
        };
        let rows = sqlx::query(
            "SELECT seq, uuid_send(event_id) AS event_id, payload_digest, link, payload, archived
             FROM entries WHERE workspace = $1 AND seq >= $2 AND seq < $3
               AND recorded_at >= $4 AND recorded_at <= $5
             ORDER BY seq",
        )
        .bind(self.workspace.as_str())
        .bind(first_seq)
        .bind(first_seq.saturating_add(events))
        // Times never fall along a chain: these name the days to look into.
        .bind(first.submission.recorded_at)
        .bind(last.submission.recorded_at)
        .fetch_all(conn)
        .await?;
        let mut rows = rows.iter().map(recorded).peekable();
        for Frame { count, mut submission } in group {
            self.next_seq = self.next_seq.saturating_add(count);
            let end = self.next_seq.cast_unsigned();
            let ours = |row: &Result<Recorded, _>| row.as_ref().map_or(true, |row| row.seq < end);
            while let Some(row) = rows.next_if(ours) {
                submission.events.push(row?);
            }
            self.ready.push_back(submission);
        }
        Ok(())
    }

    async fn fetch_frames(&mut self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let rows = sqlx::query(
            "SELECT event_count, recorded_at, counter, submission_hash, public_key, signature
             FROM submissions WHERE workspace = $1 AND first_seq >= $2
             ORDER BY first_seq LIMIT $3",
        )
        .bind(self.workspace.as_str())
        .bind(self.next_seq)
        .bind(FRAMES)
        .fetch_all(conn)
        .await?;
        self.done = i64::try_from(rows.len()).is_ok_and(|rows| rows < FRAMES);
        for row in &rows {
            let frame = frame(row)?;
            // Times never fall along a chain, so the rest is of later hours.
            if frame.submission.recorded_at >= self.before {
                self.done = true;
                break;
            }
            self.frames.push_back(frame);
        }
        Ok(())
    }
}

//! Reads records out of the database, in the order of a chain, a bounded number at a time.
//!
//! Submissions are fetched without their events, many at a time; their events follow as one binary COPY,
//! which the server sends as fast as it is taken, and which is taken apart row by row as it comes: no more of it
//! is in memory than the socket holds, and payloads are never copied.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use ledger::names::Workspace;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::chunk::{Recorded, Submission};

/// Submissions whose frames are fetched at a time, and whose events are sent as one.
const FRAMES: i64 = 2_048;

/// What a binary COPY starts with; flags and a length of what is to be skipped follow.
const COPY_SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Columns of an event, as [`Records::events`] asks for them.
const COLUMNS: usize = 6;

/// The submissions of one workspace from a seq on, up to a time.
pub struct Records<'a> {
    workspace: &'a Workspace,
    next_seq: i64,
    before: i64,
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
        Self { workspace, next_seq: first_seq, before, done: false }
    }

    /// The next submissions, whose events are on their way; `None` where there are no more.
    pub async fn next<'c>(
        &mut self,
        conn: &'c mut PgConnection,
    ) -> Result<Option<Events<'c>>, sqlx::Error> {
        let frames = if self.done { VecDeque::new() } else { self.frames(conn).await? };
        let (Some(first), Some(last)) = (frames.front(), frames.back()) else {
            return Ok(None);
        };
        let first_seq = self.next_seq;
        let counts = frames.iter().map(|frame| frame.count);
        self.next_seq = counts.fold(first_seq, i64::saturating_add);
        // COPY takes no parameters. A workspace's name holds nothing that could end a string, and times, which
        // never fall along a chain, name the days to look into.
        let statement = format!(
            "COPY (SELECT seq, event_id, payload_digest, link, payload, archived FROM entries
             WHERE workspace = '{}' AND seq >= {first_seq} AND seq < {}
               AND recorded_at >= {} AND recorded_at <= {}
             ORDER BY seq) TO STDOUT (FORMAT binary)",
            self.workspace,
            self.next_seq,
            first.submission.recorded_at,
            last.submission.recorded_at,
        );
        let parts = conn.copy_out_raw(&statement).await?;
        let rows = Rows { parts, rest: Bytes::new(), begun: false, ended: false };
        Ok(Some(Events { rows, frames, next_seq: first_seq, ahead: None }))
    }

    async fn frames(&mut self, conn: &mut PgConnection) -> Result<VecDeque<Frame>, sqlx::Error> {
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
        let mut frames = VecDeque::with_capacity(rows.len());
        for row in &rows {
            let frame = frame(row)?;
            // Times never fall along a chain, so the rest is of later hours.
            if frame.submission.recorded_at >= self.before {
                self.done = true;
                break;
            }
            frames.push_back(frame);
        }
        Ok(frames)
    }
}

/// Submissions, whose events are on their way.
pub struct Events<'c> {
    rows: Rows<'c>,
    frames: VecDeque<Frame>,
    next_seq: i64,
    /// A row of a submission behind the one that was taken last.
    ahead: Option<Recorded>,
}

impl Events<'_> {
    /// The next submission with its events.
    pub async fn next(&mut self) -> Result<Option<Submission>, sqlx::Error> {
        let Some(Frame { count, mut submission }) = self.frames.pop_front() else {
            // So that the connection is free again.
            while self.rows.next().await?.is_some() {}
            return Ok(None);
        };
        self.next_seq = self.next_seq.saturating_add(count);
        let end = self.next_seq.cast_unsigned();
        submission.events.reserve_exact(usize::try_from(count).unwrap_or(0));
        // A row that is missing leaves its submission short: whoever checks the seqs says so.
        while self.rows_of(&submission, count)
            && let Some(row) = self.take().await?
        {
            if row.seq >= end {
                self.ahead = Some(row);
                break;
            }
            submission.events.push(row);
        }
        Ok(Some(submission))
    }

    fn rows_of(&self, submission: &Submission, count: i64) -> bool {
        i64::try_from(submission.events.len()).is_ok_and(|rows| rows < count)
    }

    async fn take(&mut self) -> Result<Option<Recorded>, sqlx::Error> {
        match self.ahead.take() {
            None => self.rows.next().await,
            row => Ok(row),
        }
    }
}

/// The rows of a binary COPY, which may be cut anywhere on the way.
struct Rows<'c> {
    parts: BoxStream<'c, Result<Bytes, sqlx::Error>>,
    rest: Bytes,
    begun: bool,
    ended: bool,
}

impl Rows<'_> {
    async fn next(&mut self) -> Result<Option<Recorded>, sqlx::Error> {
        loop {
            if !self.begun && skip_header(&mut self.rest)? {
                self.begun = true;
            }
            if self.begun && !self.ended {
                match row(&mut self.rest)? {
                    Took::Row(row) => return Ok(Some(row)),
                    Took::End => self.ended = true,
                    Took::Part => {}
                }
            }
            let Some(part) = self.parts.try_next().await? else {
                return if self.ended { Ok(None) } else { Err(cut("it ends too early")) };
            };
            if self.rest.is_empty() {
                self.rest = part;
            } else {
                let mut joined = BytesMut::from(std::mem::take(&mut self.rest));
                joined.extend_from_slice(&part);
                self.rest = joined.freeze();
            }
        }
    }
}

fn cut(problem: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("a binary COPY of entries: {problem}"))
}

/// Whether the header is whole; it is taken away then.
fn skip_header(bytes: &mut Bytes) -> Result<bool, sqlx::Error> {
    let mut rest: &[u8] = bytes;
    let Some(signature) = rest.split_off(..COPY_SIGNATURE.len()) else {
        return Ok(false);
    };
    let (Ok(flags), Ok(more)) = (rest.try_get_u32(), rest.try_get_u32()) else {
        return Ok(false);
    };
    if signature != COPY_SIGNATURE || flags != 0 || more != 0 {
        return Err(cut("its header is of another form"));
    }
    *bytes = bytes.slice_ref(rest);
    Ok(true)
}

/// What stands at the front of a COPY.
enum Took {
    Row(Recorded),
    End,
    /// A row of which more is to come.
    Part,
}

/// Takes the row at the front away, if it is whole.
fn row(bytes: &mut Bytes) -> Result<Took, sqlx::Error> {
    let mut rest: &[u8] = bytes;
    let Ok(count) = rest.try_get_i16() else {
        return Ok(Took::Part);
    };
    if count == -1 {
        *bytes = bytes.slice_ref(rest);
        return Ok(Took::End);
    }
    if usize::try_from(count) != Ok(COLUMNS) {
        return Err(cut("it has other columns"));
    }
    let mut values = [None; COLUMNS];
    for value in &mut values {
        let Ok(length) = rest.try_get_i32() else {
            return Ok(Took::Part);
        };
        // A null has the length -1.
        if let Ok(length) = usize::try_from(length) {
            let Some(taken) = rest.split_off(..length) else {
                return Ok(Took::Part);
            };
            *value = Some(taken);
        }
    }
    let [seq, event_id, payload_digest, link, payload, archived] = values;
    let seq = i64::from_be_bytes(fixed("seq", seq)?);
    let recorded = Recorded {
        seq: decoded("seq", u64::try_from(seq))?,
        event_id: fixed("event_id", event_id)?,
        payload_digest: fixed("payload_digest", payload_digest)?,
        link: fixed("link", link)?,
        payload: payload.map(|payload| bytes.slice_ref(payload)),
        archived: fixed("archived", archived)? != [0],
    };
    *bytes = bytes.slice_ref(rest);
    Ok(Took::Row(recorded))
}

fn fixed<const N: usize>(column: &str, value: Option<&[u8]>) -> Result<[u8; N], sqlx::Error> {
    decoded(column, value.unwrap_or_default().try_into())
}

//! The rows of a plan, and how they are written.
//!
//! Many entries go by COPY, which is the fastest way there is. Few of them, and submissions, go as
//! arrays in one statement: a COPY ends with a message of its own, and after little data the
//! operating system holds that back until the server has acknowledged the data, which takes it 40 ms
//! (Nagle's algorithm; sqlx 0.9.0 does not turn it off).

use ledger::hash::Digest;
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::copy::Rows;
use super::write::{bigint, bigint_of, uuid};
use crate::accept::Submission;
use crate::chain::plan::{Plan, Record};

/// From so many bytes of payload on, entries go by COPY: more than two packets on any network, so
/// that the server acknowledges them at once.
const COPY_BYTES: usize = 160 * 1024;
/// About what a row takes beside its payload.
const ENTRY_BYTES: usize = 256;

/// The rows of a plan, ready to be written.
#[derive(Debug)]
pub struct PlanRows {
    submissions: Submissions,
    entries: Entries,
}

#[derive(Debug, Default)]
struct Submissions {
    workspaces: Vec<String>,
    first_seqs: Vec<i64>,
    counts: Vec<i16>,
    times: Vec<i64>,
    counters: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    keys: Vec<Vec<u8>>,
    signatures: Vec<Vec<u8>>,
    links: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Entries {
    Many(Rows),
    Few(Columns),
}

#[derive(Debug, Default)]
struct Columns {
    workspaces: Vec<String>,
    seqs: Vec<i64>,
    times: Vec<i64>,
    ids: Vec<Uuid>,
    digests: Vec<Vec<u8>>,
    links: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
}

impl PlanRows {
    /// Encodes the rows: work for the processor, done before the connection is asked to take them.
    pub fn encode(plan: &Plan, group: &[Submission]) -> Self {
        let each =
            || plan.records.iter().filter_map(|record| Some((record, group.get(record.index)?)));
        let bytes: usize = each().map(|(_, submission)| submission.bytes()).sum();
        let count: usize = each().map(|(_, submission)| submission.events.len()).sum();
        let mut submissions = Submissions::default();
        let mut entries = if bytes < COPY_BYTES {
            Entries::Few(Columns::default())
        } else {
            Entries::Many(Rows::with_capacity(bytes + count * ENTRY_BYTES))
        };
        for (record, submission) in each() {
            submissions.push(record, submission);
            entries.push(record, submission);
        }
        Self { submissions, entries }
    }

    /// Writes the rows.
    pub async fn write(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        self.submissions.write(connection).await?;
        match self.entries {
            Entries::Few(columns) => columns.write(connection).await,
            Entries::Many(rows) => {
                rows.send(
                    connection,
                    "COPY entries (workspace, seq, recorded_at, event_id, payload_digest, link,
                                   payload)
                     FROM STDIN (FORMAT binary)",
                )
                .await?;
                Ok(())
            }
        }
    }
}

impl Submissions {
    fn push(&mut self, record: &Record, submission: &Submission) {
        self.workspaces.push(submission.workspace.to_string());
        self.first_seqs.push(bigint(record.recorded.first_seq));
        // At most SUBMISSION_EVENTS_CEILING events: the count fits.
        self.counts.push(i16::try_from(submission.events.len()).unwrap_or(-1));
        self.times.push(record.recorded.recorded_at.get());
        self.counters.push(bigint_of(submission.head.counter));
        self.hashes.push(submission.hash.as_bytes().to_vec());
        self.keys.push(submission.public_key().as_bytes().to_vec());
        self.signatures.push(submission.signature().as_bytes().to_vec());
        self.links.push(record.recorded.link.as_bytes().to_vec());
    }

    async fn write(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO submissions (workspace, first_seq, event_count, recorded_at, counter,
                                      submission_hash, public_key, signature, last_link)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::smallint[], $4::bigint[],
                                  $5::bigint[], $6::bytea[], $7::bytea[], $8::bytea[], $9::bytea[])",
        )
        .bind(self.workspaces)
        .bind(self.first_seqs)
        .bind(self.counts)
        .bind(self.times)
        .bind(self.counters)
        .bind(self.hashes)
        .bind(self.keys)
        .bind(self.signatures)
        .bind(self.links)
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Entries {
    fn push(&mut self, record: &Record, submission: &Submission) {
        let recorded_at = record.recorded.recorded_at.get();
        let seqs = bigint(record.recorded.first_seq)..;
        for ((event, link), seq) in submission.events.iter().zip(&record.links).zip(seqs) {
            match self {
                Self::Many(rows) => {
                    rows.row(7)
                        .bytes(submission.workspace.as_str().as_bytes())
                        .bigint(seq)
                        .bigint(recorded_at)
                        .bytes(event.event_id.as_bytes())
                        .bytes(event.payload_digest.as_bytes())
                        .bytes(link.as_bytes())
                        .bytes(&event.payload);
                }
                Self::Few(columns) => {
                    let bytes = |digest: &Digest| digest.as_bytes().to_vec();
                    columns.workspaces.push(submission.workspace.to_string());
                    columns.seqs.push(seq);
                    columns.times.push(recorded_at);
                    columns.ids.push(uuid(event.event_id));
                    columns.digests.push(bytes(&event.payload_digest));
                    columns.links.push(bytes(link));
                    columns.payloads.push(event.payload.to_vec());
                }
            }
        }
    }
}

impl Columns {
    async fn write(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO entries (workspace, seq, recorded_at, event_id, payload_digest, link,
                                  payload)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::uuid[],
                                  $5::bytea[], $6::bytea[], $7::bytea[])",
        )
        .bind(self.workspaces)
        .bind(self.seqs)
        .bind(self.times)
        .bind(self.ids)
        .bind(self.digests)
        .bind(self.links)
        .bind(self.payloads)
        .execute(connection)
        .await?;
        Ok(())
    }
}

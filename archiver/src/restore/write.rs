//! Rows of a ledger, written into an empty database.
//!
//! Here: one function a statement, all in one transaction. Not here: their order (see
//! [`super::restore`]).

use std::collections::BTreeSet;

use ledger::columns::Row;
use ledger::hash::Digest;
use ledger::names::{Origin, Workspace};
use ledger::time::Micros;
use sqlx::{AssertSqlSafe, PgConnection};

use super::RestoreError;
use super::chain::{ChainError, Chains, Submission, What};
use crate::SealError;
use crate::state::Published;

/// Rows that are gathered before they are written, and bytes of their payloads.
const ROWS: usize = 4_096;
const BYTES: usize = 8 << 20;
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;
/// What must have no row.
const TABLES: [&str; 11] = [
    "heads",
    "submissions",
    "entries",
    "keys",
    "erasures",
    "sealed_chunks",
    "amended_chunks",
    "sealed_hours",
    "seal_keys",
    "seal_key_notes",
    "published",
];

/// Makes sure that the database is of this ledger, and that nothing is in it.
pub async fn check_empty(conn: &mut PgConnection, origin: &Origin) -> Result<(), RestoreError> {
    let found: Option<String> =
        sqlx::query_scalar("SELECT origin FROM ledger").fetch_optional(&mut *conn).await?;
    let found = found.ok_or(SealError::NoLedger)?;
    if found != origin.as_str() {
        return Err(RestoreError::Origin { trusted: origin.to_string(), found });
    }
    for table in TABLES {
        // A name out of the list above.
        let has_rows = AssertSqlSafe(format!("SELECT EXISTS (SELECT FROM {table})"));
        if sqlx::query_scalar(has_rows).fetch_one(&mut *conn).await? {
            return Err(RestoreError::NotEmpty(table));
        }
    }
    Ok(())
}

/// Gathers rows, and writes many at a time.
#[derive(Debug, Default)]
pub struct Writer {
    entries: Entries,
    /// Those without a payload: who erased them is known once all was read.
    withheld: Entries,
    submissions: Vec<Submission>,
    bytes: usize,
    days: BTreeSet<i64>,
    written: u64,
}

#[derive(Debug, Default)]
struct Entries {
    workspaces: Vec<Workspace>,
    seqs: Vec<i64>,
    times: Vec<i64>,
    ids: Vec<[u8; 16]>,
    digests: Vec<[u8; 32]>,
    links: Vec<[u8; 32]>,
    payloads: Vec<Option<Vec<u8>>>,
    erased_by: Vec<Option<i64>>,
}

impl Writer {
    /// Nothing gathered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.written
    }

    /// Takes an entry.
    pub fn push(&mut self, workspace: &Workspace, row: &Row<'_>) -> Result<(), ChainError> {
        let range =
            || ChainError { workspace: workspace.clone(), seq: row.seq, what: What::Range("seq") };
        let entries = if row.payload.is_some() { &mut self.entries } else { &mut self.withheld };
        entries.seqs.push(i64::try_from(row.seq).map_err(|_| range())?);
        entries.workspaces.push(workspace.clone());
        entries.times.push(row.recorded_at);
        entries.ids.push(row.event_id);
        entries.digests.push(row.payload_digest);
        entries.links.push(row.link);
        entries.payloads.push(row.payload.map(<[u8]>::to_vec));
        entries.erased_by.push(None);
        self.bytes = self.bytes.saturating_add(row.payload.map_or(0, <[u8]>::len));
        self.written = self.written.saturating_add(1);
        Ok(())
    }

    /// Takes a submission.
    pub fn push_submission(&mut self, submission: Submission) {
        self.submissions.push(submission);
    }

    /// Lets the entries whose payload is withheld follow the others, each with the entry that erased
    /// it.
    pub async fn flush_withheld(
        &mut self,
        conn: &mut PgConnection,
        chains: &Chains,
    ) -> Result<(), RestoreError> {
        self.flush(conn).await?;
        self.entries = std::mem::take(&mut self.withheld);
        let Entries { workspaces, seqs, ids, erased_by, .. } = &mut self.entries;
        for (((workspace, seq), id), by) in workspaces.iter().zip(seqs).zip(ids).zip(erased_by) {
            *by = Some(chains.erased_by(workspace, *seq, id)?);
        }
        Ok(self.flush(conn).await?)
    }

    /// Writes what is gathered, where it is much.
    pub async fn flush_where_full(&mut self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.entries.seqs.len() >= ROWS || self.bytes >= BYTES {
            self.flush(conn).await?;
        }
        Ok(())
    }

    /// Writes what is gathered.
    pub async fn flush(&mut self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.bytes = 0;
        let (entries, submissions) =
            (std::mem::take(&mut self.entries), std::mem::take(&mut self.submissions));
        let times = entries.times.iter().chain(submissions.iter().map(|s| &s.recorded_at));
        let days: BTreeSet<i64> = times.map(|at| at - at.rem_euclid(DAY)).collect();
        for day in days.difference(&self.days) {
            sqlx::query("SELECT ensure_day($1)").bind(day).execute(&mut *conn).await?;
        }
        self.days.extend(days);
        entries.write(conn).await?;
        write_submissions(submissions, conn).await
    }
}

impl Entries {
    async fn write(self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let bytes = |values: Vec<[u8; 32]>| values.iter().map(|v| v.to_vec()).collect::<Vec<_>>();
        let ids: Vec<Vec<u8>> = self.ids.iter().map(|id| id.to_vec()).collect();
        sqlx::query(
            "INSERT INTO entries (workspace, seq, recorded_at, event_id, payload_digest, link,
                                  payload, erased_by)
             SELECT workspace, seq, at, encode(id, 'hex')::uuid, digest, link, payload, erased_by
             FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[],
                         $6::bytea[], $7::bytea[], $8::bigint[])
                  AS q (workspace, seq, at, id, digest, link, payload, erased_by)",
        )
        .bind(self.workspaces.iter().map(Workspace::as_str).collect::<Vec<_>>())
        .bind(self.seqs)
        .bind(self.times)
        .bind(ids)
        .bind(bytes(self.digests))
        .bind(bytes(self.links))
        .bind(self.payloads)
        .bind(self.erased_by)
        .execute(conn)
        .await?;
        Ok(())
    }
}

async fn write_submissions(
    submissions: Vec<Submission>,
    conn: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let each = || submissions.iter();
    let bytes = |bytes: fn(&Submission) -> &[u8]| each().map(bytes).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO submissions (workspace, first_seq, event_count, recorded_at, counter,
                                  submission_hash, public_key, signature, last_link)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::smallint[], $4::bigint[],
                              $5::bigint[], $6::bytea[], $7::bytea[], $8::bytea[], $9::bytea[])",
    )
    .bind(each().map(|s| s.workspace.as_str()).collect::<Vec<_>>())
    .bind(each().map(|s| s.first_seq).collect::<Vec<_>>())
    .bind(each().map(|s| s.count).collect::<Vec<_>>())
    .bind(each().map(|s| s.recorded_at).collect::<Vec<_>>())
    .bind(each().map(|s| s.counter).collect::<Vec<_>>())
    .bind(bytes(|s| &s.hash))
    .bind(bytes(|s| &s.public_key))
    .bind(bytes(|s| &s.signature))
    .bind(bytes(|s| &s.last_link))
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes the heads and the keys of all workspaces.
pub async fn chains(conn: &mut PgConnection, chains: &Chains) -> Result<(), sqlx::Error> {
    for (workspace, chain) in chains.iter() {
        let Some(head) = chain.head() else { continue };
        sqlx::query(
            "INSERT INTO heads (workspace, last_seq, link, recorded_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(workspace.as_str())
        .bind(head.last_seq)
        .bind(head.link.as_slice())
        .bind(head.recorded_at)
        .execute(&mut *conn)
        .await?;
        for (key, record, highest) in chain.keys() {
            sqlx::query(
                "INSERT INTO keys (workspace, public_key, role, actor_id, registered_seq,
                                   revoked_seq, compromised_since, highest_counter)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(workspace.as_str())
            .bind(key.as_bytes().as_slice())
            .bind(record.role.as_str())
            .bind(record.actor_id.as_deref())
            .bind(record.registered.get().cast_signed())
            .bind(record.revoked.map(|seq| seq.get().cast_signed()))
            .bind(record.compromised_since.map(Micros::get))
            .bind(highest)
            .execute(&mut *conn)
            .await?;
        }
    }
    Ok(())
}

/// Writes where the chains ask for erasures.
pub async fn erasures(conn: &mut PgConnection, chains: &Chains) -> Result<(), sqlx::Error> {
    for (workspace, chain) in chains.iter() {
        for request in chain.requests() {
            sqlx::query("INSERT INTO erasures (workspace, seq, recorded_at) VALUES ($1, $2, $3)")
                .bind(workspace.as_str())
                .bind(request.seq)
                .bind(request.recorded_at)
                .execute(&mut *conn)
                .await?;
        }
    }
    Ok(())
}

/// Nothing may be recorded any more in the hours that are sealed.
pub async fn fence(conn: &mut PgConnection, through: Micros) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE fence SET not_before = $1 WHERE not_before < $1")
        .bind(through.get())
        .execute(conn)
        .await?;
    Ok(())
}

/// Leaves the record that this database was restored, for the service to put into the chain.
pub async fn record(
    conn: &mut PgConnection,
    now: Micros,
    published: &Published,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO restores (restored_at, restored_by, log_size, checkpoint_sha256)
         VALUES ($1, session_user, $2, $3)",
    )
    .bind(now.get())
    .bind(i64::try_from(published.size).unwrap_or(i64::MAX))
    .bind(Digest::of(published.note.as_bytes()).as_bytes().as_slice())
    .execute(conn)
    .await?;
    Ok(())
}

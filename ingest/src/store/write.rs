//! What the chain writer reads under its locks, and what it writes.
//!
//! Here: one function a statement, all on the connection of one transaction. Not here: their order
//! (see [`crate::chain::commit`]).

use std::collections::BTreeMap;

use ledger::chain::{KeyRecord, Keys, LedgerEvent, Role};
use ledger::key::PublicKey;
use ledger::names::{EventId, Seq, Workspace};
use ledger::submission::Counter;
use ledger::time::Micros;
use sqlx::PgConnection;
use uuid::Uuid;

use super::copy::Rows;
use super::{FENCE_LOCK, StoreError, digest, key, micros, seq};
use crate::accept::Submission;
use crate::chain::plan::{Advance, Chain, Head, Plan, Record, Recorded};

/// Takes the fence lock, shared with other writers, and then reads where the fence stands.
///
/// Two statements: the second has a snapshot that is newer than the lock.
pub async fn lock_fence(connection: &mut PgConnection) -> Result<Micros, StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1)")
        .bind(FENCE_LOCK)
        .execute(&mut *connection)
        .await?;
    let not_before =
        sqlx::query_scalar("SELECT not_before FROM fence").fetch_one(&mut *connection).await?;
    micros(not_before, "fence.not_before")
}

/// Locks the heads of the group's workspaces, in the order of their names, so that two groups never
/// wait for each other in a circle. A workspace without a head gets an empty chain.
pub async fn lock_heads(
    connection: &mut PgConnection,
    group: &[Submission],
) -> Result<BTreeMap<Workspace, Chain>, StoreError> {
    let mut chains: BTreeMap<Workspace, Chain> =
        group.iter().map(|submission| (submission.workspace.clone(), Chain::default())).collect();
    let names: Vec<&str> = chains.keys().map(Workspace::as_str).collect();
    let rows: Vec<(String, i64, Vec<u8>, i64)> = sqlx::query_as(
        "SELECT workspace, last_seq, link, recorded_at FROM heads
         WHERE workspace = ANY($1) ORDER BY workspace FOR UPDATE",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    for (workspace, last_seq, link, recorded_at) in rows {
        chain(&mut chains, &workspace, "heads.workspace")?.head = Some(Head {
            last_seq: seq(last_seq, "heads.last_seq")?,
            link: digest(&link, "heads.link")?,
            recorded_at: micros(recorded_at, "heads.recorded_at")?,
        });
    }
    Ok(chains)
}

fn chain<'c>(
    chains: &'c mut BTreeMap<Workspace, Chain>,
    workspace: &str,
    column: &'static str,
) -> Result<&'c mut Chain, StoreError> {
    Workspace::new(workspace)
        .ok()
        .and_then(|workspace| chains.get_mut(&workspace))
        .ok_or(StoreError::Corrupt { column })
}

/// Adds the keys that the group names, and all root keys: whether one of them is the last one
/// depends on the others.
pub async fn load_keys(
    connection: &mut PgConnection,
    group: &[Submission],
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    let named: Vec<&[u8]> = group
        .iter()
        .flat_map(|submission| [Some(submission.public_key()), set_key(submission)])
        .flatten()
        .map(|key| key.as_bytes().as_slice())
        .collect();
    let names: Vec<&str> = chains.keys().map(Workspace::as_str).collect();
    let rows: Vec<KeyRow> = sqlx::query_as(
        "SELECT workspace, public_key, role, actor_id, registered_seq, revoked_seq,
                compromised_since
         FROM keys WHERE workspace = ANY($1) AND (role = 'root' OR public_key = ANY($2))",
    )
    .bind(names)
    .bind(named)
    .fetch_all(connection)
    .await?;
    let mut keys: BTreeMap<String, Vec<(PublicKey, KeyRecord)>> = BTreeMap::new();
    for row in rows {
        let workspace = row.workspace.clone();
        keys.entry(workspace).or_default().push(row.read()?);
    }
    for (workspace, records) in keys {
        chain(chains, &workspace, "keys.workspace")?.keys = Keys::from_records(records);
    }
    Ok(())
}

/// The key that a submission sets, beside the one that signs it.
fn set_key(submission: &Submission) -> Option<&PublicKey> {
    match submission.acts.ledger_event()? {
        LedgerEvent::KeyRegistered { key, .. } | LedgerEvent::KeyRevoked { key, .. } => Some(key),
        LedgerEvent::WorkspaceCreated { .. } | LedgerEvent::PayloadErased { .. } => None,
    }
}

/// A row of `keys`.
#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    workspace: String,
    public_key: Vec<u8>,
    role: String,
    actor_id: Option<String>,
    registered_seq: i64,
    revoked_seq: Option<i64>,
    compromised_since: Option<i64>,
}

impl KeyRow {
    pub(super) fn read(self) -> Result<(PublicKey, KeyRecord), StoreError> {
        let revoked = self.revoked_seq.map(|s| seq(s, "keys.revoked_seq"));
        let since = self.compromised_since;
        let record = KeyRecord {
            role: Role::parse(&self.role).ok_or(StoreError::Corrupt { column: "keys.role" })?,
            actor_id: self.actor_id,
            registered: seq(self.registered_seq, "keys.registered_seq")?,
            revoked: revoked.transpose()?,
            compromised_since: since
                .map(|since| micros(since, "keys.compromised_since"))
                .transpose()?,
        };
        Ok((key(&self.public_key, "keys.public_key")?, record))
    }
}

/// Adds the group's submissions that are recorded already, and the counters that are used.
pub async fn load_recorded(
    connection: &mut PgConnection,
    group: &[Submission],
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    let names: Vec<&str> = group.iter().map(|s| s.workspace.as_str()).collect();
    let hashes: Vec<&[u8]> = group.iter().map(|s| s.hash.as_bytes().as_slice()).collect();
    let keys: Vec<&[u8]> = group.iter().map(|s| s.public_key().as_bytes().as_slice()).collect();
    let counters: Vec<i64> = group.iter().map(|s| s.head.counter.get().cast_signed()).collect();
    let rows: Vec<RecordedRow> = sqlx::query_as(
        "SELECT s.workspace, s.submission_hash, s.public_key, s.counter, s.first_seq,
                s.event_count, s.recorded_at, s.last_link
         FROM unnest($1::text[], $2::bytea[]) AS q (workspace, hash)
         JOIN submissions s ON s.workspace = q.workspace AND s.submission_hash = q.hash
         UNION ALL
         SELECT s.workspace, s.submission_hash, s.public_key, s.counter, s.first_seq,
                s.event_count, s.recorded_at, s.last_link
         FROM unnest($1::text[], $3::bytea[], $4::bigint[]) AS q (workspace, key, counter)
         JOIN submissions s ON s.workspace = q.workspace AND s.public_key = q.key
                           AND s.counter = q.counter AND s.counter > 0",
    )
    .bind(names)
    .bind(hashes)
    .bind(keys)
    .bind(counters)
    .fetch_all(connection)
    .await?;
    for row in rows {
        let column = "submissions.counter";
        let recorded = row.recorded()?;
        let hash = digest(&row.submission_hash, "submissions.submission_hash")?;
        let public_key = key(&row.public_key, "submissions.public_key")?;
        let counter = u64::try_from(row.counter).ok().and_then(Counter::new);
        let counter = counter.ok_or(StoreError::Corrupt { column })?;
        let chain = chain(chains, &row.workspace, "submissions.workspace")?;
        chain.recorded.insert(hash, recorded);
        if counter != Counter::NONE {
            let used = (public_key, counter);
            chain.counters.insert(used, recorded.first_seq);
        }
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct RecordedRow {
    workspace: String,
    submission_hash: Vec<u8>,
    public_key: Vec<u8>,
    counter: i64,
    first_seq: i64,
    event_count: i16,
    recorded_at: i64,
    last_link: Vec<u8>,
}

impl RecordedRow {
    fn recorded(&self) -> Result<Recorded, StoreError> {
        recorded(self.first_seq, self.event_count, self.recorded_at, &self.last_link)
    }
}

/// Where a submission lies, from the columns that say so.
pub(super) fn recorded(
    first_seq: i64,
    event_count: i16,
    recorded_at: i64,
    last_link: &[u8],
) -> Result<Recorded, StoreError> {
    let first_seq = seq(first_seq, "submissions.first_seq")?;
    let last_seq = u64::try_from(event_count)
        .ok()
        .and_then(|count| first_seq.checked_add(count.checked_sub(1)?));
    Ok(Recorded {
        first_seq,
        last_seq: last_seq.ok_or(StoreError::Corrupt { column: "submissions.event_count" })?,
        recorded_at: micros(recorded_at, "submissions.recorded_at")?,
        link: digest(last_link, "submissions.last_link")?,
    })
}

/// Adds the seqs of the group's events that are recorded already.
pub async fn load_events(
    connection: &mut PgConnection,
    group: &[Submission],
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    let each =
        || group.iter().flat_map(|s| s.events.iter().map(move |event| (&s.workspace, event)));
    let names: Vec<&str> = each().map(|(workspace, _)| workspace.as_str()).collect();
    let ids: Vec<Uuid> =
        each().map(|(_, event)| Uuid::from_bytes(*event.event_id.as_bytes())).collect();
    let rows: Vec<(String, Uuid, i64)> = sqlx::query_as(
        "SELECT e.workspace, e.event_id, e.seq
         FROM unnest($1::text[], $2::uuid[]) AS q (workspace, event_id)
         JOIN entries e ON e.workspace = q.workspace AND e.event_id = q.event_id",
    )
    .bind(names)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    for (workspace, id, found) in rows {
        let column = "entries.event_id";
        let id =
            EventId::from_bytes(id.into_bytes()).map_err(|_| StoreError::Corrupt { column })?;
        let chain = chain(chains, &workspace, "entries.workspace")?;
        chain.events.insert(id, seq(found, "entries.seq")?);
    }
    Ok(())
}

/// Moves the heads on. Where another process has created a workspace meanwhile, this waits for it
/// and then fails with a unique violation: nothing of this transaction may stay.
pub async fn advance_heads(
    connection: &mut PgConnection,
    advances: &[Advance],
) -> Result<(), StoreError> {
    const CREATE: &str = "INSERT INTO heads (workspace, last_seq, link, recorded_at)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[])";
    const MOVE: &str = "UPDATE heads h
         SET last_seq = q.last_seq, link = q.link, recorded_at = q.recorded_at
         FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[])
              AS q (workspace, last_seq, link, recorded_at)
         WHERE h.workspace = q.workspace";
    for (statement, is_first) in [(CREATE, true), (MOVE, false)] {
        let some: Vec<&Advance> =
            advances.iter().filter(|advance| advance.is_first == is_first).collect();
        if some.is_empty() {
            continue;
        }
        let heads = || some.iter().map(|advance| &advance.head);
        let names: Vec<&str> = some.iter().map(|a| a.workspace.as_str()).collect();
        let seqs: Vec<i64> = heads().map(|head| bigint(head.last_seq)).collect();
        let links: Vec<&[u8]> = heads().map(|head| head.link.as_bytes().as_slice()).collect();
        let times: Vec<i64> = heads().map(|head| head.recorded_at.get()).collect();
        sqlx::query(statement)
            .bind(names)
            .bind(seqs)
            .bind(links)
            .bind(times)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Writes the keys that the group sets.
pub async fn set_keys(
    connection: &mut PgConnection,
    advances: &[Advance],
) -> Result<(), StoreError> {
    for advance in advances {
        for (key, record) in &advance.keys {
            set_one(connection, &advance.workspace, key, record).await?;
        }
    }
    Ok(())
}

async fn set_one(
    connection: &mut PgConnection,
    workspace: &Workspace,
    key: &PublicKey,
    record: &KeyRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO keys (workspace, public_key, role, actor_id, registered_seq, revoked_seq,
                           compromised_since)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (workspace, public_key) DO UPDATE
         SET revoked_seq = excluded.revoked_seq, compromised_since = excluded.compromised_since",
    )
    .bind(workspace.as_str())
    .bind(key.as_bytes().as_slice())
    .bind(record.role.as_str())
    .bind(record.actor_id.as_deref())
    .bind(bigint(record.registered))
    .bind(record.revoked.map(bigint))
    .bind(record.compromised_since.map(Micros::get))
    .execute(connection)
    .await?;
    Ok(())
}

/// The rows of a plan, encoded for COPY.
#[derive(Debug)]
pub struct PlanRows {
    submissions: Rows,
    entries: Rows,
}

impl PlanRows {
    /// Encodes the rows: work for the processor, done before the connection is asked to take them.
    pub fn encode(plan: &Plan, group: &[Submission]) -> Self {
        const SUBMISSION_BYTES: usize = 320;
        const ENTRY_BYTES: usize = 256;
        let room = plan
            .records
            .iter()
            .filter_map(|record| group.get(record.index))
            .map(|submission| submission.bytes() + submission.events.len() * ENTRY_BYTES)
            .sum();
        let mut rows = Self {
            submissions: Rows::with_capacity(plan.records.len() * SUBMISSION_BYTES),
            entries: Rows::with_capacity(room),
        };
        for record in &plan.records {
            if let Some(submission) = group.get(record.index) {
                rows.push(record, submission);
            }
        }
        rows
    }

    fn push(&mut self, record: &Record, submission: &Submission) {
        let Recorded { first_seq, recorded_at, link, .. } = record.recorded;
        // At most SUBMISSION_EVENTS_CEILING events: the count fits.
        let count = i16::try_from(submission.events.len()).unwrap_or(-1);
        self.submissions
            .row(9)
            .bytes(submission.workspace.as_str().as_bytes())
            .bigint(bigint(first_seq))
            .smallint(count)
            .bigint(recorded_at.get())
            .bigint(submission.head.counter.get().cast_signed())
            .bytes(submission.hash.as_bytes())
            .bytes(submission.public_key().as_bytes())
            .bytes(submission.signature().as_bytes())
            .bytes(link.as_bytes());
        let seqs = bigint(first_seq)..;
        for ((event, link), seq) in submission.events.iter().zip(&record.links).zip(seqs) {
            self.entries
                .row(7)
                .bytes(submission.workspace.as_str().as_bytes())
                .bigint(seq)
                .bigint(recorded_at.get())
                .bytes(event.event_id.as_bytes())
                .bytes(event.payload_digest.as_bytes())
                .bytes(link.as_bytes())
                .bytes(&event.payload);
        }
    }

    /// Writes the rows.
    pub async fn copy(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        self.submissions
            .send(
                connection,
                "COPY submissions (workspace, first_seq, event_count, recorded_at, counter,
                                   submission_hash, public_key, signature, last_link)
                 FROM STDIN (FORMAT binary)",
            )
            .await?;
        self.entries
            .send(
                connection,
                "COPY entries (workspace, seq, recorded_at, event_id, payload_digest, link, payload)
                 FROM STDIN (FORMAT binary)",
            )
            .await?;
        Ok(())
    }
}

/// A seq as a `bigint`: it is at most 2^63-1.
fn bigint(seq: Seq) -> i64 {
    seq.get().cast_signed()
}

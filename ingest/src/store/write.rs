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

use super::{FENCE_LOCK, StoreError, digest, key, micros, seq};
use crate::accept::Submission;
use crate::chain::days::DAY;
use crate::chain::plan::{Advance, Chain, Head, Recorded};

/// Takes the fence lock, shared with other writers, and then reads where the fence stands; and what
/// the database's clock says.
///
/// Two statements: the second has a snapshot that is newer than the lock.
pub async fn lock_fence(connection: &mut PgConnection) -> Result<(Micros, Micros), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1)")
        .bind(FENCE_LOCK)
        .execute(&mut *connection)
        .await?;
    let (not_before, now) = sqlx::query_as(
        "SELECT not_before, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM fence",
    )
    .fetch_one(&mut *connection)
    .await?;
    Ok((micros(not_before, "fence.not_before")?, micros(now, "clock_timestamp")?))
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

/// Adds the keys that the group names; and all root keys of workspaces whose keys the group sets, as
/// whether one of them is the last one depends on the others.
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
    let setting: Vec<&str> = group
        .iter()
        .filter(|submission| submission.acts.ledger_event().is_some())
        .map(|submission| submission.workspace.as_str())
        .collect();
    let rows: Vec<KeyRow> = sqlx::query_as(
        "SELECT workspace, public_key, role, actor_id, registered_seq, revoked_seq,
                compromised_since, highest_counter
         FROM keys WHERE workspace = ANY($1)
           AND (public_key = ANY($2) OR role = 'root' AND workspace = ANY($3))",
    )
    .bind(names)
    .bind(named)
    .bind(&setting)
    .fetch_all(&mut *connection)
    .await?;
    let mut keys: BTreeMap<String, Vec<(PublicKey, KeyRecord)>> = BTreeMap::new();
    for row in rows {
        let workspace = row.workspace.clone();
        let highest = counter(row.highest_counter, "keys.highest_counter")?;
        let (key, record) = row.read()?;
        chain(chains, &workspace, "keys.workspace")?.highest.insert(key, highest);
        keys.entry(workspace).or_default().push((key, record));
    }
    for (workspace, records) in keys {
        chain(chains, &workspace, "keys.workspace")?.keys = Keys::from_records(records);
    }
    if setting.is_empty() {
        return Ok(());
    }
    let counts: Vec<(String, i64)> = sqlx::query_as(
        "SELECT workspace, count(*) FROM keys WHERE workspace = ANY($1) GROUP BY workspace",
    )
    .bind(setting)
    .fetch_all(connection)
    .await?;
    for (workspace, count) in counts {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        chain(chains, &workspace, "keys.workspace")?.key_count = count;
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
    highest_counter: i64,
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

/// A statement that reads a [`RecordedRow`].
macro_rules! recorded_sql {
    ($from:literal) => {
        concat!(
            "SELECT s.workspace, s.submission_hash, s.public_key, s.counter, s.first_seq,
                s.event_count, s.recorded_at, s.last_link ",
            $from
        )
    };
}

/// Adds the group's submissions that were recorded from `open_from` on (microseconds since 1970).
/// Those of closed days are found by their events, see [`load_events_of`].
pub async fn load_recorded(
    connection: &mut PgConnection,
    group: &[Submission],
    open_from: i64,
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    let names: Vec<&str> = group.iter().map(|s| s.workspace.as_str()).collect();
    let hashes: Vec<&[u8]> = group.iter().map(|s| s.hash.as_bytes().as_slice()).collect();
    let rows = sqlx::query_as(recorded_sql!(
        "FROM unnest($1::text[], $2::bytea[]) AS q (workspace, hash)
         JOIN submissions s ON s.workspace = q.workspace AND s.submission_hash = q.hash
                           AND s.recorded_at >= $3"
    ))
    .bind(names)
    .bind(hashes)
    .bind(open_from)
    .fetch_all(connection)
    .await?;
    take_recorded(rows, chains)
}

/// Adds the counters of the group that are used already.
///
/// A counter above the highest one of its key was never used: it is not looked for. The others are,
/// on every day that there is.
pub async fn load_counters(
    connection: &mut PgConnection,
    group: &[Submission],
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    let low: Vec<&Submission> = group
        .iter()
        .filter(|submission| submission.head.counter != Counter::NONE)
        .filter(|submission| {
            let chain = chains.get(&submission.workspace);
            let highest = chain.and_then(|chain| chain.highest.get(submission.public_key()));
            highest.is_some_and(|highest| submission.head.counter <= *highest)
        })
        .collect();
    if low.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = low.iter().map(|s| s.workspace.as_str()).collect();
    let keys: Vec<&[u8]> = low.iter().map(|s| s.public_key().as_bytes().as_slice()).collect();
    let counters: Vec<i64> = low.iter().map(|s| bigint_of(s.head.counter)).collect();
    let rows = sqlx::query_as(recorded_sql!(
        "FROM unnest($1::text[], $2::bytea[], $3::bigint[]) AS q (workspace, key, counter)
         JOIN submissions s ON s.workspace = q.workspace AND s.public_key = q.key
                           AND s.counter = q.counter AND s.counter > 0"
    ))
    .bind(names)
    .bind(keys)
    .bind(counters)
    .fetch_all(connection)
    .await?;
    take_recorded(rows, chains)
}

fn take_recorded(
    rows: Vec<RecordedRow>,
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    for row in rows {
        let recorded = row.recorded()?;
        let hash = digest(&row.submission_hash, "submissions.submission_hash")?;
        let public_key = key(&row.public_key, "submissions.public_key")?;
        let counter = counter(row.counter, "submissions.counter")?;
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

/// Adds the seqs of the group's events that are recorded already, in the days from `from` to
/// `before` (microseconds since 1970, exclusive).
pub async fn load_events(
    connection: &mut PgConnection,
    group: &[Submission],
    (from, before): (i64, i64),
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    let each =
        || group.iter().flat_map(|s| s.events.iter().map(move |event| (&s.workspace, event)));
    let names: Vec<&str> = each().map(|(workspace, _)| workspace.as_str()).collect();
    let ids: Vec<Uuid> = each().map(|(_, event)| uuid(event.event_id)).collect();
    let rows = sqlx::query_as(
        "SELECT e.workspace, e.event_id, e.seq
         FROM unnest($1::text[], $2::uuid[]) AS q (workspace, event_id)
         JOIN entries e ON e.workspace = q.workspace AND e.event_id = q.event_id
         WHERE e.recorded_at >= $3 AND e.recorded_at < $4",
    )
    .bind(names)
    .bind(ids)
    .bind(from)
    .bind(before)
    .fetch_all(connection)
    .await?;
    take_events(rows, chains)
}

/// Adds the seqs of those events that lie in the closed days that they may lie in, and the
/// submissions that brought them: what is sent again long afterwards is found by its events.
pub async fn load_events_of(
    connection: &mut PgConnection,
    perhaps: &[(&Workspace, EventId, i64)],
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    if perhaps.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = perhaps.iter().map(|(workspace, ..)| workspace.as_str()).collect();
    let ids: Vec<Uuid> = perhaps.iter().map(|(_, id, _)| uuid(*id)).collect();
    let days: Vec<i64> = perhaps.iter().map(|(.., day)| *day).collect();
    let rows = sqlx::query_as(
        "SELECT e.workspace, e.event_id, e.seq
         FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS q (workspace, event_id, day)
         JOIN entries e ON e.workspace = q.workspace AND e.event_id = q.event_id
                       AND e.recorded_at >= q.day AND e.recorded_at < q.day + $4",
    )
    .bind(&names)
    .bind(&ids)
    .bind(&days)
    .bind(DAY)
    .fetch_all(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok(());
    }
    take_events(rows, chains)?;
    let rows = sqlx::query_as(recorded_sql!(
        "FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS q (workspace, event_id, day)
         JOIN entries e ON e.workspace = q.workspace AND e.event_id = q.event_id
                       AND e.recorded_at >= q.day AND e.recorded_at < q.day + $4
         JOIN submissions s ON s.workspace = e.workspace AND s.recorded_at = e.recorded_at
                           AND s.first_seq <= e.seq AND s.first_seq + s.event_count > e.seq"
    ))
    .bind(names)
    .bind(ids)
    .bind(days)
    .bind(DAY)
    .fetch_all(connection)
    .await?;
    take_recorded(rows, chains)
}

fn take_events(
    rows: Vec<(String, Uuid, i64)>,
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
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

/// Writes the keys that the group sets, and how far each key has counted.
pub async fn set_keys(
    connection: &mut PgConnection,
    advances: &[Advance],
) -> Result<(), StoreError> {
    for advance in advances {
        for (key, record) in &advance.keys {
            set_one(connection, &advance.workspace, key, record).await?;
        }
    }
    let each = || advances.iter().flat_map(|a| a.highest.iter().map(move |(k, c)| (a, k, c)));
    let names: Vec<&str> = each().map(|(advance, ..)| advance.workspace.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let keys: Vec<&[u8]> = each().map(|(_, key, _)| key.as_bytes().as_slice()).collect();
    let counters: Vec<i64> = each().map(|(.., counter)| bigint_of(*counter)).collect();
    sqlx::query(
        "UPDATE keys k SET highest_counter = q.counter
         FROM unnest($1::text[], $2::bytea[], $3::bigint[]) AS q (workspace, key, counter)
         WHERE k.workspace = q.workspace AND k.public_key = q.key
           AND k.highest_counter < q.counter",
    )
    .bind(names)
    .bind(keys)
    .bind(counters)
    .execute(connection)
    .await?;
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

/// A seq as a `bigint`: it is at most 2^63-1.
pub(super) fn bigint(seq: Seq) -> i64 {
    seq.get().cast_signed()
}

/// A counter as a `bigint`: it is at most 2^63-1.
pub(super) fn bigint_of(counter: Counter) -> i64 {
    counter.get().cast_signed()
}

/// A value of a `bigint` column that is checked to be a counter.
fn counter(value: i64, column: &'static str) -> Result<Counter, StoreError> {
    u64::try_from(value).ok().and_then(Counter::new).ok_or(StoreError::Corrupt { column })
}

pub(super) fn uuid(id: EventId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

//! Which entries of a chain erase which payloads (FORMAT section 10).
//!
//! Here: requests as the database has them, read by the rules by which they were accepted. Not here:
//! what becomes of them (see [`crate::erase`] for sealed entries, [`crate::seal`] for others).

use std::collections::BTreeMap;

use ledger::chain::{LedgerEvent, RESERVED};
use ledger::hash::Digest;
use ledger::names::{EventId, Seq, Workspace};
use ledger::payload::{self, Rules};
use ledger::time::Hour;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::chunk::Recorded;
use crate::records::{bytes, decoded, unsigned};
use crate::{Disagreement, SealError};

/// The events that entries of one chain erase, each with the last entry that does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased(BTreeMap<EventId, Seq>);

impl Erased {
    /// Takes up what the entry at `by` names. Entries come in the order of the chain.
    pub fn add(&mut self, by: Seq, event_ids: &[EventId]) {
        self.0.extend(event_ids.iter().map(|id| (*id, by)));
    }

    /// Whether an entry behind `seq` erases the event.
    pub fn names(&self, seq: u64, event_id: &EventId) -> bool {
        self.0.get(event_id).is_some_and(|by| by.get() > seq)
    }

    /// Whether the payload of a recorded event is to be withheld. Those of `ledger.` events never
    /// are; of one that cannot be read, whoever seals it will say so.
    pub fn covers(&self, workspace: &Workspace, event: &Recorded) -> bool {
        let named = EventId::from_bytes(event.event_id).is_ok_and(|id| self.names(event.seq, &id));
        let Some(bytes) = event.payload.as_deref().filter(|_| named) else {
            return false;
        };
        let read = payload::scan(bytes, workspace, &Rules::ceiling());
        read.is_ok_and(|read| !read.event_type.starts_with(RESERVED))
    }
}

/// A `ledger.payload_erased` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The workspace.
    pub workspace: Workspace,
    /// Its place in the chain.
    pub seq: Seq,
    /// The hour that it was recorded in.
    pub hour: Hour,
    /// The events that it names.
    pub event_ids: Vec<EventId>,
    /// Its own payload, as the database has it.
    pub payload: Vec<u8>,
}

/// A payload that a request names, and that the database still holds or has left to the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its place in the chain.
    pub seq: Seq,
    /// The hour that it was recorded in.
    pub hour: Hour,
}

/// A statement that reads requests.
macro_rules! requests_sql {
    ($where:literal) => {
        concat!(
            "SELECT r.seq, r.recorded_at, e.payload, e.payload_digest FROM erasures r
             JOIN entries e ON e.workspace = r.workspace AND e.seq = r.seq
                           AND e.recorded_at = r.recorded_at ",
            $where
        )
    };
}

fn seq(row: &PgRow) -> Result<Seq, sqlx::Error> {
    Seq::new(unsigned(row, "seq")?).ok_or(sqlx::Error::RowNotFound)
}

fn hour(row: &PgRow) -> Result<Hour, sqlx::Error> {
    let at: i64 = row.try_get("recorded_at")?;
    let at = ledger::time::Micros::new(at).ok_or(sqlx::Error::RowNotFound)?;
    Ok(at.hour())
}

impl Request {
    fn read(workspace: &Workspace, row: &PgRow) -> Result<Self, SealError> {
        let (seq, hour) = (seq(row)?, hour(row)?);
        let wrong =
            |problem: String| Disagreement::Erasure { workspace: workspace.clone(), seq, problem };
        let payload: Option<Vec<u8>> = row.try_get("payload")?;
        let payload = payload.ok_or_else(|| wrong("it has no payload itself".to_owned()))?;
        if Digest::of(&payload) != Digest::from_bytes(bytes(row, "payload_digest")?) {
            return Err(wrong("its payload is not what was recorded".to_owned()).into());
        }
        let read = payload::scan(&payload, workspace, &Rules::ceiling());
        let event = read.map_err(|error| wrong(error.to_string()))?;
        let event_ids = match LedgerEvent::read(&event) {
            Ok(Some(LedgerEvent::PayloadErased { event_ids, .. })) => event_ids,
            Ok(_) => return Err(wrong("it is another event".to_owned()).into()),
            Err(error) => return Err(wrong(error.to_string()).into()),
        };
        let workspace = workspace.clone();
        Ok(Self { workspace, seq, hour, event_ids, payload })
    }

    /// Where requests stand, in the order of workspaces and their chains.
    pub async fn places(conn: &mut PgConnection) -> Result<Vec<(Workspace, Seq)>, SealError> {
        let rows = sqlx::query("SELECT workspace, seq FROM erasures ORDER BY workspace, seq");
        let rows = rows.fetch_all(conn).await?;
        let place = |row: &PgRow| {
            let workspace = decoded("workspace", Workspace::new(row.try_get("workspace")?))?;
            Ok((workspace, seq(row)?))
        };
        rows.iter().map(place).collect()
    }

    /// The request at one place; `None` where the database lacks it. Where its day was archived it is
    /// there all the same: the payloads of the ledger's own events stay.
    pub async fn load(
        conn: &mut PgConnection,
        workspace: &Workspace,
        seq: Seq,
    ) -> Result<Option<Self>, SealError> {
        let row = sqlx::query(requests_sql!("WHERE r.workspace = $1 AND r.seq = $2"))
            .bind(workspace.as_str())
            .bind(seq.get().cast_signed())
            .fetch_optional(conn)
            .await?;
        row.map(|row| Self::read(workspace, &row)).transpose()
    }

    /// What of it is still to be done, by the database: it is the last place that a payload goes
    /// from, and where it went to the archive alone before, the last that learns of its erasure. In the
    /// order of the chain.
    pub async fn open(&self, conn: &mut PgConnection) -> Result<Vec<Open>, SealError> {
        let ids: Vec<String> = self.event_ids.iter().map(EventId::to_string).collect();
        let rows = sqlx::query(
            "SELECT DISTINCT e.seq, e.recorded_at FROM unnest($2::text[]::uuid[]) AS q (id)
             JOIN entries e ON e.workspace = $1 AND e.event_id = q.id
             WHERE e.seq < $3
               AND CASE WHEN e.payload IS NULL THEN e.archived AND e.erased_by IS NULL
                        ELSE event_type_of(e.payload) NOT LIKE 'ledger.%' END
             ORDER BY e.seq",
        )
        .bind(self.workspace.as_str())
        .bind(ids)
        .bind(self.seq.get().cast_signed())
        .fetch_all(conn)
        .await?;
        rows.iter().map(|row| Ok(Open { seq: seq(row)?, hour: hour(row)? })).collect()
    }

    /// What it erases.
    pub fn erased(&self) -> Erased {
        let mut erased = Erased::default();
        erased.add(self.seq, &self.event_ids);
        erased
    }
}

/// What the entries of one hour erase in their chain. Of earlier hours' requests this is nothing: they
/// name what lies before them. Of later ones' it is what will be amended once those are sealed.
pub async fn of_hour(
    conn: &mut PgConnection,
    workspace: &Workspace,
    hour: Hour,
) -> Result<Erased, SealError> {
    let rows = sqlx::query(requests_sql!(
        "WHERE r.workspace = $1 AND r.recorded_at >= $2 AND r.recorded_at < $3 ORDER BY r.seq"
    ))
    .bind(workspace.as_str())
    .bind(hour.start().get())
    .bind(hour.end())
    .fetch_all(conn)
    .await?;
    let mut erased = Erased::default();
    for row in &rows {
        let request = Request::read(workspace, row)?;
        erased.add(request.seq, &request.event_ids);
    }
    Ok(erased)
}

//! What is due: which days of which chunks are to be rolled up, by what the database knows of the log.

use std::collections::{BTreeMap, BTreeSet};

use ledger::hash::Digest;
use ledger::names::Workspace;
use ledger::rollup::{Definition, inputs_root};
use ledger::time::Day;
use sqlx::{PgConnection, Row as _};

use crate::amend::Place;
use crate::records::{bytes, decoded};
use crate::recover::Start;
use crate::rollup::{Rolled, Rolling};
use crate::{Disagreement, SealError};

/// How many days before the ledger's first hour a day may lie: events come late, but a date that is made up must not
/// fill the log.
const EARLY_DAYS: u16 = 31;

/// A workspace's chunks, and what is known of their days.
pub(crate) struct Chunks {
    pub(crate) workspace: Workspace,
    pub(crate) places: Vec<Place>,
    pub(crate) days: DaysOfChunks,
}

impl Chunks {
    pub(crate) async fn of(
        conn: &mut PgConnection,
        workspace: Workspace,
    ) -> Result<Self, SealError> {
        let days = days_of_chunks(conn, &workspace).await?;
        let mut places = Place::every(conn, &workspace).await?;
        places.sort_by_key(|place| place.log_index);
        Ok(Self { workspace, places, days })
    }

    /// Those that were not read yet, and can be.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &Place> {
        let is_new = |place: &&Place| !self.days.contains_key(&key(place)) && !place.pruned;
        self.places.iter().filter(is_new)
    }

    /// All of them in the order of the log, once the new ones were read.
    pub(crate) fn known(&self) -> Vec<Known<'_>> {
        let known = |place| {
            let days = self.days.get(&key(place)).cloned().unwrap_or_else(|| {
                // Nobody can tell any more. It counts for the days around its hour: those stay as they are.
                let day = Day::of(place.range.hour.start());
                Some(vec![day.back(1), day])
            });
            Known { place, days }
        };
        self.places.iter().map(known).collect()
    }
}

/// What tells the chunks of a workspace apart.
pub(crate) fn key(place: &Place) -> (u64, u32) {
    (place.range.first_seq.get(), place.erasure)
}

/// A chunk with what is known of its days.
pub(crate) struct Known<'a> {
    place: &'a Place,
    days: Option<Vec<Day>>,
}

impl Known<'_> {
    fn may_hold(&self, (from, to): (Day, Day)) -> bool {
        let Some(days) = &self.days else { return true };
        let at = days.partition_point(|day| *day < from);
        days.get(at).is_some_and(|day| *day <= to)
    }
}

/// A day that is to be computed.
pub(crate) struct DueDay<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) definition: &'a Definition,
    pub(crate) day: Day,
    /// The workspace's chunks, some of which it reads.
    known: &'a [Known<'a>],
    pub(crate) before: Option<Newest>,
}

impl<'a> DueDay<'a> {
    /// The chunks that it reads, and `H` of their manifests' notes.
    pub(crate) fn inputs(&self) -> (Vec<&'a Place>, Vec<Digest>) {
        let window = self.definition.window(self.day);
        let read = self.known.iter().filter(|chunk| chunk.may_hold(window));
        let places: Vec<&Place> = read.map(|chunk| chunk.place).collect();
        let notes = places.iter().map(|place| place.note).collect();
        (places, notes)
    }
}

/// The newest revision of a day.
pub(crate) struct Newest {
    pub(crate) revision: u32,
    pub(crate) inputs_root: Digest,
    pub(crate) sql_sha256: Digest,
    pub(crate) object: String,
}

/// The days of a workspace that are to be computed.
pub(crate) async fn due_days<'a>(
    conn: &mut PgConnection,
    start: &Start,
    rolling: &Rolling<'a>,
    (workspace, known): (&'a Workspace, &'a [Known<'a>]),
    first: Day,
    rolled: &mut Rolled,
) -> Result<Vec<DueDay<'a>>, SealError> {
    let Some((through, _)) = start.state.last_hour() else { return Ok(Vec::new()) };
    let days: BTreeSet<Day> = known.iter().flat_map(|c| c.days.iter().flatten()).copied().collect();
    let mut due = Vec::new();
    for definition in rolling.definitions {
        let mut newest = newest(conn, workspace, definition).await?;
        for day in &days {
            let is_over = definition.window(*day).1.end() <= through.end();
            if *day < first.back(EARLY_DAYS) || !is_over {
                rolled.outside += 1;
                continue;
            }
            let due_day =
                DueDay { workspace, definition, day: *day, known, before: newest.remove(day) };
            let (places, notes) = due_day.inputs();
            let root = inputs_root(&notes);
            if let Some(before) = &due_day.before
                && before.sql_sha256 != definition.sha256
            {
                return Err(changed(definition, before));
            }
            let is_current = due_day.before.as_ref().is_some_and(|it| it.inputs_root == root);
            if is_current && !rolling.rebuild {
                rolled.current += 1;
            } else if places.iter().any(|place| place.pruned) {
                rolled.frozen += 1;
            } else {
                due.push(due_day);
            }
        }
    }
    Ok(due)
}

fn changed(definition: &Definition, before: &Newest) -> SealError {
    let (name, version) = (definition.name.to_string(), definition.version);
    let (expected, found) = (before.sql_sha256, definition.sha256);
    Disagreement::Definition { name, version, expected, found }.into()
}

/// The day of the ledger's first hour.
pub(crate) async fn first_day(conn: &mut PgConnection) -> Result<Option<Day>, SealError> {
    let first: Option<i64> =
        sqlx::query_scalar("SELECT min(hour) FROM sealed_hours").fetch_one(conn).await?;
    Ok(first.and_then(ledger::time::Micros::new).map(Day::of))
}

/// The newest revision of each day.
async fn newest(
    conn: &mut PgConnection,
    workspace: &Workspace,
    definition: &Definition,
) -> Result<BTreeMap<Day, Newest>, SealError> {
    let rows = sqlx::query(
        "SELECT DISTINCT ON (day) day, revision, inputs_root, sql_sha256, object FROM rollups
         WHERE workspace = $1 AND name = $2 AND version = $3 ORDER BY day, revision DESC",
    )
    .bind(workspace.as_str())
    .bind(definition.name.as_str())
    .bind(i64::from(definition.version))
    .fetch_all(conn)
    .await?;
    let read = |row: &sqlx::postgres::PgRow| {
        let day = Day::new(row.try_get("day")?).ok_or(sqlx::Error::RowNotFound)?;
        let newest = Newest {
            revision: decoded("revision", u32::try_from(row.try_get::<i64, _>("revision")?))?,
            inputs_root: Digest::from_bytes(bytes(row, "inputs_root")?),
            sql_sha256: Digest::from_bytes(bytes(row, "sql_sha256")?),
            object: row.try_get("object")?,
        };
        Ok::<_, sqlx::Error>((day, newest))
    };
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

pub(crate) type DaysOfChunks = BTreeMap<(u64, u32), Option<Vec<Day>>>;

/// The days of each chunk that was read before, by its first seq and its erasure.
async fn days_of_chunks(
    conn: &mut PgConnection,
    workspace: &Workspace,
) -> Result<DaysOfChunks, SealError> {
    let rows = sqlx::query("SELECT first_seq, erasure, days FROM chunk_days WHERE workspace = $1");
    let rows = rows.bind(workspace.as_str()).fetch_all(conn).await?;
    let read = |row: &sqlx::postgres::PgRow| {
        let first = decoded("first_seq", u64::try_from(row.try_get::<i64, _>("first_seq")?))?;
        let erasure = decoded("erasure", u32::try_from(row.try_get::<i64, _>("erasure")?))?;
        let days: Option<Vec<i32>> = row.try_get("days")?;
        let days = days.map(|days| days.into_iter().filter_map(Day::new).collect());
        Ok::<_, sqlx::Error>(((first, erasure), days))
    };
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

pub(crate) async fn keep_days(
    conn: &mut PgConnection,
    place: &Place,
    days: Option<&[Day]>,
) -> Result<(), SealError> {
    let days: Option<Vec<i32>> = days.map(|days| days.iter().map(|day| day.get()).collect());
    sqlx::query(
        "INSERT INTO chunk_days (workspace, first_seq, erasure, days) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(place.range.workspace.as_str())
    .bind(place.range.first_seq.get().cast_signed())
    .bind(i64::from(place.erasure))
    .bind(days)
    .execute(conn)
    .await?;
    Ok(())
}

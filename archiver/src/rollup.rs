//! Rolling up: the order of its effects, and nothing else (docs/spec/rollups.md).
//!
//! 1. **Lock** and **recover**, as for sealing.
//! 2. For each workspace:
//!    1. each chunk that is new is **read** from the archive, and compared with its manifest, and that with the log:
//!       what it holds of a day is kept as facts, beside; which days these are, the database remembers;
//!    2. a day is **due** where it is over in the sealed log, with the days that its definition reads behind it, and
//!       the chunks that hold its events are not those that its newest revision was computed from;
//!    3. each due day is **computed** from those chunks alone; its **object** is written, **read back** and compared;
//!       then its **manifest**;
//!    4. the manifests are **published**, as leaves of the log like any other ([`crate::publish`]).
//!
//! What is due follows from the log alone, so a run that died is finished by the next one. The key of an object has
//! its digest in it: what a run that died left behind is in nobody's way, and the next one **removes** it first, where
//! the store lets it. Which keys these may be, the database knows before anything lies there.
//!
//! A day that reads a chunk whose object retention has removed is **frozen**: its newest revision stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ledger::chunk::ObjectDigest;
use ledger::hash::Digest;
use ledger::layout::Artefact;
use ledger::names::{RollupName, Workspace};
use ledger::rollup::{Definition, RollupManifest};
use ledger::time::Day;
use sqlx::{PgConnection, Row as _};
use verifier::rollup::{Computed, Differences, Task, compare, engine_name};

use crate::amend::Place;
use crate::computing::Computing;
use crate::publish::Batch;
use crate::records::{bytes, decoded};
use crate::recover::Start;
use crate::seal::Archiver;
use crate::step::Step;
use crate::vault::Removal;
use crate::{Disagreement, SealError};

/// Leaves that one checkpoint covers: so much is done anew at most where a run dies.
const BATCH_LEAVES: usize = 64;

/// New chunks whose days are remembered at a time: so many are read anew at most where a run dies.
const READ_AT_A_TIME: usize = 256;

/// How many days before the ledger's first hour a day may lie: events come late, but a date that is made up must not
/// fill the log.
const EARLY_DAYS: u16 = 31;

/// What is to be rolled up, and by what means.
#[derive(Debug)]
pub struct Rolling<'a> {
    /// The definitions.
    pub definitions: &'a [Definition],
    /// One workspace alone.
    pub workspace: Option<Workspace>,
    /// Whether days are computed anew that are not due.
    pub rebuild: bool,
    /// What computes.
    pub computing: Computing<'a>,
}

/// A day that was rolled up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledDay {
    /// The rollup.
    pub name: RollupName,
    /// The workspace.
    pub workspace: Workspace,
    /// The day.
    pub day: Day,
    /// How often it was restated before.
    pub revision: u32,
    /// Chunks that it was computed from.
    pub inputs: u64,
    /// Rows of the result.
    pub rows: u64,
    /// Events whose payloads an erasure has withheld.
    pub withheld: u64,
    /// Its object.
    pub object: String,
    /// What is other than in the revision before, where there is one.
    pub differences: Option<Differences>,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rolled {
    /// Days that were rolled up, in the order of the log.
    pub days: Vec<RolledDay>,
    /// Days whose newest revision is of the same chunks.
    pub current: u64,
    /// Days with a pruned chunk, whose newest revision stays as it is.
    pub frozen: u64,
    /// Days that events claim and that are not rolled up: over a month before the ledger began, or not over yet.
    pub outside: u64,
    /// Chunks that were read.
    pub chunks: u64,
    /// How often a job of a cluster was tried again.
    pub retries: u64,
    /// Leaves in the log.
    pub log_size: u64,
    /// Leaves that an earlier run had published without the database knowing.
    pub recovered: u64,
}

/// A chunk with what is known of its days.
struct Known {
    place: Place,
    days: Option<Vec<Day>>,
}

impl Known {
    fn may_hold(&self, (from, to): (Day, Day)) -> bool {
        let Some(days) = &self.days else { return true };
        let at = days.partition_point(|day| *day < from);
        days.get(at).is_some_and(|day| *day <= to)
    }
}

/// The newest revision of a day.
struct Newest {
    revision: u32,
    inputs_root: Digest,
    sql_sha256: Digest,
    object: String,
}

impl Archiver<'_> {
    /// Rolls up every day that is due.
    pub async fn roll_up(&self, rolling: &Rolling<'_>) -> Result<Rolled, SealError> {
        let (mut conn, mut start) = self.begin().await?;
        self.remove_drafts(&mut conn).await?;
        let mut rolled = Rolled { recovered: start.recovered, ..Rolled::default() };
        let workspaces: Vec<_> = start.state.tails().map(|(name, _)| name.clone()).collect();
        let first = first_day(&mut conn).await?;
        let of = |name: &Workspace| rolling.workspace.as_ref().is_none_or(|only| only == name);
        for workspace in workspaces.iter().filter(|name| of(name)) {
            self.roll_up_workspace(&mut conn, &mut start, rolling, workspace, first, &mut rolled)
                .await?;
        }
        rolled.log_size = start.log.size();
        Ok(rolled)
    }

    async fn roll_up_workspace(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        rolling: &Rolling<'_>,
        workspace: &Workspace,
        first: Option<Day>,
        rolled: &mut Rolled,
    ) -> Result<(), SealError> {
        let (Some(first), Some((through, _))) = (first, start.state.last_hour()) else {
            return Ok(());
        };
        let chunks = self.chunks(conn, start, rolling, workspace, rolled).await?;
        let days: BTreeSet<Day> =
            chunks.iter().flat_map(|c| c.days.iter().flatten()).copied().collect();
        let mut batch = Batch::new(start);
        for definition in rolling.definitions {
            let newest = newest(conn, workspace, definition).await?;
            for day in &days {
                let is_over = definition.window(*day).1.end() <= through.end();
                if *day < first.back(EARLY_DAYS) || !is_over {
                    rolled.outside += 1;
                    continue;
                }
                let inputs: Vec<&Known> =
                    chunks.iter().filter(|chunk| chunk.may_hold(definition.window(*day))).collect();
                let notes: Vec<Digest> = inputs.iter().map(|chunk| chunk.place.note).collect();
                let task =
                    Task { origin: &self.origin, workspace, day: *day, definition, inputs: &notes };
                let before = newest.get(day);
                if let Some(before) = before
                    && before.sql_sha256 != definition.sha256
                {
                    return Err(changed(definition, before));
                }
                let is_current = before.is_some_and(|it| it.inputs_root == task.inputs_root());
                if is_current && !rolling.rebuild {
                    rolled.current += 1;
                } else if inputs.iter().any(|chunk| chunk.place.pruned) {
                    rolled.frozen += 1;
                } else if let Some(done) = self
                    .roll_up_day(conn, start, rolling, &task, &inputs, before, &mut batch, rolled)
                    .await?
                {
                    rolled.days.push(done);
                } else {
                    rolled.current += 1;
                }
                if batch.len() >= BATCH_LEAVES {
                    let full = std::mem::replace(&mut batch, Batch::new(start));
                    self.publish(conn, start, full).await?;
                    batch = Batch::new(start);
                }
            }
        }
        if !batch.is_empty() {
            self.publish(conn, start, batch).await?;
        }
        Ok(())
    }

    /// Computes one day, writes its object and its manifest, and takes that up as a leaf. `None` where it comes to the
    /// object that is logged already.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are what one day needs, and no type of their own"
    )]
    async fn roll_up_day(
        &self,
        conn: &mut PgConnection,
        start: &Start,
        rolling: &Rolling<'_>,
        task: &Task<'_>,
        inputs: &[&Known],
        before: Option<&Newest>,
        batch: &mut Batch,
        rolled: &mut Rolled,
    ) -> Result<Option<RolledDay>, SealError> {
        let places: Vec<&Place> = inputs.iter().map(|chunk| &chunk.place).collect();
        let Computed { object, rows, withheld } =
            self.compute(start, &rolling.computing, task, &places, rolled).await?;
        let digest = ObjectDigest::of(&object);
        let revision = before.map_or(0, |before| before.revision.saturating_add(1));
        let definition = task.definition;
        let mut manifest = RollupManifest {
            origin: self.origin.clone(),
            name: definition.name.clone(),
            version: definition.version,
            sql_sha256: definition.sha256,
            workspace: task.workspace.clone(),
            day: task.day,
            revision,
            engine: engine_name(),
            inputs: u64::try_from(task.inputs.len()).unwrap_or(u64::MAX),
            inputs_root: task.inputs_root(),
            object: String::new(),
            digest,
        };
        let place = manifest.place();
        manifest.object = Artefact::Rollup(place.clone()).to_string();
        let object = Bytes::from(object);
        let mut differences = None;
        if let Some(before) = before {
            let old = Bytes::from(self.vault.get(&before.object)?.unwrap_or_default());
            // The digest stands in the key: the same object is the same figures from the same chunks.
            if old == object && before.inputs_root == manifest.inputs_root {
                return Ok(None);
            }
            differences = Some(compare(&old, &object, &definition.key)?);
        }
        sqlx::query("INSERT INTO rollup_drafts (object) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(&manifest.object)
            .execute(&mut *conn)
            .await?;
        self.put(&definition.artefact(), definition.sql.as_bytes())?;
        self.put(&Artefact::Rollup(place.clone()), &object)?;
        self.reach(Step::ObjectPut)?;
        let stored = self.vault.get(&manifest.object)?.unwrap_or_default();
        if ObjectDigest::of(&stored) != digest {
            let (object, finding) = (manifest.object, "it has other digests".to_owned());
            return Err(Disagreement::ReadBack { object, finding }.into());
        }
        self.reach(Step::ObjectReadBack)?;
        let note = self.sign(&manifest.to_body())?;
        self.put(&Artefact::RollupNote(place), note.as_bytes())?;
        self.reach(Step::ManifestPut)?;
        self.log_leaf(batch, note)?;
        let RollupManifest { name, workspace, day, inputs, object, .. } = manifest;
        Ok(Some(RolledDay {
            name,
            workspace,
            day,
            revision,
            inputs,
            rows,
            withheld,
            object,
            differences,
        }))
    }

    /// Removes what a run that died has left, and forgets what was logged.
    async fn remove_drafts(&self, conn: &mut PgConnection) -> Result<(), SealError> {
        let logged = "DELETE FROM rollup_drafts d USING rollups r WHERE r.object = d.object";
        sqlx::query(logged).execute(&mut *conn).await?;
        let left: Vec<String> =
            sqlx::query_scalar("SELECT object FROM rollup_drafts").fetch_all(&mut *conn).await?;
        for object in left {
            let Some(Artefact::Rollup(place)) = Artefact::parse(&object) else { continue };
            let note = self.vault.remove(&Artefact::RollupNote(place).to_string())?;
            let gone = self.vault.remove(&object)? == Removal::Gone && note == Removal::Gone;
            if gone {
                let forget =
                    sqlx::query("DELETE FROM rollup_drafts WHERE object = $1").bind(&object);
                forget.execute(&mut *conn).await?;
            }
        }
        Ok(())
    }

    /// The chunks of a workspace in the order of the log, each with its days. Those that are new are read.
    async fn chunks(
        &self,
        conn: &mut PgConnection,
        start: &Start,
        rolling: &Rolling<'_>,
        workspace: &Workspace,
        rolled: &mut Rolled,
    ) -> Result<Vec<Known>, SealError> {
        let mut known = days_of_chunks(conn, workspace).await?;
        let places = Place::every(conn, workspace).await?;
        let key = |place: &Place| (place.range.first_seq.get(), place.erasure);
        let is_new = |place: &&Place| !known.contains_key(&key(place)) && !place.pruned;
        let new: Vec<&Place> = places.iter().filter(is_new).collect();
        for some in new.chunks(READ_AT_A_TIME) {
            let days = self.days(start, &rolling.computing, some, rolled).await?;
            for (place, days) in some.iter().zip(days) {
                keep_days(conn, place, days.as_deref()).await?;
                known.insert(key(place), days);
            }
        }
        let with_days = |place: Place| {
            let days = known.get(&key(&place)).cloned().unwrap_or_else(|| {
                // Nobody can tell any more. It counts for the days around its hour: those stay as they are.
                let day = Day::of(place.range.hour.start());
                Some(vec![day.back(1), day])
            });
            Known { place, days }
        };
        let mut chunks: Vec<Known> = places.into_iter().map(with_days).collect();
        chunks.sort_by_key(|chunk| chunk.place.log_index);
        Ok(chunks)
    }
}

fn changed(definition: &Definition, before: &Newest) -> SealError {
    let (name, version) = (definition.name.to_string(), definition.version);
    let (expected, found) = (before.sql_sha256, definition.sha256);
    Disagreement::Definition { name, version, expected, found }.into()
}

/// The day of the ledger's first hour.
async fn first_day(conn: &mut PgConnection) -> Result<Option<Day>, SealError> {
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

type DaysOfChunks = BTreeMap<(u64, u32), Option<Vec<Day>>>;

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

async fn keep_days(
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

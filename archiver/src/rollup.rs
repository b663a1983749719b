//! Rolling up: the order of its effects, and nothing else (docs/spec/rollups.md).
//!
//! 1. **Lock** and **recover**, as for sealing.
//! 2. For some workspaces at a time:
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
use ledger::layout::Artefact;
use ledger::names::{RollupName, Workspace};
use ledger::rollup::{Definition, RollupManifest};
use ledger::time::Day;
use sqlx::PgConnection;
use verifier::rollup::{Computed, Differences, Task, compare, engine_name};

use crate::amend::Place;
use crate::computing::{Computing, Due};
use crate::due::{Chunks, DueDay, Newest, due_days, first_day, keep_days, key};
use crate::publish::Batch;
use crate::recover::Start;
use crate::seal::Archiver;
use crate::step::Step;
use crate::vault::Removal;
use crate::{Disagreement, SealError};

/// Leaves that one checkpoint covers: so much is done anew at most where a run dies.
const BATCH_LEAVES: usize = 64;

/// Chunks of so many are held at a time, where they are of several workspaces.
const CHUNKS_AT_A_TIME: usize = 10_000;

/// New chunks whose days are remembered at a time: so many are read anew at most where a run dies.
const READ_AT_A_TIME: usize = 256;

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

impl Archiver<'_> {
    /// Rolls up every day that is due.
    pub async fn roll_up(&self, rolling: &Rolling<'_>) -> Result<Rolled, SealError> {
        let (mut conn, mut start) = self.begin().await?;
        self.remove_drafts(&mut conn).await?;
        let mut rolled = Rolled { recovered: start.recovered, ..Rolled::default() };
        let workspaces: Vec<_> = start.state.tails().map(|(name, _)| name.clone()).collect();
        let of = |name: &Workspace| rolling.workspace.as_ref().is_none_or(|only| only == name);
        let (mut some, mut failed) = (Vec::new(), None);
        for workspace in workspaces.into_iter().filter(of) {
            some.push(Chunks::of(&mut conn, workspace).await?);
            // Small workspaces go together, so that no core waits; of large ones no more are held than must be.
            if some.iter().map(|chunks| chunks.places.len()).sum::<usize>() >= CHUNKS_AT_A_TIME {
                let some = std::mem::take(&mut some);
                self.roll_up_some(&mut conn, &mut start, rolling, some, &mut rolled, &mut failed)
                    .await?;
            }
        }
        self.roll_up_some(&mut conn, &mut start, rolling, some, &mut rolled, &mut failed).await?;
        rolled.log_size = start.log.size();
        failed.map_or(Ok(rolled), Err)
    }

    /// Rolls up what is due of some workspaces. What is wrong with a chunk or a day keeps no other workspace, and no
    /// other day, from its figures: the first such error comes to `failed`.
    async fn roll_up_some(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        rolling: &Rolling<'_>,
        mut workspaces: Vec<Chunks>,
        rolled: &mut Rolled,
        failed: &mut Option<SealError>,
    ) -> Result<(), SealError> {
        let Some(first) = first_day(conn).await? else { return Ok(()) };
        self.read_new(conn, start, rolling, &mut workspaces, rolled, failed).await?;
        let mut due = Vec::new();
        let known: Vec<_> = workspaces.iter().map(|chunks| (chunks, chunks.known())).collect();
        for (Chunks { workspace, .. }, known) in &known {
            due.extend(due_days(conn, start, rolling, (workspace, known), first, rolled).await?);
        }
        let mut batch = Batch::new(start);
        for some in due.chunks(rolling.computing.at_a_time()) {
            let inputs: Vec<_> = some.iter().map(DueDay::inputs).collect();
            let mut tasks: Vec<Due<'_>> = Vec::with_capacity(some.len());
            for (day, (places, notes)) in some.iter().zip(&inputs) {
                let DueDay { workspace, definition, day, .. } = day;
                let task =
                    Task { origin: &self.origin, workspace, day: *day, definition, inputs: notes };
                tasks.push((task, places.clone()));
            }
            let computed = self.compute(start, &rolling.computing, &tasks, rolled).await?;
            for ((day, (task, _)), computed) in some.iter().zip(&tasks).zip(computed) {
                let computed = match computed {
                    Ok(computed) => computed,
                    Err(error) if stands_alone(&error) => {
                        failed.get_or_insert(error);
                        continue;
                    }
                    Err(error) => {
                        // What was computed before counts all the same.
                        if !batch.is_empty() {
                            self.publish(conn, start, batch).await?;
                        }
                        return Err(error);
                    }
                };
                let before = day.before.as_ref();
                match self.put_day(conn, task, computed, before, &mut batch).await? {
                    Some(done) => rolled.days.push(done),
                    None => rolled.current += 1,
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

    /// Writes the object of a day and its manifest, and takes that up as a leaf. `None` where it is the object that is
    /// logged already.
    async fn put_day(
        &self,
        conn: &mut PgConnection,
        task: &Task<'_>,
        computed: Computed,
        before: Option<&Newest>,
        batch: &mut Batch,
    ) -> Result<Option<RolledDay>, SealError> {
        let Computed { object, rows, withheld } = computed;
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

    /// Reads the chunks that are new, and keeps their days. A workspace of which one cannot be read is left out.
    async fn read_new(
        &self,
        conn: &mut PgConnection,
        start: &Start,
        rolling: &Rolling<'_>,
        workspaces: &mut Vec<Chunks>,
        rolled: &mut Rolled,
        failed: &mut Option<SealError>,
    ) -> Result<(), SealError> {
        let (mut read, mut left_out) = (BTreeMap::new(), BTreeSet::new());
        let new: Vec<&Place> = workspaces.iter().flat_map(Chunks::unread).collect();
        for some in new.chunks(READ_AT_A_TIME) {
            let days = self.days(start, &rolling.computing, some, rolled).await?;
            for (place, days) in some.iter().zip(days) {
                match days {
                    Ok(days) => {
                        keep_days(conn, place, days.as_deref()).await?;
                        read.insert(place.note, days);
                    }
                    Err(error) if stands_alone(&error) => {
                        left_out.insert(place.range.workspace.clone());
                        failed.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for Chunks { places, days, .. } in &mut *workspaces {
            for place in places {
                if let Some(read) = read.remove(&place.note) {
                    days.insert(key(place), read);
                }
            }
        }
        workspaces.retain(|chunks| !left_out.contains(&chunks.workspace));
        Ok(())
    }
}

/// Whether an error is about one chunk or one day. A store that does not answer is about all of them.
fn stands_alone(error: &SealError) -> bool {
    matches!(error, SealError::Rollup(_) | SealError::Disagreement(_))
}

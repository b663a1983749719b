//! Where rollups are computed: here, or on a cluster.

#[cfg(feature = "distributed")]
use std::collections::BTreeSet;
use std::path::PathBuf;
#[cfg(feature = "distributed")]
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use ledger::time::Day;
use ledger::verify::ChunkCheck;
#[cfg(feature = "distributed")]
use verifier::rollup::cluster::{Cluster, Input};
#[cfg(feature = "distributed")]
use verifier::rollup::compare;
use verifier::rollup::{Computed, Engine, FactsFile, RollupError, Task, write_facts};

use crate::SealError;
use crate::amend::{Place, manifest_of, wrong};
use crate::recover::Start;
use crate::rollup::Rolled;
use crate::seal::Archiver;

/// By what means rollups are computed.
#[derive(Debug)]
pub struct Computing<'a> {
    engine: &'a Engine,
    /// Where facts are kept, in files named by the manifests that they were read by.
    facts: PathBuf,
    #[cfg(feature = "distributed")]
    cluster: Option<OnCluster<'a>>,
}

#[cfg(feature = "distributed")]
#[derive(Debug)]
struct OnCluster<'a> {
    cluster: &'a Cluster,
    /// Rollups of which a day was computed here as well, by workspace and name.
    compared: Mutex<BTreeSet<(String, String)>>,
}

impl<'a> Computing<'a> {
    /// All of it here.
    pub fn here(engine: &'a Engine, facts: PathBuf) -> Self {
        Self {
            engine,
            facts,
            #[cfg(feature = "distributed")]
            cluster: None,
        }
    }

    /// On a cluster; the first day of each rollup and workspace, and the days of the first chunk that is new, here as
    /// well: where they differ, nothing is written.
    #[cfg(feature = "distributed")]
    pub fn on(cluster: &'a Cluster, engine: &'a Engine, facts: PathBuf) -> Self {
        let compared = Mutex::default();
        Self { engine, facts, cluster: Some(OnCluster { cluster, compared }) }
    }
}

impl Archiver<'_> {
    /// Computes a day from these chunks.
    pub(crate) async fn compute(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        task: &Task<'_>,
        places: &[&Place],
        rolled: &mut Rolled,
    ) -> Result<Computed, SealError> {
        #[cfg(feature = "distributed")]
        if let Some(OnCluster { cluster, compared }) = &computing.cluster {
            let inputs = self.inputs(start, places)?;
            let done = cluster.compute(task, &inputs).await.map_err(told)?;
            let name = (task.workspace.to_string(), task.definition.name.to_string());
            let is_first = compared.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
            if is_first {
                let here = self.compute_here(start, computing, task, places, rolled).await?;
                if here.object != done.object {
                    return Err(differs(task, done, here).into());
                }
            }
            return Ok(done);
        }
        self.compute_here(start, computing, task, places, rolled).await
    }

    async fn compute_here(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        task: &Task<'_>,
        places: &[&Place],
        rolled: &mut Rolled,
    ) -> Result<Computed, SealError> {
        let mut facts = Vec::with_capacity(places.len());
        for place in places {
            facts.push(self.facts(start, computing, place, rolled)?);
        }
        Ok(computing.engine.compute(task, &facts).await?)
    }

    /// The days of `occurred_at` in each of these chunks, which are read for that; `None` where they are too many.
    pub(crate) async fn days(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        places: &[&Place],
        rolled: &mut Rolled,
    ) -> Result<Vec<Option<Vec<Day>>>, SealError> {
        #[cfg(feature = "distributed")]
        if let Some(OnCluster { cluster, .. }) = &computing.cluster {
            let inputs = self.inputs(start, places)?;
            let days = cluster.days(&inputs).await.map_err(told)?;
            // They are kept, and say which chunks a day is computed from: one of them is read here, too.
            if let (Some(place), Some(found)) = (places.first(), days.first()) {
                let file = self.facts(start, computing, place, rolled)?;
                let here = match file.days {
                    None => verifier::rollup::days(&file.path)?,
                    days => days,
                };
                if here != *found {
                    let object = inputs.first().map(|input| input.manifest.object.clone());
                    let what = format!("the days of {}", object.unwrap_or_default());
                    let differences = format!("{} -> {}", shown(found), shown(&here));
                    return Err(RollupError::ClusterDiffers { what, differences }.into());
                }
            }
            rolled.chunks += u64::try_from(places.len()).unwrap_or(u64::MAX);
            return Ok(days);
        }
        let days = |place: &&Place| Ok(self.facts(start, computing, place, rolled)?.days);
        places.iter().map(days).collect()
    }

    /// What a chunk says of days: as it was read before, or from the archive.
    fn facts(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        place: &Place,
        rolled: &mut Rolled,
    ) -> Result<FactsFile, SealError> {
        let path = computing.facts.join(format!("{}.parquet", place.note));
        if path.exists() {
            return Ok(FactsFile { path, days: None });
        }
        let manifest =
            manifest_of(self.vault, start.line.at(place.log_index), &self.origin, place)?;
        let object = Bytes::from(self.vault.get(&manifest.object)?.unwrap_or_default());
        if let Err(outcome) = ChunkCheck::open(&manifest, &object) {
            let problem = outcome.findings.first().map(ToString::to_string);
            return Err(wrong(&manifest.object, problem.unwrap_or_default()).into());
        }
        rolled.chunks += 1;
        // Whole or not there: a file that a run left half written is none.
        let draft = computing.facts.join(format!("{}.new", place.note));
        let facts = write_facts(&manifest, &object, &draft)?;
        let moved = std::fs::rename(&draft, &path);
        moved.map_err(|error| RollupError::Io { path: path.display().to_string(), error })?;
        Ok(FactsFile { path, days: facts.days })
    }

    /// Chunks as a cluster is told of them: by their manifests, which were compared with the log.
    #[cfg(feature = "distributed")]
    fn inputs(&self, start: &Start, places: &[&Place]) -> Result<Vec<Input>, SealError> {
        let input = |place: &&Place| {
            let seal_key = start.line.at(place.log_index);
            let manifest = manifest_of(self.vault, seal_key, &self.origin, place)?;
            Ok(Input { note: place.note, manifest })
        };
        places.iter().map(input).collect()
    }
}

#[cfg(feature = "distributed")]
fn shown(days: &Option<Vec<Day>>) -> String {
    let Some(days) = days else { return "too many to tell".to_owned() };
    days.iter().map(Day::to_string).collect::<Vec<_>>().join(" ")
}

/// In what a cluster's figures differ.
#[cfg(feature = "distributed")]
fn differs(task: &Task<'_>, cluster: Computed, here: Computed) -> RollupError {
    let what = format!("{} of {} on {}", task.definition.name, task.workspace, task.day);
    let (cluster, here) = (Bytes::from(cluster.object), Bytes::from(here.object));
    let differences = match compare(&cluster, &here, &task.definition.key) {
        Ok(found) => {
            let (changed, added, removed) = (found.changed, found.added, found.removed);
            let rows: Vec<_> = found.rows.iter().map(ToString::to_string).collect();
            let rows = rows.join("; ");
            format!("{changed} rows changed, {added} added, {removed} removed: {rows}")
        }
        Err(error) => error.to_string(),
    };
    RollupError::ClusterDiffers { what, differences }
}

/// What an executor has found out is said as if it was found out here.
#[cfg(feature = "distributed")]
fn told(error: RollupError) -> SealError {
    match error {
        RollupError::NotAsSealed { object, reason } => wrong(&object, reason).into(),
        error => error.into(),
    }
}

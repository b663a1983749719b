//! Where rollups are computed: here, or on a cluster.

use std::collections::BTreeMap;
#[cfg(feature = "distributed")]
use std::collections::BTreeSet;
use std::path::PathBuf;
#[cfg(feature = "distributed")]
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
#[cfg(feature = "distributed")]
use futures_util::future::join_all;
use ledger::time::Day;
use ledger::verify::ChunkCheck;
#[cfg(feature = "distributed")]
use verifier::rollup::cluster::{Cluster, Input};
#[cfg(feature = "distributed")]
use verifier::rollup::compare;
use verifier::rollup::{Computed, Engine, FactsFile, RollupError, Task, on_threads, write_facts};

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

/// A day that is to be computed, and the chunks that it reads.
pub(crate) type Due<'t> = (Task<'t>, Vec<&'t Place>);

/// Jobs that a cluster is given at a time.
#[cfg(feature = "distributed")]
const JOBS_AT_A_TIME: usize = 4;

impl Computing<'_> {
    /// How many days are best computed at a time.
    pub(crate) fn at_a_time(&self) -> usize {
        #[cfg(feature = "distributed")]
        if self.cluster.is_some() {
            return JOBS_AT_A_TIME;
        }
        self.engine.at_a_time()
    }
}

impl Archiver<'_> {
    /// Computes some days, and gives what each comes to in their order. It is an error for all of them where a cluster
    /// comes to other figures than this machine: none of what it computes is to be believed then.
    pub(crate) async fn compute(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        due: &[Due<'_>],
        rolled: &mut Rolled,
    ) -> Result<Vec<Result<Computed, SealError>>, SealError> {
        #[cfg(feature = "distributed")]
        if let Some(on) = &computing.cluster {
            return self.compute_there(start, computing, on, due, rolled).await;
        }
        Ok(self.compute_here(start, computing, due, rolled))
    }

    #[cfg(feature = "distributed")]
    async fn compute_there(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        on: &OnCluster<'_>,
        due: &[Due<'_>],
        rolled: &mut Rolled,
    ) -> Result<Vec<Result<Computed, SealError>>, SealError> {
        let job = async |(task, places): &Due<'_>| {
            let inputs = self.inputs(start, places)?;
            on.cluster.compute(task, &inputs).await.map_err(told)
        };
        let all = join_all(due.iter().map(job)).await;
        for (due, result) in due.iter().zip(&all) {
            let Ok(done) = result else { continue };
            let task = &due.0;
            let name = (task.workspace.to_string(), task.definition.name.to_string());
            let is_first = on.compared.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
            if is_first {
                let here = self.compute_here(start, computing, std::slice::from_ref(due), rolled);
                for here in here {
                    let here = here?;
                    if here.object != done.object {
                        return Err(differs(task, done.clone(), here).into());
                    }
                }
            }
        }
        Ok(all)
    }

    fn compute_here(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        due: &[Due<'_>],
        rolled: &mut Rolled,
    ) -> Vec<Result<Computed, SealError>> {
        let mut tasks = Vec::with_capacity(due.len());
        let mut failed = BTreeMap::new();
        for (at, (task, places)) in due.iter().enumerate() {
            let facts = self.facts(start, computing, places, rolled).into_iter();
            match facts.collect::<Result<Vec<_>, _>>() {
                Ok(facts) => tasks.push((task.clone(), facts)),
                Err(error) => drop(failed.insert(at, error)),
            }
        }
        let mut computed = computing.engine.compute_all(&tasks).into_iter();
        let results = (0..due.len()).map(|at| match failed.remove(&at) {
            Some(error) => Some(Err(error)),
            None => computed.next().map(|computed| computed.map_err(SealError::from)),
        });
        results.map_while(|result| result).collect()
    }

    /// The days of `occurred_at` in each of these chunks, which are read for that; `None` where they are too many.
    pub(crate) async fn days(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        places: &[&Place],
        rolled: &mut Rolled,
    ) -> Result<Vec<Result<Option<Vec<Day>>, SealError>>, SealError> {
        #[cfg(feature = "distributed")]
        if let Some(OnCluster { cluster, .. }) = &computing.cluster {
            let inputs = self.inputs(start, places)?;
            let days = cluster.days(&inputs).await.map_err(told)?;
            // They are kept, and say which chunks a day is computed from: one of them is read here, too.
            let first = places.get(..1).unwrap_or_default();
            let here = self.facts(start, computing, first, rolled);
            if let (Some(file), Some(found)) = (here.into_iter().next(), days.first()) {
                let here = days_of(file?);
                if here != *found {
                    let object = inputs.first().map(|input| input.manifest.object.clone());
                    let what = format!("the days of {}", object.unwrap_or_default());
                    let differences = format!("{} -> {}", shown(found), shown(&here));
                    return Err(RollupError::ClusterDiffers { what, differences }.into());
                }
            }
            rolled.chunks += u64::try_from(places.len()).unwrap_or(u64::MAX);
            return Ok(days.into_iter().map(Ok).collect());
        }
        let facts = self.facts(start, computing, places, rolled);
        Ok(facts.into_iter().map(|file| Ok(days_of(file?))).collect())
    }

    /// What chunks say of days: as they were read before, or from the archive.
    fn facts(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        places: &[&Place],
        rolled: &mut Rolled,
    ) -> Vec<Result<FactsFile, SealError>> {
        let read = on_threads(places, computing.engine.partitions(), |place| {
            self.facts_of(start, computing, place)
        });
        let each = read.into_iter().map(|read| {
            let (file, is_new) = read?;
            rolled.chunks += u64::from(is_new);
            Ok(file)
        });
        each.collect()
    }

    /// The facts of one chunk, and whether it was read from the archive.
    fn facts_of(
        &self,
        start: &Start,
        computing: &Computing<'_>,
        place: &Place,
    ) -> Result<(FactsFile, bool), SealError> {
        let path = computing.facts.join(format!("{}.parquet", place.note));
        if let Some(file) = FactsFile::open(&path) {
            return Ok((file, false));
        }
        let manifest =
            manifest_of(self.vault, start.line.at(place.log_index), &self.origin, place)?;
        let object = Bytes::from(self.vault.get(&manifest.object)?.unwrap_or_default());
        if let Err(outcome) = ChunkCheck::open(&manifest, &object) {
            let problem = outcome.findings.first().map(ToString::to_string);
            return Err(wrong(&manifest.object, problem.unwrap_or_default()).into());
        }
        // Whole or not there: a file that a run left half written is none.
        let draft = computing.facts.join(format!("{}.new", place.note));
        let facts = write_facts(&manifest, &object, &draft)?;
        let moved = std::fs::rename(&draft, &path);
        moved.map_err(|error| RollupError::Io { path: path.display().to_string(), error })?;
        Ok((FactsFile { path, days: facts.days }, true))
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

/// The days of a chunk, in order.
fn days_of(file: FactsFile) -> Option<Vec<Day>> {
    Some(file.days?.into_keys().collect())
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

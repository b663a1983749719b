//! DataFusion, held to what a rollup may do: read `events` and `period`, in bounded memory, with a result that does not
//! depend on how the work was spread.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use ledger::hash::Digest;
use ledger::rollup::Definition;

use super::facts::OCCURRED;
use super::object::Computed;
use super::plans::{Inputs, Planned, Plans, config};
use super::threads::on_threads;
use super::{FactsFile, RollupError, Task, facts};

/// Rows that are read at a time.
pub(super) const BATCH_ROWS: usize = 8_192;

/// Bytes of memory that a computation gets at least where several share it.
const LEAST_MEMORY: usize = 32 << 20;

/// The name and version of the engine, as a manifest states it.
pub fn engine_name() -> String {
    format!("datafusion {}", datafusion::DATAFUSION_VERSION)
}

/// Computes rollups.
#[derive(Debug)]
pub struct Engine {
    memory: usize,
    partitions: usize,
    spill: PathBuf,
    /// By the digest of a definition's text, and by how many partitions it is spread over.
    plans: Mutex<BTreeMap<(Digest, usize), Plans>>,
}

/// What one computation may take.
#[derive(Clone, Copy)]
struct Share {
    memory: usize,
    partitions: usize,
}

impl Engine {
    /// An engine that holds `memory` bytes of intermediate results at most, spills what is above that into `spill`, and
    /// spreads its work over so many partitions.
    pub fn new(memory: usize, partitions: usize, spill: &Path) -> Self {
        let spill = spill.to_owned();
        Self { memory, partitions: partitions.max(1), spill, plans: Mutex::default() }
    }

    /// Over how many partitions it spreads its work.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// How many rollups are best computed at a time: enough that no core waits long for the last of them, and no more
    /// results than that are held.
    pub fn at_a_time(&self) -> usize {
        self.partitions.saturating_mul(4)
    }

    /// Computes a rollup from the facts of its inputs. Their order does not matter.
    pub async fn compute(
        &self,
        task: &Task<'_>,
        inputs: &[FactsFile],
    ) -> Result<Computed, RollupError> {
        self.compute_with(task, inputs, &|_| ()).await
    }

    /// The same; `planned` is told of each plan before it is run.
    pub(super) async fn compute_with(
        &self,
        task: &Task<'_>,
        inputs: &[FactsFile],
        planned: Planned<'_>,
    ) -> Result<Computed, RollupError> {
        let whole = Share { memory: self.memory, partitions: self.partitions };
        self.run(task, inputs, whole, planned).await.map_err(|error| told(task, error))
    }

    /// Computes several, side by side where there are several cores, and gives what they come to in their order. Keeps
    /// the thread busy until then.
    pub fn compute_all(
        &self,
        tasks: &[(Task<'_>, Vec<FactsFile>)],
    ) -> Vec<Result<Computed, RollupError>> {
        let room = self.memory / LEAST_MEMORY;
        let threads = self.partitions.min(tasks.len()).min(room).max(1);
        let partitions = self.partitions.div_ceil(threads);
        let share = Share { memory: self.memory / threads, partitions };
        let each = |tasks: &[(Task<'_>, Vec<FactsFile>)], share: Share, threads| {
            on_threads(tasks, threads, |(task, inputs)| {
                on_this_thread(share.partitions, self.run(task, inputs, share, &|_| ()))?
            })
        };
        let whole = Share { memory: self.memory, partitions: self.partitions };
        let mut results = Vec::with_capacity(tasks.len());
        for (task, mut result) in tasks.iter().zip(each(tasks, share, threads)) {
            // What is too large for a share of the memory gets all of it.
            if threads > 1 && result.as_ref().is_err_and(Failure::is_of_memory) {
                let alone = each(std::slice::from_ref(task), whole, 1).pop();
                result = alone.unwrap_or(result);
            }
            results.push(result.map_err(|error| told(&task.0, error)));
        }
        results
    }

    async fn run(
        &self,
        task: &Task<'_>,
        inputs: &[FactsFile],
        share: Share,
        planned: Planned<'_>,
    ) -> Result<Computed, Failure> {
        let mode = DiskManagerMode::Directories(vec![self.spill.clone()]);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(share.memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
            .build_arc()?;
        let (from, to) = task.definition.window(task.day);
        let files = inputs.iter().filter(|facts| facts.may_hold(from, to));
        let withheld = files.clone().map(|facts| facts.withheld(from, to)).sum();
        let files = files.map(|facts| facts.path.clone()).collect();
        let inputs = Inputs::new(task, files, share.partitions)?;
        let config = config(share.partitions).with_extension(Arc::new(inputs));
        let context = TaskContext::default().with_session_config(config).with_runtime(runtime);
        let plans = self.plans(task.definition, share.partitions).await?;
        plans.again()?.run(task, Arc::new(context), withheld, planned).await
    }

    /// The plans of a definition, made once.
    async fn plans(
        &self,
        definition: &Definition,
        partitions: usize,
    ) -> Result<Plans, DataFusionError> {
        let key = (definition.sha256, partitions);
        let made = self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(plans) = made {
            return Ok(plans);
        }
        let plans = Plans::lasting(definition, partitions).await?;
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).insert(key, plans.clone());
        Ok(plans)
    }
}

/// Runs what the engine does on the thread that asks for it, on which no runtime may be at work, and on as many more as
/// there are partitions where there are several.
fn on_this_thread<T>(partitions: usize, work: impl Future<Output = T>) -> Result<T, RollupError> {
    let runtime = match partitions {
        0 | 1 => tokio::runtime::Builder::new_current_thread().build(),
        several => tokio::runtime::Builder::new_multi_thread().worker_threads(several).build(),
    };
    let runtime = runtime.map_err(|error| RollupError::Engine(error.to_string()))?;
    Ok(runtime.block_on(work))
}

fn told(task: &Task<'_>, failure: Failure) -> RollupError {
    match failure {
        Failure::Told(error) => error,
        Failure::Engine(error) => RollupError::Sql {
            name: task.definition.name.to_string(),
            version: task.definition.version,
            day: task.day,
            reason: error.strip_backtrace(),
        },
    }
}

/// What ended a computation.
pub(super) enum Failure {
    Told(RollupError),
    Engine(DataFusionError),
}

impl Failure {
    /// Whether there was too little memory.
    fn is_of_memory(&self) -> bool {
        let Self::Engine(error) = self else { return false };
        matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
    }
}

impl From<RollupError> for Failure {
    fn from(error: RollupError) -> Self {
        Self::Told(error)
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Self::Engine(error)
    }
}

/// The rows of a file of facts that occurred in time: these columns, in this order.
pub(super) fn occurred_in(
    path: &Path,
    columns: &[usize],
    window: (i64, i64),
) -> Result<impl Iterator<Item = Result<RecordBatch, DataFusionError>> + use<>, DataFusionError> {
    // Columns come in the order of the file, and the time comes with them: it is what is filtered by.
    let mut read = columns.to_vec();
    read.push(OCCURRED);
    read.sort_unstable();
    read.dedup();
    let place = |column: usize| read.iter().position(|read| *read == column);
    let order: Vec<usize> = columns.iter().filter_map(|column| place(*column)).collect();
    let occurred = place(OCCURRED).unwrap_or_default();
    let batches = facts::read(path, &read, BATCH_ROWS)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    Ok(batches.map(move |batch| take(&batch?, window, occurred, &order)))
}

/// The rows of a batch that occurred in time, with the columns in order.
fn take(
    batch: &RecordBatch,
    (from, to): (i64, i64),
    occurred: usize,
    order: &[usize],
) -> Result<RecordBatch, DataFusionError> {
    let times =
        batch.column(occurred).as_any().downcast_ref::<arrow::array::PrimitiveArray<Int64Type>>();
    let times =
        times.ok_or_else(|| DataFusionError::Internal("occurred_us is no number".to_owned()))?;
    let inside = |at: &i64| (from..to).contains(at);
    let projected = batch.project(order)?;
    if times.values().iter().all(inside) {
        return Ok(projected);
    }
    let mask = times.values().iter().map(|at| Some(inside(at))).collect();
    Ok(filter_record_batch(&projected, &mask)?)
}

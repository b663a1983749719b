//! DataFusion, held to what a rollup may do: read `events` and `period`, in bounded memory, with a result that does not
//! depend on how the work was spread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array as _, Date32Array, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, project_schema};
use datafusion::datasource::MemTable;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, collect, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures_util::{StreamExt as _, stream};
use ledger::time::Day;

use super::object::{Computed, ObjectWriter};
use super::{FactsFile, RollupError, Task, facts};

/// Rows that are read at a time.
pub(super) const BATCH_ROWS: usize = 8_192;

/// The place of `occurred_us` in the facts.
pub(super) const OCCURRED: usize = 3;

/// The name and version of the engine, as a manifest states it.
pub fn engine_name() -> String {
    format!("datafusion {}", datafusion::DATAFUSION_VERSION)
}

/// Computes rollups.
#[derive(Debug)]
pub struct Engine {
    runtime: Arc<RuntimeEnv>,
    partitions: usize,
}

impl Engine {
    /// An engine that holds `memory` bytes of intermediate results at most, spills what is above that into `spill`, and
    /// spreads its work over so many partitions.
    pub fn new(memory: usize, partitions: usize, spill: &Path) -> Result<Self, RollupError> {
        let disk = DiskManagerBuilder::default().with_mode(
            datafusion::execution::disk_manager::DiskManagerMode::Directories(vec![
                spill.to_owned(),
            ]),
        );
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|error| RollupError::Engine(error.to_string()))?;
        Ok(Self { runtime, partitions: partitions.max(1) })
    }

    /// Computes a rollup from the facts of its inputs. Their order does not matter.
    pub async fn compute(
        &self,
        task: &Task<'_>,
        inputs: &[FactsFile],
    ) -> Result<Computed, RollupError> {
        let definition = task.definition;
        self.run(task, inputs).await.map_err(|error| match error {
            Failure::Told(error) => error,
            Failure::Engine(error) => RollupError::Sql {
                name: definition.name.to_string(),
                version: definition.version,
                day: task.day,
                reason: error.strip_backtrace(),
            },
        })
    }

    async fn run(&self, task: &Task<'_>, inputs: &[FactsFile]) -> Result<Computed, Failure> {
        let config = SessionConfig::new()
            .with_target_partitions(self.partitions)
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(false);
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime));
        context.register_table("period", Arc::new(period(task.day)?))?;
        let (from, to) = task.definition.window(task.day);
        let files = inputs.iter().filter(|facts| facts.may_hold(from, to));
        let files = files.map(|facts| facts.path.clone()).collect();
        let events = Events { files, window: (from.start().get(), to.end()) };
        context.register_table("events", Arc::new(events))?;
        compute_in(&context, task, &|_| ()).await
    }
}

/// Computes a rollup from the tables of a context; `planned` is told of each plan before it is run.
pub(super) async fn compute_in(
    context: &SessionContext,
    task: &Task<'_>,
    planned: &(dyn Fn(&Arc<dyn ExecutionPlan>) + Sync),
) -> Result<Computed, Failure> {
    let erased = "SELECT count(*) FROM events WHERE event_type = 'ledger.erased'";
    let plan = context.sql(erased).await?.create_physical_plan().await?;
    planned(&plan);
    let withheld = count(&collect(plan, context.task_ctx()).await?);
    // Whoever holds the seal key may have written the text: it reads these two tables, and does nothing else.
    let only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(&task.definition.sql, only).await?;
    let plan = frame.create_physical_plan().await?;
    planned(&plan);
    let mut batches = execute_stream(plan, context.task_ctx())?;
    let mut writer = ObjectWriter::new(task, &batches.schema(), withheld)?;
    while let Some(batch) = batches.next().await {
        writer.push(batch?)?;
    }
    Ok(writer.finish(withheld)?)
}

/// What ended a computation.
pub(super) enum Failure {
    Told(RollupError),
    Engine(DataFusionError),
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

fn count(batches: &[RecordBatch]) -> u64 {
    let column = batches.first().and_then(|batch| batch.columns().first());
    let counts = column.and_then(|column| column.as_any().downcast_ref::<Int64Array>());
    let count = counts.and_then(|counts| counts.iter().flatten().next());
    count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

/// The table `period`.
fn period(day: Day) -> Result<MemTable, DataFusionError> {
    let batch = period_batch(day)?;
    MemTable::try_new(batch.schema(), vec![vec![batch]])
}

/// The day, as the one row of `period`.
pub(super) fn period_batch(day: Day) -> Result<RecordBatch, DataFusionError> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("day", DataType::Date32, false),
        Field::new("starts_us", DataType::Int64, false),
        Field::new("ends_us", DataType::Int64, false),
    ]));
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(Date32Array::from(vec![day.get()])),
        Arc::new(Int64Array::from(vec![day.start().get()])),
        Arc::new(Int64Array::from(vec![day.end()])),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The table `events`: the facts of some chunks that occurred in some days.
#[derive(Debug)]
struct Events {
    files: Vec<PathBuf>,
    window: (i64, i64),
}

#[async_trait::async_trait]
impl TableProvider for Events {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&facts::SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = project_schema(&self.schema(), projection)?;
        let all = || (0..facts::SCHEMA.fields().len()).collect();
        let columns = projection.cloned().unwrap_or_else(all);
        let files = spread(self.files.clone(), state.config().target_partitions());
        let part = |files| -> Arc<dyn PartitionStream> {
            let (schema, columns) = (Arc::clone(&schema), columns.clone());
            Arc::new(Part { schema, columns, files, window: self.window })
        };
        let parts = files.into_iter().map(part).collect();
        let exec =
            StreamingTableExec::try_new(Arc::clone(&schema), parts, None, None, false, limit)?;
        Ok(Arc::new(exec))
    }
}

/// The facts of some of the chunks, one after the other.
#[derive(Debug)]
struct Part {
    schema: SchemaRef,
    columns: Vec<usize>,
    files: Vec<PathBuf>,
    window: (i64, i64),
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (window, columns) = (self.window, self.columns.clone());
        let schema = Arc::clone(&self.schema);
        let batches = self.files.clone().into_iter().flat_map(move |path| {
            let (batches, failed) = match occurred_in(&path, &columns, window) {
                Ok(batches) => (Some(batches), None),
                Err(error) => (None, Some(Err(error))),
            };
            failed.into_iter().chain(batches.into_iter().flatten())
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches)))
    }
}

/// Hands out items over at most so many shares, none of them empty but where there is no item at all.
pub(super) fn spread<T>(items: Vec<T>, shares: usize) -> Vec<Vec<T>> {
    let count = shares.min(items.len()).max(1);
    let mut spread: Vec<Vec<T>> = (0..count).map(|_| Vec::new()).collect();
    for (item, slot) in items.into_iter().zip((0..count).cycle()) {
        if let Some(share) = spread.get_mut(slot) {
            share.push(item);
        }
    }
    spread
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

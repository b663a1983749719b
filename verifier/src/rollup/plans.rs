//! What a definition comes to as a plan, and the two tables that it reads.
//!
//! A plan is made once and run for many days: where days are small, making it takes longer than running it. So what it
//! reads is no part of it. Its leaves ask the task that runs it ([`Inputs`]).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array as _, Date32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, project_schema};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, reset_plan_states,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, collect, execute_stream,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures_util::{StreamExt as _, stream};
use ledger::rollup::Definition;
use ledger::time::Day;

use super::engine::{BATCH_ROWS, Failure, occurred_in};
use super::object::{Computed, ObjectWriter};
use super::{Task, facts};

/// How many events of the days that are read are withheld.
const WITHHELD: &str = "SELECT count(*) FROM events WHERE event_type = 'ledger.erased'";

/// What each sort sets aside for merging what it has spilled.
const SORT_BYTES: usize = 2 << 20;

/// Is told of each plan before it is run.
pub(super) type Planned<'a> = &'a (dyn Fn(&Arc<dyn ExecutionPlan>) + Sync);

/// The plans of a definition.
#[derive(Clone, Debug)]
pub(super) struct Plans {
    withheld: Arc<dyn ExecutionPlan>,
    figures: Arc<dyn ExecutionPlan>,
}

impl Plans {
    /// Plans of a definition over the tables of a context.
    pub(super) async fn new(
        context: &SessionContext,
        definition: &Definition,
    ) -> Result<Self, DataFusionError> {
        let withheld = context.sql(WITHHELD).await?.create_physical_plan().await?;
        // Whoever holds the seal key may have written the text: it reads the two tables, and does nothing else.
        let only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let figures = context.sql_with_options(&definition.sql, only).await?;
        Ok(Self { withheld, figures: figures.create_physical_plan().await? })
    }

    /// Plans over this engine's own tables, to be run as often as there are days.
    pub(super) async fn lasting(
        definition: &Definition,
        partitions: usize,
    ) -> Result<Self, DataFusionError> {
        let context = SessionContext::new_with_config(config(partitions));
        context.register_table("period", Arc::new(Table::Period))?;
        context.register_table("events", Arc::new(Table::Events))?;
        Self::new(&context, definition).await
    }

    /// The same plans, to be run once more.
    pub(super) fn again(&self) -> Result<Self, DataFusionError> {
        let withheld = reset_plan_states(Arc::clone(&self.withheld))?;
        Ok(Self { withheld, figures: reset_plan_states(Arc::clone(&self.figures))? })
    }

    /// Runs them; `planned` is told of each before. How many events are withheld is counted where it is not known.
    pub(super) async fn run(
        self,
        task: &Task<'_>,
        context: Arc<TaskContext>,
        withheld: Option<u64>,
        planned: Planned<'_>,
    ) -> Result<Computed, Failure> {
        let withheld = match withheld {
            Some(withheld) => withheld,
            None => {
                planned(&self.withheld);
                count(&collect(self.withheld, Arc::clone(&context)).await?)
            }
        };
        planned(&self.figures);
        let mut batches = execute_stream(self.figures, context)?;
        let mut writer = ObjectWriter::new(task, &batches.schema(), withheld)?;
        while let Some(batch) = batches.next().await {
            writer.push(batch?)?;
        }
        Ok(writer.finish(withheld)?)
    }
}

/// How plans are made and run.
pub(super) fn config(partitions: usize) -> SessionConfig {
    let config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_batch_size(BATCH_ROWS)
        .with_sort_spill_reservation_bytes(SORT_BYTES)
        .with_information_schema(false);
    // What one run finds out must not be in the plan of the next.
    config.set_bool("datafusion.optimizer.enable_dynamic_filter_pushdown", false)
}

fn count(batches: &[RecordBatch]) -> u64 {
    let column = batches.first().and_then(|batch| batch.columns().first());
    let counts = column.and_then(|column| column.as_any().downcast_ref::<Int64Array>());
    let count = counts.and_then(|counts| counts.iter().flatten().next());
    count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

/// What the leaves of a plan read.
#[derive(Debug)]
pub(super) struct Inputs {
    /// The one row of `period`.
    period: RecordBatch,
    /// The facts of chunks, for each partition.
    files: Vec<Vec<PathBuf>>,
    /// From when to when an event occurred that is read, in microseconds; the end is not included.
    window: (i64, i64),
}

impl Inputs {
    pub(super) fn new(
        task: &Task<'_>,
        files: Vec<PathBuf>,
        partitions: usize,
    ) -> Result<Self, DataFusionError> {
        let (from, to) = task.definition.window(task.day);
        let (files, window) = (spread(files, partitions), (from.start().get(), to.end()));
        Ok(Self { period: period_batch(task.day)?, files, window })
    }

    /// What is read of a table in one partition.
    fn read(&self, leaf: &Leaf, partition: usize) -> SendableRecordBatchStream {
        let schema = Arc::clone(&leaf.schema);
        let Table::Events = leaf.table else {
            let batch = self.period.project(&leaf.columns).map_err(DataFusionError::from);
            return Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter([batch])));
        };
        let (columns, window) = (leaf.columns.clone(), self.window);
        let files = self.files.get(partition).cloned().unwrap_or_default();
        let batches = files.into_iter().flat_map(move |path| {
            let (batches, failed) = match occurred_in(&path, &columns, window) {
                Ok(batches) => (Some(batches), None),
                Err(error) => (None, Some(Err(error))),
            };
            failed.into_iter().chain(batches.into_iter().flatten())
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches)))
    }
}

/// The day, as the one row of `period`.
pub(super) fn period_batch(day: Day) -> Result<RecordBatch, DataFusionError> {
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(Date32Array::from(vec![day.get()])),
        Arc::new(Int64Array::from(vec![day.start().get()])),
        Arc::new(Int64Array::from(vec![day.end()])),
    ];
    Ok(RecordBatch::try_new(period_schema(), columns)?)
}

fn period_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("day", DataType::Date32, false),
        Field::new("starts_us", DataType::Int64, false),
        Field::new("ends_us", DataType::Int64, false),
    ]))
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

/// A table of a plan that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    /// `events`: the facts of some chunks that occurred in some days.
    Events,
    /// `period`: the day.
    Period,
}

#[async_trait::async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        match self {
            Self::Events => Arc::clone(&facts::SCHEMA),
            Self::Period => period_schema(),
        }
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let all = || (0..self.schema().fields().len()).collect();
        let columns = projection.cloned().unwrap_or_else(all);
        let schema = project_schema(&self.schema(), Some(&columns))?;
        let partitions = match self {
            Self::Events => state.config().target_partitions(),
            Self::Period => 1,
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(Leaf { table: *self, columns, schema, properties: Arc::new(properties) }))
    }
}

/// A place in a plan where a table is read.
#[derive(Debug)]
struct Leaf {
    table: Table,
    /// Columns, by their places in the table.
    columns: Vec<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for Leaf {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaf: {:?}", self.table)
    }
}

impl ExecutionPlan for Leaf {
    fn name(&self) -> &'static str {
        "Leaf"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion, DataFusionError>,
    ) -> Result<TreeNodeRecursion, DataFusionError> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let inputs = context.session_config().get_extension::<Inputs>();
        let nothing = || DataFusionError::Internal("there is nothing to read".to_owned());
        Ok(inputs.ok_or_else(nothing)?.read(self, partition))
    }
}

//! What a plan reads, as it travels: chunks by their manifests, the day, or the days of chunks.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray as _, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, project_schema};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning,
    PlanProperties, ReplaceChildrenOptions,
};
use futures_util::StreamExt as _;
use ledger::chunk::ChunkManifest;
use ledger::hash::Digest;
use ledger::time::Day;
use ledger::verify::ChunkCheck;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Sender;

use super::super::engine::occurred_in;
use super::super::plans::{period_batch, spread};
use super::super::{FactsFile, RollupError, facts, write_facts};
use crate::audit::chunk_object;
use crate::store::ArchiveSource;

/// What an executor says of a chunk whose object is not what its manifest says, before the object's key.
pub(super) const NOT_AS_SEALED: &str = "not as sealed: ";

/// Batches that are read ahead of whoever takes them.
const READ_AHEAD: usize = 2;

/// A table that a plan reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) kind: Kind,
    /// The chunks that it is read from.
    pub(super) chunks: Vec<Chunk>,
    /// Tasks that its reading is spread over at most.
    pub(super) partitions: usize,
}

/// Which one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Kind {
    /// `events`: what occurred from the first microsecond on and before the second.
    Events(i64, i64),
    /// `days`: each chunk by its number, with each day of `occurred_at` in it; null where they are too many to tell.
    Days,
    /// `period`: the day.
    Period(i32),
}

/// A chunk, by its manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    /// Its place among those that were given.
    pub(super) number: i64,
    /// `H` of the manifest's note, which names its facts.
    pub(super) note: String,
    /// The text that the manifest signs.
    pub(super) manifest: String,
}

/// What an executor reads by.
pub(super) struct Reader {
    pub(super) source: Box<dyn ArchiveSource + Send + Sync>,
    /// Where facts are kept.
    pub(super) facts: PathBuf,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Kind {
    fn schema(self) -> Result<SchemaRef, DataFusionError> {
        Ok(match self {
            Self::Events(..) => Arc::clone(&facts::SCHEMA),
            Self::Days => Arc::new(Schema::new(vec![
                Field::new("chunk", DataType::Int64, false),
                Field::new("day", DataType::Date32, true),
            ])),
            Self::Period(day) => period_batch(the_day(day)?)?.schema(),
        })
    }
}

fn the_day(day: i32) -> Result<Day, DataFusionError> {
    Day::new(day).ok_or_else(|| DataFusionError::Internal(format!("{day} is no day")))
}

/// A table as plans name it, on any node: only an executor has what it is read by.
#[derive(Clone, Debug)]
pub(super) struct ClusterTable {
    pub(super) table: Table,
    pub(super) reader: Option<Arc<Reader>>,
    schema: SchemaRef,
}

impl ClusterTable {
    pub(super) fn new(table: Table, reader: Option<Arc<Reader>>) -> Result<Self, DataFusionError> {
        let schema = table.kind.schema()?;
        Ok(Self { table, reader, schema })
    }
}

#[async_trait::async_trait]
impl TableProvider for ClusterTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        if let Kind::Period(day) = self.table.kind {
            let batch = period_batch(the_day(day)?)?;
            let schema = batch.schema();
            let source =
                MemorySourceConfig::try_new_exec(&[vec![batch]], schema, projection.cloned());
            return Ok(source?);
        }
        let all = || (0..self.schema.fields().len()).collect();
        let columns = projection.cloned().unwrap_or_else(all);
        let chunks = self.table.spread()?;
        Ok(Arc::new(Scan::new(self.table.kind, columns, chunks, self.reader.clone())?))
    }
}

impl Table {
    /// The chunks as a source of rows, one each, over so many partitions.
    ///
    /// It is a source that Ballista knows, and the reading an operator above it: a task is given its share of the
    /// partitions of known sources alone, and would read all of any other, each task once more.
    fn spread(&self) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let shares = spread(self.chunks.iter().collect(), self.partitions);
        let batch = |share: Vec<&Chunk>| {
            let numbers: Int64Array = share.iter().map(|chunk| Some(chunk.number)).collect();
            let notes: StringArray = share.iter().map(|chunk| Some(&*chunk.note)).collect();
            let manifests: StringArray = share.iter().map(|chunk| Some(&*chunk.manifest)).collect();
            let columns: Vec<ArrayRef> =
                vec![Arc::new(numbers), Arc::new(notes), Arc::new(manifests)];
            Ok::<_, DataFusionError>(vec![RecordBatch::try_new(Arc::clone(&CHUNKS), columns)?])
        };
        let partitions = shares.into_iter().map(batch).collect::<Result<Vec<_>, _>>()?;
        Ok(MemorySourceConfig::try_new_exec(&partitions, Arc::clone(&CHUNKS), None)?)
    }
}

/// Chunks as rows.
static CHUNKS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("number", DataType::Int64, true),
        Field::new("note", DataType::Utf8, true),
        Field::new("manifest", DataType::Utf8, true),
    ]))
});

fn chunks_of(batch: &RecordBatch) -> Result<Vec<Chunk>, DataFusionError> {
    let wrong = || DataFusionError::Internal("these are no chunks".to_owned());
    let [numbers, notes, manifests] = batch.columns() else { return Err(wrong()) };
    let numbers = numbers.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
    let notes = notes.as_string_opt::<i32>().ok_or_else(wrong)?;
    let manifests = manifests.as_string_opt::<i32>().ok_or_else(wrong)?;
    let rows = numbers.iter().zip(notes).zip(manifests);
    let chunk = |((number, note), manifest): ((Option<i64>, Option<&str>), Option<&str>)| {
        let (note, manifest) = (note?.to_owned(), manifest?.to_owned());
        Some(Chunk { number: number?, note, manifest })
    };
    rows.map(chunk).collect::<Option<_>>().ok_or_else(wrong)
}

/// Reads the chunks that come as rows: rows out of each of them.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) kind: Kind,
    /// Columns, by their places in the table.
    pub(super) columns: Vec<usize>,
    chunks: Arc<dyn ExecutionPlan>,
    reader: Option<Arc<Reader>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl Scan {
    pub(super) fn new(
        kind: Kind,
        columns: Vec<usize>,
        chunks: Arc<dyn ExecutionPlan>,
        reader: Option<Arc<Reader>>,
    ) -> Result<Self, DataFusionError> {
        let schema = project_schema(&kind.schema()?, Some(&columns))?;
        let partitions = chunks.properties().output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { kind, columns, chunks, reader, schema, properties: Arc::new(properties) })
    }
}

impl DisplayAs for Scan {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan: {:?}", self.kind)
    }
}

impl ExecutionPlan for Scan {
    fn name(&self) -> &'static str {
        "Scan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.chunks]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion, DataFusionError>,
    ) -> Result<TreeNodeRecursion, DataFusionError> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let [chunks] = children.as_slice() else {
            return Err(DataFusionError::Internal("a scan has one child".to_owned()));
        };
        let (columns, reader) = (self.columns.clone(), self.reader.clone());
        Ok(Arc::new(Self::new(self.kind, columns, Arc::clone(chunks), reader)?))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let reader = self.reader.clone().ok_or_else(|| {
            DataFusionError::Internal("this node reads no archive: executors do".to_owned())
        })?;
        let mut chunks = self.chunks.execute(partition, context)?;
        let part = Part { kind: self.kind, columns: self.columns.clone(), reader };
        let mut stream =
            RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), READ_AHEAD);
        let batches = stream.tx();
        stream.spawn(async move {
            while let Some(rows) = chunks.next().await {
                for chunk in chunks_of(&rows?)? {
                    let (part, batches) = (part.clone(), batches.clone());
                    // Objects are fetched and decoded there: nothing else of the executor waits for it.
                    let read = tokio::task::spawn_blocking(move || part.read(&chunk, &batches));
                    let going_on = read.await.map_err(external)??;
                    if !going_on {
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        Ok(stream.build())
    }
}

/// What a task makes of a chunk.
#[derive(Clone, Debug)]
struct Part {
    kind: Kind,
    columns: Vec<usize>,
    reader: Arc<Reader>,
}

type Batches = Sender<Result<RecordBatch, DataFusionError>>;

impl Part {
    /// Reads a chunk; whether more are wanted.
    fn read(&self, chunk: &Chunk, batches: &Batches) -> Result<bool, DataFusionError> {
        // Whoever takes no more batches has enough of them.
        let give = |batch| batches.blocking_send(Ok(batch)).is_ok();
        match self.kind {
            Kind::Events(from, to) => self.events(chunk, (from, to), &give),
            Kind::Days => Ok(give(self.days(chunk)?)),
            Kind::Period(_) => Ok(true),
        }
    }

    /// The rows of a chunk that occurred in time.
    fn events(
        &self,
        chunk: &Chunk,
        window: (i64, i64),
        give: &dyn Fn(RecordBatch) -> bool,
    ) -> Result<bool, DataFusionError> {
        let file = self.reader.facts(chunk)?;
        for batch in occurred_in(&file.path, &self.columns, window)? {
            if !give(batch?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn days(&self, chunk: &Chunk) -> Result<RecordBatch, DataFusionError> {
        let file = self.reader.facts(chunk)?;
        let days: Date32Array = match file.days {
            Some(days) => days.keys().map(|day| Some(day.get())).collect(),
            None => Date32Array::from(vec![None]),
        };
        let numbers = Int64Array::from(vec![chunk.number; days.len()]);
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(days)];
        let batch = RecordBatch::try_new(self.kind.schema()?, columns)?;
        Ok(batch.project(&self.columns)?)
    }
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl Reader {
    /// The facts of a chunk: as they were kept, or from its object, which is compared with its manifest first.
    fn facts(&self, chunk: &Chunk) -> Result<FactsFile, DataFusionError> {
        let told = |reason: String| DataFusionError::Execution(reason);
        // The note's digest comes from the driver, and becomes the name of a file here.
        let note = Digest::parse(&chunk.note).map_err(external)?;
        let path = self.facts.join(format!("{note}.parquet"));
        if let Some(file) = FactsFile::open(&path) {
            return Ok(file);
        }
        let manifest = ChunkManifest::parse(&chunk.manifest)
            .map_err(|error| told(format!("a manifest that the driver has sent: {error}")))?;
        let key = &manifest.object;
        let object = chunk_object(&*self.source, &manifest)
            .map_err(|error| told(format!("{key}: {error}")))?;
        let wrong = |reason: String| told(format!("{NOT_AS_SEALED}{key}: {reason}"));
        let (_share, object): (_, Bytes) =
            object.ok_or_else(|| wrong("it is not there".to_owned()))?;
        if let Err(outcome) = ChunkCheck::open(&manifest, &object) {
            let finding = outcome.findings.first().map(ToString::to_string);
            return Err(wrong(finding.unwrap_or_default()));
        }
        // Whole or not there: other tasks, and a process that was killed, may be at the same chunk.
        let draft =
            tempfile::NamedTempFile::new_in(&self.facts).map_err(external)?.into_temp_path();
        let facts = write_facts(&manifest, &object, &draft).map_err(|error| match error {
            RollupError::Rows { error, .. } => wrong(error.to_string()),
            // This node's own disk is full, say: nothing is wrong with the archive.
            error => external(error),
        })?;
        draft.persist(&path).map_err(external)?;
        Ok(FactsFile { path, days: facts.days })
    }
}

/// Whether facts can be kept there.
pub(super) fn make_directory(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    tempfile::NamedTempFile::new_in(path).map(|_| ())
}

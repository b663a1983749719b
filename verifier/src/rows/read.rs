//! Reads the rows of a chunk, a batch at a time.

use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Decimal64Array, FixedSizeBinaryArray,
    Int64Array, PrimitiveArray, RecordBatch, StringViewArray, TimestampMicrosecondArray,
    UInt16Array, UInt64Array,
};
use arrow::datatypes::{ArrowPrimitiveType, SchemaRef};
use bytes::Bytes;
use ledger::chunk::ChunkManifest;
use ledger::columns::{Derived, Row, Text};
use ledger::names::{Origin, Workspace};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_schema};
use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};

use super::container::Plan;
use super::schema::{self, COLUMNS};
use super::{RowsError, container};
use crate::room::{Share, WIDE};

/// Bytes of pages that each chunk may hold while others are decoded beside it: more than usual writers make.
const HELD_BYTES: u64 = 32 << 20;

/// Where another Parquet writer may leave the Arrow types that it wrote from.
const ARROW_SCHEMA: &str = "ARROW:schema";

/// The rows of one chunk, batch by batch, in the order of the file.
///
/// Holds the file, one page of each column and one batch. After an error it is at its end.
pub struct ChunkRows {
    reader: Option<ParquetRecordBatchReader>,
    expected: u64,
    rows: u64,
    held: u64,
}

impl ChunkRows {
    /// Opens an object that has been checked against its manifest's digests, and accounts for
    /// every byte of it before any is decoded. `rows` is the number of rows by the manifest.
    pub fn open(
        object: impl Into<Bytes>,
        origin: &Origin,
        workspace: &Workspace,
        rows: u64,
    ) -> Result<Self, RowsError> {
        let object = object.into();
        let (reader, plan) = guarded(0, || {
            let metadata = footer(&object, origin, workspace, rows)?;
            let (body, _) = container::split(&object)?;
            let plan = container::check(body, &metadata)?;
            Ok((builder(object, metadata, plan)?.build().map_err(|error| refused(0, error))?, plan))
        })??;
        Ok(Self { reader: Some(reader), expected: rows, rows: 0, held: plan.held })
    }

    /// Waits until no other chunk whose pages are unusually large is decoded, where this is one.
    fn wait(&self) -> Option<Share<'static>> {
        (self.held > HELD_BYTES).then(|| WIDE.take_all())
    }

    fn advance(&mut self) -> Result<Option<Batch>, RowsError> {
        let (Some(reader), rows) = (&mut self.reader, self.rows) else {
            return Ok(None);
        };
        let Some(batch) = guarded(rows, || reader.next())? else {
            self.reader = None;
            // The footer was checked to say so, but what counts is what the decoder gave.
            return if rows == self.expected {
                Ok(None)
            } else {
                Err(RowsError::RowCount { expected: self.expected, found: rows })
            };
        };
        let batch = batch.map_err(|error| refused(rows, error))?;
        let batch = guarded(rows, || Batch::new(batch, rows))??;
        self.rows = rows.saturating_add(u64::try_from(batch.len()).unwrap_or(u64::MAX));
        Ok(Some(batch))
    }
}

impl Iterator for ChunkRows {
    type Item = Result<Batch, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.advance();
        if batch.is_err() {
            self.reader = None;
        }
        batch.transpose()
    }
}

/// Reads the object of a chunk, once checked against the manifest's digests, and hands on its rows
/// in order. After an error, the rows before it have been handed on.
pub fn read(
    manifest: &ChunkManifest,
    object: &Bytes,
    mut on_row: impl FnMut(&Row<'_>),
) -> Result<(), RowsError> {
    let ChunkManifest { origin, workspace, .. } = manifest;
    let rows = ChunkRows::open(object.clone(), origin, workspace, manifest.rows())?;
    let _share = rows.wait();
    for batch in rows {
        batch?.rows().for_each(|row| on_row(&row));
    }
    Ok(())
}

/// Whether any `event_type` of a chunk's object, once checked against the manifest's digests, is like that. No
/// other column is decoded.
pub fn event_types(
    manifest: &ChunkManifest,
    object: &Bytes,
    like: impl Fn(&str) -> bool,
) -> Result<bool, RowsError> {
    let mut rows = 0_u64;
    for batch in columns(manifest, object, &["event_type"])? {
        let batch = batch?;
        let mut columns = Columns { arrays: batch.columns().iter(), rows };
        let types: StringViewArray = columns.next()?;
        if types.iter().flatten().any(&like) {
            return Ok(true);
        }
        rows = rows.saturating_add(u64::try_from(types.len()).unwrap_or(u64::MAX));
    }
    Ok(false)
}

/// Some columns of a chunk's object, once checked against the manifest's digests, in the order of the file. No other
/// column is decoded.
pub fn columns(
    manifest: &ChunkManifest,
    object: &Bytes,
    names: &[&str],
) -> Result<SomeColumns, RowsError> {
    let object = object.clone();
    let ChunkManifest { origin, workspace, .. } = manifest;
    let expected = manifest.rows();
    let reader = guarded(0, || {
        let metadata = footer(&object, origin, workspace, expected)?;
        let (body, _) = container::split(&object)?;
        let plan = container::check(body, &metadata)?;
        let builder = builder(object, metadata, plan)?;
        let columns = builder.parquet_schema().columns().iter();
        let at = columns.enumerate().filter(|(_, column)| names.contains(&column.name()));
        let only = ProjectionMask::leaves(builder.parquet_schema(), at.map(|(at, _)| at));
        builder.with_projection(only).build().map_err(|error| refused(0, error))
    })??;
    Ok(SomeColumns::new(reader, expected))
}

/// Rows by the row groups.
pub(super) fn row_count(metadata: &ParquetMetaData) -> u64 {
    let groups = metadata.row_groups().iter().map(|group| group.num_rows());
    let rows = groups.map(|rows| u64::try_from(rows).unwrap_or(u64::MAX));
    rows.fold(0, u64::saturating_add)
}

/// Some columns of one chunk, batch by batch, in the order of the file. After an error it is at its end.
pub struct SomeColumns {
    reader: Option<ParquetRecordBatchReader>,
    expected: u64,
    rows: u64,
}

impl SomeColumns {
    /// What a reader gives, which must come to so many rows.
    pub(super) fn new(reader: ParquetRecordBatchReader, expected: u64) -> Self {
        Self { reader: Some(reader), expected, rows: 0 }
    }
}

impl Iterator for SomeColumns {
    type Item = Result<RecordBatch, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut reader, rows) = (self.reader.take()?, self.rows);
        let batch = match guarded(rows, || reader.next()) {
            Ok(Some(batch)) => batch.map_err(|error| refused(rows, error)),
            Ok(None) if rows == self.expected => return None,
            Ok(None) => Err(RowsError::RowCount { expected: self.expected, found: rows }),
            Err(error) => Err(error),
        };
        if let Ok(batch) = &batch {
            self.rows = rows.saturating_add(u64::try_from(batch.num_rows()).unwrap_or(u64::MAX));
            self.reader = Some(reader);
        }
        Some(batch)
    }
}

pub(super) fn refused(rows: u64, error: impl std::fmt::Display) -> RowsError {
    RowsError::Decode { rows, reason: error.to_string().chars().take(240).collect() }
}

thread_local! {
    /// Whether this thread runs code of the decoder.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of the decoder, which is known to panic over some hostile files.
pub(super) fn guarded<T>(rows: u64, run: impl FnOnce() -> T) -> Result<T, RowsError> {
    let outer = DECODING.replace(true);
    // Whatever the closure holds is dropped by its caller after an error, so no broken state is
    // looked at again.
    let done = catch_unwind(AssertUnwindSafe(run));
    DECODING.set(outer);
    done.map_err(|_| refused(rows, "it panicked"))
}

/// Keeps the panic hook from what comes to a finding anyway: panics of the decoder over a hostile file. Every other
/// panic goes to the hook that was there before. For a program, once, as it starts.
pub fn quiet_decoder() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !DECODING.get() {
            before(panic);
        }
    }));
}

/// Decodes a footer, without what a file says of its values.
pub(super) fn metadata(object: &[u8]) -> Result<ParquetMetaData, RowsError> {
    let (_, footer) = container::split(object)?;
    let options = ParquetMetaDataOptions::new()
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    let metadata = ParquetMetaDataReader::decode_metadata_with_options(footer, Some(&options));
    metadata.map_err(|error| refused(0, error))
}

/// Decodes the footer of a chunk, and checks everything in it but the places of things.
fn footer(
    object: &[u8],
    origin: &Origin,
    workspace: &Workspace,
    rows: u64,
) -> Result<Arc<ParquetMetaData>, RowsError> {
    let metadata = metadata(object)?;
    schema::check(metadata.file_metadata().schema_descr())?;
    key_values(&metadata, origin, workspace)?;
    let whole = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(u64::MAX);
    for found in [row_count(&metadata), whole] {
        if found != rows {
            return Err(RowsError::RowCount { expected: rows, found });
        }
    }
    Ok(Arc::new(metadata))
}

/// The three keys of the format with their values, each once, and none other.
fn key_values(
    metadata: &ParquetMetaData,
    origin: &Origin,
    workspace: &Workspace,
) -> Result<(), RowsError> {
    let file = metadata.file_metadata();
    let found: &[_] = file.key_value_metadata().map_or(&[], Vec::as_slice);
    let expected = schema::key_values(origin, workspace);
    let absent = "absent";
    let show = |value: Option<&str>| {
        value.map_or(absent.to_owned(), |value| format!("{:?}", value.get(..160).unwrap_or(value)))
    };
    for (key, value) in &expected {
        let mut values = found.iter().filter(|pair| pair.key == *key);
        let first = values.next().and_then(|pair| pair.value.as_deref());
        if first != Some(value) || values.next().is_some() {
            return Err(RowsError::Metadata {
                key: (*key).to_owned(),
                expected: format!("{value:?}, once"),
                found: show(first),
            });
        }
    }
    for pair in found {
        // It says from which Arrow types the file was written. Readers follow it, so it must not
        // make other columns of them.
        let hint = pair.key == ARROW_SCHEMA
            && parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())
                .map_err(|error| refused(0, error))?
                .fields()
                == parquet_to_arrow_schema(file.schema_descr(), None)
                    .map_err(|error| refused(0, error))?
                    .fields();
        if !hint && expected.iter().all(|(key, _)| *key != pair.key) {
            return Err(RowsError::Metadata {
                key: pair.key.chars().take(64).collect(),
                expected: absent.to_owned(),
                found: show(pair.value.as_deref()),
            });
        }
    }
    Ok(())
}

fn builder(
    object: Bytes,
    metadata: Arc<ParquetMetaData>,
    plan: Plan,
) -> Result<ParquetRecordBatchReaderBuilder<Bytes>, RowsError> {
    let schema = schema::arrow_schema_of(metadata.file_metadata().schema_descr());
    builder_of(object, metadata, plan, schema)
}

pub(super) fn builder_of(
    object: Bytes,
    metadata: Arc<ParquetMetaData>,
    plan: Plan,
    schema: SchemaRef,
) -> Result<ParquetRecordBatchReaderBuilder<Bytes>, RowsError> {
    let options = ArrowReaderOptions::new().with_schema(schema);
    let metadata =
        ArrowReaderMetadata::try_new(metadata, options).map_err(|error| refused(0, error))?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(object, metadata);
    Ok(builder.with_batch_size(plan.rows))
}

/// Takes a batch's columns apart, in order, each as the type that it must have.
struct Columns<'a> {
    arrays: std::slice::Iter<'a, ArrayRef>,
    rows: u64,
}

impl Columns<'_> {
    fn next<A: Array + Clone + 'static>(&mut self) -> Result<A, RowsError> {
        let array = self.arrays.next().and_then(|array| array.as_any().downcast_ref::<A>());
        array.cloned().ok_or_else(|| refused(self.rows, "it gave a column another type"))
    }
}

/// The columns of the file, in order, each with its array.
macro_rules! batch {
    ($($column:ident: $array:ty,)*) => {
        /// Some consecutive rows, decoded.
        pub struct Batch {
            record: RecordBatch,
            $($column: $array,)*
        }

        impl Batch {
            fn take(record: RecordBatch, rows: u64) -> Result<Self, RowsError> {
                let mut columns = Columns { arrays: record.columns().iter(), rows };
                $(let $column = columns.next()?;)*
                Ok(Self { record, $($column,)* })
            }
        }
    };
}

batch! {
    seq: UInt64Array,
    recorded_at: TimestampMicrosecondArray,
    event_id: FixedSizeBinaryArray,
    payload: BinaryViewArray,
    payload_digest: FixedSizeBinaryArray,
    link: FixedSizeBinaryArray,
    submission_hash: FixedSizeBinaryArray,
    submission_index: UInt16Array,
    submission_count: UInt16Array,
    counter: UInt64Array,
    public_key: FixedSizeBinaryArray,
    signature: FixedSizeBinaryArray,
    event_type: StringViewArray,
    occurred_at: TimestampMicrosecondArray,
    session_id: StringViewArray,
    actor_id: StringViewArray,
    source: StringViewArray,
    model: StringViewArray,
    provider: StringViewArray,
    input_tokens: Int64Array,
    output_tokens: Int64Array,
    latency_ms: Int64Array,
    success: BooleanArray,
    error_type: StringViewArray,
    prompt_hash: StringViewArray,
    tool_name: StringViewArray,
    status: StringViewArray,
    unit_cost_input: Decimal64Array,
    unit_cost_output: Decimal64Array,
    trace_id: StringViewArray,
    span_id: StringViewArray,
    agent_version: StringViewArray,
    on_behalf_of: StringViewArray,
    parent_event_id: FixedSizeBinaryArray,
}

impl Batch {
    fn new(batch: RecordBatch, rows: u64) -> Result<Self, RowsError> {
        for (column, array) in COLUMNS.iter().zip(batch.columns()) {
            if !column.nullable
                && let Some(at) = (0..array.len()).find(|at| array.is_null(*at))
            {
                let row = rows.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
                return Err(RowsError::Null { column: column.name, row });
            }
        }
        Self::take(batch, rows)
    }

    /// All columns as they were decoded.
    pub(crate) fn record(&self) -> &RecordBatch {
        &self.record
    }

    /// Rows in the batch.
    pub fn len(&self) -> usize {
        self.seq.len()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.seq.is_empty()
    }

    /// The rows, in order. Text and payloads are borrowed from the batch.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.len()).map(|at| Row {
            seq: self.seq.value(at),
            recorded_at: self.recorded_at.value(at),
            event_id: fixed(&self.event_id, at),
            payload: self.payload.is_valid(at).then(|| self.payload.value(at)),
            payload_digest: fixed(&self.payload_digest, at),
            link: fixed(&self.link, at),
            submission_hash: fixed(&self.submission_hash, at),
            submission_index: self.submission_index.value(at),
            submission_count: self.submission_count.value(at),
            counter: self.counter.value(at),
            public_key: fixed(&self.public_key, at),
            signature: fixed(&self.signature, at),
            derived: Derived {
                event_type: Cow::Borrowed(self.event_type.value(at)),
                occurred_at: self.occurred_at.value(at),
                session_id: text(&self.session_id, at),
                actor_id: text(&self.actor_id, at),
                source: text(&self.source, at),
                model: text(&self.model, at),
                provider: text(&self.provider, at),
                input_tokens: number(&self.input_tokens, at),
                output_tokens: number(&self.output_tokens, at),
                latency_ms: number(&self.latency_ms, at),
                success: self.success.is_valid(at).then(|| self.success.value(at)),
                error_type: text(&self.error_type, at),
                prompt_hash: text(&self.prompt_hash, at),
                tool_name: text(&self.tool_name, at),
                status: text(&self.status, at),
                unit_cost_input: number(&self.unit_cost_input, at),
                unit_cost_output: number(&self.unit_cost_output, at),
                trace_id: text(&self.trace_id, at),
                span_id: text(&self.span_id, at),
                agent_version: text(&self.agent_version, at),
                on_behalf_of: text(&self.on_behalf_of, at),
                parent_event_id: (self.parent_event_id.is_valid(at))
                    .then(|| fixed(&self.parent_event_id, at)),
            },
        })
    }
}

/// The schema was checked to give this column `N` bytes, so the default is never taken.
fn fixed<const N: usize>(array: &FixedSizeBinaryArray, at: usize) -> [u8; N] {
    array.value(at).first_chunk().copied().unwrap_or([0; N])
}

fn text(array: &StringViewArray, at: usize) -> Text<'_> {
    array.is_valid(at).then(|| Cow::Borrowed(array.value(at)))
}

fn number<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, at: usize) -> Option<T::Native> {
    array.is_valid(at).then(|| array.value(at))
}

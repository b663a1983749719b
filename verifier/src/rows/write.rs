//! Writes the rows of a chunk: the same rows always come to the same bytes.

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanBuilder, Decimal64Builder, FixedSizeBinaryBuilder,
    Int64Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondBuilder, UInt16Builder,
    UInt64Builder,
};
use arrow::error::ArrowError;
use ledger::columns::Row;
use ledger::names::{Origin, Workspace};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::RowsError;
use super::schema::{Kind, arrow_schema, key_values};

/// Rows of a row group: small enough that a reader who needs one event reads little.
const GROUP_ROWS: usize = 65_536;
/// Rows that are gathered as Arrow arrays before they are encoded.
const BATCH_ROWS: usize = 4_096;
/// Batches that may wait for the encoder.
const BATCHES_WAITING: usize = 1;
/// The zstd level. Part of what makes the bytes: a change of it changes every object.
const ZSTD_LEVEL: i32 = 3;
/// Stands in the file as its writer. Fixed, so that the bytes do not depend on a version number.
const CREATED_BY: &str = "tallystick 1";
/// Columns that someone looks for by value.
const BLOOM_COLUMNS: [&str; 3] = ["event_id", "session_id", "trace_id"];
/// Of how many lookups a Bloom filter sends one in vain, and how many distinct values it starts
/// from: it is folded to what the row group really holds, which depends on the rows alone.
const BLOOM_FALSE: f64 = 0.01;
const BLOOM_VALUES: u64 = 65_536;
/// Columns whose values hardly repeat: a dictionary of them would only be a detour.
const PLAIN_COLUMNS: [&str; 7] = [
    "event_id",
    "payload",
    "payload_digest",
    "link",
    "submission_hash",
    "signature",
    "parent_event_id",
];
/// Columns of numbers that grow, or nearly: kept as their differences.
const DELTA_COLUMNS: [&str; 2] = ["seq", "occurred_at"];

fn refused(error: impl std::fmt::Display) -> RowsError {
    RowsError::Encode(error.to_string())
}

/// How every object is encoded: what makes its bytes, besides its rows (FORMAT section 9).
pub fn properties(origin: &Origin, workspace: &Workspace) -> Result<WriterProperties, RowsError> {
    let pairs = key_values(origin, workspace)
        .map(|(key, value)| KeyValue { key: key.to_owned(), value: Some(value.to_owned()) });
    let by_seq = SortingColumn { column_idx: 0, descending: false, nulls_first: false };
    let mut builder = encoded()?
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(vec![by_seq]))
        .set_key_value_metadata(Some(pairs.into()));
    for name in BLOOM_COLUMNS {
        builder = builder
            .set_column_bloom_filter_fpp(ColumnPath::from(name), BLOOM_FALSE)
            .set_column_bloom_filter_max_ndv(ColumnPath::from(name), BLOOM_VALUES);
    }
    Ok(builder.build())
}

/// How the values of these columns are encoded, in whatever file they stand.
pub(crate) fn encoded() -> Result<WriterPropertiesBuilder, RowsError> {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(refused)?;
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    for name in PLAIN_COLUMNS.into_iter().chain(DELTA_COLUMNS) {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    for name in DELTA_COLUMNS {
        builder =
            builder.set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    Ok(builder)
}

/// Writes one chunk's object, row by row, into memory.
///
/// Rows are encoded on a thread of its own, while whoever pushes them makes the next ones. Holds the
/// object so far, the row group that is being encoded, and some rows before it: whoever pushes the rows
/// decides how large that becomes.
pub struct ChunkWriter {
    rows: RowBuilder,
    encoder: Encoder,
}

impl ChunkWriter {
    /// Starts an object of this ledger and workspace.
    pub fn new(origin: &Origin, workspace: &Workspace) -> Result<Self, RowsError> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(origin, workspace)?)
            // Every type here is a Parquet type, so there is nothing that only Arrow could say.
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), arrow_schema(), options)
            .map_err(refused)?;
        Ok(Self { rows: RowBuilder::new(), encoder: Encoder::start(writer)? })
    }

    /// Appends the next row. Rows come in the order of `seq`.
    pub fn push(&mut self, row: &Row<'_>) -> Result<(), RowsError> {
        self.rows.push(row).map_err(refused)?;
        if self.rows.count >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), RowsError> {
        let batch = RecordBatch::try_new(arrow_schema(), self.rows.finish()).map_err(refused)?;
        self.encoder.push(batch);
        Ok(())
    }

    /// Closes the object and gives its bytes.
    pub fn finish(mut self) -> Result<Vec<u8>, RowsError> {
        self.flush()?;
        self.encoder.finish()
    }
}

/// The thread that encodes batches, in order.
struct Encoder {
    batches: SyncSender<RecordBatch>,
    thread: JoinHandle<Result<Vec<u8>, RowsError>>,
}

impl Encoder {
    fn start(mut writer: ArrowWriter<Vec<u8>>) -> Result<Self, RowsError> {
        let (batches, received) = mpsc::sync_channel::<RecordBatch>(BATCHES_WAITING);
        let encode = move || {
            received.iter().try_for_each(|batch| writer.write(&batch)).map_err(refused)?;
            writer.into_inner().map_err(refused)
        };
        let thread = thread::Builder::new().name("encode".to_owned()).spawn(encode);
        Ok(Self { batches, thread: thread.map_err(refused)? })
    }

    /// Hands on a batch. Where the thread takes none any more it has failed: why, it tells at the end.
    fn push(&self, batch: RecordBatch) {
        let _ = self.batches.send(batch);
    }

    fn finish(self) -> Result<Vec<u8>, RowsError> {
        let Self { batches, thread } = self;
        drop(batches);
        thread.join().map_err(|_| refused("the encoder panicked"))?
    }
}

/// Writes rows as one object.
pub fn write<'a>(
    origin: &Origin,
    workspace: &Workspace,
    rows: impl IntoIterator<Item = &'a Row<'a>>,
) -> Result<Vec<u8>, RowsError> {
    let mut writer = ChunkWriter::new(origin, workspace)?;
    rows.into_iter().try_for_each(|row| writer.push(row))?;
    writer.finish()
}

/// A column of Arrow values that grows by one value of a row.
trait Append<T> {
    fn append(&mut self, value: T) -> Result<(), ArrowError>;
}

macro_rules! append {
    ($($builder:ty, $value:ty, $by:ident;)*) => {$(
        impl Append<$value> for $builder {
            fn append(&mut self, value: $value) -> Result<(), ArrowError> {
                self.$by(value);
                Ok(())
            }
        }
    )*};
}

append! {
    UInt64Builder, u64, append_value;
    UInt16Builder, u16, append_value;
    TimestampMicrosecondBuilder, i64, append_value;
    Int64Builder, Option<i64>, append_option;
    Decimal64Builder, Option<i64>, append_option;
    BooleanBuilder, Option<bool>, append_option;
    BinaryViewBuilder, Option<&[u8]>, append_option;
    StringViewBuilder, &str, append_value;
    StringViewBuilder, Option<&str>, append_option;
}

impl<const N: usize> Append<&[u8; N]> for FixedSizeBinaryBuilder {
    fn append(&mut self, value: &[u8; N]) -> Result<(), ArrowError> {
        self.append_value(value)
    }
}

impl<const N: usize> Append<Option<&[u8; N]>> for FixedSizeBinaryBuilder {
    fn append(&mut self, value: Option<&[u8; N]>) -> Result<(), ArrowError> {
        match value {
            Some(value) => self.append_value(value),
            None => {
                self.append_null();
                Ok(())
            }
        }
    }
}

/// The columns of the file, in order: each with its builder, and what it takes of a row.
macro_rules! row_builder {
    ($row:ident; $($column:ident: $builder:ty = $new:expr, $value:expr;)*) => {
        /// Gathers rows column by column.
        struct RowBuilder {
            count: usize,
            $($column: $builder,)*
        }

        impl RowBuilder {
            fn new() -> Self {
                Self { count: 0, $($column: $new,)* }
            }

            fn push(&mut self, $row: &Row<'_>) -> Result<(), ArrowError> {
                $(self.$column.append($value)?;)*
                self.count += 1;
                Ok(())
            }

            fn finish(&mut self) -> Vec<ArrayRef> {
                self.count = 0;
                vec![$(Arc::new(self.$column.finish()),)*]
            }
        }
    };
}

fn fixed(width: i32) -> FixedSizeBinaryBuilder {
    FixedSizeBinaryBuilder::new(width)
}

fn time() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_data_type(Kind::Time.arrow())
}

fn money() -> Decimal64Builder {
    Decimal64Builder::new().with_data_type(Kind::Money.arrow())
}

row_builder! { row;
    seq: UInt64Builder = <_>::default(), row.seq;
    recorded_at: TimestampMicrosecondBuilder = time(), row.recorded_at;
    event_id: FixedSizeBinaryBuilder = fixed(16), &row.event_id;
    payload: BinaryViewBuilder = <_>::default(), row.payload;
    payload_digest: FixedSizeBinaryBuilder = fixed(32), &row.payload_digest;
    link: FixedSizeBinaryBuilder = fixed(32), &row.link;
    submission_hash: FixedSizeBinaryBuilder = fixed(32), &row.submission_hash;
    submission_index: UInt16Builder = <_>::default(), row.submission_index;
    submission_count: UInt16Builder = <_>::default(), row.submission_count;
    counter: UInt64Builder = <_>::default(), row.counter;
    public_key: FixedSizeBinaryBuilder = fixed(32), &row.public_key;
    signature: FixedSizeBinaryBuilder = fixed(64), &row.signature;
    event_type: StringViewBuilder = <_>::default(), &*row.derived.event_type;
    occurred_at: TimestampMicrosecondBuilder = time(), row.derived.occurred_at;
    session_id: StringViewBuilder = <_>::default(), row.derived.session_id.as_deref();
    actor_id: StringViewBuilder = <_>::default(), row.derived.actor_id.as_deref();
    source: StringViewBuilder = <_>::default(), row.derived.source.as_deref();
    model: StringViewBuilder = <_>::default(), row.derived.model.as_deref();
    provider: StringViewBuilder = <_>::default(), row.derived.provider.as_deref();
    input_tokens: Int64Builder = <_>::default(), row.derived.input_tokens;
    output_tokens: Int64Builder = <_>::default(), row.derived.output_tokens;
    latency_ms: Int64Builder = <_>::default(), row.derived.latency_ms;
    success: BooleanBuilder = <_>::default(), row.derived.success;
    error_type: StringViewBuilder = <_>::default(), row.derived.error_type.as_deref();
    prompt_hash: StringViewBuilder = <_>::default(), row.derived.prompt_hash.as_deref();
    tool_name: StringViewBuilder = <_>::default(), row.derived.tool_name.as_deref();
    status: StringViewBuilder = <_>::default(), row.derived.status.as_deref();
    unit_cost_input: Decimal64Builder = money(), row.derived.unit_cost_input;
    unit_cost_output: Decimal64Builder = money(), row.derived.unit_cost_output;
    trace_id: StringViewBuilder = <_>::default(), row.derived.trace_id.as_deref();
    span_id: StringViewBuilder = <_>::default(), row.derived.span_id.as_deref();
    agent_version: StringViewBuilder = <_>::default(), row.derived.agent_version.as_deref();
    on_behalf_of: StringViewBuilder = <_>::default(), row.derived.on_behalf_of.as_deref();
    parent_event_id: FixedSizeBinaryBuilder = fixed(16), row.derived.parent_event_id.as_ref();
}

//! Facts: the columns of a chunk that rollups read, in a file of this program's own.
//!
//! An archive's object is read whole, its digests are compared with its manifest, and what rollups need of it is kept
//! beside: so no byte is computed with that was not checked, and six rollups of a day read the archive once.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType, UInt64Type};
use bytes::Bytes;
use ledger::chain::ERASED;
use ledger::chunk::ChunkManifest;
use ledger::time::{Day, Micros};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ProjectionMask, arrow_writer::ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::RollupError;
use crate::rows::{self, RowsError};

/// The columns of a chunk that are read, besides the times.
const COLUMNS: [&str; 20] = [
    "seq",
    "recorded_at",
    "event_type",
    "occurred_at",
    "session_id",
    "actor_id",
    "source",
    "model",
    "provider",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "success",
    "error_type",
    "prompt_hash",
    "tool_name",
    "status",
    "unit_cost_input",
    "unit_cost_output",
    "agent_version",
];

/// Most days of which a chunk's file tells one by one.
const DAYS_MAX: usize = 4_096;

/// The place of `event_type` in the facts.
const EVENT_TYPE: usize = 2;

/// The place of `occurred_us` in the facts.
pub(super) const OCCURRED: usize = 3;

/// Under which key a file tells of its days, as JSON. A file that has it not is of another version.
const DAYS: &str = "tallystick.days";

/// The columns that SQL sees in `events`. Times are whole microseconds since 1970-01-01T00:00:00Z: engines agree on
/// numbers, and not on times.
pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name| Field::new(name, DataType::Utf8View, true);
    let number = |name, null| Field::new(name, DataType::Int64, null);
    let money = |name| Field::new(name, DataType::Decimal128(18, 9), true);
    Arc::new(Schema::new(vec![
        number("seq", false),
        number("recorded_us", false),
        Field::new("event_type", DataType::Utf8View, false),
        number("occurred_us", false),
        text("session_id"),
        text("actor_id"),
        text("source"),
        text("model"),
        text("provider"),
        number("input_tokens", true),
        number("output_tokens", true),
        number("latency_ms", true),
        Field::new("success", DataType::Boolean, true),
        text("error_type"),
        text("prompt_hash"),
        text("tool_name"),
        text("status"),
        money("unit_cost_input"),
        money("unit_cost_output"),
        text("agent_version"),
    ]))
});

/// The facts of one chunk.
#[derive(Clone, Debug)]
pub struct FactsFile {
    /// Where they lie.
    pub path: PathBuf,
    /// The days of `occurred_at` of its rows, each with how many of its events are withheld; `None` where the days are
    /// too many to tell.
    pub days: Option<BTreeMap<Day, u64>>,
}

impl FactsFile {
    /// A file that was written before; `None` where there is none that this version has written.
    pub fn open(path: &Path) -> Option<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
        let pairs = builder.metadata().file_metadata().key_value_metadata()?;
        let days = pairs.iter().find(|pair| pair.key == DAYS)?.value.as_deref()?;
        let days: Option<BTreeMap<i32, u64>> = serde_json::from_str(days).ok()?;
        let day = |(day, withheld)| Some((Day::new(day)?, withheld));
        let days = match days {
            Some(days) => Some(days.into_iter().map(day).collect::<Option<_>>()?),
            None => None,
        };
        Some(Self { path: path.to_owned(), days })
    }

    /// Whether any row may have occurred in these days, both included.
    pub fn may_hold(&self, from: Day, to: Day) -> bool {
        self.days.as_ref().is_none_or(|days| days.range(from..=to).next().is_some())
    }

    /// How many events of these days, both included, are withheld; `None` where only the rows can tell.
    pub(super) fn withheld(&self, from: Day, to: Day) -> Option<u64> {
        let days = self.days.as_ref()?.range(from..=to);
        Some(days.map(|(_, withheld)| withheld).fold(0, |all, some| all.saturating_add(*some)))
    }
}

/// Takes the facts out of a chunk's object, which must have been checked against the manifest's digests, and writes
/// them to a file.
pub fn write_facts(
    manifest: &ChunkManifest,
    object: &Bytes,
    path: &Path,
) -> Result<FactsFile, RollupError> {
    let refused = |error| RollupError::Rows { object: manifest.object.clone(), error };
    let failed = |error: std::io::Error| io(path, error);
    let batches = rows::columns(manifest, object, &COLUMNS).map_err(refused)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_statistics_enabled(EnabledStatistics::None);
    // Numbers that hardly repeat: a dictionary of them takes longer than all else.
    for field in SCHEMA.fields().iter().filter(|field| *field.data_type() == DataType::Int64) {
        let column = ColumnPath::from(field.name().as_str());
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    let properties = properties.build();
    let options = ArrowWriterOptions::new().with_properties(properties);
    let file = File::create(path).map_err(failed)?;
    let writer = ArrowWriter::try_new_with_options(file, Arc::clone(&SCHEMA), options);
    let mut writer = writer.map_err(|error| failed(error.into()))?;
    let mut days = Days::default();
    for batch in batches {
        let batch = facts(&batch.map_err(refused)?).map_err(refused)?;
        let kinds = batch.column(EVENT_TYPE).as_string_view();
        let times = batch.column(OCCURRED).as_primitive::<Int64Type>().values();
        for (kind, at) in kinds.iter().zip(times) {
            days.push(*at, kind == Some(ERASED));
        }
        writer.write(&batch).map_err(|error| failed(error.into()))?;
    }
    let days = days.finish();
    let told = days.as_ref().map(|days| days.iter().map(|(day, n)| (day.get(), n)).collect());
    let told: Option<BTreeMap<_, _>> = told;
    let told = serde_json::to_string(&told).map_err(|error| failed(error.into()))?;
    writer.append_key_value_metadata(KeyValue::new(DAYS.to_owned(), told));
    writer.close().map_err(|error| failed(error.into()))?;
    Ok(FactsFile { path: path.to_owned(), days })
}

pub(super) fn io(path: &Path, error: std::io::Error) -> RollupError {
    RollupError::Io { path: path.display().to_string(), error }
}

/// A batch of the chunk's columns as one of facts.
fn facts(batch: &RecordBatch) -> Result<RecordBatch, RowsError> {
    let refused =
        |error: arrow::error::ArrowError| RowsError::Decode { rows: 0, reason: error.to_string() };
    let columns = batch.columns().iter().zip(SCHEMA.fields()).map(|(column, field)| {
        Ok(match column.data_type() {
            // What is recorded is no more than 2^63-1, and no time is before 1970.
            DataType::UInt64 => {
                let values = column.as_primitive::<UInt64Type>().values();
                Arc::new(values.iter().map(|value| value.cast_signed()).collect::<Int64Array>())
                    as ArrayRef
            }
            DataType::Timestamp(..) => {
                let times = column.as_primitive::<TimestampMicrosecondType>();
                Arc::new(Int64Array::new(times.values().clone(), times.nulls().cloned()))
            }
            found if found == field.data_type() => Arc::clone(column),
            _ => cast(column, field.data_type()).map_err(refused)?,
        })
    });
    let columns = columns.collect::<Result<Vec<_>, RowsError>>()?;
    RecordBatch::try_new(Arc::clone(&SCHEMA), columns).map_err(refused)
}

/// The distinct days of some events, and how many of each day's are withheld.
#[derive(Default)]
struct Days {
    last: Option<Day>,
    days: BTreeMap<Day, u64>,
    too_many: bool,
}

impl Days {
    fn push(&mut self, at: i64, withheld: bool) {
        // A time that is none of this format was found by whoever checked the rows.
        let day = Day::of(Micros::new(at).unwrap_or(Micros::EPOCH));
        if (self.last != Some(day) || withheld) && !self.too_many {
            self.last = Some(day);
            *self.days.entry(day).or_default() += u64::from(withheld);
            self.too_many = self.days.len() > DAYS_MAX;
        }
    }

    fn finish(self) -> Option<BTreeMap<Day, u64>> {
        (!self.too_many).then_some(self.days)
    }
}

/// Reads some columns of a file of facts, by their places in [`SCHEMA`].
pub(super) fn read(
    path: &Path,
    columns: &[usize],
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader, RollupError> {
    let failed = |error: parquet::errors::ParquetError| io(path, error.into());
    let file = File::open(path).map_err(|error| io(path, error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
    builder.with_projection(mask).with_batch_size(batch_rows).build().map_err(failed)
}

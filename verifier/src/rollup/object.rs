//! The Parquet object of a rollup: the same rows always come to the same bytes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{BatchCoalescer, cast};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::{RollupError, Task};

/// Stands in the file as its writer. Fixed, so that the bytes do not depend on a version number.
const CREATED_BY: &str = "tallystick 1";
/// Part of what makes the bytes, as the two below: a change of it changes every object.
const ZSTD_LEVEL: i32 = 3;
const GROUP_ROWS: usize = 65_536;

/// What a rollup came to.
#[derive(Clone, Debug)]
pub struct Computed {
    /// The Parquet object.
    pub object: Vec<u8>,
    /// Rows in it.
    pub rows: u64,
    /// Events recorded in the days that were read whose payloads an erasure has withheld: what they said is in no
    /// figure.
    pub withheld: u64,
}

/// Rows that are written at a time, however they come: pages end where a batch does.
const WRITTEN_ROWS: usize = 8_192;

/// Writes rows as they come.
pub(super) struct ObjectWriter {
    schema: SchemaRef,
    batches: BatchCoalescer,
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
}

impl ObjectWriter {
    pub(super) fn new(
        task: &Task<'_>,
        result: &Schema,
        withheld: u64,
    ) -> Result<Self, RollupError> {
        let definition = task.definition;
        let fields = result.fields().iter().map(|field| {
            let kind = plain(field.data_type()).ok_or_else(|| RollupError::Column {
                name: definition.name.to_string(),
                version: definition.version,
                column: field.name().clone(),
                found: field.data_type().to_string(),
            })?;
            // Whether an engine thinks that a column may be null is no matter of what is in it.
            Ok(Field::new(field.name(), kind, true))
        });
        let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>, RollupError>>()?));
        let pairs = [
            ("tallystick.format", "1".to_owned()),
            ("tallystick.origin", task.origin.to_string()),
            ("tallystick.workspace", task.workspace.to_string()),
            ("tallystick.rollup", definition.name.to_string()),
            ("tallystick.version", definition.version.to_string()),
            ("tallystick.sql_sha256", definition.sha256.to_string()),
            ("tallystick.day", task.day.to_string()),
            ("tallystick.inputs", task.inputs.len().to_string()),
            ("tallystick.inputs_root", task.inputs_root().to_string()),
            ("tallystick.withheld", withheld.to_string()),
        ];
        let pairs = pairs.map(|(key, value)| KeyValue { key: key.to_owned(), value: Some(value) });
        let properties = WriterProperties::builder()
            .set_created_by(CREATED_BY.to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default()))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_key_value_metadata(Some(pairs.into()))
            .build();
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options);
        let writer = writer.map_err(|error| RollupError::Engine(error.to_string()))?;
        let batches = BatchCoalescer::new(Arc::clone(&schema), WRITTEN_ROWS);
        Ok(Self { schema, batches, writer, rows: 0 })
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<(), RollupError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(failed)?;
        self.rows = self.rows.saturating_add(u64::try_from(batch.num_rows()).unwrap_or(u64::MAX));
        self.batches.push_batch(batch).map_err(failed)?;
        self.write()
    }

    fn write(&mut self) -> Result<(), RollupError> {
        while let Some(batch) = self.batches.next_completed_batch() {
            self.writer.write(&batch).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, withheld: u64) -> Result<Computed, RollupError> {
        self.batches.finish_buffered_batch().map_err(failed)?;
        self.write()?;
        let object = self.writer.into_inner().map_err(failed)?;
        Ok(Computed { object, rows: self.rows, withheld })
    }
}

fn failed(error: impl ToString) -> RollupError {
    RollupError::Engine(error.to_string())
}

/// The type that a column of a rollup has in its file, whatever the engine made of it.
fn plain(found: &DataType) -> Option<DataType> {
    Some(match found {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Date32 | DataType::Boolean | DataType::Int64 | DataType::Float64 => found.clone(),
        DataType::Decimal128(..) => found.clone(),
        _ => return None,
    })
}

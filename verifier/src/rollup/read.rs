//! What an object of a rollup holds, for whoever publishes it.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::RollupError;

fn refused(error: impl ToString) -> RollupError {
    RollupError::Object(error.to_string())
}

/// How many events of the days that were read are withheld, as the object says it. It must have been checked against
/// digests.
pub fn withheld(object: &Bytes) -> Result<u64, RollupError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object.clone()).map_err(refused)?;
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    let mut pairs = pairs.into_iter().flatten();
    let pair = pairs.find(|pair| pair.key == "tallystick.withheld");
    let count = pair.and_then(|pair| pair.value.as_deref()?.parse().ok());
    count.ok_or_else(|| refused("it does not say how many events are withheld"))
}

/// The rows of an object, each column as JSON that Postgres reads without loss: decimals and dates as text. It must have
/// been checked against digests.
pub fn json_rows(object: &Bytes) -> Result<Vec<Map<String, Value>>, RollupError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object.clone()).map_err(refused)?;
    let mut rows = Vec::new();
    for batch in builder.build().map_err(refused)? {
        let batch: RecordBatch = batch.map_err(refused)?;
        let options = FormatOptions::new();
        let schema = batch.schema();
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| {
            let shown = ArrayFormatter::try_new(column, &options).map_err(refused)?;
            Ok((field.name(), column, shown))
        });
        let columns = columns.collect::<Result<Vec<_>, RollupError>>()?;
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|(name, column, shown)| {
                let text = || shown.value(row).to_string();
                let value = match column.data_type() {
                    _ if column.is_null(row) => Value::Null,
                    DataType::Boolean => Value::Bool(text() == "true"),
                    _ => Value::String(text()),
                };
                ((*name).clone(), value)
            });
            rows.push(values.collect());
        }
    }
    Ok(rows)
}

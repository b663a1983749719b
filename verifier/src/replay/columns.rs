//! Entries as Arrow's record batches.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{and, cast, filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::Entries;
use crate::rows::{RowsError, plain_fields};

/// What is handed on of each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything that was recorded of it, with its payload.
    Entries,
    /// The payload alone; nothing where it is withheld.
    Payloads,
}

/// The columns of record batches: `workspace`, then those of the archive (FORMAT section 9) in its order; or
/// `payload` alone. Text is `Utf8`, payloads are `Binary`, money is `Decimal128(18, 9)`. The schema's metadata names the
/// ledger as `tallystick.origin`.
pub fn schema(what: What, origin: &str) -> SchemaRef {
    let fields: Vec<_> = match what {
        What::Entries => {
            let workspace = Field::new("workspace", DataType::Utf8, false);
            std::iter::once(workspace).chain(plain_fields()).collect()
        }
        What::Payloads => vec![Field::new("payload", DataType::Binary, false)],
    };
    let origin = HashMap::from([("tallystick.origin".to_owned(), origin.to_string())]);
    Arc::new(Schema::new_with_metadata(fields, origin))
}

/// The picked entries in the columns of a schema.
pub(super) fn batch(
    what: What,
    schema: &SchemaRef,
    entries: &Entries,
) -> Result<RecordBatch, RowsError> {
    convert(what, schema, entries).map_err(|error| RowsError::Encode(error.to_string()))
}

fn convert(what: What, schema: &SchemaRef, entries: &Entries) -> Result<RecordBatch, ArrowError> {
    let record = entries.batch.record();
    let payload = record.column_by_name("payload");
    let picked = match (what, payload) {
        (What::Payloads, Some(payload)) => and(&entries.picked, &is_not_null(payload)?)?,
        (What::Payloads | What::Entries, _) => entries.picked.clone(),
    };
    let record = filter(record, &picked)?;
    let workspace = || {
        StringArray::from_iter_values(std::iter::repeat_n(
            entries.workspace.as_str(),
            record.num_rows(),
        ))
    };
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef, ArrowError> {
        match record.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(Arc::new(workspace())),
        }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

fn filter(record: &RecordBatch, picked: &BooleanArray) -> Result<RecordBatch, ArrowError> {
    if picked.true_count() == picked.len() {
        return Ok(record.clone());
    }
    filter_record_batch(record, picked)
}

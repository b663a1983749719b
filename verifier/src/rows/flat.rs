//! Objects that are no chunks, as hostile as these: what somebody states as a rollup.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use super::read::{SomeColumns, builder_of, guarded, metadata, refused, row_count};
use super::{RowsError, container, schema};

/// An object that is no chunk: flat columns of the types that a rollup has.
pub struct Flat {
    /// Its rows. Text comes as views, so that a value that is repeated is held once.
    pub rows: SomeColumns,
    /// Their names and types.
    pub schema: SchemaRef,
    /// What the file says of itself, in the order of the file.
    pub pairs: Vec<(String, Option<String>)>,
}

/// Opens an object that is no chunk, once checked against digests, with so many rows at most.
pub fn flat(object: &Bytes, rows_max: u64) -> Result<Flat, RowsError> {
    let object = object.clone();
    guarded(0, || {
        let metadata = metadata(&object)?;
        let file = metadata.file_metadata();
        let expected = u64::try_from(file.num_rows()).unwrap_or(u64::MAX);
        let found = row_count(&metadata);
        if found != expected {
            return Err(RowsError::RowCount { expected, found });
        }
        let pairs = file.key_value_metadata().into_iter().flatten();
        let pairs = pairs.map(|pair| (pair.key.clone(), pair.value.clone())).collect();
        let (columns, schema) = schema::flat(file.schema_descr())?;
        let (body, _) = container::split(&object)?;
        let plan = container::check_columns(body, &metadata, &columns, rows_max)?;
        let builder = builder_of(object, Arc::new(metadata), plan, Arc::clone(&schema))?;
        let reader = builder.build().map_err(|error| refused(0, error))?;
        Ok(Flat { rows: SomeColumns::new(reader, expected), schema, pairs })
    })?
}

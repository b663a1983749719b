//! What differs between two objects of one rollup: two revisions of a day, or what was logged and what comes of it now.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::RollupError;

/// Rows of an object that are told one by one.
const TOLD_MAX: usize = 100;

/// How a null is shown.
const NULL: &str = "null";

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The values of its key, as `column=value`.
    pub row: String,
    /// The columns that differ, with both values; empty for a row that only one of the objects has.
    pub columns: Vec<(String, String, String)>,
    /// Whether the row is in the first object, and in the second.
    pub is_in: (bool, bool),
}

/// How two objects differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Rows that only the second has.
    pub added: u64,
    /// Rows that only the first has.
    pub removed: u64,
    /// Rows with other values.
    pub changed: u64,
    /// The first hundred of them.
    pub rows: Vec<Difference>,
}

impl Differences {
    /// Whether both have the same rows.
    pub fn is_empty(&self) -> bool {
        (self.added, self.removed, self.changed) == (0, 0, 0)
    }

    fn push(&mut self, difference: Difference) {
        let count = match difference.is_in {
            (true, true) => &mut self.changed,
            (true, false) => &mut self.removed,
            (false, _) => &mut self.added,
        };
        *count = count.saturating_add(1);
        if self.rows.len() < TOLD_MAX {
            self.rows.push(difference);
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_in {
            (true, false) => write!(f, "- {}", self.row),
            (false, _) => write!(f, "+ {}", self.row),
            (true, true) => {
                write!(f, "  {}:", self.row)?;
                let mut columns = self.columns.iter();
                columns.try_for_each(|(name, old, new)| write!(f, " {name} {old} -> {new}"))
            }
        }
    }
}

/// The rows of an object, by key: each value as text.
fn rows(
    object: &Bytes,
    key: &[String],
) -> Result<BTreeMap<String, Vec<(String, String)>>, RollupError> {
    let refused = |error: &dyn ToString| RollupError::Object(error.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(object.clone());
    let reader = builder.and_then(ParquetRecordBatchReaderBuilder::build);
    let mut rows = BTreeMap::new();
    for batch in reader.map_err(|error| refused(&error))? {
        let batch: RecordBatch = batch.map_err(|error| refused(&error))?;
        let options = FormatOptions::new().with_null(NULL);
        let columns =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| refused(&error))?;
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let names = schema.fields().iter().map(|field| field.name().clone());
            let values = columns.iter().map(|column| column.value(row).to_string());
            let row: Vec<(String, String)> = names.zip(values).collect();
            let is_key = |(name, _): &&(String, String)| key.contains(name);
            let parts = row.iter().filter(is_key).map(|(name, value)| format!("{name}={value}"));
            let name = parts.collect::<Vec<_>>().join(" ");
            rows.insert(name, row);
        }
    }
    Ok(rows)
}

/// Compares two objects of one rollup by the columns that no two of its rows have alike. Both must have been checked
/// against digests.
pub fn compare(first: &Bytes, second: &Bytes, key: &[String]) -> Result<Differences, RollupError> {
    let (first, mut second) = (rows(first, key)?, rows(second, key)?);
    let mut differences = Differences::default();
    for (row, old) in first {
        let Some(new) = second.remove(&row) else {
            differences.push(Difference { row, columns: Vec::new(), is_in: (true, false) });
            continue;
        };
        let new: BTreeMap<_, _> = new.into_iter().collect();
        let absent = || "absent".to_owned();
        let columns = old.into_iter().filter_map(|(name, old)| {
            let new = new.get(&name).cloned().unwrap_or_else(absent);
            (old != new).then_some((name, old, new))
        });
        let columns: Vec<_> = columns.collect();
        if !columns.is_empty() {
            differences.push(Difference { row, columns, is_in: (true, true) });
        }
    }
    for row in second.into_keys() {
        differences.push(Difference { row, columns: Vec::new(), is_in: (false, true) });
    }
    Ok(differences)
}

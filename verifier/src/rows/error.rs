//! Why an object is not the rows of a chunk.

/// Why an object is not the rows of a chunk, or why rows cannot be written as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// The file's frame: magic bytes, footer, the places that the footer names.
    #[error("not a sound Parquet file: {0}")]
    Container(&'static str),
    /// Bytes that nothing in the footer accounts for, or that it accounts for twice.
    #[error("bytes {from} to {to} of the file are {what}")]
    Bytes {
        /// First byte.
        from: u64,
        /// First byte after.
        to: u64,
        /// What is wrong with them.
        what: &'static str,
    },
    /// More than this reader takes on.
    #[error("{what} is {found}, more than this reader takes on ({max})")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Most that is read.
        max: u64,
        /// What the file says.
        found: u64,
    },
    /// A column is missing, out of place, of another type, or too many.
    #[error("column {index} should be {expected}, it is {found}")]
    Column {
        /// Its place, from 0.
        index: usize,
        /// What FORMAT section 9 asks for.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The file's key-value metadata says something else.
    #[error("file metadata `{key}` should be {expected}, it is {found}")]
    Metadata {
        /// The key.
        key: String,
        /// What it should say.
        expected: String,
        /// What it says.
        found: String,
    },
    /// The file has another number of rows.
    #[error("the file should have {expected} rows, it has {found}")]
    RowCount {
        /// Rows by the manifest.
        expected: u64,
        /// Rows by the file.
        found: u64,
    },
    /// The pages of a column do not add up.
    #[error("column `{column}`: {reason}")]
    Pages {
        /// The column.
        column: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// A null where the format has none.
    #[error("column `{column}` is null in row {row}, where the format has no null")]
    Null {
        /// The column.
        column: &'static str,
        /// The row, from 0.
        row: u64,
    },
    /// The Parquet or Arrow library refuses the file, or panicked over it.
    #[error("the decoder refuses the file after {rows} rows: {reason}")]
    Decode {
        /// Rows that it gave before.
        rows: u64,
        /// What it says.
        reason: String,
    },
    /// The Parquet or Arrow library cannot write these rows.
    #[error("the rows cannot be encoded: {0}")]
    Encode(String),
}

impl RowsError {
    /// The column that is wrong, where it is one.
    pub fn column(&self) -> Option<&'static str> {
        match self {
            Self::Null { column, .. } | Self::Pages { column, .. } => Some(column),
            Self::Column { index, .. } => {
                super::schema::COLUMNS.get(*index).map(|column| column.name)
            }
            Self::Container(_)
            | Self::Bytes { .. }
            | Self::Limit { .. }
            | Self::Metadata { .. }
            | Self::RowCount { .. }
            | Self::Decode { .. }
            | Self::Encode(_) => None,
        }
    }

    /// The row that is wrong, from 0, where it is one.
    pub fn row(&self) -> Option<u64> {
        match self {
            Self::Null { row, .. } => Some(*row),
            _ => None,
        }
    }
}

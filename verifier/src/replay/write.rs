//! Entries as bytes, in one of the formats.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use super::{Entries, What, columns, ndjson, schema};
use crate::rows::{self, RowsError};

/// Bytes that are gathered, at the least, before some are written.
const GATHERED_BYTES: usize = 64 << 10;
/// Bytes that do not come out before the end. More than the mark with which a stream of Arrow's ends, and fewer
/// than the shortest line of JSON.
const WITHHELD_BYTES: usize = 16;
/// Most bytes that a row group of Parquet is held in memory at.
const GROUP_BYTES: usize = 128 << 20;

/// In which form entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line of JSON each.
    Ndjson,
    /// A stream of Arrow's IPC format.
    Arrow,
    /// One Parquet file.
    Parquet,
}

/// Why entries were not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Whoever takes the bytes took no more.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The entries cannot be put into columns.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The Arrow library cannot write them.
    #[error(transparent)]
    Arrow(ArrowError),
    /// The Parquet library cannot write them.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
}

impl From<ArrowError> for WriteError {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => Self::Io(error),
            other => Self::Arrow(other),
        }
    }
}

/// Writes entries in one format.
///
/// What comes out is whole once [`Writer::finish`] has returned. Where that is never called, what came out ends amid a
/// line, a message or a file: the last bytes are held back, because readers of streams take one that ends between two
/// messages for whole, even without the mark of its end. A process that is killed while it writes may end anywhere.
pub struct Writer<W: Write + Send> {
    what: What,
    schema: SchemaRef,
    to: To<W>,
}

enum To<W: Write + Send> {
    Ndjson(Withheld<W>),
    Arrow(Box<StreamWriter<Withheld<W>>>),
    Parquet(Box<ArrowWriter<Withheld<W>>>),
}

impl<W: Write + Send> Writer<W> {
    /// Starts with what stands before all entries.
    pub fn new(to: W, format: Format, what: What, origin: &str) -> Result<Self, WriteError> {
        let schema = schema(what, origin);
        let to = Withheld { to, bytes: Vec::with_capacity(GATHERED_BYTES) };
        let to = match format {
            Format::Ndjson => To::Ndjson(to),
            Format::Arrow => To::Arrow(Box::new(StreamWriter::try_new(to, &schema)?)),
            Format::Parquet => {
                let properties = rows::encoded()?.set_max_row_group_bytes(Some(GROUP_BYTES));
                let schema = Arc::clone(&schema);
                let writer = ArrowWriter::try_new(to, schema, Some(properties.build()))?;
                To::Parquet(Box::new(writer))
            }
        };
        Ok(Self { what, schema, to })
    }

    /// Writes some more entries.
    pub fn write(&mut self, entries: &Entries) -> Result<(), WriteError> {
        let batch = || columns::batch(self.what, &self.schema, entries);
        match &mut self.to {
            To::Ndjson(to) => {
                for row in entries.rows() {
                    match self.what {
                        What::Entries => ndjson::entry(to, entries.workspace(), &row)?,
                        What::Payloads => ndjson::payload(to, &row)?,
                    }
                    to.release()?;
                }
            }
            To::Arrow(to) => {
                to.write(&batch()?)?;
                to.get_mut().release()?;
            }
            To::Parquet(to) => {
                to.write(&batch()?)?;
                to.inner_mut().release()?;
            }
        }
        Ok(())
    }

    /// Writes what stands behind all entries, and makes the output whole.
    pub fn finish(self) -> Result<W, WriteError> {
        let to = match self.to {
            To::Ndjson(to) => to,
            To::Arrow(mut to) => {
                to.finish()?;
                to.into_inner()?
            }
            To::Parquet(to) => to.into_inner()?,
        };
        Ok(to.finish()?)
    }
}

/// Gathers bytes, and never writes the last of them before the end.
struct Withheld<W> {
    to: W,
    bytes: Vec<u8>,
}

impl<W: Write> Withheld<W> {
    /// Called at the end of a line or message, so that what is written ends shortly before one.
    fn release(&mut self) -> io::Result<()> {
        if self.bytes.len() < GATHERED_BYTES {
            return Ok(());
        }
        let count = self.bytes.len().saturating_sub(WITHHELD_BYTES);
        self.to.write_all(self.bytes.get(..count).unwrap_or_default())?;
        self.bytes.drain(..count);
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&self.bytes)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Withheld<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// The encoders flush where they are done with a part, but only the end is one.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

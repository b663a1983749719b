//! The rows of a chunk as Parquet: the one place where they are written and read (FORMAT
//! section 9).
//!
//! Here: the columns, [`ChunkWriter`], [`ChunkRows`]. Not here: what a row means (see
//! [`ledger::columns`]), whether it is true (see `ledger::verify`), and where the bytes lie (see
//! [`crate::store`]).
//!
//! The writer is the archiver's, the reader is everyone's. The reader takes each file as hostile:
//! whoever holds the seal key can sign whatever they like. So it decodes nothing before it has
//! accounted for every byte of the file, and a panic in a decoder is an error like any other.

mod container;
mod error;
mod flat;
mod page;
mod read;
mod schema;
mod thrift;
mod write;

pub use error::RowsError;
pub use flat::{Flat, flat};
pub use read::{Batch, ChunkRows, SomeColumns, columns, event_types, quiet_decoder, read};
pub(crate) use schema::plain_fields;
pub(crate) use write::encoded;
pub use write::{ChunkWriter, properties, write};

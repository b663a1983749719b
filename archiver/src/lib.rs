//! Seals closed hours of the ledger into a signed, logged Parquet archive.
//!
//! Here: sealing ([`seal`], the order of its effects; [`chunk`], [`log`], [`recover`], what they
//! are made of), the write side of the store ([`vault`]), the database as the archiver sees it
//! ([`records`], [`state`], [`lock`]), configuration and the command line.
//!
//! Not here: what is hashed and signed, and every check over it (see the `ledger` crate); Parquet
//! and the read side of the store (see `verifier`). Records are read and never changed.

pub mod chunk;
pub mod cli;
pub mod config;
mod error;
pub mod lock;
pub mod log;
pub mod records;
pub mod recover;
pub mod seal;
pub mod state;
pub mod status;
pub mod step;
pub mod vault;

pub use error::{Disagreement, SealError};

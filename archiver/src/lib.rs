//! Seals closed hours of the ledger into a signed, logged Parquet archive.
//!
//! Here: sealing ([`seal`]), erasing ([`erase`]), retention ([`retain`], by a [`policy`]), changing the
//! seal key ([`rotate`]) rolling up ([`rollup`], by some [`computing`]) and publishing what came of it ([`marts`]), each the order of its effects, and what they are made of ([`chunk`], [`amend`], [`erasure`], [`keys`], [`log`],
//! [`publish`], [`readback`], [`recover`]); restoring a database from the archive ([`restore`]); sealing every hour, for as
//! long as it runs ([`daemon`], [`passes`]); the write side of the store ([`vault`]), the database as the
//! archiver sees it
//! ([`records`], [`state`], [`lock`]), configuration and the command line.
//!
//! Not here: what is hashed and signed, and every check over it (see the `ledger` crate); Parquet
//! and the read side of the store (see `verifier`). Records are read and never changed, but for
//! payloads that their own chain erases and days whose payloads the archive alone keeps; only an empty database is ever filled.

pub mod amend;
pub mod chunk;
pub mod cli;
pub mod computing;
pub mod config;
pub mod daemon;
mod due;
pub mod erase;
pub mod erasure;
mod error;
pub mod keyfile;
pub mod keys;
pub mod lock;
pub mod log;
mod making;
pub mod marts;
pub mod passes;
mod planned;
pub mod policy;
pub mod publish;
pub mod readback;
pub mod records;
pub mod recover;
pub mod restore;
pub mod retain;
pub mod rollup;
pub mod rotate;
pub mod seal;
pub mod state;
pub mod status;
pub mod step;
pub mod vault;

pub use error::{Disagreement, SealError};

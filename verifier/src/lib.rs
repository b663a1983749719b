//! Verifies a Tallystick archive from its public bytes alone.
//!
//! Here: fetching ([`store`]), Parquet ([`rows`], written and read in this one place), the auditor's
//! trust file ([`trust`]), the driver of the audit ([`audit`]), what several machines have checked of it ([`part`]), replaying what it has proven ([`mod@replay`]), proofs of
//! single events ([`prove`]), receipts against an archive ([`receipts`]), reports, what findings mean
//! ([`explain`]) and the command line.
//!
//! Not here: the checks themselves (see [`ledger::verify`]), databases, brokers, signing.

pub mod audit;
pub mod cli;
pub mod exit;
pub mod explain;
mod held;
mod ids;
pub mod log;
pub mod part;
pub mod prove;
pub mod receipts;
pub mod replay;
pub mod report;
#[cfg(feature = "rollup")]
pub mod rollup;
mod room;
pub mod rows;
pub mod state;
pub mod store;
pub mod trust;

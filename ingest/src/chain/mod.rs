//! The chain writer: from submissions to links in Postgres.
//!
//! Here, in order: `step` (the named points at which a process may die), `plan` (pure: what a
//! group of submissions becomes), `commit` (the one ordered effect), `queue` (shards of workspaces,
//! each with one transaction at a time).
//!
//! Not here: what a link is, and who may sign (see [`ledger::entry`], [`ledger::chain`]).

pub mod commit;
pub mod plan;
pub mod queue;
pub mod step;

pub use commit::Committer;
pub use plan::{Recorded, Refused, Verdict};
pub use queue::{WriteError, Writer};
pub use step::{NoProbe, Probe, Step};

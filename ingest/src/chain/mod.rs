//! The chain writer: from submissions to links in Postgres.
//!
//! Here, in order: `step` (the named points at which a process may die), `plan` (pure: what a
//! group of submissions becomes), `commit` (the one ordered effect), `queue` (shards of workspaces,
//! each with one transaction at a time); beside them `days` and `filter` (which event ids the days
//! before may hold), `erasure` (what may be asked to be erased), and `seen` (what this process has
//! recorded).
//!
//! Not here: what a link is, and who may sign (see [`ledger::entry`], [`ledger::chain`]).

pub mod commit;
pub mod days;
pub mod erasure;
pub mod filter;
pub mod plan;
pub mod queue;
pub mod seen;
pub mod step;

pub use commit::{Care, Committer};
pub use days::Days;
pub use plan::{Recorded, Refused, Verdict};
pub use queue::{WriteError, Writer};
pub use seen::Seen;
pub use step::{NoProbe, Probe, Step};

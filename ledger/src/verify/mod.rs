//! The checks over an archive, as a state machine that asks for what it needs and takes bytes.
//!
//! Here: [`Audit`], which walks the log and says which object it needs next; [`ChunkCheck`], which
//! checks the rows of one chunk and knows nothing of the others, so that chunks can be checked in
//! parallel; [`Finding`], which says what is wrong and where. Not here: fetching, decoding
//! Parquet, threads, printing (see the `verifier` crate). The archiver checks what it has written
//! by the same [`ChunkCheck`].

mod audit;
mod chunk;
mod claims;
mod days;
mod detail;
mod end;
mod finding;
mod ids;
mod inputs;
mod lock;
mod log;
mod logged;
mod part;
mod plan;
mod policy;
mod prune;
mod receipt;
mod report;
mod rollup;
mod seal;
mod state;
mod text;
mod unknown;
mod workspace;

pub use audit::{Audit, Depth, Need};
pub use chunk::{ChunkCheck, ChunkOutcome};
pub use detail::{ChunkReport, ChunkState, Detail, Signed};
pub use finding::{Check, Finding, Place, Severity};
pub use ids::{DoubledId, IdAt, IdRuns, doubled_ids, merged_ids};
pub use inputs::LoggedRollup;
pub use lock::Lock;
pub use logged::{Logged, LoggedEnd};
pub use part::PartError;
pub use policy::{Policy, Trust};
pub use receipt::ReceiptCheck;
pub use report::{InputDigest, MissingCounters, Pruned, Report, Verdict, WorkspaceReport};
pub(crate) use seal::SealCheck;
pub use state::StateError;
pub(crate) use workspace::check_pins;

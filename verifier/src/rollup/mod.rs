//! Rollups: figures of one day and workspace, computed from sealed chunks by SQL (FORMAT section 11).
//!
//! Here: the definitions that this program knows, [`FactsFile`] (what they read, taken from objects whose digests were
//! checked) and [`Engine`] (DataFusion, held to memory and to results that are the same each time). The archiver
//! computes by this code, and an auditor computes again. Not here: which chunks are the inputs of a day, and whether a
//! manifest tells the truth of them (see [`ledger::verify`]); writing to an archive (see the `archiver` crate).

#[cfg(feature = "distributed")]
pub mod cluster;
mod compare;
mod engine;
mod facts;
mod object;
mod plans;
mod read;
mod recompute;
mod scratch;
#[cfg(test)]
mod spilling;
mod threads;

use std::sync::LazyLock;

use ledger::hash::Digest;
use ledger::names::{Origin, Workspace};
use ledger::rollup::{Definition, inputs_root};
use ledger::time::Day;

use compare::compare_stated;
pub use compare::{Difference, Differences, compare};
pub use engine::{Engine, engine_name};
pub use facts::{FactsFile, write_facts};
pub use object::Computed;
pub use read::{json_rows, withheld};
pub use recompute::{Recomputed, recompute};
pub use scratch::Scratch;
pub use threads::on_threads;

use crate::rows::RowsError;

/// The definitions that come with this program, as texts.
const BUILT_IN: [&str; 6] = [
    include_str!("../../../archiver/rollups/agent_health_daily.v1.sql"),
    include_str!("../../../archiver/rollups/errors_daily.v1.sql"),
    include_str!("../../../archiver/rollups/llm_daily.v1.sql"),
    include_str!("../../../archiver/rollups/prompts_failing_daily.v1.sql"),
    include_str!("../../../archiver/rollups/tool_reliability_hourly.v1.sql"),
    include_str!("../../../archiver/rollups/workspace_cost_daily.v1.sql"),
];

static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let read = BUILT_IN.iter().map(|text| Definition::parse(text));
    // A test sees to it that each of them is read.
    read.filter_map(Result::ok).collect()
});

/// The definitions that come with this program, by name.
pub fn definitions() -> &'static [Definition] {
    &DEFINITIONS
}

/// What is to be computed: one rollup of one day and workspace.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// The ledger.
    pub origin: &'a Origin,
    /// The workspace.
    pub workspace: &'a Workspace,
    /// The day of `occurred_at`.
    pub day: Day,
    /// How.
    pub definition: &'a Definition,
    /// `H` of the note of each chunk manifest that is read, in the order of the log.
    pub inputs: &'a [Digest],
}

impl Task<'_> {
    /// Merkle root over the inputs.
    pub fn inputs_root(&self) -> Digest {
        inputs_root(self.inputs)
    }
}

/// Why a rollup was not computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RollupError {
    /// A chunk's object cannot be read.
    #[error("{object}: {error}")]
    Rows {
        /// Its key.
        object: String,
        /// Why.
        error: RowsError,
    },
    /// The engine refuses the SQL, or fails over it.
    #[error("{name} version {version} of {day}: {reason}")]
    Sql {
        /// The rollup.
        name: String,
        /// The version of its definition.
        version: u32,
        /// The day.
        day: Day,
        /// What the engine says.
        reason: String,
    },
    /// The result has a column that no rollup has, or one of another type.
    #[error(
        "{name} version {version}: its column `{column}` is of the type {found}, which no rollup has"
    )]
    Column {
        /// The rollup.
        name: String,
        /// The version of its definition.
        version: u32,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// An object of a rollup cannot be read.
    #[error("the object of a rollup: {0}")]
    Object(String),
    /// The engine cannot be set up.
    #[error("the engine: {0}")]
    Engine(String),
    /// A job of a cluster has failed as often as it was tried, or was not done in time.
    #[error("{what}, tried {attempts} times on the cluster at {url}: {reason}")]
    Cluster {
        /// What was to be computed.
        what: String,
        /// How often it was tried.
        attempts: u32,
        /// The scheduler.
        url: String,
        /// Why it failed the last time.
        reason: String,
    },
    /// An executor of a cluster has found the object of a chunk not to be what its manifest says.
    #[error("{object}: {reason}")]
    NotAsSealed {
        /// The object.
        object: String,
        /// What was found.
        reason: String,
    },
    /// A cluster came to other figures than this machine does.
    #[error(
        "{what}: the cluster came to other figures than this machine ({differences}); nothing was written of it, and nothing \
         that the cluster computes is to be believed until that is explained"
    )]
    ClusterDiffers {
        /// What was computed.
        what: String,
        /// In what, from the cluster's to this machine's.
        differences: String,
    },
    /// A file of facts cannot be written or read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What failed.
        error: std::io::Error,
    },
}

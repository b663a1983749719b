//! Why sealing and erasing stop.

use ledger::hash::Digest;
use ledger::names::{NameError, Origin, Seq, Workspace};
use ledger::note::{SignerError, VerifierKey};
use ledger::time::Hour;
use verifier::rollup::RollupError;
use verifier::store::SourceError;

use crate::chunk::ChunkError;
use crate::log::LogError;
use crate::policy::PolicyError;
use crate::state::MarkError;
use crate::step::Step;
use crate::vault::VaultError;

/// Database and store do not belong together, or one of them was set back. Someone must look:
/// going on would sign a second history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Disagreement {
    /// The store has no checkpoint.
    #[error(
        "the database knows a log of {size} leaves, but the store has no checkpoint: is it the \
         right store, and is it whole?"
    )]
    StoreEmpty {
        /// Leaves that the database knows.
        size: u64,
    },
    /// The store's log is shorter.
    #[error(
        "the database knows a log of {database} leaves, the store's checkpoint has {store}: the \
         store was set back"
    )]
    StoreBehind {
        /// Leaves that the database knows.
        database: u64,
        /// Leaves by the store's checkpoint.
        store: u64,
    },
    /// The store's log is another one.
    #[error(
        "the store's log of {store} leaves does not go on from the {size} leaves that the database \
         knows: they are two histories"
    )]
    Forked {
        /// Leaves that the database knows.
        size: u64,
        /// Leaves by the store's checkpoint.
        store: u64,
    },
    /// A checkpoint cannot be read, or this ledger's key has not signed it.
    #[error("the checkpoint: {0}")]
    Checkpoint(String),
    /// A leaf of the log is none that an archiver of this version has written.
    #[error("leaf {index} of the log: {error}")]
    Leaf {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        error: MarkError,
    },
    /// Entries that are sealed are not in the database.
    #[error(
        "{workspace} is sealed up to seq {sealed}, but the database does not hold that entry as it \
         was sealed: it was set back, or changed"
    )]
    DatabaseBehind {
        /// The workspace.
        workspace: Workspace,
        /// Its last sealed entry.
        sealed: Seq,
    },
    /// Another seal key is configured than the one in force.
    #[error(
        "the seal key {configured} is configured, and {in_force} is in force since leaf {since} of the \
         log: set `archive.seal_key` to the file of that one"
    )]
    SealKey {
        /// By the settings.
        configured: Box<VerifierKey>,
        /// By the log.
        in_force: Box<VerifierKey>,
        /// From which leaf on.
        since: u64,
    },
    /// A change of the seal key was begun, and cannot be finished without the new key.
    #[error(
        "a change of the seal key to {0} was begun and has to be finished first: give the same command \
         with that key's file again, or set `archive.seal_key` to it"
    )]
    ChangeBegun(Box<VerifierKey>),
    /// The seal key cannot be changed like this.
    #[error("the seal key is not changed: {0}")]
    Change(String),
    /// An entry lies in an hour that is sealed without it.
    #[error("{workspace} has seq {seq} in an hour before {hour}, which is sealed without it")]
    Late {
        /// The workspace.
        workspace: Workspace,
        /// The entry.
        seq: i64,
        /// The hour that is sealed next.
        hour: Hour,
    },
    /// The database is of another ledger.
    #[error("the configuration is of the ledger {configured}, the database of {found}")]
    Origin {
        /// By the configuration.
        configured: Origin,
        /// By the database.
        found: String,
    },
    /// A recorded event is not what was recorded.
    #[error("{workspace}: {error}")]
    Record {
        /// The workspace.
        workspace: Workspace,
        /// What is wrong.
        error: ChunkError,
    },
    /// A name in the database is none.
    #[error("a workspace in the database: {0}")]
    Workspace(#[from] NameError),
    /// An entry that should ask for erasures does not, or is not what is sealed.
    #[error("seq {seq} of {workspace}, which should ask for erasures: {problem}")]
    Erasure {
        /// The workspace.
        workspace: Workspace,
        /// The entry.
        seq: Seq,
        /// What is wrong.
        problem: String,
    },
    /// The database has other records than the archive: neither is to go.
    #[error(
        "seq {seq} of {workspace} is not the same in the database as it is sealed ({column}), so that \
         nothing of its day goes: find out which one was changed"
    )]
    Differs {
        /// The workspace.
        workspace: Workspace,
        /// The entry.
        seq: u64,
        /// The first column that differs.
        column: &'static str,
    },
    /// Leaves whose publishing was begun do not follow on the log.
    #[error("what was kept to be leaf {index} has no place in a log of {size} leaves")]
    Planned {
        /// Which leaf it was to be.
        index: u64,
        /// Leaves in the log.
        size: u64,
    },
    /// An object that is sealed is not in the store as it was sealed.
    #[error("`{key}` in the store is not what was sealed: {problem}")]
    Sealed {
        /// The object's key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The definition of a rollup is not the one that was logged under its version.
    #[error(
        "the rollup {name} version {version} is logged with the definition {expected}, and this program's is \
         {found}: a definition that changes takes the next version"
    )]
    Definition {
        /// The rollup.
        name: String,
        /// The version.
        version: u32,
        /// `H` of the definition that is logged.
        expected: Digest,
        /// `H` of the one at hand.
        found: Digest,
    },
    /// What was written does not verify when it is read back.
    #[error("`{object}`, read back from the store, does not verify: {finding}")]
    ReadBack {
        /// The object's key.
        object: String,
        /// The first finding.
        finding: String,
    },
}

/// Why sealing or erasing stopped. Whatever it was, running again goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Another archiver holds the lock.
    #[error("another archiver is at work on this ledger")]
    Busy,
    /// An open transaction keeps the hour from closing.
    #[error(
        "a transaction that records entries has been open for more than {0}, so the hour cannot \
         be closed: run again, and if that does not help, look into pg_stat_activity"
    )]
    FenceBusy(&'static str),
    /// The database has no ledger yet.
    #[error("the database holds no ledger yet: start `tally-ingest serve` on it first")]
    NoLedger,
    /// The seal key did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The database failed.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// The retention policy cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A rollup was not computed.
    #[error(transparent)]
    Rollup(#[from] RollupError),
    /// The store failed.
    #[error("the store: {0}")]
    Vault(#[from] VaultError),
    /// The log in the store cannot be taken up.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// Someone must look.
    #[error(transparent)]
    Disagreement(Box<Disagreement>),
    /// A probe has stopped it.
    #[error("stopped after {0:?}")]
    Stopped(Step),
}

impl From<Disagreement> for SealError {
    fn from(disagreement: Disagreement) -> Self {
        Self::Disagreement(Box::new(disagreement))
    }
}

impl From<SourceError> for SealError {
    fn from(error: SourceError) -> Self {
        Self::Vault(error.into())
    }
}

impl SealError {
    /// The exit code: 3 where running again may help, 4 where someone must look first.
    pub fn code(&self) -> u8 {
        match self {
            Self::Disagreement(_)
            | Self::Vault(VaultError::Differs(_))
            | Self::Log(LogError::Missing(_) | LogError::Malformed(_)) => 4,
            Self::Busy
            | Self::FenceBusy(_)
            | Self::NoLedger
            | Self::Signer(_)
            | Self::Policy(_)
            | Self::Rollup(_)
            | Self::Database(_)
            | Self::Vault(_)
            | Self::Log(_)
            | Self::Stopped(_) => 3,
        }
    }
}

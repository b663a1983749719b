//! Postgres: the one place that knows SQL.
//!
//! Here: connections and what they must guarantee, migrations, which ledger the database is;
//! [`mod@write`] (what the chain writer reads under its locks, and writes), [`read`] (what the HTTP
//! routes show), [`day`] (partitions), `copy` (binary COPY). Not here: when which is called (see [`crate::chain`]).

pub mod access;
mod copy;
pub mod day;
pub mod erasure;
pub mod queue;
pub mod read;
pub mod restores;
pub mod rows;
pub mod state;
pub mod write;

use std::str::FromStr as _;
use std::time::Duration;

use ledger::names::{Origin, Seq, Workspace};
use ledger::time::Micros;
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// The advisory lock between writers and the archiver: the bytes `tally_f`
/// (`migrations/README.md`, `docs/decisions/0005-fence.md`).
///
/// Every transaction that records entries holds it shared, and reads `fence.not_before` after it
/// has it. The archiver takes it exclusively to move the fence, so that no transaction with an
/// older time is open once the fence stands.
pub const FENCE_LOCK: i64 = 0x0074_616c_6c79_5f66;

/// The schema, forward only.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// How long a caller waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(3);

/// Why the store cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Postgres, or the way to it.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A row holds what no version of this service writes.
    #[error("database: column {column} holds what the ledger never writes there")]
    Corrupt {
        /// Table and column.
        column: &'static str,
    },
    /// The head of a workspace lies behind what this process has seen recorded.
    #[error(
        "the database holds {workspace} up to seq {found}, and this service has seen it recorded up \
         to seq {seen}: it is not the ledger, but an older copy of it, or another one"
    )]
    Behind {
        /// The workspace.
        workspace: Workspace,
        /// Its last seq in the database; 0 where it is not there.
        found: u64,
        /// The last seq that was seen.
        seen: Seq,
    },
    /// The workspace was created while it was read, so that what was read is of two states.
    #[error("{workspace} was created meanwhile, or its head is missing")]
    Appeared {
        /// The workspace.
        workspace: Workspace,
    },
    /// The clocks of this machine and of the database's do not agree: one of them is wrong.
    #[error("the clock here says {ours}, the database's says {database}: one of them is wrong")]
    ClockApart {
        /// The ledger's clock.
        ours: Micros,
        /// The database's.
        database: Micros,
    },
    /// Somebody else has claimed the partition since.
    #[error("partition {partition} of {queue} was claimed anew: somebody else records it now")]
    ClaimedAnew {
        /// The queue's name.
        queue: String,
        /// The partition.
        partition: i32,
    },
    /// The partition is recorded up to another message than this process has taken last.
    #[error(
        "partition {partition} of {queue} is not recorded up to where this process has read it"
    )]
    Elsewhere {
        /// The queue's name.
        queue: String,
        /// The partition.
        partition: i32,
    },
    /// The clock is behind what is recorded: nothing can be recorded until it has caught up.
    #[error(transparent)]
    ClockBehind(#[from] ledger::entry::ClockError),
    /// The schema cannot be brought up to date.
    #[error("database schema: {0}")]
    Migrate(#[from] MigrateError),
    /// The schema is older or newer than this program.
    #[error(
        "the database schema is at version {found}, this program needs {needed}: run \
         `tally-ingest migrate` of this version"
    )]
    Schema {
        /// The newest migration that was applied; 0 for none.
        found: i64,
        /// The newest migration of this program.
        needed: i64,
    },
    /// The login is not in the group that it needs.
    #[error(
        "the database login `{login}` may not act as `{role}`: `GRANT {role} TO {login}`, see \
         policies/postgres/README.md"
    )]
    Role {
        /// Who logged in.
        login: String,
        /// The group.
        role: &'static str,
    },
    /// The database is of another ledger.
    #[error("the database belongs to the ledger `{found}`, the configuration says `{configured}`")]
    Origin {
        /// Whose it is.
        found: String,
        /// Who asks.
        configured: Origin,
    },
}

impl StoreError {
    /// Whether the same transaction may well succeed at once: it lost a race, or its connection.
    ///
    /// After a lost connection nobody knows whether the commit was done. Trying again is safe all
    /// the same: the next try waits for the heads' locks and then finds the submission by its hash.
    pub fn is_retryable(&self) -> bool {
        let error = match self {
            Self::Database(error) => error,
            other => return other.is_conflict(),
        };
        match error {
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                // unique_violation, serialization_failure, deadlock_detected; admin_shutdown and
                // crash_shutdown end a connection.
                matches!(&*code, "23505" | "40001" | "40P01" | "57P01" | "57P02")
            }),
            sqlx::Error::Io(_) => true,
            _ => false,
        }
    }
}

impl StoreError {
    /// Whether another transaction came first: a unique index refused a row, as something is
    /// recorded already, or a workspace appeared.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Appeared { .. } => true,
            Self::Database(sqlx::Error::Database(error)) => error.is_unique_violation(),
            _ => false,
        }
    }
}

fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.application_name("tally-ingest"))
}

/// The role of Postgres that the chain writer takes on: it adds records and moves heads on.
const WRITER: (&str, &str) = ("role", "tally_writer");
/// The role that answers over HTTP: it sees the workspace that its transaction names.
const API: (&str, &str) = ("role", "tally_api");

/// Connections for the chain writer.
pub fn writers(url: &str, connections: u32) -> Result<PgPool, StoreError> {
    Ok(pool(connections).connect_lazy_with(as_writer(url)?))
}

/// A connection with the rights of the login itself: for what an owner does.
pub fn owner(url: &str) -> Result<PgPool, StoreError> {
    Ok(pool(1).connect_lazy_with(options(url)?))
}

/// Connections on which strangers' keys are looked for. Nobody asks first whether one still works: who
/// looks tries again, and strangers cost half as much.
pub fn doorkeepers(url: &str, connections: u32) -> Result<PgPool, StoreError> {
    let pool = pool(connections).test_before_acquire(false);
    Ok(pool.connect_lazy_with(as_writer(url)?))
}

fn as_writer(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(options(url)?.options([
        WRITER,
        // A receipt follows a commit that is on disk, whatever the database's default is.
        ("synchronous_commit", "on"),
        // The plan reads the fence and the heads after it has their locks, each with a new snapshot.
        ("default_transaction_isolation", "read committed"),
        // Whoever holds a lock for longer is stuck: better to refuse than to wait.
        ("lock_timeout", "5s"),
        ("statement_timeout", "20s"),
        ("idle_in_transaction_session_timeout", "20s"),
        // Every look-up has its index. Without statistics, as on a new database, the planner would
        // read whole tables and keep that plan while they grow.
        ("enable_seqscan", "off"),
        // What the planner was told to avoid costs it so much on paper that it would compile the plan.
        ("jit", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
    ]))
}

/// Connections for reading: they cannot write, whatever they are told.
pub fn readers(url: &str, connections: u32) -> Result<PgPool, StoreError> {
    let options = options(url)?.options([
        API,
        ("default_transaction_read_only", "on"),
        ("statement_timeout", "10s"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ]);
    Ok(pool(connections).connect_lazy_with(options))
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE)
}

/// Brings the schema up to date and makes the database that of `origin`. Again changes nothing.
pub async fn migrate(url: &str, origin: &Origin) -> Result<(), StoreError> {
    let pool = pool(1).connect_with(options(url)?).await?;
    MIGRATIONS.run(&pool).await?;
    sqlx::query("INSERT INTO ledger (origin) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(origin.as_str())
        .execute(&pool)
        .await?;
    let checked = check(&pool, origin).await;
    pool.close().await;
    checked
}

/// Makes sure of the same on a connection of its own, and that its login may take on the role of
/// one who writes, or of one who reads.
pub async fn check_login(url: &str, origin: &Origin, writes: bool) -> Result<(), StoreError> {
    let pool = pool(1).connect_with(options(url)?).await?;
    check(&pool, origin).await?;
    let (_, role) = if writes { WRITER } else { API };
    let (login, may): (String, bool) =
        sqlx::query_as("SELECT session_user::text, pg_has_role(session_user, $1, 'MEMBER')")
            .bind(role)
            .fetch_one(&pool)
            .await?;
    pool.close().await;
    if may { Ok(()) } else { Err(StoreError::Role { login, role }) }
}

/// Makes sure that the schema is this program's and the database that of `origin`.
pub async fn check(pool: &PgPool, origin: &Origin) -> Result<(), StoreError> {
    let needed = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
    let is_new: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NULL")
        .fetch_one(pool)
        .await?;
    let found = if is_new {
        0
    } else {
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
            .fetch_one(pool)
            .await?
    };
    if found != needed {
        return Err(StoreError::Schema { found, needed });
    }
    let found: Option<String> =
        sqlx::query_scalar("SELECT origin FROM ledger").fetch_optional(pool).await?;
    match found {
        Some(found) if found == origin.as_str() => Ok(()),
        found => Err(StoreError::Origin {
            found: found.unwrap_or_else(|| "(none: run `tally-ingest migrate`)".to_owned()),
            configured: origin.clone(),
        }),
    }
}

/// A value of a `bigint` column that is checked to be a seq.
fn seq(value: i64, column: &'static str) -> Result<Seq, StoreError> {
    u64::try_from(value).ok().and_then(Seq::new).ok_or(StoreError::Corrupt { column })
}

/// A value of a `bigint` column that is checked to be a time.
fn micros(value: i64, column: &'static str) -> Result<Micros, StoreError> {
    Micros::new(value).ok_or(StoreError::Corrupt { column })
}

/// A value of a `bytea` column that is checked to be a digest.
fn digest(value: &[u8], column: &'static str) -> Result<ledger::hash::Digest, StoreError> {
    ledger::hash::Digest::from_slice(value).ok_or(StoreError::Corrupt { column })
}

/// A value of a `bytea` column that is checked to be a key.
fn key(value: &[u8], column: &'static str) -> Result<ledger::key::PublicKey, StoreError> {
    ledger::key::PublicKey::from_bytes(value).map_err(|_| StoreError::Corrupt { column })
}

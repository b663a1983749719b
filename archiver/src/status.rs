//! How far sealing has come.

use ledger::checkpoint::Checkpoint;
use ledger::layout::Artefact;
use ledger::note::{Note, VerifierKey};
use ledger::time::{Hour, Micros};
use sqlx::{PgPool, Row as _};
use verifier::store::{ArchiveSource, Lock};

use crate::SealError;
use crate::keys;
use crate::passes::Passes;
use crate::records::unsigned;
use crate::seal::first_hour;
use crate::state::{Published, State};
use crate::vault::{Guarantees, Vault};

/// How far sealing has come, by the database and by the store. Nothing is verified here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The last sealed hour.
    pub last_hour: Option<Hour>,
    /// Whole hours that have ended since, or since the first entry where nothing is sealed yet; the
    /// grace not counted.
    pub hours_behind: u64,
    /// Leaves in the log, by the database.
    pub log_size: u64,
    /// Leaves in the log, by the store's checkpoint; none where there is no readable one. Where it
    /// is not the database's, the next `seal` finds out why.
    pub stored_log_size: Option<u64>,
    /// Workspaces with sealed entries.
    pub workspaces: u64,
    /// The seal key in force, and from which leaf on; none where it has never changed.
    pub seal_key: Option<(VerifierKey, u64)>,
    /// The key that a change was begun to which is not finished.
    pub change_begun: Option<VerifierKey>,
    /// Whether the seal key lies in a file that is not encrypted, as far as that can be seen.
    pub plain_key_file: bool,
    /// What the store guarantees, as far as it was found out.
    pub guarantees: Guarantees,
    /// Whether the store locks what is sealed, by the note of the last hour.
    pub lock: Lock,
    /// Days in the database with payloads, and the first hour of the oldest one.
    pub days: (u64, Option<Hour>),
    /// Chunks that the log says are pruned, and how many of them the store may still have.
    pub pruned: (u64, u64),
    /// How the last passes ended.
    pub passes: Passes,
}

impl Status {
    /// The exit code of a check: 4 where someone must look, 3 where more than `hours` wait to be sealed or
    /// the last pass failed, 0 where all is well.
    pub fn code(&self, hours: u64) -> u8 {
        match &self.passes.last {
            Some(failure) if failure.code == 4 => 4,
            Some(_) => 3,
            None if self.hours_behind > hours => 3,
            None => 0,
        }
    }
}

/// Reads the status as it is at `now`. What the store guarantees is asked of a vault, where one is
/// given.
pub async fn status(
    pool: &PgPool,
    source: &(dyn ArchiveSource + Sync),
    vault: Option<&dyn Vault>,
    now: Micros,
) -> Result<Status, SealError> {
    let mut conn = pool.acquire().await?;
    let state = State::load(&mut conn).await?;
    let published = Published::load(&mut conn).await?;
    let last_hour = state.last_hour().map(|(hour, _)| hour);
    let passes = Passes::load(&mut conn).await?;
    let next = match last_hour {
        Some(hour) => hour.next(),
        None => first_hour(&mut conn).await?,
    };
    let behind = next.map_or(0, |next| next.until(now.hour()));
    let stored = source.get(&Artefact::Checkpoint.to_string())?;
    let checkpoint =
        stored.as_deref().and_then(|bytes| Checkpoint::parse(Note::parse(bytes).ok()?.body()).ok());
    let guarantees = match (vault, last_hour) {
        (Some(vault), Some(hour)) => vault.probe(&Artefact::HourNote(hour).to_string())?,
        _ => Guarantees::default(),
    };
    let lock = match last_hour {
        Some(hour) => source.lock(&Artefact::HourNote(hour).to_string())?,
        None => Lock::Unknown,
    };
    let days = sqlx::query(
        "SELECT count(*) AS days, min(day) AS oldest FROM days WHERE archived_at IS NULL",
    );
    let days = days.fetch_one(&mut *conn).await?;
    let oldest = days.try_get::<Option<i64>, _>("oldest")?.and_then(Micros::new);
    let pruned = sqlx::query(
        "SELECT count(*) AS pruned, count(*) FILTER (WHERE removed_at IS NULL) AS left FROM pruned_chunks",
    );
    let pruned = pruned.fetch_one(&mut *conn).await?;
    let line = keys::load(&mut conn).await?;
    let log_size = published.map_or(0, |published| published.size);
    let pending = keys::pending(&mut conn, log_size).await?;
    Ok(Status {
        last_hour,
        seal_key: line.map(|line| (line.in_force().clone(), line.last().before.size)),
        change_begun: pending.map(|pending| pending.new_key),
        plain_key_file: false,
        hours_behind: u64::try_from(behind).unwrap_or(0),
        log_size,
        stored_log_size: checkpoint.map(|checkpoint| checkpoint.size),
        workspaces: u64::try_from(state.tails().count()).unwrap_or(u64::MAX),
        guarantees,
        lock,
        days: (unsigned(&days, "days")?, oldest.map(Micros::hour)),
        pruned: (unsigned(&pruned, "pruned")?, unsigned(&pruned, "left")?),
        passes,
    })
}

//! How far sealing has come.

use ledger::checkpoint::Checkpoint;
use ledger::layout::Artefact;
use ledger::note::Note;
use ledger::time::{Hour, Micros};
use sqlx::PgPool;
use verifier::store::ArchiveSource;

use crate::SealError;
use crate::state::{Published, State};

/// How far sealing has come, by the database and by the store. Nothing is verified here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The last sealed hour.
    pub last_hour: Option<Hour>,
    /// Whole hours that have ended since, the grace not counted.
    pub hours_behind: u64,
    /// Leaves in the log, by the database.
    pub log_size: u64,
    /// Leaves in the log, by the store's checkpoint; none where there is no readable one. Where it
    /// is not the database's, the next `seal` finds out why.
    pub stored_log_size: Option<u64>,
    /// Workspaces with sealed entries.
    pub workspaces: u64,
}

/// Reads the status as it is at `now`.
pub async fn status(
    pool: &PgPool,
    source: &(dyn ArchiveSource + Sync),
    now: Micros,
) -> Result<Status, SealError> {
    let mut conn = pool.acquire().await?;
    let state = State::load(&mut conn).await?;
    let published = Published::load(&mut conn).await?;
    let last_hour = state.last_hour().map(|(hour, _)| hour);
    let behind = last_hour.and_then(Hour::next).map_or(0, |next| next.until(now.hour()));
    let stored = source.get(&Artefact::Checkpoint.to_string())?;
    let checkpoint =
        stored.as_deref().and_then(|bytes| Checkpoint::parse(Note::parse(bytes).ok()?.body()).ok());
    Ok(Status {
        last_hour,
        hours_behind: u64::try_from(behind).unwrap_or(0),
        log_size: published.map_or(0, |published| published.size),
        stored_log_size: checkpoint.map(|checkpoint| checkpoint.size),
        workspaces: u64::try_from(state.tails().count()).unwrap_or(u64::MAX),
    })
}

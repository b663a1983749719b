//! What may go and what stays, by the policy and by what the database knows of the archive.
//!
//! Here: the questions. Not here: what is done (see [`super`]).

use std::collections::BTreeSet;
use std::fmt;

use ledger::names::Workspace;
use ledger::time::{Hour, Micros};
use sqlx::{PgConnection, Row as _};

use super::PrunedRun;
use crate::SealError;
use crate::amend::Place;
use crate::policy::{DAY, RetentionPolicy, is_over};
use crate::records::decoded;
use crate::state::State;

/// Why something stays although its time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Not every hour of the day is sealed.
    NotSealed,
    /// A hold keeps it.
    Held {
        /// Whose entries it keeps here.
        workspace: Workspace,
        /// What the hold says.
        reason: String,
    },
    /// The database still holds the day's payloads.
    InDatabase,
    /// It holds events of the ledger's own: keys and erasures hang on them.
    LedgerEvents,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSealed => f.write_str("not all of it is sealed"),
            Self::Held { workspace, reason } => {
                write!(f, "a hold on {workspace} keeps it: {reason}")
            }
            Self::InDatabase => f.write_str("the database still holds its payloads"),
            Self::LedgerEvents => f.write_str("it holds events of the ledger's own"),
        }
    }
}

impl Why {
    /// Its word, for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotSealed => "not-sealed",
            Self::Held { .. } => "held",
            Self::InDatabase => "in-database",
            Self::LedgerEvents => "ledger-events",
        }
    }
}

/// Something that stays although its time is over: a day in the database, or a chunk in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The day, by its first hour; of a chunk, its hour.
    pub hour: Hour,
    /// The chunk's workspace and its first and last seq; `None` for a day of the database.
    pub chunk: Option<(Workspace, u64, u64)>,
    /// Why.
    pub why: Why,
}

impl Stay {
    pub(super) fn chunk(place: &Place, why: Why) -> Self {
        let range = &place.range;
        let seqs = (range.first_seq.get(), range.last_seq.get());
        Self { hour: range.hour, chunk: Some((range.workspace.clone(), seqs.0, seqs.1)), why }
    }
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.chunk {
            None => write!(f, "payloads of {} in the database: {}", self.hour.date(), self.why),
            Some((workspace, first, last)) => {
                write!(f, "chunk {workspace} {first}-{last} of {}: {}", self.hour, self.why)
            }
        }
    }
}

/// Consecutive chunks of a workspace that may go together.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) keep_days: u64,
    /// In the order of the chain, without a gap.
    pub(super) places: Vec<Place>,
}

impl Run {
    /// What it is, in short; `None` where nothing is in it.
    pub(super) fn summary(&self) -> Option<PrunedRun> {
        let (first, last) = (&self.places.first()?.range, &self.places.last()?.range);
        Some(PrunedRun {
            workspace: first.workspace.clone(),
            first_seq: first.first_seq,
            last_seq: last.last_seq,
            hours: (first.hour, last.hour),
            chunks: u64::try_from(self.places.len()).unwrap_or(u64::MAX),
        })
    }
}

/// The workspaces with sealed entries in the day that starts at `first`.
pub(super) async fn workspaces_of(
    conn: &mut PgConnection,
    first: i64,
) -> Result<Vec<Workspace>, SealError> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT workspace FROM sealed_chunks WHERE hour >= $1 AND hour < $2 ORDER BY workspace",
    )
    .bind(first)
    .bind(first.saturating_add(DAY))
    .fetch_all(conn)
    .await?;
    let names = names.iter().map(|name| decoded("workspace", Workspace::new(name)));
    Ok(names.collect::<Result<_, _>>()?)
}

fn hour_of(micros: i64) -> Result<Hour, SealError> {
    Ok(Micros::new(micros).ok_or(sqlx::Error::RowNotFound)?.hour())
}

/// The days whose payloads may leave the database at `now`, and those that stay although their time is
/// over.
pub(super) async fn due_days(
    conn: &mut PgConnection,
    state: &State,
    policy: &RetentionPolicy,
    now: Micros,
) -> Result<(Vec<Hour>, Vec<Stay>), SealError> {
    let (mut due, mut stays) = (Vec::new(), Vec::new());
    let Some(kept) = policy.database_days else {
        return Ok((due, stays));
    };
    let sealed = state.last_hour().map_or(0, |(hour, _)| hour.end());
    let days: Vec<i64> =
        sqlx::query_scalar("SELECT day FROM days WHERE archived_at IS NULL ORDER BY day")
            .fetch_all(&mut *conn)
            .await?;
    for first in days {
        let end = first.saturating_add(DAY);
        if !is_over(end, kept, now) {
            continue;
        }
        let (hour, chunk) = (hour_of(first)?, None);
        if sealed < end {
            stays.push(Stay { hour, chunk, why: Why::NotSealed });
            continue;
        }
        let workspaces = workspaces_of(conn, first).await?;
        let held = workspaces.into_iter().find_map(|workspace| {
            let reason = policy.held(&workspace, first, end)?.reason.clone();
            Some(Why::Held { workspace, reason })
        });
        match held {
            Some(why) => stays.push(Stay { hour, chunk, why }),
            None => due.push(hour),
        }
    }
    Ok((due, stays))
}

/// The chunks whose objects may leave the archive, and those that stay although their time is over. By
/// the clock of the log: what an hour note says has ended. `leaving` are days that leave the database
/// before.
pub(super) async fn due_chunks(
    conn: &mut PgConnection,
    state: &State,
    policy: &RetentionPolicy,
    leaving: &[Hour],
) -> Result<(Vec<Run>, Vec<Stay>), SealError> {
    let (mut runs, mut stays) = (Vec::new(), Vec::new());
    let through = state.last_hour().and_then(|(hour, _)| Micros::new(hour.end()));
    let Some(through) = through.filter(|_| policy.prunes()) else {
        return Ok((runs, stays));
    };
    let held_in_database: Vec<i64> =
        sqlx::query_scalar("SELECT day FROM days WHERE archived_at IS NULL")
            .fetch_all(&mut *conn)
            .await?;
    let leaving: BTreeSet<i64> = leaving.iter().map(|day| day.start().get()).collect();
    let in_database: BTreeSet<i64> =
        held_in_database.into_iter().filter(|day| !leaving.contains(day)).collect();
    for (workspace, _) in state.tails() {
        let Some(keep_days) = policy.archive_days(workspace) else {
            continue;
        };
        let mut run = Run { keep_days, places: Vec::new() };
        // Not all that there are: an archive of years has very many.
        let kept = i64::try_from(keep_days).unwrap_or(i64::MAX).saturating_mul(DAY);
        for place in Place::all(conn, workspace, 0, through.get().saturating_sub(kept)).await? {
            let (start, end) = (place.range.hour.start().get(), place.range.hour.end());
            // Times never fall along a chain.
            if !is_over(end, keep_days, through) {
                break;
            }
            let follows = run.places.last().is_none_or(|last: &Place| {
                last.range.last_seq.next() == Some(place.range.first_seq)
            });
            if !follows {
                runs.push(std::mem::replace(&mut run, Run { keep_days, places: Vec::new() }));
            }
            let why = if let Some(hold) = policy.held(workspace, start, end) {
                let (workspace, reason) = (workspace.clone(), hold.reason.clone());
                Some(Why::Held { workspace, reason })
            } else if in_database.contains(&(start - start.rem_euclid(DAY))) {
                Some(Why::InDatabase)
            } else if has_ledger_rows(conn, &place).await? {
                Some(Why::LedgerEvents)
            } else {
                None
            };
            match why {
                None => run.places.push(place),
                Some(why) => {
                    stays.push(Stay::chunk(&place, why));
                    runs.push(std::mem::replace(&mut run, Run { keep_days, places: Vec::new() }));
                }
            }
        }
        runs.push(run);
    }
    runs.retain(|run| !run.places.is_empty());
    Ok((runs, stays))
}

/// Whether the database has an event of the ledger's own there: of a day that has left it, only their
/// payloads stay. Saves reading the object; where it says no, the object is read and decides. Of a day that
/// would leave it first, a rehearsal asks too.
async fn has_ledger_rows(conn: &mut PgConnection, place: &Place) -> Result<bool, SealError> {
    let range = &place.range;
    let row = sqlx::query(
        "SELECT EXISTS (
             SELECT FROM entries e JOIN days d ON d.day = $4 - $4 % 86400000000
             WHERE e.workspace = $1 AND e.seq BETWEEN $2 AND $3
               AND e.recorded_at >= $4 AND e.recorded_at < $5 AND e.payload IS NOT NULL
               AND (d.archived_at IS NOT NULL OR event_type_of(e.payload) LIKE 'ledger.%')
         ) AS found",
    )
    .bind(range.workspace.as_str())
    .bind(range.first_seq.get().cast_signed())
    .bind(range.last_seq.get().cast_signed())
    .bind(range.hour.start().get())
    .bind(range.hour.end())
    .fetch_one(conn)
    .await?;
    Ok(row.try_get("found")?)
}

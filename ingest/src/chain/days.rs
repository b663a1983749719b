//! Which days of records are closed, and what their event ids are.
//!
//! An event id is recorded once in a workspace, for as long as records are kept. Within a day a
//! unique index sees to it. Of the days before, most ids were never there, and a filter in memory
//! says so without a look into the store (`docs/decisions/0010-dedupe-across-days.md`).
//!
//! Here: the filters, and how they are read. They are never the truth: without them the store is
//! asked, and answers the same. Not here: the questions to the store (see [`crate::store::write`]).

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use ledger::names::EventId;
use ledger::time::Micros;
use sqlx::PgPool;

use super::filter::Filter;
use crate::store::{StoreError, day};

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;

/// The first microsecond of a time's day.
pub fn start_of_day(time: Micros) -> i64 {
    time.get() - time.get().rem_euclid(DAY)
}

/// What is known of the days at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Days below this one hold no id that no filter knows; days from it on are asked in the store.
    pub open_from: i64,
    /// The closed days that have a filter, by their first microsecond.
    pub filters: Vec<(i64, Arc<Filter>)>,
}

impl Closed {
    /// The closed days that may hold the id.
    pub fn days_of(&self, id: &EventId) -> impl Iterator<Item = i64> + use<'_> {
        let id = *id;
        let perhaps = self.filters.iter().filter(move |(_, filter)| filter.may_contain(&id));
        perhaps.map(|(day, _)| *day)
    }

    /// The memory of all filters, in bytes.
    pub fn bytes(&self) -> usize {
        self.filters.iter().map(|(_, filter)| filter.bytes()).sum()
    }
}

/// The days of one database, shared by all who write.
#[derive(Debug)]
pub struct Days {
    /// Most memory for filters, in bytes.
    room: usize,
    closed: RwLock<Arc<Closed>>,
    /// Days that are known to have partitions.
    made: RwLock<BTreeSet<i64>>,
}

impl Days {
    /// Nothing is known yet; filters will take at most `room` bytes.
    pub fn new(room: usize) -> Self {
        Self { room, closed: RwLock::default(), made: RwLock::default() }
    }

    /// What is known now. It stays true: closed days never change.
    pub fn closed(&self) -> Arc<Closed> {
        Arc::clone(&self.closed.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the day that starts at `first` has its partitions.
    pub fn is_made(&self, first: i64) -> bool {
        self.made.read().unwrap_or_else(PoisonError::into_inner).contains(&first)
    }

    /// Remembers that a day has its partitions: only after the transaction that made them.
    pub fn has_been_made(&self, first: i64) {
        self.made.write().unwrap_or_else(PoisonError::into_inner).insert(first);
    }

    /// Reads which days are closed by now, and the ids of those that have no filter yet.
    ///
    /// A day is closed once it lies wholly below the fence: no transaction records there any more.
    pub async fn refresh(&self, pool: &PgPool) -> Result<(), StoreError> {
        let (not_before, days) = day::all(pool).await?;
        let mut closed = Closed { open_from: 0, ..Closed::clone(&self.closed()) };
        // An archived day has its filter as any other: its ids stay. One that is not there has none.
        closed.filters.retain(|(day, _)| days.contains(day));
        for first in &days {
            if first.saturating_add(DAY) > not_before {
                // A day below this one that is not there may still be made.
                break;
            }
            if closed.filters.iter().any(|(day, _)| day == first) {
                continue;
            }
            let ids = day::count(pool, *first).await?;
            if closed.bytes().saturating_add(Filter::bytes_for(ids)) > self.room {
                tracing::warn!(day = first, "no memory for the filter of this day and later ones");
                self.set(Closed { open_from: *first, ..closed });
                return Ok(());
            }
            let filter = day::filter(pool, *first, ids).await?;
            closed.filters.push((*first, Arc::new(filter)));
            // Each day helps as soon as it is there.
            self.set(Closed { open_from: first.saturating_add(DAY), ..closed.clone() });
        }
        // Between the last closed day and the fence's own there is nothing, and there will be nothing.
        let open_from = not_before - not_before.rem_euclid(DAY);
        self.set(Closed { open_from, ..closed });
        Ok(())
    }

    fn set(&self, closed: Closed) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(closed);
    }
}

//! The days that the rows of a chunk occurred on: which rollups are computed from it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::time::{Day, Micros};

/// Most days that are kept of a chunk. Of more than so many nothing is known: an agent can claim any time, so a
/// hostile one could have a chunk hold as many days as rows.
const DAYS_MAX: usize = 4_096;

/// The days of `occurred_at` in the rows of one chunk, as far as they were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Days {
    /// Each day, and whether a row of it has its payload.
    days: BTreeMap<Day, bool>,
    /// Microseconds of the day that was taken last, and whether that row had its payload.
    last: Range<i64>,
    last_is_shown: bool,
    unknown: bool,
}

impl Days {
    /// Takes a row. Rows of one day mostly follow on each other, so the day before is looked at first.
    pub(super) fn take(&mut self, occurred_at: i64, is_shown: bool) {
        let same = self.last.contains(&occurred_at) && self.last_is_shown == is_shown;
        if same || self.unknown {
            return;
        }
        let Some(day) = Micros::new(occurred_at).map(Day::of) else {
            self.unknown = true;
            return;
        };
        self.last = day.start().get()..day.end();
        self.last_is_shown = is_shown;
        *self.days.entry(day).or_default() |= is_shown;
        if self.days.len() > DAYS_MAX {
            self.unknown = true;
            self.days.clear();
        }
    }

    /// The days as [`Days::known`] gave them.
    pub(super) fn from_known(known: Option<impl IntoIterator<Item = (Day, bool)>>) -> Self {
        let unknown = known.is_none();
        Self { days: known.into_iter().flatten().collect(), unknown, ..Self::default() }
    }

    /// The days in order, each with whether a row of it has its payload; `None` where they are not known.
    pub(super) fn known(&self) -> Option<Box<[(Day, bool)]>> {
        (!self.unknown).then(|| self.days.iter().map(|(day, shown)| (*day, *shown)).collect())
    }
}

//! The counters that agents keep of what they sign (FORMAT section 3).
//!
//! Here: which numbers a key has used. Not here: what a counter is (see [`crate::submission`]).

use std::collections::BTreeMap;

/// The counters that one key has used in one workspace, kept as runs, so that an agent that leaves
/// no gap costs two numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<u64, u64>);

impl Counters {
    /// No counter used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes runs as [`Counters::runs`] gave them; `None` where they are not in order, or touch.
    pub fn from_runs(runs: impl IntoIterator<Item = (u64, u64)>) -> Option<Self> {
        let mut taken = BTreeMap::new();
        let mut least = 1;
        for (first, last) in runs {
            if first < least || last < first {
                return None;
            }
            least = last.checked_add(2)?;
            taken.insert(first, last);
        }
        Some(Self(taken))
    }

    /// The runs of numbers used, as first and last.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    /// Marks a counter as used; `false` where it was used before. 0 is no counter.
    pub fn take(&mut self, counter: u64) -> bool {
        if counter == 0 {
            return true;
        }
        let before = self.0.range(..=counter).next_back().map(|(first, last)| (*first, *last));
        let (mut first, mut last) = (counter, counter);
        if let Some((start, end)) = before {
            if counter <= end {
                return false;
            }
            if end + 1 == counter {
                first = start;
            }
        }
        if let Some(end) = counter.checked_add(1).and_then(|next| self.0.remove(&next)) {
            last = end;
        }
        self.0.insert(first, last);
        true
    }

    /// The runs of numbers missing below the highest one, as first and last.
    pub fn missing(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut expected = 1;
        self.0.iter().filter_map(move |(first, last)| {
            let gap = (expected < *first).then(|| (expected, first - 1));
            expected = last + 1;
            gap
        })
    }
}

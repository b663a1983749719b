//! That no two entries of a workspace carry the same event id (FORMAT section 2).
//!
//! Ids cannot be compared chunk by chunk, and those of a large workspace are more than memory holds. So
//! each chunk gives its own in order, a run, and runs are merged at the end: whoever drives the audit may
//! keep them on disk until then (see [`super::Audit::take_ids`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::names::{EventId, Seq, Workspace};

use super::finding::{Check, Finding, Place};

/// Doubled ids that are named, workspace by workspace: the rest are counted.
const NAMED_MAX: usize = 100;

/// An event id with the entry that carries it.
pub type IdAt = (EventId, Seq);

/// Runs of ids by workspace, each run sorted.
pub type IdRuns = BTreeMap<Workspace, Vec<Vec<IdAt>>>;

/// Two entries that carry one event id: the earlier one, and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DoubledId {
    /// The later entry.
    pub again: Seq,
    /// The entry before it.
    pub first: Seq,
    /// The id.
    pub event_id: EventId,
}

/// Merges runs, each of them sorted, and gives what stands in them more than once.
pub fn doubled_ids<R>(runs: impl IntoIterator<Item = R>) -> impl Iterator<Item = DoubledId>
where
    R: Iterator<Item = IdAt>,
{
    let mut before: Option<IdAt> = None;
    merged_ids(runs).filter_map(move |(event_id, again)| {
        let (id, first) = before.replace((event_id, again))?;
        (id == event_id).then_some(DoubledId { again, first, event_id })
    })
}

/// Merges runs, each of them sorted, into one.
pub fn merged_ids<R>(runs: impl IntoIterator<Item = R>) -> impl Iterator<Item = IdAt>
where
    R: Iterator<Item = IdAt>,
{
    let mut runs: Vec<R> = runs.into_iter().collect();
    let mut next = BinaryHeap::new();
    for (index, run) in runs.iter_mut().enumerate() {
        next.extend(run.next().map(|id| Reverse((id, index))));
    }
    std::iter::from_fn(move || {
        let Reverse((id, index)) = next.pop()?;
        let after = runs.get_mut(index).and_then(Iterator::next);
        next.extend(after.map(|id| Reverse((id, index))));
        Some(id)
    })
}

/// The findings of doubled ids: the first by seq one by one, the rest as a number.
pub(super) fn findings(
    workspace: &Workspace,
    doubled: impl Iterator<Item = DoubledId>,
) -> Vec<Finding> {
    let (mut named, mut more) = (BTreeSet::new(), 0_u64);
    for id in doubled {
        named.insert(id);
        if named.len() > NAMED_MAX {
            named.pop_last();
            more = more.saturating_add(1);
        }
    }
    let place = Place::workspace(workspace);
    let of = |DoubledId { again, first, event_id }: DoubledId| {
        let place = place.clone().at_seq(again.get()).in_column("event_id");
        let finding = Finding::new(Check::EventTwice, place);
        finding.because(format!("{event_id} stands at seq {first} already"))
    };
    let mut findings: Vec<_> = named.into_iter().map(of).collect();
    if more > 0 {
        let finding = Finding::new(Check::EventTwice, place);
        findings.push(finding.because(format!("{more} more entries carry an id a second time")));
    }
    findings
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn id(n: u8, seq: u64) -> IdAt {
        (EventId::from_bytes([n; 16]).unwrap(), Seq::new(seq).unwrap())
    }

    #[test]
    fn an_id_in_two_runs_is_found_and_so_is_each_further_one() {
        let runs = vec![vec![id(1, 1), id(5, 2)], vec![id(2, 3), id(5, 4)], vec![id(5, 5)], vec![]];
        let found: Vec<_> = doubled_ids(runs.into_iter().map(Vec::into_iter))
            .map(|found| (found.first.get(), found.again.get()))
            .collect();
        assert_eq!(found, [(2, 4), (4, 5)]);
    }

    #[test]
    fn more_than_so_many_are_counted_and_the_first_by_seq_are_named() {
        let workspace = Workspace::new("acme").unwrap();
        let doubled = (1..=250_u64).rev().map(|seq| {
            let (event_id, again) = id(7, seq + 1);
            DoubledId { again, first: Seq::new(seq).unwrap(), event_id }
        });
        let found = findings(&workspace, doubled);
        let named: Vec<_> = found.iter().filter_map(|finding| finding.place.seq).collect();
        assert_eq!(named, (2..=101).collect::<Vec<_>>());
        assert_eq!(found.len(), 101);
        let rest = found.last().unwrap().detail.as_deref().unwrap();
        assert_eq!(rest, "150 more entries carry an id a second time");
    }
}

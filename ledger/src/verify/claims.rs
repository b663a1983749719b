//! How far the times that agents claim lie from those at which the ledger recorded them.
//!
//! `occurred_at` is the agent's word and `recorded_at` the ledger's: neither proves the other wrong. An auditor
//! who says how far apart they may lie is told of the worst, workspace by workspace.

use serde::{Deserialize, Serialize};

use crate::names::Workspace;
use crate::time::Micros;

use super::finding::{Check, Finding, Place};
use super::policy::Policy;

/// The farthest claims of a chain, each with its entry: microseconds between the two times, and the seq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    /// Recorded so long after it was to have happened.
    late: Option<(i64, u64)>,
    /// To have happened so long after it was recorded.
    ahead: Option<(i64, u64)>,
}

impl Claims {
    /// Takes an entry.
    pub(super) fn take(&mut self, seq: u64, recorded_at: i64, occurred_at: Micros) {
        let late = recorded_at.saturating_sub(occurred_at.get());
        farther(&mut self.late, Some((late, seq)));
        farther(&mut self.ahead, Some((late.saturating_neg(), seq)));
    }

    /// Takes those of what follows in the chain.
    pub(super) fn join(&mut self, next: Self) {
        farther(&mut self.late, next.late);
        farther(&mut self.ahead, next.ahead);
    }

    /// What lies farther apart than the auditor's policy lets it.
    pub(super) fn findings(&self, workspace: &Workspace, policy: &Policy) -> Vec<Finding> {
        let far = |most: Option<u64>, found: Option<(i64, u64)>, how| {
            let (most, (apart, seq)) = (most?, found?);
            let apart = u64::try_from(apart).ok().filter(|apart| *apart > most)?;
            let place = Place::workspace(workspace).at_seq(seq).in_column("occurred_at");
            let finding = Finding::new(Check::ClaimedTime, place);
            let seconds = |micros: u64| format!("{}.{:06} s", micros / SECOND, micros % SECOND);
            let expected = format!("{how} by {} at most", seconds(most));
            Some(finding.differs(expected, format!("{}, the farthest of all", seconds(apart))))
        };
        let late = far(policy.max_late, self.late, "recorded after it is claimed to have happened");
        let ahead =
            far(policy.max_ahead, self.ahead, "claimed to have happened after it was recorded");
        late.into_iter().chain(ahead).collect()
    }
}

/// Microseconds in a second.
const SECOND: u64 = 1_000_000;

/// The first of the farthest stays.
fn farther(kept: &mut Option<(i64, u64)>, found: Option<(i64, u64)>) {
    let Some((apart, _)) = found.filter(|(apart, _)| *apart > 0) else { return };
    if kept.is_none_or(|(before, _)| apart > before) {
        *kept = found;
    }
}

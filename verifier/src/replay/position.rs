//! Where a replay has come to.

use std::collections::BTreeMap;
use std::fmt;

use ledger::names::{Seq, Workspace};
use ledger::verify::Report;

/// Where a replay has come to: the last entry of each workspace that it is done with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(pub BTreeMap<Workspace, Seq>);

impl Position {
    /// Whether an entry comes behind this place.
    pub(super) fn is_before(&self, workspace: &Workspace, seq: u64) -> bool {
        self.0.get(workspace).is_none_or(|done| done.get() < seq)
    }

    /// Refuses a place that lies behind all that a report proves: it is of another ledger, or of a longer
    /// archive, and going on from it would pass entries over. Nothing is said of a report that has an end of
    /// its own, nor of workspaces that it leaves out.
    pub fn check(&self, report: &Report) -> Result<(), PositionError> {
        if report.detail.policy.until.is_some() {
            return Ok(());
        }
        let asked =
            |workspace: &Workspace| report.scope.as_ref().is_none_or(|scope| scope == workspace);
        for (workspace, seq) in self.0.iter().filter(|(workspace, _)| asked(workspace)) {
            let mut found = report.workspaces.iter();
            let found = found.find(|found| found.workspace == *workspace);
            let head = found.and_then(|found| found.head).map(|(head, _)| head);
            if head.is_none_or(|head| head < *seq) {
                return Err(PositionError::Beyond {
                    workspace: workspace.clone(),
                    seq: *seq,
                    head: head.map_or_else(|| "nothing".to_owned(), |head| format!("seq {head}")),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Position {
    /// `WORKSPACE:SEQ`, one a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(workspace, seq)| writeln!(f, "{workspace}:{seq}"))
    }
}

/// A position from which nothing can go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// A line is none.
    #[error("`{0}` is no position: WORKSPACE:SEQ is expected, each workspace once")]
    Line(String),
    /// It lies behind the end.
    #[error(
        "{workspace}:{seq} lies behind the end: of {workspace} the archive has {head}. The position is of \
         another ledger, or of a longer archive; name another file to begin anew"
    )]
    Beyond {
        /// The workspace.
        workspace: Workspace,
        /// The place.
        seq: Seq,
        /// Where the workspace ends.
        head: String,
    },
}

impl std::str::FromStr for Position {
    type Err = PositionError;

    /// Reads what [`Position`] prints.
    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut position = Self::default();
        for line in text.lines() {
            let read = line.split_once(':').and_then(|(workspace, seq)| {
                let number: u64 = seq.parse().ok()?;
                // In no other form than it is printed: digits without a sign or leading zeros.
                let read = Seq::new(number).filter(|read| read.to_string() == seq)?;
                Some((Workspace::new(workspace).ok()?, read))
            });
            let doubled = match read {
                Some((workspace, seq)) => position.0.insert(workspace, seq).is_some(),
                None => true,
            };
            if doubled {
                return Err(PositionError::Line(line.chars().take(80).collect()));
            }
        }
        Ok(position)
    }
}

//! Where a replay has come to.

use std::collections::BTreeMap;
use std::fmt;

use ledger::names::{Seq, Workspace};

/// Where a replay has come to: the last entry of each workspace that it is done with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(pub BTreeMap<Workspace, Seq>);

impl Position {
    /// Whether an entry comes behind this place.
    pub(super) fn is_before(&self, workspace: &Workspace, seq: u64) -> bool {
        self.0.get(workspace).is_none_or(|done| done.get() < seq)
    }
}

impl fmt::Display for Position {
    /// `WORKSPACE:SEQ`, one a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(workspace, seq)| writeln!(f, "{workspace}:{seq}"))
    }
}

/// A line that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no position: WORKSPACE:SEQ is expected, each workspace once")]
pub struct PositionError(String);

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
                return Err(PositionError(line.chars().take(80).collect()));
            }
        }
        Ok(position)
    }
}

//! Checkpoints of the log, as in C2SP tlog-checkpoint (FORMAT section 8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Digest;
use crate::names::Origin;
use crate::note::plain_number;

/// The body of a checkpoint: which tree the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The ledger.
    pub origin: Origin,
    /// Leaves in the log.
    pub size: u64,
    /// Merkle root over them.
    pub root: Digest,
}

/// Why a note's body is not a checkpoint of this format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a checkpoint has three lines: an origin, the log's size in plain digits, and the root in \
     base64; line {line} is not so"
)]
pub struct CheckpointError {
    line: usize,
}

impl Checkpoint {
    /// The text to be signed.
    pub fn to_body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// Reads the body of a note. This ledger writes no extension lines, so none are read.
    pub fn parse(body: &str) -> Result<Self, CheckpointError> {
        let at = |line| CheckpointError { line };
        let mut lines = body.split('\n');
        let mut next = |line| lines.next().ok_or(at(line));
        let origin = Origin::new(next(1)?).map_err(|_| at(1))?;
        let size = plain_number(next(2)?).ok_or(at(2))?;
        let root = STANDARD.decode(next(3)?).map_err(|_| at(3))?;
        let root = Digest::from_slice(&root).ok_or(at(3))?;
        if !next(4)?.is_empty() || next(5).is_ok() {
            return Err(at(4));
        }
        Ok(Self { origin, size, root })
    }
}

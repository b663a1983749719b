//! An entry of a chain, its leaf and its link (FORMAT section 4).
//!
//! Here: what is hashed, and which time an entry gets. Not here: who may append (see
//! [`crate::chain`]).

use sha2::{Digest as _, Sha256};

use crate::hash::Digest;
use crate::limits::CLOCK_HOLD_MICROS;
use crate::names::{EventId, Origin, Seq, Workspace};
use crate::time::Micros;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 101;

/// What is hashed of one recorded event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place in the workspace's chain.
    pub seq: Seq,
    /// The ledger's clock when the submission was recorded.
    pub recorded_at: Micros,
    /// The event's UUID.
    pub event_id: EventId,
    /// `H(payload)`.
    pub payload_digest: Digest,
    /// The submission that brought the event.
    pub submission_hash: Digest,
    /// Place in the submission, from 0.
    pub index_in_submission: u16,
    /// Events in the submission.
    pub submission_count: u16,
}

impl Entry {
    /// The 101 bytes.
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0_u8; ENTRY_BYTES];
        let parts: [&[u8]; 8] = [
            &[0x01],
            &self.seq.get().to_be_bytes(),
            &self.recorded_at.get().to_be_bytes(),
            self.event_id.as_bytes(),
            self.payload_digest.as_bytes(),
            self.submission_hash.as_bytes(),
            &self.index_in_submission.to_be_bytes(),
            &self.submission_count.to_be_bytes(),
        ];
        let mut rest = bytes.as_mut_slice();
        for part in parts {
            // The widths above add up to ENTRY_BYTES, so every part finds room.
            if let Some((slot, tail)) = std::mem::take(&mut rest).split_at_mut_checked(part.len()) {
                slot.copy_from_slice(part);
                rest = tail;
            }
        }
        bytes
    }

    /// `H(0x00 || entry)`.
    pub fn leaf(&self) -> Digest {
        crate::merkle::leaf_hash(&self.to_bytes())
    }
}

/// `link(0)`: where the chain of a workspace starts.
pub fn genesis_link(origin: &Origin, workspace: &Workspace) -> Digest {
    Digest::of_parts(&[
        b"\x03tallystick/genesis/v1\n",
        origin.as_str().as_bytes(),
        b"\n",
        workspace.as_str().as_bytes(),
        b"\n",
    ])
}

/// `H(0x02 || link(seq-1) || leaf(seq))`.
pub fn next_link(previous: &Digest, leaf: &Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0x02]);
    hasher.update(previous.as_bytes());
    hasher.update(leaf.as_bytes());
    Digest::from_bytes(hasher.finalize().into())
}

/// The ledger's clock is too far behind what it has recorded: nothing may be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock says {now}, which is {} ms behind the last recorded time {last}: mend the clock; \
     nothing is accepted until it is right",
    (last.get() - now.get()) / 1_000
)]
pub struct ClockError {
    /// What the clock says.
    pub now: Micros,
    /// The time that must not be undercut.
    pub last: Micros,
}

/// The time that the next entry gets: never less than `last`. A clock up to one second behind is
/// held at `last`; one further behind is a fault.
pub fn next_recorded_at(last: Micros, now: Micros) -> Result<Micros, ClockError> {
    if now >= last {
        Ok(now)
    } else if last.get() - now.get() <= CLOCK_HOLD_MICROS {
        Ok(last)
    } else {
        Err(ClockError { now, last })
    }
}

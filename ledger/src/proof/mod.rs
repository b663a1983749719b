//! A proof of one event: all that a third party needs who has this one file and a trust file
//! (docs/spec/proof.md).
//!
//! Here: what a proof holds ([`Proof`]), its one way to be written (`encode`, `decode`), its log part
//! as C2SP tlog-proof ([`TlogProof`]), and the check of it ([`check()`]). Not here: finding an event in
//! an archive (see the `verifier` crate).

mod check;
mod decode;
mod encode;
mod tlog;

pub use check::{Authority, Checked, Proven, Said, check};
pub use decode::Malformed;
pub use tlog::TlogProof;

use crate::hash::Digest;
use crate::key::{PublicKey, Signature};
use crate::names::{EventId, Origin, Seq, Workspace};
use crate::submission::Counter;
use crate::time::Micros;

/// The first line of a proof.
pub const KIND: &str = "tallystick/proof/v1";

/// Largest proof that is read, in bytes: room for an event of the largest payload with the
/// registrations of eight keys whose payloads are as large.
pub const PROOF_BYTES: usize = 16 << 20;

/// A proof, read or made, and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The ledger.
    pub origin: Origin,
    /// The workspace.
    pub workspace: Workspace,
    /// The checkpoint that all notes are proven to be under: a whole signed note.
    pub checkpoint: String,
    /// The notes of the log that the proof rests on, by their place in the log: the manifests of the
    /// chunks that hold the events, and every note about seal keys.
    pub notes: Vec<LoggedNote>,
    /// The events by seq. The last one is what is proven; those before are what put its key in force.
    pub events: Vec<RecordedEvent>,
}

/// A leaf of the log, with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedNote {
    /// The whole signed note.
    pub note: String,
    /// Its place in the log, from 0.
    pub index: u64,
    /// The path from it to the checkpoint's root.
    pub path: Vec<Digest>,
}

/// A recorded event, with the submission that brought it and its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Place in the workspace's chain.
    pub seq: Seq,
    /// When it was recorded.
    pub recorded_at: Micros,
    /// The event's UUID.
    pub event_id: EventId,
    /// Place in its submission, from 0.
    pub submission_index: u16,
    /// The submission's counter.
    pub counter: Counter,
    /// The key that signed the submission.
    pub public_key: PublicKey,
    /// Its signature over the submission's statement.
    pub signature: Signature,
    /// The payload digests of all events of the submission, in order.
    pub digests: Vec<Digest>,
    /// Which of the proof's notes is the manifest of its chunk, from 0.
    pub manifest: usize,
    /// The path from its entry to the root that the manifest states.
    pub path: Vec<Digest>,
    /// The payload; `None` where only its digest is shown.
    pub payload: Option<Vec<u8>>,
}

impl RecordedEvent {
    /// The digest of its payload; `None` where the submission has no event at its place.
    pub fn payload_digest(&self) -> Option<Digest> {
        self.digests.get(usize::from(self.submission_index)).copied()
    }

    /// Seq of the first event of its submission; `None` where that would be before the first entry.
    pub fn first_seq(&self) -> Option<Seq> {
        self.seq.get().checked_sub(u64::from(self.submission_index)).and_then(Seq::new)
    }

    /// Seq of the last event of its submission; `None` where there can be no such.
    pub fn last_seq(&self) -> Option<Seq> {
        let count = u64::try_from(self.digests.len()).ok()?;
        self.first_seq()?.checked_add(count.checked_sub(1)?)
    }
}

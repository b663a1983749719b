//! Prune records: which chunks' objects the archive's retention has removed (FORMAT section 11).
//!
//! Here: what a record says. Not here: whether the log before it bears that out (see
//! [`crate::verify`]), and when anything may go (that is the archiver's).

use crate::hash::Digest;
use crate::merkle::{Frontier, leaf_hash};
use crate::names::{Origin, Seq, Workspace};
use crate::note::{Body, BodyError, Lines};
use crate::receipt::seq;
use crate::succession::reason;
use crate::time::Micros;

pub(crate) const KIND: &str = "tallystick/prune/v1";

/// The body of a prune record: the objects of consecutive chunks of one workspace go, as a policy
/// says. Their manifests stay in the log, and so do their links and roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneRecord {
    /// The ledger.
    pub origin: Origin,
    /// The workspace.
    pub workspace: Workspace,
    /// Seq of the first entry of the first of the chunks.
    pub first_seq: Seq,
    /// Seq of the last entry of the last one.
    pub last_seq: Seq,
    /// How many chunks these are: all between the two.
    pub chunks: u64,
    /// Merkle root over the manifests in force of these chunks, in the order of the chain: see
    /// [`manifests_root`].
    pub manifests_root: Digest,
    /// `recorded_at` of the last entry: the youngest that goes.
    pub last_recorded_at: Micros,
    /// For how many days the policy keeps records.
    pub keep_days: u64,
    /// Why that long, in words, as the policy says it.
    pub reason: String,
    /// `H` of the policy's text.
    pub policy_sha256: Digest,
}

/// Merkle root over manifests; a leaf's data are the 32 bytes of `H` of the whole note.
pub fn manifests_root<'a>(notes: impl IntoIterator<Item = &'a Digest>) -> Digest {
    let mut tree = Frontier::new();
    for note in notes {
        tree.push(leaf_hash(note.as_bytes()));
    }
    tree.root()
}

impl PruneRecord {
    /// The text to be signed.
    pub fn to_body(&self) -> String {
        Body::of(KIND)
            .line("origin", &self.origin)
            .line("workspace", &self.workspace)
            .line("first_seq", self.first_seq)
            .line("last_seq", self.last_seq)
            .line("chunks", self.chunks)
            .line("manifests_root", self.manifests_root)
            .line("last_recorded_at", self.last_recorded_at)
            .line("keep_days", self.keep_days)
            .line("reason", &self.reason)
            .line("policy_sha256", self.policy_sha256)
            .finish()
    }

    /// Reads the body of a note, and refuses one that contradicts itself.
    pub fn parse(body: &str) -> Result<Self, BodyError> {
        let mut lines = Lines::of(KIND, body)?;
        let record = Self {
            origin: lines.value("origin", Origin::new)?,
            workspace: lines.value("workspace", Workspace::new)?,
            first_seq: seq(&mut lines, "first_seq")?,
            last_seq: seq(&mut lines, "last_seq")?,
            chunks: lines.number("chunks")?,
            manifests_root: lines.value("manifests_root", Digest::parse)?,
            last_recorded_at: lines.value("last_recorded_at", Micros::parse)?,
            keep_days: lines.number("keep_days")?,
            reason: lines.value("reason", reason)?,
            policy_sha256: lines.value("policy_sha256", Digest::parse)?,
        };
        lines.end()?;
        if record.last_seq < record.first_seq {
            Err(BodyError::Contradiction("last_seq is below first_seq"))
        } else if record.chunks == 0 {
            Err(BodyError::Contradiction("a prune record names a chunk at least"))
        } else {
            Ok(record)
        }
    }
}

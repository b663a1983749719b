//! The report: verdict, scope, totals, findings, and what is not claimed.

use std::fmt;
use std::iter::Sum;

use serde::{Deserialize, Serialize};

use crate::hash::Digest;
use crate::key::PublicKey;
use crate::line::KeyLine;
use crate::names::{Seq, Workspace};
use crate::time::Hour;

use super::detail::{Detail, Signed};
use super::finding::{Finding, Severity};
use super::lock::Lock;

/// The graded verdict; its number is the verifier's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was asked for is proven.
    Proven,
    /// Tampering, forgery or loss was found.
    Tampered,
    /// A check could not be made.
    Unfinished,
    /// Intact, but short of what the auditor's policy asks for.
    Short,
}

impl Verdict {
    /// The verdict that findings lead to: the gravest of them decides.
    pub fn of(findings: &[Finding]) -> Self {
        match findings.iter().map(|finding| finding.check.severity()).max() {
            Some(Severity::Tampering) => Self::Tampered,
            Some(Severity::Unfinished) => Self::Unfinished,
            Some(Severity::Policy) => Self::Short,
            Some(Severity::Notice) | None => Self::Proven,
        }
    }

    /// The verdict in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Tampered => "tampered",
            Self::Unfinished => "unfinished",
            Self::Short => "short",
        }
    }
}

/// An input that the verdict rests on, by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputDigest {
    /// The object's archive key.
    pub name: String,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// The numbers that a key counted and the ledger never recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingCounters {
    /// The key.
    pub key: PublicKey,
    /// First and last of each run of missing numbers. Where chunks of the workspace were pruned, only
    /// those above the lowest number that the key used behind the last such chunk.
    pub ranges: Vec<(u64, u64)>,
    /// Whether chunks were pruned that may have held these numbers.
    pub maybe_pruned: bool,
    /// Whether chunks outside of the times asked for may hold them.
    pub maybe_outside: bool,
}

impl fmt::Display for MissingCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_pruned = if self.maybe_pruned { ", or in a chunk that was pruned" } else { "" };
        let or_outside =
            if self.maybe_outside { ", or outside of the times asked for" } else { "" };
        write!(f, "{} never recorded{or_pruned}{or_outside}:", self.key)?;
        for (at, (first, last)) in self.ranges.iter().take(16).enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma} {first}")?,
                false => write!(f, "{comma} {first} to {last}")?,
            }
        }
        match self.ranges.len().checked_sub(16) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more runs"),
        }
    }
}

/// What retention has removed, as the log records: it could not be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Chunks.
    pub chunks: u64,
    /// Entries in them.
    pub events: u64,
}

impl Sum for Pruned {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        // A hostile manifest may claim any number of entries.
        parts.fold(Self::default(), |sum, part| Self {
            chunks: sum.chunks.saturating_add(part.chunks),
            events: sum.events.saturating_add(part.events),
        })
    }
}

/// What was checked of one workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceReport {
    /// The workspace.
    pub workspace: Workspace,
    /// Its newest sealed entry.
    pub head: Option<(Seq, Digest)>,
    /// Entries checked.
    pub events: u64,
    /// Of these, how many the custodian attests.
    pub custodian_events: u64,
    /// Of these, how many are withheld by a recorded erasure.
    pub withheld: u64,
    /// What each key signed that was allowed to, by key.
    pub signers: Vec<(PublicKey, Signed)>,
    /// Chunks of its chain that were reached, in the order of the chain, those too that were pruned.
    pub chunks: u64,
    /// What retention has removed of it.
    pub pruned: Pruned,
    /// What lies outside of the times asked for: checked by digests alone, and not counted above.
    pub outside: Pruned,
    /// Whether the trust file names its root keys.
    pub pinned: bool,
    /// Counted, but never recorded.
    pub missing_counters: Vec<MissingCounters>,
}

/// Everything that a verification came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// The ledger's origin, as the auditor gave it.
    pub origin: String,
    /// The one workspace that was asked for, if any.
    pub scope: Option<Workspace>,
    /// The checkpoint that everything hangs on.
    pub checkpoint: Option<InputDigest>,
    /// The same as it was read, for whoever keeps it; empty where it is no checkpoint.
    pub checkpoint_note: Vec<u8>,
    /// Leaves in the log.
    pub log_size: u64,
    /// The seal keys that followed on each other in the log; none where it has no leaf.
    pub seal_keys: Option<KeyLine>,
    /// The first and the last hour that has a note.
    pub hours: Option<(Hour, Hour)>,
    /// What the store says of its lock on the newest hour's note.
    pub lock: Lock,
    /// Chunks checked.
    pub chunks: u64,
    /// Entries checked.
    pub events: u64,
    /// Payload bytes checked.
    pub payload_bytes: u64,
    /// What retention has removed.
    pub pruned: Pruned,
    /// What lies outside of the times asked for.
    pub outside: Pruned,
    /// Leaves of the log that an earlier audit had covered, where this one went on from it.
    pub resumed: Option<u64>,
    /// What was checked of each workspace, by name.
    pub workspaces: Vec<WorkspaceReport>,
    /// What was asked for, and each hour and chunk.
    pub detail: Detail,
    /// What was found, gravest first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What no archive can prove, however intact.
    pub const NOT_CLAIMED: &[&str] = &[
        "that an event is true: only that this key signed these bytes, and when the ledger \
         recorded them",
        "that everything an agent did was submitted: only which numbers it counted and the ledger \
         never recorded",
        "that no other history was shown to others: compare checkpoints, or ask for witnesses",
        "anything after the last hour that is sealed",
        "what stood in chunks that retention has removed: only that the log holds their links, and \
         records that they went",
    ];
}

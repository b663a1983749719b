//! What the auditor brings: whom to trust, and what to ask for beyond an intact archive.

use std::collections::BTreeMap;

use crate::key::PublicKey;
use crate::limits::MIN_KEPT_DAYS;
use crate::names::{Origin, Workspace};
use crate::note::VerifierKey;
use crate::succession::Cutoff;
use crate::time::{Hour, Micros};

/// What the auditor brings: never taken from the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The ledger to verify.
    pub origin: Origin,
    /// Its seal keys: any one of those that have followed on each other is enough.
    pub seal_keys: Vec<VerifierKey>,
    /// Seal keys that were stolen, each with its cut-off.
    pub revoked: Vec<(VerifierKey, Cutoff)>,
    /// Its log as the auditor has seen it before: its first leaves, and the root over them. A log that was
    /// cut, or begun anew, does not go on from there.
    pub seen: Vec<Cutoff>,
    /// Its receipt keys.
    pub receipt_keys: Vec<VerifierKey>,
    /// The root keys that workspaces were created with, where the auditor knows them.
    pub workspaces: BTreeMap<Workspace, Vec<PublicKey>>,
}

/// What the auditor asks for beyond an intact archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The last hour that must be sealed; none where the auditor does not say.
    pub expect_through: Option<Micros>,
    /// Whether payloads withheld by a recorded erasure are in order.
    pub allow_erased: bool,
    /// Whether chunks removed by recorded retention are in order.
    pub allow_pruned: bool,
    /// For how many days records must have been kept before retention may remove them.
    pub min_kept_days: u64,
    /// Whether the store must lock objects, so that nobody can remove them for a time.
    pub expect_locked: bool,
    /// By how many microseconds the ledger may have recorded an event after the time that it claims; any
    /// where absent.
    pub max_late: Option<u64>,
    /// By how many microseconds an event may claim a time after the one at which it was recorded.
    pub max_ahead: Option<u64>,
    /// The one workspace to verify; all where absent. The log is always walked whole.
    pub workspace: Option<Workspace>,
    /// Verify the hours from the one that holds this time on; all before where absent. Of the others, the
    /// digests of objects are checked, and the rows of `ledger.` events, so that keys are known.
    pub since: Option<Micros>,
    /// Verify the hours that begin before this time.
    pub until: Option<Micros>,
}

impl Policy {
    /// Whether the chunks of an hour are to be checked row by row.
    pub fn in_time(&self, hour: Hour) -> bool {
        self.since.is_none_or(|since| hour.end() > since.get())
            && self.until.is_none_or(|until| hour.start() < until)
    }
}

impl Default for Policy {
    /// An auditor who says nothing still asks for [`MIN_KEPT_DAYS`].
    fn default() -> Self {
        Self {
            expect_through: None,
            allow_erased: false,
            allow_pruned: false,
            min_kept_days: MIN_KEPT_DAYS,
            expect_locked: false,
            max_late: None,
            max_ahead: None,
            workspace: None,
            since: None,
            until: None,
        }
    }
}

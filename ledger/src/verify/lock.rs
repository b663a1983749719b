//! Whether a store locks its objects: no byte of an archive says so, only the store itself.

use std::fmt;

use crate::time::Hour;

use super::audit::Audit;
use super::finding::{Check, Finding, Place};

/// What a store says of the lock on one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lock {
    /// It was not asked, or did not say.
    #[default]
    Unknown,
    /// Whoever has the rights may remove the object, or put another in its place, at any time.
    Open,
    /// Nobody can remove this version of the object before a time.
    Until {
        /// Whether that holds for everybody (compliance), or whoever has the right may lift it
        /// (governance).
        for_everybody: bool,
        /// The time, as the store writes it.
        until: String,
    },
}

impl Lock {
    /// Its word, for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Open => "open",
            Self::Until { for_everybody: true, .. } => "compliance",
            Self::Until { for_everybody: false, .. } => "governance",
        }
    }

    /// Until when, as the store writes it.
    pub fn until(&self) -> Option<&str> {
        match self {
            Self::Until { until, .. } => Some(until),
            Self::Unknown | Self::Open => None,
        }
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("whether the store locks objects is not known"),
            Self::Open => {
                f.write_str("the store does NOT lock objects: whoever may write may remove")
            }
            Self::Until { for_everybody, until } => {
                let who =
                    if *for_everybody { "compliance" } else { "governance: some may lift it" };
                write!(
                    f,
                    "the store locks objects ({who}), the one that was looked at until {until}"
                )
            }
        }
    }
}

impl Audit {
    /// The hour whose note is the newest in the log, as far as it was read.
    pub fn last_hour(&self) -> Option<Hour> {
        self.walk.last_hour
    }

    /// Takes what the store says of the lock on the newest hour's note, if it was asked.
    pub fn locked(&mut self, lock: Lock) {
        self.lock = lock;
    }

    /// Compares that with what the auditor asks for.
    pub(super) fn check_lock(&mut self) {
        let for_everybody = matches!(self.lock, Lock::Until { for_everybody: true, .. });
        if self.policy.expect_locked && !for_everybody {
            let finding = Finding::new(Check::Unlocked, Place::default());
            self.findings.push(finding.because(&self.lock));
        }
    }
}

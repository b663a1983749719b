//! Whether a store locks its objects.

use std::fmt;

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

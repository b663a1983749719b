//! What a comparison of histories and database came to, as a test prints it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Findings that are told in full; the rest is counted.
const FINDINGS_MAX: usize = 20;

/// What a comparison came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Submissions that clients sent.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acked: u64,
    /// Of these, refused for good.
    pub refused: u64,
    /// Submissions in the database.
    pub recorded: u64,
    /// Events in the database.
    pub events: u64,
    /// Submissions that were acknowledged and are not there.
    pub lost: u64,
    /// Submissions or events that are there twice.
    pub doubled: u64,
    /// Seqs that are missing.
    pub gaps: u64,
    /// Submissions that are there and were never sent, or were refused.
    pub strangers: u64,
    /// Rows, links, receipts or sealed heads that are not what they must be.
    pub wrong: u64,
    /// What was found, in words, the first ones of it.
    pub findings: Vec<String>,
}

impl Figures {
    /// Whether every promise held.
    pub fn held(&self) -> bool {
        self.lost + self.doubled + self.gaps + self.strangers + self.wrong == 0
    }

    /// Counts a finding under one of the figures.
    pub(crate) fn find(
        &mut self,
        which: fn(&mut Self) -> &mut u64,
        finding: impl FnOnce() -> String,
    ) {
        *which(self) += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding());
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acked lost, {} duplicates, {} gaps, {} never sent, {} wrong links or receipts \
             ({} submissions sent, {} acked, {} refused; {} recorded with {} events)",
            self.lost,
            self.doubled,
            self.gaps,
            self.strangers,
            self.wrong,
            self.sent,
            self.acked,
            self.refused,
            self.recorded,
            self.events
        )
    }
}

/// Prints a pass line, and keeps it beside `temporary`, the directory that cargo gives to tests.
pub fn tell(temporary: &Path, line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")?;
    let kept = temporary.with_file_name("fault-figures.txt");
    writeln!(File::options().create(true).append(true).open(kept)?, "{line}")
}

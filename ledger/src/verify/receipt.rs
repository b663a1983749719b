//! One receipt against the rows that it speaks of (FORMAT section 7, docs/spec/notes.md).
//!
//! Here: what rows must say. Not here: who signed the receipt, and whether the rows are those of the
//! chain (see [`super::ChunkCheck`]).

use crate::chunk::ChunkManifest;
use crate::columns::Row;
use crate::hash::Digest;
use crate::receipt::Receipt;
use crate::time::Micros;

use super::finding::{Check, Finding, Place};

/// The check of one receipt against a chunk. Takes every row of the chunk; those that the receipt does
/// not name are passed over.
#[derive(Debug)]
pub struct ReceiptCheck<'r> {
    receipt: &'r Receipt,
    rows: u64,
    finding: Option<Finding>,
}

impl<'r> ReceiptCheck<'r> {
    /// Starts the check.
    pub fn new(receipt: &'r Receipt) -> Self {
        Self { receipt, rows: 0, finding: None }
    }

    /// A finding against a receipt, at a seq.
    pub fn finding(check: Check, receipt: &Receipt, seq: u64) -> Finding {
        Finding::new(check, Place::workspace(&receipt.workspace).at_seq(seq))
    }

    /// Compares a receipt with the link that a chunk ends with, where it ends with the receipt's last
    /// entry: `None` where it does not, so that only its rows can tell.
    pub fn by_manifest(receipt: &Receipt, manifest: &ChunkManifest) -> Option<Result<(), Finding>> {
        let last = receipt.last_seq;
        (manifest.last_seq == last).then(|| match manifest.last_link == receipt.link {
            true => Ok(()),
            false => {
                let mut finding = Self::finding(Check::ReceiptContradicted, receipt, last.get())
                    .differs(receipt.link, manifest.last_link);
                finding.place.column = Some("link");
                Err(finding)
            }
        })
    }

    /// Compares the next row of the chunk.
    pub fn row(&mut self, row: &Row<'_>) {
        let Receipt { submission, first_seq, last_seq, recorded_at, link, .. } = self.receipt;
        let (first, last) = (first_seq.get(), last_seq.get());
        if row.seq < first || row.seq > last {
            return;
        }
        self.rows = self.rows.saturating_add(1);
        self.differs(row, "submission_hash", submission, &Digest::from_bytes(row.submission_hash));
        let found = Micros::new(row.recorded_at);
        let found = found.map_or_else(|| row.recorded_at.to_string(), |at| at.to_string());
        self.differs(row, "recorded_at", recorded_at, &found);
        // The whole submission, and nothing but it.
        let place = row.seq.saturating_sub(first);
        self.differs(row, "submission_index", &place, &row.submission_index);
        let count = last.saturating_sub(first).saturating_add(1);
        self.differs(row, "submission_count", &count, &row.submission_count);
        if row.seq == last {
            self.differs(row, "link", link, &Digest::from_bytes(row.link));
        }
    }

    fn differs(
        &mut self,
        row: &Row<'_>,
        column: &'static str,
        expected: &dyn ToString,
        found: &dyn ToString,
    ) {
        let (expected, found) = (expected.to_string(), found.to_string());
        if self.finding.is_none() && expected != found {
            let mut finding = Self::finding(Check::ReceiptContradicted, self.receipt, row.seq)
                .differs(expected, found);
            finding.place.column = Some(column);
            self.finding = Some(finding);
        }
    }

    /// Ends the chunk: the first thing in which its rows contradict the receipt, if there is one.
    pub fn finish(self) -> Option<Finding> {
        let Receipt { first_seq, last_seq, .. } = self.receipt;
        let count = last_seq.get().saturating_sub(first_seq.get()).saturating_add(1);
        self.finding.or_else(|| {
            (self.rows != count).then(|| {
                Self::finding(Check::ReceiptContradicted, self.receipt, first_seq.get())
                    .differs(format!("{count} rows of one submission"), self.rows)
                    .because("a submission does not go on in another chunk")
            })
        })
    }
}

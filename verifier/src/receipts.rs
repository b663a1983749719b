//! Receipts that agents hold, against an archive (docs/spec/notes.md).
//!
//! Here: reading them, and finding the chunks that hold their seqs. Not here: the comparison itself
//! (see [`ledger::verify::ReceiptCheck`]).

use std::collections::BTreeMap;

use ledger::chunk::ChunkManifest;
use ledger::names::Seq;
use ledger::note::Note;
use ledger::receipt::Receipt;
use ledger::time::Hour;
use ledger::verify::{
    Audit, Check, ChunkCheck, Finding, LoggedEnd, Place, ReceiptCheck, Severity, Trust, Verdict,
};
use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::audit::{chunk_object, larger, unreadable};
use crate::store::ArchiveSource;
use crate::{exit, log, rows};

/// What became of what a receipt promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Recorded as the receipt says.
    Recorded {
        /// The archive key of its chunk's object.
        object: String,
        /// The hour of its chunk.
        hour: Hour,
        /// Whether the object was removed by retention, so that the manifest's link alone tells.
        by_link: bool,
    },
    /// Its hour is not sealed yet.
    Unsealed,
    /// Its chunk was removed by retention: nobody knows any more.
    Pruned,
    /// The archive lacks it.
    Missing,
    /// The archive says something else.
    Contradicted,
    /// The log or the chunk that it speaks of could not be read or is not in order.
    Unknown,
    /// It is no receipt of this ledger, for this reason: that says nothing of the archive.
    Refused(String),
}

impl Standing {
    /// Its word, for programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Recorded { .. } => "recorded",
            Self::Unsealed => "not yet sealed",
            Self::Pruned => "pruned",
            Self::Missing => "missing",
            Self::Contradicted => "contradicted",
            Self::Unknown => "unknown",
            Self::Refused(_) => "refused",
        }
    }
}

/// One receipt, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The file that held it.
    pub file: String,
    /// What it says; `None` where it was refused.
    pub receipt: Option<Receipt>,
    /// What became of it.
    pub standing: Standing,
}

/// What the comparison came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptReport {
    /// The verdict on the archive, as far as the receipts tell.
    pub verdict: Verdict,
    /// Leaves of the log; `None` where it could not be read or is not in order.
    pub log_size: Option<u64>,
    /// The last sealed hour.
    pub last_hour: Option<Hour>,
    /// The receipts, in the order in which they were given.
    pub receipts: Vec<Compared>,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
}

impl ReceiptReport {
    /// The exit code: that of the verdict; but a receipt that was refused is a wrong input, unless
    /// something graver was found.
    pub fn exit_code(&self) -> u8 {
        if self.is_refused() { exit::USAGE } else { exit::number(self.verdict) }
    }

    /// Its word, for programs: that of the verdict, unless an input was refused. Nothing is proven of that one.
    pub fn as_str(&self) -> &'static str {
        if self.is_refused() { "refused" } else { self.verdict.as_str() }
    }

    /// Whether something is no receipt of this ledger, and nothing graver was found.
    pub fn is_refused(&self) -> bool {
        let refused = |one: &Compared| matches!(one.standing, Standing::Refused(_));
        matches!(self.verdict, Verdict::Proven | Verdict::Short)
            && self.receipts.iter().any(refused)
    }
}

/// Reads a receipt: a note that a receipt key of the trust file has signed.
pub fn read(bytes: &[u8], trust: &Trust) -> Result<Receipt, String> {
    let note = Note::parse(bytes).map_err(|error| error.to_string())?;
    let receipt = Receipt::parse(note.body()).map_err(|error| error.to_string())?;
    if receipt.origin != trust.origin {
        return Err(format!("it is of the ledger {}, not of {}", receipt.origin, trust.origin));
    }
    let mut reasons = Vec::new();
    for key in &trust.receipt_keys {
        match note.verify(key) {
            Ok(_) => return Ok(receipt),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(format!("no receipt key of the trust file has signed it: {}", reasons.join("; ")))
}

/// Compares receipts with an archive: its log is read and checked whole, and each chunk that holds the
/// seqs of a receipt.
pub fn compare<S: ArchiveSource + Sync>(
    source: &S,
    trust: &Trust,
    receipts: Vec<(String, Result<Receipt, String>)>,
) -> ReceiptReport {
    let mut report = ReceiptReport {
        verdict: Verdict::Proven,
        log_size: None,
        last_hour: None,
        receipts: Vec::with_capacity(receipts.len()),
        findings: Vec::new(),
    };
    for (file, read) in receipts {
        let (receipt, standing) = match read {
            Ok(receipt) => (Some(receipt), Standing::Unknown),
            Err(reason) => (None, Standing::Refused(reason)),
        };
        report.receipts.push(Compared { file, receipt, standing });
    }
    match log::read(source, trust, |_, _| {}) {
        Err(findings) => report.findings = findings,
        Ok((audit, end)) => {
            report.log_size = Some(end.checkpoint.size);
            report.last_hour = end.last_hour;
            place(source, &audit, &end, &mut report);
        }
    }
    report
        .findings
        .sort_by(|a, b| b.check.severity().cmp(&a.check.severity()).then_with(|| a.cmp(b)));
    report.findings.dedup();
    report.verdict = Verdict::of(&report.findings);
    report
}

/// Finds the chunk of each receipt, and compares those of one chunk together.
fn place<S: ArchiveSource + Sync>(
    source: &S,
    audit: &Audit,
    end: &LoggedEnd,
    report: &mut ReceiptReport,
) {
    let mut chunks: BTreeMap<&str, (&ChunkManifest, Vec<usize>)> = BTreeMap::new();
    for (at, compared) in report.receipts.iter_mut().enumerate() {
        let Some(receipt) = &compared.receipt else { continue };
        let Some(logged) = audit.logged_at(&receipt.workspace, receipt.last_seq) else {
            let (standing, finding) = beyond(audit, end, receipt);
            compared.standing = standing;
            report.findings.extend(finding);
            continue;
        };
        let manifest = logged.manifest;
        if !logged.pruned {
            chunks.entry(&manifest.object).or_insert((manifest, Vec::new())).1.push(at);
            continue;
        }
        let (standing, finding) = match ReceiptCheck::by_manifest(receipt, manifest) {
            Some(Ok(())) => (recorded(manifest, true), None),
            Some(Err(finding)) => (Standing::Contradicted, Some(finding)),
            None => (
                Standing::Pruned,
                Some(ReceiptCheck::finding(Check::Pruned, receipt, receipt.last_seq.get())),
            ),
        };
        compared.standing = standing;
        report.findings.extend(finding);
    }
    let chunks: Vec<_> = chunks.into_values().collect();
    let receipts = &report.receipts;
    let outcomes: Vec<_> = chunks
        .into_par_iter()
        .map(|(manifest, places)| {
            let of: Vec<_> = places
                .iter()
                .filter_map(|at| Some((*at, receipts.get(*at)?.receipt.as_ref()?)))
                .collect();
            in_chunk(source, manifest, &of)
        })
        .collect();
    for (standings, findings) in outcomes {
        report.findings.extend(findings);
        for (at, standing) in standings {
            if let Some(compared) = report.receipts.get_mut(at) {
                compared.standing = standing;
            }
        }
    }
}

fn recorded(manifest: &ChunkManifest, by_link: bool) -> Standing {
    Standing::Recorded { object: manifest.object.clone(), hour: manifest.hour, by_link }
}

/// A receipt of a seq that the archive does not reach: its hour is to come, or it should be there.
fn beyond(audit: &Audit, end: &LoggedEnd, receipt: &Receipt) -> (Standing, Option<Finding>) {
    let head = audit.logged_head(&receipt.workspace);
    let last = receipt.last_seq.get();
    if head.is_some_and(|head| head >= receipt.first_seq) {
        // Submissions are not split, so another one stands where it should start.
        let finding = ReceiptCheck::finding(Check::ReceiptContradicted, receipt, last);
        let found =
            head.map_or_else(String::new, |head: Seq| format!("the chain ends at seq {head}"));
        let expected = format!("a submission of seqs {} to {last}", receipt.first_seq);
        return (Standing::Contradicted, Some(finding.differs(expected, found)));
    }
    let sealed = end.last_hour.map_or(0, Hour::end);
    if receipt.recorded_at.get() >= sealed {
        let finding = ReceiptCheck::finding(Check::ReceiptUnsealed, receipt, last);
        return (Standing::Unsealed, Some(finding));
    }
    let found = match head {
        Some(head) => format!("the chain ends at seq {head}"),
        None => "nothing of this workspace".to_owned(),
    };
    let finding = ReceiptCheck::finding(Check::ReceiptMissing, receipt, last);
    let expected = format!("submission {} of {}", receipt.submission, receipt.recorded_at);
    (Standing::Missing, Some(finding.differs(expected, found)))
}

/// Checks a chunk whole, and compares the receipts that speak of it.
fn in_chunk<S: ArchiveSource>(
    source: &S,
    manifest: &ChunkManifest,
    receipts: &[(usize, &Receipt)],
) -> (Vec<(usize, Standing)>, Vec<Finding>) {
    let unknown = || receipts.iter().map(|(at, _)| (*at, Standing::Unknown)).collect();
    let place = || Place::chunk(manifest);
    let (_share, object) = match chunk_object(source, manifest) {
        Ok(Some(object)) => object,
        Ok(None) => return (unknown(), vec![Finding::new(Check::ObjectMissing, place())]),
        Err(error) => {
            let unread = || Finding::new(Check::Unreadable, place()).because(&error);
            return (unknown(), vec![larger(manifest, &error).unwrap_or_else(unread)]);
        }
    };
    let mut check = match ChunkCheck::open(manifest, &object) {
        Ok(check) => check,
        Err(outcome) => return (unknown(), outcome.findings),
    };
    let mut checks: Vec<_> = receipts
        .iter()
        .map(|(at, receipt)| {
            let (first, last) = (receipt.first_seq.get(), receipt.last_seq.get());
            (first, last, *at, ReceiptCheck::new(receipt))
        })
        .collect();
    checks.sort_by_key(|(first, ..)| *first);
    // Rows come by seq, so most receipts are either done with or to come.
    let mut done = 0;
    let read = rows::read(manifest, &object, |row| {
        check.row(row);
        done += checks.iter().skip(done).take_while(|(_, last, ..)| *last < row.seq).count();
        let open = checks.iter_mut().skip(done).take_while(|(first, ..)| *first <= row.seq);
        open.for_each(|(.., receipt)| receipt.row(row));
    });
    let outcome = match read {
        Ok(()) => check.finish(),
        Err(error) => check.abandon(unreadable(manifest, &error)),
    };
    if outcome.findings.iter().any(|finding| finding.check.severity() >= Severity::Unfinished) {
        return (unknown(), outcome.findings);
    }
    let mut findings = Vec::new();
    let mut standings = Vec::new();
    for (.., at, receipt) in checks {
        let finding = receipt.finish();
        let fits = finding.is_none();
        findings.extend(finding);
        let standing = if fits { recorded(manifest, false) } else { Standing::Contradicted };
        standings.push((at, standing));
    }
    (standings, findings)
}

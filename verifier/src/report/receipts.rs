//! What the comparison of receipts came to, as text and as JSON.

use std::fmt::{self, Write as _};

use ledger::names::Origin;
use ledger::receipt::Receipt;
use ledger::verify::Verdict;
use serde::Serialize;

use super::Inputs;
use super::json::{FindingDocument, finding};
use super::text::{self, plain};
use crate::receipts::{Compared, ReceiptReport, Standing};

/// Which form the JSON has.
const FORMAT: &str = "tallystick/receipt-report/v1";

/// Receipts printed one by one that stand as they should; `--json` has all of them.
const RECORDED_MAX: usize = 20;

fn headline(report: &ReceiptReport) -> &'static str {
    if report.is_refused() {
        return "REFUSED: not all of these are receipts of this ledger";
    }
    match report.verdict {
        Verdict::Tampered => {
            "TAMPERED: the archive does not hold what the ledger gave receipts for"
        }
        Verdict::Unfinished => "UNFINISHED: a check could not be made, so nothing is said",
        Verdict::Short => "SHORT: nothing is wrong, but not all is proven to be recorded",
        Verdict::Proven => "RECORDED: the archive holds all that these receipts promise",
    }
}

fn where_to(standing: &Standing) -> String {
    match standing {
        Standing::Recorded { object, by_link: true, .. } => {
            format!("by the link that its chunk ends with; {object} was removed by retention")
        }
        Standing::Recorded { object, .. } => format!("in {object}"),
        Standing::Refused(reason) => reason.clone(),
        _ => String::new(),
    }
}

/// The report for a person.
pub fn text(report: &ReceiptReport, origin: &Origin, inputs: Inputs<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = sections(&mut text, report, origin, inputs);
    text
}

fn sections(
    text: &mut String,
    report: &ReceiptReport,
    origin: &Origin,
    inputs: Inputs<'_>,
) -> fmt::Result {
    writeln!(text, "{}\n", headline(report))?;
    writeln!(text, "ledger      {origin}")?;
    writeln!(text, "archive     {}", plain(inputs.archive))?;
    match report.last_hour {
        Some(hour) => writeln!(text, "sealed      up to the hour {hour}")?,
        None => writeln!(text, "sealed      no hour that is known")?,
    }
    if let Some(size) = report.log_size {
        writeln!(text, "checked     {size} log leaves, and the chunks that these receipts name")?;
    }
    writeln!(text, "trust file  sha256 {}", inputs.trust_sha256)?;
    writeln!(text, "\nreceipts    {}", report.receipts.len())?;
    let mut recorded = 0_usize;
    for Compared { file, receipt, standing } in &report.receipts {
        if matches!(standing, Standing::Recorded { .. }) {
            recorded = recorded.saturating_add(1);
            if recorded > RECORDED_MAX {
                continue;
            }
        }
        writeln!(text, "  {}: {}", plain(file), standing.as_str())?;
        if let Some(Receipt { workspace, first_seq, last_seq, recorded_at, .. }) = receipt {
            writeln!(
                text,
                "       {workspace} seqs {first_seq} to {last_seq}, recorded {recorded_at}"
            )?;
        }
        let place = where_to(standing);
        if !place.is_empty() {
            writeln!(text, "       {}", plain(&place))?;
        }
    }
    if let Some(more @ 1..) = recorded.checked_sub(RECORDED_MAX) {
        writeln!(text, "  and {more} more that are recorded: --json has all of them")?;
    }
    text::findings(text, &report.findings)
}

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    verdict: &'static str,
    exit_code: u8,
    origin: &'a str,
    archive: &'a str,
    trust_sha256: &'a str,
    log_size: Option<u64>,
    last_hour: Option<String>,
    receipts: Vec<ReceiptDocument<'a>>,
    findings: Vec<FindingDocument<'a>>,
}

#[derive(Serialize)]
struct ReceiptDocument<'a> {
    file: &'a str,
    standing: &'static str,
    workspace: Option<&'a str>,
    submission: Option<String>,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    recorded_at: Option<String>,
    object: Option<&'a str>,
    hour: Option<String>,
    by_link: bool,
    reason: Option<&'a str>,
}

fn document(compared: &Compared) -> ReceiptDocument<'_> {
    let Compared { file, receipt, standing } = compared;
    let receipt = receipt.as_ref();
    let (object, hour, by_link) = match standing {
        Standing::Recorded { object, hour, by_link } => {
            (Some(object.as_str()), Some(hour.to_string()), *by_link)
        }
        _ => (None, None, false),
    };
    let reason = match standing {
        Standing::Refused(reason) => Some(reason.as_str()),
        _ => None,
    };
    ReceiptDocument {
        file,
        standing: standing.as_str(),
        workspace: receipt.map(|receipt| receipt.workspace.as_str()),
        submission: receipt.map(|receipt| receipt.submission.to_string()),
        first_seq: receipt.map(|receipt| receipt.first_seq.get()),
        last_seq: receipt.map(|receipt| receipt.last_seq.get()),
        recorded_at: receipt.map(|receipt| receipt.recorded_at.to_string()),
        object,
        hour,
        by_link,
        reason,
    }
}

/// The report for programs: the same inputs give the same bytes.
pub fn json(
    report: &ReceiptReport,
    origin: &Origin,
    inputs: Inputs<'_>,
) -> Result<String, serde_json::Error> {
    let document = Document {
        format: FORMAT,
        verdict: report.as_str(),
        exit_code: report.exit_code(),
        origin: origin.as_str(),
        archive: inputs.archive,
        trust_sha256: inputs.trust_sha256,
        log_size: report.log_size,
        last_hour: report.last_hour.map(|hour| hour.to_string()),
        receipts: report.receipts.iter().map(document).collect(),
        findings: report.findings.iter().map(finding).collect(),
    };
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

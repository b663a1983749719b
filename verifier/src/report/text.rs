//! The report as text for a person: verdict first, then what it rests on, then what was found.

use std::fmt::{self, Write as _};

use ledger::line::KeyLine;
use ledger::verify::{Finding, Policy, Pruned, Report, Severity, Verdict, WorkspaceReport};

use super::Inputs;
use crate::part::PartInput;

/// Findings printed; `--json` has all of them.
const FINDINGS_MAX: usize = 50;

/// Checks named in the hint: the gravest come first.
const EXPLAINED_MAX: usize = 5;

pub(super) fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proven => "PROVEN: nothing was changed, dropped, reordered, back-dated or forged",
        Verdict::Tampered => "TAMPERED: the archive is not what was sealed",
        Verdict::Unfinished => "UNFINISHED: a check could not be made, so nothing is said",
        Verdict::Short => "SHORT: intact as far as it goes, but less than was asked for",
    }
}

/// Writes the report, with what it rests on.
pub fn write(report: &Report, inputs: Inputs<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = sections(&mut text, report, inputs);
    text
}

fn sections(text: &mut String, report: &Report, inputs: Inputs<'_>) -> fmt::Result {
    writeln!(text, "{}\n", headline(report.verdict))?;
    writeln!(text, "ledger      {}", report.origin)?;
    writeln!(text, "archive     {}", plain(inputs.archive))?;
    let scope = report.scope.as_ref().map_or("all workspaces", |workspace| workspace.as_str());
    let Policy { since, until, .. } = report.detail.policy;
    let since = since.map_or_else(String::new, |since| format!(", hours since {since}"));
    let until = until.map_or_else(String::new, |until| format!(", hours until {until}"));
    writeln!(text, "scope       {scope}{since}{until}")?;
    match report.hours {
        Some((first, last)) => writeln!(text, "hours       {first} to {last}")?,
        None => writeln!(text, "hours       none sealed")?,
    }
    writeln!(
        text,
        "checked     {} events in {} chunks, {} payload bytes, {} log leaves",
        report.events, report.chunks, report.payload_bytes, report.log_size
    )?;
    if report.pruned.chunks > 0 {
        let Pruned { chunks, events } = report.pruned;
        writeln!(text, "pruned      {events} events in {chunks} chunks, which nobody can check")?;
    }
    if report.outside.chunks > 0 {
        let Pruned { chunks, events } = report.outside;
        writeln!(text, "outside     {events} events in {chunks} chunks: digests and keys alone")?;
    }
    if let Some(size) = report.resumed {
        writeln!(text, "resumed     what the log's first {size} leaves name was checked before")?;
    }
    writeln!(text, "store       {}", report.lock)?;
    for term in report.seal_keys.iter().flat_map(KeyLine::terms) {
        writeln!(text, "seal key    {} from leaf {}", term.key, term.before.size)?;
    }
    writeln!(text, "trust file  sha256 {}", inputs.trust_sha256)?;
    for part in inputs.parts {
        let PartInput { sha256, chunks, .. } = part;
        writeln!(
            text,
            "{:<11} sha256 {sha256}, {chunks} chunks that another run has checked",
            part.name()
        )?;
    }
    if let Some(checkpoint) = &report.checkpoint {
        writeln!(text, "checkpoint  sha256 {}", checkpoint.sha256)?;
    }
    if !report.workspaces.is_empty() {
        writeln!(text, "\nworkspaces")?;
    }
    for workspace in &report.workspaces {
        let head = workspace.head.map_or_else(
            || "no sealed entry".to_owned(),
            |(seq, link)| format!("head seq {seq}, link {link}"),
        );
        let pinned = if workspace.pinned { "" } else { " (root keys not pinned)" };
        let pruned = match workspace.pruned.events {
            0 => String::new(),
            events => format!(", {events} pruned"),
        };
        let WorkspaceReport { workspace, events, .. } = workspace;
        writeln!(text, "  {workspace}{pinned}: {events} events{pruned}, {head}")?;
    }
    findings(text, &report.findings)?;
    writeln!(text, "\nnot claimed")?;
    for line in Report::NOT_CLAIMED {
        writeln!(text, "  {line}")?;
    }
    Ok(())
}

pub(super) fn findings(text: &mut String, all: &[Finding]) -> fmt::Result {
    if all.is_empty() {
        return writeln!(text, "\nfindings    none");
    }
    let count = |severity| all.iter().filter(|f| f.check.severity() == severity).count();
    let counts: Vec<_> =
        [Severity::Tampering, Severity::Unfinished, Severity::Policy, Severity::Notice]
            .into_iter()
            .map(|severity| (count(severity), severity.as_str()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
    writeln!(text, "\nfindings    {}", counts.join(", "))?;
    for finding in all.iter().take(FINDINGS_MAX) {
        let check = finding.check;
        writeln!(text, "  {} {}: {}", check.id(), check.severity().as_str(), check.title())?;
        let place = plain(&finding.place.to_string());
        if !place.is_empty() {
            writeln!(text, "       at {place}")?;
        }
        for (name, value) in
            [("expected", &finding.expected), ("found", &finding.found), ("", &finding.detail)]
        {
            if let Some(value) = value {
                writeln!(
                    text,
                    "       {name}{}{}",
                    if name.is_empty() { "" } else { " " },
                    plain(value)
                )?;
            }
        }
    }
    match all.len().checked_sub(FINDINGS_MAX) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(text, "  and {more} more: --json has all of them"),
    }?;
    let mut ids: Vec<_> = all.iter().map(|finding| finding.check.id()).collect();
    ids.dedup();
    ids.truncate(EXPLAINED_MAX);
    writeln!(text, "  what they mean, and what to do: tally-verify explain {}", ids.join(" "))
}

/// Whether a character changes in which direction the text around it is shown, or separates lines.
pub(super) fn turns(c: char) -> bool {
    let marks = ['\u{061c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{feff}'];
    marks.contains(&c)
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// Text of a hostile archive does not get to steer the auditor's terminal, nor to be read as what it is not.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

//! Findings with their context: where, what differs, what it means, what to do.

use std::fmt::{self, Write as _};

use ledger::verify::{Check, Finding, Severity};

use super::escape::{e, prose};
use crate::explain;

/// Places shown of one check, and of all; `--json` has all of them.
const PLACES_MAX: usize = 40;

/// How many findings there are, severity by severity; empty where there is none.
pub(super) fn counts(all: &[Finding]) -> String {
    let severities =
        [Severity::Tampering, Severity::Unfinished, Severity::Policy, Severity::Notice];
    let counts: Vec<_> = severities
        .into_iter()
        .map(|of| (all.iter().filter(|finding| finding.check.severity() == of).count(), of))
        .filter(|(count, _)| *count > 0)
        .map(|(count, of)| format!("{count} {}", of.as_str()))
        .collect();
    counts.join(", ")
}

pub(super) fn section(page: &mut String, all: &[Finding]) -> fmt::Result {
    writeln!(page, "<h2 id=\"findings\">Findings</h2>")?;
    if all.is_empty() {
        return writeln!(page, "<p>None.</p>");
    }
    // They come gravest first, and those of one check together.
    for group in all.chunk_by(|a, b| a.check == b.check) {
        if let Some(first) = group.first() {
            check(page, first.check, group)?;
        }
    }
    Ok(())
}

fn check(page: &mut String, check: Check, group: &[Finding]) -> fmt::Result {
    let (id, severity) = (check.id(), check.severity().as_str());
    writeln!(
        page,
        "<section class=\"finding {severity}\" id=\"{id}\">\n<h3>{id} {severity}: {}</h3>",
        e(check.title())
    )?;
    writeln!(
        page,
        "<table><thead><tr><th scope=\"col\">Where</th><th scope=\"col\">What was found</th>\
         </tr></thead><tbody>"
    )?;
    for finding in group.iter().take(PLACES_MAX) {
        let place = finding.place.to_string();
        let place = if place.is_empty() { "the archive as a whole".to_owned() } else { place };
        write!(page, "<tr><td>{}</td><td>", e(place))?;
        let parts =
            [("expected", &finding.expected), ("found", &finding.found), ("", &finding.detail)];
        let parts: Vec<_> = parts
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
            .map(|(name, value)| match name {
                "" => e(value),
                name => format!("{name} <code>{}</code>", e(value)),
            })
            .collect();
        // Where nothing differs, something is missing, or should not be there.
        let parts =
            if parts.is_empty() { "as the title says".to_owned() } else { parts.join("<br>") };
        writeln!(page, "{parts}</td></tr>")?;
    }
    writeln!(page, "</tbody></table>")?;
    if let Some(more) = group.len().checked_sub(PLACES_MAX).filter(|more| *more > 0) {
        writeln!(page, "<p>And {more} more: <code>--json</code> has all of them.</p>")?;
    }
    for heading in ["What the finding means", "What to do", "Innocent causes"] {
        writeln!(page, "<h4>{heading}</h4>\n<p>{}</p>", prose(explain::section(check, heading)))?;
    }
    writeln!(page, "</section>")
}

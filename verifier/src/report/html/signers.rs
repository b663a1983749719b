//! Who signed what: seal keys and their terms, keys of each workspace, numbers that are missing.

use std::fmt::{self, Write as _};

use ledger::line::KeyLine;
use ledger::verify::{Report, WorkspaceReport};

use super::escape::e;

/// Workspaces shown, and keys of each; `--json` has all of them.
const WORKSPACES_MAX: usize = 200;
const KEYS_MAX: usize = 100;

pub(super) fn section(page: &mut String, report: &Report) -> fmt::Result {
    writeln!(page, "<h2>Who signed what</h2>\n<h3>The log</h3>")?;
    match &report.seal_keys {
        None => {
            writeln!(page, "<p>No leaf of the log names a seal key that could be followed.</p>")?
        }
        Some(line) => seal_keys(page, line)?,
    }
    for workspace in report.workspaces.iter().take(WORKSPACES_MAX) {
        signers(page, workspace)?;
    }
    more(page, report.workspaces.len(), WORKSPACES_MAX, "workspaces")?;
    missing(page, &report.workspaces)
}

/// Says how many are not shown, if any.
fn more(page: &mut String, all: usize, shown: usize, what: &str) -> fmt::Result {
    match all.checked_sub(shown).filter(|more| *more > 0) {
        None => Ok(()),
        Some(more) => {
            writeln!(page, "<p>And {more} more {what}: <code>--json</code> has all of them.</p>")
        }
    }
}

fn seal_keys(page: &mut String, line: &KeyLine) -> fmt::Result {
    writeln!(
        page,
        "<table><caption>Seal keys, in the order in which they came into force</caption><thead><tr>\
         <th scope=\"col\">Key</th><th scope=\"col\">From leaf</th><th scope=\"col\">Came by</th>\
         <th scope=\"col\">Revoked</th></tr></thead><tbody>"
    )?;
    for term in line.terms().take(KEYS_MAX) {
        let revoked = if line.revoked().contains(&term.key) { "by the log" } else { "no" };
        writeln!(
            page,
            "<tr><td><code>{}</code></td><td class=\"n\">{}</td><td>{}</td><td>{revoked}</td></tr>",
            e(&term.key),
            term.before.size,
            match term.entrance.as_str() {
                "first" => "first key",
                other => other,
            },
        )?;
    }
    writeln!(page, "</tbody></table>")?;
    more(page, line.terms().count(), KEYS_MAX, "keys")
}

fn signers(page: &mut String, report: &WorkspaceReport) -> fmt::Result {
    writeln!(page, "<h3>Workspace {}</h3>", e(&report.workspace))?;
    let pinned = if report.pinned {
        "The trust file names its root keys."
    } else {
        "The trust file does not name its root keys: the chain itself says who may sign."
    };
    writeln!(page, "<p>{} events checked. {pinned}</p>", report.events)?;
    if let Some((seq, link)) = report.head {
        writeln!(page, "<p>Its newest sealed entry: seq {seq}, link <code>{link}</code>.</p>")?;
    }
    if report.signers.is_empty() {
        return writeln!(page, "<p>No submission of it could be attributed to a key.</p>");
    }
    writeln!(
        page,
        "<table><thead><tr><th scope=\"col\">Key</th><th scope=\"col\">Role</th>\
         <th scope=\"col\">Submissions</th><th scope=\"col\">Events</th></tr></thead><tbody>"
    )?;
    for (key, signed) in report.signers.iter().take(KEYS_MAX) {
        writeln!(
            page,
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"n\">{}</td><td \
             class=\"n\">{}</td></tr>",
            e(key),
            signed.role,
            signed.submissions,
            signed.events
        )?;
    }
    writeln!(page, "</tbody></table>")?;
    more(page, report.signers.len(), KEYS_MAX, "keys")
}

fn missing(page: &mut String, workspaces: &[WorkspaceReport]) -> fmt::Result {
    writeln!(page, "<h2>Counted by agents, never recorded</h2>")?;
    let of = |report: &'_ WorkspaceReport| report.missing_counters.len();
    let count: usize = workspaces.iter().map(of).sum();
    if count == 0 {
        return writeln!(
            page,
            "<p>None: below the highest number that each key used, no number is missing.</p>"
        );
    }
    writeln!(
        page,
        "<table><thead><tr><th scope=\"col\">Workspace</th><th scope=\"col\">Key and \
         numbers</th></tr></thead><tbody>"
    )?;
    let all = workspaces.iter().flat_map(|report| {
        report.missing_counters.iter().map(|missing| (&report.workspace, missing))
    });
    for (workspace, missing) in all.take(KEYS_MAX) {
        writeln!(page, "<tr><td>{}</td><td>{}</td></tr>", e(workspace), e(missing))?;
    }
    writeln!(page, "</tbody></table>")?;
    more(page, count, KEYS_MAX, "keys")
}

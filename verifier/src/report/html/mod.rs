//! The report as one HTML page that needs no other file, no script and no network: to be read,
//! printed
//! and filed. The same inputs give the same bytes.
//!
//! Here: the page from its verdict to what is not claimed. Not here: the picture of the hours
//! (`timeline`), tables of findings (`findings`) and of signers (`signers`).

mod escape;
mod findings;
mod signers;
mod timeline;

use std::fmt::{self, Write as _};

use ledger::verify::{ChunkReport, ChunkState, Policy, Pruned, Report, Verdict};

use self::escape::e;
use super::Inputs;
use super::text::headline;
use crate::exit;

/// How the page looks.
pub const STYLE: &str = include_str!("style.css");

/// The SHA-256 of [`STYLE`] as the page's policy names it: no other style applies, and no script
/// runs.
pub const STYLE_HASH: &str = "sha256-ZwsEc4PvYhK7Yllrf8HJrgrQVQzaN7AcpZfy+4cAue0=";

/// Chunks listed; `--json` has all of them.
const CHUNKS_MAX: usize = 300;

/// Writes the report, with what it rests on.
pub fn write(report: &Report, inputs: Inputs<'_>) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = sections(&mut page, report, inputs);
    page
}

fn sections(page: &mut String, report: &Report, given: Inputs<'_>) -> fmt::Result {
    let (origin, word) = (e(&report.origin), report.verdict.as_str());
    writeln!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         '{STYLE_HASH}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{word}: {origin}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <h1>Verification of the ledger {origin}</h1>"
    )?;
    verdict(page, report)?;
    writeln!(page, "</header>\n<main>")?;
    scope(page, report, given.archive)?;
    inputs(page, report, given)?;
    timeline::section(page, report)?;
    findings::section(page, &report.findings)?;
    signers::section(page, report)?;
    chunks(page, &report.detail.chunks)?;
    writeln!(page, "<h2>What is not claimed</h2>\n<ul>")?;
    for line in Report::NOT_CLAIMED {
        writeln!(page, "<li>{}</li>", e(line))?;
    }
    let version = env!("CARGO_PKG_VERSION");
    writeln!(
        page,
        "</ul>\n</main>\n<footer><p>Written by tally-verify {version}. The same archive, trust \
         file and \
         options give this page again, byte for byte.</p></footer>\n</body>\n</html>"
    )
}

fn verdict(page: &mut String, report: &Report) -> fmt::Result {
    let (word, rest) = headline(report.verdict).split_once(": ").unwrap_or_default();
    let found = match findings::counts(&report.findings) {
        counts if counts.is_empty() => "Nothing was found.".to_owned(),
        counts => format!("Findings: <a href=\"#findings\">{}</a>.", e(counts)),
    };
    writeln!(
        page,
        "<div class=\"verdict {class}\"><strong>{}</strong>\n<p>{}</p>\n\
         <p>{found} Exit code {}.</p></div>",
        e(word),
        e(sentence(rest)),
        exit::number(report.verdict),
        class = match report.verdict {
            Verdict::Proven => "proven",
            Verdict::Tampered => "tampered",
            Verdict::Unfinished => "unfinished",
            Verdict::Short => "short",
        },
    )
}

/// Text as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

fn fact(page: &mut String, name: &str, value: impl ToString) -> fmt::Result {
    writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", e(value))
}

fn scope(page: &mut String, report: &Report, archive: &str) -> fmt::Result {
    writeln!(page, "<h2>Scope</h2>\n<table class=\"facts\"><tbody>")?;
    fact(page, "Ledger", &report.origin)?;
    fact(page, "Archive", archive)?;
    let scope = report.scope.as_ref().map_or("all of them", |workspace| workspace.as_str());
    fact(page, "Workspaces", scope)?;
    let hours = report.hours.map(|(first, last)| {
        format!("{first} to {last}: {} hours have a note", report.detail.hours.len())
    });
    fact(page, "Sealed hours", hours.unwrap_or_else(|| "none".to_owned()))?;
    let Report { chunks, events, payload_bytes, .. } = report;
    fact(
        page,
        "Checked",
        format!("{events} events in {chunks} chunks, {payload_bytes} bytes of payload"),
    )?;
    let Pruned { chunks, events } = report.pruned;
    if chunks > 0 {
        fact(
            page,
            "Pruned",
            format!("{events} events in {chunks} chunks, which nobody can check"),
        )?;
    }
    fact(page, "Store", sentence(&report.lock.to_string()))?;
    writeln!(page, "</tbody></table>\n<h3>What was asked for</h3>")?;
    asked(page, &report.detail.policy)
}

fn asked(page: &mut String, policy: &Policy) -> fmt::Result {
    let since = policy.since.map_or_else(|| "the first".to_owned(), |since| since.to_string());
    let until = policy.until.map_or_else(|| "the last".to_owned(), |until| until.to_string());
    if policy.since.is_some() || policy.until.is_some() {
        fact(
            page,
            "Hours checked row by row",
            format!("from {since} to {until}; of others: digests and keys"),
        )?;
    }
    let through = policy.expect_through.map(|through| format!("sealed up to {through} at least"));
    let taken = |yes: bool| if yes { "accepted" } else { "fall short (exit code 4)" };
    writeln!(page, "<table class=\"facts\"><tbody>")?;
    if policy.since.is_some() || policy.until.is_some() {
        let rows = format!("from {since} to {until}; of other hours, digests and keys");
        fact(page, "Checked row by row", rows)?;
    }
    fact(page, "End", through.unwrap_or_else(|| "not said".to_owned()))?;
    fact(page, "Recorded erasures", taken(policy.allow_erased))?;
    fact(page, "Recorded retention", taken(policy.allow_pruned))?;
    fact(page, "Kept at least", format!("{} days", policy.min_kept_days))?;
    for (name, most) in [("Recorded late", policy.max_late), ("Claimed ahead", policy.max_ahead)] {
        if let Some(micros) = most {
            fact(page, name, format!("by {} s at most", micros / 1_000_000))?;
        }
    }
    let locked = if policy.expect_locked { "asked for" } else { "not asked for" };
    fact(page, "Lock of the store", locked)?;
    writeln!(page, "</tbody></table>")
}

fn inputs(page: &mut String, report: &Report, given: Inputs<'_>) -> fmt::Result {
    writeln!(
        page,
        "<h2>Inputs</h2>\n<p>Compare these digests with other auditors' and with your own \
         files.</p>\n\
         <table><thead><tr><th scope=\"col\">Input</th><th scope=\"col\">What it is</th></tr>\
         </thead><tbody>"
    )?;
    let row = |page: &mut String, name: &str, kind: &str, digest: &dyn fmt::Display| {
        writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{kind} <code>{}</code></td></tr>",
            e(name),
            e(digest)
        )
    };
    row(page, "trust file", "SHA-256", &given.trust_sha256)?;
    for part in given.parts {
        let name = format!("{}, {} chunks that another run has checked", part.name(), part.chunks);
        row(page, &name, "SHA-256", &part.sha256)?;
    }
    if let Some(checkpoint) = &report.checkpoint {
        row(page, &checkpoint.name, "SHA-256", &checkpoint.sha256)?;
    }
    row(page, "log, leaves that were read", "number", &report.log_size)?;
    if let Some(root) = &report.detail.log_root {
        row(page, "log, as the checkpoint states it", "root", root)?;
    }
    writeln!(
        page,
        "</tbody></table>\n<p>The objects of chunks are <a href=\"#chunks\">listed below</a>.</p>"
    )
}

/// A state in words.
fn word(state: ChunkState) -> &'static str {
    match state {
        ChunkState::Verified => "verified",
        ChunkState::Erased => "verified, payloads erased",
        ChunkState::Pruned => "pruned",
        ChunkState::Unchecked => "not checked in full",
        ChunkState::Broken => "broken",
    }
}

/// The chunks to list, in the order of the log: those that are not just verified go first where
/// they
/// are too many.
fn chosen(all: &[ChunkReport]) -> Vec<&ChunkReport> {
    let mut order: Vec<_> = all.iter().enumerate().collect();
    order.sort_by_key(|(at, chunk)| (std::cmp::Reverse(chunk.state), *at));
    order.truncate(CHUNKS_MAX);
    order.sort_by_key(|(at, _)| *at);
    order.into_iter().map(|(_, chunk)| chunk).collect()
}

fn chunks(page: &mut String, all: &[ChunkReport]) -> fmt::Result {
    writeln!(page, "<h2 id=\"chunks\">Chunks</h2>")?;
    if all.is_empty() {
        return writeln!(page, "<p>The log names none.</p>");
    }
    let states: Vec<_> = ChunkState::ALL
        .into_iter()
        .map(|state| (state, all.iter().filter(|chunk| chunk.state == state).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {}", word(state)))
        .collect();
    writeln!(page, "<p>{} in the log: {}.</p>", all.len(), e(states.join("; ")))?;
    if let Some(more) = all.len().checked_sub(CHUNKS_MAX).filter(|more| *more > 0) {
        writeln!(
            page,
            "<p><strong>{CHUNKS_MAX} are listed, {more} are not</strong>: the worst states go \
             first; \
             <code>--json</code> has all.</p>"
        )?;
    }
    writeln!(
        page,
        "<table><caption>Chunks in the order of the log, with the SHA-256 of the object that each \
         manifest \
         states</caption><thead><tr><th scope=\"col\">Workspace</th><th scope=\"col\">Hour and \
         part</th>\
         <th scope=\"col\">Seq</th><th scope=\"col\">Bytes</th><th scope=\"col\">State</th>\
         <th scope=\"col\">Object</th></tr></thead><tbody>"
    )?;
    for ChunkReport { manifest, state } in chosen(all) {
        writeln!(
            page,
            "<tr><td>{}</td><td class=\"w\">{} / {}</td><td class=\"n\">{} to {}</td><td \
             class=\"n\">{}</td>\
             <td>{}</td><td><code>{}</code></td></tr>",
            e(&manifest.workspace),
            manifest.hour,
            manifest.part,
            manifest.first_seq,
            manifest.last_seq,
            manifest.digest.bytes,
            word(*state),
            manifest.digest.sha256,
        )?;
    }
    writeln!(page, "</tbody></table>")
}

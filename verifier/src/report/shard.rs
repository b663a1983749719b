//! What checking a shard came to, as text for a person: that it is no verdict first.

use std::fmt::{self, Write as _};
use std::path::Path;

use ledger::names::Origin;

use super::text::{findings, plain};
use crate::audit::ShardReport;
use crate::part::Shard;

/// Writes what was checked, and what is to be done with the part.
pub fn write(
    report: &ShardReport,
    shard: Shard,
    archive: &str,
    origin: &Origin,
    part: &Path,
) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = sections(&mut text, report, shard, archive, origin, part);
    text
}

fn sections(
    text: &mut String,
    report: &ShardReport,
    shard: Shard,
    archive: &str,
    origin: &Origin,
    part: &Path,
) -> fmt::Result {
    let ShardReport { chunks, of, events, findings: found, ended } = report;
    writeln!(text, "PART {shard}: no verdict, which only all chunks together have\n")?;
    writeln!(text, "ledger      {origin}")?;
    writeln!(text, "archive     {}", plain(archive))?;
    writeln!(text, "checked     {events} events in {chunks} of {of} chunks")?;
    writeln!(text, "part        {}", plain(&part.display().to_string()))?;
    if *ended {
        writeln!(text, "ended       before all of its chunks were checked")?;
    }
    findings(text, found)?;
    writeln!(
        text,
        "\nthe verdict: tally-verify verify with the same archive and trust file, and --part for each part"
    )
}

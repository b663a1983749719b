//! Rolling up, beside DuckDB running the same SQL on the same files: how long all definitions take on all days.
//!
//! Ours reads each object whole, compares its digests, computes, writes, reads back and signs. DuckDB computes.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::machine;
use super::verify::on;
use crate::rig::{Failure, Rig};
use crate::tools::python_on;

/// What one number of cores came to.
pub(super) struct Rolled {
    cores: usize,
    seconds: f64,
    peak_mib: f64,
    duckdb: f64,
}

/// Rolls up an archive whose days are over, on the database that was restored from it.
pub(super) async fn measure(programs: &Path, rig: &Rig, url: &str) -> Result<Vec<Rolled>, Failure> {
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../archiver/rollups");
    let mut rolled = Vec::new();
    for (cores, arguments) in [(2, &["rollup"][..]), (1, &["rollup", "--rebuild"])] {
        let (seconds, peak_mib) = ours(programs, rig, url, cores, arguments).await?;
        let threads = cores.to_string();
        let arguments = [Path::new("time"), &rig.archive(), &definitions, Path::new(&threads)];
        let (code, told) = python_on(on(cores), "rollups.py", &arguments).await?;
        let duckdb = told.get("seconds").and_then(Value::as_f64).filter(|_| code == Some(0));
        let duckdb = duckdb.ok_or_else(|| format!("DuckDB: {told}"))?;
        rolled.push(Rolled { cores, seconds, peak_mib, duckdb });
    }
    let arguments = [Path::new("compare"), &rig.archive(), &definitions];
    let (code, told) = python_on(on(2), "rollups.py", &arguments).await?;
    if code != Some(0) {
        return Err(format!("DuckDB has other figures: {told}").into());
    }
    Ok(rolled)
}

async fn ours(
    programs: &Path,
    rig: &Rig,
    url: &str,
    cores: usize,
    arguments: &[&str],
) -> Result<(f64, f64), Failure> {
    let start = Instant::now();
    let mut child = on(cores)
        .arg(programs.join("tally-archiver"))
        .args(arguments)
        .args(["--origin", rig.origin.as_str(), "--database-url", url, "--archive-url"])
        .arg(rig.archive())
        .arg("--seal-key")
        .arg(rig.directory.join("keys/seal.pem"))
        .stdout(Stdio::null())
        .spawn()?;
    let pid = child.id().ok_or("a process")?;
    let mut peak = 0.0;
    loop {
        if let Some(status) = child.try_wait()? {
            return if status.success() {
                Ok((start.elapsed().as_secs_f64(), peak))
            } else {
                Err(format!("{arguments:?}: {status}").into())
            };
        }
        peak = machine::peak_mib(pid).unwrap_or(peak);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The table of what was seen, for ledgers of these sizes.
pub(super) fn table(
    sizes: &[(f64, Vec<Rolled>)],
    out: &mut impl std::io::Write,
) -> Result<(), Failure> {
    writeln!(
        out,
        "\n| events | cores | all rollups, events/s | DuckDB runs the same SQL, events/s | ratio | memory of the \
         archiver, MiB |\n|---|---|---|---|---|---|"
    )?;
    for (events, rolled) in sizes {
        for Rolled { cores, seconds, peak_mib, duckdb } in rolled {
            writeln!(
                out,
                "| {events:.0} | {cores} | {:.0} | {:.0} | {:.0} % | {peak_mib:.0} |",
                events / seconds,
                events / duckdb,
                100.0 * duckdb / seconds,
            )?;
        }
    }
    Ok(())
}

//! Verifying, beside what DuckDB takes to read every column of the same files, and beside bare SHA-256 of the
//! payloads, on one core and on two.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ledger::hash::Digest;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tokio::process::Command;

use super::machine;
use crate::rig::{Failure, Rig};
use crate::tools::tool;

/// What verifying came to on so many cores, in seconds.
pub(super) struct Verified {
    pub(super) cores: usize,
    pub(super) seconds: f64,
    pub(super) peak_mib: f64,
    pub(super) duckdb: f64,
    pub(super) sha256: f64,
}

/// What replaying all entries in one format came to on two cores, in seconds.
pub(super) struct Replayed {
    format: &'static str,
    seconds: f64,
    peak_mib: f64,
}

/// What an auditor's program came to.
pub(super) struct Audited {
    pub(super) verified: Vec<Verified>,
    pub(super) replayed: Vec<Replayed>,
}

/// Verifies the archive of a rig by the program that auditors run, once on one core and once on two; and
/// replays it in each format.
pub(super) async fn audit(
    programs: &Path,
    rig: &Rig,
    objects: &[PathBuf],
    events: u64,
) -> Result<Audited, Failure> {
    let mut verified = Vec::new();
    for cores in [1, 2] {
        let (seconds, peak_mib) = ours(programs, rig, cores, &["verify"]).await?;
        let duckdb = duckdb(rig, cores, events).await?;
        let sha256 = sha256(objects, cores)?;
        verified.push(Verified { cores, seconds, peak_mib, duckdb, sha256 });
    }
    let mut replayed = Vec::new();
    for format in ["ndjson", "arrow", "parquet"] {
        let directory = tempfile::tempdir_in(&rig.directory)?;
        let out = directory.path().join("entries");
        let out = out.to_str().ok_or("a path in UTF-8")?;
        let arguments = ["replay", "--format", format, "--out", out];
        let (seconds, peak_mib) = ours(programs, rig, 2, &arguments).await?;
        replayed.push(Replayed { format, seconds, peak_mib });
    }
    Ok(Audited { verified, replayed })
}

/// A program that may use the first so many cores.
pub(super) fn on(cores: usize) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", if cores == 1 { "0" } else { "0,1" }]).stdin(Stdio::null());
    command.kill_on_drop(true);
    command
}

async fn ours(
    programs: &Path,
    rig: &Rig,
    cores: usize,
    arguments: &[&str],
) -> Result<(f64, f64), Failure> {
    let start = Instant::now();
    let mut child = on(cores)
        .arg(programs.join("tally-verify"))
        .args(arguments)
        .args(["--any-age", "--archive"])
        .arg(rig.archive())
        .arg("--trust")
        .arg(rig.trust())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
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

async fn duckdb(rig: &Rig, cores: usize, events: u64) -> Result<f64, Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/read_all.py");
    let output = on(cores)
        .arg(tool("venv/bin/python")?)
        .arg(script)
        .arg(rig.archive())
        .arg(cores.to_string())
        .output()
        .await?;
    let told: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let rows = told.get("rows").and_then(Value::as_u64);
    if rows != Some(events) {
        return Err(format!("DuckDB read {rows:?} of {events} rows").into());
    }
    let seconds = told.get("seconds").and_then(Value::as_f64);
    seconds.ok_or_else(|| "DuckDB's seconds".into())
}

/// Seconds in which so many threads hash all payloads, which lie in memory.
fn sha256(objects: &[PathBuf], cores: usize) -> Result<f64, Failure> {
    let mut seconds = 0.0;
    for path in objects {
        let payloads = payloads(Bytes::from(std::fs::read(path)?))?;
        let start = Instant::now();
        thread::scope(|scope| {
            for part in payloads.chunks(payloads.len().div_ceil(cores).max(1)) {
                scope.spawn(move || {
                    for payload in part {
                        std::hint::black_box(Digest::of(payload));
                    }
                });
            }
        });
        seconds += start.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

fn payloads(object: Bytes) -> Result<Vec<Vec<u8>>, Failure> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(object)?;
    let only = ProjectionMask::columns(reader.parquet_schema(), ["payload"]);
    let mut payloads = Vec::new();
    for batch in reader.with_projection(only).build()? {
        let batch = batch?;
        let column = batch.column(0).as_any();
        let column: &arrow::array::BinaryArray = column.downcast_ref().ok_or("binary payloads")?;
        payloads.extend(column.iter().flatten().map(<[u8]>::to_vec));
    }
    Ok(payloads)
}

/// The table of what was seen, for ledgers of these sizes.
pub(super) fn table(
    sizes: &[(f64, f64, Audited)],
    out: &mut impl std::io::Write,
) -> Result<(), Failure> {
    writeln!(
        out,
        "\n| events | cores | verified, events/s | payload, MB/s | DuckDB reads every column, events/s | ratio \
         | bare SHA-256 of the payloads, events/s | ratio | memory of the verifier, MiB |\n\
         |---|---|---|---|---|---|---|---|---|"
    )?;
    for (events, payload_bytes, audited) in sizes {
        for Verified { cores, seconds, peak_mib, duckdb, sha256 } in &audited.verified {
            writeln!(
                out,
                "| {events:.0} | {cores} | {:.0} | {:.1} | {:.0} | {:.0} % | {:.0} | {:.0} % | {peak_mib:.0} |",
                events / seconds,
                payload_bytes / seconds / 1e6,
                events / duckdb,
                100.0 * duckdb / seconds,
                events / sha256,
                100.0 * sha256 / seconds,
            )?;
        }
    }
    writeln!(
        out,
        "\n| events | replayed as | events/s, verifying included | memory, MiB |\n|---|---|---|---|"
    )?;
    for (events, _, audited) in sizes {
        for Replayed { format, seconds, peak_mib } in &audited.replayed {
            writeln!(out, "| {events:.0} | {format} | {:.0} | {peak_mib:.0} |", events / seconds)?;
        }
    }
    Ok(())
}

//! Sealing, beside what the Parquet writer alone takes for the same rows; and restoring.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use archiver::chunk::Limits;
use archiver::restore::restore;
use bytes::Bytes;
use ledger::names::{Origin, Workspace};
use ledger::time::{HOUR, Micros};
use ledger::verify::{Report, Verdict};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use sqlx::PgPool;
use tokio::process::Command;
use verifier::rows::properties;
use verifier::store::FileSource;

use super::load::Manner;
use super::rollup::{self, Rolled};
use super::verify::{self, Audited};
use super::{Bench, CLIENTS, Options, load, machine, number};
use crate::rig::{Failure, HandClock, Rig};
use crate::service::base;

/// Requests are made before they are sent, and take memory.
const PIECE: usize = 250_000;
/// Events that are recorded after a restore.
const MORE: usize = 10_000;
/// A level that costs several times the processor, to see what would be won.
const HARDER: i32 = 9;

/// What one size came to.
struct Size {
    events: f64,
    seconds: f64,
    peak_mib: f64,
    /// Processor seconds: of the archiver, and of Postgres meanwhile.
    archiver: f64,
    postgres: f64,
    payload_bytes: f64,
    object_bytes: f64,
    /// The Parquet writer alone, on the same rows.
    writer_seconds: f64,
    audited: Audited,
    restore_seconds: f64,
    rolled: Vec<Rolled>,
}

/// Bytes of a column: in the archive, before compression, and compressed harder.
#[derive(Default)]
struct Column {
    stored: f64,
    plain: f64,
    harder: f64,
}

/// Measures sealing, verifying and restoring for ledgers of these sizes.
pub(super) async fn run(
    options: &Options,
    sizes: &[usize],
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut seen = Vec::new();
    let mut columns = BTreeMap::new();
    for (seed, events) in (500..).zip(sizes) {
        let mut bench = Bench::filled(options, seed, *events).await?;
        let size = measure(options, &mut bench, &mut columns).await?;
        writeln!(
            out,
            "  sealed {:.0} events in {:.2} s, {:.2} s of the writer alone, {:.0} MiB at most",
            size.events, size.seconds, size.writer_seconds, size.peak_mib
        )?;
        out.flush()?;
        seen.push(size);
    }
    table(&seen, out)?;
    let (mut audited, mut rolled) = (Vec::new(), Vec::new());
    for size in seen {
        audited.push((size.events, size.payload_bytes, size.audited));
        rolled.push((size.events, size.rolled));
    }
    verify::table(&audited, out)?;
    rollup::table(&rolled, out)?;
    column_table(&columns, out)
}

impl Bench {
    /// A ledger of so many events and more, whose service has stopped.
    async fn filled(options: &Options, seed: u64, events: usize) -> Result<Self, Failure> {
        let mut bench = Self::start(options, seed).await?;
        let mut left = events;
        while left > 0 {
            let piece = left.min(PIECE);
            let requests = bench.load.requests(piece, options.batch);
            load::closed(&bench.base, requests, CLIENTS, Manner::Recorded).await?;
            left -= piece;
        }
        bench.service.terminate().await?;
        bench.service.ended().await?;
        Ok(bench)
    }
}

async fn measure(
    options: &Options,
    bench: &mut Bench,
    columns: &mut BTreeMap<String, Column>,
) -> Result<Size, Failure> {
    let rig = &bench.rig;
    let pids = (std::process::id(), rig.postgres.pid()?);
    let before = machine::Usage::of(pids)?;
    let (seconds, peak_mib) = seal(&options.programs, rig, &rig.postgres.url(), 2).await?;
    // The archiver has been waited for: its time is counted as that of a child.
    let used = machine::Usage::of(pids)?.since(&before);
    let source = FileSource::open(&rig.archive().to_string_lossy())?;
    let trust = verifier::trust::parse(&fs::read_to_string(rig.trust())?)?;
    let report = proven(rig)?;
    let objects = objects(&rig.archive().join("events"))?;
    if let Some(keep) = &options.keep {
        fs::create_dir_all(keep)?;
        let mut copy = Command::new("cp");
        copy.arg("-rT").arg(rig.archive()).arg(keep.join("archive"));
        let copied = copy.status().await?.success()
            && fs::copy(rig.trust(), keep.join("trust.toml")).is_ok();
        if !copied {
            return Err(format!("the archive cannot be kept in {}", keep.display()).into());
        }
    }
    let audited = verify::audit(&options.programs, rig, &objects, report.events).await?;

    let url = rig.postgres.database()?;
    ingest::store::migrate(&url, &rig.origin).await?;
    let pool = PgPool::connect(&url).await?;
    let start = Instant::now();
    let restored = restore(&pool, &source, &trust, Micros::EPOCH, &()).await?;
    let restore_seconds = start.elapsed().as_secs_f64();
    pool.close().await;
    if restored.events != report.events {
        return Err(format!("{} of {} events were restored", restored.events, report.events).into());
    }
    let sizes = columns_of(rig, &objects, columns)?;
    across_the_joint(options, bench, &url, report.events).await?;
    // Its days are over then, in the sealed log.
    seal(&options.programs, &bench.rig, &url, 72).await?;
    let rolled = rollup::measure(&options.programs, &bench.rig, &url).await?;
    let rig = &bench.rig;

    let (writer_seconds, object_bytes) = sizes;
    let events = number(usize::try_from(report.events)?);
    for column in columns.values_mut() {
        let each = [&mut column.stored, &mut column.plain, &mut column.harder];
        each.into_iter().for_each(|bytes| *bytes /= events);
    }
    let payload_bytes: i64 =
        sqlx::query_scalar("SELECT coalesce(sum(length(payload)), 0)::bigint FROM entries")
            .fetch_one(&rig.pool)
            .await?;
    Ok(Size {
        events,
        seconds,
        peak_mib,
        archiver: used.own,
        postgres: used.postgres,
        payload_bytes: number(usize::try_from(payload_bytes)?),
        object_bytes,
        writer_seconds,
        audited,
        restore_seconds,
        rolled,
    })
}

/// The seconds of the Parquet writer alone for all objects, and their bytes; and what columns take.
fn columns_of(
    rig: &Rig,
    objects: &[PathBuf],
    columns: &mut BTreeMap<String, Column>,
) -> Result<(f64, f64), Failure> {
    columns.clear();
    let (mut seconds, mut object_bytes) = (0.0, 0.0);
    for path in objects {
        let bytes = Bytes::from(fs::read(path)?);
        object_bytes += number(bytes.len());
        seconds += rewrite(&rig.origin, path, bytes, columns)?;
    }
    Ok((seconds, object_bytes))
}

/// The archive as an auditor finds it: proven.
fn proven(rig: &Rig) -> Result<Report, Failure> {
    let report = rig.verify()?;
    if report.verdict == Verdict::Proven {
        Ok(report)
    } else {
        Err(format!("the archive is not proven: {:?}", report.findings).into())
    }
}

/// A service goes on from the restored database, an archiver seals what it records, and an auditor
/// finds one history.
async fn across_the_joint(
    options: &Options,
    bench: &mut Bench,
    url: &str,
    before: u64,
) -> Result<(), Failure> {
    let clock = HandClock::new(load::now()?.checked_add(3 * HOUR).ok_or("a time")?);
    let running = bench.rig.serve_on(url, Arc::new(clock)).await?;
    let requests = bench.load.requests(MORE, options.batch);
    let acked =
        load::closed(&base(running.local_addr()), requests, CLIENTS, Manner::Recorded).await?;
    running.shutdown().await;
    seal(&options.programs, &bench.rig, url, 5).await?;
    let after = proven(&bench.rig)?.events;
    // And the record that the database was restored.
    if after == before + u64::try_from(acked)? + 1 {
        Ok(())
    } else {
        Err(format!("{after} events after the joint, {before} before, {acked} recorded").into())
    }
}

/// Seals in a process of its own, as if it were so many hours later; its seconds and its memory.
async fn seal(programs: &Path, rig: &Rig, url: &str, hours: i64) -> Result<(f64, f64), Failure> {
    let now = load::now()?.checked_add(hours * HOUR).ok_or("a time")?;
    let start = Instant::now();
    let mut child = Command::new(programs.join("tally-archiver-under-fault"))
        .args(["seal", "--live", "--origin", rig.origin.as_str()])
        .args(["--database-url", url, "--now", &now.get().to_string()])
        .args(["--grace", "0", "--rows", &Limits::DEFAULT.rows.to_string()])
        .args(["--payload-bytes", &Limits::DEFAULT.payload_bytes.to_string(), "--archive"])
        .arg(rig.archive())
        .arg("--seal-key")
        .arg(rig.directory.join("keys/seal.pem"))
        .stdin(Stdio::null())
        .spawn()?;
    let pid = child.id().ok_or("a process")?;
    let mut peak = 0.0;
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok((start.elapsed().as_secs_f64(), peak));
            }
            return Err(format!("sealing: {status}").into());
        }
        peak = machine::peak_mib(pid).unwrap_or(peak);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn objects(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(objects(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Writes the rows of an object once more by the Parquet writer alone, and gives the seconds that this
/// took. Then again with harder compression, for the columns.
fn rewrite(
    origin: &Origin,
    path: &Path,
    bytes: Bytes,
    columns: &mut BTreeMap<String, Column>,
) -> Result<f64, Failure> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?.with_batch_size(4_096);
    let metadata = reader.metadata().clone();
    let batches = reader.build()?.collect::<Result<Vec<_>, _>>()?;
    let workspace = path.iter().find_map(|part| part.to_str()?.strip_prefix("workspace="));
    let workspace = Workspace::new(workspace.ok_or("an object of a workspace")?)?;
    let write = |properties: WriterProperties| {
        let schema = batches.first().ok_or("an object has rows")?.schema();
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let start = Instant::now();
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?;
        for batch in &batches {
            writer.write(batch)?;
        }
        let written = writer.into_inner()?;
        Ok::<_, Failure>((start.elapsed().as_secs_f64(), Bytes::from(written)))
    };
    let (seconds, again) = write(properties(origin, &workspace)?)?;
    if again != bytes {
        return Err("the Parquet writer alone came to other bytes".into());
    }
    let harder = Compression::ZSTD(ZstdLevel::try_new(HARDER)?);
    let harder = properties(origin, &workspace)?.into_builder().set_compression(harder).build();
    let (_, harder) = write(harder)?;
    let harder = ParquetRecordBatchReaderBuilder::try_new(harder)?.metadata().clone();
    count(&metadata, columns, |column| &mut column.stored);
    count(&harder, columns, |column| &mut column.harder);
    for group in metadata.row_groups() {
        for chunk in group.columns() {
            let column = columns.entry(chunk.column_path().string()).or_default();
            column.plain += bytes_of(chunk.uncompressed_size());
        }
    }
    Ok(seconds)
}

fn count(
    metadata: &ParquetMetaData,
    columns: &mut BTreeMap<String, Column>,
    of: fn(&mut Column) -> &mut f64,
) {
    for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let column = columns.entry(chunk.column_path().string()).or_default();
        *of(column) += bytes_of(chunk.compressed_size());
    }
}

fn bytes_of(size: i64) -> f64 {
    number(usize::try_from(size).unwrap_or(0))
}

fn table(sizes: &[Size], out: &mut impl Write) -> Result<(), Failure> {
    writeln!(
        out,
        "\n| events | sealed, events/s | payload, MB/s | the Parquet writer alone, events/s | ratio | \
         processor, µs an event: archiver | Postgres | the writer alone | memory of the archiver, MiB | archive, bytes an event | restored, events/s |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for size in sizes {
        let rate = |seconds: f64| size.events / seconds;
        writeln!(
            out,
            "| {:.0} | {:.0} | {:.1} | {:.0} | {:.0} % | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0} |",
            size.events,
            rate(size.seconds),
            size.payload_bytes / size.seconds / 1e6,
            rate(size.writer_seconds),
            100.0 * size.writer_seconds / size.seconds,
            1e6 * size.archiver / size.events,
            1e6 * size.postgres / size.events,
            1e6 * size.writer_seconds / size.events,
            size.peak_mib,
            size.object_bytes / size.events,
            rate(size.restore_seconds),
        )?;
    }
    Ok(())
}

fn column_table(columns: &BTreeMap<String, Column>, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(
        out,
        "\n| column | bytes an event in the archive | before compression | at zstd {HARDER} it would save \
         |\n|---|---|---|---|"
    )?;
    let mut columns: Vec<(&String, &Column)> = columns.iter().collect();
    columns.sort_by(|one, other| other.1.stored.total_cmp(&one.1.stored));
    let total = |of: fn(&Column) -> f64| columns.iter().map(|(_, column)| of(column)).sum::<f64>();
    let line = |out: &mut dyn Write, name: &str, column: [f64; 3]| {
        let [stored, plain, harder] = column;
        writeln!(out, "| {name} | {stored:.2} | {plain:.2} | {:.2} |", stored - harder)
    };
    for (name, column) in &columns {
        line(out, &format!("`{name}`"), [column.stored, column.plain, column.harder])?;
    }
    line(out, "all", [total(|c| c.stored), total(|c| c.plain), total(|c| c.harder)])?;
    Ok(())
}

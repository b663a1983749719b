//! `make bench`: the whole service on a real Postgres, beside the limit that Postgres itself sets, and
//! sealing beside what the Parquet writer takes alone, in one run.
//!
//! Here: the course of a run, and the table. `load` makes requests, `rows` copies the same rows
//! without us, `queue` puts Kafka in front, `seal` seals and restores, `verify` verifies, `rollup` rolls up, `machine` reads what the system counted.
//!
//! Figures are ratios to that limit. Absolute numbers are of the machine and of the moment.

mod load;
mod machine;
mod queue;
mod rollup;
mod rows;
mod seal;
mod verify;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ingest::accept::{Form, Head, Limits, Purpose, accept};

use crate::postgres::{Options as Server, Postgres};
use crate::rig::{Failure, Rig};
use crate::service::{Process, base, free_address};
pub use load::Ids;
use load::{Load, Manner};

/// Settings of the server, those of `docs/operating/postgres.md`.
const SETTINGS: [&str; 5] = [
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "checkpoint_timeout=15min",
    "wal_compression=lz4",
    "synchronous_commit=on",
];
/// Requests under way at once, at full load.
const CLIENTS: usize = 48;
/// How long half the load lasts.
const HALF: Duration = Duration::from_secs(20);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Events at full load.
    pub events: usize,
    /// Events in a submission.
    pub batch: usize,
    /// Workspaces that they are spread over.
    pub workspaces: usize,
    /// How event ids are made.
    pub ids: Ids,
    /// Times that the run is repeated; the table shows medians.
    pub rounds: usize,
    /// Events per step of the growth table, and its steps; no steps for no such table.
    pub growth: (usize, usize),
    /// Sizes of ledgers to seal, in events; the accept path is left out where they alone are asked for.
    pub seal: Vec<usize>,
    /// Where to keep the last archive that was sealed, with its trust file.
    pub keep: Option<PathBuf>,
    /// Whether to measure the accept path.
    pub accept: bool,
    /// Whether to measure a queue in front of it.
    pub queue: bool,
    /// Where the programs of this build are.
    pub programs: PathBuf,
}

/// What one round saw.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// Events per second acknowledged, over HTTP.
    ingest: f64,
    /// The same rows per second, by COPY.
    copy: f64,
    /// Acknowledged after so many seconds, at half load.
    p50: f64,
    p99: f64,
    /// Processor seconds for a million events: service, Postgres, and clients.
    service: f64,
    postgres: f64,
    clients: f64,
    /// The same for COPY alone: Postgres and its client.
    copy_postgres: f64,
    /// Bytes in Postgres for an event: tables, indexes, and written to its log.
    tables: f64,
    indexes: f64,
    wal: f64,
    /// Events in a transaction.
    group: f64,
}

/// A service at work on a server of its own.
struct Bench {
    rig: Rig,
    service: Process,
    load: Load,
    base: String,
    /// Not before the service and the server have ended.
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn start(options: &Options, seed: u64) -> Result<Self, Failure> {
        Self::start_with(options, seed, &["serve"]).await
    }

    /// The same, with what the service is told.
    async fn start_with(options: &Options, seed: u64, arguments: &[&str]) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let postgres = Postgres::within(&std::env::temp_dir(), Server { fsync: true }, &SETTINGS)?;
        let rig = Rig::new(directory.path(), "bench.example/ledger", postgres).await?;
        let address = free_address()?;
        let program = options.programs.join("tally-ingest");
        let mut service = Process::start(&program, &rig, address, arguments)?;
        service.listening().await?;
        let base = base(address);
        let mut load = Load::new(&rig.origin, options.workspaces, options.ids, seed);
        load.open_workspaces(&rig, &base).await?;
        Ok(Self { rig, service, load, base, _directory: directory })
    }
}

/// Measures, and prints what it saw.
pub async fn run(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(
        out,
        "ingest: {} events of 500 bytes in submissions of {}",
        options.events, options.batch
    )?;
    writeln!(
        out,
        "        {} workspaces, ids {:?}, fsync on, {SETTINGS:?}",
        options.workspaces, options.ids
    )?;
    if options.accept {
        accept_path(options, out).await?;
    }
    if options.queue {
        queue::run(options, out).await?;
    }
    if options.seal.is_empty() { Ok(()) } else { seal::run(options, &options.seal, out).await }
}

async fn accept_path(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let mut rounds = Vec::new();
    for seed in 0..options.rounds {
        let round = round(options, u64::try_from(seed)?, out).await?;
        rounds.push(round);
    }
    table(&rounds, out)?;
    steps(options, out)?;
    if options.growth.1 > 0 {
        growth(options, out).await?;
    }
    Ok(())
}

async fn round(options: &Options, seed: u64, out: &mut impl Write) -> Result<Round, Failure> {
    let mut bench = Bench::start(options, seed).await?;
    let mut round = Round::default();
    let requests = bench.load.requests(options.events, options.batch);
    let pids = (bench.service.pid()?, bench.rig.postgres.pid()?);
    let wal = rows::wal(&bench.rig.pool).await?;
    let groups = rows::transactions(&bench.rig.pool).await?;
    let before = machine::Usage::of(pids)?;
    let start = Instant::now();
    let acked = load::closed(&bench.base, requests, CLIENTS, Manner::Recorded).await?;
    let seconds = start.elapsed().as_secs_f64();
    let used = machine::Usage::of(pids)?.since(&before);
    let events = number(acked);
    let million = events / 1e6;
    round.ingest = events / seconds;
    (round.service, round.postgres, round.clients) =
        (used.service / million, used.postgres / million, used.own / million);
    round.wal = number(rows::wal(&bench.rig.pool).await? - wal) / events;
    let groups = (rows::transactions(&bench.rig.pool).await? - groups).max(1);
    round.group = events / number(groups);
    let (tables, indexes) = rows::sizes(&bench.rig.pool).await?;
    let all = number(rows::count(&bench.rig.pool).await?);
    (round.tables, round.indexes) = (number(tables) / all, number(indexes) / all);

    let half = load::Pace { events_per_second: round.ingest / 2.0, batch: options.batch };
    let count = whole(half.events_per_second * HALF.as_secs_f64());
    let requests = bench.load.requests(count, options.batch);
    (round.p50, round.p99) = load::open(&bench.base, requests, half, Manner::Recorded).await?;

    // The same rows, in transactions of the same size, without us.
    let taken = rows::take(&bench.rig.pool, whole(round.group)).await?;
    let limit = bench.rig.postgres.database()?;
    ingest::store::migrate(&limit, &bench.rig.origin).await?;
    let limit = bench.rig.postgres.by_socket(&limit);
    let before = machine::Usage::of(pids)?;
    let (copied, seconds) = rows::copy(&limit, taken).await?;
    let used = machine::Usage::of(pids)?.since(&before);
    round.copy = number(copied) / seconds;
    round.copy_postgres = used.postgres / (number(copied) / 1e6);
    bench.service.stop().await?;
    writeln!(
        out,
        "  round {}: {:.0}/s ingest, {:.0}/s COPY, {:.0} %",
        seed + 1,
        round.ingest,
        round.copy,
        100.0 * round.ingest / round.copy
    )?;
    Ok(round)
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(rounds: &[Round], out: &mut impl Write) -> Result<(), Failure> {
    let m = |of: fn(&Round) -> f64| median(rounds, of);
    let ms = |of: fn(&Round) -> f64| 1e3 * median(rounds, of);
    writeln!(out, "\n| what | seen |\n|---|---|")?;
    writeln!(
        out,
        "| raw binary COPY of the same rows, 8 connections by Unix socket | {:.0} events/s |",
        m(|r| r.copy)
    )?;
    writeln!(out, "| ingest over HTTP | {:.0} events/s |", m(|r| r.ingest))?;
    writeln!(out, "| ratio | {:.0} % |", 100.0 * m(|r| r.ingest / r.copy))?;
    writeln!(out, "| acknowledged at half load, p50 | {:.1} ms |", ms(|r| r.p50))?;
    writeln!(out, "| acknowledged at half load, p99 | {:.1} ms |", ms(|r| r.p99))?;
    writeln!(out, "| events in a transaction at full load | {:.0} |", m(|r| r.group))?;
    writeln!(out, "| bytes an event, tables | {:.0} |", m(|r| r.tables))?;
    writeln!(out, "| bytes an event, indexes | {:.0} |", m(|r| r.indexes))?;
    writeln!(out, "| bytes an event, written ahead (WAL) | {:.0} |", m(|r| r.wal))?;
    writeln!(out, "| processor, µs an event: service | {:.1} |", m(|r| r.service))?;
    writeln!(out, "| processor, µs an event: Postgres | {:.1} |", m(|r| r.postgres))?;
    writeln!(out, "| processor, µs an event: the bench's clients | {:.1} |", m(|r| r.clients))?;
    writeln!(
        out,
        "| processor, µs an event: Postgres at raw COPY | {:.1} |",
        m(|r| r.copy_postgres)
    )?;
    Ok(())
}

/// What checking a submission costs on one core, step by step.
fn steps(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let origin = ledger::names::Origin::new("bench.example/ledger")?;
    let mut load = Load::new(&origin, 1, options.ids, 77);
    let submissions = load.submissions(20_000, options.batch);
    let events = number(submissions.iter().map(|s| s.payloads.len()).sum());
    let limits = Limits::new(65_536, 1_000).ok_or("limits")?;
    let bodies: Vec<_> = submissions
        .iter()
        .map(|s| {
            let head =
                Head { public_key: s.public_key, signature: s.signature, counter: s.counter };
            (head, s.workspace.clone(), Bytes::from(s.body()))
        })
        .collect();
    let rules = ledger::payload::Rules { max_bytes: 65_536 };
    let payloads = || submissions.iter().flat_map(|s| s.payloads.iter().map(move |p| (s, p)));
    let mut rows = Vec::new();
    let mut time = |name, work: &mut dyn FnMut() -> Result<(), Failure>| {
        let mut best = f64::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            work()?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        rows.push((name, 1e6 * best / events));
        Ok::<_, Failure>(())
    };
    time("scan of the payload (FORMAT section 2)", &mut || {
        for (submission, payload) in payloads() {
            ledger::payload::scan(payload, &submission.workspace, &rules)?;
        }
        Ok(())
    })?;
    time("digest of the payload", &mut || {
        payloads().for_each(|(_, payload)| {
            std::hint::black_box(ledger::hash::Digest::of(payload));
        });
        Ok(())
    })?;
    time("signature, over its events", &mut || {
        for s in &submissions {
            let statement =
                ledger::submission::Statement::new(&origin, &s.workspace, s.counter, &s.digests());
            statement.verify(&s.public_key, &s.signature)?;
        }
        Ok(())
    })?;
    time("all checks before the database", &mut || {
        for (head, workspace, body) in &bodies {
            let purpose = Purpose::Record(workspace.clone());
            accept(&origin, &purpose, *head, Form::Ndjson, body, &limits)?;
        }
        Ok(())
    })?;
    writeln!(out, "\n| step in the service, one core | µs an event |\n|---|---|")?;
    for (name, micros) in rows {
        writeln!(out, "| {name} | {micros:.2} |")?;
    }
    Ok(())
}

/// Shows what an event costs as the tables grow.
async fn growth(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let (step, steps) = options.growth;
    writeln!(
        out,
        "\n| rows before | events/s | Postgres µs an event | service µs an event | WAL bytes an event |\n|---|---|---|---|---|"
    )?;
    let mut bench = Bench::start(options, 99).await?;
    for _ in 0..steps {
        let rows_before = rows::count(&bench.rig.pool).await?;
        let pids = (bench.service.pid()?, bench.rig.postgres.pid()?);
        let (mut seconds, mut events, mut usage) = (0.0, 0, machine::Usage::default());
        let wal = rows::wal(&bench.rig.pool).await?;
        // In pieces, as requests are made before they are sent and take memory.
        for _ in 0..step.div_ceil(250_000) {
            let requests = bench.load.requests(step.min(250_000), options.batch);
            let before = machine::Usage::of(pids)?;
            let start = Instant::now();
            events += load::closed(&bench.base, requests, CLIENTS, Manner::Recorded).await?;
            seconds += start.elapsed().as_secs_f64();
            usage = usage.plus(&machine::Usage::of(pids)?.since(&before));
        }
        let million = number(events) / 1e6;
        let wal = number(rows::wal(&bench.rig.pool).await? - wal) / number(events);
        writeln!(
            out,
            "| {rows_before} | {:.0} | {:.1} | {:.1} | {wal:.0} |",
            number(events) / seconds,
            usage.postgres / million,
            usage.service / million,
        )?;
        out.flush()?;
    }
    bench.service.stop().await?;
    Ok(())
}

/// A count as a number that can be divided. Exact up to 2^53, which no run reaches.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn number(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and counts of a run are small and not negative"
)]
fn whole(value: f64) -> usize {
    value as usize
}

/// The directory that a program lies in.
pub fn programs() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    Ok(program.parent().map(Path::to_owned).ok_or("a program lies in a directory")?)
}

/// Shared by requests: made once, sent without a copy.
type Requests = Vec<Arc<load::Request>>;

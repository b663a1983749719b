//! The demo: the whole job on real parts, told step by step.
//!
//! Here: the story and its text. The ledger's time is simulated, as three hours must close while
//! someone watches; everything else is what users run. Not here: the agents' part (see
//! [`crate::play`]), and setting up a ledger (see [`crate::rig`]).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ledger::time::Micros;

use crate::forge::Archive;
use crate::play::{self, VICTIM};
use crate::postgres::{self, Postgres};
use crate::rig::{Failure, Rig};

/// What the demo is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything goes. What an earlier demo left there is removed.
    pub directory: PathBuf,
    /// How many events to simulate, about.
    pub events: u64,
    /// The `tally-verify` program.
    pub verifier: PathBuf,
    /// The time at which the hours before have closed, and this one has not.
    pub now: Micros,
}

/// Tells a demo's directory from one that must not be removed.
const MARKER: &str = ".tally-demo";

/// Runs the demo, and tells about it as it goes.
pub async fn run(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let start = Instant::now();
    writeln!(out, "Tallystick: the whole job, on real parts. Only the time is simulated.\n")?;
    writeln!(out, "1. Set up: keys, a Postgres of its own, an empty ledger")?;
    prepare(&options.directory)?;
    let postgres = Postgres::with(postgres::Options { fsync: true })?;
    let rig = Rig::new(&options.directory, "ledger.example.com/demo", postgres).await?;
    writeln!(out, "   {} in {}", rig.origin, rig.directory.display())?;

    writeln!(out, "\n2. Submit: agents sign what they do, and send it over HTTP")?;
    play::submit(&rig, options.now, options.events, out).await?;

    writeln!(out, "\n3. Seal: each closed hour becomes Parquet, signed notes and a log")?;
    seal(&rig, options.now, out).await?;

    writeln!(
        out,
        "\n4. Verify: tally-verify has the archive and the auditor's trust file alone\n"
    )?;
    verify(options, &rig.archive(), 0, out)?;

    let tampered = rig.directory.join("tampered");
    let place = tamper(&rig.archive(), &tampered)?;
    writeln!(out, "\n5. Tamper: one byte is flipped in a copy, {place}\n")?;
    verify(options, &tampered, 1, out)?;

    let seconds = start.elapsed().as_secs_f64();
    drop(rig);
    writeln!(out, "\nDone in {seconds:.0} s; nothing is left running.\n")?;
    closing(options, out)
}

/// Makes the directory, in the place of what an earlier demo left.
fn prepare(directory: &Path) -> Result<(), Failure> {
    if directory.join(MARKER).exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    if fs::read_dir(directory)?.next().is_some() {
        let directory = directory.display();
        return Err(format!("{directory} holds something else: choose an empty --dir").into());
    }
    Ok(fs::write(directory.join(MARKER), "")?)
}

async fn seal(rig: &Rig, now: Micros, out: &mut impl Write) -> Result<(), Failure> {
    let start = Instant::now();
    let sealed = rig.seal(now).await?;
    for hour in &sealed.hours {
        let (name, kib) = (hour.hour, hour.object_bytes / 1_024);
        writeln!(out, "   {name}  {} events in {} chunks, {kib} KiB", hour.events, hour.chunks)?;
    }
    writeln!(out, "   {}  has not closed, so it is not sealed", now.hour())?;
    let seconds = start.elapsed().as_secs_f64();
    writeln!(out, "   {} leaves in the log; {seconds:.1} s", sealed.log_size)?;
    Ok(())
}

/// Runs the auditor's program, shows what it says, and makes sure that it says what it should.
fn verify(
    options: &Options,
    archive: &Path,
    expected: i32,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let start = Instant::now();
    let trust = options.directory.join("trust.toml");
    let output = Command::new(&options.verifier)
        .args(["verify", "--archive"])
        .arg(archive)
        .arg("--trust")
        .arg(trust)
        .output()
        .map_err(|error| format!("{}: {error}", options.verifier.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    writeln!(out, "{}\n", indented(&text))?;
    let seconds = start.elapsed().as_secs_f64();
    match output.status.code() {
        Some(code) if code == expected => {
            writeln!(out, "   exit code {code}; {seconds:.1} s")?;
            Ok(())
        }
        code => {
            let error = String::from_utf8_lossy(&output.stderr);
            Err(format!("the verifier ended with {code:?}, not {expected}: {error}").into())
        }
    }
}

/// Copies the archive, flips one byte of an object in the copy, and says where.
fn tamper(archive: &Path, copy: &Path) -> Result<String, Failure> {
    let mut objects = Archive::load(archive)?;
    let prefix = format!("events/workspace={VICTIM}/");
    let (key, object) = objects
        .0
        .iter_mut()
        .rfind(|(key, _)| key.starts_with(&prefix))
        .ok_or("the archive holds nothing to tamper with")?;
    let at = object.len() / 2;
    if let Some(byte) = object.get_mut(at) {
        *byte ^= 1;
    }
    let place = format!("byte {at} of\n   {key}");
    objects.store(copy)?;
    Ok(place)
}

/// Each line of a text, set in.
pub(crate) fn indented(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| format!("   {line}").trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Where everything lies, and what to try next.
fn closing(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let (directory, verifier) = (options.directory.display(), options.verifier.display());
    let text = format!(
        "\
In {directory}:
   archive/         what an auditor gets: Parquet, notes, the log
   trust.toml       the keys that the auditor knows from elsewhere
   tampered/        the copy with one flipped byte
   receipts/        what each agent holds against the ledger
   keys/            private keys: the ledger's three, founders', agents'
   history.ndjson   what agents sent and were told

Try next:
   {verifier} verify --archive {directory}/archive --trust {directory}/trust.toml --workspace {VICTIM}
   {verifier} verify --archive {directory}/tampered --trust {directory}/trust.toml --json
   # a second verifier, which shares no code with the first (needs checks/second/requirements.txt)
   python3 checks/second/verify.py {directory}/archive {directory}/trust.toml
   # what did the models cost? (DuckDB reads the archive as it is)
   duckdb -c \"SELECT workspace, model, count(*) AS calls,
     sum(input_tokens * unit_cost_input + output_tokens * unit_cost_output) AS cost
     FROM '{directory}/archive/events/**/*.parquet' WHERE event_type = 'llm_call' GROUP BY ALL\"
   # change, drop or add anything in the archive, and verify again"
    );
    writeln!(out, "{text}")?;
    Ok(())
}

//! The command line of `tally-verify`.

mod check;
mod explain;
mod manual;
mod policy;
mod prove;
mod receipt;
mod replay;
mod rollup;
mod signals;
mod staged;
mod verify;

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use ledger::hash::Digest;
use ledger::names::Workspace;
use ledger::time::Micros;
use ledger::verify::{Trust, Verdict};

use self::check::CheckProofs;
use self::explain::{Explain, UnknownCheck};
use self::manual::{Completions, Manual};
use self::prove::Prove;
use self::receipt::CompareReceipts;
use self::replay::Replay;
use self::rollup::CheckRollups;
use self::verify::Verify;
use crate::part::PartFileError;
use crate::prove::ProveError;
use crate::replay::{PositionError, WriteError};
use crate::report::Inputs;
use crate::report::text::plain;
use crate::state::{ResumeError, Unkept};
use crate::store::{self, ArchiveSource, S3Settings, SourceError};
use crate::trust::TrustError;
use crate::{exit, rows, trust};

/// What the program exits with.
const EXIT_CODES: &str = "Exit codes: 0 proven; 1 tampering, forgery or loss found; 2 usage; \
                          3 could not finish; 4 intact, but short of the policy";

/// Verifies a Tallystick archive from its public bytes and your own trust file alone.
#[derive(Debug, Parser)]
#[command(name = "tally-verify", version)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check every byte of an archive, and say what is wrong and where.
    Verify(Box<Verify>),
    /// Make one small file that proves one event to whoever has it and a trust file.
    Prove(Prove),
    /// Check such files, offline.
    Check(CheckProofs),
    /// Compare receipts that agents hold with an archive.
    Receipt(CompareReceipts),
    /// Write out what was recorded, as JSON, Arrow or Parquet, once all of it is proven.
    Replay(Box<Replay>),
    /// Verify an archive, and compute again what its rollups state.
    Rollup(Box<CheckRollups>),
    /// Say what a finding means, why it matters, and what to do.
    Explain(Explain),
    /// Print the manual page of this program, or of one of its commands.
    Man(Manual),
    /// Print completions for a shell.
    Completions(Completions),
}

/// The whole command line, for whoever writes its pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// An archive, and what its auditor trusts: the arguments that every command on an archive takes.
#[derive(Args, Debug)]
struct ArchiveArgs {
    /// Where the archive lies: a directory, file:///path, or s3://bucket/prefix.
    #[arg(long, value_name = "URL")]
    archive: String,
    #[command(flatten)]
    s3: S3Settings,
    /// Your trust file: the ledger's origin and keys, as you got them from elsewhere.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
}

/// The auditor's trust file, read.
struct TrustFile {
    trust: Trust,
    /// SHA-256 of the file, which reports name.
    sha256: Digest,
}

impl ArchiveArgs {
    fn trust(&self) -> Result<TrustFile, CliError> {
        read_trust(&self.trust)
    }

    /// Refuses files to be written that would take the place of one that is read, or of each other, or that
    /// would lie in the archive.
    fn guard(&self, outputs: &[Option<&Path>]) -> Result<(), CliError> {
        let trust = std::fs::canonicalize(&self.trust).ok();
        let archive = self.archive.strip_prefix("file://").unwrap_or(&self.archive);
        let archive = std::fs::canonicalize(archive).ok();
        let mut seen = Vec::new();
        for place in outputs.iter().flatten().filter_map(|path| in_full(path)) {
            if Some(&place) == trust.as_ref() {
                return Err(CliError::Usage(
                    "an output names the trust file: it would be replaced",
                ));
            }
            if archive.as_ref().is_some_and(|archive| place.starts_with(archive)) {
                return Err(CliError::Usage(
                    "an output lies in the archive, where it would be found as tampering: write elsewhere",
                ));
            }
            if seen.contains(&place) {
                return Err(CliError::Usage("two outputs name the same file: each needs its own"));
            }
            seen.push(place);
        }
        Ok(())
    }

    /// What a report names of them.
    fn inputs<'a>(&'a self, trust_sha256: &'a str) -> Inputs<'a> {
        Inputs { archive: &self.archive, trust_sha256, parts: &[] }
    }

    fn open(&self) -> Result<Box<dyn ArchiveSource + Send + Sync>, CliError> {
        Ok(store::open(&self.archive, &self.s3)?)
    }
}

/// Where a path leads, whether or not there is something there already.
fn in_full(path: &Path) -> Option<PathBuf> {
    let found = std::fs::canonicalize(path);
    found.ok().or_else(|| {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let directory = std::fs::canonicalize(directory.unwrap_or(Path::new("."))).ok()?;
        Some(directory.join(path.file_name()?))
    })
}

/// Largest trust file: room for some ten thousand workspaces with their keys.
const TRUST_BYTES: usize = 4 << 20;

fn read_trust(path: &Path) -> Result<TrustFile, CliError> {
    let text = read_whole(path, TRUST_BYTES)
        .and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
        .map_err(|reason| CliError::TrustFile { path: path.to_owned(), reason })?;
    let trust =
        trust::parse(&text).map_err(|error| CliError::Trust { path: path.to_owned(), error })?;
    Ok(TrustFile { trust, sha256: Digest::of(text.as_bytes()) })
}

fn parse_workspace(text: &str) -> Result<Workspace, String> {
    Workspace::new(text).map_err(|error| error.to_string())
}

fn parse_time(text: &str) -> Result<Micros, String> {
    let read = ledger::payload::occurred_at;
    read(text).map_err(|_| {
        let reason = match read(&format!("{text}Z")) {
            Ok(_) => "it lacks its zone (`Z` for UTC, or an offset): ",
            Err(_) => "",
        };
        format!("{reason}a time like 2026-11-23T16:00:00Z or 2026-11-23T17:00:00+01:00 is expected")
    })
}

/// Why a verification did not start, or its report did not come out.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("cannot read the trust file {path}: {reason}")]
    TrustFile { path: PathBuf, reason: std::io::Error },
    #[error("{path}: {error}")]
    Trust { path: PathBuf, error: TrustError },
    #[error("cannot read the checkpoint {path}: {reason}")]
    Checkpoint { path: PathBuf, reason: std::io::Error },
    #[error("the checkpoint {path}: {error}")]
    Seen { path: PathBuf, error: TrustError },
    #[error("cannot write to {path}: {reason}")]
    OutputFile { path: PathBuf, reason: std::io::Error },
    /// It could be written to at the beginning: it was not the command line that was wrong.
    #[error("cannot write to {path}: {reason}")]
    Unwritten { path: PathBuf, reason: std::io::Error },
    #[error("{0}")]
    UnknownCheck(#[from] UnknownCheck),
    #[error("there is no command `{0}`: `tally-verify --help` lists them")]
    UnknownCommand(String),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Part(#[from] PartFileError),
    #[error(transparent)]
    Resume(#[from] ResumeError),
    #[error(transparent)]
    Unkept(#[from] Unkept),
    #[error("cannot write what is replayed: {0}")]
    Replayed(#[from] WriteError),
    #[error("no hour lies between --since {since} and --until {until}")]
    Times { since: Micros, until: Micros },
    #[error("{path} keeps no position of a replay: {error}")]
    Position { path: PathBuf, error: PositionError },
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
    #[error("cannot read {path}: {reason}")]
    Input { path: PathBuf, reason: std::io::Error },
    #[error("{0}")]
    Usage(&'static str),
    #[error("no proof was made: {0}")]
    Prove(#[from] ProveError),
    #[cfg(feature = "rollup")]
    #[error("rollups were not computed again: {0}")]
    Recompute(#[from] crate::rollup::RollupError),
    #[error("cannot write the report: {0}")]
    Output(#[from] std::io::Error),
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The verdict stands, whatever became of its report.
    #[error("TAMPERED, but not all that is to be said of it came out: {0}")]
    Tampered(Box<CliError>),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            Self::TrustFile { .. }
            | Self::Checkpoint { .. }
            | Self::OutputFile { .. }
            | Self::UnknownCheck(_)
            | Self::UnknownCommand(_)
            | Self::Trust { .. }
            | Self::Seen { .. }
            | Self::Times { .. }
            | Self::Position { .. }
            | Self::Input { .. }
            | Self::Part(_)
            | Self::Usage(_)
            | Self::Prove(ProveError::Opening)
            | Self::Source(SourceError::Settings(_) | SourceError::Address(_)) => exit::USAGE,
            Self::Prove(ProveError::NoEvent { .. } | ProveError::Pruned { .. }) => exit::SHORT,
            Self::Prove(ProveError::Found(findings)) => exit::number(Verdict::of(findings)),
            Self::Tampered(_) => exit::TAMPERED,
            Self::Prove(ProveError::Source(_))
            | Self::Resume(ResumeError::Unkept { .. })
            | Self::Unkept(_)
            | Self::Signals(_)
            | Self::Source(_)
            | Self::Output(_)
            | Self::Unwritten { .. }
            | Self::Replayed(_)
            | Self::Json(_) => exit::UNFINISHED,
            #[cfg(feature = "rollup")]
            Self::Recompute(_) => exit::UNFINISHED,
            Self::Resume(_) => exit::USAGE,
        }
    }

    /// The same error, behind a verdict whose exit code is this: tampering that was found is never hidden by
    /// what failed after it.
    fn behind(self, code: u8) -> Self {
        if code == exit::TAMPERED { Self::Tampered(Box::new(self)) } else { self }
    }

    /// The error as a person reads it: what a name or an archive holds does not get to steer a terminal, nor to
    /// look like a line of ours. What shows a place in the trust file needs its lines.
    fn shown(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Trust { .. } => text.lines().map(plain).collect::<Vec<_>>().join("\n"),
            _ => plain(&text),
        }
    }
}

/// Reads a file of the auditor's that has at most so many bytes, whatever it is: it may as well be a pipe.
fn read_whole(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    let bytes = check::read(path, most.saturating_add(1))?;
    if bytes.len() > most {
        let reason = format!("it has more than {most} bytes");
        return Err(std::io::Error::other(reason));
    }
    Ok(bytes)
}

/// Prints a report, and gives its exit code.
fn report(text: &str, code: u8) -> Result<ExitCode, CliError> {
    let mut out = std::io::stdout();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|error| CliError::Output(error).behind(code))?;
    Ok(ExitCode::from(code))
}

/// Prints a text that is there to be read. Who stops reading early (`| head`) has read enough.
fn print(text: &[u8]) -> Result<(), CliError> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// Runs the command line, and gives the exit code.
pub fn run() -> ExitCode {
    rows::quiet_decoder();
    let done = match Cli::parse().command {
        Command::Verify(verify) => verify.run(),
        Command::Prove(prove) => prove.run(),
        Command::Check(check) => check.run(),
        Command::Receipt(receipt) => receipt.run(),
        Command::Replay(replay) => replay.run(),
        Command::Rollup(rollup) => rollup.run(),
        Command::Explain(explain) => explain.run().map(|()| ExitCode::SUCCESS),
        Command::Man(manual) => manual.run().map(|()| ExitCode::SUCCESS),
        Command::Completions(completions) => completions.run().map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // Where even stderr is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "tally-verify: {}", error.shown());
            ExitCode::from(error.code())
        }
    }
}

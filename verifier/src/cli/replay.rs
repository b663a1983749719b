//! `tally-verify replay`: what was recorded, for jobs that compute with it, once all of it is proven.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ledger::columns::Row;
use ledger::names::Workspace;
use ledger::time::Micros;
use ledger::verify::Verdict;

use super::policy::PolicyArgs;
use super::verify::Bar;
use super::{ArchiveArgs, CliError, TrustFile, parse_time, staged};
use crate::replay::{Position, ReplayError, Replayed, Selection, entry, payload, replay};
use crate::state::StateDirectory;
use crate::{exit, report};

/// What comes out as lines of JSON (NDJSON).
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Everything that was recorded of each event, with its payload.
    Entries,
    /// The payloads alone; none of those that were erased.
    Payloads,
}

#[derive(Args, Debug)]
pub(super) struct Replay {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Whole entries, or payloads alone, as one line of JSON each.
    #[arg(long, value_enum, default_value = "entries")]
    what: What,
    /// Write to this file, which is there only once all is in it; to standard output where it is not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Recorded at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Micros>,
    /// Recorded before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Micros>,
    /// Of this event type only; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    event_types: Vec<String>,
    /// Go on behind the place that is kept in this file, and keep the new place there at the end.
    #[arg(long, value_name = "FILE")]
    position: Option<PathBuf>,
    /// Verify only what is new since the state in this directory (as `verify --resume`).
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
}

impl Replay {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        // Rows of other hours than those asked for are not replayed, so they need not be checked; but a state
        // is one of whole archives.
        let mut policy = self.policy.policy(self.since, self.until)?;
        if self.resume.is_some() {
            (policy.since, policy.until) = (None, None);
        }
        let TrustFile { trust, sha256 } = self.archive.trust()?;
        let selection = Selection {
            since: self.since,
            until: self.until,
            event_types: self.event_types.clone(),
            after: self.position.as_deref().map(read_position).transpose()?.unwrap_or_default(),
        };
        let directory = self.resume.as_deref();
        let directory = directory.map(|path| StateDirectory::open(path, sha256)).transpose()?;
        let mut out = Output::open(self.out.as_deref())?;
        let source = self.archive.open()?;
        let bar = Bar::new()?;
        let line = |workspace: &Workspace, row: &Row<'_>| match self.what {
            What::Entries => entry(&mut out.to, workspace, row),
            What::Payloads => payload(&mut out.to, row),
        };
        let replayed = replay(&source, trust, policy, directory.as_ref(), &selection, &bar, line);
        bar.clear();
        let replayed = match replayed {
            Ok(replayed) => replayed,
            Err(error) => return failed(error),
        };
        let Replayed { report, entries, position } = &replayed;
        if report.verdict != Verdict::Proven {
            // Nothing came out; why, is for a person to read.
            let text = report::text::write(report, &sha256.to_string());
            write!(io::stderr(), "nothing was replayed\n\n{text}")?;
            return Ok(exit::code(report.verdict));
        }
        match out.finish() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::from(exit::UNFINISHED));
            }
            done => done?,
        }
        if let Some(path) = &self.position {
            write_position(path, position)?;
        }
        writeln!(io::stderr(), "proven; replayed {entries} entries")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A replay that ended before its end. Whoever took the lines may have had enough of them (`| head`): they are not
/// all, and the exit code says so.
fn failed(error: ReplayError<io::Error>) -> Result<ExitCode, CliError> {
    let code = match &error {
        ReplayError::Taker(taker) if taker.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(ExitCode::from(exit::UNFINISHED));
        }
        ReplayError::Resume(_) => match error {
            ReplayError::Resume(error) => return Err(error.into()),
            _ => exit::UNFINISHED,
        },
        ReplayError::Changed(_) | ReplayError::Rows { .. } => exit::TAMPERED,
        ReplayError::Source(_) | ReplayError::Taker(_) => exit::UNFINISHED,
    };
    writeln!(io::stderr(), "tally-verify: the replay is cut short: {error}")?;
    Ok(ExitCode::from(code))
}

fn read_position(path: &Path) -> Result<Position, CliError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let wrong = |error| CliError::Position { path: path.to_owned(), error };
            text.parse().map_err(wrong)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Position::default()),
        Err(reason) => Err(CliError::Input { path: path.to_owned(), reason }),
    }
}

/// Keeps the place, whole or not at all, after the lines are where they belong.
fn write_position(path: &Path, position: &Position) -> Result<(), CliError> {
    let staged = staged(path);
    std::fs::write(&staged, position.to_string())
        .and_then(|()| std::fs::rename(&staged, path))
        .map_err(|reason| CliError::ReportFile { path: path.to_owned(), reason })
}

/// Where lines go.
struct Output {
    to: BufWriter<Box<dyn Write>>,
    /// The file to come, and what it is called until then.
    file: Option<(PathBuf, PathBuf)>,
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else {
            return Ok(Self { to: BufWriter::new(Box::new(io::stdout())), file: None });
        };
        let staged = staged(path);
        let file = File::create(&staged)
            .map_err(|reason| CliError::ReportFile { path: path.to_owned(), reason })?;
        let file: Box<dyn Write> = Box::new(file);
        Ok(Self { to: BufWriter::new(file), file: Some((path.to_owned(), staged)) })
    }

    fn finish(&mut self) -> io::Result<()> {
        self.to.flush()?;
        match self.file.take() {
            None => Ok(()),
            Some((path, staged)) => {
                File::open(&staged)?.sync_all()?;
                std::fs::rename(&staged, path)
            }
        }
    }
}

impl Drop for Output {
    /// What is not whole does not stay.
    fn drop(&mut self) {
        if let Some((_, staged)) = &self.file {
            let _ = std::fs::remove_file(staged);
        }
    }
}

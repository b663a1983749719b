//! `tally-verify replay`: what was recorded, for jobs that compute with it, once all of it is proven.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ledger::verify::Verdict;

use super::policy::PolicyArgs;
use super::staged::Staged;
use super::verify::Bar;
use super::{ArchiveArgs, CliError, TrustFile, read_whole, signals};
use crate::replay::{self, Format, Position, ReplayError, Selection, What, WriteError, Writer};
use crate::report::text::plain;
use crate::state::{ResumeError, StateDirectory};
use crate::{exit, report};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WhatArg {
    /// Everything that was recorded of each event, with its payload.
    Entries,
    /// The payloads alone; none of those that were erased.
    Payloads,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// A line of JSON each.
    Ndjson,
    /// A stream of Arrow's IPC format: the archive's columns, after `workspace`.
    Arrow,
    /// A Parquet file of the same columns. Needs `--out`.
    Parquet,
}

#[derive(Args, Debug)]
pub(super) struct Replay {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Whole entries, or payloads alone.
    #[arg(long, value_enum, default_value = "entries")]
    what: WhatArg,
    /// In which form.
    #[arg(long, value_enum, default_value = "ndjson")]
    format: FormatArg,
    /// Write to this file, which is there only once all is in it; to standard output where it is not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Of this event type only; may be given several times.
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_event_type)]
    event_types: Vec<String>,
    /// Go on behind the place that is kept in this file, and keep the new place there at the end.
    #[arg(long, value_name = "FILE")]
    position: Option<PathBuf>,
    /// Verify only what is new since the state in this directory (as `verify --resume`).
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
}

/// No event has an empty type: what asks for one has lost a value, and would get nothing and call it proven.
fn parse_event_type(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("an event type like llm_call is expected".to_owned());
    }
    Ok(text.to_owned())
}

impl Replay {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        self.check_output()?;
        let outputs = [&self.out, &self.position, &self.resume];
        self.archive.guard(&outputs.map(Option::as_deref))?;
        // Rows of other hours than those asked for are not replayed, so they need not be checked; but a state
        // is one of whole archives.
        let mut policy = self.policy.policy()?;
        if self.resume.is_some() {
            (policy.since, policy.until) = (None, None);
        }
        let TrustFile { trust, sha256 } = self.archive.trust()?;
        let selection = Selection {
            since: self.policy.since,
            until: self.policy.until,
            event_types: self.event_types.clone(),
            after: self.position.as_deref().map(read_position).transpose()?.unwrap_or_default(),
        };
        let interrupted = signals::end_in_order()?;
        let file = self.out.as_deref().map(Staged::open).transpose()?;
        let place = self.position.as_deref().map(Staged::open).transpose()?;
        let source = self.archive.open()?;
        // Only where there is something to keep a state of.
        let directory = self.resume.as_deref();
        let directory = directory.map(|path| StateDirectory::open(path, sha256)).transpose()?;
        let bar = Bar::new(interrupted);
        let replay = replay::replay(&source, trust, policy, directory.as_ref(), &selection, &bar);
        bar.clear();
        let mut replay = match replay {
            Err(ResumeError::Unkept { failure, report }) => {
                let error = CliError::Unkept(failure);
                return Err(error.behind(exit::number(report.verdict)));
            }
            replay => replay?,
        };
        let report = replay.report();
        if report.verdict != Verdict::Proven {
            // Nothing came out; why, is for a person to read.
            let text = report::text::write(report, self.archive.inputs(&sha256.to_string()));
            say(&format!("nothing was replayed\n\n{text}"));
            return Ok(exit::code(report.verdict));
        }
        if let Some(path) = &self.position {
            let wrong = |error| CliError::Position { path: path.clone(), error };
            selection.after.check(report).map_err(wrong)?;
        }
        let to: Box<dyn Write + Send> = match &file {
            None => Box::new(io::stdout()),
            Some(file) => Box::new(file.writer()?),
        };
        let (what, format) = (self.what.into(), self.format.into());
        let written = (|| {
            let mut out = Writer::new(to, format, what, &replay.report().origin)?;
            for entries in &mut replay {
                out.write(&entries?)?;
            }
            out.finish()?;
            Ok(())
        })();
        match written {
            Ok(()) => {}
            Err(Cut::Replay(error)) => return Ok(cut_short(&error)),
            // Whoever took the bytes may have had enough of them (`| head`): they are not all, and the exit code
            // says so.
            Err(Cut::Write(WriteError::Io(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::from(exit::UNFINISHED));
            }
            Err(Cut::Write(error)) => return Err(error.into()),
        }
        if let Some(file) = file {
            file.finish()?;
        }
        // The place, after the entries are where they belong.
        if let Some(place) = place {
            place.write(replay.position().to_string().as_bytes())?;
        }
        say(&format!("proven; replayed {} entries\n", replay.entries()));
        Ok(ExitCode::SUCCESS)
    }

    /// What can be said of the output before anything is read.
    fn check_output(&self) -> Result<(), CliError> {
        let usage = match (self.format, &self.out) {
            (FormatArg::Parquet, None) => {
                "a Parquet file is not written to standard output: name it with --out FILE"
            }
            (FormatArg::Arrow, None) if io::stdout().is_terminal() => {
                "an Arrow stream is not for a terminal: send it to a program, or name a file with --out FILE"
            }
            (FormatArg::Ndjson | FormatArg::Arrow | FormatArg::Parquet, _) => return Ok(()),
        };
        Err(CliError::Usage(usage))
    }
}

impl From<WhatArg> for What {
    fn from(what: WhatArg) -> Self {
        match what {
            WhatArg::Entries => Self::Entries,
            WhatArg::Payloads => Self::Payloads,
        }
    }
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Ndjson => Self::Ndjson,
            FormatArg::Arrow => Self::Arrow,
            FormatArg::Parquet => Self::Parquet,
        }
    }
}

/// Why not all came out.
enum Cut {
    Replay(ReplayError),
    Write(WriteError),
}

impl From<ReplayError> for Cut {
    fn from(error: ReplayError) -> Self {
        Self::Replay(error)
    }
}

impl From<WriteError> for Cut {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

/// Says something beside what comes out. Where even stderr is gone, the exit code still tells.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn cut_short(error: &ReplayError) -> ExitCode {
    let code = match error {
        ReplayError::Changed(_) | ReplayError::Rows { .. } => exit::TAMPERED,
        ReplayError::Source(_) | ReplayError::Interrupted => exit::UNFINISHED,
    };
    let error = plain(&error.to_string());
    say(&format!("tally-verify: the replay is cut short: {error}\n"));
    ExitCode::from(code)
}

/// Largest position: a line for each workspace, of some hundred thousand.
const POSITION_BYTES: usize = 16 << 20;

fn read_position(path: &Path) -> Result<Position, CliError> {
    let text = read_whole(path, POSITION_BYTES)
        .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    match text {
        Ok(text) => {
            let wrong = |error| CliError::Position { path: path.to_owned(), error };
            text.parse().map_err(wrong)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Position::default()),
        Err(reason) => Err(CliError::Input { path: path.to_owned(), reason }),
    }
}

//! `tally-verify verify`: checks every byte of an archive.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::limits::NOTE_BYTES;
use ledger::verify::{Policy, Report, Trust, Verdict};

use super::policy::PolicyArgs;
use super::staged::Staged;
use super::{ArchiveArgs, CliError, TrustFile, read_whole, signals};
use crate::audit::{self, Progress};
use crate::part::{PartWriter, Parts, Shard};
use crate::report::Inputs;
use crate::state::{ResumeError, StateDirectory};
use crate::{exit, report, trust};

#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    archive: ArchiveArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Keep what was verified in this directory, and check only what is new since the last time; after an
    /// interruption (Ctrl-C) go on where it was.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["since", "until"])]
    resume: Option<PathBuf>,
    /// A checkpoint that you have kept from an earlier verification: the log has to go on from there.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Keep the checkpoint that was verified in this file, for the next time; not where it is refused.
    #[arg(long, value_name = "FILE")]
    keep_checkpoint: Option<PathBuf>,
    /// Fall short unless the store says that it locks objects for everybody (compliance mode).
    #[arg(long)]
    expect_locked: bool,
    /// Check the chunks of one shard alone, the second of five with 2/5, and keep what they come to with
    /// `--keep-part`: that is no verdict.
    #[arg(long, value_name = "I/N", requires = "keep_part")]
    #[arg(conflicts_with_all = ["since", "until", "resume", "checkpoint", "keep_checkpoint", "part", "html", "json"])]
    shard: Option<Shard>,
    /// Where the part goes that a shard comes to.
    #[arg(long, value_name = "FILE", requires = "shard")]
    keep_part: Option<PathBuf>,
    /// A part that was kept: its chunks are not read again. Give all of them for the verdict; what none of them
    /// holds is checked here.
    #[arg(long, value_name = "FILE")]
    part: Vec<PathBuf>,
    /// Write the report as one HTML page that needs no other file to this file too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the report as JSON (its schema: docs/spec/report.schema.json).
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let policy = Policy { expect_locked: self.expect_locked, ..self.policy.policy()? };
        let outputs = [&self.html, &self.keep_checkpoint, &self.resume, &self.keep_part];
        self.archive.guard(&outputs.map(Option::as_deref))?;
        let TrustFile { mut trust, sha256 } = self.archive.trust()?;
        if let Some(path) = &self.checkpoint {
            let kept = read_whole(path, NOTE_BYTES);
            let kept =
                kept.map_err(|reason| CliError::Checkpoint { path: path.clone(), reason })?;
            let seen = trust::add_seen(&mut trust, &kept);
            seen.map_err(|error| CliError::Seen { path: path.clone(), error })?;
        }
        let parts = Parts::open(&self.part, &trust.origin)?;
        let interrupted = signals::end_in_order()?;
        if let (Some(shard), Some(path)) = (self.shard, &self.keep_part) {
            return self.check_shard(trust, policy, shard, path, interrupted);
        }
        let keep = self.keep_checkpoint.as_deref().map(Staged::open).transpose()?;
        let html = self.html.as_deref().map(Staged::open).transpose()?;
        let source = self.archive.open()?;
        let bar = Bar::new(interrupted);
        let verified = match &self.resume {
            None => Ok(audit::verify_by_parts(&source, trust, policy, &parts, &bar)),
            Some(path) => StateDirectory::open(path, sha256).and_then(|directory| {
                audit::verify_from(&source, trust, policy, &directory, &parts, &bar)
            }),
        };
        bar.clear();
        // What was found is reported, whether or not a state of it could be kept.
        let (report, kept) = match verified {
            Ok(report) => (report, Ok(())),
            Err(ResumeError::Unkept { failure, report }) => (*report, Err(failure.into())),
            Err(error) => return Err(error.into()),
        };
        let code = exit::number(report.verdict);
        let sha256 = sha256.to_string();
        let inputs = Inputs { parts: parts.inputs(), ..self.archive.inputs(&sha256) };
        // Each for itself: where one fails, the others still come out.
        let checkpoint = keep_checkpoint(keep, &report);
        let page =
            html.map_or(Ok(()), |html| html.write(report::html::write(&report, inputs).as_bytes()));
        let printed = self.print(&report, inputs);
        let written = printed.and(checkpoint).and(page).and(kept);
        written.map_err(|error| error.behind(code))?;
        Ok(ExitCode::from(code))
    }

    /// Checks a shard, and says what was found in it: the verdict is that of all parts together.
    fn check_shard(
        &self,
        trust: Trust,
        policy: Policy,
        shard: Shard,
        path: &Path,
        interrupted: Arc<AtomicBool>,
    ) -> Result<ExitCode, CliError> {
        let origin = trust.origin.clone();
        let keep = Staged::open(path)?;
        let unwritten = |reason| CliError::Unwritten { path: path.to_owned(), reason };
        let part = PartWriter::new(keep.writer()?, &origin, shard).map_err(unwritten)?;
        let source = self.archive.open()?;
        let bar = Bar::new(interrupted);
        let checked = audit::check_shard(&source, trust, policy, shard, part, &bar);
        bar.clear();
        let checked = checked.map_err(unwritten)?;
        // What falls short of a policy is for the verdict to say.
        let code = match Verdict::of(&checked.findings) {
            Verdict::Tampered => exit::TAMPERED,
            Verdict::Unfinished => exit::UNFINISHED,
            Verdict::Proven | Verdict::Short if checked.ended => exit::UNFINISHED,
            Verdict::Proven | Verdict::Short => exit::PROVEN,
        };
        keep.finish().map_err(|error| error.behind(code))?;
        let archive = &self.archive.archive;
        super::report(&report::shard::write(&checked, shard, archive, &origin, path), code)
    }

    fn print(&self, report: &Report, inputs: Inputs<'_>) -> Result<(), CliError> {
        let text = if self.json {
            report::json::write(report, inputs)?
        } else {
            report::text::write(report, inputs)
        };
        super::report(&text, exit::PROVEN).map(|_| ())
    }
}

/// A checkpoint of an archive in which tampering was found, or that could not be verified, is not worth keeping: the one
/// that was kept before stays.
fn keep_checkpoint(keep: Option<Staged>, report: &Report) -> Result<(), CliError> {
    match (keep, report.verdict) {
        (Some(keep), Verdict::Proven | Verdict::Short) => keep.write(&report.checkpoint_note),
        (Some(_), Verdict::Tampered | Verdict::Unfinished) | (None, _) => Ok(()),
    }
}

/// A progress bar on a terminal, nothing elsewhere; and whether somebody wants an end.
pub(super) struct Bar {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl Bar {
    /// Ends the verification, once that is asked for, with a report of what was verified so far.
    pub(super) fn new(interrupted: Arc<AtomicBool>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), interrupted };
        }
        let bar = ProgressBar::new(0);
        let style =
            "{spinner} {human_pos} of {human_len} events, {per_sec}, {eta} left, {msg} chunks";
        bar.set_style(
            ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, interrupted }
    }
}

impl Bar {
    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn chunk(&self, events: u64, of: u64, chunks_left: usize) {
        self.bar.set_length(of);
        self.bar.inc(events);
        self.bar.set_message(chunks_left.to_string());
    }

    fn go_on(&self) -> bool {
        !self.interrupted.load(Ordering::Relaxed)
    }
}

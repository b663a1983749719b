//! `tally-verify verify`: checks every byte of an archive.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::limits::MIN_KEPT_DAYS;
use ledger::names::Workspace;
use ledger::time::Micros;
use ledger::verify::{Policy, Report, Verdict};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::{ArchiveArgs, CliError, TrustFile, parse_time, parse_workspace};
use crate::audit::{self, Progress};
use crate::state::StateDirectory;
use crate::{report, trust};

/// How long ago an archive may end where the auditor does not say.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Verify the chunks of this workspace only (the log is always walked whole).
    #[arg(long, value_name = "NAME", value_parser = parse_workspace)]
    workspace: Option<Workspace>,
    /// Check the rows of the hours from this time on only (RFC 3339). Of earlier ones: digests and keys.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Micros>,
    /// Check the rows of the hours before this time only (RFC 3339). Of later ones: digests and keys.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Micros>,
    /// Fall short (exit 4) unless the archive is sealed up to this time (RFC 3339); a day before now, or
    /// `--until` if that is earlier, where it is not given.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expect_through: Option<Micros>,
    /// Without `--expect-through`: do not fall short however long ago the archive ends.
    #[arg(long)]
    any_age: bool,
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
    /// Payloads withheld by an erasure that the chain records do not fall short.
    #[arg(long)]
    allow_erased: bool,
    /// Chunks removed by retention, as the log records it, do not fall short.
    #[arg(long)]
    allow_pruned: bool,
    /// Fall short where retention removed records earlier than after so many days.
    #[arg(long, value_name = "N", default_value_t = MIN_KEPT_DAYS)]
    min_kept_days: u64,
    /// Fall short unless the store says that it locks objects for everybody (compliance mode).
    #[arg(long)]
    expect_locked: bool,
    /// Write the report as one HTML page that needs no other file to this file too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the report as JSON (its schema: docs/spec/report.schema.json).
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<Report, CliError> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(CliError::Times { since, until });
        }
        let TrustFile { mut trust, sha256 } = self.archive.trust()?;
        if let Some(path) = &self.checkpoint {
            let kept = std::fs::read(path);
            let kept =
                kept.map_err(|reason| CliError::Checkpoint { path: path.clone(), reason })?;
            trust::add_seen(&mut trust, &kept)?;
        }
        let html = self.html.as_deref().map(Page::open).transpose()?;
        let source = self.archive.open()?;
        let policy = Policy {
            expect_through: self.expected(),
            since: self.since,
            until: self.until,
            allow_erased: self.allow_erased,
            allow_pruned: self.allow_pruned,
            min_kept_days: self.min_kept_days,
            expect_locked: self.expect_locked,
            workspace: self.workspace,
        };
        let bar = Bar::new()?;
        let report = match &self.resume {
            None => audit::verify(&source, trust, policy, &bar),
            Some(path) => {
                let directory = StateDirectory::open(path, sha256)?;
                audit::verify_from(&source, trust, policy, &directory, &bar)?
            }
        };
        bar.bar.finish_and_clear();
        if let Some(path) = &self.keep_checkpoint {
            keep_checkpoint(path, &report)?;
        }
        let trust_sha256 = sha256.to_string();
        if let Some(page) = html {
            page.write(&report::html::write(&report, &trust_sha256))?;
        }
        let text = if self.json {
            report::json::write(&report, &trust_sha256)?
        } else {
            report::text::write(&report, &trust_sha256)
        };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(report)
    }
}

/// The file that the HTML report goes to, once there is one.
struct Page {
    path: PathBuf,
    staged: PathBuf,
    file: File,
}

impl Page {
    /// Finds out that the report cannot be written there before hours of verification, not after.
    fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |reason| CliError::ReportFile { path: path.to_owned(), reason };
        if path.is_dir() {
            return Err(failed(ErrorKind::IsADirectory.into()));
        }
        let mut staged = path.as_os_str().to_owned();
        staged.push(".new");
        let staged = PathBuf::from(staged);
        let file = File::create(&staged).map_err(failed)?;
        Ok(Self { path: path.to_owned(), staged, file })
    }

    /// Puts the page in its place, whole or not at all.
    fn write(mut self, page: &str) -> Result<(), CliError> {
        let Self { path, staged, file } = &mut self;
        let written = file.write_all(page.as_bytes()).and_then(|()| file.sync_all());
        // The report is lost, but it was not the command line that was wrong.
        written.and_then(|()| std::fs::rename(&*staged, &*path)).map_err(|reason| {
            let what = format!("to {}: {reason}", path.display());
            CliError::Output(std::io::Error::new(reason.kind(), what))
        })
    }
}

impl Verify {
    /// Up to when the archive has to be sealed: an archive that was set back, or whose archiver has stopped,
    /// looks as intact as any.
    fn expected(&self) -> Option<Micros> {
        if self.any_age || self.expect_through.is_some() {
            return self.expect_through;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let then = now.checked_sub(MAX_AGE).and_then(|then| i64::try_from(then.as_micros()).ok());
        let then = then.and_then(Micros::new)?;
        Some(self.until.map_or(then, |until| until.min(then)))
    }
}

/// Puts the checkpoint in the place of the one that was kept before, whole or not at all. One of an
/// archive in which tampering was found, or that could not be verified, is not worth keeping.
fn keep_checkpoint(path: &Path, report: &Report) -> Result<(), CliError> {
    if !matches!(report.verdict, Verdict::Proven | Verdict::Short) {
        return Ok(());
    }
    let failed = |reason| CliError::Checkpoint { path: path.to_owned(), reason };
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    std::fs::write(&staged, &report.checkpoint_note).map_err(failed)?;
    std::fs::rename(&staged, path).map_err(failed)
}

/// A progress bar on a terminal, nothing elsewhere; and whether somebody wants an end.
struct Bar {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl Bar {
    /// From here on, the first interruption (Ctrl-C, SIGTERM) ends the verification with a report of what was
    /// verified so far, and the second one ends the program.
    fn new() -> Result<Self, CliError> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let number = 128_i32.saturating_add(signal);
            flag::register_conditional_shutdown(signal, number, Arc::clone(&interrupted))
                .and_then(|_| flag::register(signal, Arc::clone(&interrupted)))
                .map_err(CliError::Signals)?;
        }
        if !std::io::stderr().is_terminal() {
            return Ok(Self { bar: ProgressBar::hidden(), interrupted });
        }
        let bar = ProgressBar::new(0);
        let style =
            "{spinner} {human_pos} of {human_len} events, {per_sec}, {eta} left, {msg} chunks";
        bar.set_style(
            ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Self { bar, interrupted })
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

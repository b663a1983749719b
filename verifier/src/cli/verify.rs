//! `tally-verify verify`: checks every byte of an archive.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::limits::MIN_KEPT_DAYS;
use ledger::names::Workspace;
use ledger::time::Micros;
use ledger::verify::{Policy, Report, Verdict};

use super::{ArchiveArgs, CliError, TrustFile, parse_time, parse_workspace};
use crate::audit::{self, Progress};
use crate::{report, trust};

#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Verify the chunks of this workspace only (the log is always walked whole).
    #[arg(long, value_name = "NAME", value_parser = parse_workspace)]
    workspace: Option<Workspace>,
    /// Fall short (exit 4) unless the archive is sealed up to this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expect_through: Option<Micros>,
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
            expect_through: self.expect_through,
            allow_erased: self.allow_erased,
            allow_pruned: self.allow_pruned,
            min_kept_days: self.min_kept_days,
            expect_locked: self.expect_locked,
            workspace: self.workspace,
        };
        let bar = Bar::new();
        let report = audit::verify(&source, trust, policy, &bar);
        bar.0.finish_and_clear();
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

/// A progress bar on a terminal, nothing elsewhere.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        let style = "{spinner} {pos} events, {per_sec}, {msg} chunks left";
        bar.set_style(
            ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }
}

impl Progress for Bar {
    fn chunk(&self, events: u64, chunks_left: usize) {
        self.0.inc(events);
        self.0.set_message(chunks_left.to_string());
    }
}

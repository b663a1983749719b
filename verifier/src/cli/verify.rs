//! `tally-verify verify`: checks every byte of an archive.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::limits::NOTE_BYTES;
use ledger::verify::{Policy, Report, Verdict};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::policy::PolicyArgs;
use super::staged::Staged;
use super::{ArchiveArgs, CliError, TrustFile, read_whole};
use crate::audit::{self, Progress};
use crate::state::StateDirectory;
use crate::{report, trust};

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
    /// Write the report as one HTML page that needs no other file to this file too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the report as JSON (its schema: docs/spec/report.schema.json).
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<Report, CliError> {
        let policy = Policy { expect_locked: self.expect_locked, ..self.policy.policy()? };
        let outputs = [&self.html, &self.keep_checkpoint, &self.resume];
        self.archive.guard(&outputs.map(Option::as_deref))?;
        let TrustFile { mut trust, sha256 } = self.archive.trust()?;
        if let Some(path) = &self.checkpoint {
            let kept = read_whole(path, NOTE_BYTES);
            let kept =
                kept.map_err(|reason| CliError::Checkpoint { path: path.clone(), reason })?;
            trust::add_seen(&mut trust, &kept)?;
        }
        let keep = self.keep_checkpoint.as_deref().map(Staged::open).transpose()?;
        let html = self.html.as_deref().map(Staged::open).transpose()?;
        let source = self.archive.open()?;
        let bar = Bar::new()?;
        let report = match &self.resume {
            None => audit::verify(&source, trust, policy, &bar),
            Some(path) => {
                let directory = StateDirectory::open(path, sha256)?;
                audit::verify_from(&source, trust, policy, &directory, &bar)?
            }
        };
        bar.clear();
        // A checkpoint of an archive in which tampering was found, or that could not be verified, is not worth
        // keeping: the one that was kept before stays.
        if let Some(keep) = keep
            && matches!(report.verdict, Verdict::Proven | Verdict::Short)
        {
            keep.write(&report.checkpoint_note)?;
        }
        let trust_sha256 = sha256.to_string();
        if let Some(page) = html {
            page.write(report::html::write(&report, &trust_sha256).as_bytes())?;
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

/// A progress bar on a terminal, nothing elsewhere; and whether somebody wants an end.
pub(super) struct Bar {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl Bar {
    /// From here on, the first interruption (Ctrl-C, SIGTERM) ends the verification with a report of what was
    /// verified so far, and the second one ends the program.
    pub(super) fn new() -> Result<Self, CliError> {
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

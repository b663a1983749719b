//! `tally-verify receipt`: receipts that agents hold, against an archive.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ledger::limits::NOTE_BYTES;

use super::check::read;
use super::{ArchiveArgs, CliError, TrustFile};
use crate::{receipts, report};

#[derive(Args, Debug)]
pub(super) struct CompareReceipts {
    /// Receipts, a file each, or directories of them, as `tally-ingest submit --receipts` keeps them.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl CompareReceipts {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let TrustFile { trust, sha256 } = self.archive.trust()?;
        if trust.receipt_keys.is_empty() {
            return Err(CliError::Usage(
                "the trust file names no receipt_keys, so nothing tells who signed a receipt",
            ));
        }
        let mut held = Vec::new();
        for path in files(&self.files)? {
            let bytes = read(&path, NOTE_BYTES.saturating_add(1))
                .map_err(|reason| CliError::Input { path: path.clone(), reason })?;
            held.push((path.display().to_string(), receipts::read(&bytes, &trust)));
        }
        if held.is_empty() {
            return Err(CliError::Usage(
                "there is no receipt to compare: the directories are empty",
            ));
        }
        let source = self.archive.open()?;
        let compared = receipts::compare(&source, &trust, held);
        let sha256 = sha256.to_string();
        let inputs = self.archive.inputs(&sha256);
        let code = compared.exit_code();
        let text = if self.json {
            report::receipts::json(&compared, &trust.origin, inputs)
                .map_err(|error| CliError::Json(error).behind(code))?
        } else {
            report::receipts::text(&compared, &trust.origin, inputs)
        };
        super::report(&text, code)
    }
}

/// The files, and those in the directories and below, in the order of their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |reason| CliError::Input { path: path.clone(), reason };
        if path.is_dir() {
            directory(path, &mut files).map_err(failed)?;
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Links to directories are not followed: they could lead round in a circle.
fn directory(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_unstable_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            directory(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

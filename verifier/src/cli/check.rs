//! `tally-verify check`: proofs of single events, offline.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ledger::proof::{self, PROOF_BYTES};
use ledger::verify::Verdict;

use super::{CliError, TrustFile, read_trust};
use crate::{exit, report};

#[derive(Args, Debug)]
pub(super) struct CheckProofs {
    /// Files that `tally-verify prove` has written.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Your trust file: the ledger's origin and keys, as you got them from elsewhere.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl CheckProofs {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let TrustFile { trust, sha256 } = read_trust(&self.trust)?;
        let sha256 = sha256.to_string();
        let mut checks = Vec::new();
        for path in &self.files {
            let limit = PROOF_BYTES.saturating_add(1);
            let bytes = read(path, limit)
                .map_err(|reason| CliError::Input { path: path.clone(), reason })?;
            let checked = proof::check(&bytes, &trust);
            checks.push((path.display().to_string(), bytes, checked));
        }
        // The gravest finding in any of the files decides.
        let findings = checks.iter().flat_map(|(.., checked)| &checked.findings);
        let verdict = Verdict::of(&findings.cloned().collect::<Vec<_>>());
        let code = exit::number(verdict);
        let text = if self.json {
            report::proof::json(&checks, verdict, &sha256)
                .map_err(|error| CliError::Json(error).behind(code))?
        } else {
            let texts = checks
                .iter()
                .map(|(name, bytes, checked)| report::proof::text(name, bytes, checked, &sha256));
            texts.collect::<Vec<_>>().join("\n")
        };
        super::report(&text, code)
    }
}

/// Reads a file up to a limit of bytes: what is longer is refused for its length.
pub(super) fn read(path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

//! The golden archive of the spec: another implementation and another Parquet writer made it.
#![expect(clippy::expect_used, reason = "a test without its vectors can only fail")]

use std::path::{Path, PathBuf};

use ledger::verify::Trust;

use super::Archive;

/// Where the golden vectors lie: `archive/` and `trust.toml`.
pub fn golden_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec/vectors/golden")
}

/// The golden archive, and its auditor's trust file.
///
/// # Panics
/// Where the vectors are not there.
pub fn golden() -> (Archive, Trust) {
    let path = golden_path();
    let archive = Archive::load(&path.join("archive")).expect("the golden archive");
    let trust = std::fs::read_to_string(path.join("trust.toml")).expect("a trust file");
    (archive, verifier::trust::parse(&trust).expect("a trust file"))
}

//! A directory for what is of use while a program runs.

use std::path::Path;

use tempfile::TempDir;

use super::RollupError;
use super::facts::io;

/// An empty directory for facts and for what does not fit into memory, removed with this value.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes one where temporary files lie.
    pub fn new() -> Result<Self, RollupError> {
        let made = tempfile::Builder::new().prefix("tally-rollup-").tempdir();
        made.map(Self).map_err(|error| io(&std::env::temp_dir(), error))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

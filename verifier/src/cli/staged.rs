//! Files that get their name only once all is in them.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::CliError;

/// Those that are not whole yet, for a signal to take away.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes away all that is not whole. As long as what this gives is held, nothing new is begun.
pub(super) fn remove_all() -> MutexGuard<'static, Vec<PathBuf>> {
    let mut unfinished = unfinished();
    for staged in unfinished.drain(..) {
        let _ = std::fs::remove_file(staged);
    }
    unfinished
}

/// A file to come.
pub(super) struct Staged {
    path: PathBuf,
    /// What it is called until then.
    staged: PathBuf,
    file: File,
    whole: bool,
}

impl Staged {
    /// Finds out that the file cannot be written there before hours of verification, not after.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |reason| CliError::OutputFile { path: path.to_owned(), reason };
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => return Err(failed(ErrorKind::IsADirectory.into())),
            // The file to come would stand in the place of the device, pipe or link.
            Ok(found) if !found.is_file() => {
                return Err(failed(io::Error::other("it is no plain file")));
            }
            Ok(_) | Err(_) => {}
        }
        let called = |ending: &str| {
            let mut staged = path.as_os_str().to_owned();
            staged.push(ending);
            PathBuf::from(staged)
        };
        // Whatever is made from here on, a signal knows of it.
        let mut unfinished = unfinished();
        let mut staged = called(".new");
        let mut file = File::create_new(&staged);
        if matches!(&file, Err(error) if error.kind() == ErrorKind::AlreadyExists) {
            // Somebody's own, that of another run, or what one left that was killed.
            staged = called(&format!(".new-{}", std::process::id()));
            file = File::create_new(&staged);
        }
        let file = file.map_err(failed)?;
        unfinished.push(staged.clone());
        Ok(Self { path: path.to_owned(), staged, file, whole: false })
    }

    /// Where bytes go in.
    pub(super) fn writer(&self) -> Result<File, CliError> {
        self.file.try_clone().map_err(|reason| self.unwritten(reason))
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        let named = self.file.sync_all().and_then(|()| std::fs::rename(&self.staged, &self.path));
        named.map_err(|reason| self.unwritten(reason))?;
        self.whole = true;
        Ok(())
    }

    /// Puts these bytes in, and gives the file its name.
    pub(super) fn write(mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).map_err(|reason| self.unwritten(reason))?;
        self.finish()
    }

    fn unwritten(&self, reason: io::Error) -> CliError {
        CliError::Unwritten { path: self.path.clone(), reason }
    }
}

impl Drop for Staged {
    /// What is not whole does not stay.
    fn drop(&mut self) {
        if !self.whole {
            let _ = std::fs::remove_file(&self.staged);
        }
        unfinished().retain(|staged| *staged != self.staged);
    }
}

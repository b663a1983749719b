//! The lock on the directory of a state, and which files of ids in it are the state's own.
//!
//! Both are one file: whoever has locked it may write to the directory, and it lists the numbers of the files of ids
//! that were begun there. So those of a verification that was killed are taken away by the next one, and files that
//! somebody else has put there are left alone.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the file is called.
const FILE: &str = "lock";
/// Largest list that is read: of some hundred thousand files.
const LIST_BYTES: u64 = 1 << 20;

/// A directory that nobody else writes to until this is dropped.
pub(crate) struct Held {
    file: File,
    numbers: Mutex<BTreeSet<u64>>,
}

impl Held {
    /// Takes a directory; `None` where another verification has it.
    pub(crate) fn take(directory: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(directory.join(FILE))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut list = Vec::new();
        (&file).take(LIST_BYTES).read_to_end(&mut list)?;
        // A line that was cut off is of a file that was never begun.
        let list = String::from_utf8_lossy(&list);
        let numbers = list.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let numbers = numbers.filter_map(|line| line.parse().ok()).collect();
        Ok(Some(Self { file, numbers: Mutex::new(numbers) }))
    }

    fn numbers(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a file of ids, before it is begun.
    pub(crate) fn own(&self, number: u64) -> io::Result<()> {
        (&self.file).write_all(format!("{number}\n").as_bytes())?;
        self.numbers().insert(number);
        Ok(())
    }

    /// What is listed besides these.
    pub(crate) fn others(&self, kept: &BTreeSet<u64>) -> Vec<u64> {
        self.numbers().difference(kept).copied().collect()
    }

    /// Lists these alone.
    pub(crate) fn keep(&self, kept: BTreeSet<u64>) -> io::Result<()> {
        let list: String = kept.iter().map(|number| format!("{number}\n")).collect();
        self.file.set_len(0)?;
        (&self.file).write_all(list.as_bytes())?;
        *self.numbers() = kept;
        Ok(())
    }

    /// Takes the file away from a directory.
    pub(crate) fn remove(directory: &Path) -> io::Result<()> {
        std::fs::remove_file(directory.join(FILE))
    }
}

//! What `submit` remembers between runs, and after a crash.
//!
//! Here: the state file, written whole and renamed into place, so that it is never half of
//! anything. Not here: what is done with it (see [`super::submit`]).

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ledger::key::PublicKey;
use ledger::names::{Origin, Workspace};
use ledger::submission::Counter;
use serde::{Deserialize, Serialize};

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum StateError {
    /// The file cannot be read or written.
    #[error("state file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("state file {path}: {source}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The file belongs to another ledger, workspace or key.
    #[error("state file {path} is that of {what} {found}, not {expected}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Ledger, workspace or key.
        what: &'static str,
        /// Whose it is.
        found: String,
        /// Who asks.
        expected: String,
    },
    /// Another process submits with the same counter.
    #[error("state file {0} is in use by another process")]
    Busy(PathBuf),
}

/// How far an input was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// The input, as it was named.
    pub(super) path: PathBuf,
    /// Bytes that are recorded.
    pub(super) bytes: u64,
    /// Lines that are recorded.
    pub(super) lines: u64,
    /// `H` of the last of these lines, its line end not counted: tells an input that was replaced.
    pub(super) last_line: String,
    /// Bytes of that line, its line end counted.
    pub(super) last_line_bytes: u64,
}

/// A submission that was perhaps sent, and not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    /// Its counter.
    pub(super) counter: u64,
    /// Its body: NDJSON.
    pub(super) body: String,
    /// Where the input stands once it is recorded; none for standard input.
    pub(super) after: Option<Position>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    origin: String,
    workspace: String,
    key: String,
    /// The highest counter that is recorded.
    counter: u64,
    input: Option<Position>,
    pending: Option<Pending>,
}

/// The state of one key in one workspace; held by one process at a time.
pub(super) struct State {
    path: PathBuf,
    memory: Memory,
    /// Locked for as long as the process runs.
    _lock: File,
}

impl State {
    /// Opens the state, or starts a new one.
    pub(super) fn open(
        path: PathBuf,
        origin: &Origin,
        workspace: &Workspace,
        key: &PublicKey,
    ) -> Result<Self, StateError> {
        let io = |source| StateError::Io { path: path.clone(), source };
        // The file itself is replaced at every step: the lock is a file beside it.
        let lock = File::create(path.with_added_extension("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Busy(path)),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let new = Memory {
            origin: origin.to_string(),
            workspace: workspace.to_string(),
            key: key.to_string(),
            counter: 0,
            input: None,
            pending: None,
        };
        let memory = match std::fs::read(&path) {
            Ok(bytes) => {
                let source = serde_json::from_slice(&bytes);
                source.map_err(|source| StateError::Form { path: path.clone(), source })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => new.clone(),
            Err(source) => return Err(io(source)),
        };
        check_same(&path, &memory, &new)?;
        Ok(Self { path, memory, _lock: lock })
    }

    /// The counter of the next submission; `None` when there is none left.
    pub(super) fn next_counter(&self) -> Option<Counter> {
        Counter::new(self.memory.counter + 1)
    }

    /// Counts from `next` on.
    pub(super) fn count_from(&mut self, next: Counter) -> Result<(), StateError> {
        self.memory.counter = next.get().saturating_sub(1);
        self.save()
    }

    /// How far the input was read.
    pub(super) fn input(&self) -> Option<&Position> {
        self.memory.input.as_ref()
    }

    /// What was perhaps sent, and not answered.
    pub(super) fn pending(&self) -> Option<&Pending> {
        self.memory.pending.as_ref()
    }

    /// Remembers a submission before it is sent.
    pub(super) fn prepare(&mut self, pending: Pending) -> Result<(), StateError> {
        self.memory.pending = Some(pending);
        self.save()
    }

    /// The pending submission is recorded, and its receipt kept.
    pub(super) fn settle(&mut self) -> Result<(), StateError> {
        if let Some(pending) = self.memory.pending.take() {
            self.memory.counter = self.memory.counter.max(pending.counter);
            self.memory.input = pending.after.or(self.memory.input.take());
        }
        self.save()
    }

    /// The pending submission is refused: nothing of it is recorded, its counter is free.
    pub(super) fn abandon(&mut self) -> Result<(), StateError> {
        self.memory.pending = None;
        self.save()
    }

    fn save(&self) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(&self.memory)
            .map_err(|source| StateError::Form { path: self.path.clone(), source })?;
        write_file(&self.path, &bytes)
            .map_err(|source| StateError::Io { path: self.path.clone(), source })
    }
}

fn check_same(path: &Path, found: &Memory, expected: &Memory) -> Result<(), StateError> {
    for (what, found, expected) in [
        ("ledger", &found.origin, &expected.origin),
        ("workspace", &found.workspace, &expected.workspace),
        ("key", &found.key, &expected.key),
    ] {
        if found != expected {
            return Err(StateError::Foreign {
                path: path.to_owned(),
                what,
                found: found.clone(),
                expected: expected.clone(),
            });
        }
    }
    Ok(())
}

/// Writes a file whole, for its owner alone: after a crash it holds the old bytes or the new ones.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

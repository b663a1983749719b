//! What a verification has come to, kept in a directory of the auditor's, so that the next one checks only what
//! is new.
//!
//! `state.json` says what the audit knows ([`ledger::verify::Audit::state`]), by which trust file, and which files
//! hold the event ids; it is replaced in one step, after everything that it names is on disk. The state is the
//! auditor's own, like the trust file: whoever can write to it can make a verifier believe that something was
//! checked.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::hash::Digest;
use ledger::names::Workspace;
use ledger::verify::{Audit, Policy, Report, StateError, Trust};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::held::Held;
use crate::ids::{self, Damaged, IdFile, Ids};

const FORMAT: &str = "tallystick/verify-state/v1";
const FILE: &str = "state.json";
/// Largest state that is read: one of some hundred thousand workspaces.
const STATE_BYTES: u64 = 128 << 20;

/// Why a state cannot be gone on from, or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The directory, or a file in it, cannot be read or written.
    #[error(
        "no state can be kept in {path}: {error}; name a directory that you can write to, or one that is not \
         there yet",
        path = .path.display()
    )]
    Io {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Another verification goes on from it at this moment.
    #[error(
        "the state in {path} is in use by another verification: wait for its end, or name another directory",
        path = .path.display()
    )]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// It is no state.
    #[error(
        "the state in {path} cannot be read: {reason}; {remedy}",
        path = .path.display(),
        remedy = remedy(.path)
    )]
    Malformed {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One of its files is not as it was written.
    #[error("the state's file {file}: {reason}; {remedy}", file = .file.display(), remedy = remedy(.path))]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The trust file is not the one of last time.
    #[error(
        "the state in {path} was verified by another trust file (sha256 {found}): what it says rests on \
         that one. Begin anew with another directory",
        path = .path.display()
    )]
    Trust {
        /// The directory.
        path: PathBuf,
        /// The digest of the trust file of last time.
        found: String,
    },
    /// The audit cannot go on from it.
    #[error("the state in {path}: {error}; {remedy}", path = .path.display(), remedy = remedy(.path))]
    State {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: StateError,
    },
    /// All was verified, and could not be kept.
    #[error("{failure}")]
    Unkept {
        /// Why.
        failure: Unkept,
        /// What was verified.
        report: Box<Report>,
    },
}

/// Why a state could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("what was verified could not be kept in {path}: {error}", path = .path.display())]
pub struct Unkept {
    path: PathBuf,
    error: io::Error,
}

fn remedy(directory: &Path) -> String {
    format!(
        "remove the directory {}, or name another one, and verify from the beginning",
        directory.display()
    )
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    trust_sha256: String,
    ids: Vec<KeptIds>,
    audit: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptIds {
    number: u64,
    sha256: String,
    runs: Vec<(String, u64)>,
}

/// A directory in which the state of verifications is kept. Nobody else goes on from it, or writes to it, until
/// this is dropped.
pub struct StateDirectory {
    path: PathBuf,
    trust_sha256: Digest,
    held: Arc<Held>,
    /// Whether it was made for this.
    is_new: bool,
}

impl StateDirectory {
    /// Takes a directory, which is made where it is not there.
    pub fn open(path: &Path, trust_sha256: Digest) -> Result<Self, ResumeError> {
        let failed = |error| ResumeError::Io { path: path.to_owned(), error };
        let is_new = !path.exists();
        fs::create_dir_all(path).map_err(failed)?;
        let held = Held::take(path).map_err(failed)?;
        let held = held.ok_or_else(|| ResumeError::Busy { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), trust_sha256, held: Arc::new(held), is_new })
    }

    /// The audit that goes on from what is kept here, or one from the beginning where nothing is.
    pub fn audit(&self, trust: Trust, policy: Policy) -> Result<(Audit, Ids), ResumeError> {
        let text = match self.read() {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Audit::new(trust, policy), self.ids(Vec::new())?));
            }
            Err(error) => return Err(self.malformed(format!("{FILE}: {error}"))),
        };
        let document: Document = serde_json::from_str(&text)
            .map_err(|error| self.malformed(format!("{FILE}: {error}")))?;
        if document.format != FORMAT {
            return Err(self.malformed(format!("`{}` is not {FORMAT}", document.format)));
        }
        if document.trust_sha256 != self.trust_sha256.to_string() {
            let (path, found) = (self.path.clone(), document.trust_sha256);
            return Err(ResumeError::Trust { path, found });
        }
        let files = document.ids.into_iter().map(|kept| kept.read()).collect::<Option<Vec<_>>>();
        let files = files.ok_or_else(|| self.malformed(format!("{FILE}: a file of ids")))?;
        let audit = Audit::resume(trust, policy, document.audit.get())
            .map_err(|error| ResumeError::State { path: self.path.clone(), error })?;
        Ok((audit, self.ids(files)?))
    }

    /// The ids in these files; what was left of a verification that was killed is taken away.
    fn ids(&self, files: Vec<IdFile>) -> Result<Ids, ResumeError> {
        let failed = |error| ResumeError::Io { path: self.path.clone(), error };
        ids::tidy(&self.path, &self.held, &files).map_err(failed)?;
        Ids::open(&self.path, Arc::clone(&self.held), files).map_err(|Damaged { path, reason }| {
            ResumeError::Damaged { path: self.path.clone(), file: path, reason }
        })
    }

    /// Keeps what an audit has come to, and these files of ids; takes away all others of the state.
    pub fn keep(&self, audit: &str, files: &[IdFile]) -> Result<(), Unkept> {
        let kept = self.document(audit, files).and_then(|text| {
            self.replace(text.as_bytes())?;
            ids::tidy(&self.path, &self.held, files)
        });
        kept.map_err(|error| Unkept { path: self.path.clone(), error })
    }

    fn document(&self, audit: &str, files: &[IdFile]) -> io::Result<String> {
        let document = Document {
            format: FORMAT.to_owned(),
            trust_sha256: self.trust_sha256.to_string(),
            ids: files.iter().map(KeptIds::of).collect(),
            audit: RawValue::from_string(audit.to_owned())?,
        };
        Ok(serde_json::to_string(&document)?)
    }

    fn read(&self) -> io::Result<String> {
        let mut text = String::new();
        let file = File::open(self.path.join(FILE))?;
        if file
            .take(STATE_BYTES.saturating_add(1))
            .read_to_string(&mut text)
            .map(u64::try_from)?
            .is_ok_and(|bytes| bytes <= STATE_BYTES)
        {
            return Ok(text);
        }
        Err(io::Error::other(format!("{FILE} has more than {STATE_BYTES} bytes")))
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let (path, staged) = (self.path.join(FILE), self.path.join("state.json.new"));
        let mut file = File::create(&staged)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(staged, path)?;
        File::open(&self.path)?.sync_all()
    }

    fn malformed(&self, reason: String) -> ResumeError {
        ResumeError::Malformed { path: self.path.clone(), reason }
    }
}

impl Drop for StateDirectory {
    /// Where nothing came of it, nothing is left behind.
    fn drop(&mut self) {
        if self.is_new && !self.path.join(FILE).exists() {
            // What was begun and not kept; the directory goes only if nothing else is in it.
            let _ = ids::tidy(&self.path, &self.held, &[]);
            let _ = Held::remove(&self.path);
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl KeptIds {
    fn of(file: &IdFile) -> Self {
        let runs = file.runs.iter().map(|(workspace, count)| (workspace.to_string(), *count));
        Self { number: file.number, sha256: file.sha256.to_string(), runs: runs.collect() }
    }

    fn read(self) -> Option<IdFile> {
        let run = |(name, count): (String, u64)| Some((Workspace::new(&name).ok()?, count));
        let runs = self.runs.into_iter().map(run).collect::<Option<Vec<_>>>()?;
        Some(IdFile { number: self.number, sha256: Digest::parse(&self.sha256).ok()?, runs })
    }
}

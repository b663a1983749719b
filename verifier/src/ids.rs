//! Keeps the event ids of an archive until all of a workspace are there, in bounded memory.
//!
//! Runs stay in memory up to a limit; then all of them go to a file: one without a name, so that nothing of it
//! is left behind, or one in the directory of a state that is kept (see [`crate::state`]). A file holds one
//! run a workspace, in the order of names, and is read from front to back.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::hash::{Digest, Hasher};
use ledger::names::{EventId, Seq, Workspace};
use ledger::verify::{Audit, IdAt, IdRuns, doubled_ids, merged_ids};

use crate::held::Held;

/// Ids that are kept in memory, of 24 bytes each: 48 MiB.
const IDS_IN_MEMORY: usize = 2 << 20;

/// Files that a state keeps; more of them are merged into one.
const FILES_MAX: usize = 8;

/// Bytes of an id and its seq in a file.
const ID_BYTES: usize = 24;

/// What a file of ids is called in a directory, before its number.
const PREFIX: &str = "ids-";

/// A file of ids in the directory of a state, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdFile {
    /// Its number, which names it.
    pub number: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// How many ids it holds of each workspace, in the order of names.
    pub runs: Vec<(Workspace, u64)>,
}

impl IdFile {
    /// Where it lies.
    pub fn path(&self, directory: &Path) -> PathBuf {
        place(directory, self.number)
    }

    /// How long it is.
    fn bytes(&self) -> Option<u64> {
        let sum = self.runs.iter().try_fold(0_u64, |sum, (_, count)| sum.checked_add(*count));
        sum?.checked_mul(u64::try_from(ID_BYTES).ok()?)
    }
}

fn place(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{number}"))
}

/// A file of ids that is not as it was written.
pub(crate) struct Damaged {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The ids of all workspaces, in runs.
pub struct Ids {
    runs: IdRuns,
    in_memory: usize,
    most: usize,
    files: Vec<Spilled>,
    /// Where files are kept; without a name where absent.
    directory: Option<(PathBuf, Arc<Held>)>,
    next_number: u64,
    failed: Option<io::Error>,
}

impl Default for Ids {
    /// None yet, and none to be kept.
    fn default() -> Self {
        Self::new(IDS_IN_MEMORY)
    }
}

impl Ids {
    /// None yet; so many may be in memory.
    pub fn new(most: usize) -> Self {
        Self {
            runs: IdRuns::new(),
            in_memory: 0,
            most,
            files: Vec::new(),
            directory: None,
            next_number: 1,
            failed: None,
        }
    }

    /// Those of an earlier verification, which are kept in a directory, as those to come will be.
    pub(crate) fn open(
        directory: &Path,
        held: Arc<Held>,
        kept: Vec<IdFile>,
    ) -> Result<Self, Damaged> {
        let mut ids = Self { directory: Some((directory.to_owned(), held)), ..Self::default() };
        ids.next_number = kept.iter().map(|file| file.number).max().unwrap_or(0).saturating_add(1);
        for kept in kept {
            let path = kept.path(directory);
            match reopened(&path, &kept) {
                Ok(file) => {
                    ids.files.push(Spilled { file: BufReader::new(file), path: Some(path), kept });
                }
                Err(reason) => return Err(Damaged { path, reason }),
            }
        }
        Ok(ids)
    }

    /// Keeps the ids of chunks, each run sorted.
    pub fn keep(&mut self, runs: IdRuns) {
        for (workspace, mut runs) in runs {
            self.in_memory =
                runs.iter().fold(self.in_memory, |sum, run| sum.saturating_add(run.len()));
            self.runs.entry(workspace).or_default().append(&mut runs);
        }
        if self.in_memory > self.most && self.failed.is_none() {
            self.failed = self.spill().err();
        }
    }

    /// Writes what is in memory to a file.
    fn spill(&mut self) -> io::Result<()> {
        let mut file = self.create()?;
        for (workspace, runs) in std::mem::take(&mut self.runs) {
            file.begin(workspace);
            for id in merged_ids(runs.into_iter().map(Vec::into_iter)) {
                file.push(id)?;
            }
        }
        self.in_memory = 0;
        self.files.push(file.finish()?);
        Ok(())
    }

    fn create(&mut self) -> io::Result<IdWriter> {
        let mut number = self.next_number;
        let (file, path) = match &self.directory {
            None => (tempfile::tempfile()?, None),
            Some((directory, held)) => {
                // What is there and not the state's is somebody else's.
                while place(directory, number).symlink_metadata().is_ok() {
                    number = number.saturating_add(1);
                }
                held.own(number)?;
                let path = place(directory, number);
                (
                    OpenOptions::new().read(true).write(true).create_new(true).open(&path)?,
                    Some(path),
                )
            }
        };
        self.next_number = number.saturating_add(1);
        let kept = IdFile { number, sha256: Digest::ZERO, runs: Vec::new() };
        Ok(IdWriter { file: BufWriter::new(file), path, hasher: Hasher::new(), kept })
    }

    /// Tells the audit of the ids that stand in a workspace more than once, and gives the files that hold all
    /// ids now, where there is a directory for them. `Err` where a file could not be written or read: then that is
    /// not known.
    pub fn tell(mut self, audit: &mut Audit) -> io::Result<Vec<IdFile>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.directory.is_some() && self.in_memory > 0 {
            self.spill()?;
        }
        let mut merged = None;
        if self.directory.is_some() && self.files.len() > FILES_MAX {
            merged = Some(self.create()?);
        }
        let mut runs = std::mem::take(&mut self.runs);
        let files = self.files.iter_mut();
        let mut files: Vec<_> = files.map(Reading::new).collect();
        let in_files = files.iter().flat_map(|file| &file.runs).map(|(name, _)| name.clone());
        for workspace in in_files.collect::<Vec<_>>() {
            runs.entry(workspace).or_default();
        }
        for (workspace, in_memory) in runs {
            let in_files = files.iter_mut().filter_map(|file| {
                let (_, left) = file.runs.pop_front_if(|(name, _)| *name == workspace)?;
                file.left = left;
                Some(Run::File(file))
            });
            let in_memory = in_memory.into_iter().map(|run| Run::Memory(run.into_iter()));
            let ids = merged_ids(in_memory.chain(in_files));
            let mut failed = Ok(());
            if let Some(merged) = &mut merged {
                merged.begin(workspace.clone());
            }
            let ids = ids.inspect(|id| {
                if let (Some(merged), Ok(())) = (&mut merged, &failed) {
                    failed = merged.push(*id);
                }
            });
            audit.doubled(&workspace, doubled_ids([ids]));
            failed?;
        }
        files.into_iter().try_for_each(Reading::end)?;
        Ok(match merged {
            Some(merged) => vec![merged.finish()?.kept],
            None => self.files.into_iter().map(|file| file.kept).collect(),
        })
    }
}

/// Removes the files of ids that were begun in a directory, but for these.
pub(crate) fn tidy(directory: &Path, held: &Held, kept: &[IdFile]) -> io::Result<()> {
    let kept: BTreeSet<_> = kept.iter().map(|file| file.number).collect();
    for number in held.others(&kept) {
        match std::fs::remove_file(place(directory, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    held.keep(kept)
}

/// Opens a file that was kept, as far as can be told without reading it.
fn reopened(path: &Path, kept: &IdFile) -> Result<File, String> {
    let bytes = kept.bytes().ok_or("no file holds as many ids as the state says")?;
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("it is not there".to_owned()),
        opened => opened.map_err(|error| error.to_string()),
    }?;
    let found = file.metadata().map_err(|error| error.to_string())?.len();
    if found == bytes {
        Ok(file)
    } else {
        Err(format!("it has {found} bytes, and {bytes} were written"))
    }
}

/// A file that was written, from its start.
struct Spilled {
    file: BufReader<File>,
    /// Where it lies, if it has a name.
    path: Option<PathBuf>,
    kept: IdFile,
}

/// A file that is being written.
struct IdWriter {
    file: BufWriter<File>,
    path: Option<PathBuf>,
    hasher: Hasher,
    kept: IdFile,
}

impl IdWriter {
    fn begin(&mut self, workspace: Workspace) {
        self.kept.runs.push((workspace, 0));
    }

    fn push(&mut self, (id, seq): IdAt) -> io::Result<()> {
        for bytes in [id.as_bytes().as_slice(), &seq.get().to_be_bytes()] {
            self.hasher.update(bytes);
            self.file.write_all(bytes)?;
        }
        if let Some((_, count)) = self.kept.runs.last_mut() {
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Spilled> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        file.rewind()?;
        self.kept.sha256 = self.hasher.finish();
        Ok(Spilled { file: BufReader::new(file), path: self.path, kept: self.kept })
    }
}

/// A file that is being read, run by run.
struct Reading<'f> {
    file: &'f mut BufReader<File>,
    path: Option<&'f Path>,
    runs: VecDeque<(Workspace, u64)>,
    left: u64,
    hasher: Hasher,
    sha256: Digest,
    failed: Option<io::Error>,
}

impl<'f> Reading<'f> {
    fn new(Spilled { file, path, kept }: &'f mut Spilled) -> Self {
        let (runs, hasher, sha256) =
            (kept.runs.iter().cloned().collect(), Hasher::new(), kept.sha256);
        Self { file, path: path.as_deref(), runs, left: 0, hasher, sha256, failed: None }
    }

    fn read(&mut self) -> io::Result<IdAt> {
        let mut bytes = [0; ID_BYTES];
        self.file.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        let id = bytes.first_chunk().and_then(|id| EventId::from_bytes(*id).ok());
        let seq = bytes.last_chunk().and_then(|seq| Seq::new(u64::from_be_bytes(*seq)));
        id.zip(seq)
            .ok_or_else(|| io::Error::other("ids are kept there, and it holds something else"))
    }

    /// What was read has to be all that was written.
    fn end(self) -> io::Result<()> {
        let reason = match self.failed {
            Some(error) => error.to_string(),
            None if self.hasher.finish() == self.sha256 => return Ok(()),
            None => "it is not the one that was written".to_owned(),
        };
        Err(io::Error::other(match self.path {
            None => format!("the temporary file: {reason}"),
            Some(path) => format!(
                "{}: {reason}; remove its directory, and verify from the beginning",
                path.display()
            ),
        }))
    }
}

/// One run, from front to back.
enum Run<'r, 'f> {
    Memory(std::vec::IntoIter<IdAt>),
    File(&'r mut Reading<'f>),
}

impl Iterator for Run<'_, '_> {
    type Item = IdAt;

    fn next(&mut self) -> Option<IdAt> {
        let file = match self {
            Self::Memory(ids) => return ids.next(),
            Self::File(file) => file,
        };
        file.left = file.left.checked_sub(1)?;
        match file.read() {
            Ok(id) => Some(id),
            Err(error) => {
                file.left = 0;
                file.failed = Some(error);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn workspace(n: u8) -> Workspace {
        Workspace::new(&format!("w{n}")).unwrap()
    }

    /// All ids that are kept, as they come out of the files.
    fn all(mut ids: Ids) -> BTreeMap<Workspace, Vec<IdAt>> {
        ids.spill().unwrap();
        let files = ids.files.iter_mut();
        let mut files: Vec<_> = files.map(Reading::new).collect();
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for file in &mut files {
            while let Some((workspace, count)) = file.runs.pop_front() {
                let mut run: Vec<_> = (0..count).map(|_| file.read().unwrap()).collect();
                assert!(run.is_sorted());
                found.entry(workspace).or_default().append(&mut run);
            }
        }
        files.into_iter().try_for_each(Reading::end).unwrap();
        found.values_mut().for_each(|ids| ids.sort_unstable());
        found
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_little_is_kept_in_memory(
            chunks in prop::collection::vec((0..3_u8, prop::collection::vec(1..=255_u8, 1..12)), 0..30),
            most in 0..40_usize,
        ) {
            let mut ids = Ids::new(most);
            let mut expected: BTreeMap<_, Vec<_>> = BTreeMap::new();
            let mut seq = 0;
            for (name, bytes) in chunks {
                let mut run = Vec::new();
                for byte in bytes {
                    seq += 1;
                    run.push((EventId::from_bytes([byte; 16]).unwrap(), Seq::new(seq).unwrap()));
                }
                run.sort_unstable();
                expected.entry(workspace(name)).or_default().extend(run.iter().copied());
                ids.keep(IdRuns::from([(workspace(name), vec![run])]));
                prop_assert!(ids.in_memory <= most);
            }
            expected.values_mut().for_each(|ids| ids.sort_unstable());
            prop_assert_eq!(all(ids), expected);
        }
    }
}

//! Parts: what some chunks of an archive came to, kept in a file, so that several machines check a large archive and
//! one of them says what it comes to (`docs/spec/parts.md`).
//!
//! A part is the auditor's own, like the trust file: whoever can write to it can make a verifier believe that a chunk
//! was checked. It names each chunk by the digest of its manifest, which the log holds: what was checked of another
//! archive, or before an erasure, is of no use in this one. Chunks that no part holds are checked by whoever takes
//! the parts together.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{
    self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _,
};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use ledger::chunk::ChunkManifest;
use ledger::hash::{Digest, Hasher};
use ledger::names::Origin;
use ledger::verify::ChunkOutcome;
use serde::{Deserialize, Serialize};

/// The first member of every part; another version is not read.
const FORMAT: &str = "tallystick/verify-part/v1";
/// What comes to more than this as a line is not kept: its chunk is checked again by whoever takes parts together.
const LINE_BYTES: usize = 256 << 20;

/// A share of the chunks of an archive: the first of three, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: NonZeroU32,
    of: NonZeroU32,
}

impl Shard {
    /// Whether a chunk belongs to it. Which one a chunk belongs to follows from its manifest alone: it stays the same
    /// however the archive grows.
    pub fn holds(&self, manifest: &ChunkManifest) -> bool {
        let place = u64::from_be_bytes(name_of(manifest).prefix());
        place % u64::from(self.of.get()) == u64::from(self.number.get()).saturating_sub(1)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// Reads `2/5`: the second of five.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (number, of) = text.split_once('/')?;
            let (number, of) = (number.parse().ok()?, of.parse().ok()?);
            (number <= of).then_some(Self { number, of })
        };
        read().ok_or_else(|| "a shard like 2/5 is expected: the second of five".to_owned())
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// What a part calls a chunk.
fn name_of(manifest: &ChunkManifest) -> Digest {
    Digest::of(manifest.to_body().as_bytes())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    verifier: String,
    origin: String,
    shard: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Foot {
    chunks: u64,
    sha256: String,
}

const LINE_START: &[u8] = b"{\"chunk\":\"";
const LINE_MIDDLE: &[u8] = b"\",\"outcome\":";

/// A part that is being written.
pub struct PartWriter {
    out: BufWriter<File>,
    hasher: Hasher,
    chunks: u64,
}

impl PartWriter {
    /// Begins a part in an empty file.
    pub fn new(file: File, origin: &Origin, shard: Shard) -> io::Result<Self> {
        let mut part = Self { out: BufWriter::new(file), hasher: Hasher::new(), chunks: 0 };
        let head = Head {
            format: FORMAT.to_owned(),
            verifier: env!("CARGO_PKG_VERSION").to_owned(),
            origin: origin.to_string(),
            shard: shard.to_string(),
        };
        part.write(&[serde_json::to_string(&head)?.as_bytes(), b"\n"])?;
        Ok(part)
    }

    fn write(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        pieces.iter().try_for_each(|piece| {
            self.hasher.update(piece);
            self.out.write_all(piece)
        })
    }

    /// Keeps what a chunk came to, as [`ChunkOutcome::to_line`] wrote it.
    pub(crate) fn push(&mut self, manifest: &ChunkManifest, outcome: &str) -> io::Result<()> {
        if outcome.len() > LINE_BYTES {
            return Ok(());
        }
        let name = name_of(manifest).to_string();
        self.write(&[LINE_START, name.as_bytes(), LINE_MIDDLE, outcome.as_bytes(), b"}\n"])?;
        self.chunks = self.chunks.saturating_add(1);
        Ok(())
    }

    /// Ends the part, and says how many chunks are in it.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        let foot = Foot { chunks: self.chunks, sha256: self.hasher.finish().to_string() };
        self.out.write_all(serde_json::to_string(&foot)?.as_bytes())?;
        self.out.write_all(b"\n")?;
        self.out.flush()?;
        Ok(self.chunks)
    }
}

/// A file that is no part, or none of this ledger.
#[derive(Debug, thiserror::Error)]
#[error("the part {path}: {reason}", path = .path.display())]
pub struct PartFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A part that was given, as a report names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInput {
    /// Which shard it is of.
    pub shard: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Chunks in it.
    pub chunks: u64,
}

impl PartInput {
    /// What a report calls it.
    pub fn name(&self) -> String {
        format!("part {}", self.shard)
    }
}

/// Where a line lies.
#[derive(Clone, Copy)]
struct Line {
    file: usize,
    at: u64,
    bytes: usize,
}

/// What the chunks of some parts came to.
#[derive(Default)]
pub struct Parts {
    files: Vec<Mutex<File>>,
    lines: BTreeMap<Digest, Line>,
    inputs: Vec<PartInput>,
}

impl Parts {
    /// Reads which chunks these files hold, each of them to its end.
    pub fn open(paths: &[PathBuf], origin: &Origin) -> Result<Self, PartFileError> {
        let mut parts = Self::default();
        for path in paths {
            let failed = |reason| PartFileError { path: path.clone(), reason };
            parts.add(path, origin).map_err(failed)?;
        }
        Ok(parts)
    }

    fn add(&mut self, path: &Path, origin: &Origin) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        let file = File::open(path).map_err(told)?;
        if !file.metadata().map_err(told)?.is_file() {
            return Err("it is no plain file".to_owned());
        }
        let mut reader = BufReader::new(file.try_clone().map_err(told)?);
        let (mut all, mut before) = (Hasher::new(), Hasher::new());
        let mut line = Vec::new();
        let mut read = |line: &mut Vec<u8>| {
            line.clear();
            let most = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX).saturating_add(1_024);
            reader.by_ref().take(most).read_until(b'\n', line).map_err(told)?;
            all.update(line);
            match line.pop() {
                Some(b'\n') => Ok(()),
                None => Err("it ends before its last line".to_owned()),
                Some(_) => Err("it is cut off in a line, or is no part".to_owned()),
            }
        };
        read(&mut line)?;
        let head: Head = serde_json::from_slice(&line)
            .map_err(|_| format!("it does not begin with the line of a part ({FORMAT})"))?;
        let this = env!("CARGO_PKG_VERSION");
        if head.format != FORMAT || head.verifier != this {
            let Head { format, verifier, .. } = head;
            return Err(format!(
                "it was made by version {verifier} ({format}): make it again by this one, {this}"
            ));
        }
        if head.origin != origin.as_str() {
            return Err(format!(
                "it is of the ledger {}; the trust file names {origin}",
                head.origin
            ));
        }
        before.update(&line);
        before.update(b"\n");
        let mut at = 0_u64;
        let mut chunks = 0_u64;
        let foot: Foot = loop {
            at = at.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX)).saturating_add(1);
            read(&mut line)?;
            let Some(rest) = line.strip_prefix(LINE_START) else {
                break serde_json::from_slice(&line).map_err(|_| "a line is none of a part")?;
            };
            let name = rest.split_first_chunk::<64>();
            let name = name.and_then(|(name, rest)| Some((std::str::from_utf8(name).ok()?, rest)));
            let (name, rest) = name.ok_or("a line is none of a part")?;
            let name = Digest::parse(name).map_err(|error| error.to_string())?;
            let outcome = rest.strip_prefix(LINE_MIDDLE).and_then(|rest| rest.strip_suffix(b"}"));
            let bytes = outcome.ok_or("a line is none of a part")?.len();
            let skipped = LINE_START.len().saturating_add(64).saturating_add(LINE_MIDDLE.len());
            let begins = at.saturating_add(u64::try_from(skipped).unwrap_or(u64::MAX));
            self.lines.insert(name, Line { file: self.files.len(), at: begins, bytes });
            chunks = chunks.saturating_add(1);
            before.update(&line);
            before.update(b"\n");
        };
        if foot.chunks != chunks || foot.sha256 != before.finish().to_string() {
            return Err("it is not as it was written: make it again".to_owned());
        }
        if reader.read(&mut [0]).map_err(told)? != 0 {
            return Err("something follows its last line: make it again".to_owned());
        }
        self.files.push(Mutex::new(file));
        self.inputs.push(PartInput { shard: head.shard, sha256: all.finish(), chunks });
        Ok(())
    }

    /// What reports name of them.
    pub fn inputs(&self) -> &[PartInput] {
        &self.inputs
    }

    /// Whether a part holds what a chunk came to.
    pub(crate) fn holds(&self, manifest: &ChunkManifest) -> bool {
        self.line(manifest).is_some()
    }

    fn line(&self, manifest: &ChunkManifest) -> Option<Line> {
        // Most verifications have no part, and no use for the name.
        if self.lines.is_empty() { None } else { self.lines.get(&name_of(manifest)).copied() }
    }

    /// What a chunk came to; `None` where no part holds that.
    pub(crate) fn outcome(&self, manifest: &ChunkManifest) -> Option<ChunkOutcome> {
        let Line { file, at, bytes } = self.line(manifest)?;
        let mut line = vec![0; bytes];
        let mut file = self.files.get(file)?.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at)).ok()?;
        file.read_exact(&mut line).ok()?;
        drop(file);
        // Where it cannot be read after all, the chunk is checked again.
        ChunkOutcome::from_line(&line).ok()
    }
}

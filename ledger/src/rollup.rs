//! Rollups: figures of one day and workspace, computed from sealed chunks (FORMAT section 11).
//!
//! Here: what a rollup's manifest and the head of its definition say. Not here: whether the log before it
//! bears that out (see [`crate::verify`]), and computing anything (that is the verifier's feature `rollup`).

use std::fmt;

use crate::chunk::ObjectDigest;
use crate::hash::Digest;
use crate::layout::{Artefact, RollupPlace};
use crate::limits::TEXT_BYTES;
use crate::merkle::{Frontier, leaf_hash};
use crate::names::{Origin, RollupName, Workspace};
use crate::note::{Body, BodyError, Lines, plain_number};
use crate::time::{Day, Hour};

pub(crate) const KIND: &str = "tallystick/rollup/v1";

/// The first line of a definition.
const DEFINITION: &str = "-- tallystick/rollup-sql/v1";

/// Largest text of a definition, in bytes.
pub const DEFINITION_BYTES: usize = 64 << 10;

/// Most days that a definition may read before its day, or behind it.
const WINDOW_DAYS: u16 = 366;

/// The body of a rollup manifest: what was computed, by which definition, from which chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupManifest {
    /// The ledger.
    pub origin: Origin,
    /// The rollup.
    pub name: RollupName,
    /// The version of its definition, from 1.
    pub version: u32,
    /// `H` of the definition's text.
    pub sql_sha256: Digest,
    /// The workspace.
    pub workspace: Workspace,
    /// The day of `occurred_at` that it is about. In the note: `<start>/<end>`, both at midnight.
    pub day: Day,
    /// How often the day was restated before, from 0.
    pub revision: u32,
    /// What computed it: name and version.
    pub engine: String,
    /// How many chunk manifests were read.
    pub inputs: u64,
    /// Merkle root over them: see [`inputs_root`].
    pub inputs_root: Digest,
    /// Archive key of the Parquet object.
    pub object: String,
    /// Its size and digests.
    pub digest: ObjectDigest,
}

/// Merkle root over the chunk manifests that a rollup was computed from, in the order of the log; a leaf's data
/// are the 32 bytes of `H` of the whole note (FORMAT section 11).
pub fn inputs_root<'a>(notes: impl IntoIterator<Item = &'a Digest>) -> Digest {
    let mut tree = Frontier::new();
    for note in notes {
        tree.push(leaf_hash(note.as_bytes()));
    }
    tree.root()
}

impl RollupManifest {
    /// Where its object and its own copy lie.
    pub fn place(&self) -> RollupPlace {
        RollupPlace {
            name: self.name.clone(),
            workspace: self.workspace.clone(),
            day: self.day,
            version: self.version,
            revision: self.revision,
            object: self.digest.sha256.prefix(),
        }
    }

    /// The text to be signed.
    pub fn to_body(&self) -> String {
        let body = Body::of(KIND)
            .line("origin", &self.origin)
            .line("name", &self.name)
            .line("version", self.version)
            .line("sql_sha256", self.sql_sha256)
            .line("workspace", &self.workspace)
            .line("period", Period(self.day))
            .line("revision", self.revision)
            .line("engine", &self.engine)
            .line("inputs", self.inputs)
            .line("inputs_root", self.inputs_root)
            .line("object", &self.object);
        self.digest.write(body).finish()
    }

    /// Reads the body of a note, and refuses one that contradicts itself.
    pub fn parse(body: &str) -> Result<Self, BodyError> {
        let mut lines = Lines::of(KIND, body)?;
        let manifest = Self {
            origin: lines.value("origin", Origin::new)?,
            name: lines.value("name", RollupName::new)?,
            version: lines.value("version", version)?,
            sql_sha256: lines.value("sql_sha256", Digest::parse)?,
            workspace: lines.value("workspace", Workspace::new)?,
            day: lines.value("period", Period::parse)?,
            revision: lines.value("revision", number)?,
            engine: lines.value("engine", engine)?,
            inputs: lines.number("inputs")?,
            inputs_root: lines.value("inputs_root", Digest::parse)?,
            object: lines.text("object")?.to_owned(),
            digest: ObjectDigest::read(&mut lines)?,
        };
        lines.end()?;
        if Artefact::parse(&manifest.object) != Some(Artefact::Rollup(manifest.place())) {
            let what = "`object` is not the archive key of this rollup, workspace, day, revision and digest";
            Err(BodyError::Contradiction(what))
        } else if manifest.inputs == 0 {
            Err(BodyError::Contradiction("a rollup is computed from a chunk at least"))
        } else {
            Ok(manifest)
        }
    }
}

/// One whole day as `<start>/<end>`.
struct Period(Day);

impl Period {
    fn parse(text: &str) -> Result<Day, &'static str> {
        let error = "a day is expected: 2026-11-23T00:00:00Z/2026-11-24T00:00:00Z";
        let start = text.split_once('/').and_then(|(start, _)| Hour::parse(start).ok());
        let day = start.map(|start| Day::of(start.start())).ok_or(error)?;
        if Self(day).to_string() == text { Ok(day) } else { Err(error) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The day behind the last one of this format is written as that one's end nevertheless.
        let next = Day::new(self.0.get() + 1);
        let end = next.map_or_else(|| "10000-01-01".to_owned(), |day| day.to_string());
        write!(f, "{}T00:00:00Z/{end}T00:00:00Z", self.0)
    }
}

fn number(text: &str) -> Result<u32, &'static str> {
    let number = plain_number(text).and_then(|number| u32::try_from(number).ok());
    number.ok_or("a number in plain digits below 2^32 is expected")
}

fn version(text: &str) -> Result<u32, &'static str> {
    number(text)
        .ok()
        .filter(|version| *version > 0)
        .ok_or("a number in plain digits is expected, from 1")
}

/// What computed a rollup: it has one spelling, so no white space around it.
fn engine(text: &str) -> Result<String, &'static str> {
    if text.len() > TEXT_BYTES {
        Err("an engine has at most 1024 bytes")
    } else if text.trim() != text {
        Err("an engine has no white space around it")
    } else {
        Ok(text.to_owned())
    }
}

/// What the head of a definition says: the comment lines that an SQL text of a rollup begins with.
///
/// ```sql
/// -- tallystick/rollup-sql/v1
/// -- name llm_daily
/// -- version 1
/// -- before 0
/// -- after 0
/// -- key day model provider
/// ```
///
/// A rollup of a day reads the events that occurred from `before` days earlier to `after` days later, so its inputs
/// are the chunks that hold one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The rollup.
    pub name: RollupName,
    /// The version of this text: another text has another one.
    pub version: u32,
    /// Days before the day whose events are read too.
    pub before: u16,
    /// Days behind the day whose events are read too.
    pub after: u16,
    /// The columns of the result that no two rows have alike.
    pub key: Vec<String>,
    /// `H` of the whole text.
    pub sha256: Digest,
    /// The whole text.
    pub sql: String,
}

/// Why a text is no definition of a rollup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of a rollup's definition: {expected} is expected")]
pub struct DefinitionError {
    line: usize,
    expected: String,
}

impl Definition {
    /// Reads the head of a definition's text.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        // Not `lines`: it would read the other line end too, and a text has one way to be written.
        let (mut line, mut lines) = (0, text.split('\n'));
        let mut next = |name: &str| {
            line += 1;
            let text = lines.next().unwrap_or_default();
            let value = match name {
                "" => (text == DEFINITION).then_some(""),
                _ => text
                    .strip_prefix("-- ")
                    .and_then(|text| text.strip_prefix(name)?.strip_prefix(' ')),
            };
            let expected = if name.is_empty() {
                DEFINITION.to_owned()
            } else {
                format!("`-- {name} <value>`")
            };
            value.ok_or(DefinitionError { line, expected }).map(|value| (line, value))
        };
        if text.len() > DEFINITION_BYTES {
            return Err(DefinitionError {
                line: 1,
                expected: format!("a text of at most {DEFINITION_BYTES} bytes"),
            });
        }
        next("")?;
        let (line, name) = next("name")?;
        let refused = |line, expected: &dyn ToString| DefinitionError {
            line,
            expected: expected.to_string(),
        };
        let name = RollupName::new(name).map_err(|error| refused(line, &error))?;
        let (line, text_of) = next("version")?;
        let version = version(text_of).map_err(|error| refused(line, &error))?;
        let mut days = |name: &str| {
            let (line, text) = next(name)?;
            let days = plain_number(text).and_then(|days| u16::try_from(days).ok());
            let days = days.filter(|days| *days <= WINDOW_DAYS);
            days.ok_or_else(|| refused(line, &format!("a number of days, {WINDOW_DAYS} at most,")))
        };
        let (before, after) = (days("before")?, days("after")?);
        let (line, key) = next("key")?;
        let key: Vec<String> = key.split(' ').map(str::to_owned).collect();
        if key.iter().any(|column| RollupName::new(column).is_err()) {
            return Err(refused(line, &"a list of column names"));
        }
        let (sha256, sql) = (Digest::of(text.as_bytes()), text.to_owned());
        Ok(Self { name, version, before, after, key, sha256, sql })
    }

    /// The days whose events are read for a day.
    pub fn window(&self, day: Day) -> (Day, Day) {
        (day.back(self.before), day.ahead(self.after))
    }

    /// Where the text lies in an archive.
    pub fn artefact(&self) -> Artefact {
        Artefact::RollupSql { name: self.name.clone(), version: self.version }
    }
}

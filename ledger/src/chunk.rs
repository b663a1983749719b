//! A chunk: a run of entries of one workspace and one hour, and its manifest (FORMAT section 7).

use crate::hash::Digest;
use crate::layout::{Artefact, Range};
use crate::names::{Origin, Seq, Workspace};
use crate::note::{Body, BodyError, Lines};
use crate::receipt::seq;
use crate::time::{Hour, Micros};

pub(crate) const KIND: &str = "tallystick/chunk/v1";

/// Size and digests of one archive object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectDigest {
    /// Bytes of the object.
    pub bytes: u64,
    /// SHA-256 of the object.
    pub sha256: Digest,
    /// BLAKE3 of the object: a second hash of another design.
    pub blake3: Digest,
}

impl ObjectDigest {
    /// Measures an object.
    pub fn of(object: &[u8]) -> Self {
        Self {
            // No object in memory is longer than u64 can say.
            bytes: u64::try_from(object.len()).unwrap_or(u64::MAX),
            sha256: Digest::of(object),
            blake3: Digest::from_bytes(*blake3::hash(object).as_bytes()),
        }
    }

    pub(crate) fn write(&self, body: Body) -> Body {
        body.line("object_bytes", self.bytes)
            .line("object_sha256", self.sha256)
            .line("object_blake3", self.blake3)
    }

    pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Self, BodyError> {
        Ok(Self {
            bytes: lines.number("object_bytes")?,
            sha256: lines.value("object_sha256", Digest::parse)?,
            blake3: lines.value("object_blake3", Digest::parse)?,
        })
    }
}

/// The body of a chunk manifest, made when a chunk is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkManifest {
    /// The ledger.
    pub origin: Origin,
    /// The workspace.
    pub workspace: Workspace,
    /// The hour that every `recorded_at` of the chunk lies in.
    pub hour: Hour,
    /// Index of the chunk in its hour, from 0.
    pub part: u64,
    /// Seq of the first entry.
    pub first_seq: Seq,
    /// Seq of the last entry.
    pub last_seq: Seq,
    /// `link(first_seq-1)`.
    pub prev_link: Digest,
    /// `link(last_seq)`.
    pub last_link: Digest,
    /// Merkle root over the leaves of the entries.
    pub root: Digest,
    /// `recorded_at` of the first entry.
    pub first_recorded_at: Micros,
    /// `recorded_at` of the last entry.
    pub last_recorded_at: Micros,
    /// `H` of the whole note of this workspace's original chunk before, or zeros.
    pub prev_manifest: Digest,
    /// `H` of the whole note that this one replaces (FORMAT section 10), or zeros.
    pub amends: Digest,
    /// Archive key of the Parquet object.
    pub object: String,
    /// Its size and digests.
    pub digest: ObjectDigest,
}

impl ChunkManifest {
    /// Whether this is the first manifest of its range, and not one after an erasure.
    pub fn is_original(&self) -> bool {
        self.amends == Digest::ZERO
    }

    /// The range of entries, as archive keys name it.
    pub fn range(&self) -> Range {
        Range {
            workspace: self.workspace.clone(),
            hour: self.hour,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
        }
    }

    /// Entries in the chunk.
    pub fn rows(&self) -> u64 {
        self.last_seq.get() - self.first_seq.get() + 1
    }

    /// Which erasure of the range this manifest stands for: 0 for the original.
    pub fn erasure(&self) -> u32 {
        match Artefact::parse(&self.object) {
            Some(Artefact::Events { erasure, .. }) => erasure,
            _ => 0,
        }
    }

    /// The text to be signed.
    pub fn to_body(&self) -> String {
        let body = Body::of(KIND)
            .line("origin", &self.origin)
            .line("workspace", &self.workspace)
            .line("hour", self.hour)
            .line("part", self.part)
            .line("first_seq", self.first_seq)
            .line("last_seq", self.last_seq)
            .line("prev_link", self.prev_link)
            .line("last_link", self.last_link)
            .line("root", self.root)
            .line("first_recorded_at", self.first_recorded_at)
            .line("last_recorded_at", self.last_recorded_at)
            .line("prev_manifest", self.prev_manifest)
            .line("amends", self.amends)
            .line("object", &self.object);
        self.digest.write(body).finish()
    }

    /// Reads the body of a note, and refuses one that contradicts itself.
    pub fn parse(body: &str) -> Result<Self, BodyError> {
        let mut lines = Lines::of(KIND, body)?;
        let manifest = Self {
            origin: lines.value("origin", Origin::new)?,
            workspace: lines.value("workspace", Workspace::new)?,
            hour: lines.value("hour", Hour::parse)?,
            part: lines.number("part")?,
            first_seq: seq(&mut lines, "first_seq")?,
            last_seq: seq(&mut lines, "last_seq")?,
            prev_link: lines.value("prev_link", Digest::parse)?,
            last_link: lines.value("last_link", Digest::parse)?,
            root: lines.value("root", Digest::parse)?,
            first_recorded_at: lines.value("first_recorded_at", Micros::parse)?,
            last_recorded_at: lines.value("last_recorded_at", Micros::parse)?,
            prev_manifest: lines.value("prev_manifest", Digest::parse)?,
            amends: lines.value("amends", Digest::parse)?,
            object: lines.text("object")?.to_owned(),
            digest: ObjectDigest::read(&mut lines)?,
        };
        lines.end()?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), BodyError> {
        let contradiction = |what| Err(BodyError::Contradiction(what));
        if self.last_seq < self.first_seq {
            return contradiction("last_seq is below first_seq");
        }
        if self.last_recorded_at < self.first_recorded_at {
            return contradiction("last_recorded_at is before first_recorded_at");
        }
        if !self.hour.contains(self.first_recorded_at) || !self.hour.contains(self.last_recorded_at)
        {
            return contradiction("first_recorded_at or last_recorded_at lies outside the hour");
        }
        match Artefact::parse(&self.object) {
            Some(Artefact::Events { range, erasure })
                if range == self.range() && (erasure == 0) == self.is_original() =>
            {
                Ok(())
            }
            _ => contradiction("`object` is not the archive key of this workspace, hour and range"),
        }
    }
}

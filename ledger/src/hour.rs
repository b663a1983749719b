//! Hour notes: one for every hour of the ledger, with or without events (FORMAT section 8).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::hash::Digest;
use crate::merkle;
use crate::names::{Origin, Seq, Workspace};
use crate::note::{Body, BodyError, Lines};
use crate::time::Hour;

pub(crate) const KIND: &str = "tallystick/hour/v1";

/// The newest entry of each workspace at the end of an hour, in byte order of the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads(BTreeMap<Workspace, (Seq, Digest)>);

impl Heads {
    /// No workspace yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the head of a workspace, and gives the one it had.
    pub fn set(&mut self, workspace: Workspace, seq: Seq, link: Digest) -> Option<(Seq, Digest)> {
        self.0.insert(workspace, (seq, link))
    }

    /// The head of a workspace.
    pub fn get(&self, workspace: &Workspace) -> Option<(Seq, Digest)> {
        self.0.get(workspace).copied()
    }

    /// Workspaces that have an entry.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no workspace has an entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The heads, in byte order of the workspace.
    pub fn iter(&self) -> impl Iterator<Item = (&Workspace, Seq, &Digest)> {
        self.0.iter().map(|(workspace, (seq, link))| (workspace, *seq, link))
    }

    /// The bytes of a `.heads` object: the leaf data, one line a workspace (FORMAT section 9).
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (workspace, seq, link) in self.iter() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{workspace} {seq} {link}");
        }
        text
    }

    /// The Merkle root over the lines.
    pub fn root(&self) -> Digest {
        let text = self.to_text();
        let mut frontier = merkle::Frontier::new();
        for line in text.split_inclusive('\n') {
            frontier.push(merkle::leaf_hash(line.as_bytes()));
        }
        frontier.root()
    }
}

/// The body of an hour note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourNote {
    /// The ledger.
    pub origin: Origin,
    /// The hour that has closed.
    pub hour: Hour,
    /// Original chunk manifests of this hour.
    pub chunks: u64,
    /// Workspaces that have an entry by the end of this hour.
    pub workspaces: u64,
    /// Merkle root over the heads.
    pub heads_root: Digest,
    /// `H` of the whole hour note before, or zeros.
    pub prev_hour: Digest,
}

impl HourNote {
    /// The text to be signed.
    pub fn to_body(&self) -> String {
        Body::of(KIND)
            .line("origin", &self.origin)
            .line("hour", self.hour)
            .line("chunks", self.chunks)
            .line("workspaces", self.workspaces)
            .line("heads_root", self.heads_root)
            .line("prev_hour", self.prev_hour)
            .finish()
    }

    /// Reads the body of a note.
    pub fn parse(body: &str) -> Result<Self, BodyError> {
        let mut lines = Lines::of(KIND, body)?;
        let note = Self {
            origin: lines.value("origin", Origin::new)?,
            hour: lines.value("hour", Hour::parse)?,
            chunks: lines.number("chunks")?,
            workspaces: lines.number("workspaces")?,
            heads_root: lines.value("heads_root", Digest::parse)?,
            prev_hour: lines.value("prev_hour", Digest::parse)?,
        };
        lines.end()?;
        Ok(note)
    }
}

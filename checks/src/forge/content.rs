//! What an archive says: leaves of the log in order, each chunk with its rows; read, settled after
//! an edit, and sealed.
#![expect(clippy::expect_used, reason = "a forge that cannot forge is a failed test")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use ledger::checkpoint::Checkpoint;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::{Derived, Row};
use ledger::entry::{Entry, genesis_link, next_link};
use ledger::hash::Digest;
use ledger::hour::{Heads, HourNote};
use ledger::layout::{self, Artefact, TileBuilder};
use ledger::merkle;
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::note::{self, Note, NoteSigner};
use ledger::time::{Hour, Micros};
use verifier::rows;
use verifier::store::ArchiveSource as _;

use super::Archive;

/// A row that borrows nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedRow {
    /// The payload; `row.payload` is always `None`.
    pub payload: Option<Vec<u8>>,
    /// Every other column.
    pub row: Row<'static>,
}

impl OwnedRow {
    /// Copies a row.
    pub fn of(row: &Row<'_>) -> Self {
        Self {
            payload: row.payload.map(<[u8]>::to_vec),
            row: Row { payload: None, derived: own(&row.derived), ..*row },
        }
    }

    /// The row as it is written.
    pub fn as_row(&self) -> Row<'_> {
        Row { payload: self.payload.as_deref(), ..self.row.clone() }
    }

    /// The entry that the row's columns make.
    fn entry(&self) -> Entry {
        let row = &self.row;
        Entry {
            seq: Seq::new(row.seq).expect("a seq"),
            recorded_at: Micros::new(row.recorded_at).expect("a time"),
            event_id: EventId::from_bytes(row.event_id).expect("an event_id"),
            payload_digest: Digest::from_bytes(row.payload_digest),
            submission_hash: Digest::from_bytes(row.submission_hash),
            index_in_submission: row.submission_index,
            submission_count: row.submission_count,
        }
    }
}

/// Copies derived columns.
fn own(derived: &Derived<'_>) -> Derived<'static> {
    let text = |text: &Option<Cow<'_, str>>| text.clone().map(|text| Cow::Owned(text.into_owned()));
    Derived {
        event_type: Cow::Owned(derived.event_type.to_string()),
        session_id: text(&derived.session_id),
        actor_id: text(&derived.actor_id),
        source: text(&derived.source),
        model: text(&derived.model),
        provider: text(&derived.provider),
        error_type: text(&derived.error_type),
        prompt_hash: text(&derived.prompt_hash),
        tool_name: text(&derived.tool_name),
        status: text(&derived.status),
        trace_id: text(&derived.trace_id),
        span_id: text(&derived.span_id),
        agent_version: text(&derived.agent_version),
        on_behalf_of: text(&derived.on_behalf_of),
        ..*derived
    }
}

/// A chunk: its manifest, its rows, and the object that the rows were last written as.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The manifest.
    pub manifest: ChunkManifest,
    /// The rows.
    pub rows: Vec<OwnedRow>,
    /// The Parquet object.
    pub object: Vec<u8>,
}

impl Chunk {
    /// A chunk whose manifest says no more than which workspace and hour it is of.
    pub fn new(origin: &Origin, workspace: &Workspace, hour: Hour, rows: Vec<OwnedRow>) -> Self {
        let manifest = ChunkManifest {
            origin: origin.clone(),
            workspace: workspace.clone(),
            hour,
            part: 0,
            first_seq: Seq::FIRST,
            last_seq: Seq::FIRST,
            prev_link: Digest::ZERO,
            last_link: Digest::ZERO,
            root: Digest::ZERO,
            first_recorded_at: hour.start(),
            last_recorded_at: hour.start(),
            prev_manifest: Digest::ZERO,
            amends: Digest::ZERO,
            object: String::new(),
            digest: ObjectDigest::of(b""),
        };
        Self { manifest, rows, object: Vec::new() }
    }

    /// The rows as an object.
    pub fn encode(&self) -> Vec<u8> {
        let rows: Vec<_> = self.rows.iter().map(OwnedRow::as_row).collect();
        rows::write(&self.manifest.origin, &self.manifest.workspace, &rows)
            .expect("rows can be written")
    }

    /// The manifest takes the bounds of the rows, which start behind `link`.
    ///
    /// # Panics
    /// Where there are none.
    pub fn settle(&mut self, mut link: Digest, part: u64) {
        let mut leaves = Vec::new();
        let manifest = &mut self.manifest;
        manifest.prev_link = link;
        for row in &mut self.rows {
            let leaf = row.entry().leaf();
            link = next_link(&link, &leaf);
            row.row.link = *link.as_bytes();
            leaves.push(leaf);
        }
        let (first, last) = (self.rows.first(), self.rows.last());
        let first = first.expect("a chunk has rows").entry();
        let last = last.expect("a chunk has rows").entry();
        manifest.part = part;
        (manifest.first_seq, manifest.last_seq) = (first.seq, last.seq);
        (manifest.first_recorded_at, manifest.last_recorded_at) =
            (first.recorded_at, last.recorded_at);
        (manifest.last_link, manifest.root) = (link, merkle::root(&leaves));
        manifest.object = Artefact::Events { range: manifest.range(), erasure: 0 }.to_string();
    }
}

/// A leaf of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    /// A chunk.
    Chunk(Box<Chunk>),
    /// An hour note.
    Hour(HourNote),
}

impl Leaf {
    fn body(&self) -> String {
        match self {
            Self::Chunk(chunk) => chunk.manifest.to_body(),
            Self::Hour(hour) => hour.to_body(),
        }
    }
}

/// How much of what follows from the rows a forger writes anew before he seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The objects and their digests; `prev_manifest` and `prev_hour`.
    Digests,
    /// Links, roots, bounds and parts too; counts and heads of the hours.
    Links,
}

/// What an archive without amendments says.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// The ledger.
    pub origin: Origin,
    /// The log.
    pub leaves: Vec<Leaf>,
}

impl Content {
    /// Reads an intact archive.
    ///
    /// # Panics
    /// Where it is not intact.
    pub fn read(archive: &Archive) -> Self {
        let get = |key: &str| archive.get(key).ok().flatten().expect("an intact archive");
        let checkpoint = get(&Artefact::Checkpoint.to_string());
        let note = Note::parse(&checkpoint).expect("a note");
        let checkpoint = Checkpoint::parse(note.body()).expect("a checkpoint");
        let mut leaves = Vec::new();
        for artefact in layout::bundles(checkpoint.size) {
            let Artefact::Bundle { width, .. } = artefact else { continue };
            let bundle = get(&artefact.to_string());
            for note in layout::decode_bundle(&bundle, width).expect("a bundle") {
                let note = Note::parse(note).expect("a note");
                leaves.push(match HourNote::parse(note.body()) {
                    Ok(hour) => Leaf::Hour(hour),
                    Err(_) => {
                        let manifest = ChunkManifest::parse(note.body()).expect("a manifest");
                        let object = Bytes::from(get(&manifest.object));
                        let mut rows = Vec::new();
                        rows::read(&manifest, &object, |row| rows.push(OwnedRow::of(row)))
                            .expect("rows");
                        Leaf::Chunk(Box::new(Chunk { manifest, rows, object: object.into() }))
                    }
                });
            }
        }
        Self { origin: checkpoint.origin, leaves }
    }

    /// The chunks, in the order of the log.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.leaves.iter().filter_map(|leaf| match leaf {
            Leaf::Chunk(chunk) => Some(&**chunk),
            Leaf::Hour(_) => None,
        })
    }

    /// The chunks, in the order of the log, to be edited.
    pub fn chunks_mut(&mut self) -> impl Iterator<Item = &mut Chunk> {
        self.leaves.iter_mut().filter_map(|leaf| match leaf {
            Leaf::Chunk(chunk) => Some(&mut **chunk),
            Leaf::Hour(_) => None,
        })
    }

    /// The row of a workspace at a seq.
    ///
    /// # Panics
    /// Where there is none.
    pub fn row_mut(&mut self, workspace: &str, seq: u64) -> &mut OwnedRow {
        self.chunks_mut()
            .filter(|chunk| chunk.manifest.workspace.as_str() == workspace)
            .flat_map(|chunk| &mut chunk.rows)
            .find(|row| row.row.seq == seq)
            .expect("a row of this seq")
    }

    /// Numbers the rows of each workspace from 1 without a gap, in the order that they stand in.
    pub fn renumber(&mut self) {
        let mut next: BTreeMap<Workspace, u64> = BTreeMap::new();
        for chunk in self.chunks_mut() {
            let next = next.entry(chunk.manifest.workspace.clone()).or_insert(0);
            for row in &mut chunk.rows {
                *next += 1;
                row.row.seq = *next;
            }
        }
    }

    /// Writes anew, down to a depth, what follows from the rows and from the order of the log.
    pub fn settle(&mut self, depth: Depth, seal: &NoteSigner) {
        match depth {
            Depth::Digests => {}
            Depth::Links => self.relink(),
        }
        for chunk in self.chunks_mut() {
            chunk.object = chunk.encode();
            chunk.manifest.digest = ObjectDigest::of(&chunk.object);
        }
        self.rechain(seal);
    }

    fn relink(&mut self) {
        let mut tails: BTreeMap<Workspace, (Digest, Hour, u64)> = BTreeMap::new();
        let mut heads = Heads::new();
        let mut chunks = 0;
        for leaf in &mut self.leaves {
            match leaf {
                Leaf::Chunk(chunk) => {
                    let ChunkManifest { origin, workspace, hour, .. } = chunk.manifest.clone();
                    let (link, part) = match tails.get(&workspace) {
                        None => (genesis_link(&origin, &workspace), 0),
                        Some((link, at, part)) if *at == hour => (*link, part + 1),
                        Some((link, ..)) => (*link, 0),
                    };
                    chunk.settle(link, part);
                    let last_link = chunk.manifest.last_link;
                    heads.set(workspace.clone(), chunk.manifest.last_seq, last_link);
                    tails.insert(workspace, (last_link, hour, part));
                    chunks += 1;
                }
                Leaf::Hour(hour) => {
                    hour.chunks = std::mem::take(&mut chunks);
                    hour.workspaces = u64::try_from(heads.len()).expect("few workspaces");
                    hour.heads_root = heads.root();
                }
            }
        }
    }

    /// Has each manifest and hour note name the one before.
    pub fn rechain(&mut self, seal: &NoteSigner) {
        let mut manifests: BTreeMap<Workspace, Digest> = BTreeMap::new();
        let mut prev_hour = Digest::ZERO;
        for leaf in &mut self.leaves {
            let previous = match leaf {
                Leaf::Chunk(chunk) => {
                    let manifest = &mut chunk.manifest;
                    let previous = manifests.entry(manifest.workspace.clone());
                    let previous = previous.or_insert(Digest::ZERO);
                    manifest.prev_manifest = *previous;
                    previous
                }
                Leaf::Hour(hour) => {
                    hour.prev_hour = prev_hour;
                    &mut prev_hour
                }
            };
            *previous = Digest::of(note::sign(&leaf.body(), &[seal]).as_bytes());
        }
    }

    /// Writes and signs the archive as it stands, true or not.
    pub fn seal(&self, seal: &NoteSigner) -> Archive {
        let mut archive = Archive::default();
        let mut put = |artefact: Artefact, bytes: Vec<u8>| {
            archive.0.insert(artefact.to_string(), bytes);
        };
        let mut heads = Heads::new();
        let mut log = Vec::new();
        let mut tiles = TileBuilder::new();
        for leaf in &self.leaves {
            let note = note::sign(&leaf.body(), &[seal]).into_bytes();
            match leaf {
                Leaf::Chunk(chunk) => {
                    let Chunk { manifest, object, .. } = &**chunk;
                    let range = manifest.range();
                    put(Artefact::Manifest { range, erasure: manifest.erasure() }, note.clone());
                    if let Some(events) = Artefact::parse(&manifest.object) {
                        put(events, object.clone());
                    }
                    let workspace = manifest.workspace.clone();
                    heads.set(workspace, manifest.last_seq, manifest.last_link);
                }
                Leaf::Hour(HourNote { hour, .. }) => {
                    put(Artefact::HourNote(*hour), note.clone());
                    put(Artefact::HourHeads(*hour), heads.to_text().into_bytes());
                }
            }
            tiles.push(merkle::leaf_hash(&note)).into_iter().for_each(|(at, tile)| put(at, tile));
            log.push(note);
        }
        tiles.partial().into_iter().for_each(|(at, tile)| put(at, tile));
        for (bundle, notes) in layout::bundles(tiles.size()).zip(log.chunks(256)) {
            let notes = notes.iter().map(Vec::as_slice);
            put(bundle, layout::encode_bundle(notes).expect("notes fit a bundle"));
        }
        let (origin, size, root) = (self.origin.clone(), tiles.size(), tiles.root());
        let body = Checkpoint { origin, size, root }.to_body();
        put(Artefact::Checkpoint, note::sign(&body, &[seal]).into_bytes());
        archive
    }
}

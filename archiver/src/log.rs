//! The log as its objects: appending leaves, and taking up a log where the store has it.

use ledger::hash::Digest;
use ledger::layout::{self, Artefact, TileBuilder};
use ledger::limits::TILE_WIDTH;
use ledger::merkle::{self, Frontier};
use verifier::store::{ArchiveSource, SourceError};

/// Why a log cannot be taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A tile or bundle that a log of this size has is not there.
    #[error("the store lacks `{0}`, which a log of its size has")]
    Missing(Artefact),
    /// A tile or bundle is not of its form.
    #[error("`{0}` in the store is not of its form")]
    Malformed(Artefact),
    /// A leaf is too long for a bundle.
    #[error(transparent)]
    Bundle(#[from] layout::BundleError),
    /// The store cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The right edge of the log, and the objects that were filled since they were last taken.
#[derive(Debug, Default)]
pub struct Log {
    tiles: TileBuilder,
    /// The entries of the bundle at the right edge.
    tail: Vec<Vec<u8>>,
    full_tiles: Vec<(Artefact, Vec<u8>)>,
    full_bundles: Vec<(Artefact, Vec<u8>)>,
}

/// Which object holds the end of a row of `count` hashes or entries: its index, and how many of
/// them it holds. `None` where the row ends with a full one.
fn edge(count: u64) -> Option<(u64, u16)> {
    let width = u16::try_from(count % TILE_WIDTH).ok().filter(|width| *width > 0)?;
    Some((count / TILE_WIDTH, width))
}

/// How many hashes or entries the object at `index` holds in a row of `count`.
fn width_at(index: u64, count: u64) -> u16 {
    let behind = count.saturating_sub(index.saturating_mul(TILE_WIDTH));
    u16::try_from(behind.min(TILE_WIDTH)).unwrap_or(u16::MAX)
}

/// The partial tiles and the partial bundle of a log of this size.
fn partials(size: u64) -> Vec<Artefact> {
    let bundle = edge(size).map(|(index, width)| Artefact::Bundle { index, width });
    let tiles = (0..8_u8).filter_map(|level| {
        let (index, width) = edge(size >> (8 * u32::from(level)))?;
        Some(Artefact::Tile { level, index, width })
    });
    bundle.into_iter().chain(tiles).collect()
}

/// What fuller tiles and bundles replace when a log grows from `old` to `new` leaves.
pub fn superseded(old: u64, new: u64) -> Vec<Artefact> {
    let kept = partials(new);
    partials(old).into_iter().filter(|artefact| !kept.contains(artefact)).collect()
}

fn read(source: &dyn ArchiveSource, artefact: &Artefact) -> Result<Vec<u8>, LogError> {
    source.get(&artefact.to_string())?.ok_or_else(|| LogError::Missing(artefact.clone()))
}

/// The leaves in the bundle at `index` of a log that has `stored` leaves.
pub fn bundle(
    source: &dyn ArchiveSource,
    index: u64,
    stored: u64,
) -> Result<Vec<Vec<u8>>, LogError> {
    let width = width_at(index, stored);
    let artefact = Artefact::Bundle { index, width };
    let bundle = read(source, &artefact)?;
    match layout::decode_bundle(&bundle, width) {
        Ok(entries) => Ok(entries.into_iter().map(<[u8]>::to_vec).collect()),
        Err(_) => Err(LogError::Malformed(artefact)),
    }
}

/// The leaves `from..to` of a log of which the store has `to` leaves, from its entry bundles.
pub fn read_leaves(
    source: &dyn ArchiveSource,
    from: u64,
    to: u64,
) -> Result<Vec<Vec<u8>>, LogError> {
    let mut leaves = Vec::new();
    let mut at = from;
    while at < to {
        let index = at / TILE_WIDTH;
        let entries = bundle(source, index, to)?;
        let skip = usize::try_from(at % TILE_WIDTH).unwrap_or(usize::MAX);
        leaves.extend(entries.into_iter().skip(skip));
        at = (index + 1) * TILE_WIDTH;
    }
    Ok(leaves)
}

impl Log {
    /// The empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up the first `size` leaves of a log of which the store has `stored` leaves. Whether
    /// they are the right ones, [`Log::root`] says.
    pub fn load(source: &dyn ArchiveSource, size: u64, stored: u64) -> Result<Self, LogError> {
        let mut levels = Vec::new();
        let rows = (0..8_u8).map(|level| (level, 8 * u32::from(level)));
        for (level, shift) in rows.take_while(|(_, shift)| size >> shift > 0) {
            let Some((index, width)) = edge(size >> shift) else {
                levels.push(Vec::new());
                continue;
            };
            let whole = width_at(index, stored >> shift);
            let artefact = Artefact::Tile { level, index, width: whole };
            let hashes = layout::decode_tile(&read(source, &artefact)?, whole);
            let mut hashes = hashes.ok_or(LogError::Malformed(artefact))?;
            hashes.truncate(usize::from(width));
            levels.push(hashes);
        }
        let mut tail = Vec::new();
        if let Some((index, width)) = edge(size) {
            tail = bundle(source, index, stored)?;
            tail.truncate(usize::from(width));
        }
        // The widths above come from the size, so they fit it.
        let tiles = TileBuilder::resume(size, levels).unwrap_or_default();
        Ok(Self { tiles, tail, ..Self::default() })
    }

    /// Leaves in the log.
    pub fn size(&self) -> u64 {
        self.tiles.size()
    }

    /// The root of the log's tree.
    pub fn root(&self) -> Digest {
        self.tiles.root()
    }

    /// The log's tree at its right edge.
    pub fn frontier(&self) -> Frontier {
        self.tiles.frontier()
    }

    /// Appends a leaf, and gives its index.
    pub fn append(&mut self, leaf: &[u8]) -> Result<u64, LogError> {
        let index = self.size();
        self.full_tiles.extend(self.tiles.push(merkle::leaf_hash(leaf)));
        self.tail.push(leaf.to_vec());
        if u64::try_from(self.tail.len()) == Ok(TILE_WIDTH) {
            let bundle = self.bundle(index / TILE_WIDTH)?;
            self.full_bundles.push(bundle);
            self.tail.clear();
        }
        Ok(index)
    }

    fn bundle(&self, index: u64) -> Result<(Artefact, Vec<u8>), LogError> {
        let width = u16::try_from(self.tail.len()).unwrap_or(u16::MAX);
        let bytes = layout::encode_bundle(self.tail.iter().map(Vec::as_slice))?;
        Ok((Artefact::Bundle { index, width }, bytes))
    }

    /// The bundles that were filled since the last call, and the partial one.
    pub fn take_bundles(&mut self) -> Result<Vec<(Artefact, Vec<u8>)>, LogError> {
        let mut bundles = std::mem::take(&mut self.full_bundles);
        if !self.tail.is_empty() {
            bundles.push(self.bundle(self.size() / TILE_WIDTH)?);
        }
        Ok(bundles)
    }

    /// The tiles that were filled since the last call, and the partial ones.
    pub fn take_tiles(&mut self) -> Vec<(Artefact, Vec<u8>)> {
        let mut tiles = std::mem::take(&mut self.full_tiles);
        tiles.extend(self.tiles.partial());
        tiles
    }
}

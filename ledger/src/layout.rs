//! Where things lie in the archive: object keys, tiles and entry bundles (FORMAT sections 8 and 9).
//!
//! Here: one value per artefact, printed and parsed, and the bytes of tiles and bundles. Not here:
//! any store.

use std::fmt;

use crate::hash::Digest;
use crate::limits::{BUNDLE_ENTRY_BYTES, TILE_WIDTH};
use crate::merkle::{self, Frontier};
use crate::names::{RollupName, Seq, Workspace};
use crate::note::plain_number;
use crate::time::{Day, Hour};

/// The entries that a chunk's object and manifest are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The workspace.
    pub workspace: Workspace,
    /// The hour.
    pub hour: Hour,
    /// Seq of the first entry.
    pub first_seq: Seq,
    /// Seq of the last entry.
    pub last_seq: Seq,
}

/// Which rollup an object or a note is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RollupPlace {
    /// The rollup.
    pub name: RollupName,
    /// The workspace.
    pub workspace: Workspace,
    /// The day.
    pub day: Day,
    /// The version of the definition.
    pub version: u32,
    /// How often the day was restated before.
    pub revision: u32,
    /// The first bytes of the SHA-256 of the object: a run that died leaves nothing in the way of the next one,
    /// which may have more to read.
    pub object: [u8; 8],
}

/// Everything that an archive holds, by what it is. Prints as its object key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Artefact {
    /// `log/checkpoint`: the one object that is replaced.
    Checkpoint,
    /// `log/tile/<level>/<index>[.p/<width>]`: hashes of the log's tree.
    Tile {
        /// Height above the leaves, in steps of eight.
        level: u8,
        /// Index of the tile in its level.
        index: u64,
        /// Hashes in it, 1 to 256.
        width: u16,
    },
    /// `log/tile/entries/<index>[.p/<width>]`: the log's leaf data.
    Bundle {
        /// Index of the bundle.
        index: u64,
        /// Entries in it, 1 to 256.
        width: u16,
    },
    /// `hours/.../hour=<HH>.note`: a copy of an hour note.
    HourNote(Hour),
    /// `hours/.../hour=<HH>.heads`: the leaf data of its heads.
    HourHeads(Hour),
    /// `manifests/.../<first>-<last>[.e<n>].note`: a copy of a chunk manifest.
    Manifest {
        /// The entries.
        range: Range,
        /// 0, or which erasure of the range this is.
        erasure: u32,
    },
    /// `events/.../<first>-<last>[.e<n>].parquet`: the entries themselves.
    Events {
        /// The entries.
        range: Range,
        /// 0, or which erasure of the range this is.
        erasure: u32,
    },
    /// `rollups/<name>/v<version>.sql`: the definition of a rollup.
    RollupSql {
        /// The rollup.
        name: RollupName,
        /// The version of the definition, from 1.
        version: u32,
    },
    /// `rollups/<name>/workspace=<ws>/date=<date>/v<version>.r<revision>-<hex>.parquet`: figures computed from
    /// sealed chunks.
    Rollup(RollupPlace),
    /// The same with `.note`: a copy of its manifest.
    RollupNote(RollupPlace),
}

impl Artefact {
    /// Reads an object key; `None` for any key that an archive has no place for. What this accepts
    /// prints as the same key again.
    pub fn parse(key: &str) -> Option<Self> {
        let artefact = Self::read(key)?;
        (artefact.to_string() == key).then_some(artefact)
    }

    fn read(key: &str) -> Option<Self> {
        let (top, rest) = key.split_once('/')?;
        match top {
            "log" if rest == "checkpoint" => Some(Self::Checkpoint),
            "log" => {
                let (level, path) = rest.strip_prefix("tile/")?.split_once('/')?;
                let (index, width) = parse_index(path)?;
                match level {
                    "entries" => Some(Self::Bundle { index, width }),
                    level => Some(Self::Tile {
                        level: level.parse().ok().filter(|level| *level < 8)?,
                        index,
                        width,
                    }),
                }
            }
            "hours" => {
                let (date, file) = rest.strip_prefix("date=")?.split_once("/hour=")?;
                let (hour, kind) = file.split_once('.')?;
                let hour = Hour::from_key(date, hour)?;
                match kind {
                    "note" => Some(Self::HourNote(hour)),
                    "heads" => Some(Self::HourHeads(hour)),
                    _ => None,
                }
            }
            "manifests" => {
                let (range, erasure) = parse_range(rest, "note")?;
                Some(Self::Manifest { range, erasure })
            }
            "events" => {
                let (range, erasure) = parse_range(rest, "parquet")?;
                Some(Self::Events { range, erasure })
            }
            "rollups" => parse_rollup(rest),
            _ => None,
        }
    }
}

impl fmt::Display for Artefact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("log/checkpoint"),
            Self::Tile { level, index, width } => {
                write!(f, "log/tile/{level}/")?;
                write_index(f, *index, *width)
            }
            Self::Bundle { index, width } => {
                f.write_str("log/tile/entries/")?;
                write_index(f, *index, *width)
            }
            Self::HourNote(hour) => {
                write_hour(f, "hours/", *hour).and_then(|()| f.write_str(".note"))
            }
            Self::HourHeads(hour) => {
                write_hour(f, "hours/", *hour).and_then(|()| f.write_str(".heads"))
            }
            Self::Manifest { range, erasure } => {
                write_range(f, "manifests", range, *erasure, "note")
            }
            Self::Events { range, erasure } => write_range(f, "events", range, *erasure, "parquet"),
            Self::RollupSql { name, version } => write!(f, "rollups/{name}/v{version}.sql"),
            Self::Rollup(place) => write_rollup(f, place, "parquet"),
            Self::RollupNote(place) => write_rollup(f, place, "note"),
        }
    }
}

fn write_rollup(f: &mut fmt::Formatter<'_>, place: &RollupPlace, ending: &str) -> fmt::Result {
    let RollupPlace { name, workspace, day, version, revision, object } = place;
    write!(f, "rollups/{name}/workspace={workspace}/date={day}/v{version}.r{revision}-")?;
    object.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
    write!(f, ".{ending}")
}

fn parse_rollup(path: &str) -> Option<Artefact> {
    let number = |text: &str| plain_number(text).and_then(|number| u32::try_from(number).ok());
    let version = |text: &str| number(text.strip_prefix('v')?).filter(|version| *version > 0);
    let (name, rest) = path.split_once('/')?;
    let name = RollupName::new(name).ok()?;
    if let Some(text) = rest.strip_suffix(".sql") {
        return Some(Artefact::RollupSql { name, version: version(text)? });
    }
    let (workspace, rest) = rest.strip_prefix("workspace=")?.split_once("/date=")?;
    let (day, file) = rest.split_once('/')?;
    let (head, ending) = file.rsplit_once('.')?;
    let (head, object) = head.split_once('-')?;
    let (at, revision) = head.split_once(".r")?;
    let place = RollupPlace {
        name,
        workspace: Workspace::new(workspace).ok()?,
        day: Day::parse(day).ok()?,
        version: version(at)?,
        revision: number(revision)?,
        object: crate::hash::hex_bytes(object)?,
    };
    match ending {
        "parquet" => Some(Artefact::Rollup(place)),
        "note" => Some(Artefact::RollupNote(place)),
        _ => None,
    }
}

fn write_hour(f: &mut fmt::Formatter<'_>, prefix: &str, hour: Hour) -> fmt::Result {
    write!(f, "{prefix}date={}/hour={:02}", hour.date(), hour.of_day())
}

fn write_range(
    f: &mut fmt::Formatter<'_>,
    top: &str,
    range: &Range,
    erasure: u32,
    ending: &str,
) -> fmt::Result {
    write!(f, "{top}/workspace={}/", range.workspace)?;
    write_hour(f, "", range.hour)?;
    write!(f, "/{:020}-{:020}", range.first_seq.get(), range.last_seq.get())?;
    if erasure != 0 {
        write!(f, ".e{erasure}")?;
    }
    write!(f, ".{ending}")
}

fn parse_range(path: &str, ending: &str) -> Option<(Range, u32)> {
    let mut segments = path.split('/');
    let workspace = Workspace::new(segments.next()?.strip_prefix("workspace=")?).ok()?;
    let date = segments.next()?.strip_prefix("date=")?;
    let hour = segments.next()?.strip_prefix("hour=")?;
    let file = segments.next()?.strip_suffix(ending)?.strip_suffix('.')?;
    let (seqs, erasure) = match file.split_once(".e") {
        Some((seqs, erasure)) => (seqs, erasure.parse().ok().filter(|n| *n != 0)?),
        None => (file, 0),
    };
    let (first, last) = seqs.split_once('-')?;
    let seq = |text: &str| Seq::new(text.parse().ok()?);
    let range = Range {
        workspace,
        hour: Hour::from_key(date, hour)?,
        first_seq: seq(first)?,
        last_seq: seq(last)?,
    };
    segments.next().is_none().then_some((range, erasure))
}

/// `x001/x234/067` and `.p/<width>` where the tile is not full (C2SP tlog-tiles).
fn write_index(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    let mut groups = vec![index % 1_000];
    let mut rest = index / 1_000;
    while rest > 0 {
        groups.push(rest % 1_000);
        rest /= 1_000;
    }
    while let Some(group) = groups.pop() {
        let (mark, end) = if groups.is_empty() { ("", "") } else { ("x", "/") };
        write!(f, "{mark}{group:03}{end}")?;
    }
    if u64::from(width) == TILE_WIDTH { Ok(()) } else { write!(f, ".p/{width}") }
}

fn parse_index(path: &str) -> Option<(u64, u16)> {
    let full = u16::try_from(TILE_WIDTH).ok()?;
    let (path, width) = match path.split_once(".p/") {
        Some((path, width)) => (path, width.parse().ok().filter(|w| (1..full).contains(w))?),
        None => (path, full),
    };
    let mut index = 0_u64;
    for group in path.split('/') {
        let group: u64 = group.trim_start_matches('x').parse().ok()?;
        index = index.checked_mul(1_000)?.checked_add(group)?;
    }
    Some((index, width))
}

/// The tiles of one level of a tree: which objects hold `count` hashes.
fn row(count: u64) -> impl Iterator<Item = (u64, u16)> {
    (0..count.div_ceil(TILE_WIDTH)).filter_map(move |index| {
        let width = (count - index * TILE_WIDTH).min(TILE_WIDTH);
        Some((index, u16::try_from(width).ok()?))
    })
}

/// The entry bundles of a log of this size.
pub fn bundles(size: u64) -> impl Iterator<Item = Artefact> {
    row(size).map(|(index, width)| Artefact::Bundle { index, width })
}

/// The tiles of a log of this size, level by level.
pub fn tiles(size: u64) -> impl Iterator<Item = Artefact> {
    let levels = (0_u8..8).map(move |level| (level, size >> (8 * u32::from(level))));
    levels.take_while(|(_, count)| *count > 0).flat_map(|(level, count)| {
        row(count).map(move |(index, width)| Artefact::Tile { level, index, width })
    })
}

/// Why the bytes of an entry bundle are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// An entry is longer than a bundle can hold.
    #[error("an entry of {0} bytes is longer than a bundle can hold ({BUNDLE_ENTRY_BYTES})")]
    TooLong(usize),
    /// The bundle ends within entry `entry`.
    #[error("the bundle ends within its entry {entry}, {expected} were expected")]
    Short {
        /// The entry that is cut, from 0.
        entry: u16,
        /// Entries that were expected.
        expected: u16,
    },
    /// Bytes after the last entry.
    #[error("{0} bytes follow the last entry of the bundle")]
    Trailing(usize),
}

/// The bytes of an entry bundle: each entry behind its length as a `u16`.
pub fn encode_bundle<'a>(
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, BundleError> {
    let mut bundle = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| BundleError::TooLong(entry.len()))?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// The entries of a bundle that holds `width` of them.
pub fn decode_bundle(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    let mut entries = Vec::with_capacity(usize::from(width));
    let mut rest = bundle;
    for entry in 0..width {
        let short = BundleError::Short { entry, expected: width };
        let (length, tail) = rest.split_first_chunk::<2>().ok_or(short)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (data, tail) = tail.split_at_checked(length).ok_or(short)?;
        entries.push(data);
        rest = tail;
    }
    if rest.is_empty() { Ok(entries) } else { Err(BundleError::Trailing(rest.len())) }
}

/// Builds the tiles of a log as its leaves come in, and gives out each tile that is not yet
/// written. Holds one partial tile a level.
#[derive(Clone, Debug, Default)]
pub struct TileBuilder {
    size: u64,
    levels: Vec<Vec<Digest>>,
}

impl TileBuilder {
    /// The empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on from the partial tile of each level of a log of this size, lowest level first;
    /// `None` where their widths do not fit the size.
    pub fn resume(size: u64, levels: Vec<Vec<Digest>>) -> Option<Self> {
        for (level, hashes) in (0_u32..).zip(&levels) {
            let width = size.checked_shr(8 * level)? % TILE_WIDTH;
            if u64::try_from(hashes.len()).ok()? != width {
                return None;
            }
        }
        let above = 8 * u32::try_from(levels.len()).ok()?;
        (size.checked_shr(above).unwrap_or(0) == 0).then_some(Self { size, levels })
    }

    /// Leaves in the log.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf's hash, and gives the tiles that it filled.
    pub fn push(&mut self, leaf: Digest) -> Vec<(Artefact, Vec<u8>)> {
        self.size += 1;
        let mut full = Vec::new();
        let mut carry = Some(leaf);
        let mut level = 0_u8;
        while let Some(hash) = carry.take() {
            if self.levels.len() <= usize::from(level) {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(usize::from(level)) else {
                break;
            };
            hashes.push(hash);
            if u64::try_from(hashes.len()) == Ok(TILE_WIDTH) {
                let index = (self.size >> (8 * (u32::from(level) + 1))) - 1;
                let tile = Artefact::Tile { level, index, width: 256 };
                full.push((tile, bytes(hashes)));
                carry = Some(merkle::root(hashes));
                hashes.clear();
                level += 1;
            }
        }
        full
    }

    /// The partial tiles at the right edge.
    pub fn partial(&self) -> Vec<(Artefact, Vec<u8>)> {
        let mut tiles = Vec::new();
        for (level, hashes) in (0_u8..).zip(&self.levels) {
            if let (Ok(width @ 1..), bytes) = (u16::try_from(hashes.len()), bytes(hashes)) {
                let index = self.size >> (8 * (u32::from(level) + 1));
                tiles.push((Artefact::Tile { level, index, width }, bytes));
            }
        }
        tiles
    }

    /// The log's tree at its right edge.
    pub fn frontier(&self) -> Frontier {
        let roots = self.levels.iter().rev().flat_map(|hashes| subtree_roots(hashes)).collect();
        // The levels are those of this size.
        Frontier::from_parts(self.size, roots).unwrap_or_default()
    }

    /// The root of the log's tree.
    pub fn root(&self) -> Digest {
        self.frontier().root()
    }
}

/// The roots of the complete subtrees over a partial tile's hashes, largest first.
fn subtree_roots(hashes: &[Digest]) -> Vec<Digest> {
    let mut roots = Vec::new();
    let mut rest = hashes;
    for power in (0..8).rev() {
        if hashes.len() >> power & 1 == 1
            && let Some((subtree, tail)) = rest.split_at_checked(1 << power)
        {
            roots.push(merkle::root(subtree));
            rest = tail;
        }
    }
    roots
}

fn bytes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The hashes of a tile that holds `width` of them; `None` where the length is another.
pub fn decode_tile(tile: &[u8], width: u16) -> Option<Vec<Digest>> {
    if tile.len() != 32 * usize::from(width) {
        return None;
    }
    tile.chunks_exact(32).map(Digest::from_slice).collect()
}

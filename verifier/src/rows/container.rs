//! The frame of a Parquet file: that every byte of it has one place, and that no page is larger
//! than it may be. Nothing is decompressed here.

use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::schema::{COLUMNS, Column, Kind};
use super::{RowsError, page, thrift};

const MAGIC: &[u8; 4] = b"PAR1";
/// Bytes before the first column and behind the footer's structure.
const HEAD_BYTES: u64 = 4;
const TAIL_BYTES: usize = 8;

/// Largest footer that is decoded: room for some two hundred row groups, twelve times what a chunk
/// of the default size has.
const FOOTER_BYTES_MAX: u64 = 4 << 20;
/// Largest page of payloads once decompressed. A chunk of the largest size that the archiver can be set to
/// holds fewer payload bytes than that.
const PAYLOAD_PAGE_BYTES_MAX: u64 = 128 << 20;
/// Largest page of any other column once decompressed: eight times what writers aim at.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// Most bytes that all pages of a file may come to once decompressed.
const DECODED_BYTES_MAX: u64 = 4 << 30;
/// Most bytes of pages that are held at a time: of each column its dictionary, and its largest page.
const HELD_BYTES_MAX: u64 = 192 << 20;
/// Most rows of a chunk: what the archiver can be set to.
const ROWS_MAX: u64 = 1 << 20;
/// Each row has digests and a link, which nothing compresses: this many bytes of a file at least.
const ROW_BYTES_MIN: u64 = 32;
/// Most elements of a list in a footer. A reader makes room for as many as a list says that it has.
const FOOTER_LIST_MAX: u64 = 4_096;
/// Rows that are decoded at a time, and how many bytes of them at most, where they are more than one.
const BATCH_ROWS: u64 = 4_096;
const BATCH_BYTES: u64 = 16 << 20;
/// What the decoder makes of each entry of a dictionary, besides its bytes.
const ENTRY_BYTES: u64 = 16;
/// An encoding in which a value of a few bytes repeats the one before it, however long that is. No writer of
/// this format uses it, and no page says what it comes to.
const DELTA_BYTE_ARRAY: i64 = 7;

const ENDS: RowsError = RowsError::Container("it does not begin and end as a Parquet file does");

/// Splits a file into what lies before its footer and the footer.
pub(super) fn split(file: &[u8]) -> Result<(&[u8], &[u8]), RowsError> {
    let (rest, tail) = file.split_last_chunk::<TAIL_BYTES>().ok_or(ENDS)?;
    let (length, magic) = tail.split_first_chunk::<4>().ok_or(ENDS)?;
    if magic != MAGIC || !rest.starts_with(MAGIC) {
        return Err(ENDS);
    }
    let length = u64::from(u32::from_le_bytes(*length));
    limit("the footer's length", FOOTER_BYTES_MAX, length)?;
    let at = usize::try_from(length).ok().and_then(|length| rest.len().checked_sub(length));
    let (body, footer) = at
        .and_then(|at| rest.split_at_checked(at))
        .ok_or(RowsError::Container("its footer is longer than the file"))?;
    match thrift::walk(footer, FOOTER_LIST_MAX, |_| {}) {
        Some([]) => Ok((body, footer)),
        Some(_) => Err(RowsError::Container("bytes follow the structure in its footer")),
        None => Err(RowsError::Container("its footer is no whole structure")),
    }
}

fn limit(what: &'static str, max: u64, found: u64) -> Result<(), RowsError> {
    if found > max { Err(RowsError::Limit { what, max, found }) } else { Ok(()) }
}

/// How a file is decoded in bounded memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rows to decode at a time.
    pub(super) rows: usize,
    /// Most bytes of pages that are held at a time.
    pub(super) held: u64,
}

/// What the pages of a column come to once decompressed.
#[derive(Default)]
struct Decoded {
    /// All of them.
    sum: u64,
    /// Those that are held at a time.
    held: u64,
    /// Most bytes for one value, by the sizes of pages.
    value: u64,
}

/// Checks that the footer places every byte of `body` once, and that each column's pages are whole,
/// hold its rows and no more, and are no larger than they may be.
pub(super) fn check(body: &[u8], metadata: &ParquetMetaData) -> Result<Plan, RowsError> {
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    check_columns(body, metadata, &COLUMNS, ROWS_MAX.min(length / ROW_BYTES_MIN))
}

/// The same for a file of other columns, with so many rows at most.
pub(super) fn check_columns(
    body: &[u8],
    metadata: &ParquetMetaData,
    columns: &[Column],
    rows_max: u64,
) -> Result<Plan, RowsError> {
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(u64::MAX);
    limit("the number of rows", rows_max, rows)?;
    let mut extents = Vec::new();
    let mut decoded = 0_u64;
    let (mut held, mut row) = (0_u64, 1_u64);
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).ok().filter(|rows| *rows > 0);
        let rows = rows.ok_or(RowsError::Container("a row group without rows"))?;
        let mut group_held = 0_u64;
        let mut group_row = 0_u64;
        for (column, chunk) in columns.iter().zip(group.columns()) {
            let extent = data_extent(column, chunk)?;
            let pages = pages(column, chunk, extent.of(body)?, rows)?;
            decoded = decoded.saturating_add(pages.sum);
            group_held = group_held.saturating_add(pages.held);
            group_row = group_row.saturating_add(pages.value);
            extents.push(extent);
            extents.extend(index_extents(body, chunk)?);
        }
        (held, row) = (held.max(group_held), row.max(group_row));
    }
    limit("the size of all pages together", DECODED_BYTES_MAX, decoded)?;
    limit("the size of the pages of all columns at a time", HELD_BYTES_MAX, held)?;
    tile(extents, length)?;
    let rows = (BATCH_BYTES / row).clamp(1, BATCH_ROWS);
    Ok(Plan { rows: usize::try_from(rows).unwrap_or(1), held })
}

/// A run of the file's bytes that the footer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Extent {
    from: u64,
    to: u64,
}

impl Extent {
    fn new(from: i64, length: i64) -> Result<Self, RowsError> {
        let extent = u64::try_from(from).ok().zip(u64::try_from(length).ok());
        let extent =
            extent.and_then(|(from, length)| Some(Self { from, to: from.checked_add(length)? }));
        extent.ok_or(RowsError::Container("its footer names a place outside the file"))
    }

    fn of(self, body: &[u8]) -> Result<&[u8], RowsError> {
        let range = usize::try_from(self.from).ok().zip(usize::try_from(self.to).ok());
        let bytes = range.and_then(|(from, to)| body.get(from..to));
        bytes.ok_or(RowsError::Container("its footer names a place outside the file"))
    }
}

fn data_extent(column: &Column, chunk: &ColumnChunkMetaData) -> Result<Extent, RowsError> {
    let bad = |reason| Err(RowsError::Pages { column: column.name, reason });
    if chunk.file_path().is_some() {
        return bad("it lies in another file");
    }
    if !matches!(chunk.compression(), Compression::ZSTD(_)) {
        return bad("it is not compressed with zstd");
    }
    if chunk.index_page_offset().is_some() {
        return bad("it has an index page, which no reader of this format knows");
    }
    let from = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    Extent::new(from, chunk.compressed_size())
}

/// The Bloom filter and the page indexes of a column, where it has them.
fn index_extents(body: &[u8], chunk: &ColumnChunkMetaData) -> Result<Vec<Extent>, RowsError> {
    let structures = [
        (chunk.column_index_offset(), chunk.column_index_length()),
        (chunk.offset_index_offset(), chunk.offset_index_length()),
    ];
    let mut extents = Vec::new();
    for (offset, length) in structures {
        if let Some(extent) = optional(offset, length)? {
            if thrift::walk(extent.of(body)?, u64::MAX, |_| {}) != Some(&[]) {
                return Err(RowsError::Container("a page index is no whole structure"));
            }
            extents.push(extent);
        }
    }
    if let Some(extent) = optional(chunk.bloom_filter_offset(), chunk.bloom_filter_length())? {
        let mut bits = None;
        let filter = thrift::walk(extent.of(body)?, 0, |field| {
            if (field.outer, field.id) == (0, 1) {
                bits = u64::try_from(field.value).ok();
            }
        });
        let found = filter.and_then(|filter| u64::try_from(filter.len()).ok());
        if bits.is_none() || bits != found {
            return Err(RowsError::Container("a Bloom filter is not as long as it says"));
        }
        extents.push(extent);
    }
    Ok(extents)
}

fn optional(offset: Option<i64>, length: Option<i32>) -> Result<Option<Extent>, RowsError> {
    match (offset, length) {
        (None, None) => Ok(None),
        (Some(offset), Some(length)) => Extent::new(offset, length.into()).map(Some),
        _ => Err(RowsError::Container("an index has a place and no length, or the reverse")),
    }
}

fn tile(mut extents: Vec<Extent>, end: u64) -> Result<(), RowsError> {
    extents.sort_unstable();
    extents.push(Extent { from: end, to: end });
    let mut at = HEAD_BYTES;
    for Extent { from, to } in extents {
        if from > at {
            let what = "named by nothing in its footer";
            return Err(RowsError::Bytes { from: at, to: from, what });
        }
        if from < at {
            let what = "named twice in its footer";
            return Err(RowsError::Bytes { from, to: at.min(to), what });
        }
        at = to;
    }
    Ok(())
}

/// Walks the pages of a column chunk; gives the bytes that they come to once decompressed.
fn pages(
    column: &Column,
    chunk: &ColumnChunkMetaData,
    mut rest: &[u8],
    rows: u64,
) -> Result<Decoded, RowsError> {
    let bad = |reason| RowsError::Pages { column: column.name, reason };
    let max = if column.kind == Kind::Binary { PAYLOAD_PAGE_BYTES_MAX } else { PAGE_BYTES_MAX };
    let length = rest.len();
    let data_at = chunk.data_page_offset().checked_sub(chunk.dictionary_page_offset().unwrap_or(0));
    let mut dictionary = chunk.dictionary_page_offset().is_some();
    let mut decoded = Decoded::default();
    let (mut dictionary_held, mut page_held, mut values) = (0_u64, 0_u64, 0_u64);
    while !rest.is_empty() {
        let (header, body) = page::header(rest).map_err(bad)?;
        let bytes = header.decoded;
        limit("a page once decompressed", max, bytes)?;
        decoded.sum = decoded.sum.saturating_add(bytes);
        if header.encoding == DELTA_BYTE_ARRAY {
            return Err(bad("a page is encoded in a way that does not say what it comes to"));
        }
        let compressed = usize::try_from(header.compressed).ok();
        rest = compressed
            .and_then(|compressed| body.split_at_checked(compressed))
            .ok_or_else(|| bad("a page is cut short"))?
            .1;
        match (header.kind, dictionary) {
            (page::DATA | page::DATA_V2, false) => {
                let here = header.values;
                values = values.saturating_add(here);
                let value = bytes.checked_div(here).ok_or_else(|| bad("a page without values"))?;
                decoded.value = decoded.value.max(value);
                page_held = page_held.max(bytes);
            }
            (page::DICTIONARY, true) => {
                dictionary = false;
                let entries = header.values;
                if entries > bytes {
                    return Err(bad("a dictionary has more entries than bytes"));
                }
                dictionary_held = bytes.saturating_add(entries.saturating_mul(ENTRY_BYTES));
                let at = i64::try_from(length.saturating_sub(rest.len())).ok();
                if at != data_at {
                    return Err(bad("its data does not start behind its dictionary"));
                }
            }
            _ => return Err(bad("a page is of the wrong kind for its place")),
        }
    }
    if values == rows && u64::try_from(chunk.num_values()) == Ok(rows) {
        decoded.held = dictionary_held.saturating_add(page_held);
        Ok(decoded)
    } else {
        Err(bad("its pages do not hold one value a row"))
    }
}

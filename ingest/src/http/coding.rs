//! Content codings: a body that was sent compressed, expanded within bounds.
//!
//! Here, pure: gzip and zstd. A body is one gzip member or one zstd frame, whole, with nothing
//! around it: what is signed is the bytes that come out, so there must be one way to read them.
//! Not here: reading the body, and the memory that it takes (see `body`).

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::GzDecoder;

use super::pages::Pages;

/// What `Accept-Encoding` says with a 415.
pub const ACCEPTED: &str = "gzip, zstd";

/// A body may grow by this much for every byte that was sent...
const RATIO: usize = 256;
/// ...and by this much in any case, in bytes.
const ALLOWANCE: usize = 64 * 1024;
/// Largest window of a zstd frame, in bytes: what RFC 9659 lets a sender use over HTTP.
const WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// The same, as the decoder wants it.
const WINDOW_LOG: u32 = 23;

const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// The last four bits of a skippable frame's magic number are free.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Reads the values of `Content-Encoding`; `None` for a coding that is not taken, and for more
    /// than one.
    pub fn read<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Option<Self> {
        let Some(value) = values.next() else {
            return Some(Self::Identity);
        };
        if values.next().is_some() {
            return None;
        }
        match value.trim_ascii().to_ascii_lowercase().as_slice() {
            b"identity" => Some(Self::Identity),
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Most bytes that a body of `sent` bytes may become where `max` is the most for any.
    pub fn most(self, sent: usize, max: usize) -> usize {
        match self {
            Self::Identity => 0,
            Self::Gzip | Self::Zstd => {
                sent.saturating_mul(RATIO).saturating_add(ALLOWANCE).min(max)
            }
        }
    }
}

/// Why a coded body cannot be expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// The bytes are not of this coding.
    #[error("the body does not start as its Content-Encoding says")]
    Magic,
    /// The bytes end early.
    #[error("the compressed body ends before its end")]
    CutOff,
    /// The bytes are damaged, or do not match their checksum.
    #[error("the compressed body is damaged")]
    Damaged,
    /// A second gzip member or zstd frame.
    #[error("the body holds more than one gzip member or zstd frame")]
    Several,
    /// Something else after the end.
    #[error("{0} bytes follow the compressed body")]
    Trailing(usize),
    /// A zstd frame that holds nothing to expand.
    #[error("the body holds a skippable zstd frame")]
    Skippable,
    /// A zstd frame that asks for more memory than a sender may.
    #[error("the zstd window has {found} bytes, at most {max} are taken", max = WINDOW_BYTES)]
    Window {
        /// Bytes it asks for.
        found: u64,
    },
    /// A zstd frame that needs a dictionary.
    #[error("the zstd frame needs a dictionary")]
    Dictionary,
    /// It becomes too large.
    #[error("the body expands to more than {max} bytes")]
    TooLarge {
        /// Most bytes.
        max: usize,
    },
}

impl CodingError {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Magic => "coding-magic",
            Self::CutOff => "coding-cut-off",
            Self::Damaged => "coding-damaged",
            Self::Several => "coding-several",
            Self::Trailing(_) => "coding-trailing",
            Self::Skippable => "coding-skippable",
            Self::Window { .. } => "coding-window",
            Self::Dictionary => "coding-dictionary",
            Self::TooLarge { .. } => "coding-too-large",
        }
    }

    /// How to mend it.
    pub const fn mend(self) -> &'static str {
        match self {
            Self::Magic => "compress the body as the header says, or leave the header out",
            Self::CutOff => "send the compressed body whole",
            Self::Damaged => "compress the body again",
            Self::Several | Self::Trailing(_) | Self::Skippable => {
                "send one gzip member or one zstd frame, and nothing else"
            }
            Self::Window { .. } => "compress with a window log of at most 23",
            Self::Dictionary => "compress without a dictionary",
            Self::TooLarge { .. } => "send fewer events at once, or without Content-Encoding",
        }
    }
}

/// Expands a body to at most `max` bytes. Memory: what comes out, and a window of at most 8 MiB.
pub fn expand(coding: Coding, sent: &Bytes, max: usize) -> Result<Bytes, CodingError> {
    match coding {
        Coding::Identity => Ok(sent.clone()),
        Coding::Gzip => gunzip(sent, coding.most(sent.len(), max)),
        Coding::Zstd => unzstd(sent, coding.most(sent.len(), max)),
    }
}

fn gunzip(sent: &[u8], max: usize) -> Result<Bytes, CodingError> {
    if !sent.starts_with(&GZIP_MAGIC) {
        return Err(if sent.is_empty() { CodingError::CutOff } else { CodingError::Magic });
    }
    let mut decoder = GzDecoder::new(sent);
    let expanded = drain(&mut decoder, max)?;
    let rest = decoder.into_inner();
    match rest {
        [] => Ok(expanded),
        rest if rest.starts_with(&GZIP_MAGIC) => Err(CodingError::Several),
        rest => Err(CodingError::Trailing(rest.len())),
    }
}

fn unzstd(sent: &[u8], max: usize) -> Result<Bytes, CodingError> {
    let frame = Frame::read(sent)?;
    if frame.window > WINDOW_BYTES {
        return Err(CodingError::Window { found: frame.window });
    }
    // What the frame says of itself spares the work; what comes out is counted all the same.
    if frame.content.is_some_and(|content| content > u64::try_from(max).unwrap_or(u64::MAX)) {
        return Err(CodingError::TooLarge { max });
    }
    let damaged = |_| CodingError::Damaged;
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(sent).map_err(damaged)?.single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(damaged)?;
    let expanded = drain(&mut decoder, max)?;
    let rest = decoder.finish();
    match magic(rest) {
        _ if rest.is_empty() => Ok(expanded),
        Some(ZSTD_MAGIC) => Err(CodingError::Several),
        Some(found) if found & !0xf == SKIPPABLE_MAGIC => Err(CodingError::Skippable),
        Some(_) | None => Err(CodingError::Trailing(rest.len())),
    }
}

/// Reads to the end, and never holds more than one byte beyond `max`.
fn drain(decoder: &mut impl Read, max: usize) -> Result<Bytes, CodingError> {
    let mut expanded = Pages::with_room(max);
    match expanded.fill(decoder) {
        Ok(true) => Ok(expanded.finish()),
        Ok(false) => Err(CodingError::TooLarge { max }),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(CodingError::CutOff),
        Err(_) => Err(CodingError::Damaged),
    }
}

fn magic(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_le_bytes)
}

/// What the header of a zstd frame says (RFC 8878 section 3.1.1.1).
struct Frame {
    window: u64,
    content: Option<u64>,
}

impl Frame {
    fn read(bytes: &[u8]) -> Result<Self, CodingError> {
        match magic(bytes) {
            Some(ZSTD_MAGIC) => {}
            Some(found) if found & !0xf == SKIPPABLE_MAGIC => return Err(CodingError::Skippable),
            Some(_) => return Err(CodingError::Magic),
            None if ZSTD_MAGIC.to_le_bytes().starts_with(bytes) => return Err(CodingError::CutOff),
            None => return Err(CodingError::Magic),
        }
        let mut rest = bytes.iter().skip(4).copied();
        let mut next = || rest.next().ok_or(CodingError::CutOff);
        let descriptor = next()?;
        let single_segment = descriptor & 0x20 != 0;
        let mut window = None;
        if !single_segment {
            let byte = next()?;
            let base = 1_u64 << (10 + u32::from(byte >> 3));
            window = Some(base + base / 8 * u64::from(byte & 7));
        }
        // A dictionary's id of 0 is none.
        let mut dictionary = 0;
        for _ in 0..[0, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or(0) {
            dictionary |= next()?;
        }
        if dictionary != 0 {
            return Err(CodingError::Dictionary);
        }
        let width = match (descriptor >> 6, single_segment) {
            (0, false) => 0,
            (0, true) => 1,
            (1, _) => 2,
            (2, _) => 4,
            (_, _) => 8,
        };
        let mut size = 0_u64;
        for place in 0..width {
            size |= u64::from(next()?) << (8 * place);
        }
        let content = (width > 0).then(|| if width == 2 { size + 256 } else { size });
        Ok(Self { window: window.or(content).unwrap_or(0), content })
    }
}

//! A walk over Thrift's compact encoding that understands nothing but its lengths.
//!
//! Here: where a structure ends, and the fields in its first two levels. Not here: what they
//! mean. The Parquet library decodes the same bytes, but it does not say how many of them it used,
//! and it sizes its buffers by what a page header claims: both must be known before.

/// Deeper than any structure of Parquet, shallow enough for any stack.
const DEPTH_MAX: u8 = 12;

/// Kinds of fields, as they are encoded.
pub(super) const BOOLEANS: [u8; 2] = [1, 2];
pub(super) const I32: u8 = 5;
pub(super) const STRUCTURE: u8 = 12;

/// A field in the first two levels of a structure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// The field around it; 0 in the first level.
    pub(super) outer: i16,
    /// Its number.
    pub(super) id: i16,
    /// Its kind. The Parquet library takes a field that it knows for what it should be, whatever this says.
    pub(super) kind: u8,
    /// Its value, where that is an integer.
    pub(super) value: i64,
}

/// Walks one structure at the start of `bytes`, calls `on` for each field of it and of the structures in its
/// fields, and gives the bytes behind it. `None` where the bytes are no structure, a list in it has more than
/// `most` elements, or its fields do not stand once each in the order of their numbers, as all writers put them.
pub(super) fn walk(bytes: &[u8], most: u64, mut on: impl FnMut(Field)) -> Option<&[u8]> {
    let mut walk = Walk { rest: bytes, most };
    walk.structure(&mut Level { outer: Some(0), depth: 0 }, &mut on)?;
    Some(walk.rest)
}

struct Walk<'a> {
    rest: &'a [u8],
    most: u64,
}

/// Where the walk stands: the field around it, while that is to be told.
struct Level {
    outer: Option<i16>,
    depth: u8,
}

type On<'f> = &'f mut dyn FnMut(Field);

impl<'a> Walk<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.split_at_checked(usize::try_from(bytes).ok()?)?.1;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn structure(&mut self, level: &mut Level, on: On<'_>) -> Option<()> {
        if level.depth > DEPTH_MAX {
            return None;
        }
        let mut field = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            let next = match i16::from(head >> 4) {
                0 => i16::try_from(self.integer()?).ok()?,
                delta => field.checked_add(delta)?,
            };
            if next <= field {
                return None;
            }
            field = next;
            let kind = head & 0x0f;
            let value = match kind {
                // A boolean field is its own value.
                1 | 2 => 0,
                kind => self.value(kind, field, level, on)?,
            };
            if let Some(outer) = level.outer {
                on(Field { outer, id: field, kind, value });
            }
        }
    }

    /// Goes over a value, and gives it where it is an integer; 0 for all others.
    fn value(&mut self, kind: u8, field: i16, level: &mut Level, on: On<'_>) -> Option<i64> {
        match kind {
            1..=3 => self.skip(1)?,
            4..=6 => return self.integer(),
            7 => self.skip(8)?,
            8 => {
                let length = self.varint()?;
                self.skip(length)?;
            }
            // A list; Parquet has no map. Its elements are too deep to be told.
            9 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                if count > self.most {
                    return None;
                }
                let mut inside = Level { outer: None, depth: level.depth + 1 };
                // Every element has at least a byte, so a false count ends with the bytes.
                (0..count)
                    .try_for_each(|_| self.value(head & 0x0f, 0, &mut inside, on).map(|_| ()))?;
            }
            STRUCTURE => {
                let outer = (level.outer == Some(0)).then_some(field);
                self.structure(&mut Level { outer, depth: level.depth + 1 }, on)?;
            }
            _ => return None,
        }
        Some(0)
    }
}

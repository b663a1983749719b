//! The header of a page, read so that nobody can read it in another way.
//!
//! The Parquet library takes each field that it knows for what it should be, whatever kind the bytes say, and
//! the last one where it stands twice. Whoever seals such a header would have the limits here checked on
//! other numbers than those that are decoded by. So a header is taken only where every known field has its
//! kind, and of the structures that say how a page is encoded there is the page's own and no other.

use super::thrift::{self, BOOLEANS, Field, I32, STRUCTURE};

/// Kinds of pages.
pub(super) const DATA: i64 = 0;
pub(super) const DICTIONARY: i64 = 2;
pub(super) const DATA_V2: i64 = 3;

/// The fields of a page header that say how much follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) kind: i64,
    pub(super) decoded: u64,
    pub(super) compressed: u64,
    pub(super) values: u64,
    pub(super) encoding: i64,
}

/// Reads the header at the start of `bytes`, and gives the bytes behind it.
pub(super) fn header(bytes: &[u8]) -> Result<(PageHeader, &[u8]), &'static str> {
    let (mut kind, mut decoded, mut compressed) = (None, None, None);
    let (mut values, mut encoding) = (None, None);
    let mut of = Vec::new();
    let mut is_sound = true;
    let body = thrift::walk(bytes, 0, |Field { outer, id, kind: wire, value }| {
        is_sound &= match (outer, id) {
            (0, 1..=4) | (5, 1..=4) | (7, 1..=2) | (8, 1..=6) => wire == I32,
            (0, 5..=8) | (5, 5) | (8, 8) => wire == STRUCTURE,
            (7, 3) | (8, 7) => BOOLEANS.contains(&wire),
            _ => true,
        };
        match (outer, id) {
            (0, 1) => kind = Some(value),
            (0, 2) => decoded = u64::try_from(value).ok(),
            (0, 3) => compressed = u64::try_from(value).ok(),
            (0, 5..=8) => of.push(id),
            (5 | 7 | 8, 1) => values = u64::try_from(value).ok(),
            (5 | 7, 2) | (8, 4) => encoding = Some(value),
            _ => {}
        }
    });
    let body = body.ok_or("a page header is no whole structure")?;
    let lacks = "a page header lacks a size, its kind or its encoding";
    let header = PageHeader {
        kind: kind.ok_or(lacks)?,
        decoded: decoded.ok_or(lacks)?,
        compressed: compressed.ok_or(lacks)?,
        values: values.ok_or(lacks)?,
        encoding: encoding.ok_or(lacks)?,
    };
    let own = match header.kind {
        DATA => 5,
        DICTIONARY => 7,
        DATA_V2 => 8,
        _ => return Err("a page is of the wrong kind for its place"),
    };
    if is_sound && of == [own] {
        Ok((header, body))
    } else {
        Err("a page header says two things, or one in a form that it does not have")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure of these fields: number, kind, and the bytes of the value.
    fn structure(fields: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut last = 0;
        for (id, kind, value) in fields {
            if *id > last {
                bytes.push((id - last) << 4 | kind);
            } else {
                bytes.extend([*kind, id * 2]);
            }
            bytes.extend_from_slice(value);
            last = *id;
        }
        bytes.push(0);
        bytes
    }

    /// Ten values in 100 bytes, 50 once compressed: kind, then the structures.
    fn page(kind: u8, own: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut fields: Vec<(u8, u8, &[u8])> =
            vec![(1, 5, std::slice::from_ref(&kind)), (2, 5, &[200, 1]), (3, 5, &[100])];
        fields.extend_from_slice(own);
        structure(&fields)
    }

    fn refused(bytes: &[u8]) -> &'static str {
        header(bytes).err().unwrap_or("it is taken")
    }

    #[test]
    fn a_header_is_read_and_what_is_behind_it_is_given() {
        let own = structure(&[(1, 5, &[20]), (2, 5, &[0]), (3, 5, &[6]), (4, 5, &[6])]);
        let bytes = [page(0, &[(5, 12, &own)]), b"rest".to_vec()].concat();
        let expected =
            PageHeader { kind: DATA, decoded: 100, compressed: 50, values: 10, encoding: 0 };
        assert_eq!(header(&bytes), Ok((expected, b"rest".as_slice())));
    }

    /// What the Parquet library would read otherwise than we do.
    #[test]
    fn a_header_that_can_be_read_in_two_ways_is_refused() {
        let two = "a page header says two things, or one in a form that it does not have";
        // DELTA_BYTE_ARRAY in the page's own, PLAIN in the other.
        let hidden = structure(&[(1, 5, &[20]), (2, 5, &[14]), (3, 5, &[6]), (4, 5, &[6])]);
        let shown = structure(&[(1, 5, &[20]), (2, 5, &[0]), (3, 5, &[20]), (4, 5, &[0])]);
        assert_eq!(refused(&page(0, &[(5, 12, &hidden), (8, 12, &shown)])), two);
        // The other one alone; a structure of no page that we take.
        assert_eq!(refused(&page(0, &[(8, 12, &shown)])), two);
        assert_eq!(refused(&page(0, &[(5, 12, &hidden), (6, 12, &[0])])), two);
        // The same twice, or the numbers not in order.
        let whole = "a page header is no whole structure";
        assert_eq!(refused(&page(0, &[(5, 12, &hidden), (5, 12, &shown)])), whole);
        let twice = structure(&[(1, 5, &[20]), (2, 5, &[0]), (2, 5, &[14])]);
        assert_eq!(refused(&page(0, &[(5, 12, &twice)])), whole);
        // An encoding of another kind, by which it would not be told; a count that is a boolean.
        for kind in [3, 4, 6] {
            let bytes = structure(&[(1, 5, &[20]), (2, kind, &[14]), (3, 5, &[6])]);
            assert_ne!(refused(&page(0, &[(5, 12, &bytes)])), "it is taken", "kind {kind}");
        }
        let boolean = structure(&[(1, 1, &[]), (2, 5, &[0])]);
        assert_ne!(refused(&page(0, &[(5, 12, &boolean)])), "it is taken");
        // A dictionary whose entries are counted elsewhere.
        let many = structure(&[(1, 5, &[0xfe, 0xff, 0xff, 0xff, 0x0f]), (2, 5, &[0])]);
        assert_eq!(refused(&page(4, &[(7, 12, &many), (8, 12, &shown)])), two);
        // No encoding.
        let none = structure(&[(1, 5, &[20])]);
        assert!(refused(&page(0, &[(5, 12, &none)])).contains("lacks"));
    }
}

//! Bodies that come compressed: every way to be wrong has a name, and none takes much memory.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use ingest::http::coding::{Coding, CodingError, expand};
use proptest::prelude::*;

const MAX: usize = 1 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

/// A frame of a stream: its header says nothing of its size, and asks for a window.
fn zstd_with_window(bytes: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn skippable(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    [&0x184D_2A57_u32.to_le_bytes(), &length[..], bytes].concat()
}

fn expanded(coding: Coding, sent: &[u8]) -> Result<Bytes, CodingError> {
    expand(coding, &Bytes::copy_from_slice(sent), MAX)
}

#[test]
fn each_coding_has_its_names_and_there_is_one_at_a_time() {
    let read = |values: &[&'static str]| Coding::read(values.iter().map(|value| value.as_bytes()));
    assert_eq!(read(&[]), Some(Coding::Identity));
    assert_eq!(read(&["identity"]), Some(Coding::Identity));
    assert_eq!(read(&["gzip"]), Some(Coding::Gzip));
    assert_eq!(read(&[" X-GZip "]), Some(Coding::Gzip));
    assert_eq!(read(&["zstd"]), Some(Coding::Zstd));
    for other in [&["br"][..], &["gzip, zstd"], &["gzip", "gzip"], &["deflate"], &[""], &["\u{e9}"]]
    {
        assert_eq!(read(other), None, "{other:?}");
    }
}

#[test]
fn whatever_is_around_one_member_or_frame_is_refused_by_name() {
    use CodingError::{CutOff, Damaged, Magic, Several, Skippable, Trailing};
    let text = b"{\"events\": []}";
    let (gz, zs) = (gzip(text), zstd(text));
    assert_eq!(expanded(Coding::Gzip, &gz).unwrap(), &text[..]);
    assert_eq!(expanded(Coding::Zstd, &zs).unwrap(), &text[..]);
    let mut gz_damaged = gz.clone();
    *gz_damaged.last_mut().unwrap() ^= 1;
    let mut checksum = gz.clone();
    let at = checksum.len() - 6;
    checksum[at] ^= 1;
    let cases = [
        (Coding::Gzip, zs.clone(), Magic),
        (Coding::Zstd, gz.clone(), Magic),
        (Coding::Gzip, text.to_vec(), Magic),
        (Coding::Zstd, text.to_vec(), Magic),
        (Coding::Gzip, Vec::new(), CutOff),
        (Coding::Zstd, Vec::new(), CutOff),
        (Coding::Gzip, gz_damaged, Damaged),
        (Coding::Gzip, checksum, Damaged),
        (Coding::Gzip, [&gz[..], &gz].concat(), Several),
        (Coding::Zstd, [&zs[..], &zs].concat(), Several),
        (Coding::Gzip, [&gz[..], b"\0\0"].concat(), Trailing(2)),
        (Coding::Zstd, [&zs[..], b"\n"].concat(), Trailing(1)),
        (Coding::Zstd, [&zs[..], b"12345"].concat(), Trailing(5)),
        (Coding::Zstd, [skippable(&[0; 100_000]), zs.clone()].concat(), Skippable),
        (Coding::Zstd, [zs.clone(), skippable(b"x")].concat(), Skippable),
    ];
    for (at, (coding, sent, error)) in cases.into_iter().enumerate() {
        assert_eq!(expanded(coding, &sent), Err(error), "case {at}");
    }
}

#[test]
fn a_bomb_is_given_up_before_it_goes_off() {
    let zeros = vec![0; 64 << 20];
    let (gz, zs) = (gzip(&zeros), zstd(&zeros));
    for (coding, sent) in [(Coding::Gzip, gz), (Coding::Zstd, zs)] {
        let error = expand(coding, &Bytes::from(sent), 6 << 20).unwrap_err();
        assert!(matches!(error, CodingError::TooLarge { .. }), "{error}");
    }
    // The same without a word about its size, which is found out by counting.
    let sent = Bytes::from(zstd_with_window(&zeros, 20));
    let most = Coding::Zstd.most(sent.len(), MAX);
    assert_eq!(expand(Coding::Zstd, &sent, MAX), Err(CodingError::TooLarge { max: most }));
    assert!(most < MAX);
}

#[test]
fn a_window_has_a_limit_and_a_dictionary_is_not_there() {
    let random: Vec<u8> =
        (0..60_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    let allowed = zstd_with_window(&random, 23);
    assert_eq!(expanded(Coding::Zstd, &allowed).unwrap(), random);
    let found = 1 << 24;
    let sent = zstd_with_window(&random, 24);
    assert_eq!(expanded(Coding::Zstd, &sent), Err(CodingError::Window { found }));
    // A frame that asks for dictionary 7: descriptor with a one-byte id, window, id.
    let sent = [0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x00, 0x07, 0x01, 0x00, 0x00];
    assert_eq!(expanded(Coding::Zstd, &sent), Err(CodingError::Dictionary));
}

proptest! {
    /// What an ordinary client compresses comes out as it was.
    #[test]
    fn what_goes_in_comes_out(bytes in prop::collection::vec(any::<u8>(), 0..20_000), log in 10_u32..=23) {
        prop_assert_eq!(&expanded(Coding::Gzip, &gzip(&bytes)).unwrap()[..], &bytes);
        prop_assert_eq!(&expanded(Coding::Zstd, &zstd(&bytes)).unwrap()[..], &bytes);
        prop_assert_eq!(&expanded(Coding::Zstd, &zstd_with_window(&bytes, log)).unwrap()[..], &bytes);
    }

    /// A body that is cut off anywhere is refused as such.
    #[test]
    fn a_part_is_not_taken_for_the_whole(bytes in prop::collection::vec(any::<u8>(), 1..5_000), at in any::<prop::sample::Index>()) {
        for (coding, sent) in [(Coding::Gzip, gzip(&bytes)), (Coding::Zstd, zstd(&bytes))] {
            let part = &sent[..at.index(sent.len())];
            let error = expanded(coding, part).unwrap_err();
            prop_assert!(matches!(error, CodingError::CutOff | CodingError::Magic), "{:?}", error);
        }
    }

    /// Any bytes at all are expanded within bounds, or refused.
    #[test]
    fn nothing_gets_past_the_bounds(bytes in prop::collection::vec(any::<u8>(), 0..2_000), flip in any::<prop::sample::Index>()) {
        let mut sent = zstd(&bytes);
        let at = flip.index(sent.len());
        sent[at] ^= 0x55;
        for (coding, sent) in [(Coding::Zstd, sent), (Coding::Gzip, bytes)] {
            if let Ok(out) = expanded(coding, &sent) {
                prop_assert!(out.len() <= coding.most(sent.len(), MAX));
            }
        }
    }
}

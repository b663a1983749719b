//! A slow plain reference that shares no code with `src/`: SHA-256 over literal byte layouts, and
//! the trees of RFC 9162 section 2.1 written down as the RFC defines them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use ledger::entry::{Entry, genesis_link, next_link};
use ledger::hash::Digest;
use ledger::key::{Signature, SigningKey};
use ledger::layout::{self, Artefact, TileBuilder};
use ledger::merkle;
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::submission::{Counter, Statement};
use ledger::time::Micros;
use proptest::prelude::*;
use proptest::sample::Index;

/// Plain trees over raw leaf data.
mod plain {
    use sha2::{Digest as _, Sha256};

    pub type Hash = [u8; 32];

    pub fn h(data: &[u8]) -> Hash {
        Sha256::digest(data).into()
    }

    /// The largest power of two smaller than n.
    fn k(n: usize) -> usize {
        let mut k = 1;
        while k * 2 < n {
            k *= 2;
        }
        k
    }

    pub fn mth(d: &[Vec<u8>]) -> Hash {
        match d {
            [] => h(b""),
            [d0] => h(&[&[0x00][..], d0].concat()),
            _ => {
                let (left, right) = d.split_at(k(d.len()));
                h(&[&[0x01][..], &mth(left), &mth(right)].concat())
            }
        }
    }

    pub fn path(m: usize, d: &[Vec<u8>]) -> Vec<Hash> {
        if d.len() == 1 {
            return Vec::new();
        }
        let (left, right) = d.split_at(k(d.len()));
        if m < left.len() {
            [path(m, left), vec![mth(right)]].concat()
        } else {
            [path(m - left.len(), right), vec![mth(left)]].concat()
        }
    }

    pub fn subproof(m: usize, d: &[Vec<u8>], b: bool) -> Vec<Hash> {
        if m == d.len() {
            return if b { Vec::new() } else { vec![mth(d)] };
        }
        let (left, right) = d.split_at(k(d.len()));
        if m <= left.len() {
            [subproof(m, left, b), vec![mth(right)]].concat()
        } else {
            [subproof(m - left.len(), right, false), vec![mth(left)]].concat()
        }
    }

    /// The hashes of one level of a tiled log: roots of the complete subtrees of 256^level leaves.
    pub fn level(d: &[Vec<u8>], level: u32) -> Vec<Hash> {
        d.chunks_exact(256_usize.pow(level)).map(mth).collect()
    }
}

fn data(count: usize) -> Vec<Vec<u8>> {
    let leaf = |i: usize| format!("leaf {i}").into_bytes().repeat(1 + i % 5);
    (0..count).map(leaf).collect()
}

fn hashes(data: &[Vec<u8>]) -> Vec<Digest> {
    data.iter().map(|leaf| merkle::leaf_hash(leaf)).collect()
}

fn raw(digests: &[Digest]) -> Vec<plain::Hash> {
    digests.iter().map(|digest| *digest.as_bytes()).collect()
}

fn size(n: usize) -> u64 {
    n.try_into().unwrap()
}

fn flip(digest: &mut Digest, bit: usize) {
    let mut bytes = *digest.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    *digest = Digest::from_bytes(bytes);
}

#[test]
fn roots_of_all_small_sizes() {
    let data = data(300);
    let leaves = hashes(&data);
    let mut frontier = merkle::Frontier::new();
    for n in 0..=300 {
        let expected = plain::mth(&data[..n]);
        assert_eq!(*merkle::root(&leaves[..n]).as_bytes(), expected, "{n}");
        assert_eq!(*frontier.root().as_bytes(), expected, "{n}");
        assert_eq!(frontier.size(), size(n));
        if let Some(leaf) = leaves.get(n) {
            frontier.push(*leaf);
        }
    }
}

/// All wrong variants of a path: a bit of any digest flipped, one dropped, one doubled, one added.
fn damaged(path: &[Digest], bit: usize) -> Vec<Vec<Digest>> {
    let mut all = vec![[path, &[Digest::ZERO]].concat()];
    for at in 0..path.len() {
        let mut flipped = path.to_vec();
        flip(&mut flipped[at], bit);
        let mut dropped = path.to_vec();
        dropped.remove(at);
        let mut doubled = path.to_vec();
        doubled.insert(at, path[at]);
        all.extend([flipped, dropped, doubled]);
    }
    all
}

proptest! {
    #[test]
    fn inclusion(n in 1_usize..300, at: Index, other: Index, bit in 0_usize..256) {
        let (at, other) = (at.index(n), other.index(n));
        let data = data(n);
        let leaves = hashes(&data);
        let root = merkle::root(&leaves);
        let path = merkle::inclusion_path(&leaves, at).unwrap();
        prop_assert_eq!(raw(&path), plain::path(at, &data));
        let check = |size: u64, at: usize, leaf: &Digest, path: &[Digest]| {
            merkle::check_inclusion(&root, size, u64::try_from(at).unwrap(), leaf, path)
        };
        prop_assert_eq!(check(size(n), at, &leaves[at], &path), Ok(()));
        for damaged in damaged(&path, bit) {
            prop_assert!(check(size(n), at, &leaves[at], &damaged).is_err());
        }
        if other != at {
            prop_assert!(check(size(n), other, &leaves[at], &path).is_err());
            prop_assert!(check(size(n), at, &leaves[other], &path).is_err());
        }
        prop_assert!(check(size(n), n, &leaves[at], &path).is_err());
        prop_assert_eq!(merkle::inclusion_path(&leaves, n), None);
        // A path of another tree does not lead to this tree's root, whatever size is claimed.
        let longer = hashes(&crate::data(n + 1));
        let path = merkle::inclusion_path(&longer, at).unwrap();
        prop_assert!(check(size(n), at, &leaves[at], &path).is_err());
        prop_assert!(check(size(n + 1), at, &leaves[at], &path).is_err());
    }

    #[test]
    fn consistency(n in 1_usize..300, old: Index, other: Index, bit in 0_usize..256) {
        let (old, other) = (old.index(n + 1), other.index(n + 1));
        let data = data(n);
        let leaves = hashes(&data);
        let root = |n: usize| merkle::root(&leaves[..n]);
        let path = merkle::consistency_path(&leaves, old).unwrap();
        let expected = if old == 0 { Vec::new() } else { plain::subproof(old, &data, true) };
        prop_assert_eq!(raw(&path), expected);
        let check = |old: usize, old_root: &Digest, path: &[Digest]| {
            merkle::check_consistency(size(old), old_root, size(n), &root(n), path)
        };
        prop_assert_eq!(check(old, &root(old), &path), Ok(()));
        for damaged in damaged(&path, bit) {
            prop_assert!(check(old, &root(old), &damaged).is_err());
        }
        let mut wrong = root(old);
        flip(&mut wrong, bit);
        prop_assert!(check(old, &wrong, &path).is_err());
        // The root of another size, under this size or its own.
        if other != old {
            prop_assert!(check(old, &root(other), &path).is_err());
            prop_assert!(path.is_empty() || check(other, &root(other), &path).is_err());
        }
        prop_assert!(check(n + 1, &root(n), &path).is_err());
        prop_assert_eq!(merkle::consistency_path(&leaves, n + 1), None);
    }
}

#[test]
fn the_tree_before_a_leaf_comes_out_of_its_path() {
    let leaves = hashes(&data(70));
    for n in 1..=leaves.len() {
        let mut before = merkle::Frontier::new();
        for at in 0..n {
            let path = merkle::inclusion_path(&leaves[..n], at).unwrap();
            let found = merkle::before(size(n), size(at), &path);
            assert_eq!(found.as_ref(), Some(&before), "{at} of {n}");
            let longer = [path.as_slice(), &[leaves[0]]].concat();
            let of_longer = merkle::before(size(n), size(at), &longer);
            assert!(of_longer.is_none_or(|tree| tree.size() == size(at)));
            before.push(leaves[at]);
        }
    }
    assert_eq!(merkle::before(0, 0, &[]), None);
    assert_eq!(merkle::before(8, 3, &[]), None);
}

/// What the tiles of a log of these leaves hold, key by key.
fn plain_tiles(data: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let mut tiles = Vec::new();
    for level in 0..3 {
        for (index, tile) in plain::level(data, level).chunks(256).enumerate() {
            let partial = match tile.len() {
                256 => String::new(),
                width => format!(".p/{width}"),
            };
            // Every index here is below 1,000: one group of three digits.
            tiles.push((format!("log/tile/{level}/{index:03}{partial}"), tile.concat()));
        }
    }
    tiles.sort();
    tiles
}

#[test]
fn tiles_across_the_boundaries_of_two_levels() {
    let data = data(66_100);
    let sizes = [
        0, 1, 2, 255, 256, 257, 511, 512, 513, 1_000, 65_279, 65_280, 65_535, 65_536, 65_537,
        65_791, 65_792, 65_793, 66_048, 66_100,
    ];
    let mut builder = TileBuilder::new();
    let mut full: Vec<(String, Vec<u8>)> = Vec::new();
    let print = |(key, bytes): (Artefact, Vec<u8>)| (key.to_string(), bytes);
    let mut grown = 0;
    for n in sizes {
        for leaf in &data[grown..n] {
            full.extend(builder.push(merkle::leaf_hash(leaf)).into_iter().map(print));
        }
        grown = n;
        assert_eq!(builder.size(), size(n));
        let mut tiles = full.clone();
        tiles.extend(builder.partial().into_iter().map(print));
        tiles.sort();
        assert!(tiles == plain_tiles(&data[..n]), "tiles of size {n}");
        assert_eq!(*builder.root().as_bytes(), plain::mth(&data[..n]), "{n}");
        let mut keys: Vec<String> = layout::tiles(size(n)).map(|tile| tile.to_string()).collect();
        keys.sort();
        assert!(keys.iter().eq(tiles.iter().map(|(key, _)| key)), "keys of size {n}");
    }
}

/// The partial tile of each level, as a log of these leaves leaves it.
fn edges(data: &[Vec<u8>]) -> Vec<Vec<Digest>> {
    (0..3)
        .map(|level| plain::level(data, level))
        .take_while(|row| !row.is_empty())
        .map(|row| {
            let edge = row.chunks_exact(256).remainder();
            edge.iter().map(|hash| Digest::from_bytes(*hash)).collect()
        })
        .collect()
}

#[test]
fn a_builder_goes_on_from_every_size() {
    let data = data(1_300);
    let leaves = hashes(&data);
    let mut whole = TileBuilder::new();
    for n in 0..1_000 {
        let mut resumed = TileBuilder::resume(size(n), edges(&data[..n])).unwrap();
        assert_eq!(resumed.root(), whole.root(), "{n}");
        let mut going_on = whole.clone();
        for leaf in &leaves[n..n + 300] {
            assert_eq!(resumed.push(*leaf), going_on.push(*leaf), "{n}");
        }
        assert_eq!(resumed.partial(), going_on.partial(), "{n}");
        assert_eq!(resumed.root(), going_on.root(), "{n}");
        whole.push(leaves[n]);
    }
}

#[test]
fn a_builder_goes_on_only_from_tiles_that_fit_the_size() {
    let data = data(300);
    let edges = edges(&data);
    assert!(TileBuilder::resume(300, edges.clone()).is_some());
    assert!(TileBuilder::resume(299, edges.clone()).is_none());
    assert!(TileBuilder::resume(65_536 + 300, edges.clone()).is_none());
    assert!(TileBuilder::resume(300, edges[..1].to_vec()).is_none());
    assert!(TileBuilder::resume(300, vec![Vec::new(); 9]).is_none());
    let mut narrow = edges;
    narrow[0].pop();
    assert!(TileBuilder::resume(300, narrow).is_none());
}

proptest! {
    #[test]
    fn entry_leaf_and_link(
        seq in 1_u64..=i64::MAX as u64,
        at in 0_i64..=Micros::MAX.get(),
        id in any::<[u8; 16]>().prop_filter("nil", |id| *id != [0; 16]),
        payload: [u8; 32],
        submission: [u8; 32],
        index: u16,
        count: u16,
        before: [u8; 32],
    ) {
        let entry = Entry {
            seq: Seq::new(seq).unwrap(),
            recorded_at: Micros::new(at).unwrap(),
            event_id: EventId::from_bytes(id).unwrap(),
            payload_digest: Digest::from_bytes(payload),
            submission_hash: Digest::from_bytes(submission),
            index_in_submission: index,
            submission_count: count,
        };
        let mut expected = vec![0x01];
        expected.extend(seq.to_be_bytes());
        expected.extend(at.to_be_bytes());
        expected.extend(id);
        expected.extend(payload);
        expected.extend(submission);
        expected.extend(index.to_be_bytes());
        expected.extend(count.to_be_bytes());
        prop_assert_eq!(expected.len(), 101);
        prop_assert_eq!(entry.to_bytes().to_vec(), expected.clone());
        let leaf = plain::h(&[&[0x00][..], &expected].concat());
        prop_assert_eq!(*entry.leaf().as_bytes(), leaf);
        let link = plain::h(&[&[0x02][..], &before, &leaf].concat());
        prop_assert_eq!(*next_link(&Digest::from_bytes(before), &entry.leaf()).as_bytes(), link);
    }

    #[test]
    fn genesis_statement_and_submission(
        origin in "[a-z0-9._-]{1,20}x(/[a-z0-9._-]{1,20}x){0,3}",
        workspace in "[a-z0-9][a-z0-9._-]{0,62}",
        counter in 0_u64..=i64::MAX as u64,
        digests in proptest::collection::vec(any::<[u8; 32]>(), 1..40),
        seed: [u8; 32],
    ) {
        let genesis = format!("tallystick/genesis/v1\n{origin}\n{workspace}\n");
        let expected = plain::h(&[&[0x03][..], genesis.as_bytes()].concat());
        let names = (Origin::new(&origin).unwrap(), Workspace::new(&workspace).unwrap());
        prop_assert_eq!(*genesis_link(&names.0, &names.1).as_bytes(), expected);

        let mut text = format!(
            "tallystick/submission/v1\n{origin}\n{workspace}\n{counter}\n{}\n",
            digests.len()
        );
        for digest in &digests {
            text += &digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            text.push('\n');
        }
        let payloads: Vec<Digest> = digests.iter().copied().map(Digest::from_bytes).collect();
        let counter = Counter::new(counter).unwrap();
        let statement = Statement::new(&names.0, &names.1, counter, &payloads);
        prop_assert_eq!(statement.as_str(), &text);

        let key = SigningKey::from_seed(&seed);
        let signature: Signature = key.sign(text.as_bytes());
        let named = statement.verify(&key.public(), &signature).unwrap();
        let statement_hash = plain::h(text.as_bytes());
        let public = key.public();
        let parts: [&[u8]; 4] =
            [&[0x04], public.as_bytes(), signature.as_bytes(), &statement_hash];
        prop_assert_eq!(*named.as_bytes(), plain::h(&parts.concat()));
    }
}

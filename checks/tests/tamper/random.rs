//! Every kind of cheating, in archives of any shape (FAULTS row 44).

use std::path::Path;

use checks::crowd::long;
use checks::forge::{
    Archive, Chunk, Content, Depth, Honest, Leaf, OwnedRow, Random, erase, honest,
};
use ledger::verify::Verdict;

use super::{tampering, verify};

/// A changed archive; `None` where this one has nothing that could be changed so.
type Cheat = fn(&Honest, &Archive, &mut Random) -> Option<Archive>;

/// By someone without a key, then by an operator who holds the seal key and signs all of it anew.
const CHEATS: [(&str, Cheat); 15] = [
    ("a bit flipped", |_, archive, random| {
        bytes_of_one(archive, random, |bytes, random| {
            let at = random.index(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        })
    }),
    ("an object cut", |_, archive, random| {
        bytes_of_one(archive, random, |bytes, random| bytes.truncate(random.index(bytes.len())))
    }),
    ("an object longer", |_, archive, random| {
        bytes_of_one(archive, random, |bytes, random| bytes.extend(random.bytes::<7>()))
    }),
    ("an object gone", |_, archive, random| {
        let mut archive = archive.clone();
        let key = key(&archive, random);
        archive.0.remove(&key);
        Some(archive)
    }),
    ("an object that nothing names", |_, archive, random| {
        let mut archive = archive.clone();
        let key = key(&archive, random);
        archive.0.insert(format!("{key}.bak"), b"stray".to_vec());
        Some(archive)
    }),
    ("a payload replaced", |honest, _, random| {
        operator(honest, Depth::Links, |content| {
            let (one, other) = two_rows(content, random, |_, _| true)?;
            let payload = other.payload.clone();
            (one.payload != payload).then(|| one.payload = payload)
        })
    }),
    ("a signature of another submission", |honest, _, random| {
        operator(honest, Depth::Links, |content| {
            let (one, other) = two_rows(content, random, |one, other| {
                one.row.submission_hash != other.row.submission_hash
            })?;
            one.row.signature = other.row.signature;
            Some(())
        })
    }),
    ("an event forged by another's key", |honest, _, random| {
        operator(honest, Depth::Links, |content| {
            let (one, other) =
                two_rows(content, random, |one, other| one.row.public_key != other.row.public_key)?;
            one.row.public_key = other.row.public_key;
            Some(())
        })
    }),
    ("a payload withheld without leave", |honest, _, random| {
        operator(honest, Depth::Links, |content| {
            let (one, _) = two_rows(content, random, |_, _| true)?;
            erase(one, "payload").then_some(())
        })
    }),
    ("an event dropped, the others numbered anew", |honest, _, random| {
        rows(honest, random, |rows, at| drop(rows.remove(at)))
    }),
    ("an event doubled, the others numbered anew", |honest, _, random| {
        rows(honest, random, |rows, at| rows.insert(at, rows[at].clone()))
    }),
    ("two events swapped, all numbered anew", |honest, _, random| {
        rows(honest, random, |rows, at| rows.swap(at, at + 1))
    }),
    ("a leaf doubled", |honest, _, random| {
        operator(honest, Depth::Links, |content| {
            let at = random.index(content.leaves.len());
            content.leaves.insert(at, content.leaves[at].clone());
            Some(())
        })
    }),
    ("a chunk dropped that others follow", |honest, _, random| {
        leaf(honest, random, |leaf, behind| match leaf {
            Leaf::Chunk(chunk) => behind.iter().any(|leaf| is_of(leaf, chunk)),
            Leaf::Hour(_) => false,
        })
    }),
    ("an hour's note dropped that others follow", |honest, _, random| {
        leaf(honest, random, |leaf, behind| {
            let is_hour = |leaf: &Leaf| matches!(leaf, Leaf::Hour(_));
            is_hour(leaf) && behind.iter().any(is_hour)
        })
    }),
];

fn key(archive: &Archive, random: &mut Random) -> String {
    let keys: Vec<_> = archive.keys().collect();
    keys[random.index(keys.len())].to_owned()
}

fn bytes_of_one(
    archive: &Archive,
    random: &mut Random,
    change: impl FnOnce(&mut Vec<u8>, &mut Random),
) -> Option<Archive> {
    let mut archive = archive.clone();
    let key = key(&archive, random);
    change(archive.0.get_mut(&key)?, random);
    Some(archive)
}

fn operator(
    honest: &Honest,
    depth: Depth,
    change: impl FnOnce(&mut Content) -> Option<()>,
) -> Option<Archive> {
    let mut content = honest.content.clone();
    change(&mut content)?;
    content.settle(depth, &honest.seal);
    Some(content.seal(&honest.seal))
}

/// Two rows of one chunk that are fit, the first of them to be changed.
fn two_rows<'c>(
    content: &'c mut Content,
    random: &mut Random,
    are_fit: impl Fn(&OwnedRow, &OwnedRow) -> bool,
) -> Option<(&'c mut OwnedRow, OwnedRow)> {
    let pairs: Vec<(usize, usize, usize)> = content
        .chunks()
        .enumerate()
        .flat_map(|(at, chunk)| {
            let rows = &chunk.rows;
            let pairs =
                (0..rows.len()).flat_map(move |one| (0..rows.len()).map(move |two| (one, two)));
            let fit = pairs.filter(|(one, two)| one != two && are_fit(&rows[*one], &rows[*two]));
            fit.map(|(one, two)| (at, one, two)).collect::<Vec<_>>()
        })
        .collect();
    let (chunk, one, two) = *pairs.get(random.index(pairs.len().max(1)))?;
    let rows = &mut content.chunks_mut().nth(chunk)?.rows;
    let other = rows[two].clone();
    Some((&mut rows[one], other))
}

/// Changes the rows of a submission of several, from one that is followed by another of it.
fn rows(
    honest: &Honest,
    random: &mut Random,
    change: impl FnOnce(&mut Vec<OwnedRow>, usize),
) -> Option<Archive> {
    operator(honest, Depth::Links, |content| {
        let inner = |chunk: &Chunk| {
            let pairs = chunk.rows.windows(2).enumerate();
            let same = pairs
                .filter(|(_, pair)| pair[0].row.submission_hash == pair[1].row.submission_hash);
            same.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let places: Vec<(usize, usize)> = content
            .chunks()
            .enumerate()
            .flat_map(|(chunk, rows)| inner(rows).into_iter().map(move |at| (chunk, at)))
            .collect();
        let (chunk, at) = *places.get(random.index(places.len().max(1)))?;
        change(&mut content.chunks_mut().nth(chunk)?.rows, at);
        content.renumber();
        Some(())
    })
}

/// Drops a leaf that is fit, seen with those behind it.
fn leaf(
    honest: &Honest,
    random: &mut Random,
    is_fit: impl Fn(&Leaf, &[Leaf]) -> bool,
) -> Option<Archive> {
    operator(honest, Depth::Digests, |content| {
        let leaves = &mut content.leaves;
        let fit: Vec<usize> =
            (0..leaves.len()).filter(|at| is_fit(&leaves[*at], &leaves[at + 1..])).collect();
        leaves.remove(*fit.get(random.index(fit.len().max(1)))?);
        Some(())
    })
}

fn is_of(leaf: &Leaf, chunk: &Chunk) -> bool {
    let of = |other: &Chunk| other.manifest.workspace == chunk.manifest.workspace;
    matches!(leaf, Leaf::Chunk(other) if of(other))
}

#[test]
fn row_44_every_kind_of_cheating_in_archives_of_any_shape() {
    let archives = if long() { 1_000 } else { 50 };
    let mut found = [0_u32; CHEATS.len()];
    for seed in 0..archives {
        let honest = honest(44_000 + seed);
        let archive = honest.archive();
        let report = verify(&archive, &honest.trust);
        assert_eq!(report.verdict, Verdict::Proven, "seed {seed}: {:#?}", report.findings);
        let mut random = Random::new(seed);
        for ((what, cheat), found) in CHEATS.iter().zip(&mut found) {
            let Some(changed) = cheat(&honest, &archive, &mut random) else { continue };
            let report = verify(&changed, &honest.trust);
            let located = tampering(&report, &format!("seed {seed}: {what}"))
                .iter()
                .any(|finding| finding.place.object.is_some() || finding.place.log_index.is_some());
            assert!(located, "seed {seed}: {what}: {:#?}", report.findings);
            *found += 1;
        }
    }
    let least = found.iter().min().unwrap();
    assert!(*least >= 10, "each kind was tried: {found:?}");
    let line = format!(
        "2.4 row 44: {archives} archives, {} kinds of cheating, {} archives that cheat, all found and \
         located; 0 false alarms",
        CHEATS.len(),
        found.iter().sum::<u32>(),
    );
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), &line).unwrap();
}

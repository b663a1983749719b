//! Changes to the log by an operator who holds the seal key: leaves, manifests, hour notes.

use checks::forge::{Chunk, Content, Depth, Leaf};
use ledger::hash::Digest;
use ledger::hour::HourNote;
use ledger::names::{Origin, Seq, Workspace};
use ledger::verify::{Check, Finding, Report};

use super::{Operator, tampering};

/// The golden log: two chunks of `acme`, hours 14 and 15, a chunk of `acme` and one of `beta`,
/// hour 16.
const LEAVES: usize = 7;

/// What is done to the log's leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Drop(usize),
    Double(usize),
    Swap(usize, usize),
}

impl Act {
    fn all() -> impl Iterator<Item = Self> {
        let swaps = (0..LEAVES).flat_map(|one| (one + 1..LEAVES).map(move |two| (one, two)));
        (0..LEAVES)
            .flat_map(|at| [Self::Drop(at), Self::Double(at)])
            .chain(swaps.map(|(one, two)| Self::Swap(one, two)))
    }

    fn apply(self, content: &mut Content) {
        let leaves = &mut content.leaves;
        match self {
            Self::Drop(at) => drop(leaves.remove(at)),
            Self::Double(at) => leaves.insert(at, leaves[at].clone()),
            Self::Swap(one, two) => leaves.swap(one, two),
        }
    }

    /// What no archive can show by itself (see `limits`).
    fn is_beyond(self, depth: Depth) -> bool {
        match self {
            // The last chunk of a workspace, with counts and heads to suit.
            Self::Drop(4 | 5) => depth == Depth::Links,
            // The note of the last hour: it falls short of the policy.
            Self::Drop(6) => true,
            // Chunks of one hour and two workspaces: the log fixes no order among them.
            Self::Swap(4, 5) => true,
            Self::Drop(_) | Self::Double(_) | Self::Swap(..) => false,
        }
    }
}

#[test]
fn a_dropped_doubled_or_swapped_leaf_is_found() {
    let operator = Operator::new();
    assert_eq!(operator.content.leaves.len(), LEAVES);
    for (act, depth) in Act::all().flat_map(|act| [Depth::Digests, Depth::Links].map(|d| (act, d)))
    {
        if act.is_beyond(depth) {
            continue;
        }
        let report = operator.after(depth, |content| act.apply(content));
        let what = format!("{act:?}, {depth:?}");
        let found = tampering(&report, &what);
        // At the first leaf that does not follow: never before what was changed.
        let (Act::Drop(first) | Act::Double(first) | Act::Swap(first, _)) = act;
        let leaves: Vec<_> = found.iter().filter_map(|finding| finding.place.log_index).collect();
        assert!(!leaves.is_empty(), "{what}: no leaf is named: {found:#?}");
        assert!(
            leaves.iter().all(|leaf| usize::try_from(*leaf).unwrap() >= first),
            "{what}: {found:#?}"
        );
    }
}

/// The leaves as they stand, none of them signed anew: as someone would who only has old notes.
#[test]
fn leaves_that_are_dealt_anew_are_found() {
    let operator = Operator::new();
    for act in Act::all().filter(|act| !act.is_beyond(Depth::Digests)) {
        let mut content = operator.content.clone();
        content.settle(Depth::Digests, &operator.seal);
        act.apply(&mut content);
        let report = operator.verify(&content.seal(&operator.seal));
        assert!(!tampering(&report, &format!("{act:?}")).is_empty());
    }
}

/// Rows of one chunk in another's place.
#[test]
fn the_rows_of_two_swapped_chunks_are_found() {
    let operator = Operator::new();
    for depth in [Depth::Digests, Depth::Links] {
        for (one, two) in [(0, 1), (0, 2), (1, 2), (2, 3), (0, 3)] {
            let report = operator.after(depth, |content| {
                let mut chunks: Vec<_> = content.chunks_mut().collect();
                let rows = std::mem::take(&mut chunks[one].rows);
                let rows = std::mem::replace(&mut chunks[two].rows, rows);
                chunks[one].rows = rows;
            });
            let what = format!("rows of chunks {one} and {two}, {depth:?}");
            let located = |finding: &&Finding| {
                finding.place.object.is_some() || finding.place.log_index.is_some()
            };
            assert!(tampering(&report, &what).iter().any(located), "{what}");
        }
    }
}

/// The report after a change to one leaf, which is signed as it then stands.
fn after(operator: &Operator, leaf: usize, change: impl FnOnce(&mut Leaf)) -> Report {
    let mut content = operator.content.clone();
    content.settle(Depth::Digests, &operator.seal);
    change(&mut content.leaves[leaf]);
    operator.verify(&content.seal(&operator.seal))
}

fn flip(digest: &mut Digest) {
    let mut bytes = *digest.as_bytes();
    bytes[0] ^= 1;
    *digest = Digest::from_bytes(bytes);
}

fn next(seq: &mut Seq) {
    *seq = seq.next().unwrap();
}

#[test]
fn every_line_of_a_manifest_is_checked() {
    type Change = fn(&mut Chunk);
    // A name, what is changed, the check that tells, and whether the leaf or the object is named.
    let lines: [(&str, Change, Check, bool); 18] = [
        ("origin", |c| c.manifest.origin = Origin::new("other").unwrap(), Check::LeafOrigin, true),
        (
            "workspace",
            |c| c.manifest.workspace = Workspace::new("other").unwrap(),
            Check::ManifestMalformed,
            true,
        ),
        (
            "hour",
            |c| c.manifest.hour = c.manifest.hour.next().unwrap(),
            Check::ManifestMalformed,
            true,
        ),
        ("part", |c| c.manifest.part += 1, Check::ManifestPart, true),
        ("first_seq", |c| next(&mut c.manifest.first_seq), Check::ManifestMalformed, true),
        ("last_seq", |c| next(&mut c.manifest.last_seq), Check::ManifestMalformed, true),
        ("prev_link", |c| flip(&mut c.manifest.prev_link), Check::ManifestLink, true),
        ("last_link", |c| flip(&mut c.manifest.last_link), Check::ChunkLink, false),
        ("root", |c| flip(&mut c.manifest.root), Check::ChunkRoot, false),
        (
            "first_recorded_at",
            |c| c.manifest.first_recorded_at = c.manifest.hour.start(),
            Check::RowTime,
            false,
        ),
        (
            "last_recorded_at",
            |c| {
                // Where all was recorded at once, the manifest would contradict itself.
                if c.manifest.first_recorded_at < c.manifest.last_recorded_at {
                    c.manifest.last_recorded_at = c.manifest.first_recorded_at;
                }
            },
            Check::RowTime,
            false,
        ),
        ("prev_manifest", |c| flip(&mut c.manifest.prev_manifest), Check::ManifestPrevious, true),
        ("amends", |c| flip(&mut c.manifest.amends), Check::ManifestMalformed, true),
        (
            "object",
            |c| c.manifest.object = c.manifest.object.replace("parquet", "e1.parquet"),
            Check::ManifestMalformed,
            true,
        ),
        (
            "object",
            |c| c.manifest.object = "../../etc/passwd".to_owned(),
            Check::ManifestMalformed,
            true,
        ),
        ("object_bytes", |c| c.manifest.digest.bytes += 1, Check::ObjectDigest, false),
        ("object_sha256", |c| flip(&mut c.manifest.digest.sha256), Check::ObjectDigest, false),
        ("object_blake3", |c| flip(&mut c.manifest.digest.blake3), Check::ObjectDigest, false),
    ];
    let operator = Operator::new();
    for (name, change, check, at_leaf) in lines {
        for (index, leaf) in operator.content.leaves.iter().enumerate() {
            let Leaf::Chunk(before) = leaf else { continue };
            let mut changed = before.clone();
            change(&mut changed);
            if changed == *before {
                continue;
            }
            let report = after(&operator, index, |leaf| match leaf {
                Leaf::Chunk(chunk) => change(chunk),
                Leaf::Hour(_) => panic!("leaf {index} is a chunk"),
            });
            let what = format!("{name} of the manifest at leaf {index}");
            let found = tampering(&report, &what);
            let here = |finding: &&Finding| {
                finding.check == check
                    && match at_leaf {
                        true => finding.place.log_index == Some(u64::try_from(index).unwrap()),
                        false => finding.place.object.as_ref() == Some(&before.manifest.object),
                    }
            };
            assert!(found.iter().any(here), "{what}: no {} in {found:#?}", check.id());
        }
    }
}

#[test]
fn every_line_of_an_hour_note_is_checked() {
    type Change = fn(&mut HourNote);
    let lines: [(&str, Change, Check); 6] = [
        ("origin", |h| h.origin = Origin::new("other").unwrap(), Check::LeafOrigin),
        ("hour", |h| h.hour = h.hour.next().unwrap(), Check::HourOrder),
        ("chunks", |h| h.chunks += 1, Check::HourCounts),
        ("workspaces", |h| h.workspaces += 1, Check::HourCounts),
        ("heads_root", |h| flip(&mut h.heads_root), Check::HourHeads),
        ("prev_hour", |h| flip(&mut h.prev_hour), Check::HourPrevious),
    ];
    let operator = Operator::new();
    for (name, change, check) in lines {
        for index in [2, 3, 6] {
            let report = after(&operator, index, |leaf| match leaf {
                Leaf::Hour(hour) => change(hour),
                Leaf::Chunk(_) => panic!("leaf {index} is an hour note"),
            });
            let what = format!("{name} of the hour note at leaf {index}");
            let found = tampering(&report, &what);
            let place = Some(u64::try_from(index).unwrap());
            let here = |f: &&Finding| f.check == check && f.place.log_index == place;
            assert!(found.iter().any(here), "{what}: no {} in {found:#?}", check.id());
        }
    }
}

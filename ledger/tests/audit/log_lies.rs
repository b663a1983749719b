//! Lies about the log: leaves, manifests, hour notes, the checkpoint.

use ledger::chunk::ChunkManifest;
use ledger::hash::Digest;
use ledger::names::{Origin, Seq};
use ledger::note::{self, Note, NoteSigner};

use crate::forge::{Lie, Recorded, hour, key, origin, sealed};
use crate::lies::{Case, case};

fn elsewhere() -> Origin {
    Origin::new("ledger.example.com/other").unwrap()
}

/// Signs the body of a leaf again, changed.
fn again(leaf: &mut Vec<u8>, change: impl Fn(&str) -> String) {
    let body = Note::parse(leaf).unwrap().body().to_owned();
    *leaf = sealed(&change(&body));
}

/// Gives a chunk's rows seqs that start one later.
fn skip_a_seq(chunk: &mut Recorded) {
    chunk.rows.iter_mut().for_each(|row| row.seq += 1);
}

pub fn cases() -> Vec<Case> {
    [leaves(), manifests(), hours()]
        .into_iter()
        .flatten()
        .collect()
}

fn leaves() -> Vec<Case> {
    vec![
        case(
            "a checkpoint of another ledger",
            Lie::Checkpoint(|checkpoint| checkpoint.origin = elsewhere()),
            &[],
        ),
        case(
            "a checkpoint with another root",
            Lie::Checkpoint(|checkpoint| checkpoint.root = Digest::ZERO),
            &[],
        ),
        case(
            "a checkpoint of a shorter log",
            Lie::Checkpoint(|checkpoint| checkpoint.size = 6),
            &[],
        ),
        case(
            "a leaf of no known kind",
            Lie::Leaves(|leaves| leaves.push(sealed("tallystick/gossip/v1\n"))),
            &[],
        ),
        case(
            "a leaf that is no note",
            Lie::Leaves(|leaves| leaves.push(b"gossip".to_vec())),
            &[],
        ),
        case(
            "a leaf signed by a stranger",
            Lie::Leaves(|leaves| {
                let body = Note::parse(&leaves[0]).unwrap().body().to_owned();
                let stranger = NoteSigner::seal(&origin(), key(101));
                leaves[0] = note::sign(&body, &[&stranger]).into_bytes();
            }),
            &[],
        ),
        case(
            "a chunk that the log does not name",
            Lie::Leaves(|leaves| drop(leaves.remove(1))),
            &[],
        ),
        case(
            "a chunk that is logged twice",
            Lie::Leaves(|leaves| leaves.insert(2, leaves[1].clone())),
            &[],
        ),
        case(
            "an hour note that is missing",
            Lie::Leaves(|leaves| drop(leaves.remove(3))),
            &[],
        ),
        case(
            "an hour note that is logged twice",
            Lie::Leaves(|leaves| leaves.insert(3, leaves[2].clone())),
            &[],
        ),
        case(
            "a log cut before its last hour note",
            Lie::Leaves(|leaves| drop(leaves.pop())),
            &[],
        ),
        case(
            "a manifest with a line too many",
            Lie::Leaves(|leaves| again(&mut leaves[5], |body| format!("{body}more 1\n"))),
            &[],
        ),
        case(
            "an hour note with a line too many",
            Lie::Leaves(|leaves| again(&mut leaves[6], |body| format!("{body}more 1\n"))),
            &[],
        ),
    ]
}

fn manifests() -> Vec<Case> {
    vec![
        case(
            "a manifest of another ledger",
            Lie::Manifest(2, |manifest| manifest.origin = elsewhere()),
            &[],
        ),
        case(
            "a manifest that contradicts itself",
            Lie::Manifest(3, |manifest| manifest.last_seq = Seq::FIRST),
            &[],
        ),
        case(
            "a seq that is skipped",
            Lie::Rows(|chunks| skip_a_seq(&mut chunks[2])),
            &[],
        ),
        case(
            "a chunk that starts at another link",
            Lie::Manifest(2, |manifest| manifest.prev_link = Digest::ZERO),
            &[],
        ),
        case(
            "a manifest that names no manifest before",
            Lie::Manifest(1, |manifest| manifest.prev_manifest = Digest::ZERO),
            &[],
        ),
        case(
            "a part that is skipped",
            Lie::Manifest(1, |manifest| manifest.part = 2),
            &[],
        ),
        case(
            "a chunk that is logged an hour early",
            Lie::Plan(|plan| {
                let early = plan.hours[2].1.remove(0);
                plan.hours[1].1.push(early);
            }),
            &[],
        ),
        case(
            "time that falls between two chunks",
            Lie::Plan(|plan| plan.hours[0].1[1].subs[0].second = 2),
            &[],
        ),
        case(
            "rows that end with another link",
            Lie::Manifest(3, |manifest| manifest.last_link = Digest::ZERO),
            &[],
        ),
        case(
            "rows that have another root",
            Lie::Manifest(0, |manifest| manifest.root = Digest::ZERO),
            &[],
        ),
        case(
            "a first time that is not that of the first row",
            Lie::Manifest(0, |manifest: &mut ChunkManifest| {
                manifest.first_recorded_at = manifest.hour.start();
            }),
            &[],
        ),
    ]
}

fn hours() -> Vec<Case> {
    vec![
        case(
            "an hour note of another ledger",
            Lie::Hour(1, |hour| hour.origin = elsewhere()),
            &[],
        ),
        case(
            "an hour that is skipped",
            Lie::Hour(1, |note| note.hour = hour(18)),
            &[],
        ),
        case(
            "an hour note that names no hour note before",
            Lie::Hour(1, |hour| hour.prev_hour = Digest::ZERO),
            &[],
        ),
        case(
            "an hour that counts another chunk",
            Lie::Hour(0, |hour| hour.chunks += 1),
            &[],
        ),
        case(
            "an hour that counts a workspace less",
            Lie::Hour(2, |hour| hour.workspaces -= 1),
            &[],
        ),
        case(
            "an hour with other heads",
            Lie::Hour(2, |hour| hour.heads_root = Digest::ZERO),
            &[],
        ),
    ]
}

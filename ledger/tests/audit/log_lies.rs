//! Lies about the log: leaves, manifests, hour notes, the checkpoint.

use ledger::chunk::ChunkManifest;
use ledger::hash::Digest;
use ledger::names::{Origin, Seq};
use ledger::note::{self, Note, NoteSigner};

use crate::forge::{Lie, Recorded};
use crate::lies::{Case, case};
use crate::plan::{hour, key, origin, sealed};

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
    [leaves(), manifests(), hours()].into_iter().flatten().collect()
}

fn leaves() -> Vec<Case> {
    vec![
        case(
            "a checkpoint of another ledger",
            Lie::Checkpoint(|checkpoint| checkpoint.origin = elsewhere()),
            &["T004 log/checkpoint"],
        ),
        case(
            "a checkpoint with another root",
            Lie::Checkpoint(|checkpoint| checkpoint.root = Digest::ZERO),
            &["T008 log/checkpoint"],
        ),
        case(
            "a checkpoint of a shorter log",
            Lie::Checkpoint(|checkpoint| checkpoint.size = 6),
            &["T005 log/tile/entries/000.p/6", "T112 leaf=0"],
        ),
        case(
            "a leaf of no known kind",
            Lie::Leaves(|leaves| leaves.push(sealed("tallystick/gossip/v1\n"))),
            &["T009 leaf=7"],
        ),
        case(
            "a leaf that is no note",
            Lie::Leaves(|leaves| leaves.push(b"gossip".to_vec())),
            &["T010 leaf=7"],
        ),
        case(
            "a leaf signed by a stranger",
            Lie::Leaves(|leaves| {
                let body = Note::parse(&leaves[0]).unwrap().body().to_owned();
                let stranger = NoteSigner::seal(&origin(), key(101));
                leaves[0] = note::sign(&body, &[&stranger]).into_bytes();
            }),
            &[
                "T010 leaf=0",
                "T023 leaf=1 events/acme/16/06-06.parquet",
                "T041 manifests/acme/16/01-05.note",
            ],
        ),
        case(
            "a chunk that the log does not name",
            Lie::Leaves(|leaves| drop(leaves.remove(1))),
            &[
                "T021 leaf=3 events/acme/18/07-08.parquet",
                "T022 leaf=3 events/acme/18/07-08.parquet",
                "T023 leaf=3 events/acme/18/07-08.parquet",
                "T033 leaf=1 hour=16",
                "T034 leaf=1 hour=16",
                "T034 leaf=2 hour=17",
                "T041 hours/16.heads",
                "T041 hours/17.heads",
                "T095 events/acme/16/06-06.parquet",
                "T095 manifests/acme/16/06-06.note",
            ],
        ),
        case(
            "a chunk that is logged twice",
            Lie::Leaves(|leaves| leaves.insert(2, leaves[1].clone())),
            &[
                "T021 leaf=2 events/acme/16/06-06.parquet",
                "T022 leaf=2 events/acme/16/06-06.parquet",
                "T023 leaf=2 events/acme/16/06-06.parquet",
                "T024 leaf=2 events/acme/16/06-06.parquet",
                "T033 leaf=3 hour=16",
                "T082 acme seq=6 event_id",
                "T083 acme seq=6 counter",
            ],
        ),
        case(
            "an hour note that the log leaves out",
            Lie::Leaves(|leaves| drop(leaves.remove(3))),
            &[
                "T025 leaf=3 events/acme/18/07-08.parquet",
                "T025 leaf=4 events/beta/18/01-02.parquet",
                "T031 leaf=5 hour=18",
                "T032 leaf=5 hour=18",
                "T095 hours/17.heads",
                "T095 hours/17.note",
            ],
        ),
        case(
            "an hour note that is logged twice",
            Lie::Leaves(|leaves| leaves.insert(3, leaves[2].clone())),
            &["T031 leaf=3 hour=16", "T032 leaf=3 hour=16", "T033 leaf=3 hour=16"],
        ),
        case(
            "a log cut before its last hour note",
            Lie::Leaves(|leaves| drop(leaves.pop())),
            &["T100 hour=18", "T103 hours/18.heads", "T103 hours/18.note"],
        ),
        case(
            "a manifest with a line too many",
            Lie::Leaves(|leaves| again(&mut leaves[5], |body| format!("{body}more 1\n"))),
            &[
                "T020 leaf=5",
                "T033 leaf=6 hour=18",
                "T034 leaf=6 hour=18",
                "T041 hours/18.heads",
                "T090 beta",
                "T095 events/beta/18/01-02.parquet",
                "T095 manifests/beta/18/01-02.note",
            ],
        ),
        case(
            "an hour note with a line too many",
            Lie::Leaves(|leaves| again(&mut leaves[6], |body| format!("{body}more 1\n"))),
            &["T030 leaf=6", "T100 hour=18", "T103 hours/18.heads", "T103 hours/18.note"],
        ),
    ]
}

fn manifests() -> Vec<Case> {
    vec![
        case(
            "a manifest of another ledger",
            Lie::Manifest(2, |manifest| manifest.origin = elsewhere()),
            &[
                "T011 leaf=4 events/acme/18/07-08.parquet",
                "T033 leaf=6 hour=18",
                "T034 leaf=6 hour=18",
                "T041 hours/18.heads",
                "T095 events/acme/18/07-08.parquet",
                "T095 manifests/acme/18/07-08.note",
            ],
        ),
        case(
            "a manifest that contradicts itself",
            Lie::Manifest(3, |manifest| manifest.last_seq = Seq::FIRST),
            &[
                "T020 leaf=5",
                "T033 leaf=6 hour=18",
                "T034 leaf=6 hour=18",
                "T041 hours/18.heads",
                "T090 beta",
                "T095 events/beta/18/01-02.parquet",
                "T095 manifests/beta/18/01-01.note",
            ],
        ),
        case(
            "a seq that is skipped",
            Lie::Rows(|chunks| skip_a_seq(&mut chunks[2])),
            &["T021 leaf=4 events/acme/18/08-09.parquet"],
        ),
        case(
            "a chunk that starts at another link",
            Lie::Manifest(2, |manifest| manifest.prev_link = Digest::ZERO),
            &[
                "T022 leaf=4 events/acme/18/07-08.parquet",
                "T067 events/acme/18/07-08.parquet seq=7 link",
            ],
        ),
        case(
            "a manifest that names no manifest before",
            Lie::Manifest(1, |manifest| manifest.prev_manifest = Digest::ZERO),
            &["T023 leaf=1 events/acme/16/06-06.parquet"],
        ),
        case(
            "a part that is skipped",
            Lie::Manifest(1, |manifest| manifest.part = 2),
            &["T024 leaf=1 events/acme/16/06-06.parquet"],
        ),
        case(
            "a chunk that is logged an hour early",
            Lie::Plan(|plan| {
                let early = plan.hours[2].1.remove(0);
                plan.hours[1].1.push(early);
            }),
            &["T025 leaf=3 events/acme/18/07-08.parquet"],
        ),
        case(
            "time that falls between two chunks",
            Lie::Plan(|plan| plan.hours[0].1[1].subs[0].second = 2),
            &["T026 leaf=1 events/acme/16/06-06.parquet"],
        ),
        case(
            "rows that end with another link",
            Lie::Manifest(3, |manifest| manifest.last_link = Digest::ZERO),
            &["T068 events/beta/18/01-02.parquet seq=2 link"],
        ),
        case(
            "rows that have another root",
            Lie::Manifest(0, |manifest| manifest.root = Digest::ZERO),
            &["T069 events/acme/16/01-05.parquet"],
        ),
        case(
            "a first time that is not that of the first row",
            Lie::Manifest(0, |manifest: &mut ChunkManifest| {
                manifest.first_recorded_at = manifest.hour.start();
            }),
            &["T062 events/acme/16/01-05.parquet seq=1 recorded_at"],
        ),
    ]
}

fn hours() -> Vec<Case> {
    vec![
        case(
            "an hour note of another ledger",
            Lie::Hour(1, |hour| hour.origin = elsewhere()),
            &["T011 leaf=3 hour=17"],
        ),
        case(
            "an hour that is skipped",
            Lie::Hour(1, |note| note.hour = hour(18)),
            &[
                "T025 leaf=4 events/acme/18/07-08.parquet",
                "T025 leaf=5 events/beta/18/01-02.parquet",
                "T031 leaf=3 hour=18",
                "T031 leaf=6 hour=18",
            ],
        ),
        case(
            "an hour note that names no hour note before",
            Lie::Hour(1, |hour| hour.prev_hour = Digest::ZERO),
            &["T032 leaf=3 hour=17"],
        ),
        case(
            "an hour that counts another chunk",
            Lie::Hour(0, |hour| hour.chunks += 1),
            &["T033 leaf=2 hour=16"],
        ),
        case(
            "an hour that counts a workspace less",
            Lie::Hour(2, |hour| hour.workspaces -= 1),
            &["T033 leaf=6 hour=18"],
        ),
        case(
            "an hour with other heads",
            Lie::Hour(2, |hour| hour.heads_root = Digest::ZERO),
            &["T034 leaf=6 hour=18"],
        ),
    ]
}

//! Lies about the store, and what an auditor asks for beyond an intact archive.

use ledger::layout::Artefact;
use ledger::names::Workspace;
use ledger::note::{self, NoteSigner};
use ledger::time::Micros;

use crate::forge::{Archive, Lie};
use crate::lies::{Case, case};
use crate::plan::{hour, key, origin, sealed};

const CHUNK: &str =
    "workspace=acme/date=2026-11-23/hour=16/00000000000000000001-00000000000000000005";
const BUNDLE: &str = "log/tile/entries/000.p/7";
const TILE: &str = "log/tile/0/000.p/7";

fn note_of(of_day: i64) -> String {
    Artefact::HourNote(hour(of_day)).to_string()
}

fn put(archive: &mut Archive, key: &str, bytes: &[u8]) {
    archive.objects.insert(key.to_owned(), bytes.to_vec());
}

fn lose(archive: &mut Archive, key: &str) {
    archive.objects.remove(key).unwrap();
}

fn flip(archive: &mut Archive, key: &str) {
    archive.objects.get_mut(key).unwrap()[0] ^= 1;
}

fn unreadable(archive: &mut Archive, key: &str) {
    archive.unreadable.insert(key.to_owned());
}

pub fn cases() -> Vec<Case> {
    [log(), copies(), others(), policy()].into_iter().flatten().collect()
}

fn log() -> Vec<Case> {
    vec![
        case("no archive", Lie::Store(|archive| archive.objects.clear()), &["T111 log/checkpoint"]),
        case(
            "no checkpoint",
            Lie::Store(|archive| lose(archive, "log/checkpoint")),
            &["T001 log/checkpoint"],
        ),
        case(
            "a checkpoint that is no note",
            Lie::Store(|archive| put(archive, "log/checkpoint", b"7\n")),
            &["T002 log/checkpoint"],
        ),
        case(
            "a checkpoint that is no checkpoint",
            Lie::Store(|archive| put(archive, "log/checkpoint", &sealed("7\n"))),
            &["T002 log/checkpoint"],
        ),
        case(
            "a checkpoint signed by a stranger",
            Lie::Store(|archive| {
                let bytes = archive.objects["log/checkpoint"].clone();
                let body = note::Note::parse(&bytes).unwrap().body().to_owned();
                let stranger = NoteSigner::seal(&origin(), key(101));
                let note = note::sign(&body, &[&stranger]);
                put(archive, "log/checkpoint", note.as_bytes());
            }),
            &["T003 log/checkpoint"],
        ),
        case(
            "a bundle that is missing",
            Lie::Store(|archive| lose(archive, BUNDLE)),
            &["T005 log/tile/entries/000.p/7", "T112 leaf=0"],
        ),
        case(
            "a bundle that is cut",
            Lie::Store(|archive| {
                archive.objects.get_mut(BUNDLE).unwrap().pop();
            }),
            &["T006 log/tile/entries/000.p/7", "T112 leaf=0"],
        ),
        case(
            "a bundle that goes on",
            Lie::Store(|archive| archive.objects.get_mut(BUNDLE).unwrap().push(0)),
            &["T006 log/tile/entries/000.p/7", "T112 leaf=0"],
        ),
        case(
            "a tile that is missing",
            Lie::Store(|archive| lose(archive, TILE)),
            &["T005 log/tile/0/000.p/7"],
        ),
        case(
            "a tile of other hashes",
            Lie::Store(|archive| flip(archive, TILE)),
            &["T007 log/tile/0/000.p/7"],
        ),
    ]
}

fn copies() -> Vec<Case> {
    vec![
        case(
            "a manifest that is missing",
            Lie::Store(|archive| lose(archive, &format!("manifests/{CHUNK}.note"))),
            &["T040 manifests/acme/16/01-05.note"],
        ),
        case(
            "a manifest that differs",
            Lie::Store(|archive| flip(archive, &format!("manifests/{CHUNK}.note"))),
            &["T041 manifests/acme/16/01-05.note"],
        ),
        case(
            "an hour note that is missing",
            Lie::Store(|archive| lose(archive, &note_of(17))),
            &["T040 hours/17.note"],
        ),
        case(
            "heads that differ",
            Lie::Store(|archive| flip(archive, &Artefact::HourHeads(hour(18)).to_string())),
            &["T041 hours/18.heads"],
        ),
        case(
            "an object with another byte",
            Lie::Store(|archive| flip(archive, &format!("events/{CHUNK}.parquet"))),
            &["T051 events/acme/16/01-05.parquet", "T112 acme"],
        ),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case(
            "objects that nothing names",
            Lie::Store(|archive| {
                put(archive, "events/readme.txt", b"");
                put(archive, &format!("events/{}.e1.parquet", CHUNK.replace("05", "04")), b"");
                put(archive, &format!("events/{}.parquet", CHUNK.replace("acme", "ghost")), b"");
                put(archive, "rollups/spend/1.parquet", b"");
                put(archive, "elsewhere/readme.txt", b"");
            }),
            &[
                "T095 events/readme.txt",
                "T095 events/acme/16/01-04.e1.parquet",
                "T095 events/ghost/16/01-05.parquet",
                "T095 rollups/spend/1.parquet",
            ],
        ),
        case(
            "objects of an erasure that is about to be logged",
            Lie::Store(|archive| {
                put(archive, &format!("events/{CHUNK}.e1.parquet"), b"");
                put(archive, &format!("manifests/{CHUNK}.e1.note"), b"");
            }),
            &["T103 events/acme/16/01-05.e1.parquet", "T103 manifests/acme/16/01-05.e1.note"],
        ),
        case(
            "a bundle of an index beyond all sizes",
            Lie::Store(|archive| {
                put(archive, &Artefact::Bundle { index: u64::MAX, width: 256 }.to_string(), b"");
                put(
                    archive,
                    &Artefact::Tile { level: 0, index: u64::MAX, width: 256 }.to_string(),
                    b"",
                );
            }),
            &[
                "T103 log/tile/0/x018/x446/x744/x073/x709/x551/615",
                "T103 log/tile/entries/x018/x446/x744/x073/x709/x551/615",
            ],
        ),
        case(
            "older partial tiles with other bytes",
            Lie::Store(|archive| {
                put(archive, "log/tile/entries/000.p/2", b"");
                put(archive, "log/tile/0/000.p/3", &[0; 96]);
            }),
            &["T096 log/tile/0/000.p/3", "T096 log/tile/entries/000.p/2"],
        ),
        case(
            "objects of a later hour",
            Lie::Store(|archive| {
                put(archive, &note_of(19), b"");
                put(
                    archive,
                    &format!("events/{}.parquet", CHUNK.replace("hour=16", "hour=19")),
                    b"",
                );
                put(archive, "log/tile/entries/000.p/8", b"");
                put(archive, "log/tile/0/000.p/8", b"");
            }),
            &[
                "T103 events/acme/19/01-05.parquet",
                "T103 hours/19.note",
                "T103 log/tile/0/000.p/8",
                "T103 log/tile/entries/000.p/8",
            ],
        ),
        case(
            "a store that cannot be listed",
            Lie::Store(|archive| unreadable(archive, "")),
            &["T110"],
        ),
        case(
            "a checkpoint that cannot be read",
            Lie::Store(|archive| unreadable(archive, "log/checkpoint")),
            &["T110 log/checkpoint"],
        ),
        case(
            "a bundle that cannot be read",
            Lie::Store(|archive| unreadable(archive, BUNDLE)),
            &["T110 log/tile/entries/000.p/7"],
        ),
        case(
            "a tile that cannot be read",
            Lie::Store(|archive| unreadable(archive, TILE)),
            &["T110 log/tile/0/000.p/7"],
        ),
        case(
            "an object that cannot be read",
            Lie::Store(|archive| unreadable(archive, &format!("events/{CHUNK}.parquet"))),
            &["T110 events/acme/16/01-05.parquet", "T112 acme"],
        ),
    ]
}

fn policy() -> Vec<Case> {
    vec![
        case(
            "an archive that ends too early",
            Lie::Auditor(|_, policy| {
                policy.expect_through = Some(Micros::new(hour(18).end() + 1).unwrap());
            }),
            &["T101"],
        ),
        case(
            "events that were recorded long after they claim to have happened",
            Lie::Auditor(|_, policy| policy.max_late = Some(7_205_000_000)),
            &["T109 beta seq=1 occurred_at"],
        ),
        case(
            "a workspace that the auditor knows",
            Lie::Auditor(|trust, _| {
                trust.workspaces.insert(Workspace::new("ghost").unwrap(), vec![]);
            }),
            &["T090 ghost"],
        ),
        case(
            "a workspace that was asked for",
            Lie::Auditor(|_, policy| policy.workspace = Some(Workspace::new("ghost").unwrap())),
            &["T090 ghost"],
        ),
        case(
            "an auditor with another key",
            Lie::Auditor(|trust, _| {
                trust.seal_keys = vec![NoteSigner::seal(&origin(), key(101)).verifier().clone()];
            }),
            &[
                "T003 log/checkpoint",
                "T010 leaf=0",
                "T010 leaf=1",
                "T010 leaf=2",
                "T010 leaf=3",
                "T010 leaf=4",
                "T010 leaf=5",
                "T010 leaf=6",
            ],
        ),
    ]
}

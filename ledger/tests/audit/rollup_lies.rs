//! Lies about rollups, each with all that is found (`docs/spec/rollups.md`).
//!
//! Every case starts from the plan of `rollup::restated`. They are no part of the table in `lies.rs`, which starts from
//! another. Objects of rollups are any bytes here: what they hold is looked at by whoever computes alone.

use ledger::hash::Digest;
use ledger::names::Origin;
use ledger::rollup::RollupManifest;

use crate::forge::Archive;
use crate::plan::{Late, Plan, Rolled, definition, erased, sub};
use crate::prune::SIX;
use crate::rollup::{DAY, rolled};

/// What is wrong with the plan, and then with the store; and all that is found.
pub type Case = (&'static str, fn(&mut Plan), fn(&mut Archive), &'static [&'static str]);

fn nothing(_: &mut Archive) {}

fn change(plan: &mut Plan, at: usize, change: fn(&mut Rolled)) {
    change(&mut plan.rollups[at].1);
}

fn key(archive: &Archive, part: &str, ending: &str) -> String {
    let is =
        |key: &&String| key.starts_with("rollups/") && key.contains(part) && key.ends_with(ending);
    archive.objects.keys().find(is).unwrap().clone()
}

pub fn flip(archive: &mut Archive, part: &str, ending: &str) {
    let key = key(archive, part, ending);
    archive.objects.get_mut(&key).unwrap()[0] ^= 1;
}

pub fn lose(archive: &mut Archive, part: &str, ending: &str) {
    let key = key(archive, part, ending);
    archive.objects.remove(&key).unwrap();
}

fn put_again(archive: &mut Archive, part: &str, from: &str, to: &str) {
    for ending in [".parquet", ".note"] {
        let key = key(archive, part, ending);
        let bytes = archive.objects[&key].clone();
        archive.objects.insert(key.replace(from, to), bytes);
    }
}

/// Gives the definition another text, which the rollups state too.
fn text(plan: &mut Plan) {
    plan.rollups.retain(|(_, rolled)| rolled.workspace == "beta");
    plan.late.clear();
}

const SQL: &str = "rollups/daily/v1.sql";

pub fn cases() -> Vec<Case> {
    [manifests(), inputs(), objects()].into_iter().flatten().collect()
}

fn manifests() -> Vec<Case> {
    vec![
        (
            "a rollup manifest that contradicts itself",
            |plan| change(plan, 2, |rolled| rolled.lie = |m| m.inputs = 0),
            nothing,
            &[
                "T140 leaf=9",
                "T103 rollups/daily/beta/v1.r0.note",
                "T103 rollups/daily/beta/v1.r0.parquet",
            ],
        ),
        (
            "a rollup manifest whose object lies elsewhere",
            |plan| change(plan, 2, |rolled| rolled.lie = |m| m.version = 2),
            nothing,
            &[
                "T140 leaf=9",
                "T103 rollups/daily/beta/v1.r0.parquet",
                "T103 rollups/daily/beta/v2.r0.note",
            ],
        ),
        (
            "a rollup manifest of another ledger",
            |plan| {
                change(plan, 2, |rolled| rolled.lie = |m| m.origin = Origin::new("other").unwrap())
            },
            nothing,
            &[
                "T011 leaf=9 rollups/daily/beta/v1.r0.parquet",
                "T103 rollups/daily/beta/v1.r0.note",
                "T103 rollups/daily/beta/v1.r0.parquet",
            ],
        ),
        (
            "a first revision that is not 0",
            |plan| change(plan, 2, |rolled| rolled.revision = 1),
            nothing,
            &["T141 leaf=9 rollups/daily/beta/v1.r1.parquet"],
        ),
        (
            "a revision that is skipped",
            |plan| {
                change(plan, 1, |rolled| rolled.revision = 2);
                plan.late[1] = Late::Rollup(rolled("acme", 3, &[6, 7, 1]));
            },
            nothing,
            &["T141 leaf=8 rollups/daily/acme/v1.r2.parquet"],
        ),
        (
            "a revision that is doubled",
            |plan| {
                change(plan, 1, |rolled| rolled.revision = 0);
                plan.late[1] = Late::Rollup(rolled("acme", 1, &[6, 7, 1]));
            },
            // Its object is the same, so both copies lie at one place: the later one does.
            nothing,
            &["T141 leaf=8 rollups/daily/acme/v1.r0.parquet"],
        ),
        (
            "a rollup by another text of the same version",
            |plan| {
                change(plan, 2, |rolled| rolled.lie = |m| m.sql_sha256 = Digest::of(b"SELECT 2"));
            },
            nothing,
            &["T141 leaf=9 rollups/daily/beta/v1.r0.parquet"],
        ),
        (
            "a rollup of a workspace that has no chunk yet",
            |plan| {
                let mut early = rolled("beta", 0, &[]);
                early.notes = |notes| notes.push(Digest::of(b"none"));
                plan.rollups[2] = (0, early);
            },
            nothing,
            &["T141 leaf=4 rollups/daily/beta/v1.r0.parquet"],
        ),
    ]
}

fn inputs() -> Vec<Case> {
    vec![
        (
            "a chunk is left out",
            |plan| change(plan, 1, |rolled| rolled.inputs = &[1, 7]),
            nothing,
            &["T143 leaf=8 rollups/daily/acme/v1.r1.parquet"],
        ),
        (
            "a chunk too many, of another workspace",
            |plan| {
                change(plan, 2, |rolled| {
                    rolled.notes = |notes| notes.push(Digest::of(b"one more"))
                });
            },
            nothing,
            &["T143 leaf=9 rollups/daily/beta/v1.r0.parquet"],
        ),
        (
            "a chunk too many, of another day",
            |plan| {
                let other = |payload: &mut String| *payload = payload.replace("-23T16", "-22T16");
                plan.hours[0].1[1].subs[0].payloads.iter_mut().for_each(other);
                change(plan, 0, |rolled| rolled.inputs = &[1]);
                plan.late[1] = Late::Rollup(rolled("acme", 2, &[7, 1]));
            },
            nothing,
            &["T143 leaf=8 rollups/daily/acme/v1.r1.parquet"],
        ),
        (
            "chunks in another order",
            |plan| change(plan, 1, |rolled| rolled.notes = |notes| notes.reverse()),
            nothing,
            &["T143 leaf=8 rollups/daily/acme/v1.r1.parquet"],
        ),
        (
            "a chunk twice",
            |plan| change(plan, 1, |rolled| rolled.notes = |notes| notes[1] = notes[0]),
            nothing,
            &["T143 leaf=8 rollups/daily/acme/v1.r1.parquet"],
        ),
        (
            "a day on which nothing occurred",
            |plan| change(plan, 2, |rolled| rolled.day = "2026-11-24"),
            nothing,
            &["T143 leaf=9 rollups/daily/beta/date=2026-11-24/v1.r0.parquet"],
        ),
        (
            "a chunk that came late, and a day that is not restated",
            |plan| {
                plan.rollups.remove(1);
                plan.late.clear();
            },
            nothing,
            &["T144 acme"],
        ),
        (
            "an amended chunk, and a day that is not restated",
            |plan| plan.late.truncate(1),
            nothing,
            &["T144 acme"],
        ),
        (
            "a rollup that is older than a chunk that was pruned since",
            |plan| {
                plan.late.push(Late::Prune(SIX));
            },
            nothing,
            &["T145 acme"],
        ),
        (
            "a rollup of a chunk that was pruned before",
            |plan| {
                plan.rollups.truncate(1);
                plan.late = vec![Late::Prune(SIX), Late::Rollup(rolled("acme", 1, &[1, 7]))];
            },
            nothing,
            &["T145 acme"],
        ),
        (
            "a chunk whose only payload is withheld since",
            |plan| {
                let request = erased("acme", 9, 6);
                plan.hours[2].1[0].subs[1] = sub(1, 0, 6, vec![request]);
                plan.late =
                    vec![Late::Withhold("acme", 6), Late::Rollup(rolled("acme", 2, &[1, 7, 6]))];
            },
            nothing,
            &["T145 acme"],
        ),
        (
            "a chunk that is missing is told once",
            |_| {},
            |archive| {
                let key = "events/workspace=acme/date=2026-11-23/hour=16/00000000000000000006-00000000000000000006.parquet";
                archive.objects.remove(key).unwrap();
            },
            &["T050 events/acme/16/06-06.parquet", "T112 acme"],
        ),
    ]
}

fn objects() -> Vec<Case> {
    vec![
        (
            "a rollup's object that differs",
            |_| {},
            |archive| flip(archive, "v1.r1", ".parquet"),
            &["T051 rollups/daily/acme/v1.r1.parquet"],
        ),
        (
            "a rollup's object of another length",
            |plan| change(plan, 2, |rolled| rolled.lie = |m| m.digest.bytes += 1),
            nothing,
            &["T051 rollups/daily/beta/v1.r0.parquet"],
        ),
        (
            "a rollup's object that is missing",
            |_| {},
            |archive| lose(archive, "v1.r1", ".parquet"),
            &["T050 rollups/daily/acme/v1.r1.parquet"],
        ),
        (
            "a definition that differs",
            |_| {},
            |archive| archive.objects.get_mut(SQL).unwrap().push(b'\n'),
            &["T051 rollups/daily/v1.sql"],
        ),
        (
            "a definition that is missing",
            |_| {},
            |archive| drop(archive.objects.remove(SQL).unwrap()),
            &["T050 rollups/daily/v1.sql"],
        ),
        (
            "a definition that is none",
            |plan| {
                text(plan);
                change(plan, 0, |rolled| rolled.lie = |m| m.sql_sha256 = Digest::of(b"SELECT 1"));
            },
            |archive| drop(archive.objects.insert(SQL.to_owned(), b"SELECT 1".to_vec())),
            &["T142 rollups/daily/v1.sql"],
        ),
        (
            "a definition that is no text",
            |plan| {
                text(plan);
                change(plan, 0, |rolled| rolled.lie = |m| m.sql_sha256 = Digest::of(b"\xff"));
            },
            |archive| drop(archive.objects.insert(SQL.to_owned(), b"\xff".to_vec())),
            &["T142 rollups/daily/v1.sql"],
        ),
        (
            "the definition of another version",
            |plan| {
                text(plan);
                let lie: fn(&mut RollupManifest) =
                    |m| m.sql_sha256 = Digest::of(definition(2).as_bytes());
                plan.rollups[0].1.lie = lie;
            },
            |archive| drop(archive.objects.insert(SQL.to_owned(), definition(2).into_bytes())),
            &["T142 rollups/daily/v1.sql"],
        ),
        (
            "a copy of a rollup manifest that differs",
            |_| {},
            |archive| flip(archive, "v1.r1", ".note"),
            &["T041 rollups/daily/acme/v1.r1.note"],
        ),
        (
            "a copy of a rollup manifest that is missing",
            |_| {},
            |archive| lose(archive, "v1.r1", ".note"),
            &["T040 rollups/daily/acme/v1.r1.note"],
        ),
        (
            "objects at keys that no rollup has",
            |_| {},
            |archive| put_again(archive, "v1.r1", "v1.r1-", "v1.r1-0000000000000000-"),
            &[
                "T095 rollups/daily/acme/v1.r1-0000000000000000.note",
                "T095 rollups/daily/acme/v1.r1-0000000000000000.parquet",
            ],
        ),
        (
            "an object of a revision that is logged with other bytes",
            |_| {},
            |archive| {
                let named = key(archive, "v1.r1", ".parquet");
                let (head, _) = named.rsplit_once('-').unwrap();
                let other = format!("{head}-{}.parquet", "0".repeat(16));
                archive.objects.insert(other, b"other".to_vec());
            },
            &["T103 rollups/daily/acme/v1.r1.parquet"],
        ),
        (
            "the next revision, the first of another day, another definition",
            |_| {},
            |archive| {
                put_again(archive, "acme/date=2026-11-23/v1.r2", "v1.r2", "v1.r3");
                put_again(archive, "acme/date=2026-11-23/v1.r2", DAY, "2026-11-24");
                put_again(archive, "acme/date=2026-11-23/v1.r2", "daily/", "weekly/");
                archive.objects.insert("rollups/daily/v2.sql".to_owned(), b"SELECT 2".to_vec());
            },
            &[
                "T103 rollups/daily/v2.sql",
                "T103 rollups/daily/acme/v1.r3.note",
                "T103 rollups/daily/acme/v1.r3.parquet",
                "T103 rollups/daily/acme/date=2026-11-24/v1.r2.note",
                "T103 rollups/daily/acme/date=2026-11-24/v1.r2.parquet",
                "T103 rollups/weekly/acme/v1.r2.note",
                "T103 rollups/weekly/acme/v1.r2.parquet",
            ],
        ),
        (
            "what is no object of a rollup",
            |_| {},
            |archive| {
                archive.objects.insert("rollups/daily/v0.sql".to_owned(), vec![]);
                archive.objects.insert("rollups/readme".to_owned(), vec![]);
            },
            &["T095 rollups/daily/v0.sql", "T095 rollups/readme"],
        ),
    ]
}

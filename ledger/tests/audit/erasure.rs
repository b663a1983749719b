//! Payloads that are withheld, with and without a record in the chain (FORMAT section 10).

use ledger::hash::Digest;
use ledger::verify::{Policy, Report, Verdict};

use crate::driver::{audit, line, lines};
use crate::forge::{Archive, Lie, build};
use crate::lies::{Case, case};
use crate::plan::{Plan, erased, honest, id, sub, trust};

/// Withholds the payload of `acme` 6, which an entry of hour 18 allows.
fn erase(plan: &mut Plan) {
    plan.hours[2].1[0].subs.push(sub(1, 0, 6, vec![erased("acme", 9, 6)]));
    plan.withheld = vec![("acme", 6)];
}

pub fn cases() -> Vec<Case> {
    vec![
        case("an erasure that the chain records", Lie::Plan(erase), &["T102 acme"]),
        case(
            "a payload withheld that a root key signed alone",
            Lie::Plan(|plan| {
                erase(plan);
                plan.hours[0].1[1].subs[0].key = 1;
            }),
            &["T102 acme", "T104 acme seq=6 payload"],
        ),
        case(
            "a payload withheld without a record",
            Lie::Plan(|plan| plan.withheld = vec![("acme", 6)]),
            &["T084 acme seq=6 payload"],
        ),
        case(
            "a payload withheld by a record of another event",
            Lie::Plan(|plan| {
                erase(plan);
                plan.withheld = vec![("acme", 5)];
            }),
            &["T084 acme seq=5 payload"],
        ),
        case(
            "a payload withheld by a record before it",
            Lie::Plan(|plan| {
                erase(plan);
                plan.hours[0].1[1].subs[0] = sub(1, 0, 4, vec![erased("acme", 6, 7)]);
                plan.hours[2].1[0].subs.pop();
                plan.withheld = vec![("acme", 7)];
            }),
            &["T084 acme seq=7 payload"],
        ),
        case(
            "the event that opens a chain is withheld",
            Lie::Plan(|plan| {
                plan.hours[2].1[0].subs.push(sub(1, 0, 6, vec![erased("acme", 9, 1)]));
                plan.withheld = vec![("acme", 1)];
            }),
            &[
                "T080 acme seq=2 public_key",
                "T080 acme seq=3 public_key",
                "T085 acme seq=1 payload",
            ],
        ),
        case(
            "an amendment with another root",
            Lie::Manifest(1, |manifest| {
                manifest.amends = Digest::of(b"no manifest");
                manifest.object = manifest.object.replace(".parquet", ".e1.parquet");
            }),
            &[
                "T021 leaf=4 events/acme/18/07-08.parquet",
                "T022 leaf=4 events/acme/18/07-08.parquet",
                "T023 leaf=4 events/acme/18/07-08.parquet",
                "T027 leaf=1 events/acme/16/06-06.e1.parquet",
                "T033 leaf=2 hour=16",
                "T034 leaf=2 hour=16",
                "T034 leaf=3 hour=17",
                "T041 hours/16.heads",
                "T041 hours/17.heads",
                "T095 events/acme/16/06-06.e1.parquet",
            ],
        ),
    ]
}

/// Audits the erased ledger with a second lie told about its manifests or objects.
fn erased_and(lie: &Lie, allow_erased: bool) -> Report {
    let mut plan = honest();
    erase(&mut plan);
    let policy = Policy { allow_erased, ..Policy::default() };
    audit(&build(plan, lie), trust(), policy, |_| 0)
}

const HONEST: Lie = Lie::Store(|_| {});

#[test]
fn a_recorded_erasure_is_short_unless_the_auditor_allows_it() {
    let report = erased_and(&HONEST, false);
    assert_eq!((report.verdict, lines(&report)), (Verdict::Short, vec!["T102 acme".to_owned()]));
    let report = erased_and(&HONEST, true);
    assert_eq!((report.verdict, lines(&report)), (Verdict::Proven, vec![]));
    assert_eq!((report.workspaces[0].withheld, report.workspaces[0].events), (1, 9));
    assert_eq!(report.log_size, 8);
}

#[test]
fn nothing_stays_beside_a_withheld_payload() {
    let lie = Lie::Object(4, |rows| rows[0].derived.actor_id = Some("seven".into()));
    let found = lines(&erased_and(&lie, true));
    let object = "events/acme/16/06-06.e1.parquet";
    assert_eq!(found, [format!("T066 {object} seq=6 actor_id")]);
    let lie = Lie::Object(4, |rows| rows[0].derived.occurred_at -= 1);
    let found = lines(&erased_and(&lie, true));
    assert_eq!(found, [format!("T066 {object} seq=6 occurred_at")]);
    // The digest stays, and with it link and signature.
    let lie = Lie::Object(4, |rows| rows[0].payload_digest[0] ^= 1);
    let found = lines(&erased_and(&lie, true));
    assert!(found.contains(&format!("T073 {object} seq=6 signature")), "{found:?}");
    assert!(found.contains(&format!("T067 {object} seq=6 link")), "{found:?}");
}

#[test]
fn an_amendment_keeps_all_but_the_object() {
    let place = "T027 leaf=7 events/acme/16/06-06.e1.parquet".to_owned();
    for lie in [
        Lie::Manifest(4, |manifest| manifest.amends = Digest::of(b"no manifest")),
        Lie::Manifest(4, |manifest| manifest.part = 0),
        Lie::Manifest(4, |manifest| manifest.prev_manifest = Digest::ZERO),
        Lie::Manifest(4, |manifest| manifest.first_recorded_at = manifest.hour.start()),
        Lie::Manifest(4, |manifest| manifest.last_link = Digest::ZERO),
        Lie::Manifest(4, |manifest| manifest.root = Digest::ZERO),
    ] {
        let found = lines(&erased_and(&lie, true));
        assert!(found.contains(&place), "{found:#?}");
    }
}

#[test]
fn the_old_object_may_stay_as_it_was_and_not_otherwise() {
    let key = "events/workspace=acme/date=2026-11-23/hour=16/00000000000000000006-00000000000000000006.parquet";
    let mut plan = honest();
    erase(&mut plan);
    let mut archive = build(plan, &HONEST);
    let mut before = honest();
    erase(&mut before);
    before.withheld.clear();
    let old = build(before, &HONEST).objects[key].clone();
    let found = |archive: &Archive| {
        let policy = Policy { allow_erased: true, ..Policy::default() };
        audit(archive, trust(), policy, |_| 0).findings.iter().map(line).collect::<Vec<_>>()
    };
    archive.objects.insert(key.to_owned(), old);
    assert_eq!(found(&archive), [""; 0]);
    archive.objects.insert(key.to_owned(), id("acme", 6).as_bytes().to_vec());
    assert_eq!(found(&archive), ["T096 events/acme/16/06-06.parquet"]);
    archive.objects.remove(key);
    // The next erasure may be about to be logged. Under a key that none has, nothing is.
    let mut with = |ending: &str| {
        let key = key.replace(".parquet", ending);
        archive.objects.insert(key.clone(), Vec::new());
        let lines = found(&archive);
        archive.objects.remove(&key);
        lines
    };
    assert_eq!(with(".e2.parquet"), ["T103 events/acme/16/06-06.e2.parquet"]);
    assert_eq!(with(".e2.note"), ["T095 events/acme/16/06-06.e2.note"]);
}

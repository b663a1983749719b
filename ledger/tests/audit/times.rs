//! Only some hours: their rows are checked, with the keys that other hours set, and nothing is found that is
//! not there.

use ledger::time::Hour;
use ledger::verify::{Policy, Pruned, Report, Verdict};

use crate::driver::{audit, lines};
use crate::forge::{Archive, Lie, build};
use crate::plan::{Plan, erased, honest, hour, sub, trust};

const HONEST: Lie = Lie::Store(|_| {});

fn between(archive: &Archive, since: Option<Hour>, until: Option<Hour>) -> Report {
    let (since, until) = (since.map(Hour::start), until.map(Hour::start));
    audit(archive, trust(), Policy { since, until, ..Policy::default() }, |_| 0)
}

#[test]
fn rows_of_other_hours_are_not_counted_and_keys_are_known() {
    let archive = build(honest(), &HONEST);
    // The chunk that sets the keys is read whole: 5 rows. Seq 6 is a chunk of its own.
    let report = between(&archive, Some(hour(17)), None);
    assert_eq!((report.verdict, lines(&report)), (Verdict::Proven, vec![]));
    assert_eq!((report.events, report.outside), (9, Pruned { chunks: 1, events: 1 }));
    // The first chunk of `beta` founds it, and is read for that.
    let report = between(&archive, None, Some(hour(17)));
    assert_eq!((report.verdict, lines(&report)), (Verdict::Proven, vec![]));
    assert_eq!((report.events, report.outside), (8, Pruned { chunks: 1, events: 2 }));
    let all = between(&archive, Some(hour(16)), Some(hour(19)));
    assert_eq!((all.events, all.outside), (10, Pruned::default()));
    // A number before the hours may stand there.
    let mut counted = honest();
    counted.hours[0].1[1].subs[0].counter = 9;
    counted.hours[2].1[0].subs[0].counter = 12;
    let report = between(&build(counted, &HONEST), Some(hour(18)), None);
    assert_eq!(report.verdict, Verdict::Proven);
    let missing: Vec<_> =
        report.workspaces.iter().flat_map(|workspace| &workspace.missing_counters).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_row_is_judged_in_its_hour_and_bytes_in_any() {
    let lie = || Lie::Object(1, |rows| rows[0].link[7] ^= 1);
    let archive = build(honest(), &lie());
    let found = lines(&between(&archive, None, Some(hour(17))));
    assert!(
        !found.is_empty() && found.iter().all(|line| line.contains("acme/16/06-06")),
        "{found:?}"
    );
    assert_eq!(lines(&between(&archive, Some(hour(18)), None)), Vec::<String>::new());
    let mut changed = build(honest(), &HONEST);
    let object = changed.objects.keys().find(|key| key.contains("06-00000000000000000006.parquet"));
    let object = object.unwrap().clone();
    changed.objects.get_mut(&object).unwrap()[9] ^= 1;
    let found = lines(&between(&changed, Some(hour(18)), None));
    assert!(found[0].starts_with("T051 events/acme/16/06-06"), "{found:?}");
    changed.objects.remove(&object);
    let found = lines(&between(&changed, Some(hour(18)), None));
    assert!(found[0].starts_with("T050 events/acme/16/06-06"), "{found:?}");
}

/// Everything claims to have happened at 16:00:00; hour 18 is recorded two hours and some seconds later.
#[test]
fn times_that_are_claimed_may_be_asked_to_be_near() {
    let archive = build(honest(), &HONEST);
    let asked = |archive: &Archive, late: Option<u64>, ahead: Option<u64>| {
        let micros = |seconds: Option<u64>| seconds.map(|seconds| seconds * 1_000_000);
        let (max_late, max_ahead) = (micros(late), micros(ahead));
        let policy = Policy { max_late, max_ahead, ..Policy::default() };
        audit(archive, trust(), policy, |_| 0)
    };
    let both = asked(&archive, Some(7_200), None);
    assert_eq!(both.verdict, Verdict::Short);
    assert_eq!(lines(&both), ["T109 acme seq=7 occurred_at", "T109 beta seq=1 occurred_at"]);
    assert_eq!(both.findings[0].found.as_deref(), Some("7205.000000 s, the farthest of all"));
    let beta = asked(&archive, Some(7_205), Some(0));
    assert_eq!(lines(&beta), ["T109 beta seq=1 occurred_at"]);
    assert_eq!(lines(&asked(&archive, Some(7_206), Some(0))), Vec::<String>::new());
    // Ten seconds past the hour, and recorded at the third.
    let mut plan = honest();
    let payload = &mut plan.hours[0].1[0].subs[2].payloads[1];
    *payload = payload.replace("16:00:00Z", "16:00:10Z");
    let early = build(plan, &HONEST);
    assert_eq!(lines(&asked(&early, None, Some(6))), ["T109 acme seq=4 occurred_at"]);
    assert_eq!(lines(&asked(&early, None, Some(7))), Vec::<String>::new());
}

#[test]
fn keys_and_erasures_count_wherever_they_stand() {
    // An erasure after the hours allows what is withheld within them.
    let mut plan = honest();
    plan.hours[2].1[0].subs.push(sub(1, 0, 6, vec![erased("acme", 9, 6)]));
    plan.withheld = vec![("acme", 6)];
    let report = between(&build(plan, &HONEST), None, Some(hour(17)));
    assert_eq!(lines(&report), ["T102 acme"]);
    // A key that nothing before the hours registered.
    let foreign = |plan: &mut Plan| plan.hours[2].1[0].subs[0].key = 3;
    let mut plan = honest();
    foreign(&mut plan);
    let report = between(&build(plan, &HONEST), Some(hour(18)), None);
    assert_eq!(lines(&report), ["T080 acme seq=7 public_key"]);
}

//! Going on from what an earlier audit came to: the same report as from the beginning, with only what is new
//! looked at.

use ledger::names::Workspace;
use ledger::verify::{Audit, Depth, Policy, Report, StateError, Trust, Verdict};

use crate::driver::{line, lines, run};
use crate::forge::{Archive, Lie, build};
use crate::plan::{self, Late, Plan, erased, event, honest, hour, id, sub};
use crate::prune::SIX;

const HONEST: Lie = Lie::Store(|_| {});

/// An auditor who does not know of `beta`, which comes in the last hour.
fn trust() -> Trust {
    let mut trust = plan::trust();
    trust.workspaces.retain(|name, _| name.as_str() == "acme");
    trust
}

/// What an audit keeps of an archive, and its report.
fn first(archive: &Archive) -> (Option<String>, Report) {
    let mut audit = Audit::new(trust(), Policy::default());
    run(&mut audit, archive, usize::MAX, |_| 0);
    (audit.state(), audit.finish())
}

/// The report of an audit that goes on from a state, and which chunks it looked at.
fn resumed(archive: &Archive, state: &str) -> (Report, Vec<(Depth, String)>) {
    let mut audit = Audit::resume(trust(), Policy::default(), state).unwrap();
    let chunks = run(&mut audit, archive, usize::MAX, |_| 0);
    (audit.finish(), chunks)
}

/// But for where it started from, it is the report of an audit from the beginning.
#[track_caller]
fn assert_same(resumed: Report, fresh: &Report) {
    assert!(resumed.resumed.is_some());
    assert_eq!(&Report { resumed: None, ..resumed }, fresh);
}

/// The honest ledger as it was when its log had so many leaves.
fn at(leaves: usize) -> Archive {
    let mut archive = build(honest(), &HONEST);
    let plans = [1, 2, 3].map(|hours| {
        let mut plan = honest();
        plan.hours.truncate(hours);
        build(plan, &HONEST)
    });
    if let Some(index) = [3, 4, 7].iter().position(|size| *size == leaves) {
        archive = plans[index].clone();
    }
    archive
}

#[test]
fn what_was_checked_is_not_fetched_again_and_the_report_is_the_same() {
    let whole = at(7);
    let fresh = first(&whole).1;
    for (leaves, left) in [(3, 2), (4, 2), (7, 0)] {
        let early = at(leaves);
        let (state, report) = first(&early);
        assert_eq!(report.verdict, Verdict::Proven);
        let (report, chunks) = resumed(&whole, &state.unwrap());
        assert_eq!(report.resumed, Some(leaves as u64));
        assert_same(report, &fresh);
        assert_eq!(chunks.len(), left, "{chunks:?}");
        assert!(chunks.iter().all(|(depth, _)| *depth == Depth::Whole));
    }
}

#[test]
fn an_audit_that_was_ended_goes_on_where_it_was() {
    let archive = at(7);
    let fresh = first(&archive).1;
    let (mut ended, mut started) = (0, 0);
    for answers in 0..40 {
        for pick in [0, usize::MAX] {
            let mut audit = Audit::new(trust(), Policy::default());
            let before = run(&mut audit, &archive, answers, |open| pick.min(open - 1));
            let (state, done) = (audit.state(), audit.is_done());
            let report = audit.finish();
            if !done {
                assert_eq!(report.verdict, Verdict::Unfinished);
                assert_eq!(report.findings.iter().map(line).collect::<Vec<_>>(), ["T112"]);
                ended += 1;
            }
            // Without the whole log there is nothing to go on from.
            let Some(state) = state else { continue };
            let (report, chunks) = resumed(&archive, &state);
            assert_same(report, &fresh);
            // Those are checked twice that were checked out of turn, and no others.
            assert!(before.len() + chunks.len() >= 4 && chunks.len() <= 4);
            started += usize::from(chunks.len() < 4);
        }
    }
    assert!(ended > 20 && started > 20, "{ended} {started}");
}

#[test]
fn erasing_and_pruning_since_then_is_told_as_from_the_beginning() {
    let with_request = |plan: &mut Plan| {
        plan.hours[2].1[0].subs.push(sub(1, 0, 6, vec![erased("acme", 9, 6)]));
    };
    let mut early = honest();
    with_request(&mut early);
    let (state, _) = first(&build(early, &HONEST));
    let state = state.unwrap();
    for (late, ids, again) in [
        (vec![Late::Withhold("acme", 6)], vec!["T102 acme"], 1),
        (vec![Late::Prune(SIX)], vec!["T106 acme", "T107 leaf=7 acme"], 0),
        (vec![Late::Hours(3), Late::Withhold("acme", 6)], vec!["T102 acme"], 1),
    ] {
        let mut plan = honest();
        with_request(&mut plan);
        plan.late = late;
        let archive = build(plan, &HONEST);
        let fresh = first(&archive).1;
        assert_eq!(lines(&fresh), ids);
        let (report, chunks) = resumed(&archive, &state);
        assert_eq!(lines(&report), ids);
        assert_eq!(report.findings, fresh.findings);
        assert_eq!(chunks.iter().filter(|(depth, _)| *depth == Depth::Again).count(), again);
        assert_eq!(chunks.len(), again);
    }
    // Withheld without a record, since then.
    let mut plan = honest();
    plan.late = vec![Late::Withhold("acme", 6)];
    let (state, _) = first(&at(7));
    let (report, _) = resumed(&build(plan, &HONEST), &state.unwrap());
    assert_eq!(lines(&report), ["T084 acme seq=6 payload"]);
}

/// Whoever holds the seal key and a root key takes what set keys out of sight, once it was verified.
#[test]
fn an_event_that_set_keys_and_was_erased_since_then_is_told() {
    let plan = |seq: u64, withheld: bool| {
        let mut plan = honest();
        // A root key signs seq 6 alone.
        plan.hours[0].1[1].subs[0].key = 1;
        plan.hours[2].1[0].subs.push(sub(1, 0, 6, vec![erased("acme", 9, seq)]));
        plan.late = if withheld { vec![Late::Withhold("acme", seq)] } else { vec![] };
        build(plan, &HONEST)
    };
    let after = |seq: u64| {
        let state = first(&plan(seq, false)).0.unwrap();
        lines(&resumed(&plan(seq, true), &state).0)
    };
    assert_eq!(after(6), ["T102 acme", "T104 acme seq=6 payload"]);
    assert_eq!(after(1), ["T085 acme seq=1 payload", "T102 acme"]);
    // Of the registration itself, one line for all that rested on it, where one from the beginning has a line each.
    let told = ["T080 acme seq=2 payload", "T102 acme", "T104 acme seq=2 payload"];
    assert_eq!(after(2), told);
    let fresh = first(&plan(2, true)).1;
    let ids = lines(&fresh);
    assert!(ids.iter().any(|line| line.starts_with("T080 acme")), "{ids:?}");
    assert_eq!(fresh.verdict, Verdict::Tampered);
}

#[test]
fn what_is_wrong_since_then_is_found() {
    let state = first(&at(3)).0.unwrap();
    // A counter that was used before, an id that was used before, a key that nobody registered.
    type Wrong = (fn(&mut Plan), &'static [&'static str]);
    let wrong: [Wrong; 3] = [
        (|plan| plan.hours[2].1[0].subs[0].counter = 1, &["T083 acme seq=7 counter"]),
        (
            |plan| {
                let again = event("acme", 4, "business_event", "");
                plan.hours[2].1[0].subs[0].payloads = vec![again];
            },
            &["T082 acme seq=7 event_id"],
        ),
        (|plan| plan.hours[2].1[0].subs[0].key = 3, &["T080 acme seq=7 public_key"]),
    ];
    for (lie, expected) in wrong {
        let mut plan = honest();
        lie(&mut plan);
        let archive = build(plan, &HONEST);
        let mut audit = Audit::resume(trust(), Policy::default(), &state).unwrap();
        // Whoever drives it has the ids of last time.
        run(&mut audit, &archive, usize::MAX, |_| 0);
        let mut runs = audit.take_ids();
        let workspace = Workspace::new("acme").unwrap();
        let seq = |n| ledger::names::Seq::new(n).unwrap();
        let mut before: Vec<_> = (1..=6).map(|n| (id("acme", n), seq(n))).collect();
        before.sort_unstable();
        runs.entry(workspace.clone()).or_default().push(before);
        let runs = runs.remove(&workspace).unwrap();
        let doubled = ledger::verify::doubled_ids(runs.into_iter().map(Vec::into_iter));
        audit.doubled(&workspace, doubled);
        assert_eq!(audit.state(), None, "there is nothing to go on from");
        assert_eq!(lines(&audit.finish()), expected);
    }
}

#[test]
fn the_log_of_last_time_has_to_be_the_beginning_of_this_one() {
    let state = first(&at(7)).0.unwrap();
    let (report, _) = resumed(&at(4), &state);
    assert!(lines(&report).contains(&"T017 log/checkpoint".to_owned()), "{:?}", lines(&report));
    let mut other = honest();
    other.hours[0].1[0].subs[2].second = 2;
    let (report, _) = resumed(&build(other, &HONEST), &state);
    assert_eq!(report.verdict, Verdict::Tampered);
    assert!(lines(&report).contains(&"T016 leaf=6".to_owned()), "{:?}", lines(&report));
}

#[test]
fn what_is_no_longer_listed_is_missing() {
    let state = first(&at(7)).0.unwrap();
    let lost = |part: &str| {
        let mut archive = at(7);
        let before = archive.objects.len();
        archive.objects.retain(|key, _| !key.contains(part));
        assert_eq!(archive.objects.len() + 1, before, "{part}");
        lines(&resumed(&archive, &state).0)
    };
    let [chunk] = &lost("hour=18/00000000000000000007-00000000000000000008.parquet")[..] else {
        panic!("one finding");
    };
    assert!(chunk.starts_with("T050 events/acme/18/07-08"), "{chunk}");
    assert!(lost("hour=17.heads")[0].starts_with("T040"));
    // A store that does not list says nothing of that.
    let mut archive = at(7);
    archive.unreadable.insert(String::new());
    assert_eq!(lines(&resumed(&archive, &state).0), ["T110"]);
}

#[test]
fn nothing_is_kept_of_what_is_wrong_or_only_a_part() {
    let wrong: [Lie; 2] = [
        Lie::Object(0, |rows| rows[1].link[7] ^= 1),
        Lie::Store(|archive| archive.objects.retain(|key, _| !key.contains("hour=16"))),
    ];
    for lie in wrong {
        assert_eq!(first(&build(honest(), &lie)).0, None);
    }
    let mut unreadable = at(7);
    let object = unreadable.objects.keys().find(|key| key.ends_with(".parquet")).unwrap().clone();
    unreadable.unreadable.insert(object);
    assert_eq!(first(&unreadable).0, None);
    let policy = Policy { since: Some(hour(18).start()), ..Policy::default() };
    let mut audit = Audit::new(trust(), policy.clone());
    run(&mut audit, &at(7), usize::MAX, |_| 0);
    assert_eq!(audit.state(), None);

    let state = first(&at(7)).0.unwrap();
    let error = Audit::resume(trust(), policy, &state).unwrap_err();
    assert!(matches!(error, StateError::Scope { .. }), "{error}");
    let acme = Policy { workspace: Some(Workspace::new("acme").unwrap()), ..Policy::default() };
    let error = Audit::resume(trust(), acme, &state).unwrap_err();
    assert!(error.to_string().contains("all workspaces"), "{error}");
    for (from, to) in [
        ("audit-state/v1", "audit-state/v9"),
        ("\"log_root\"", "\"log_rood\""),
        ("root\"", "boot\""),
    ] {
        let state = state.replacen(from, to, 1);
        let error = Audit::resume(trust(), Policy::default(), &state).unwrap_err();
        assert!(matches!(error, StateError::Malformed(_)), "{error}");
    }
    let other = state.replacen("ledger.example.com/test", "ledger.example.com/other", 1);
    let error = Audit::resume(trust(), Policy::default(), &other).unwrap_err();
    assert!(matches!(error, StateError::Origin { .. }), "{error}");
}

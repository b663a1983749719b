//! Rollups in the log: an honest one is proven, restated as chunks come late and are amended; every lie about one is
//! found at its place; and what cannot be compared is said, never held against it (`docs/spec/rollups.md`).
//!
//! Chunks are named by the seqs that they start with. All events of the honest ledger occurred on 2026-11-23.

use std::collections::BTreeSet;

use ledger::hash::Digest;
use ledger::verify::{Audit, Check, LoggedRollup, Policy, Report, Severity, Verdict};
use proptest::prelude::*;

use crate::driver::{audit, line, run};
use crate::forge::{Archive, Lie, build};
use crate::plan::{
    ChunkPlan, Late, Plan, Rolled, definition, erased, event, honest, hour, sub, trust, workspace,
};
use crate::prune::SIX;
use crate::rollup_lies::{cases, flip, lose};

const HONEST: Lie = Lie::Store(|_| {});
pub const DAY: &str = "2026-11-23";

pub const fn rolled(workspace: &'static str, revision: u32, inputs: &'static [u64]) -> Rolled {
    Rolled { workspace, day: DAY, version: 1, revision, inputs, notes: |_| {}, lie: |_| {} }
}

/// A day that is restated as a chunk comes late and as one is amended: leaves 3, 8, 11; and one of `beta`: leaf 9.
pub fn restated() -> Plan {
    let mut plan = honest();
    plan.hours[2].1[0].subs.push(sub(1, 0, 6, vec![erased("acme", 9, 3)]));
    plan.rollups = vec![
        (0, rolled("acme", 0, &[1, 6])),
        (2, rolled("acme", 1, &[1, 6, 7])),
        (2, rolled("beta", 0, &[1])),
    ];
    // The amended chunk comes last: its note in force does.
    plan.late = vec![Late::Withhold("acme", 3), Late::Rollup(rolled("acme", 2, &[6, 7, 1]))];
    plan
}

pub fn policy() -> Policy {
    Policy { allow_erased: true, allow_pruned: true, min_kept_days: 0, ..Policy::default() }
}

fn report(archive: &Archive) -> Report {
    let report = audit(archive, trust(), policy(), |_| 0);
    assert_eq!(report, audit(archive, trust(), policy(), |open| open - 1), "whatever the order");
    report
}

/// Every finding, notices too.
fn told(report: &Report) -> Vec<String> {
    report.findings.iter().map(line).collect()
}

fn detail(report: &Report, check: Check) -> &str {
    let finding = report.findings.iter().find(|finding| finding.check == check).unwrap();
    finding.detail.as_deref().unwrap()
}

/// What a driver that computes anew is given.
fn rollups(archive: &Archive, policy: Policy) -> Vec<LoggedRollup> {
    let mut audit = Audit::new(trust(), policy);
    run(&mut audit, archive, usize::MAX, |_| 0);
    assert!(audit.is_done());
    audit.rollups()
}

/// The first seqs of a rollup's inputs.
fn seqs(rollup: &LoggedRollup) -> Option<Vec<u64>> {
    let inputs = rollup.inputs.as_ref()?;
    Some(inputs.iter().map(|(manifest, _)| manifest.first_seq.get()).collect())
}

#[test]
fn a_day_that_is_restated_is_proven_in_each_revision() {
    let archive = build(restated(), &HONEST);
    let found = report(&archive);
    assert_eq!((found.verdict, told(&found)), (Verdict::Proven, vec![]));
    let of = rollups(&archive, policy());
    let rows = of.iter().map(|rollup| {
        let revision = rollup.manifest.revision;
        (rollup.leaf, revision, rollup.newest, seqs(rollup).unwrap())
    });
    let expected = [
        (3, 0, false, vec![1, 6]),
        (8, 1, false, vec![1, 6, 7]),
        (9, 0, true, vec![1]),
        (11, 2, true, vec![6, 7, 1]),
    ];
    assert_eq!(rows.collect::<Vec<_>>(), expected);
    for rollup in &of {
        assert_eq!(rollup.definition.as_ref().unwrap().sql, definition(1));
        // What it was given is what is in force where it stands.
        for (manifest, note) in rollup.inputs.as_deref().unwrap() {
            let amended = rollup.leaf == 11 && manifest.first_seq.get() == 1;
            assert_eq!(manifest.erasure(), u32::from(amended));
            let copy =
                manifest.object.replace("events/", "manifests/").replace(".parquet", ".note");
            assert_eq!(Digest::of(&archive.objects[&copy]), *note);
        }
    }
}

#[test]
fn a_definition_says_how_many_days_are_read() {
    let mut plan = honest();
    let days = ["2026-11-21T23:59:59.999999Z", "2026-11-24T00:00:00Z"];
    let at = |n: u64, day: &str| {
        event("acme", n, "business_event", "").replace("2026-11-23T16:00:00Z", day)
    };
    plan.hours[0].1[1].subs = vec![sub(2, 2, 4, vec![at(6, days[0])])];
    plan.hours[2].1[0].subs = vec![sub(2, 3, 5, vec![at(7, days[1]), at(8, days[0])])];
    for (day, version, inputs) in [
        ("2026-11-21", 1, &[6_u64, 7][..]),
        ("2026-11-22", 2, &[6, 7]),
        ("2026-11-23", 1, &[1]),
        ("2026-11-23", 2, &[1]),
        ("2026-11-23", 3, &[1, 6, 7]),
        ("2026-11-24", 1, &[7]),
        ("2026-11-24", 2, &[1, 7]),
        ("2026-11-24", 5, &[1, 6, 7]),
    ] {
        let rolled = Rolled { day, version, inputs, ..rolled("acme", 0, &[]) };
        plan.late.push(Late::Rollup(rolled));
    }
    assert_eq!(told(&report(&build(plan, &HONEST))), [""; 0]);
}

#[test]
fn every_lie_about_a_rollup_is_found_at_its_place() {
    let (mut wrong, mut reached) = (Vec::new(), BTreeSet::new());
    for (name, lie, store, expected) in cases() {
        let mut plan = restated();
        lie(&mut plan);
        let mut archive = build(plan, &HONEST);
        store(&mut archive);
        let found = report(&archive);
        if told(&found) != expected {
            wrong.push(format!("{name}: {:#?}", told(&found)));
        }
        reached.extend(found.findings.iter().map(|finding| finding.check.id()));
        let grave = |finding: &ledger::verify::Finding| finding.check.severity() > Severity::Notice;
        assert_eq!(found.verdict == Verdict::Proven, !found.findings.iter().any(grave), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let of = Check::ALL.iter().map(|check| check.id()).filter(|id| ("T140"..="T145").contains(id));
    assert!(of.clone().count() == 6 && of.clone().all(|id| reached.contains(id)), "{reached:?}");
}

#[test]
fn a_finding_says_what_was_expected_and_found() {
    let mut plan = restated();
    plan.rollups[1].1.inputs = &[1, 7];
    plan.rollups[2].1.revision = 4;
    let archive = build(plan, &HONEST);
    let found = report(&archive);
    let of = |check| found.findings.iter().find(|finding| finding.check == check).unwrap();
    let finding = of(Check::RollupInputs);
    assert!(finding.expected.as_deref().unwrap().starts_with("3 chunks with the root "));
    assert!(finding.found.as_deref().unwrap().starts_with("2 chunks with the root "));
    assert_eq!(finding.place.workspace, Some(workspace("acme")));
    let finding = of(Check::RollupOrder);
    assert_eq!(finding.expected.as_deref(), Some("0"));
    assert_eq!(finding.found.as_deref(), Some("4"));
    // Who computes anew is given no inputs that are known to be others.
    let of = rollups(&archive, policy());
    assert_eq!(of.iter().map(seqs).filter(Option::is_none).count(), 1);
}

/// The manifest that counts is the one in force where the rollup stands in the log.
#[test]
fn a_note_that_is_no_longer_in_force_is_another_input() {
    let mut plan = restated();
    plan.late = vec![Late::Rollup(rolled("acme", 2, &[1, 6, 7])), Late::Withhold("acme", 3)];
    let before = report(&build(plan, &HONEST));
    assert_eq!(told(&before), ["T144 acme"]);
    let mut plan = restated();
    plan.late = vec![Late::Rollup(rolled("acme", 2, &[1, 6, 7])), Late::Withhold("acme", 3)];
    let behind = report(&build(plan, &Lie::Leaves(|leaves| leaves.swap(10, 11))));
    assert_eq!(told(&behind), ["T143 leaf=11 rollups/daily/acme/v1.r2.parquet"]);
    let finding = &behind.findings[0];
    let count = |text: &Option<String>| text.as_deref().map(|text| text.starts_with("3 chunks"));
    assert_eq!((count(&finding.expected), count(&finding.found)), (Some(true), Some(true)));
}

/// One line for all days of a rollup that are stale, and for all rollups that cannot be compared.
#[test]
fn notices_count_what_they_are_about() {
    let mut plan = honest();
    for (day, version) in [(DAY, 1), ("2026-11-24", 2), ("2026-11-25", 3)] {
        let rolled = Rolled { day, version, ..rolled("acme", 0, &[1, 6]) };
        plan.rollups.push((0, rolled));
    }
    // Another version of a day takes the place of the one before.
    let newer = Rolled { version: 9, ..rolled("acme", 0, &[1, 6, 7]) };
    plan.late.push(Late::Rollup(newer));
    let found = report(&build(plan, &HONEST));
    assert_eq!(told(&found), ["T144 acme"]);
    let expected = "rollup daily: 2 days, from 2026-11-24 to 2026-11-25";
    assert_eq!(detail(&found, Check::RollupStale), expected);

    let mut plan = restated();
    plan.late.push(Late::Prune(SIX));
    let found = report(&build(plan, &HONEST));
    assert!(detail(&found, Check::RollupUnchecked).starts_with("3 rollups: "));
}

/// Nothing that is only not there is held against a rollup, though what it states could not be right.
#[test]
fn what_is_not_there_is_not_held_against_a_rollup() {
    let mut plan = restated();
    plan.rollups[1].1.notes = |notes| notes.clear();
    plan.rollups[1].1.lie = |m| m.inputs = 7;
    let archive = build(plan, &HONEST);
    assert!(told(&report(&archive)).iter().any(|line| line.starts_with("T143 leaf=8")));
    let later = Policy { since: Some(hour(18).start()), ..policy() };
    let found = audit(&archive, trust(), later, |_| 0);
    assert!(told(&found).iter().all(|line| line.starts_with("T145 acme")), "{:?}", told(&found));
    // Another workspace is not asked about, and neither are the objects of its rollups.
    let mut other = archive;
    other.objects.retain(|key, _| !key.contains("daily/workspace=acme"));
    let beta = Policy { workspace: Some(workspace("beta")), ..policy() };
    let found = audit(&other, trust(), beta.clone(), |_| 0);
    assert_eq!((found.verdict, told(&found)), (Verdict::Proven, vec![]));
    assert_eq!(rollups(&other, beta).len(), 1);
}

#[test]
fn days_of_a_chunk_with_too_many_of_them_are_not_known() {
    let day = |n: u64| {
        let date = ledger::time::Day::new(i32::try_from(n).unwrap()).unwrap();
        event("acme", n, "business_event", "").replace(DAY, &date.to_string())
    };
    for (days, expected) in
        [(4_095, &["T143 leaf=4 rollups/daily/acme/v1.r0.parquet"][..]), (4_097, &["T145 acme"])]
    {
        let mut plan = honest();
        let payloads: Vec<String> = (6..6 + days).map(day).collect();
        let subs = (2..).zip(payloads.chunks(1_000));
        plan.hours[0].1[1].subs =
            subs.map(|(counter, payloads)| sub(2, counter, 4, payloads.to_vec())).collect();
        plan.hours.truncate(1);
        let later = Rolled { day: "1970-01-08", ..rolled("acme", 0, &[1]) };
        plan.late = vec![Late::Hours(1), Late::Rollup(later)];
        let known = ledger::verify::Trust { workspaces: Default::default(), ..trust() };
        let found = audit(&build(plan, &HONEST), known, policy(), |_| 0);
        let found: Vec<_> =
            told(&found).into_iter().filter(|line| line.starts_with("T14")).collect();
        let short: Vec<_> = found.iter().map(|line| line.replace("date=1970-01-08/", "")).collect();
        assert_eq!(short, expected, "{days}");
    }
}

/// What an audit keeps of an archive.
fn state(archive: &Archive) -> Option<String> {
    let mut audit = Audit::new(trust_of_acme(), policy());
    run(&mut audit, archive, usize::MAX, |_| 0);
    audit.state()
}

fn trust_of_acme() -> ledger::verify::Trust {
    let mut trust = trust();
    trust.workspaces.retain(|name, _| name.as_str() == "acme");
    trust
}

fn resumed(archive: &Archive, state: &str) -> (Report, Vec<LoggedRollup>) {
    let mut audit = Audit::resume(trust_of_acme(), policy(), state).unwrap();
    run(&mut audit, archive, usize::MAX, |_| 0);
    let rollups = audit.rollups();
    (audit.finish(), rollups)
}

/// `restated` as it was behind hour 16.
fn early() -> Archive {
    let mut plan = restated();
    plan.hours.truncate(1);
    plan.rollups.truncate(1);
    plan.late.clear();
    build(plan, &HONEST)
}

fn but_unpinned(report: &Report) -> Vec<String> {
    told(report).into_iter().filter(|line| !line.starts_with("T122")).collect()
}

#[test]
fn an_audit_that_goes_on_judges_what_is_new() {
    let kept = state(&early()).unwrap();
    // Of what was computed from chunks of last time, it says that it cannot.
    let whole = build(restated(), &HONEST);
    let (found, of) = resumed(&whole, &kept);
    assert_eq!(
        (found.verdict, but_unpinned(&found)),
        (Verdict::Proven, vec!["T145 acme".to_owned()])
    );
    assert!(detail(&found, Check::RollupUnchecked).starts_with("2 rollups: "));
    assert_eq!(of.iter().map(seqs).collect::<Vec<_>>(), [None, None, Some(vec![1]), None]);
    assert!(of.iter().all(|rollup| rollup.definition.is_some()));
    // Nothing is left to say where it goes on from the end.
    let (found, _) = resumed(&whole, &state(&whole).unwrap());
    assert_eq!(but_unpinned(&found), [""; 0]);
    // That a day is stale shows by a chunk that is new.
    let mut plan = restated();
    plan.rollups.remove(1);
    plan.late.clear();
    let stale = build(plan, &HONEST);
    assert_eq!(but_unpinned(&resumed(&stale, &kept).0), ["T144 acme"]);
    // What is new and wrong is found, and there is nothing to go on from.
    let mut plan = restated();
    plan.rollups[2].1.notes = |notes| notes.push(Digest::of(b"one more"));
    let wrong = build(plan, &HONEST);
    let lie = "T143 leaf=9 rollups/daily/beta/v1.r0.parquet";
    assert_eq!(but_unpinned(&resumed(&wrong, &kept).0), [lie, "T145 acme"]);
    assert_eq!(state(&wrong), None);
    let mut differs = whole.clone();
    flip(&mut differs, "v1.r1", ".parquet");
    let found = but_unpinned(&resumed(&differs, &kept).0);
    assert_eq!(found, ["T051 rollups/daily/acme/v1.r1.parquet", "T145 acme"]);
}

#[test]
fn what_was_compared_before_has_to_be_listed_and_is_not_fetched_again() {
    let whole = build(restated(), &HONEST);
    let kept = state(&whole).unwrap();
    let mut lost = whole.clone();
    lose(&mut lost, "v1.r1", ".parquet");
    lose(&mut lost, "v1.r2", ".note");
    let found = but_unpinned(&resumed(&lost, &kept).0);
    assert_eq!(
        found,
        ["T040 rollups/daily/acme/v1.r2.note", "T050 rollups/daily/acme/v1.r1.parquet"]
    );
    let mut differs = whole;
    flip(&mut differs, "v1.r1", ".parquet");
    assert_eq!(but_unpinned(&resumed(&differs, &kept).0), [""; 0]);
}

#[test]
fn an_audit_that_was_ended_says_nothing_wrong_of_rollups() {
    let archive = build(restated(), &HONEST);
    let mut started = 0;
    for answers in 0..60 {
        let mut audit = Audit::new(trust_of_acme(), policy());
        run(&mut audit, &archive, answers, |open| open - 1);
        let (kept, of) = (audit.state(), audit.rollups());
        assert!(of.len() <= 4);
        let report = audit.finish();
        assert!(told(&report).iter().all(|line| !line.starts_with("T14")), "{:?}", told(&report));
        let Some(kept) = kept else { continue };
        let (report, _) = resumed(&archive, &kept);
        assert_eq!(report.verdict, Verdict::Proven);
        started += 1;
    }
    assert!(started > 20, "{started}");
}

#[test]
fn thousands_of_rollups_over_many_chunks_are_judged_quickly() {
    let (chunks, days) = (400, 2_000);
    let mut plan = honest();
    let seq = |n: usize| u64::try_from(n).unwrap();
    // Each later chunk has one event, of the first day.
    plan.hours[2].1 = (0..chunks)
        .map(|n| {
            let payload = event("acme", 7 + seq(n), "business_event", "");
            let subs = vec![sub(2, 3 + seq(n), 5, vec![payload])];
            ChunkPlan { workspace: "acme", hour: hour(18), subs }
        })
        .collect();
    let inputs: Vec<u64> = [1, 6].into_iter().chain(7..7 + seq(chunks)).collect();
    let inputs: &'static [u64] = inputs.leak();
    for revision in 0..days {
        plan.late.push(Late::Rollup(rolled("acme", revision, inputs)));
    }
    let found = audit(&build(plan, &HONEST), trust_of_acme(), policy(), |_| 0);
    assert_eq!(but_unpinned(&found), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever chunks a rollup names, it is proven where they are those that hold its events, and found otherwise.
    #[test]
    fn only_the_chunks_of_its_days_are_right(
        days in proptest::collection::vec(20_u32..25, 1..6),
        day in 20_u32..25,
        version in 1_u32..4,
        named in proptest::collection::vec(any::<bool>(), 6),
    ) {
        let mut plan = honest();
        plan.hours[2].1 = (0_u64..)
            .zip(&days)
            .map(|(n, day)| {
                let payload = event("acme", 7 + n, "business_event", "")
                    .replace("2026-11-23", &format!("2026-11-{day}"));
                let subs = vec![sub(2, 3 + n, 5, vec![payload])];
                ChunkPlan { workspace: "acme", hour: hour(18), subs }
            })
            .collect();
        let reads = |at: u32| (day + 1).saturating_sub(version) <= at && at <= day;
        let holds: Vec<u64> = [(1, 23), (6, 23)]
            .into_iter()
            .chain((7..).zip(days.iter().copied()))
            .filter(|(_, at)| reads(*at))
            .map(|(seq, _)| seq)
            .collect();
        let some: Vec<u64> = holds.iter().zip(&named).filter(|(_, named)| **named).map(|(seq, _)| *seq).collect();
        let inputs: &'static [u64] = if named[5] { holds.clone() } else { some }.leak();
        prop_assume!(!inputs.is_empty());
        let right = inputs == holds;
        let day: &'static str = format!("2026-11-{day}").leak();
        plan.late.push(Late::Rollup(Rolled { day, version, ..rolled("acme", 0, inputs) }));
        let found = audit(&build(plan, &HONEST), trust_of_acme(), policy(), |_| 0);
        let ids: Vec<_> = found.findings.iter().map(|finding| finding.check.id()).collect();
        prop_assert_eq!(ids, if right { vec![] } else { vec!["T143"] });
    }
}

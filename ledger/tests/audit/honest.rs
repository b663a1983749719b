//! The honest ledger: proven, with exact totals, whatever the order of answers.

use ledger::hash::Digest;
use ledger::layout::decode_bundle;
use ledger::merkle::{Frontier, leaf_hash};
use ledger::names::Seq;
use ledger::succession::Cutoff;
use ledger::time::Micros;
use ledger::verify::{Audit, Check, Policy, Report, Trust, Verdict};
use proptest::prelude::*;

use crate::driver::{audit, line, lines};
use crate::forge::{Archive, Lie, build};
use crate::plan::{ChunkPlan, Plan, honest, hour, origin, trust, workspace};

const HONEST: Lie = Lie::Store(|_| {});

fn audit_with(archive: &Archive, policy: Policy) -> Report {
    audit(archive, trust(), policy, |_| 0)
}

#[test]
fn it_is_proven_with_exact_totals() {
    let archive = build(honest(), &HONEST);
    let report = audit_with(&archive, Policy::default());
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict, Verdict::Proven);
    assert_eq!(report.origin, origin().as_str());
    assert_eq!(report.hours, Some((hour(16), hour(18))));
    assert_eq!((report.log_size, report.chunks, report.events), (7, 4, 10));
    let rows = archive.rows.values().flat_map(|(_, rows)| rows);
    let bytes: usize = rows.map(|row| row.payload.unwrap().len()).sum();
    assert_eq!(report.payload_bytes, u64::try_from(bytes).unwrap());
    let checkpoint = report.checkpoint.unwrap();
    assert_eq!(checkpoint.name, "log/checkpoint");
    assert_eq!(checkpoint.sha256, Digest::of(&archive.objects["log/checkpoint"]));
    let [acme, beta] = &report.workspaces[..] else { panic!("{:?}", report.workspaces) };
    assert_eq!((acme.workspace.as_str(), acme.events), ("acme", 8));
    assert_eq!((beta.workspace.as_str(), beta.events), ("beta", 2));
    for report in [acme, beta] {
        let (_, rows) = archive
            .rows
            .values()
            .find(|(name, rows)| {
                *name == report.workspace && rows.last().unwrap().seq == report.events
            })
            .unwrap();
        let head = Digest::from_bytes(rows.last().unwrap().link);
        assert_eq!(report.head, Some((Seq::new(report.events).unwrap(), head)));
        assert_eq!((report.custodian_events, report.withheld, report.pinned), (0, 0, true));
        assert_eq!(report.missing_counters, []);
    }
}

/// What the log's first leaves came to, for every number of them.
#[test]
fn a_log_goes_on_from_what_was_seen_of_it() {
    let archive = build(honest(), &HONEST);
    let whole = audit_with(&archive, Policy::default());
    let bundle = format!("log/tile/entries/000.p/{}", whole.log_size);
    let width = u16::try_from(whole.log_size).unwrap();
    let leaves = decode_bundle(&archive.objects[&bundle], width).unwrap();
    let (mut tree, mut seen) = (Frontier::new(), Vec::new());
    for leaf in leaves {
        tree.push(leaf_hash(leaf));
        seen.push(Cutoff { size: tree.size(), root: tree.root() });
    }
    let with =
        |seen: Vec<Cutoff>| audit(&archive, Trust { seen, ..trust() }, Policy::default(), |_| 0);
    let report = with(seen.clone());
    assert_eq!((report.verdict, lines(&report)), (Verdict::Proven, vec![]));
    for Cutoff { size, root } in seen {
        let other = Cutoff { size, root: Digest::of(root.as_bytes()) };
        let report = with(vec![other]);
        let expected = vec![format!("T016 leaf={}", size - 1)];
        assert_eq!((report.verdict, lines(&report)), (Verdict::Tampered, expected));
        let longer = Cutoff { size: size + whole.log_size, root };
        let report = with(vec![longer]);
        assert_eq!(report.verdict, Verdict::Tampered);
        assert!(lines(&report).iter().all(|line| line.starts_with("T017")), "{report:?}");
    }
}

#[test]
fn a_lock_that_is_asked_for_has_to_be_known() {
    let archive = build(honest(), &HONEST);
    let policy = Policy { expect_locked: true, ..Policy::default() };
    let report = audit_with(&archive, policy);
    assert_eq!((report.verdict, lines(&report)), (Verdict::Short, vec!["T108".to_owned()]));
}

#[test]
fn one_workspace_can_be_asked_for_alone() {
    let mut archive = build(honest(), &HONEST);
    // Whatever befalls the objects of others is not this auditor's question.
    archive.objects.retain(|key, _| !key.contains("workspace=beta"));
    let policy = Policy { workspace: Some(workspace("acme")), ..Policy::default() };
    let report = audit_with(&archive, policy);
    assert_eq!((report.verdict, lines(&report)), (Verdict::Proven, vec![]));
    assert_eq!((report.chunks, report.events), (3, 8));
    assert_eq!(report.scope, Some(workspace("acme")));
    let report = audit_with(&archive, Policy::default());
    assert_eq!(report.verdict, Verdict::Tampered);
}

#[test]
fn times_without_a_sealed_hour_fall_short() {
    // Hours 16 to 18 are sealed.
    let archive = build(honest(), &HONEST);
    let at = |micros: i64| Some(Micros::new(micros).unwrap());
    let (start, end) = (hour(16).start().get(), hour(18).end());
    for (since, until, short) in [
        (at(end), None, true),
        (at(end - 1), None, false),
        (None, at(start), true),
        (None, at(start + 1), false),
        (at(end), at(end + 1), true),
        (at(start - 2), at(start - 1), true),
        (at(start - 1), at(end + 1), false),
        (at(start + 1), at(start + 2), false),
    ] {
        let report = audit_with(&archive, Policy { since, until, ..Policy::default() });
        let expected: &[&str] = if short { &["T118"] } else { &[] };
        assert_eq!(lines(&report), expected, "{since:?} {until:?}");
        assert_eq!(report.verdict == Verdict::Short, short, "{since:?} {until:?}");
    }
}

#[test]
fn the_last_hour_may_be_asked_for() {
    let archive = build(honest(), &HONEST);
    for (through, verdict) in [
        (hour(18).start().get(), Verdict::Proven),
        (hour(18).end(), Verdict::Proven),
        (hour(18).end() + 1, Verdict::Short),
    ] {
        let policy = Policy { expect_through: Micros::new(through), ..Policy::default() };
        assert_eq!(audit_with(&archive, policy).verdict, verdict);
    }
}

/// The honest ledger, with so many hours of silence after hour 17.
fn silent(hours: usize) -> Plan {
    let mut plan = honest();
    let last = plan.hours.pop().unwrap();
    let mut next = hour(18);
    for _ in 0..hours {
        plan.hours.push((next, vec![]));
        next = next.next().unwrap();
    }
    let chunks = last.1.into_iter().map(|chunk| ChunkPlan { hour: next, ..chunk });
    plan.hours.push((next, chunks.collect()));
    plan
}

#[test]
fn a_log_of_many_bundles_is_proven_and_every_tile_is_checked() {
    let archive = build(silent(600), &HONEST);
    let report = audit_with(&archive, Policy::default());
    assert_eq!((report.verdict, report.log_size), (Verdict::Proven, 607));
    for (key, check) in [
        ("log/tile/0/000", Check::TileWrong),
        ("log/tile/0/001", Check::TileWrong),
        ("log/tile/0/002.p/95", Check::TileWrong),
        ("log/tile/1/000.p/2", Check::TileWrong),
    ] {
        let mut archive = archive.clone();
        archive.objects.get_mut(key).unwrap()[31] ^= 1;
        let found = audit_with(&archive, Policy::default()).findings;
        assert_eq!(found.iter().map(line).collect::<Vec<_>>(), [format!("{} {key}", check.id())]);
    }
}

#[test]
fn older_partial_tiles_that_are_true_prefixes_may_stay() {
    // The same ledger as it was some leaves earlier.
    let early = build(silent(300), &Lie::Leaves(|leaves| leaves.truncate(290)));
    let earlier = build(silent(300), &Lie::Leaves(|leaves| leaves.truncate(200)));
    let mut archive = build(silent(300), &HONEST);
    for old in [early, earlier] {
        for (key, bytes) in old.objects.into_iter().filter(|(key, _)| key.contains(".p/")) {
            archive.objects.entry(key).or_insert(bytes);
        }
    }
    assert_eq!(audit_with(&archive, Policy::default()).findings, []);
    for key in ["log/tile/0/000.p/200", "log/tile/entries/001.p/34", "log/tile/entries/000.p/200"] {
        let mut archive = archive.clone();
        *archive.objects.get_mut(key).unwrap().last_mut().unwrap() ^= 1;
        let found = audit_with(&archive, Policy::default()).findings;
        assert_eq!(found.iter().map(line).collect::<Vec<_>>(), [format!("T096 {key}")]);
    }
}

#[test]
fn an_audit_that_is_cut_short_proves_nothing() {
    let mut audit = Audit::new(trust(), Policy::default());
    assert!(audit.need().is_some());
    assert!(audit.need().is_none(), "asked for once");
    let report = audit.finish();
    assert_eq!(report.verdict, Verdict::Unfinished);
    assert_eq!(report.findings.iter().map(line).collect::<Vec<_>>(), ["T112"]);
}

proptest! {
    #[test]
    fn the_order_of_answers_does_not_matter(picks in prop::collection::vec(any::<prop::sample::Index>(), 40), lie in 0_usize..3) {
        let lie = match lie {
            0 => HONEST,
            1 => Lie::Object(0, |rows| rows[1].link[7] ^= 1),
            _ => Lie::Store(|archive| archive.objects.retain(|key, _| !key.contains("hour=16"))),
        };
        let archive = build(honest(), &lie);
        let mut picks = picks.into_iter().cycle();
        let shuffled = audit(&archive, trust(), Policy::default(), |n| picks.next().unwrap().index(n));
        prop_assert_eq!(shuffled, audit_with(&archive, Policy::default()));
    }
}

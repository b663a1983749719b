//! Chunks that retention has removed: with and without a record that fits the log before it, in time
//! and too early (`docs/spec/retention.md`).
//!
//! The honest log has seven leaves, so a record is leaf 7 where nothing else comes between. The chunk of
//! `acme` with seq 6 holds no `ledger.` event, neither does the one with seqs 7 to 8.

use ledger::hash::Digest;
use ledger::names::{Origin, Seq};
use ledger::prune::PruneRecord;
use ledger::verify::{Check, Policy, Pruned, Report, Verdict};

use crate::driver::{audit, line, lines};
use crate::forge::{Archive, Lie, build};
use crate::lies::{Case, case};
use crate::plan::{ChunkPlan, Late, Plan, Prune, erased, honest, hour, sub, trust, workspace};

const HONEST: Lie = Lie::Store(|_| {});

/// The chunk that holds `acme` 6 alone, removed as the log records.
pub const SIX: Prune = Prune {
    workspace: "acme",
    seqs: (6, 6),
    keep_days: 0,
    lie: |_| {},
    logged: true,
    removed: true,
};

const OBJECT: &str = "events/workspace=acme/date=2026-11-23/hour=16/00000000000000000006-00000000000000000006.parquet";

/// What is found where the chunk is gone and its record counts for nothing.
macro_rules! refused {
    ($first:literal) => {
        &[$first, "T050 events/acme/16/06-06.parquet", "T112 acme"]
    };
}

fn prune(plan: &mut Plan, prune: Prune) {
    plan.late.push(Late::Prune(prune));
}

fn lying(plan: &mut Plan, lie: fn(&mut PruneRecord)) {
    prune(plan, Prune { lie, ..SIX });
}

/// The erasure of `acme` 6, by an entry of its own chunk in hour 18.
fn erase(plan: &mut Plan) {
    let subs = vec![sub(1, 0, 6, vec![erased("acme", 9, 6)])];
    plan.hours[2].1.insert(1, ChunkPlan { workspace: "acme", hour: hour(18), subs });
}

pub fn cases() -> Vec<Case> {
    [records(), wrong_lines(), others()].into_iter().flatten().collect()
}

fn records() -> Vec<Case> {
    vec![
        case(
            "a chunk pruned earlier than the auditor allows",
            Lie::Plan(|plan| prune(plan, SIX)),
            &["T106 acme", "T107 leaf=7 acme"],
        ),
        case(
            "a chunk pruned without a record",
            Lie::Plan(|plan| prune(plan, Prune { logged: false, ..SIX })),
            &["T050 events/acme/16/06-06.parquet", "T112 acme"],
        ),
        case(
            "a record of chunks that are still there",
            Lie::Plan(|plan| prune(plan, Prune { removed: false, ..SIX })),
            &["T106 acme", "T107 leaf=7 acme"],
        ),
        case(
            "a record for other chunks than those that are gone",
            Lie::Plan(|plan| {
                prune(plan, Prune { seqs: (7, 8), removed: false, ..SIX });
                prune(plan, Prune { logged: false, ..SIX });
            }),
            &["T050 events/acme/16/06-06.parquet", "T112 acme", "T106 acme", "T107 leaf=7 acme"],
        ),
        case(
            "a chunk pruned twice",
            Lie::Plan(|plan| {
                prune(plan, SIX);
                prune(plan, SIX);
            }),
            &["T028 leaf=8 acme", "T106 acme", "T107 leaf=7 acme"],
        ),
        case(
            "a chunk pruned with one that was pruned before",
            Lie::Plan(|plan| {
                prune(plan, SIX);
                prune(plan, Prune { seqs: (6, 8), ..SIX });
            }),
            &[
                "T028 leaf=8 acme",
                "T050 events/acme/18/07-08.parquet",
                "T112 acme",
                "T106 acme",
                "T107 leaf=7 acme",
            ],
        ),
        case(
            "the chunk that opens a chain is pruned",
            Lie::Plan(|plan| prune(plan, Prune { seqs: (1, 5), ..SIX })),
            &["T028 leaf=7 acme", "T050 events/acme/16/01-05.parquet", "T112 acme"],
        ),
        case(
            "a chunk is amended after it was pruned",
            Lie::Plan(|plan| {
                erase(plan);
                prune(plan, SIX);
                plan.late.push(Late::Withhold("acme", 6));
            }),
            &["T027 leaf=9 events/acme/16/06-06.e1.parquet", "T106 acme", "T107 leaf=8 acme"],
        ),
    ]
}

fn wrong_lines() -> Vec<Case> {
    vec![
        case(
            "a prune record of another ledger",
            Lie::Plan(|plan| lying(plan, |r| r.origin = Origin::new("other").unwrap())),
            refused!("T011 leaf=7 acme"),
        ),
        case(
            "a prune record of another workspace",
            Lie::Plan(|plan| lying(plan, |r| r.workspace = workspace("beta"))),
            refused!("T028 leaf=7 beta"),
        ),
        case(
            "a prune record of a workspace that nobody knows",
            Lie::Plan(|plan| lying(plan, |r| r.workspace = workspace("ghost"))),
            refused!("T028 leaf=7 ghost"),
        ),
        case(
            "a prune record that starts within a chunk",
            Lie::Plan(|plan| lying(plan, |r| r.first_seq = Seq::new(5).unwrap())),
            refused!("T028 leaf=7 acme"),
        ),
        case(
            "a prune record that ends within a chunk",
            Lie::Plan(|plan| lying(plan, |r| r.last_seq = Seq::new(7).unwrap())),
            refused!("T028 leaf=7 acme"),
        ),
        case(
            "a prune record of all that it counts, which ends within the last of them",
            Lie::Plan(|plan| {
                let lie: fn(&mut PruneRecord) = |r| r.last_seq = Seq::new(7).unwrap();
                prune(plan, Prune { seqs: (6, 8), lie, ..SIX });
            }),
            &[
                "T028 leaf=7 acme",
                "T050 events/acme/16/06-06.parquet",
                "T050 events/acme/18/07-08.parquet",
                "T112 acme",
            ],
        ),
        case(
            "a prune record that ends behind the chain",
            Lie::Plan(|plan| lying(plan, |r| r.last_seq = Seq::new(9).unwrap())),
            refused!("T028 leaf=7 acme"),
        ),
        case(
            "a prune record of more chunks than it counts",
            Lie::Plan(|plan| lying(plan, |r| r.last_seq = Seq::new(8).unwrap())),
            refused!("T028 leaf=7 acme"),
        ),
        case(
            "a prune record that counts more chunks than it names",
            Lie::Plan(|plan| lying(plan, |r| r.chunks = 2)),
            refused!("T028 leaf=7 acme"),
        ),
        case(
            "a prune record with a root over other manifests",
            Lie::Plan(|plan| lying(plan, |r| r.manifests_root = Digest::of(b"others"))),
            refused!("T028 leaf=7 acme"),
        ),
        case(
            "a prune record with another last time",
            Lie::Plan(|plan| {
                lying(plan, |r| r.last_recorded_at = r.last_recorded_at.checked_add(-1).unwrap());
            }),
            refused!("T028 leaf=7 acme"),
        ),
        case(
            "a prune record that cannot be read",
            Lie::Plan(|plan| lying(plan, |r| r.reason.push(' '))),
            refused!("T028 leaf=7"),
        ),
        case(
            "a prune record that keeps for ever",
            Lie::Plan(|plan| lying(plan, |r| r.keep_days = i64::MAX.unsigned_abs())),
            &["T106 acme", "T107 leaf=7 acme"],
        ),
    ]
}

/// A lie about something else, beside a prune record.
fn others() -> Vec<Case> {
    vec![case(
        "a hidden registration",
        Lie::Plan(|plan| {
            // A chunk of its own registers another agent, which signs seq 8 and what follows.
            let registration = crate::plan::registered("acme", 7, 5, "agent");
            plan.hours[2].1[0].subs = vec![sub(1, 0, 1, vec![registration])];
            let payload = crate::plan::event("acme", 8, "business_event", "");
            let subs = vec![sub(5, 1, 6, vec![payload])];
            plan.hours[2].1.insert(1, ChunkPlan { workspace: "acme", hour: hour(18), subs });
            prune(plan, Prune { seqs: (7, 7), ..SIX });
        }),
        &["T080 acme seq=8 public_key", "T106 acme", "T107 leaf=8 acme"],
    )]
}

fn policy(allow_pruned: bool, min_kept_days: u64) -> Policy {
    Policy { allow_pruned, min_kept_days, ..Policy::default() }
}

fn archive(change: impl FnOnce(&mut Plan)) -> Archive {
    let mut plan = honest();
    change(&mut plan);
    build(plan, &HONEST)
}

/// The report to an auditor who asks for no age.
fn report(archive: &Archive, allow_pruned: bool) -> Report {
    let report = audit(archive, trust(), policy(allow_pruned, 0), |_| 0);
    // Pruned chunks are merged between others, whatever the order of answers.
    assert_eq!(report, audit(archive, trust(), policy(allow_pruned, 0), |open| open - 1));
    report
}

#[test]
fn a_pruned_archive_is_short_unless_the_auditor_allows_it() {
    let archive = archive(|plan| prune(plan, SIX));
    let found = report(&archive, false);
    assert_eq!((found.verdict, lines(&found)), (Verdict::Short, vec!["T106 acme".to_owned()]));
    let detail = found.findings[0].detail.as_deref().unwrap();
    assert!(detail.starts_with("1 chunks with 1 events, in 1 runs from seq 6 to 6;"), "{detail}");
    let found = report(&archive, true);
    assert_eq!((found.verdict, &found.findings[..]), (Verdict::Proven, &[][..]));
    let gone = Pruned { chunks: 1, events: 1 };
    assert_eq!((found.chunks, found.events, found.pruned, found.log_size), (3, 9, gone, 8));
    let [acme, beta] = &found.workspaces[..] else { panic!("{:?}", found.workspaces) };
    assert_eq!((acme.events, acme.pruned), (7, gone));
    assert_eq!((beta.events, beta.pruned), (2, Pruned::default()));
    assert_eq!(acme.head.unwrap().0, Seq::new(8).unwrap());
    let asked = archive.objects.contains_key(OBJECT);
    assert!(!asked, "the object is gone");
}

#[test]
fn chunks_may_go_in_one_record_or_in_several_and_up_to_the_end() {
    let together = archive(|plan| prune(plan, Prune { seqs: (6, 8), ..SIX }));
    let later_first = archive(|plan| {
        prune(plan, Prune { seqs: (7, 8), ..SIX });
        plan.late.push(Late::Hours(1));
        prune(plan, SIX);
    });
    for archive in [together, later_first] {
        let found = report(&archive, false);
        assert_eq!(lines(&found), ["T106 acme"]);
        let detail = found.findings[0].detail.as_deref().unwrap();
        assert!(
            detail.starts_with("2 chunks with 3 events, in 1 runs from seq 6 to 8;"),
            "{detail}"
        );
        assert_eq!((found.chunks, found.events), (2, 7));
        assert_eq!(found.pruned, Pruned { chunks: 2, events: 3 });
    }
}

#[test]
fn what_still_lies_there_is_as_it_was() {
    let mut archive = archive(|plan| prune(plan, Prune { removed: false, ..SIX }));
    assert_eq!(lines(&report(&archive, true)), [""; 0]);
    let whole = archive.objects.insert(OBJECT.to_owned(), b"other".to_vec()).unwrap();
    assert_eq!(lines(&report(&archive, true)), ["T096 events/acme/16/06-06.parquet"]);
    archive.objects.insert(OBJECT.to_owned(), whole);
    let note = OBJECT.replace("events/", "manifests/").replace(".parquet", ".note");
    archive.objects.remove(&note).unwrap();
    assert_eq!(lines(&report(&archive, true)), ["T040 manifests/acme/16/06-06.note"]);
}

/// Of what no row is read, size and both digests are compared.
#[test]
fn a_manifest_that_misstates_an_object_is_found_though_the_chunk_is_pruned() {
    for lie in [
        Lie::Manifest(1, |manifest| manifest.digest.bytes += 1),
        Lie::Manifest(1, |manifest| manifest.digest.blake3 = Digest::ZERO),
    ] {
        let mut plan = honest();
        prune(&mut plan, Prune { removed: false, ..SIX });
        let found = report(&build(plan, &lie), true);
        assert_eq!(lines(&found), ["T096 events/acme/16/06-06.parquet"]);
    }
}

#[test]
fn an_amended_chunk_goes_by_its_newest_manifest() {
    let mut archive = archive(|plan| {
        erase(plan);
        plan.withheld = vec![("acme", 6)];
        prune(plan, SIX);
    });
    // No withheld payload is left that could be reported.
    assert_eq!(lines(&report(&archive, false)), ["T106 acme"]);
    // What was superseded may lie there still, and so may what superseded it.
    let keys = [OBJECT.to_owned(), OBJECT.replace(".parquet", ".e1.parquet")];
    for (key, short) in keys.iter().zip(["06-06.parquet", "06-06.e1.parquet"]) {
        archive.objects.insert(key.clone(), b"other".to_vec());
        assert_eq!(lines(&report(&archive, true)), [format!("T096 events/acme/16/{short}")]);
        archive.objects.remove(key);
    }
    // The manifest in force where the record stands is meant, and not the original.
    let mut plan = honest();
    erase(&mut plan);
    prune(&mut plan, SIX);
    plan.withheld = vec![("acme", 6)];
    let early = Lie::Leaves(|leaves| leaves.swap(8, 9));
    let found = lines(&report(&build(plan, &early), true));
    let object = "T050 events/acme/16/06-06.e1.parquet";
    assert_eq!(found, ["T028 leaf=8 acme", object, "T112 acme"]);
}

#[test]
fn an_erasure_stands_in_a_kept_chunk() {
    let archive = archive(|plan| {
        erase(plan);
        plan.withheld = vec![("acme", 6)];
        prune(plan, Prune { seqs: (7, 8), ..SIX });
    });
    assert_eq!(lines(&report(&archive, false)), ["T102 acme", "T106 acme"]);
}

/// Where a record stands decides what it may let go.
#[test]
fn an_hour_is_closed_before_any_of_it_goes() {
    let places: [(Prune, Lie, &str); 4] = [
        // Before the note of its hour, and before any.
        (SIX, Lie::Leaves(|leaves| move_last(leaves, 2)), "T028 leaf=2 acme"),
        (
            Prune { seqs: (7, 8), ..SIX },
            Lie::Leaves(|leaves| move_last(leaves, 6)),
            "T028 leaf=6 acme",
        ),
        // Before the chunk itself.
        (
            Prune { seqs: (7, 8), ..SIX },
            Lie::Leaves(|leaves| move_last(leaves, 4)),
            "T028 leaf=4 acme",
        ),
        (SIX, Lie::Leaves(|leaves| move_last(leaves, 0)), "T028 leaf=0 acme"),
    ];
    for (pruned, lie, expected) in places {
        let mut plan = honest();
        prune(&mut plan, pruned);
        let found = lines(&report(&build(plan, &lie), true));
        assert_eq!(found[0], expected, "{found:#?}");
        assert!(found[1].starts_with("T050"), "{found:#?}");
    }
    let mut plan = honest();
    prune(&mut plan, SIX);
    let after = Lie::Leaves(|leaves| move_last(leaves, 3));
    assert_eq!(lines(&report(&build(plan, &after), true)), [""; 0], "right behind its hour's note");
}

fn move_last(leaves: &mut Vec<Vec<u8>>, to: usize) {
    let last = leaves.pop().unwrap();
    leaves.insert(to, last);
}

/// The newest entry that goes is of 16:00:04 and the log's last hour ends at 19:00; so many more follow.
fn aged(hours: usize, keep_days: u64) -> Archive {
    archive(|plan| {
        plan.late.push(Late::Hours(hours));
        prune(plan, Prune { keep_days, ..SIX });
        // What follows the record proves nothing about it.
        plan.late.push(Late::Hours(48));
    })
}

#[test]
fn age_is_counted_to_the_last_hour_before_the_record() {
    // 21 hours more: four seconds short of a day.
    for (hours, keep_days, least, early) in [
        (21, 0, 0, false),
        (21, 1, 0, true),
        (22, 1, 0, false),
        (22, 1, 1, false),
        (22, 2, 1, true),
        (22, 2, 2, true),
        (22, 2, 0, true),
        // Old enough, but by a policy that would have let it go sooner.
        (46, 1, 2, true),
        (46, 2, 2, false),
    ] {
        let report = audit(&aged(hours, keep_days), trust(), policy(true, least), |_| 0);
        let leaf = 7 + hours;
        let expected = if early { vec![format!("T107 leaf={leaf} acme")] } else { vec![] };
        assert_eq!(lines(&report), expected, "{hours} {keep_days} {least}");
        if let [finding] = &report.findings[..] {
            let wanted = format!("kept for {} days or longer", keep_days.max(least));
            assert_eq!(finding.expected.as_deref(), Some(&*wanted));
            let days = (hours + 2) / 24;
            let found = format!("for {days} days, by a policy that keeps for {keep_days}");
            assert_eq!(finding.found.as_deref(), Some(&*found));
            let reason = "the record's reason: \"kept for as long as we say\"";
            assert_eq!(finding.detail.as_deref(), Some(reason));
        }
    }
}

#[test]
fn six_months_are_asked_for_unless_the_auditor_says_otherwise() {
    let hours = 22 + 183 * 24;
    for (hours, expected) in [(hours, vec![]), (hours - 1, vec![Check::PrunedEarly])] {
        let policy = Policy { allow_pruned: true, ..Policy::default() };
        let report = audit(&aged(hours, 184), trust(), policy, |_| 0);
        let found: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
        assert_eq!(found, expected, "{hours}");
    }
}

#[test]
fn another_workspace_is_not_asked_about() {
    let archive = archive(|plan| prune(plan, SIX));
    let of = |name| Policy { workspace: Some(workspace(name)), ..Policy::default() };
    let beta = audit(&archive, trust(), of("beta"), |_| 0);
    assert_eq!((beta.verdict, lines(&beta)), (Verdict::Proven, vec![]));
    assert_eq!(beta.pruned, Pruned::default());
    let acme = audit(&archive, trust(), of("acme"), |_| 0);
    assert_eq!(lines(&acme), ["T106 acme", "T107 leaf=7 acme"]);
    assert_eq!((acme.chunks, acme.pruned), (2, Pruned { chunks: 1, events: 1 }));
}

/// The runs of numbers reported missing, and how.
fn missing(change: impl FnOnce(&mut Plan)) -> (Vec<(u64, u64)>, Vec<String>) {
    let report = report(&archive(change), true);
    let notices = report.findings.iter().filter(|f| f.check == Check::CounterMissing);
    let notices = notices.map(|f| format!("{} {}", line(f), f.detail.as_deref().unwrap()));
    let counters = &report.workspaces[0].missing_counters;
    let ranges = counters.iter().flat_map(|missing| missing.ranges.clone());
    assert!(counters.iter().all(|missing| missing.maybe_pruned == (report.pruned.chunks > 0)));
    (ranges.collect(), notices.collect())
}

#[test]
fn a_number_that_may_have_been_pruned_is_not_called_missing() {
    // Counters 1, 2 (seq 6) and, behind it, 5 and 8.
    let plain = |n| crate::plan::event("acme", n, "business_event", "");
    let counted = |plan: &mut Plan| {
        plan.hours[2].1[0].subs = vec![sub(2, 8, 5, vec![plain(7)]), sub(2, 5, 6, vec![plain(8)])];
    };
    let (ranges, notices) = missing(counted);
    assert_eq!(ranges, [(3, 4), (6, 7)]);
    assert!(notices[0].ends_with(" never recorded: 3 to 4, 6 to 7"), "{notices:?}");
    let (ranges, notices) = missing(|plan| {
        counted(plan);
        prune(plan, SIX);
    });
    assert_eq!(ranges, [(6, 7)]);
    let or_pruned = " never recorded, or in a chunk that was pruned: 6 to 7";
    assert!(notices[0].ends_with(or_pruned), "{notices:?}");
    // Nothing of the key behind the last chunk that went: nothing can be said.
    let (ranges, notices) = missing(|plan| {
        counted(plan);
        plan.hours[0].1[1].subs[0].counter = 9;
        prune(plan, Prune { seqs: (7, 8), ..SIX });
    });
    assert_eq!((ranges, notices), (vec![], vec![]));
}

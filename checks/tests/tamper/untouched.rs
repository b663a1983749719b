//! Nothing is found where nothing was changed.

use checks::forge::{Archive, Depth, golden, honest};
use ledger::verify::{Check, Report, Severity, Verdict};
use proptest::prelude::any;

use super::{Operator, runner, verify};

#[track_caller]
fn assert_proven(report: &Report, what: &str) {
    let grave = report.findings.iter().filter(|f| f.check.severity() != Severity::Notice);
    assert_eq!(grave.collect::<Vec<_>>(), Vec::<&_>::new(), "{what}");
    assert_eq!(report.verdict, Verdict::Proven, "{what}");
}

/// FAULTS row 44, the untouched ones: two hundred, where fifty are asked for.
#[test]
fn made_up_archives_are_proven() {
    runner(200)
        .run(&any::<u64>(), |seed| {
            let honest = honest(seed);
            let report = verify(&honest.archive(), &honest.trust);
            assert_proven(&report, &format!("seed {seed}"));
            let rows: usize = honest.content.chunks().map(|chunk| chunk.rows.len()).sum();
            assert_eq!(report.events, u64::try_from(rows).unwrap());
            Ok(())
        })
        .unwrap();
}

/// The shapes that the builder is for come up: else the tests above would prove less than they say.
#[test]
fn made_up_archives_have_every_shape() {
    let (mut parts, mut empty_hours, mut gaps, mut custodians) = (0, 0, 0, 0);
    let (mut workspaces, mut revoked) = (0, 0);
    for seed in 0..20 {
        let honest = honest(seed);
        assert_eq!(honest.archive(), checks::forge::honest(seed).archive(), "seed {seed}");
        let report = verify(&honest.archive(), &honest.trust);
        let found = |check| report.findings.iter().filter(|f| f.check == check).count();
        gaps += found(Check::CounterMissing);
        custodians += found(Check::Custodian);
        workspaces = workspaces.max(report.workspaces.len());
        for chunk in honest.content.chunks() {
            parts += usize::from(chunk.manifest.part > 0);
            let types = chunk.rows.iter().map(|row| &*row.row.derived.event_type);
            revoked += types.filter(|name| *name == "ledger.key_revoked").count();
        }
        let hours = honest
            .content
            .leaves
            .iter()
            .filter(|leaf| matches!(leaf, checks::forge::Leaf::Hour(hour) if hour.chunks == 0));
        empty_hours += hours.count();
    }
    for (count, what) in [
        (parts, "several chunks an hour"),
        (empty_hours, "an empty hour"),
        (gaps, "a gap in a count"),
        (custodians, "a custodian's event"),
        (revoked, "a revocation"),
    ] {
        assert!(count > 0, "no archive of twenty has {what}");
    }
    assert!(workspaces >= 3, "at most {workspaces} workspaces");
}

/// What the forger writes anew is sound: a change is found for what it is, not for his hand.
#[test]
fn the_golden_archive_sealed_anew_is_proven() {
    let operator = Operator::new();
    for depth in [Depth::Digests, Depth::Links] {
        assert_proven(&operator.after(depth, |_| {}), &format!("{depth:?}"));
    }
    let as_it_stands = operator.content.seal(&operator.seal);
    let (golden, _) = golden();
    let events = |archive: &Archive| {
        let mut objects = archive.0.clone();
        objects.retain(|key, _| key.starts_with("events/"));
        objects
    };
    assert_eq!(events(&as_it_stands), events(&golden));
    assert!(as_it_stands.keys().eq(golden.keys()), "the same objects");
}

//! The table of lies as a whole: each leads to its findings and no other, and no check is without
//! a lie that reaches it.

use std::collections::BTreeSet;

use ledger::verify::{Check, Severity, Verdict};

use crate::driver::{audit_lie, line, lines};
use crate::forge::Lie;
use crate::{erasure, log_lies, prune, row_lies, seal_lies, store_lies};

/// A lie, and every finding but notices that it must lead to, in the report's order.
pub struct Case {
    pub name: &'static str,
    pub lie: Lie,
    pub findings: &'static [&'static str],
}

pub fn case(name: &'static str, lie: Lie, findings: &'static [&'static str]) -> Case {
    Case { name, lie, findings }
}

/// Checks that no lie here can reach, and why.
const NOT_HERE: [(Check, &str); 20] = [
    (Check::SeenForked, "what the auditor has seen is in no archive: see honest.rs"),
    (Check::SeenShrunk, "the same"),
    (Check::Unlocked, "what a store says is in none of its objects: see honest.rs"),
    (Check::NoHour, "the archive is honest, and asked for other times: see honest.rs"),
    (Check::ObjectMissing, "raised by whoever fetches the object: see the `verifier` crate"),
    (Check::ObjectUnreadable, "raised by whoever decodes Parquet: see the `verifier` crate"),
    (Check::ReceiptMissing, "receipts are held by agents: see checks/tests/proofs/receipts.rs"),
    (Check::ReceiptContradicted, "the same"),
    (Check::ReceiptUnsealed, "the same"),
    (Check::ProofMalformed, "a proof is no part of an archive: see checks/tests/proofs/hostile.rs"),
    (Check::ProofPath, "the same"),
    (Check::RollupMalformed, "rollups have a table of their own: see rollup.rs"),
    (Check::RollupOrder, "the same"),
    (Check::RollupDefinition, "the same"),
    (Check::RollupInputs, "the same"),
    (Check::RollupStale, "the same"),
    (Check::RollupUnchecked, "the same"),
    (Check::RollupWrong, "raised by whoever computes: see checks/tests/rollup/doctored.rs"),
    (Check::RollupUnknown, "the same"),
    (Check::RollupNotComputed, "the same"),
];

pub fn all() -> Vec<Case> {
    [
        log_lies::cases(),
        row_lies::cases(),
        seal_lies::cases(),
        store_lies::cases(),
        erasure::cases(),
        prune::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_lie_is_found_at_its_place() {
    let mut wrong = Vec::new();
    for Case { name, lie, findings } in all() {
        let report = audit_lie(&lie);
        if lines(&report) != findings {
            wrong.push(format!("{name}: {:#?}", lines(&report)));
        }
        let gravest = report.findings.iter().map(|f| f.check.severity()).max();
        let expected = match gravest {
            Some(Severity::Tampering) => Verdict::Tampered,
            Some(Severity::Unfinished) => Verdict::Unfinished,
            Some(Severity::Policy) => Verdict::Short,
            Some(Severity::Notice) | None => Verdict::Proven,
        };
        assert_eq!(report.verdict, expected, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_check_is_reached_by_a_lie() {
    let mut reached = BTreeSet::new();
    for case in all() {
        // What the table names, and the notices that it leaves out.
        let report = audit_lie(&case.lie);
        let named = |check: &Check| case.findings.iter().any(|f| f.starts_with(check.id()));
        let notice = |check: &Check| check.severity() == Severity::Notice;
        let found = report.findings.iter().map(|finding| finding.check);
        reached.extend(found.filter(|check| named(check) || notice(check)));
    }
    let missed: Vec<&str> = Check::ALL
        .iter()
        .filter(|check| !reached.contains(check))
        .filter(|check| NOT_HERE.iter().all(|(not_here, _)| not_here != *check))
        .map(|check| check.id())
        .collect();
    assert_eq!(missed, [""; 0]);
    for (check, why) in NOT_HERE {
        assert!(!why.is_empty() && Check::ALL.contains(&check));
    }
}

#[test]
fn ids_are_unique_and_in_order() {
    let ids: Vec<&str> = Check::ALL.iter().map(|check| check.id()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert!(Check::ALL.iter().all(|check| !check.title().is_empty()));
}

#[test]
fn cases_are_told_apart_by_their_names() {
    let cases = all();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
}

/// The findings of one lie with what should be there and what is.
#[test]
fn a_finding_says_what_was_expected_and_found() {
    let report = audit_lie(&Lie::Hour(0, |hour| hour.chunks += 1));
    let [finding] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!(line(finding), "T033 leaf=2 hour=16");
    assert_eq!(finding.expected.as_deref(), Some("chunks 2, workspaces 1"));
    assert_eq!(finding.found.as_deref(), Some("chunks 3, workspaces 1"));
}

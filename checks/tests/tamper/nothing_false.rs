//! On two hundred honest archives nothing is found but what is there to be noticed: the numbers that
//! an agent skipped, and the custodian's events. Both are counted here from the rows alone.

use std::collections::{BTreeMap, BTreeSet};

use checks::forge::{Honest, honest};
use ledger::key::PublicKey;
use ledger::verify::{Report, Verdict};
use serde_json::Value;

use super::verify;

/// What may be noticed of one workspace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Notices {
    /// Entries under a custodian key.
    custodian_events: u64,
    /// The key, then first and last of each run of numbers below its highest that are missing.
    missing: BTreeMap<String, Vec<(u64, u64)>>,
}

/// What the rows of an archive give reason to notice, by workspace.
fn expected(honest: &Honest) -> BTreeMap<String, Notices> {
    let mut custodians = BTreeSet::new();
    let mut counted: BTreeMap<String, BTreeMap<String, BTreeSet<u64>>> = BTreeMap::new();
    let mut by_workspace: BTreeMap<String, Notices> = BTreeMap::new();
    for chunk in honest.content.chunks() {
        let workspace = chunk.manifest.workspace.to_string();
        let notices = by_workspace.entry(workspace.clone()).or_default();
        for row in &chunk.rows {
            let payload: Value = serde_json::from_slice(row.payload.as_deref().unwrap()).unwrap();
            let key = PublicKey::from_bytes(&row.row.public_key).unwrap().to_string();
            if payload["event_type"] == "ledger.key_registered"
                && payload["context"]["role"] == "custodian"
            {
                custodians.insert(payload["context"]["key"].as_str().unwrap().to_owned());
            }
            notices.custodian_events += u64::from(custodians.contains(&key));
            if row.row.counter > 0 {
                let keys = counted.entry(workspace.clone()).or_default();
                keys.entry(key).or_default().insert(row.row.counter);
            }
        }
    }
    for (workspace, keys) in counted {
        let missing = &mut by_workspace.get_mut(&workspace).unwrap().missing;
        for (key, numbers) in keys {
            let ends = std::iter::once(0).chain(numbers.iter().copied()).zip(&numbers);
            let runs = ends.filter(|(before, next)| before + 1 < **next);
            let runs: Vec<_> = runs.map(|(before, next)| (before + 1, next - 1)).collect();
            if !runs.is_empty() {
                missing.insert(key, runs);
            }
        }
    }
    by_workspace
}

/// The same as the verifier reports it.
fn reported(report: &Report) -> BTreeMap<String, Notices> {
    let workspaces = report.workspaces.iter().map(|workspace| {
        let missing = workspace.missing_counters.iter();
        let missing = missing.map(|missing| (missing.key.to_string(), missing.ranges.clone()));
        let custodian_events = workspace.custodian_events;
        (workspace.workspace.to_string(), Notices { custodian_events, missing: missing.collect() })
    });
    workspaces.collect()
}

#[test]
fn two_hundred_honest_archives_have_no_false_finding() {
    let (mut custodian_events, mut skipping_keys) = (0, 0);
    for seed in 0..200 {
        let honest = honest(seed);
        let report = verify(&honest.archive(), &honest.trust);
        assert_eq!(report.verdict, Verdict::Proven, "seed {seed}: {:#?}", report.findings);
        let expected = expected(&honest);
        assert_eq!(reported(&report), expected, "seed {seed}");

        let mut notices = Vec::new();
        for (workspace, of) in &expected {
            notices.extend(of.missing.keys().map(|_| ("T120", workspace.clone())));
            notices.extend((of.custodian_events > 0).then(|| ("T121", workspace.clone())));
            custodian_events += of.custodian_events;
            skipping_keys += of.missing.len();
        }
        notices.sort_unstable();
        let mut found: Vec<_> = report
            .findings
            .iter()
            .map(|finding| {
                let workspace = finding.place.workspace.as_ref().map(ToString::to_string);
                (finding.check.id(), workspace.unwrap_or_default())
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, notices, "seed {seed}: {:#?}", report.findings);
    }
    // Else the comparison above would have compared nothing.
    assert!(custodian_events > 0 && skipping_keys > 0, "{custodian_events}, {skipping_keys}");
}

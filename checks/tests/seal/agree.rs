//! Both verifiers say the same of archives in which seal keys change, are stolen and revoked, and of those
//! from which retention has removed chunks: honest ones, and forged ones where one signature is on the
//! wrong side by one, or one line of a record is not as it should be.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use checks::bin_path::tally;
use checks::tools::tool;
use ledger::verify::{Check, Policy, Report, Verdict};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use verifier::store::FileSource;

fn tell(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

/// Lets a script write its archives into a directory; gives what it says of them, in their order.
fn cases<T: DeserializeOwned>(script: &str, directory: &Path) -> Vec<T> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("second").join(script);
    let mut python = Command::new(tool("venv/bin/python").unwrap());
    // Nothing is to be left in the source tree.
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = python.arg(script).arg(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What our verifier says of one of them.
fn verify(directory: &Path, at: usize, policy: Policy) -> Report {
    let place = directory.join(at.to_string());
    let trust = std::fs::read_to_string(place.join("trust.toml")).unwrap();
    let trust = verifier::trust::parse(&trust).unwrap();
    let source = FileSource::open(&place.join("archive").to_string_lossy()).unwrap();
    verifier::audit::verify(&source, trust, policy, &())
}

/// Where the one names a leaf, the other finds it there. The first leaf may say of itself who has
/// signed it: whoever reads the log but once then finds the leaves behind it wrong.
fn assert_leaf(report: &Report, said: &str, case: &str) {
    if let Some(leaf) = said.strip_prefix("log leaf ").and_then(|said| said.split(':').next()) {
        let leaf: u64 = leaf.parse().unwrap();
        let mut leaves = report.findings.iter().filter_map(|f| f.place.log_index);
        let here = leaves.any(|found| found == leaf || leaf == 0);
        assert!(here, "{case}: {said}, but {:#?}", report.findings);
    }
}

#[test]
fn row_24_both_verifiers_agree_on_seal_keys() {
    let directory = tempfile::tempdir().unwrap();
    let cases: Vec<(String, String)> = cases("seal_cases.py", directory.path());
    assert!(cases.len() > 150, "{}", cases.len());
    let mut verdicts = [0; 4];
    for (at, (case, said)) in cases.iter().enumerate() {
        let report = verify(directory.path(), at, Policy::default());
        let only = |check| report.findings.iter().any(|finding| finding.check == check);
        let agrees = match report.verdict {
            Verdict::Proven => said == "intact",
            Verdict::Short => said == "rests on a revoked key" && only(Check::RestsOnRevoked),
            Verdict::Unfinished => said.contains("before the cut-off") && only(Check::CutoffAhead),
            Verdict::Tampered => said.contains(": "),
        };
        assert!(agrees, "case {at}, {case}: {said}, but {:#?}", report.findings);
        assert_leaf(&report, said, &format!("case {at}, {case}"));
        verdicts[usize::from(report.verdict as u8)] += 1;
    }
    let [proven, tampered, unfinished, short] = verdicts;
    assert!(proven > 20 && tampered > 60 && unfinished > 0 && short > 0, "{verdicts:?}");
    tell(&format!(
        "2.2 row 24: {} archives with changes of the seal key, both verifiers of one mind: {proven} \
         proven, {tampered} tampered, {unfinished} unfinished, {short} short",
        cases.len()
    ));
}

/// What the second verifier says of a pruned archive.
#[derive(Deserialize)]
struct Pruned {
    case: String,
    min_kept_days: u64,
    verdict: String,
    #[serde(default)]
    early: bool,
    #[serde(default)]
    events: u64,
    #[serde(default)]
    pruned: BTreeMap<String, Gone>,
    #[serde(default)]
    missing: BTreeMap<String, BTreeMap<String, Vec<(u64, u64)>>>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Gone {
    chunks: u64,
    events: u64,
}

impl Pruned {
    /// Whether our report counts the same.
    fn assert_counts(&self, report: &Report) {
        let case = &self.case;
        let early = report.findings.iter().any(|finding| finding.check == Check::PrunedEarly);
        assert_eq!((early, report.events), (self.early, self.events), "{case}");
        let workspaces = || report.workspaces.iter().map(|of| (of.workspace.to_string(), of));
        let gone = |of: ledger::verify::Pruned| Gone { chunks: of.chunks, events: of.events };
        let pruned: BTreeMap<_, _> =
            workspaces().map(|(name, of)| (name, gone(of.pruned))).collect();
        assert_eq!(pruned, self.pruned, "{case}");
        let missing: BTreeMap<_, BTreeMap<_, _>> = workspaces()
            .map(|(name, of)| {
                let keys = of.missing_counters.iter();
                (name, keys.map(|of| (of.key.to_string(), of.ranges.clone())).collect())
            })
            .collect();
        assert_eq!(missing, self.missing, "{case}");
    }
}

/// An archive pruned as its log says: what the command says of it, by what the auditor asks for.
fn assert_flags(place: &Path) {
    let verify = |more: &[&str]| {
        let output = Command::new(tally("tally-verify"))
            .current_dir(place)
            .args(["verify", "--archive", "archive", "--trust", "trust.toml", "--any-age"])
            .args(more)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for (more, code, ids) in [
        (&[][..], 4, &["T106", "T107"][..]),
        (&["--allow-pruned"], 4, &["T107"]),
        (&["--min-kept-days", "0"], 4, &["T106"]),
        (&["--min-kept-days", "1", "--allow-pruned"], 4, &["T107"]),
        (&["--min-kept-days", "0", "--allow-pruned"], 0, &[]),
    ] {
        let (found, text) = verify(more);
        assert_eq!(found, Some(code), "{more:?}: {text}");
        let named: Vec<_> = ["T106", "T107"].into_iter().filter(|id| text.contains(id)).collect();
        assert_eq!(named, ids, "{more:?}: {text}");
        assert!(text.contains("\npruned      2 events in 1 chunks"), "{text}");
    }
    assert_eq!(verify(&["--min-kept-days", "-1"]).0, Some(2));
}

#[test]
fn both_verifiers_agree_on_pruned_archives() {
    let directory = tempfile::tempdir().unwrap();
    let cases: Vec<Pruned> = cases("prune_cases.py", directory.path());
    assert!(cases.len() > 300, "{}", cases.len());
    let (mut short, mut early, mut tampered) = (0, 0, 0);
    for (at, said) in cases.iter().enumerate() {
        let policy = Policy { min_kept_days: said.min_kept_days, ..Policy::default() };
        let report = verify(directory.path(), at, policy);
        let agrees = match report.verdict {
            Verdict::Proven => said.verdict == "intact",
            Verdict::Short => said.verdict == "short",
            Verdict::Unfinished => false,
            Verdict::Tampered => said.verdict.contains(": "),
        };
        assert!(agrees, "case {at}, {}: {}, but {report:#?}", said.case, said.verdict);
        assert_leaf(&report, &said.verdict, &format!("case {at}, {}", said.case));
        if report.verdict == Verdict::Tampered {
            tampered += 1;
        } else {
            said.assert_counts(&report);
            short += 1;
            early += i32::from(said.early);
        }
    }
    let plain = cases.iter().position(|said| said.verdict == "short" && !said.early).unwrap();
    assert_flags(&directory.path().join(plain.to_string()));
    assert!(short > 100 && early > 30 && tampered > 200, "{short} {early} {tampered}");
    tell(&format!(
        "retention: {} archives with chunks removed, both verifiers of one mind: {tampered} tampered, \
         {short} short, of these {early} too early",
        cases.len()
    ));
}

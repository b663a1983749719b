//! Both verifiers say the same of archives in which seal keys change, are stolen and revoked: honest ones,
//! and forged ones where one signature is on the wrong side by one.

use std::path::Path;
use std::process::Command;

use ledger::verify::{Check, Policy, Verdict};
use verifier::store::FileSource;

#[test]
fn row_24_both_verifiers_agree_on_seal_keys() {
    let tell = |line: &str| {
        checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
    };
    let modules = "import blake3, cryptography, pyarrow";
    let python = Command::new("python3").args(["-c", modules]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        return tell(&format!("SKIPPED the second verifier: python3 cannot `{modules}`"));
    }
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("second/seal_cases.py");
    let output = Command::new("python3").arg(script).arg(directory.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cases: Vec<(String, String)> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(cases.len() > 150, "{}", cases.len());
    let mut verdicts = [0; 4];
    for (at, (case, said)) in cases.iter().enumerate() {
        let place = directory.path().join(at.to_string());
        let trust = std::fs::read_to_string(place.join("trust.toml")).unwrap();
        let trust = verifier::trust::parse(&trust).unwrap();
        let source = FileSource::open(&place.join("archive").to_string_lossy()).unwrap();
        let report = verifier::audit::verify(&source, trust, Policy::default(), &());
        let only = |check| report.findings.iter().any(|finding| finding.check == check);
        let agrees = match report.verdict {
            Verdict::Proven => said == "intact",
            Verdict::Short => said == "rests on a revoked key" && only(Check::RestsOnRevoked),
            Verdict::Unfinished => said.contains("before the cut-off") && only(Check::CutoffAhead),
            Verdict::Tampered => said.contains(": "),
        };
        assert!(agrees, "case {at}, {case}: {said}, but {:#?}", report.findings);
        // Where the one names a leaf, the other finds it there. The first leaf may say of itself who has
        // signed it: whoever reads the log but once then finds the leaves behind it wrong.
        if let Some(leaf) = said.strip_prefix("log leaf ").and_then(|said| said.split(':').next()) {
            let leaf: u64 = leaf.parse().unwrap();
            let mut leaves = report.findings.iter().filter_map(|f| f.place.log_index);
            let here = leaves.any(|found| found == leaf || leaf == 0);
            assert!(here, "case {at}, {case}: {said}, but {:#?}", report.findings);
        }
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

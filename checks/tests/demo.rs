//! The demo runs from start to end, and the second verifier agrees with the first about it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and tells its figures"
)]

use std::path::Path;
use std::process::Command;

use checks::bin_path::tally;

#[test]
fn the_demo_runs_and_a_second_verifier_agrees() {
    let directory = tempfile::tempdir().unwrap();
    let demo = directory.path().join("demo");
    // The demo runs the auditor's program, which lies beside its own.
    tally("tally-verify");
    let output = Command::new(env!("CARGO_BIN_EXE_tally-demo"))
        .args(["--events", "3000", "--dir"])
        .arg(&demo)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}\n{error}");
    for line in [
        "PROVEN: nothing was changed",
        "T120 notice: an agent counted submissions that the ledger never recorded",
        "exit code 0;",
        "TAMPERED: the archive is not what was sealed",
        "T051 tampering: an object does not have the size or digests",
        "at events/workspace=billing/",
        "exit code 1;",
        "nothing is left running",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    let receipts = demo.join("receipts/support/support-agent-1-00001.note");
    let receipt = std::fs::read_to_string(receipts).unwrap();
    assert!(receipt.starts_with("tallystick/receipt/v1\n"), "{receipt}");
    second_verifier_agrees(&demo);
}

/// The verifier in Python, which shares no code with ours.
fn second_verifier_agrees(demo: &Path) {
    let modules = "import blake3, cryptography, pyarrow";
    let python = Command::new("python3").args(["-c", modules]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED the second verifier: python3 cannot `{modules}`");
        return;
    }
    let verify = |archive: &str| {
        Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("second/verify.py"))
            .arg(demo.join(archive))
            .arg(demo.join("trust.toml"))
            .output()
            .unwrap()
    };
    let proven = verify("archive");
    let summary: serde_json::Value = serde_json::from_slice(&proven.stdout).unwrap();
    assert!(proven.status.success(), "{summary}");
    println!("second verifier: {summary}");
    assert_eq!(verify("tampered").status.code(), Some(1));
}

//! System calls of the archiver that fail, one at a time (FAULTS row 18).
//!
//! `strace` makes them fail. Where it is missing, or this machine does not let it trace, the test says
//! so and tests nothing.

use std::path::Path;
use std::process::Stdio;

use checks::crowd::long;
use checks::forge::Random;
use checks::postgres::Postgres;
use ledger::verify::Verdict;
use tokio::process::Command;

use super::{Ledger, ROWS, World, closed};

/// Calls by which a directory is read and written, and about how many of them a run makes.
const CALLS: [(&str, u64); 8] = [
    ("openat", 160),
    ("write", 60),
    ("fsync", 120),
    ("linkat", 25),
    ("rename", 3),
    ("unlink", 25),
    ("mkdir", 40),
    ("read", 120),
];
/// How they fail.
const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EINTR"];

fn tell(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

/// Whether a process may be traced here.
async fn may_trace() -> bool {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=1", "true"]);
    command.stderr(Stdio::null()).status().await.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn row_18_any_system_call_fails_once() {
    if !may_trace().await {
        return tell("2.2 row 18: SKIPPED, strace is not there or may not trace");
    }
    let runs = if long() { 1_500 } else { 60 };
    let postgres = Postgres::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let mut random = Random::new(18);
    let (mut failed, mut stopped, mut ledgers, mut made) = (0, 0, 0, 0);
    while made < runs {
        let world = World::new(&postgres, Ledger::new(ledgers, ROWS)).await;
        let archivers = world.archivers(directory.path());
        let now = closed(world.ledger.last_hour());
        for _ in 0..12 {
            let (call, most) = CALLS[usize::try_from(random.below(8)).unwrap()];
            let error = ERRORS[usize::try_from(random.below(3)).unwrap()];
            let at = 1 + random.below(most);
            let output = Command::new("strace")
                .args(["-f", "-qq", "-e", &format!("trace={call}"), "-o"])
                .arg(&trace)
                .args(["-e", &format!("inject={call}:error={error}:when={at}")])
                .arg(archivers.program)
                .args(archivers.arguments("seal", now).unwrap())
                .arg("--live")
                .stdin(Stdio::null())
                .output()
                .await
                .unwrap();
            let what = format!("ledger {ledgers}, {call} {at} failing with {error}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code().is_some(), "{what}: {}: {said}", output.status);
            assert!(!said.contains("panicked"), "{what}: {said}");
            failed += usize::from(std::fs::read_to_string(&trace).unwrap().contains("(INJECTED)"));
            stopped += usize::from(!output.status.success());
            made += 1;
            if world.archive().keys().any(|key| key == "log/checkpoint") {
                world.check_so_far(&what);
            }
        }
        world.seal().await.unwrap();
        assert!(world.archive() == world.ledger.archive(), "ledger {ledgers}: other bytes");
        let report = world.verify();
        assert_eq!(report.verdict, Verdict::Proven, "ledger {ledgers}: {:?}", report.findings);
        ledgers += 1;
    }
    assert!(stopped > 0 && failed > made / 4, "{failed} of {made} runs met a failing call");
    tell(&format!(
        "2.2 row 18: {failed} system calls failed in {made} runs over {ledgers} ledgers, {stopped} runs \
         stopped: no panic, no tampering for an auditor in between, the same bytes in the end"
    ));
}

//! Retention, killed and started again; and everything that an archiver does, killed in any order.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use archiver::SealError;
use archiver::step::Step;
use checks::crowd::long;
use checks::forge::{Archive, Random};
use ledger::verify::{Check, Severity, Verdict};

use crate::retain::{LATER, POLICY};
use crate::world::{Copy, World, at};

/// Prints a pass line, and keeps it in the target directory.
fn print(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

type End = (Archive, String);

/// Where everything is carried out: objects, rows and marks.
async fn end(ledger: &Copy) -> End {
    let marks = sqlx::query_scalar(
        "SELECT concat_ws(E'\\n',
            (SELECT string_agg(e::text, E'\\n' ORDER BY workspace, seq) FROM entries e),
            (SELECT string_agg(c::text, E'\\n' ORDER BY log_index) FROM sealed_chunks c),
            (SELECT string_agg(a::text, E'\\n' ORDER BY log_index) FROM amended_chunks a),
            (SELECT string_agg(concat_ws(' ', workspace, first_seq, log_index, removed_at IS NULL),
                               E'\\n' ORDER BY workspace, first_seq) FROM pruned_chunks),
            (SELECT string_agg(n::text, E'\\n') FROM planned_leaves n),
            (SELECT string_agg(concat_ws(' ', day, archived_at IS NULL), E'\\n' ORDER BY day) FROM days),
            (SELECT string_agg(p::text, E'\\n') FROM published p))",
    );
    (ledger.objects(), marks.fetch_one(&ledger.pool).await.unwrap())
}

/// Whoever comes now finds no tampering, and nothing that went too early.
fn check_so_far(ledger: &Copy, when: &str) {
    let missing = [Check::NoArchive, Check::WorkspaceMissing];
    for finding in ledger.verify_kept(2).findings {
        let grave =
            finding.check.severity() == Severity::Tampering || finding.check == Check::PrunedEarly;
        assert!(!grave || missing.contains(&finding.check), "{when}: {finding}");
    }
}

async fn check_end(ledger: &Copy, expected: &End, when: &str) {
    let end = end(ledger).await;
    let keys = |end: &End| end.0.keys().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(keys(&end), keys(expected), "{when}");
    assert!(end == *expected, "{when}: it came to something else");
    let report = ledger.verify_kept(2);
    assert_eq!(report.verdict, Verdict::Proven, "{when}: {:?}", report.findings);
    for n in 4..=18 {
        assert_eq!(ledger.traces(n).await, (vec![], vec![]), "{when}: event {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_step_of_retention() {
    let mut world = World::of_three_days().await;
    world.stop().await;
    let ledger = world.copy();
    ledger.seal(at(LATER)).await;
    ledger.erase().await;
    world.rig.pool.close().await;
    let ledger = world.another(0).await;
    ledger.retain(POLICY, at(LATER)).await;
    let expected = end(&ledger).await;
    ledger.pool.close().await;
    let mut seen = Vec::new();
    for kill_at in 0.. {
        let ledger = world.another(kill_at + 1).await;
        let steps = AtomicUsize::new(0);
        let probe = |_: Step| steps.fetch_add(1, Ordering::Relaxed) != kill_at;
        match ledger.retain_with(POLICY, at(LATER), &probe).await {
            Err(SealError::Stopped(step)) => seen.push(step),
            done => {
                done.unwrap();
                break;
            }
        }
        let when = format!("killed after step {kill_at}, {:?}", seen.last());
        check_so_far(&ledger, &when);
        // The policy may have changed meanwhile: what was begun is finished as it was begun.
        let another = POLICY.replace("these are tests", "these are other tests");
        let policy = if seen.contains(&Step::LeavesKept) { &another } else { POLICY };
        ledger.retain(policy, at(LATER)).await;
        check_end(&ledger, &expected, &when).await;
        ledger.pool.close().await;
    }
    for step in Step::RETAINING {
        assert!(seen.contains(&step), "{step:?} was never reached");
    }
    print(&format!(
        "retention killed after each of {} steps: the same bytes and rows each time, verdict 0 or 4 \
         before and after",
        seen.len()
    ));
}

/// What the work of one ledger comes to depends on when retention ran: it logs records where the log
/// then stands. So the end is judged by what is there, not byte by byte.
#[tokio::test(flavor = "multi_thread")]
async fn sealing_erasing_and_retention_killed_in_any_order() {
    let seeds: usize = if long() { 100 } else { 12 };
    let mut world = World::of_three_days().await;
    world.stop().await;
    let ledger = world.copy();
    // The last hours of the ledger are still to be sealed, and nothing is erased yet.
    ledger.seal(at(LATER - 5)).await;
    std::fs::write(world.rig.directory.join("retention.toml"), POLICY).unwrap();
    world.rig.pool.close().await;
    let (mut kills, mut runs) = (0, 0);
    for seed in 0..seeds {
        let ledger = world.another(seed + 1).await;
        let mut random = Random::new(seed as u64);
        for _ in 0..16 {
            let steps = 1 + random.below(7);
            let work = ["seal", "erase", "retain"][usize::try_from(random.below(3)).unwrap()];
            runs += 1;
            kills += usize::from(ledger.is_killed(work, at(LATER), steps).await);
            check_so_far(&ledger, &format!("seed {seed}, {work} killed after {steps} steps"));
        }
        ledger.seal(at(LATER)).await;
        ledger.erase().await;
        ledger.retain(POLICY, at(LATER)).await;
        let expected = end(&ledger).await;
        let again = ledger.retain(POLICY, at(LATER)).await;
        assert!(again.days.is_empty() && again.pruned.is_empty(), "seed {seed}: {again:?}");
        check_end(&ledger, &expected, &format!("seed {seed}")).await;
        let report = ledger.verify_kept(2);
        let acme = report.workspaces.iter().find(|w| w.workspace.as_str() == "acme").unwrap();
        // 20 entries, each in one chunk: 15 of them in five chunks that are pruned.
        assert_eq!((acme.head.unwrap().0.get(), acme.events), (20, 5), "seed {seed}");
        ledger.pool.close().await;
    }
    assert!(kills >= 100, "{kills} kills");
    print(&format!(
        "{seeds} seeds of sealing, erasing and retention in any order, {runs} processes, {kills} killed \
         (SIGKILL): 0 events lost, 0 chunks twice, verdict 0 or 4, never 1"
    ));
}

//! Erasing and sealing, killed and started again, in any order (FAULTS row 27).

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use archiver::SealError;
use archiver::step::Step;
use checks::crowd::long;
use checks::forge::{Archive, Random};
use ledger::verify::Verdict;

use crate::world::{Copy, World, at};

/// Prints a pass line, and keeps it in the target directory.
fn print(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

/// Where everything is carried out: objects, withheld rows, marks.
async fn end(ledger: &Copy) -> (Archive, Vec<(i64, i64)>, String) {
    let marks = sqlx::query_scalar(
        "SELECT concat_ws(E'\\n',
            (SELECT string_agg(c::text, E'\\n' ORDER BY log_index) FROM sealed_chunks c),
            (SELECT string_agg(a::text, E'\\n' ORDER BY log_index) FROM amended_chunks a),
            (SELECT string_agg(p::text, E'\\n') FROM published p))",
    );
    let marks = marks.fetch_one(&ledger.pool).await.unwrap();
    (ledger.objects(), ledger.withheld().await, marks)
}

async fn check_end(ledger: &Copy, expected: &(Archive, Vec<(i64, i64)>, String), when: &str) {
    assert!(end(ledger).await == *expected, "{when}: it came to something else");
    assert_eq!(ledger.verify(true).verdict, Verdict::Proven, "{when}");
    for n in [1, 2, 3, 5, 13] {
        assert_eq!(ledger.traces(n).await, (vec![], vec![]), "{when}: event {n}");
    }
}

/// The world, its service stopped, so that it can be copied; and what it comes to in the end.
async fn template(sealed_to: i64) -> (World, (Archive, Vec<(i64, i64)>, String)) {
    let mut world = World::of_three_hours().await;
    world.stop().await;
    let ledger = world.copy();
    ledger.seal(at(sealed_to)).await;
    world.rig.pool.close().await;
    let ledger = world.another(0).await;
    ledger.seal(at(3)).await;
    ledger.erase().await;
    let end = end(&ledger).await;
    ledger.pool.close().await;
    (world, end)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_step_of_erasing() {
    let (world, expected) = template(3).await;
    let mut seen = Vec::new();
    for kill_at in 0.. {
        let ledger = world.another(kill_at + 1).await;
        let steps = AtomicUsize::new(0);
        let probe = |_: Step| steps.fetch_add(1, Ordering::Relaxed) != kill_at;
        match ledger.erase_with(&probe).await {
            Err(SealError::Stopped(step)) => seen.push(step),
            done => {
                done.unwrap();
                break;
            }
        }
        let when = format!("killed after step {kill_at}, {:?}", seen.last());
        ledger.check_so_far(&when);
        ledger.erase().await;
        check_end(&ledger, &expected, &when).await;
        ledger.pool.close().await;
    }
    for step in Step::ERASING {
        assert!(seen.contains(&step), "{step:?} was never reached");
    }
    // A request to erase nothing that is sealed has fewer steps; two requests have each step twice.
    assert!(seen.len() > 2 * Step::ERASING.len(), "{seen:?}");
    print(&format!(
        "2.2 row 27: erasing killed after each of {} steps: the same bytes and rows each time, \
         verdict 0 or 4 before and after",
        seen.len()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_27_erasing_and_sealing_killed_in_any_order() {
    let seeds: usize = if long() { 100 } else { 12 };
    // Nothing of the third hour is sealed yet, and nothing of the second.
    let (world, expected) = template(1).await;
    let (mut kills, mut runs) = (0, 0);
    for seed in 0..seeds {
        let ledger = world.another(seed + 1).await;
        let mut random = Random::new(seed as u64);
        for _ in 0..8 {
            let (steps, work) =
                (1 + random.below(20), if random.below(2) == 0 { "seal" } else { "erase" });
            runs += 1;
            kills += usize::from(ledger.is_killed(work, at(3), steps).await);
            ledger.check_so_far(&format!("seed {seed}, {work} killed after {steps} steps"));
        }
        ledger.seal(at(3)).await;
        ledger.erase().await;
        check_end(&ledger, &expected, &format!("seed {seed}")).await;
        ledger.pool.close().await;
    }
    print(&format!(
        "2.2 row 27: {seeds} seeds of sealing and erasing in any order, {runs} processes, {kills} killed \
         (SIGKILL): \
         0 events lost, erased payloads in no object and no row, the same bytes each time, verdict \
         0 or 4, never 1"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_while_sealing_while_events_come_in() {
    let mut world = World::of_three_hours().await;
    let ledger = world.copy();
    let mut busy = 0;
    for round in 0..4 {
        world.clock.reach(at(2 + round));
        let sealing = ledger.seal_with(at(2 + round), &());
        let erasing = ledger.erase_with(&());
        let recording = world.record(vec![crate::world::event(200 + round.unsigned_abs())]);
        let (sealed, erased, ()) = tokio::join!(sealing, erasing, recording);
        for stopped in [sealed.map(drop), erased.map(drop)] {
            match stopped {
                Ok(()) => {}
                Err(SealError::Busy) => busy += 1,
                Err(error) => panic!("{error}"),
            }
        }
        ledger.check_so_far(&format!("round {round}"));
    }
    ledger.seal(at(6)).await;
    ledger.erase().await;
    assert_eq!(ledger.withheld().await.len(), 5);
    assert_eq!(ledger.verify(true).verdict, Verdict::Proven, "{busy} found the other at work");
    world.stop().await;
}

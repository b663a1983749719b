//! A run that is stopped anywhere is finished by the next one.

use archiver::SealError;
use archiver::step::Step;
use checks::forge::Archive;

use super::world::{World, at, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dies_at_any_step_is_finished_by_the_next() {
    let mut kills = 0;
    for step in Step::ROLLING_UP {
        let mut world = World::new().await;
        world.work(60, at(-24)).await;
        world.work(30, at(0)).await;
        world.seal(at(26)).await;
        let stop = |at: Step| at != step;
        let stopped = world.roll_up_with(2, false, &stop).await;
        assert!(
            matches!(stopped, Err(SealError::Stopped(at)) if at == step),
            "{step:?}: {stopped:?}"
        );
        kills += 1;
        // What is not logged is told as what it may be, and as no more.
        let output = world.verifier("verify", &["--json"]);
        assert!(matches!(output.status.code(), Some(0 | 4)), "{step:?}: {}", text(&output));
        // Meanwhile a late event is sealed: what the dead run has left must be in nobody's way.
        world.clock.reach(at(27));
        world.work(3, at(-24)).await;
        world.seal(at(52)).await;
        let rolled = world.roll_up().await;
        assert!(!rolled.days.is_empty() || rolled.recovered > 0, "{step:?}: {rolled:?}");
        world.duckdb().await;
        let output = world.verifier("rollup", &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{step:?}: {}", text(&output));
        let again = world.roll_up().await;
        assert!(again.days.is_empty(), "{step:?}");
    }
    assert_eq!(kills, Step::ROLLING_UP.len());
}

/// Without anything that came meanwhile, it ends in the bytes of a run that was never stopped.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_run_began_ends_in_the_same_bytes() {
    let mut world = World::new().await;
    world.work(80, at(-24)).await;
    world.seal(at(26)).await;
    for step in Step::ROLLING_UP {
        let stop = |at: Step| at != step;
        let _ = world.roll_up_with(2, false, &stop).await;
    }
    world.roll_up().await;
    let interrupted = Archive::load(&world.archive()).unwrap();
    let output = world.verifier("rollup", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    // What it computed is what a rebuild computes.
    let again = world.roll_up_with(1, true, &()).await.unwrap();
    assert!(again.days.is_empty());
    assert!(Archive::load(&world.archive()).unwrap() == interrupted);
}

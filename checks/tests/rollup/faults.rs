//! A run that is stopped anywhere is finished by the next one.

use archiver::SealError;
use archiver::rollup::Rolled;
use archiver::step::{Probe, Step};
use checks::forge::Archive;
use ledger::rollup::Definition;
use verifier::rollup::definitions;

use super::world::{World, at, text};

/// Two definitions are enough to stop between: steps are the same for all.
fn two() -> Vec<Definition> {
    let chosen = ["llm_daily", "errors_daily"];
    definitions().iter().filter(|known| chosen.contains(&known.name.as_str())).cloned().collect()
}

async fn roll_up(world: &World, probe: &dyn Probe) -> Result<Rolled, SealError> {
    world.roll_up_by(&two(), 2, false, probe).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dies_at_any_step_is_finished_by_the_next() {
    let mut world = World::new().await;
    world.work(60, at(-24)).await;
    world.seal(at(26)).await;
    for (hour, step) in (30..).step_by(4).zip(Step::ROLLING_UP) {
        // A late event, so that the day is due.
        world.clock.reach(at(hour));
        world.work(3, at(-24)).await;
        world.seal(at(hour + 2)).await;
        let stop = |at: Step| at != step;
        let stopped = roll_up(&world, &stop).await;
        assert!(
            matches!(stopped, Err(SealError::Stopped(at)) if at == step),
            "{step:?}: {stopped:?}"
        );
        // What is not logged is told as what it may be, and as no more.
        let output = world.verifier("verify", &["--json"]);
        assert!(matches!(output.status.code(), Some(0 | 4)), "{step:?}: {}", text(&output));
        // Another one is sealed meanwhile: what the dead run has left must be in nobody's way.
        world.work(3, at(-24)).await;
        world.seal(at(hour + 3)).await;
        let rolled = roll_up(&world, &()).await.unwrap();
        assert!(!rolled.days.is_empty(), "{step:?}: {rolled:?}");
        let output = world.verifier("verify", &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{step:?}: {}", text(&output));
        let again = roll_up(&world, &()).await.unwrap();
        assert!(again.days.is_empty(), "{step:?}");
    }
    world.duckdb().await;
    let output = world.verifier("rollup", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// Without anything that came meanwhile, it ends in the bytes of a run that was never stopped.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_run_began_ends_in_the_same_bytes() {
    let mut world = World::new().await;
    world.work(80, at(-24)).await;
    world.seal(at(26)).await;
    for step in Step::ROLLING_UP {
        let stop = |at: Step| at != step;
        let _ = roll_up(&world, &stop).await;
    }
    roll_up(&world, &()).await.unwrap();
    let interrupted = Archive::load(&world.archive()).unwrap();
    let output = world.verifier("rollup", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    // What it computed is what a rebuild computes.
    let again = world.roll_up_by(&two(), 1, true, &()).await.unwrap();
    assert!(again.days.is_empty());
    assert!(Archive::load(&world.archive()).unwrap() == interrupted);
}

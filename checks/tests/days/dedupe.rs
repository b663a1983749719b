//! An event id is recorded once, and a submission has one receipt, on whatever days they are sent.

use checks::submission::Submission;
use ingest::chain::Care;
use ingest::chain::plan::Refused;
use ledger::submission::Counter;

use super::world::{ROOM, World, noon};

/// Whether closed days are known by filters, by looks into the store, or not yet at all.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Filters,
    NoRoom,
    NotYet,
}

const ALL: [Known; 3] = [Known::Filters, Known::NoRoom, Known::NotYet];

/// A world with work on days 0 to 3, of which those before day 3 are closed; and that work.
async fn days(known: Known) -> (World, Vec<Submission>) {
    let room = if known == Known::NoRoom { 0 } else { ROOM };
    let mut world = World::new(room).await;
    let mut work = Vec::new();
    for day in 0..4 {
        world.clock.reach(noon(day));
        let submission = world.founder.work(20, noon(day));
        world.record(&[&submission]).await[0].as_ref().unwrap();
        work.push(submission);
    }
    world.close_days_before(3).await;
    if known != Known::NotYet {
        world.committer.days.refresh(&world.committer.pool).await.unwrap();
    }
    let closed = world.committer.days.closed();
    assert_eq!(closed.filters.len(), if known == Known::Filters { 3 } else { 0 });
    (world, work)
}

#[tokio::test]
async fn the_same_submission_again_has_the_same_receipt_days_later() {
    for known in ALL {
        let (world, work) = days(known).await;
        let before = world.entries_by_day().await;
        for (day, submission) in work.iter().enumerate() {
            let verdict = *world.record(&[submission]).await[0].as_ref().unwrap();
            assert!(!verdict.is_new, "{known:?}, day {day}");
            let first = if day == 0 { 2 } else { 20 * u64::try_from(day).unwrap() + 2 };
            assert_eq!(verdict.recorded.first_seq.get(), first, "{known:?}, day {day}");
        }
        assert_eq!(world.entries_by_day().await, before);
    }
}

#[tokio::test]
async fn an_event_of_another_day_is_refused_and_its_seq_named() {
    for known in ALL {
        let (mut world, work) = days(known).await;
        let before = world.entries_by_day().await;
        for (day, old) in (0_u64..).zip(&work) {
            // The sixth event of that day, among new ones, in a submission of its own.
            let mut payloads = world.founder.work(3, noon(3)).payloads;
            payloads.push(old.payloads[5].clone());
            let again = world.founder.sign(payloads);
            let fresh = world.founder.work(2, noon(3));
            let verdicts = world.record(&[&again, &fresh]).await;
            match &verdicts[0] {
                Err(Refused::EventExists { index: 3, seq, .. }) => {
                    assert_eq!(seq.get(), 20 * day + 2 + 5, "{known:?}, day {day}");
                }
                other => panic!("{known:?}, day {day}: {other:?}"),
            }
            assert!(verdicts[1].as_ref().unwrap().is_new, "{known:?}, day {day}");
        }
        let last = before.last().unwrap();
        assert_eq!(world.entries_by_day().await.last().unwrap(), &(last.0, last.1 + 8));
    }
}

#[tokio::test]
async fn an_index_refuses_what_nobody_looked_for_and_the_next_groups_look() {
    let (mut world, work) = days(Known::Filters).await;
    let payload = work[3].payloads[0].clone();
    let again = world.founder.sign(vec![payload]);
    let (verdicts, care) = world.try_record(&world.committer, &[&again], Care::Index).await;
    assert!(matches!(verdicts[0], Err(Refused::EventExists { index: 0, .. })), "{verdicts:?}");
    assert_eq!(care, Care::Look);
    // Who looks at once needs no index to be told.
    let (verdicts, care) = world.try_record(&world.committer, &[&again], Care::Look).await;
    assert!(matches!(verdicts[0], Err(Refused::EventExists { index: 0, .. })), "{verdicts:?}");
    assert_eq!(care, Care::Look);
}

#[tokio::test]
async fn a_counter_is_used_once_on_whatever_day() {
    for known in ALL {
        let (mut world, work) = days(known).await;
        for (day, old) in work.iter().enumerate() {
            let payloads = world.founder.work(1, noon(3)).payloads;
            let (origin, key) = (world.rig.origin.clone(), world.founder.key.clone());
            let again =
                Submission::sign(&origin, &world.founder.workspace, old.counter, &key, payloads);
            match &world.record(&[&again]).await[0] {
                Err(Refused::CounterReused { counter, .. }) => assert_eq!(*counter, old.counter),
                other => panic!("{known:?}, day {day}: {other:?}"),
            }
        }
        // Far ahead, then one of those that were left out, then that one again.
        let sign = |world: &mut World, counter| {
            let payloads = world.founder.work(1, noon(3)).payloads;
            let (origin, key) = (world.rig.origin.clone(), world.founder.key.clone());
            let counter = Counter::new(counter).unwrap();
            Submission::sign(&origin, &world.founder.workspace, counter, &key, payloads)
        };
        for (counter, is_taken) in [(5_000, false), (4_000, false), (4_000, true), (5_000, true)] {
            let submission = sign(&mut world, counter);
            let refused = world.record(&[&submission]).await[0].is_err();
            assert_eq!(refused, is_taken, "{known:?}: {counter}");
        }
    }
}

#[tokio::test]
async fn another_process_knows_what_this_one_recorded() {
    let (mut world, work) = days(Known::Filters).await;
    let other = world.another(ROOM);
    other.days.refresh(&other.pool).await.unwrap();
    // A day that began after the other process looked at the days.
    world.clock.reach(noon(4));
    let today = world.founder.work(5, noon(4));
    assert!(world.record(&[&today]).await[0].as_ref().unwrap().is_new);
    world.clock.reach(noon(5));
    for old in work.iter().chain([&today]) {
        let (verdicts, _) = world.try_record(&other, &[old], Care::Index).await;
        assert!(!verdicts[0].as_ref().unwrap().is_new);
        let again = world.founder.sign(vec![old.payloads[0].clone()]);
        let (verdicts, _) = world.try_record(&other, &[&again], Care::Index).await;
        assert!(matches!(verdicts[0], Err(Refused::EventExists { .. })), "{verdicts:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_held_across_midnight_looks_into_both_days() {
    let (mut world, _) = days(Known::Filters).await;
    let midnight = noon(4).get() - super::world::DAY / 2;
    let at = |micros| ledger::time::Micros::new(micros).unwrap();
    world.clock.reach(at(midnight + 200_000));
    let early = world.founder.work(4, at(midnight));
    world.record(&[&early]).await[0].as_ref().unwrap();
    // A process whose clock is half a second behind: its entries come to lie in the new day too.
    let slow = checks::rig::HandClock::new(at(midnight - 300_000));
    let behind =
        ingest::chain::Committer { clock: std::sync::Arc::new(slow), ..world.another(ROOM) };
    behind.days.refresh(&behind.pool).await.unwrap();
    let again = world.founder.sign(vec![early.payloads[2].clone()]);
    let (verdicts, _) = world.try_record(&behind, &[&again], Care::Index).await;
    assert!(matches!(verdicts[0], Err(Refused::EventExists { .. })), "{verdicts:?}");
    let late = world.founder.work(4, at(midnight));
    let (verdicts, care) = world.try_record(&behind, &[&late], Care::Index).await;
    assert_eq!(verdicts[0].as_ref().unwrap().recorded.recorded_at, at(midnight + 200_000));
    assert_eq!(care, Care::Look);
    assert_eq!(world.entries_by_day().await.last().unwrap(), &(4, 8));
}

#[tokio::test]
async fn a_day_that_is_made_after_a_later_one_is_looked_into() {
    let mut world = World::new(ROOM).await;
    let beta = ledger::names::Workspace::new("beta").unwrap();
    let mut other = checks::worker::Worker::new(&world.rig.origin, &beta, "founder", 9);
    let opening = other.open_workspace(noon(0));
    world.record(&[&opening]).await[0].as_ref().unwrap();
    // Nothing is recorded on the fence's own day yet when a clock that runs ahead makes the next.
    world.close_days_before(3).await;
    let midnight = noon(4).get() - super::world::DAY / 2;
    let at = |micros| ledger::time::Micros::new(micros).unwrap();
    world.clock.reach(at(midnight + 10_000_000));
    let ahead = world.founder.work(3, noon(3));
    world.record(&[&ahead]).await[0].as_ref().unwrap();
    world.committer.days.refresh(&world.committer.pool).await.unwrap();

    let accurate = checks::rig::HandClock::new(at(midnight - 25_000_000));
    let another =
        ingest::chain::Committer { clock: std::sync::Arc::new(accurate), ..world.another(ROOM) };
    let sent = other.work(3, noon(3));
    let (verdicts, _) = world.try_record(&another, &[&sent], Care::Index).await;
    assert!(verdicts[0].as_ref().unwrap().is_new);
    assert!(!world.record(&[&sent]).await[0].as_ref().unwrap().is_new);
    let again = other.sign(vec![sent.payloads[1].clone()]);
    let verdicts = world.record(&[&again]).await;
    assert!(matches!(verdicts[0], Err(Refused::EventExists { .. })), "{verdicts:?}");
    assert_eq!(world.entries_by_day().await, [(0, 2), (3, 3), (4, 3)]);
}

//! An archiver in a process of its own, killed (SIGKILL) at every step (FAULTS row 17).

use std::collections::BTreeMap;
use std::path::Path;

use archiver::step::Step;
use checks::crowd::long;
use checks::postgres::Postgres;
use ledger::verify::Verdict;

use super::{Ledger, ROWS, World, closed};

#[tokio::test]
async fn row_17_killed_at_every_step() {
    let each = if long() { 50 } else { 8 };
    let postgres = Postgres::start().unwrap();
    let keys = tempfile::tempdir().unwrap();
    let mut kills: BTreeMap<String, usize> =
        Step::SEALING.iter().map(|step| (format!("{step:?}"), 0)).collect();
    let (mut ledgers, mut events) = (0, 0);
    while kills.values().any(|kills| *kills < each) {
        let ledger = Ledger::new(ledgers, ROWS);
        let world = World::new(&postgres, ledger).await;
        let archivers = world.archivers(keys.path());
        let now = closed(world.ledger.last_hour());
        // Each time at the step that has had the fewest, until the ledger is sealed.
        loop {
            let step = kills.iter().min_by_key(|(_, kills)| **kills).unwrap().0.clone();
            if !archivers.is_killed("seal", now, Some(&step), 1).await.unwrap() {
                break;
            }
            *kills.get_mut(&step).unwrap() += 1;
            if world.archive().keys().any(|key| key == "log/checkpoint") {
                world.check_so_far(&format!("ledger {ledgers}, killed at {step}"));
            }
        }
        assert!(world.archive() == world.ledger.archive(), "ledger {ledgers}: other bytes");
        let report = world.verify();
        assert_eq!(report.verdict, Verdict::Proven, "ledger {ledgers}: {:?}", report.findings);
        let again = world.seal().await.unwrap();
        assert!(again.hours.is_empty() && again.recovered == 0);
        events += world.ledger.rows().count();
        ledgers += 1;
    }
    let total: usize = kills.values().sum();
    let line = format!(
        "2.2 row 17: {total} archivers killed (SIGKILL), each of {} steps at least {each} times, over \
         {ledgers} ledgers of {events} events: the same bytes as without, one manifest a chunk, proven \
         each time",
        kills.len()
    );
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), &line).unwrap();
}

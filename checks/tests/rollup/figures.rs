//! What comes out: the same by another engine, by another number of partitions, and again.

use std::collections::BTreeSet;

use checks::forge::Archive;
use ledger::time::Day;
use serde_json::json;
use verifier::rollup::definitions;

use super::world::{World, at, findings, text};

/// Events of eleven days, of which the ledger heard in one hour.
pub async fn days() -> World {
    let mut world = World::new().await;
    for day in (1_i64..11).rev() {
        world.work(20 + 3 * (day.unsigned_abs() % 7), at(-24 * day)).await;
    }
    world.work(700, at(0)).await;
    world.seal(at(49)).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn row_50_what_is_rolled_up_is_what_duckdb_makes_of_it() {
    let world = days().await;
    let rolled = world.roll_up().await;
    let names: BTreeSet<_> = rolled.days.iter().map(|day| day.name.clone()).collect();
    assert_eq!(names.len(), definitions().len(), "{names:?}");
    assert!(rolled.days.iter().all(|day| day.revision == 0 && day.differences.is_none()));
    let told = world.duckdb().await;
    assert_eq!(told["rollups"], json!(rolled.days.len()), "{told}");
    assert!(told["rows"].as_u64().unwrap() > 100, "{told}");
    // Costs of eleven days in a row are enough for a z-score.
    let of_acme = |day: &&archiver::rollup::RolledDay| {
        day.name.as_str() == "workspace_cost_daily" && day.workspace.as_str() == "acme"
    };
    let last = rolled.days.iter().filter(of_acme).max_by_key(|day| day.day).unwrap();
    assert_eq!(last.day, Day::of(at(0)));
    assert!(last.inputs > 1, "{last:?}");

    let output = world.verifier("rollup", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = world.verifier("rollup", &[]);
    let told = format!("{} were computed again by datafusion", rolled.days.len());
    assert!(text(&output).contains(&told), "{}", text(&output));

    // The second verifier has its own word for it.
    let (code, second) =
        checks::tools::python("verify.py", &[&world.archive(), &world.rig.trust()]).await.unwrap();
    assert_eq!(code, Some(0), "{second}");
    let seen = (second["rollups"].as_u64(), second["rollups_unchecked"].as_u64());
    assert_eq!(seen, (u64::try_from(rolled.days.len()).ok(), Some(0)), "{second}");

    // Nothing is due any more.
    let before = Archive::load(&world.archive()).unwrap();
    let again = world.roll_up().await;
    assert!(again.days.is_empty() && again.current == u64::try_from(rolled.days.len()).unwrap());
    // And by one partition, or by eight, and by facts that are read anew, it all comes to the same bytes.
    for partitions in [1, 8] {
        for entry in std::fs::read_dir(world.facts.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let again = world.roll_up_with(partitions, true, &()).await.unwrap();
        assert!(again.days.is_empty(), "{:?}", again.days);
        assert!(again.chunks > 0);
    }
    assert!(Archive::load(&world.archive()).unwrap() == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_restated_where_events_come_late() {
    let mut world = World::new().await;
    world.work(60, at(-24)).await;
    world.work(40, at(-48)).await;
    world.seal(at(26)).await;
    let first = world.roll_up().await;
    assert!(!first.days.is_empty());

    world.clock.reach(at(30));
    world.work(5, at(-24)).await;
    world.seal(at(32)).await;
    let second = world.roll_up().await;
    let late = Day::of(at(-24));
    let restated: Vec<_> = second.days.iter().filter(|day| day.revision > 0).collect();
    assert!(restated.iter().any(|day| day.name.as_str() == "llm_daily" && day.day == late));
    // What reads the days behind it as well is restated too.
    for day in &restated {
        assert_eq!(day.revision, 1);
        let definition = definitions().iter().find(|known| known.name == day.name).unwrap();
        let (from, to) = definition.window(day.day);
        assert!(from <= late && late <= to, "{day:?}");
        assert!(day.differences.is_some());
    }
    let changed = |day: &&&archiver::rollup::RolledDay| {
        day.differences.as_ref().is_some_and(|d| !d.is_empty())
    };
    let shown = restated.iter().find(changed).unwrap();
    assert!(!shown.differences.as_ref().unwrap().rows[0].row.is_empty());
    world.duckdb().await;
    for more in [&["--json"][..], &["--json", "--all-revisions"]] {
        let output = world.verifier("rollup", more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
    // The log says so before it is rolled up again.
    world.clock.reach(at(33));
    world.work(5, at(-24)).await;
    world.seal(at(35)).await;
    let output = world.verifier("verify", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let stale = findings(&output);
    assert!(stale.iter().any(|(id, _)| id == "T144"), "{stale:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_51_what_is_erased_is_in_no_figure_and_is_counted() {
    let mut world = World::new().await;
    let payloads = world.founder.agent.events(50, at(0));
    world.record(payloads.clone()).await;
    world.seal(at(48)).await;
    let before = world.roll_up().await;
    assert!(before.days.iter().all(|day| day.withheld == 0));

    let ids: Vec<String> = payloads
        .iter()
        .filter_map(|payload| {
            let event: serde_json::Value = serde_json::from_slice(payload).unwrap();
            let is_call = event["event_type"] == "llm_call" || event["event_type"] == "tool_call";
            is_call.then(|| event["event_id"].as_str().unwrap().to_owned())
        })
        .take(7)
        .collect();
    world.clock.reach(at(49));
    let request = json!({
        "event_id": "00000000-0000-4000-8000-0000000000aa",
        "event_type": "ledger.payload_erased",
        "occurred_at": at(49).to_string(),
        "workspace_id": "acme",
        "context": { "event_ids": ids, "reason": "asked for" },
    });
    world.record(vec![request.to_string().into_bytes()]).await;
    world.seal(at(51)).await;
    world.erase().await;
    let output = world.verifier("verify", &["--json", "--allow-erased"]);
    assert!(findings(&output).iter().any(|(id, _)| id == "T144"), "{}", text(&output));

    let after = world.roll_up().await;
    let day = Day::of(at(0));
    let restated: Vec<_> =
        after.days.iter().filter(|done| done.day == day && done.revision == 1).collect();
    assert!(!restated.is_empty());
    assert!(restated.iter().all(|done| done.withheld == 7), "{restated:?}");
    world.duckdb().await;
    let output = world.verifier("rollup", &["--json", "--allow-erased"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// Real runs: no tokens, no latencies, no costs.
#[tokio::test(flavor = "multi_thread")]
async fn real_runs_are_rolled_up_as_duckdb_does() {
    let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/agent-runs.ndjson.zst");
    let Ok(file) = std::fs::File::open(&shared) else {
        eprintln!("SKIPPED: ../shared/data is not there");
        return;
    };
    let lines = String::from_utf8(zstd::decode_all(file).unwrap()).unwrap();
    let mut world = World::new().await;
    // They are of 2024: moved to the day before the ledger began.
    let payloads = lines.lines().map(|line| {
        let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
        let at_then = ledger::payload::occurred_at(event["occurred_at"].as_str().unwrap()).unwrap();
        let moved =
            at_then.get() - ledger::payload::occurred_at("2024-05-15T00:00:00Z").unwrap().get();
        let moved = at(-48).checked_add(moved).unwrap();
        event["occurred_at"] = moved.to_string().into();
        event["workspace_id"] = "acme".into();
        event.to_string().into_bytes()
    });
    let payloads: Vec<_> = payloads.collect();
    assert_eq!(payloads.len(), 5_581);
    world.record(payloads).await;
    world.seal(at(48)).await;
    let rolled = world.roll_up().await;
    let health = rolled.days.iter().filter(|day| day.name.as_str() == "agent_health_daily").count();
    assert!(health >= 2, "{:?}", rolled.days);
    let told = world.duckdb().await;
    assert_eq!(told["rollups"], json!(rolled.days.len()));
    let output = world.verifier("rollup", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

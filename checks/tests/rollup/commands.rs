//! The commands as an operator and an auditor type them, wrong arguments too.

use std::process::{Command, Output};

use checks::bin_path::tally;
use serde_json::Value;

use super::world::{World, at, text};

pub fn archiver(world: &World, arguments: &[&str]) -> Output {
    Command::new(tally("tally-archiver"))
        .args(["--origin", world.rig.origin.as_str(), "--database-url", &world.rig.postgres.url()])
        .arg("--archive-url")
        .arg(world.archive())
        .arg("--seal-key")
        .arg(world.rig.directory.join("keys/seal.pem"))
        .args(arguments)
        .current_dir(&world.rig.directory)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_up_published_and_computed_again_by_hand() {
    let mut world = World::new().await;
    world.work(60, at(-24)).await;
    world.seal(at(26)).await;
    let output = archiver(
        &world,
        &["rollup", "--name", "llm_daily", "--name", "errors_daily", "--workspace", "acme"],
    );
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("llm_daily of acme on 2026-11-22: "), "{said}");
    assert!(!said.contains("tool_reliability_hourly") && !said.contains("ledger.acts"), "{said}");

    // What is restated is shown with what changed; the facts of before are used where they are kept.
    world.clock.reach(at(27));
    world.work(4, at(-24)).await;
    world.seal(at(29)).await;
    let directory = world.rig.directory.join("facts");
    let kept = ["--rollup-dir", directory.to_str().unwrap()];
    let output =
        archiver(&world, &[&kept[..], &["rollup", "--name", "llm_daily", "--json"]].concat());
    let told: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    assert_eq!(
        (&told["days"][0]["revision"], &told["days"][0]["rollup"]),
        (&1.into(), &"llm_daily".into())
    );
    assert!(told["days"][0]["restated"]["rows"][0]["columns"][0]["before"].is_string(), "{told:#}");
    assert!(told["chunks_read"].as_u64().unwrap() > 0);
    assert!(directory.read_dir().unwrap().count() > 0);
    let output =
        archiver(&world, &[&kept[..], &["rollup", "--name", "llm_daily", "--json"]].concat());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["days"], &told["chunks_read"]),
        (&Value::Array(vec![]), &0.into()),
        "{told:#}"
    );

    let output = archiver(&world, &["publish", "--json"]);
    let first: Value = serde_json::from_slice(&output.stdout).unwrap();
    let days = first["days"].as_u64().unwrap();
    assert!(days >= 2 && first["rows"].as_u64().unwrap() > 0, "{first:#}");
    let output = archiver(&world, &["publish"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let told = format!("published 0 days with 0 rows, {days} are as they were");
    assert!(text(&output).starts_with(&told), "{}", text(&output));

    for (arguments, why) in [
        (&["rollup", "--name", "llm"][..], "there is no such rollup; there are agent_health_daily"),
        (&["rollup", "--workspace", "../acme"], "workspace"),
        (&["--rollup-memory-mib", "1", "rollup"], "it must be at least 32"),
    ] {
        let output = archiver(&world, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(why), "{}", text(&output));
    }
    // A place where no directory can be made is told by its name.
    let file = world.rig.directory.join("keys/seal.pem");
    let output = archiver(&world, &["--rollup-dir", file.to_str().unwrap(), "rollup"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("seal.pem"), "{}", text(&output));

    for (arguments, why) in [
        (&["--since", "2026-11-23T00:00:00Z"][..], "leave out --since and --until"),
        (&["--memory-mib", "1"], "is not in 32.."),
        (&["--name", "LLM"], "rollup"),
    ] {
        let output = world.verifier("rollup", arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(why), "{}", text(&output));
    }
    let output = world
        .verifier("rollup", &["--html", world.rig.directory.join("page.html").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains(&format!("{days} were computed again")), "{}", text(&output));
    assert!(world.rig.directory.join("page.html").exists());
}

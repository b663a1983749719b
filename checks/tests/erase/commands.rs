//! The commands that operators and auditors run.

use std::process::Command;

use checks::bin_path::tally;

use crate::world::{World, at, event, id, shown};

/// Runs a program; its exit code, and what it says on both outputs.
pub fn run(world: &World, program: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(tally(program));
    command.current_dir(&world.rig.directory).env_clear().args(arguments);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_by_command_from_the_request_to_the_verdict() {
    let mut world = World::new().await;
    world.record((1..5).map(event).collect()).await;
    world.clock.reach(at(1));
    let (acme, base) = (&world.founder.workspace, world.base.clone());
    let pem = world.rig.directory.join("keys/root.pem");
    // The key of the test's founder stays its own; the command's is another root key.
    let command_key = ingest::keyfile::create(&pem).unwrap();
    let mut founder = world.founder.clone();
    let context = serde_json::json!({"key": command_key.public().to_string(), "role": "root"});
    let payload = crate::world::typed(100, "ledger.key_registered", &context);
    let registered = founder.sign(vec![payload]);
    let request = world
        .http
        .post(format!("{base}/v1/workspaces/{acme}/keys"))
        .header("Content-Type", "application/json")
        .header("Tally-Public-Key", registered.public_key.to_string())
        .header("Tally-Signature", registered.signature.to_string())
        .header("Tally-Counter", registered.counter.to_string())
        .body(registered.payloads.concat());
    assert_eq!(request.send().await.unwrap().status().as_u16(), 201);

    let by = ["--reason", "asked for", "--key", "keys/root.pem", "--url", &base];
    let erase =
        |more: &[&str]| run(&world, "tally-ingest", &[&["erase", "acme"], more, &by[..]].concat());
    let (code, text) = erase(&[]);
    assert!(code == 2 && text.contains("name the events"), "{text}");
    let (code, text) = erase(&[&id(1), &id(1)]);
    assert!(code == 2 && text.contains("named twice"), "{text}");
    let (code, text) = erase(&[&id(77)]);
    assert!(code == 1 && text.contains("not-recorded"), "{text}");
    std::fs::write(world.rig.directory.join("ids.txt"), format!("{}\n\n{}\n", id(2), id(3)))
        .unwrap();
    std::fs::write(world.rig.directory.join("bad.txt"), "a person\n").unwrap();
    let (code, text) = erase(&["--from", "bad.txt"]);
    assert!(code == 2 && text.contains("line 1"), "{text}");
    let (code, text) = erase(&[&id(1), "--from", "ids.txt"]);
    assert!(code == 0 && text.contains("tally-archiver erase"), "{text}");

    let (url, archive) = (world.rig.postgres.url(), shown(&world.rig.archive()));
    let origin = world.rig.origin.to_string();
    let settings = ["--origin", &origin, "--database-url", &url, "--archive-url", &archive];
    let settings = [&settings[..], &["--seal-key", "keys/seal.pem"]].concat();
    let archiver =
        |command: &str| run(&world, "tally-archiver", &[&[command], &settings[..]].concat());
    let ledger = world.copy();
    ledger.seal(at(1)).await;
    let (code, text) = archiver("erase");
    assert!(
        code == 0 && text.contains("nothing to erase") && text.contains("3 payloads wait"),
        "{text}"
    );
    ledger.seal(at(2)).await;
    let (code, text) = archiver("erase");
    assert!(code == 0 && text.contains("erased 3 payloads for 1 requests"), "{text}");
    let (code, text) = archiver("erase");
    assert!(code == 0 && text.contains("nothing to erase"), "{text}");

    // Erased is told apart from missing, and from proven.
    let verify = |more: &[&str]| {
        let own = ["verify", "--archive", &archive, "--trust", "trust.toml", "--any-age"];
        run(&world, "tally-verify", &[&own[..], more].concat())
    };
    let (code, text) = verify(&[]);
    assert!(code == 4 && text.contains("T102") && text.contains("3 payloads"), "{text}");
    let (code, text) = verify(&["--allow-erased"]);
    assert_eq!(code, 0, "{text}");
    world.stop().await;
}

//! The commands of an administrator.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use checks::bin_path::tally;
use checks::token::ADMIN;
use ingest::access::AdminTokens;

use crate::world::World;

/// Runs `tally-ingest`; its exit code and what it says on both outputs.
fn run(world: &World, arguments: &[&str], token: Option<&str>) -> (i32, String) {
    let mut command = Command::new(tally("tally-ingest"));
    command.current_dir(&world.rig.directory).env_clear().args(arguments);
    if let Some(token) = token {
        command.env("TALLY_ADMIN_TOKEN", token);
    }
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_listed_and_revoked_by_command() {
    let mut world = World::new().await;
    let url = ["--url", &world.base];
    let create = [&["token", "create", "acme", "--name", "the auditor"], &url[..]].concat();
    let (code, text) = run(&world, &create, None);
    assert!(code == 2 && text.contains("TALLY_ADMIN_TOKEN"), "{text}");
    let (code, text) = run(&world, &create, Some("tally_admin_00"));
    assert!(code == 1 && text.contains("401"), "{text}");
    let (code, text) = run(&world, &create, Some(ADMIN));
    assert_eq!(code, 0, "{text}");
    let token = text.lines().next().unwrap().to_owned();
    assert_eq!(world.get("/v1/workspaces/acme/head", &token).await.status, 200);

    // The token of the administrator in a file, which others may not read.
    let file = world.rig.directory.join("admin.token");
    fs::write(&file, format!("{ADMIN}\n")).unwrap();
    let list = ["token", "list", "acme", "--admin-token-file", "admin.token"];
    let list = [&list[..], &url].concat();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, text) = run(&world, &list, None);
    assert!(code == 2 && text.contains("chmod 600"), "{text}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, text) = run(&world, &list, None);
    assert!(code == 0 && text.contains("the auditor") && text.contains("in force"), "{text}");
    assert!(!text.contains(&token), "{text}");

    let id = text.split_whitespace().next().unwrap().to_owned();
    let revoke = [&["token", "revoke", "acme", &id], &url[..]].concat();
    let (code, text) = run(&world, &revoke, Some(ADMIN));
    assert!(code == 0 && text.contains("is revoked"), "{text}");
    assert_eq!(world.get("/v1/workspaces/acme/head", &token).await.status, 401);
    let missing = [&["token", "create", "nowhere", "--name", "x"], &url[..]].concat();
    let (code, text) = run(&world, &missing, Some(ADMIN));
    assert!(code == 1 && text.contains("no such workspace"), "{text}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrators_token_is_printed_with_the_setting_that_admits_it() {
    let mut world = World::empty(|_| ()).await;
    let (code, text) = run(&world, &["admin-token", "ada"], None);
    assert_eq!(code, 0, "{text}");
    let token = text.lines().next().unwrap();
    let line = text.lines().find(|line| line.contains("sha256:")).unwrap();
    let (name, hash) = line.split_once(" = ").unwrap();
    let (name, hash) = (name.trim_matches('"'), hash.trim_matches('"'));
    let admins = AdminTokens::new([(name, hash)]).unwrap();
    assert_eq!(admins.holder(token), Some("ada"));
    assert_eq!(run(&world, &["admin-token", "a b"], None).0, 2);
    world.stop().await;
}

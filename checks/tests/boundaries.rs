//! The crate table of DESIGN as a test: who may depend on whom.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic, and tells its figures"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(root()).output().unwrap()
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn host() -> String {
    let version = stdout(run("rustc", &["-vV"]));
    version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// The crates of this workspace, and the names of all that each is built from.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let arguments = ["metadata", "--locked", "--offline", "--format-version", "1"];
    let platform = ["--filter-platform", &host()];
    let metadata = stdout(run(env!("CARGO"), &[&arguments[..], &platform].concat()));
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: BTreeMap<_, _> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let nodes: BTreeMap<_, _> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            // Tests and build scripts are not shipped.
            let normal = |dependency: &&Value| {
                dependency["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].is_null())
            };
            let dependencies = node["deps"].as_array().unwrap().iter().filter(normal);
            let ids: Vec<_> = dependencies.map(|dependency| text(&dependency["pkg"])).collect();
            (text(&node["id"]), ids)
        })
        .collect();
    let members = metadata["workspace_members"].as_array().unwrap().iter().map(text);
    members
        .map(|member| {
            let mut reached = BTreeSet::new();
            let mut open = vec![member.clone()];
            while let Some(id) = open.pop() {
                let next = nodes[&id].iter().filter(|id| reached.insert((*id).clone()));
                open.extend(next.cloned());
            }
            (names[&member].clone(), reached.iter().map(|id| names[id].clone()).collect())
        })
        .collect()
}

#[test]
fn crates_depend_on_nothing_that_they_must_not_use() {
    let forbidden: [(&str, &[&str]); 4] = [
        (
            "ledger",
            &[
                "tokio",
                "sqlx",
                "arrow",
                "parquet",
                "axum",
                "object_store",
                "rayon",
                "getrandom",
                "ingest",
                "archiver",
                "verifier",
                "checks",
            ],
        ),
        ("ingest", &["arrow", "parquet", "datafusion", "archiver", "verifier", "checks"]),
        ("archiver", &["axum", "ingest", "checks"]),
        // It reads object stores, so a runtime comes with it; see below for one without.
        ("verifier", &["sqlx", "axum", "rdkafka", "ingest", "archiver", "checks"]),
    ];
    let dependencies = dependencies();
    let members: Vec<_> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(members, ["archiver", "checks", "ingest", "ledger", "verifier"]);
    for (member, names) in forbidden {
        let reached = &dependencies[member];
        // `sqlx` stands for `sqlx-core` as well.
        let is = |found: &str, name: &str| found == name || found.starts_with(&format!("{name}-"));
        for name in names {
            let found = reached.iter().find(|found| is(found, name));
            assert_eq!(found, None, "{member} must not use {name}");
        }
    }
}

/// An auditor who has the archive in a directory builds a verifier that cannot open a connection.
#[test]
fn the_verifier_without_object_stores_has_no_network() {
    let built = |features: &[&str]| -> BTreeSet<String> {
        let arguments = ["tree", "--locked", "--offline", "-p", "verifier", "-e", "normal"];
        let shape = ["--prefix", "none", "--format", "{p}", "--target", &host()];
        let tree = stdout(run(env!("CARGO"), &[&arguments[..], &shape, features].concat()));
        let name = |line: &str| line.split(' ').next().unwrap().to_owned();
        tree.lines().filter(|line| !line.is_empty()).map(name).collect()
    };
    let (small, whole) = (built(&["--no-default-features"]), built(&[]));
    for name in ["tokio", "object_store", "reqwest", "hyper", "rustls", "ring", "socket2", "mio"] {
        assert!(whole.contains(name), "{name}");
        assert!(!small.contains(name), "without `s3`, the verifier must not use {name}");
    }
    // The engine that computes rollups again is for those who ask for it.
    let computing = built(&["--features", "rollup"]);
    assert!(computing.contains("datafusion") && !whole.contains("datafusion"));
    println!("verifier: {} crates with object stores, {} without", whole.len(), small.len());
    assert!(small.len() * 3 < whole.len() * 2, "{} of {}", small.len(), whole.len());
}

/// The crates that are there must be seen, or the test above would pass on nothing.
#[test]
fn the_dependencies_that_there_are_are_seen() {
    let dependencies = dependencies();
    for (member, name) in [("ledger", "sha2"), ("verifier", "parquet"), ("ingest", "ledger")] {
        assert!(dependencies[member].contains(name), "{member} uses {name}");
    }
    assert!(!dependencies["ledger"].contains("proptest"), "tests are not counted");
}

/// The core builds for wasm32, where that target is installed.
#[test]
fn the_core_builds_for_wasm() {
    const TARGET: &str = "wasm32-unknown-unknown";
    let libdir = stdout(run("rustc", &["--print", "target-libdir", "--target", TARGET]));
    if !Path::new(libdir.trim()).is_dir() {
        eprintln!("SKIPPED: {TARGET} is not installed (rustup target add {TARGET}): not checked");
        return;
    }
    let target = tempfile::tempdir().unwrap();
    let arguments = ["check", "--locked", "-p", "ledger", "--target", TARGET, "--target-dir"];
    let directory = target.path().to_str().unwrap();
    stdout(run(env!("CARGO"), &[&arguments[..], &[directory]].concat()));
}

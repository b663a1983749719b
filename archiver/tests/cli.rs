//! The command line: what it refuses, and how.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use ledger::key::SigningKey;

const SETTINGS: &str = r#"
[ledger]
origin = "ledger.example.com/test"
[database]
url = "postgres://tally:geheim@127.0.0.1:1/ledger"
[archive]
url = "archive"
seal_key = "seal.pem"
"#;

fn run(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tally-archiver"))
        .current_dir(directory)
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn settings_are_overridden_in_order_and_shown_without_secrets() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("tally.toml"), SETTINGS).unwrap();
    let variables = [("TALLY_ARCHIVE_URL", "/from/env"), ("TALLY_ARCHIVE_GRACE_SECONDS", "5")];
    let arguments = ["--print-config", "--grace-seconds", "7"];
    let output = run(directory.path(), &arguments, &variables);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        r#"[ledger]
origin = "ledger.example.com/test"

[database]
url = "postgres://tally:****@127.0.0.1:1/ledger"

[archive]
url = "/from/env"
seal_key = "seal.pem"
grace_seconds = 7
chunk_rows = 262144
chunk_mib = 64
rollup_memory_mib = 256
"#
    );
}

#[test]
fn wrong_usage_and_settings_end_with_2_and_an_unreachable_database_with_3() {
    let directory = tempfile::tempdir().unwrap();
    let nothing_set = run(directory.path(), &["seal"], &[]);
    assert_eq!(nothing_set.status.code(), Some(2));
    assert!(said(&nothing_set).contains("TALLY_LEDGER_ORIGIN"), "{}", said(&nothing_set));

    fs::write(directory.path().join("tally.toml"), SETTINGS).unwrap();
    assert_eq!(run(directory.path(), &["steal"], &[]).status.code(), Some(2));
    assert_eq!(run(directory.path(), &[], &[]).status.code(), Some(2));
    let misspelt = run(directory.path(), &["seal"], &[("TALLY_ARCHIVE_URI", "/x")]);
    assert_eq!(misspelt.status.code(), Some(2));

    // A secret has no place in the file; a store that cannot be meant is found out before all else.
    let inside = format!("{SETTINGS}[archive.s3]\nsecret_access_key = \"geheim\"\n");
    fs::write(directory.path().join("tally.toml"), inside).unwrap();
    assert_eq!(run(directory.path(), &["seal"], &[]).status.code(), Some(2));
    fs::write(directory.path().join("tally.toml"), SETTINGS).unwrap();

    let key = directory.path().join("seal.pem");
    fs::write(&key, SigningKey::from_seed(&[7; 32]).to_pem().unwrap()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = run(directory.path(), &["seal"], &[]);
    assert_eq!(exposed.status.code(), Some(2));
    assert!(said(&exposed).contains("chmod 600"), "{}", said(&exposed));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let remote = [
        ("TALLY_ARCHIVE_URL", "s3://tally/archive"),
        ("TALLY_ARCHIVE_S3_ENDPOINT", "http://s3.example.com"),
    ];
    let plain = run(directory.path(), &["seal"], &remote);
    assert_eq!(plain.status.code(), Some(2));
    assert!(said(&plain).contains("--s3-allow-http"), "{}", said(&plain));

    let unreachable = run(directory.path(), &["seal"], &[]);
    assert_eq!(unreachable.status.code(), Some(3));
    assert!(!said(&unreachable).contains("geheim"), "{}", said(&unreachable));
}

#[test]
fn the_object_store_is_shown_as_it_came_out() {
    let directory = tempfile::tempdir().unwrap();
    let file =
        format!("{SETTINGS}[archive.s3]\nendpoint = \"https://u:geheim@s3\"\nregion = \"a\"\n");
    fs::write(directory.path().join("tally.toml"), file).unwrap();
    let variables = [
        ("TALLY_ARCHIVE_S3_REGION", "b"),
        ("AWS_SECRET_ACCESS_KEY", "a secret that nobody prints"),
    ];
    let arguments = ["--print-config", "--s3-path-style", "true"];
    let shown = String::from_utf8(run(directory.path(), &arguments, &variables).stdout).unwrap();
    let section =
        "[archive.s3]\nendpoint = \"https://u:****@s3\"\nregion = \"b\"\npath_style = true\n";
    assert!(shown.ends_with(section), "{shown}");
    assert!(!shown.contains("nobody prints"), "{shown}");
}

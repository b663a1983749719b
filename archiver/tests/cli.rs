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

    let key = directory.path().join("seal.pem");
    fs::write(&key, SigningKey::from_seed(&[7; 32]).to_pem().unwrap()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = run(directory.path(), &["seal"], &[]);
    assert_eq!(exposed.status.code(), Some(2));
    assert!(said(&exposed).contains("chmod 600"), "{}", said(&exposed));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let unreachable = run(directory.path(), &["seal"], &[]);
    assert_eq!(unreachable.status.code(), Some(3));
    assert!(!said(&unreachable).contains("geheim"), "{}", said(&unreachable));
}

//! Settings: where they come from, what is refused, what is printed.

use std::path::Path;

use clap::Parser;
use ingest::config::{ConfigError, Settings};
use ingest::keyfile;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    settings: Settings,
}

fn settings(dir: &Path, file: &str, flags: &[&str]) -> Result<Settings, ConfigError> {
    let path = dir.join("tally.toml");
    std::fs::write(&path, file).unwrap();
    let config = ["test", "--config", path.to_str().unwrap()];
    let command = Command::parse_from(config.iter().chain(flags));
    command.settings.with_file()
}

const FILE: &str = r#"
[ledger]
origin = "ledger.example.com/prod"
[database]
url = "postgres://tally:hunter2@db.example.com/tally?sslpassword=hunter2&host=/run"
[ingest]
listen = "0.0.0.0:9000"
allow_plain_http = true
receipt_key = "receipt.pem"
max_events = 500
[archive]
whatever = "is the archiver's"
"#;

#[test]
fn flags_override_the_file_and_secrets_are_masked() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--listen", "127.0.0.1:9001", "--queue", "7"];
    let printed = settings(dir.path(), FILE, &flags).unwrap().to_string();
    for line in [
        "origin = \"ledger.example.com/prod\"",
        "url = \"postgres://tally:****@db.example.com/tally?sslpassword=****&host=%2Frun\"",
        "listen = \"127.0.0.1:9001\"",
        "max_events = 500",
        "max_payload_bytes = 65536",
        "queue = 7",
    ] {
        assert!(printed.contains(line), "{line} in {printed}");
    }
    assert!(!printed.contains("hunter2"));
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let printed = settings(dir.path(), FILE, &[]).unwrap().to_string();
    let again = settings(dir.path(), &printed, &[]).unwrap().to_string();
    assert_eq!(printed, again);
}

#[test]
fn unknown_keys_are_errors_that_name_the_key() {
    let dir = tempfile::tempdir().unwrap();
    for file in [
        "[ingest]\nlissten = \"x\"",
        "[ledger]\norigins = \"x\"",
        "[database]\nurls = \"x\"",
        "[ingress]\n",
        "clock = \"2026-11-23T16:00:00Z\"",
    ] {
        let error = settings(dir.path(), file, &[]).unwrap_err();
        assert!(matches!(error, ConfigError::Form { .. }));
        assert!(error.to_string().contains("unknown field"), "{error}");
    }
}

#[test]
fn unknown_variables_are_errors_and_the_archivers_are_not_ours() {
    let check = |name: &str| Settings::check_variables([name.to_owned()]);
    for known in ["TALLY_INGEST_LISTEN", "TALLY_DATABASE_URL", "TALLY_ARCHIVE_URL", "HOME"] {
        assert!(check(known).is_ok(), "{known}");
    }
    for unknown in ["TALLY_INGEST_CLOCK", "TALLY_LISTEN", "TALLY_", "TALLY_NOW"] {
        let error = check(unknown).unwrap_err();
        assert!(matches!(error, ConfigError::UnknownVariable(name) if name == unknown));
    }
}

#[test]
fn the_example_names_every_setting_and_is_one() {
    let example = include_str!("../../../docs/operating/tally.example.toml");
    let dir = tempfile::tempdir().unwrap();
    let printed = settings(dir.path(), example, &[]).unwrap().to_string();
    for line in printed.lines().filter(|line| line.contains('=')) {
        let key = line.split('=').next().unwrap();
        assert!(example.contains(key), "{key}");
    }
    // What it leaves out, it names in a comment.
    for line in printed.lines().filter(|line| line.ends_with("is not set")) {
        let key = line.split(' ').nth(1).unwrap();
        assert!(example.contains(&format!("# {key} = ")), "{key}");
    }
}

#[test]
fn bounds_are_checked_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("receipt.pem");
    keyfile::create(&key).unwrap();
    let key = key.to_str().unwrap();
    let config = |flags: &[&str]| {
        let flags = [&["--receipt-key", key, "--custodian-key", key], flags].concat();
        settings(dir.path(), FILE, &flags).unwrap().into_config()
    };
    assert_eq!(config(&[]).unwrap().limits.max_events(), 500);
    for (flag, value) in [
        ("--max-events", "0"),
        ("--max-events", "1001"),
        ("--max-payload-bytes", "1048577"),
        ("--answer-memory-mib", "36"),
        ("--shards", "0"),
        ("--queue", "100000"),
        ("--memory-mib", "1"),
    ] {
        assert!(
            matches!(config(&[flag, value]), Err(ConfigError::Bounds { .. })),
            "{flag} {value}"
        );
    }
    let other = "ledger.example.com/test+c7f0fd41+AfqfeZ5gjD6jn9DLo9ebvl5fegEICXLV0+330//4AJuW";
    let flags = ["--seal-verifier-key", other];
    assert!(matches!(config(&flags), Err(ConfigError::SealKeyName { .. })));
    assert!(matches!(config(&["--seal-verifier-key", "x"]), Err(ConfigError::SealKey(_))));
    assert!(matches!(config(&["--origin", "a//b"]), Err(ConfigError::Origin(_))));
    for flag in [["--admin-token-hash", "ada"], ["--acts-workspace", "Acts"]] {
        assert!(matches!(config(&flag), Err(ConfigError::Access(_))), "{flag:?}");
    }
}

#[test]
fn what_is_missing_is_named_with_every_way_to_set_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), "", &[]).unwrap();
    let text = settings.origin().unwrap_err().to_string();
    assert!(text.contains("ledger.origin") && text.contains("TALLY_LEDGER_ORIGIN"));
    let text = settings.database_url().unwrap_err().to_string();
    assert!(text.contains("database.url") && text.contains("TALLY_DATABASE_URL"));
}

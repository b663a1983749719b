//! What operators and auditors run when the seal key changes.

use std::fs;
use std::path::Path;
use std::process::Command;

use checks::bin_path::tally;
use checks::postgres::Postgres;
use ledger::verify::Verdict;
use sqlx::ConnectOptions as _;

use super::{Ledger, World, closed};

/// Runs a program in a directory: its exit code, and what it said on both outputs.
fn run(directory: &Path, program: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(tally(program));
    command.current_dir(directory).env_clear().args(arguments);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// A file that only its owner can read.
fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seal_key_by_command_from_its_making_to_its_theft() {
    let postgres = Postgres::start().unwrap();
    let ledger = Ledger::of_several_hours();
    let pool = sqlx::PgPool::connect(&postgres.database().unwrap()).await.unwrap();
    ledger.record(&pool).await;
    let url = pool.connect_options().to_url_lossy().to_string();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let origin = ledger.content.origin.to_string();
    let settings = format!(
        "[ledger]\norigin = {origin:?}\n[database]\nurl = {url:?}\n[archive]\nurl = \"archive\"\n\
         seal_key = \"KEY\"\nseal_key_passphrase_file = \"passphrase\"\n"
    );
    let configure = |key: &str| {
        fs::write(home.join("tally.toml"), settings.replace("KEY", key)).unwrap();
    };
    let archiver = |arguments: &[&str]| run(home, "tally-archiver", arguments);
    configure("first.pem");
    write_private(&home.join("passphrase"), "geheim\n");
    let keygen = |out: &str| {
        let (code, text) = archiver(&["keygen", "--out", out, "--passphrase-file", "passphrase"]);
        assert_eq!(code, 0, "{text}");
        assert!(fs::read_to_string(home.join(out)).unwrap().contains("ENCRYPTED"));
        text.trim().to_owned()
    };
    let (first, second, third) = (keygen("first.pem"), keygen("second.pem"), keygen("third.pem"));
    let verify = |keys: &[&str], more: &str| {
        let keys = keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
        let text = format!("origin = {origin:?}\nseal_keys = [{keys}]\n{more}");
        fs::write(home.join("trust.toml"), text).unwrap();
        run(
            home,
            "tally-verify",
            &["verify", "--archive", "archive", "--trust", "trust.toml", "--any-age"],
        )
    };

    let (code, text) = archiver(&["rotate", "--new-key", "second.pem", "--reason", "x"]);
    assert!(code == 2 && text.contains("passphrase"), "{text}");
    let rotate = |key: &str| {
        let new = ["--new-key", key, "--new-key-passphrase-file", "passphrase"];
        archiver(&[&["rotate", "--reason", "yearly"][..], &new].concat())
    };
    let (code, text) = archiver(&["seal"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = verify(&[&first], "");
    assert!(code == 0 && text.contains("PROVEN"), "{text}");

    let (code, text) = rotate("second.pem");
    assert!(code == 0 && text.contains(&second) && text.contains(&first), "{text}");
    let (code, text) = archiver(&["seal"]);
    assert!(code == 4 && text.contains(&second) && text.contains("archive.seal_key"), "{text}");
    configure("second.pem");
    assert_eq!(archiver(&["seal"]).0, 0);
    let (code, text) = archiver(&["status"]);
    assert!(code == 0 && text.contains(&second) && !text.contains("not encrypted"), "{text}");
    for key in [&first, &second] {
        let (code, text) = verify(&[key], "");
        assert!(code == 0 && text.contains(&first) && text.contains(&second), "{text}");
    }
    assert_eq!(verify(&[&third], "").0, 1);

    // The one in force is stolen: the third takes its place.
    let revoke = |key: &str| archiver(&["--json", "revoke", key, "--reason", "stolen"]);
    let (code, text) = revoke(&second);
    assert!(code == 4 && text.contains("to take its place"), "{text}");
    configure("third.pem");
    let (code, text) = revoke(&second);
    assert_eq!(code, 0, "{text}");
    let said: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&said["in_force"], &said["published"]), (&third.clone().into(), &true.into()));
    let before = &said["before"];
    assert_eq!(before["key"], second);
    let revoked = format!(
        "[[revoked]]\nkey = {}\nsize = {}\nroot = {}\n",
        before["key"], before["size"], before["root"]
    );
    assert_eq!(verify(&[&third], "").0, 0);
    assert_eq!(verify(&[&third], &revoked).0, 0);
    let (code, text) = verify(&[&second], "");
    assert!(code == 1 && text.contains("T003") && text.contains(&third), "{text}");
    let wrong = revoked.replace(&before["root"].to_string(), &format!("{:?}", "0".repeat(64)));
    let (code, text) = verify(&[&third], &wrong);
    assert!(code == 1 && text.contains("T015"), "{text}");
    let (code, text) = verify(&[&third], "[[revoked]]\nkey = \"x\"\nsize = 1\nroot = \"\"\n");
    assert!(code == 2 && text.contains("revoked"), "{text}");

    // The passphrase may come from the environment, and from one place only.
    let mut command = Command::new(tally("tally-archiver"));
    command.current_dir(home).env_clear().arg("seal");
    command.env("TALLY_ARCHIVE_SEAL_KEY_PASSPHRASE", "geheim");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "set twice");
    let bare = settings.replace("seal_key_passphrase_file = \"passphrase\"\n", "");
    fs::write(home.join("tally.toml"), bare.replace("KEY", "third.pem")).unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (code, text) = archiver(&["seal"]);
    assert!(code == 2 && text.contains("is encrypted") && !text.contains("geheim"), "{text}");
}

/// A change of the key between any two hours.
#[tokio::test]
async fn what_one_key_sealed_is_sealed_on_by_the_next_hour_by_hour() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let hours: Vec<_> = world.ledger.hours().collect();
    let mut key = world.ledger.signer.clone();
    for (seed, hour) in (2..).zip(hours) {
        world.seal_by(&key, closed(hour)).await.unwrap();
        let next = world.key(seed);
        world.change(&key, &super::keys::succeed(&next), &()).await.unwrap();
        key = next;
    }
    for known in [&world.ledger.signer, &key] {
        let report = world.verify_by(&[known], &[]);
        assert_eq!(report.verdict, Verdict::Proven, "{:#?}", report.findings);
    }
}

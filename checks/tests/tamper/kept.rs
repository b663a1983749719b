//! A checkpoint that the auditor keeps, by the commands that they run.

use std::path::Path;
use std::process::Command;

use checks::bin_path::tally;
use checks::corpus::trust_file;
use checks::forge::{Archive, Depth};
use ledger::verify::Trust;
use tempfile::TempDir;

use super::Operator;

fn write_trust(directory: &Path, trust: &Trust) {
    std::fs::write(directory.join("trust.toml"), trust_file(trust)).unwrap();
}

/// Runs `tally-verify verify` on an archive; its exit code, and what it said.
fn verify(directory: &Path, archive: &Archive, more: &[&str]) -> (i32, String) {
    let place = directory.join("archive");
    if place.exists() {
        std::fs::remove_dir_all(&place).unwrap();
    }
    archive.store(&place).unwrap();
    let mut command = Command::new(tally("tally-verify"));
    command.current_dir(directory).env_clear();
    command
        .args(["verify", "--archive", "archive", "--trust", "trust.toml", "--any-age"])
        .args(more);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn the_checkpoint_of_last_time_tells_another_history_and_a_cut_log() {
    let (operator, directory) = (Operator::new(), TempDir::new().unwrap());
    let directory = directory.path();
    write_trust(directory, &operator.trust);
    let honest = operator.reseal(Depth::Links, |_| {});
    let (code, text) = verify(directory, &honest, &["--keep-checkpoint", "kept"]);
    assert_eq!(code, 0, "{text}");
    let kept = std::fs::read(directory.join("kept")).unwrap();
    assert_eq!(kept, honest.0["log/checkpoint"]);
    let last_time = ["--checkpoint", "kept", "--keep-checkpoint", "kept"];
    assert_eq!(verify(directory, &honest, &last_time).0, 0);

    // Another time for one submission: sound by itself, and another history.
    let other = operator.reseal(Depth::Links, |content| {
        content.row_mut("acme", 69).row.recorded_at += 1;
    });
    assert_eq!(verify(directory, &other, &[]).0, 0);
    let (code, text) = verify(directory, &other, &last_time);
    assert!(code == 1 && text.contains("T016"), "{text}");
    // The last hour is cut off: sound by itself, and shorter.
    let cut = operator.reseal(Depth::Links, |content| content.leaves.truncate(4));
    let (code, text) = verify(directory, &cut, &last_time);
    assert!(code == 1 && text.contains("T017"), "{text}");
    assert_eq!(std::fs::read(directory.join("kept")).unwrap(), kept, "what is refused is not kept");

    // What is no checkpoint of this ledger is not mistaken for one.
    std::fs::write(directory.join("note"), "not a note").unwrap();
    std::fs::write(directory.join("forged"), &other.0["log/checkpoint"][..40]).unwrap();
    let hour = honest.keys().find(|key| key.starts_with("hours/") && key.ends_with(".note"));
    std::fs::write(directory.join("hour"), &honest.0[hour.unwrap()]).unwrap();
    for file in ["nowhere", "note", "forged", "hour"] {
        let (code, text) = verify(directory, &honest, &["--checkpoint", file]);
        assert!(code == 2 && text.contains("checkpoint"), "{file}: {text}");
    }
    let nowhere = ["--keep-checkpoint", "no/such/directory"];
    assert_eq!(verify(directory, &honest, &nowhere).0, 2);
}

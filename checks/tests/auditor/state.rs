//! A state that is damaged, in use, or cannot be kept: what the command says, and what it leaves alone.

use std::fs;
use std::path::Path;

use ledger::verify::Trust;
use serde_json::Value;
use tempfile::TempDir;

use super::command::{command, write_trust};
use super::grown;

/// A directory with an archive, a trust file and a state of it.
struct Kept {
    directory: TempDir,
    trust: Trust,
}

impl Kept {
    fn new() -> Self {
        let (honest, archives) = grown(2);
        let directory = TempDir::new().unwrap();
        write_trust(directory.path(), &honest.trust);
        archives.last().unwrap().store(&directory.path().join("archive")).unwrap();
        let kept = Self { directory, trust: honest.trust };
        assert_eq!(kept.verify(&[]).0, 0);
        kept
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn run(&self, name: &str, more: &[&str]) -> (i32, String, String) {
        let output = command(self.path(), name, more).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn verify(&self, more: &[&str]) -> (i32, String, String) {
        self.run("verify", &[&["--any-age", "--resume", "state"], more].concat())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("state")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

#[test]
fn a_file_of_ids_that_is_not_as_it_was_written_is_named_with_what_to_do() {
    let kept = Kept::new();
    let ids = kept.path().join("state/ids-1");
    let written = fs::read(&ids).unwrap();
    let short = &written[..written.len() - 1];
    let whole = &written[..written.len() - 24];
    let long = [&written[..], b"x"].concat();
    for (bytes, told) in [
        (None, "it is not there"),
        (Some(short), "bytes"),
        (Some(whole), "bytes"),
        (Some(&long[..]), "bytes"),
    ] {
        match bytes {
            None => fs::remove_file(&ids).unwrap(),
            Some(bytes) => fs::write(&ids, bytes).unwrap(),
        }
        for name in ["verify", "replay"] {
            let (code, text, error) = kept.run(name, &["--any-age", "--resume", "state"]);
            assert_eq!((code, &*text), (2, ""), "{told}: {error}");
            for part in ["state/ids-1", told, "remove the directory state", "from the beginning"] {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
    }
    // Of the right length, it shows when it is read.
    let mut flipped = written.clone();
    flipped[0] ^= 1;
    fs::write(&ids, flipped).unwrap();
    let (code, text, _) = kept.verify(&[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("T112") && text.contains("state/ids-1: it is not the one"), "{text}");
    assert!(text.contains("remove its directory"), "{text}");
    fs::write(&ids, written).unwrap();
    assert_eq!(kept.verify(&[]).0, 0);
}

#[test]
fn what_is_no_state_or_no_place_for_one_is_a_wrong_command_line() {
    let kept = Kept::new();
    fs::write(kept.path().join("file"), "mine").unwrap();
    for (place, name) in [("file", "verify"), ("file/below", "verify"), ("file", "replay")] {
        let (code, text, error) = kept.run(name, &["--any-age", "--resume", place]);
        assert_eq!((code, &*text), (2, ""), "{place}: {error}");
        assert!(error.contains(&format!("in {place}: ")), "{error}");
        assert!(error.contains("name a directory that you can write to"), "{error}");
    }
    assert_eq!(fs::read(kept.path().join("file")).unwrap(), b"mine");
    let state = kept.path().join("state/state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.split_at(text.len() / 2).0).unwrap();
    let (code, _, error) = kept.verify(&[]);
    assert!(code == 2 && error.contains("state.json") && error.contains("remove the"), "{error}");
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    let (code, _, error) = kept.verify(&[]);
    assert!(code == 2 && error.contains("state.json") && error.contains("remove the"), "{error}");
}

#[test]
fn files_of_somebody_else_stay_and_those_of_a_killed_run_go() {
    let kept = Kept::new();
    let state = kept.path().join("state");
    fs::remove_file(state.join("state.json")).unwrap();
    // As a run left them that was killed: listed, and named by no state.
    fs::write(state.join("lock"), "1\n7\n5").unwrap();
    for name in ["ids-7", "ids-5", "ids-99", "ids-2", "notes"] {
        fs::write(state.join(name), "x").unwrap();
    }
    fs::write(state.join("ids-1"), "mine").unwrap();
    assert_eq!(kept.verify(&[]).0, 0);
    assert_eq!(
        kept.names(),
        ["ids-1", "ids-2", "ids-5", "ids-99", "lock", "notes", "state.json"],
        "ids-1 is written anew, ids-7 was listed; the last line is cut off"
    );
    assert_ne!(fs::read(state.join("ids-1")).unwrap(), b"mine");
    // The next number that is free is taken, not what is there.
    fs::remove_file(state.join("state.json")).unwrap();
    fs::write(state.join("lock"), "").unwrap();
    let first = fs::read(state.join("ids-1")).unwrap();
    assert_eq!(kept.verify(&[]).0, 0);
    assert_eq!(fs::read(state.join("ids-3")).unwrap(), first);
    assert_eq!(fs::read(state.join("ids-2")).unwrap(), b"x");
    assert_eq!(kept.verify(&[]).0, 0);
}

#[test]
fn a_state_is_gone_on_from_by_one_at_a_time() {
    let kept = Kept::new();
    let before = fs::read(kept.path().join("state/state.json")).unwrap();
    let lock = fs::File::open(kept.path().join("state/lock")).unwrap();
    lock.try_lock().unwrap();
    for name in ["verify", "replay"] {
        let (code, text, error) = kept.run(name, &["--any-age", "--resume", "state"]);
        assert_eq!((code, &*text), (2, ""), "{error}");
        assert!(error.contains("state in state is in use by another"), "{error}");
    }
    assert_eq!(fs::read(kept.path().join("state/state.json")).unwrap(), before);
    drop(lock);
    assert_eq!(kept.verify(&[]).0, 0);
}

#[test]
fn what_was_found_is_reported_where_the_state_cannot_be_kept() {
    let mut kept = Kept::new();
    fs::create_dir(kept.path().join("state/state.json.new")).unwrap();
    let (code, text, error) = kept.verify(&["--json"]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("could not be kept in state: "), "{error}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["verdict"], "proven");
    // A workspace that is not there is no reason to keep no state, and tampering all the same.
    fs::remove_file(kept.path().join("state/state.json")).unwrap();
    let keys = kept.trust.workspaces.values().next().unwrap().clone();
    let name = ledger::names::Workspace::new("nowhere").unwrap();
    kept.trust.workspaces.insert(name, keys);
    write_trust(kept.path(), &kept.trust);
    let (code, text, error) = kept.verify(&[]);
    assert!(code == 1 && text.starts_with("TAMPERED") && text.contains("T090"), "{code} {text}");
    assert!(error.contains("TAMPERED, but not all") && error.contains("could not be kept"));
    let (code, _, error) = kept.run("replay", &["--any-age", "--resume", "state"]);
    assert!(code == 1 && error.contains("could not be kept"), "{code} {error}");
}

#[test]
fn nothing_is_left_behind_where_there_is_nothing_to_keep() {
    let kept = Kept::new();
    fs::create_dir(kept.path().join("empty")).unwrap();
    for (archive, name) in
        [("nowhere", "verify"), ("nowhere", "replay"), ("empty", "verify"), ("empty", "replay")]
    {
        let mut command = std::process::Command::new(checks::bin_path::tally("tally-verify"));
        command.current_dir(kept.path()).env_clear();
        command.args([name, "--archive", archive, "--trust", "trust.toml", "--resume", "new"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{archive} {name}");
        assert!(!kept.path().join("new").exists(), "{archive} {name}");
    }
    // One that was there stays, whatever became of it.
    fs::create_dir(kept.path().join("old")).unwrap();
    assert_eq!(kept.run("verify", &["--any-age", "--resume", "old"]).0, 0);
    assert!(kept.path().join("old/state.json").exists());
}

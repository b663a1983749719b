//! What is said where something fails: the exit code that is left when nothing can be printed, errors that
//! name what is wrong and where, and the archive that a report is about.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use checks::bin_path::tally;
use checks::forge::golden_path;
use tempfile::TempDir;

use super::flipped;

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tally("tally-verify"));
    command.current_dir(directory).env_clear().args(arguments);
    command
}

fn said(output: Output) -> (i32, String) {
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

fn run(directory: &Path, arguments: &[&str]) -> (i32, String) {
    said(command(directory, arguments).output().unwrap())
}

/// A directory with the golden archive, one with a byte changed, and the trust file of both.
fn place() -> TempDir {
    let directory = TempDir::new().unwrap();
    let (broken, ..) = flipped();
    broken.store(&directory.path().join("broken")).unwrap();
    checks::forge::golden().0.store(&directory.path().join("archive")).unwrap();
    fs::copy(golden_path().join("trust.toml"), directory.path().join("trust.toml")).unwrap();
    directory
}

const BROKEN: [&str; 4] = ["--archive", "broken", "--trust", "trust.toml"];
const INTACT: [&str; 4] = ["--archive", "archive", "--trust", "trust.toml"];

#[test]
fn tampering_that_was_found_shows_in_the_exit_code_whatever_cannot_be_written() {
    let directory = place();
    let directory = directory.path();
    let prove = ["prove", "--workspace", "acme", "--seq", "70", "--out", "x.proof"];
    assert_eq!(run(directory, &[&prove[..], &INTACT].concat()).0, 0);
    let mut proof = fs::read(directory.join("x.proof")).unwrap();
    let at = proof.len() - 20;
    proof[at] ^= 1;
    fs::write(directory.join("bad.proof"), proof).unwrap();
    let prove = ["prove", "--workspace", "acme", "--seq", "1", "--out", "y.proof"];
    let cases = [
        [&["verify", "--any-age"][..], &BROKEN].concat(),
        [&["verify", "--any-age", "--json"][..], &BROKEN].concat(),
        [&["verify", "--any-age", "--html", "page"][..], &BROKEN].concat(),
        [&["replay", "--any-age"][..], &BROKEN].concat(),
        [&prove[..], &BROKEN].concat(),
        vec!["check", "bad.proof", "--trust", "trust.toml"],
        vec!["check", "bad.proof", "--trust", "trust.toml", "--json"],
    ];
    for arguments in &cases {
        let output = command(directory, arguments).stdout(full()).output().unwrap();
        let (code, text) = said(output);
        assert_eq!(code, 1, "{arguments:?}: {text}");
        let told = ["TAMPERED", "no proof was made", "nothing was replayed"];
        assert!(told.iter().any(|told| text.contains(told)), "{arguments:?}: {text}");
        let output = command(directory, arguments).stdout(full()).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let output = command(directory, arguments).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
    let output = command(directory, &cases[0]).stdout(full()).output().unwrap();
    let (_, text) = said(output);
    assert!(text.contains("TAMPERED, but not all that is to be said"), "{text}");
    // Proven, or short, is nothing without its report.
    for (age, whole) in [(&["--any-age"][..], 0), (&[], 4)] {
        let verify = [&["verify"][..], age, &INTACT].concat();
        assert_eq!(run(directory, &verify).0, whole);
        let output = command(directory, &verify).stdout(full()).output().unwrap();
        assert_eq!(said(output).0, 3, "{age:?}");
    }
    let check = ["check", "x.proof", "--trust", "trust.toml"];
    assert_eq!(said(command(directory, &check).stdout(full()).output().unwrap()).0, 3);
}

/// The same where no file may grow beyond a few hundred bytes, and what is over is an error.
fn cramped(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new("sh");
    command.current_dir(directory).env_clear();
    command.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"]);
    said(command.arg(tally("tally-verify")).args(arguments).output().unwrap())
}

#[test]
fn a_page_that_cannot_be_written_hides_no_verdict() {
    let directory = place();
    let directory = directory.path();
    let page = ["verify", "--any-age", "--html", "page"];
    let (code, text) = cramped(directory, &[&page[..], &BROKEN].concat());
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("TAMPERED: ") && text.contains("cannot write to page"), "{text}");
    assert!(text.contains("TAMPERED, but not all that is to be said"), "{text}");
    let (code, text) = cramped(directory, &[&page[..], &INTACT].concat());
    assert_eq!(code, 3, "{text}");
    assert!(text.starts_with("PROVEN: ") && text.contains("cannot write to page"), "{text}");
    // What is not whole has no name.
    let left = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("page")).collect();
    assert!(left.is_empty(), "{left:?}");
    // Of an archive that is broken no checkpoint is kept.
    fs::create_dir(directory.join("kept")).unwrap();
    let keep = ["verify", "--any-age", "--keep-checkpoint", "kept/checkpoint"];
    let (code, text) = run(directory, &[&keep[..], &INTACT].concat());
    assert_eq!(code, 0, "{text}");
    let kept = fs::read(directory.join("kept/checkpoint")).unwrap();
    let (code, text) = run(directory, &[&keep[..], &BROKEN].concat());
    assert_eq!(code, 1, "{text}");
    assert_eq!(fs::read(directory.join("kept/checkpoint")).unwrap(), kept, "that of before stays");
}

#[test]
fn a_replay_that_is_whole_is_whole_where_nobody_listens_to_its_last_word() {
    let directory = place();
    let directory = directory.path();
    let replay =
        [&["replay", "--any-age", "--out", "entries", "--position", "done"][..], &INTACT].concat();
    let output = command(directory, &replay).stderr(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(directory.join("done").exists());
    let (code, text) = run(directory, &[&["replay", "--any-age"][..], &INTACT].concat());
    let entries = fs::read_to_string(directory.join("entries")).unwrap();
    assert!(code == 0 && text.starts_with(&entries), "{code}");
}

#[test]
fn errors_do_not_steer_the_terminal() {
    let directory = place();
    let directory = directory.path();
    let odd = "x\u{1b}[2J\u{202e}y";
    fs::write(directory.join("odd.toml"), "origin = \"a\u{1b}[2J\"\nseal_keys = []\n").unwrap();
    for arguments in [
        vec!["verify", "--archive", odd, "--trust", "trust.toml"],
        vec!["verify", "--archive", "archive", "--trust", odd],
        vec!["verify", "--archive", "archive", "--trust", "odd.toml"],
        vec!["check", odd, "--trust", "trust.toml"],
        vec!["replay", "--archive", "s9://\u{1b}[2J\nPROVEN", "--trust", "trust.toml"],
    ] {
        let (code, text) = run(directory, &arguments);
        assert!(code >= 2 && text.starts_with("tally-verify: "), "{code} {text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(!text.contains("\nPROVEN"), "{text:?}");
    }
}

#[test]
fn a_wrong_trust_file_or_checkpoint_is_named_with_its_place() {
    let directory = place();
    let directory = directory.path();
    let trust = fs::read_to_string(directory.join("trust.toml")).unwrap();
    let verify = ["verify", "--any-age", "--archive", "archive", "--trust"];
    let seen = |size: u64, root: &str| {
        format!("[[seen]]\nsize = {size}\nroot = \"{root}\"\n\n[workspaces")
    };
    let with = |seen: String| trust.replacen("[workspaces", &seen, 1);
    let nothing = ledger::hash::Digest::of(b"").to_string();
    let other = ledger::hash::Digest::of(b"x").to_string();
    for (text, told) in [
        (format!("{trust}\nseal_keys = 7\n"), "line"),
        (trust.replacen("origin", "origins", 1), "origin"),
        (with(seen(0, &other)), "`seen.size` in the trust file: a log of size 0"),
        (with(seen(1, "ab")), "seen.root"),
    ] {
        fs::write(directory.join("wrong.toml"), text).unwrap();
        let (code, said) = run(directory, &[&verify[..], &["wrong.toml"]].concat());
        assert_eq!(code, 2, "{said}");
        assert!(said.starts_with("tally-verify: wrong.toml: ") && said.contains(told), "{said}");
    }
    fs::write(directory.join("right.toml"), with(seen(0, &nothing))).unwrap();
    assert_eq!(run(directory, &[&verify[..], &["right.toml"]].concat()).0, 0);
    for (file, told) in [("trust.toml", "no checkpoint"), ("absent", "cannot read")] {
        let (code, said) =
            run(directory, &[&verify[..], &["trust.toml", "--checkpoint", file]].concat());
        assert!(code == 2 && said.contains(&format!("the checkpoint {file}")), "{said}");
        assert!(said.contains(told) && !said.contains("in the trust file"), "{said}");
    }
}

#[test]
fn a_place_that_is_no_archive_is_told_from_one_that_is_not_there() {
    let directory = place();
    let directory = directory.path();
    std::os::unix::fs::symlink("loop", directory.join("loop")).unwrap();
    for (archive, told) in [
        ("absent", "there is no directory `absent`"),
        ("trust.toml", "`trust.toml` is no directory"),
        ("loop", "reading `loop`: "),
    ] {
        let verify = ["verify", "--any-age", "--trust", "trust.toml", "--archive", archive];
        let (code, said) = run(directory, &verify);
        assert!(code == 3 && said.contains(told), "{code} {said}");
    }
    // A directory that cannot be read is named itself: here, one whose path is too long.
    let name = "d".repeat(250);
    let deep = |top: &str| (0..12).fold(directory.join(top), |path, _| path.join(&name));
    fs::create_dir_all(deep("archive")).unwrap();
    fs::create_dir_all(deep("more")).unwrap();
    fs::rename(directory.join("more"), deep("archive").join("more")).unwrap();
    let (code, said) = run(directory, &[&["verify", "--any-age"][..], &INTACT].concat());
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("T110") && said.contains(&format!("reading `archive/{name}/")), "{said}");
}

#[test]
fn a_report_names_the_archive_as_it_was_given() {
    let directory = place();
    let directory = directory.path();
    fs::create_dir(directory.join("empty")).unwrap();
    let verify = |archive: &str, more: &[&str]| {
        let start = ["verify", "--any-age", "--trust", "trust.toml", "--archive", archive];
        run(directory, &[&start[..], more].concat())
    };
    let (code, text) = verify("empty", &["--html", "page"]);
    assert!(code == 3 && text.contains("\narchive     empty\n") && text.contains("T111"), "{text}");
    let page = fs::read_to_string(directory.join("page")).unwrap();
    assert!(page.contains("<th scope=\"row\">Archive</th><td>empty</td>"), "{page}");
    let (_, json) = verify("./archive", &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["archive"], "./archive");
    let prove = ["prove", "--workspace", "acme", "--seq", "1", "--out", "x.proof"];
    let empty = ["--archive", "empty", "--trust", "trust.toml"];
    let (code, text) = run(directory, &[&prove[..], &empty].concat());
    assert!(code == 3 && text.contains("T111") && text.contains("archive     empty\n"), "{text}");
}

#[test]
fn manual_pages_of_commands_have_a_version_and_exit_codes() {
    let directory = TempDir::new().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for command in ["verify", "prove", "check", "receipt", "replay", "explain", "man"] {
        let (code, page) = run(directory.path(), &["man", command]);
        assert_eq!(code, 0, "{page}");
        let title = page.lines().find(|line| line.starts_with(".TH")).unwrap();
        assert!(title.contains(version), "{title}");
        assert!(page.contains("Exit codes: 0 p") && page.contains("2 usage"), "{page}");
        let verdicts = !["explain", "man"].contains(&command);
        assert_eq!(page.contains("1 tampering"), verdicts, "{page}");
    }
}

#[test]
fn a_wrong_value_is_told_what_is_expected() {
    let directory = place();
    let verify = |more: &[&str]| {
        run(directory.path(), &[&["verify", "--any-age"][..], &INTACT, more].concat())
    };
    let zone = "it lacks its zone";
    for (value, expected) in [
        (verify(&["--min-kept-days", "abc"]), "a whole number of days like 184 is expected"),
        (verify(&["--min-kept-days", "-1"]), "unexpected argument"),
        (verify(&["--since", "2026-11-23T16:00:00"]), zone),
        (verify(&["--until", "2026-11-23T16:00:00.5"]), zone),
        (verify(&["--since", "2026-11-23"]), "2026-11-23T17:00:00+01:00 is expected"),
        (run(directory.path(), &["explain", "T51"]), "`tally-verify explain T051`"),
        (run(directory.path(), &["explain", "51"]), "ids have three digits"),
        (run(directory.path(), &["explain", "T0051"]), "`tally-verify explain T051`"),
        (
            run(directory.path(), &[&["replay", "--type", ""][..], &INTACT].concat()),
            "an event type like llm_call is expected",
        ),
    ] {
        let (code, said) = value;
        assert!(code == 2 && said.contains(expected), "{expected}: {said}");
    }
    let (_, said) = verify(&["--since", "2026-11-23"]);
    assert!(!said.contains(zone), "{said}");
}

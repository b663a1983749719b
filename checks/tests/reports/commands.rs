//! The commands as users run them, wrong use too.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use checks::bin_path::tally;
use checks::forge::{golden, golden_path};
use ledger::verify::Check;
use tempfile::TempDir;

use super::flipped;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(tally("tally-verify"));
    command.env_clear().args(arguments);
    command
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    said(command(arguments).output().unwrap())
}

/// Verifies an archive of this directory with the golden trust file.
fn verify(directory: &Path, more: &[&str]) -> (i32, String, String) {
    let trust = golden_path().join("trust.toml");
    let mut command = command(&["verify", "--any-age", "--archive", "archive", "--trust"]);
    said(command.arg(trust).args(more).current_dir(directory).output().unwrap())
}

#[test]
fn explain_prints_pages_and_lists_all() {
    let (code, list, errors) = run(&["explain"]);
    assert_eq!((code, &*errors), (0, ""));
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), Check::ALL.len());
    for (line, check) in lines.iter().zip(Check::ALL) {
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(words, [check.id(), check.severity().as_str()]);
        assert!(line.ends_with(check.title()), "{line}");
    }
    let (code, pages, _) = run(&["explain", "t051", "T122"]);
    assert_eq!(code, 0);
    assert_eq!(pages.lines().filter(|line| line.starts_with("# ")).count(), 2);
    assert!(pages.starts_with("# T051: an object does not have the size"), "{pages}");
    assert!(pages.contains("\n# T122: the trust file does not name"), "{pages}");
}

#[test]
fn an_unknown_id_is_a_wrong_command_line_that_names_the_nearest() {
    for (id, nearest) in [("T050x", None), ("T018", Some("T017")), ("", None)] {
        let (code, page, errors) = run(&["explain", "T001", id]);
        assert_eq!((code, &*page), (2, ""), "{id}: nothing is printed before an error");
        assert!(errors.contains(&format!("no check `{id}`")), "{errors}");
        assert_eq!(errors.contains("the nearest is"), nearest.is_some(), "{errors}");
        assert!(errors.contains(nearest.unwrap_or("`tally-verify explain` lists")), "{errors}");
    }
    let (code, _, errors) = run(&["explain", "T\u{1b}[2J"]);
    assert!(code == 2 && !errors.contains('\u{1b}'), "{errors:?}");
}

#[test]
fn the_text_names_once_how_to_read_on() {
    let directory = TempDir::new().unwrap();
    let (archive, _, _) = flipped();
    archive.store(&directory.path().join("archive")).unwrap();
    let (code, text, _) = verify(directory.path(), &[]);
    assert_eq!(code, 1);
    let hints: Vec<_> = text.lines().filter(|line| line.contains("tally-verify explain")).collect();
    let hint = "  what they mean, and what to do: tally-verify explain T051 T112 T122";
    assert_eq!(hints, [hint], "{text}");
    // What it names can be run.
    let ids: Vec<_> = hint.split("tally-verify ").last().unwrap().split(' ').collect();
    assert_eq!(run(&ids).0, 0);
}

#[test]
fn html_is_written_beside_the_report_and_the_same_each_time() {
    let (archive, _) = golden();
    let mut pages = Vec::new();
    for _ in 0..2 {
        let directory = TempDir::new().unwrap();
        let directory = directory.path();
        archive.store(&directory.join("archive")).unwrap();
        let (code, text, errors) = verify(directory, &["--html", "report.html"]);
        assert!(code == 0 && text.starts_with("PROVEN") && errors.is_empty(), "{text}{errors}");
        let (_, json, _) = verify(directory, &["--json", "--html", "again.html"]);
        assert!(json.starts_with("{\n  \"format\": \"tallystick/report/v1\""), "{json}");
        for name in ["report.html", "again.html"] {
            let page = fs::read_to_string(directory.join(name)).unwrap();
            assert!(!page.contains(&*directory.to_string_lossy()), "a path of this machine");
            assert!(!directory.join(format!("{name}.new")).exists());
            pages.push(page);
        }
    }
    assert!(pages[0].contains("<strong>PROVEN</strong>"));
    assert!(pages.iter().all(|page| *page == pages[0]));
}

#[test]
fn where_html_cannot_be_written_is_said_before_anything_is_read() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    fs::create_dir(directory.join("taken")).unwrap();
    // There is no archive: if it was looked for first, that would be said (exit 3).
    for file in ["no/such/report.html", "taken", ".."] {
        let (code, text, errors) = verify(directory, &["--html", file]);
        assert_eq!((code, &*text), (2, ""), "{file}: {errors}");
        assert!(errors.contains(file) && errors.contains("cannot write to"), "{errors}");
    }
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn a_reader_who_stops_early_has_read_enough_but_a_report_must_arrive() {
    for arguments in [&["explain"][..], &["man", "verify"], &["completions", "bash"]] {
        let mut child = command(arguments);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!((child.wait().unwrap().code(), &*errors), (Some(0), ""), "{arguments:?}");
    }
    let golden = golden_path();
    for json in [&[][..], &["--json"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut verify = command(&["verify", "--any-age", "--archive"]);
        verify.arg(golden.join("archive")).arg("--trust").arg(golden.join("trust.toml"));
        let (code, _, errors) = said(verify.args(json).stdout(full).output().unwrap());
        assert!(code == 3 && errors.contains("cannot write the report"), "{code} {errors}");
    }
}

#[test]
fn manual_and_completions_name_every_command_and_option() {
    let mut root = verifier::cli::command();
    root.build();
    let (code, page, _) = run(&["man"]);
    assert!(code == 0 && page.contains(".TH tally-verify 1"), "{page}");
    let (code, bash, _) = run(&["completions", "bash"]);
    assert_eq!(code, 0);
    for sub in root.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = sub.get_name();
        assert!(page.contains(&format!("tally\\-verify\\-{name}(1)")), "{name}: {page}");
        assert!(bash.contains(name), "{name}");
        let (code, own, _) = run(&["man", name]);
        assert_eq!(code, 0, "{name}");
        for option in sub.get_arguments().filter_map(|arg| arg.get_long()) {
            let shown = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(own.contains(&shown), "{name}: {option} is not in {own}");
            assert!(bash.contains(&format!("--{option}")), "{name}: {option}");
        }
    }
    let (code, _, errors) = run(&["man", "nope"]);
    assert!(code == 2 && errors.contains("`nope`"), "{errors}");
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let (code, script, _) = run(&["completions", shell]);
        assert!(code == 0 && script.contains("explain"), "{shell}");
    }
    assert_eq!(run(&["completions", "dash"]).0, 2);
}

//! House style as a test, over every file of the project.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use ledger::verify::Check;

/// No source file is longer.
const LINES_MAX: usize = 500;

/// But these, which were when the rule was made. Their numbers come down, and never go up.
const LONGER: [(&str, usize); 0] = [];

/// Directories that hold no text of ours.
const SKIPPED: [&str; 5] = ["target", ".git", "corpus", "node_modules", "artifacts"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The files below a directory with one of these endings.
fn files(directory: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort_unstable();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && !path.is_symlink() && !SKIPPED.contains(&&*name) {
            files(&path, endings, found);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// Name and text of each file of the project with one of these endings.
fn texts(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(root(), endings, &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn sources() -> Vec<(String, String)> {
    let sources = texts(&[".rs"]);
    assert!(sources.len() > 40, "{} sources are too few to be all", sources.len());
    sources
}

/// Each line that holds one of these texts, as `file:line`.
fn lines_with(files: &[(String, String)], needles: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in files {
        for (at, line) in text.lines().enumerate() {
            if let Some(needle) = needles.iter().find(|needle| line.contains(*needle)) {
                found.push(format!("{name}:{}: `{needle}`", at + 1));
            }
        }
    }
    found
}

/// This file must not hold what it looks for.
fn joined(parts: &[(&str, &str)]) -> Vec<String> {
    parts.iter().map(|(head, tail)| format!("{head}{tail}")).collect()
}

#[test]
fn no_source_file_is_too_long() {
    let max = |name: &str| {
        LONGER.iter().find(|(longer, _)| *longer == name).map_or(LINES_MAX, |(_, lines)| *lines)
    };
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(name, text)| (text.lines().count(), name))
        .filter(|(lines, name)| *lines > max(name))
        .collect();
    assert!(long.is_empty(), "split these files by noun: {long:?}");
}

#[test]
fn nothing_is_left_undone_or_hushed_up() {
    let needles = joined(&[
        ("todo", "!("),
        ("unimplemented", "!("),
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X"),
        ("#[al", "low("),
        ("#![al", "low("),
        ("#[ig", "nore"),
    ]);
    let found = lines_with(&sources(), &needles);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_file_names_a_place_on_someones_machine() {
    let needles = joined(&[("/ho", "me/"), ("/Use", "rs/"), ("/wo", "rk/"), ("C:", "\\\\")]);
    let files = texts(&[".rs", ".md", ".toml", ".py", ".sh", ".sql", "Makefile"]);
    let found = lines_with(&files, &needles);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_crate_says_what_is_here_and_what_is_not() {
    for (name, text) in sources().iter().filter(|(name, _)| name.ends_with("src/lib.rs")) {
        let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        assert!(head.contains("Here") && head.contains("Not here"), "{name}: {head}");
    }
}

#[test]
fn every_check_is_explained_for_auditors() {
    let findings = fs::read_to_string(root().join("docs/spec/findings.md")).unwrap();
    for check in Check::ALL {
        let (id, severity) = (check.id(), check.severity().as_str());
        let line = findings.lines().find(|line| line.starts_with(&format!("| {id} |")));
        let line = line.unwrap_or_else(|| panic!("docs/spec/findings.md does not explain {id}"));
        for part in [severity, check.title()] {
            assert!(line.contains(part), "{id} is of another severity or title: {line}");
        }
    }
    let explained = findings.lines().filter(|line| line.starts_with("| T")).count();
    assert_eq!(explained, Check::ALL.len(), "docs/spec/findings.md explains a check twice or more");
}

/// Each decision keeps its log: it ends in a table whose last row starts with a date.
#[test]
fn every_decision_ends_in_a_dated_table() {
    let decisions =
        texts(&[".md"]).into_iter().filter(|(name, _)| name.starts_with("docs/decisions/"));
    for (name, text) in decisions.filter(|(name, _)| !name.ends_with("README.md")) {
        let last = text.trim_end().lines().last().unwrap_or_default();
        let date: Vec<_> = last.trim_start_matches("| ").chars().take(10).collect();
        let dated = last.starts_with("| ")
            && date.len() == 10
            && date.iter().enumerate().all(|(at, c)| match at {
                4 | 7 => *c == '-',
                _ => c.is_ascii_digit(),
            });
        assert!(dated, "{name} should end in a table row `| YYYY-MM-DD | ... |`, not `{last}`");
    }
}

//! One page for each check, which says what the code says.

use std::collections::BTreeSet;
use std::fs;

use ledger::verify::{Check, Severity};
use verifier::explain;

use super::docs;

#[test]
fn every_check_has_a_page_of_its_own_title_and_severity() {
    for check in Check::ALL {
        let (id, severity) = (check.id(), check.severity().as_str());
        let page = explain::page(*check);
        let page = page.unwrap_or_else(|| panic!("docs/checks/{id}.md is to be written"));
        let code = match check.severity() {
            Severity::Tampering => 1,
            Severity::Unfinished => 3,
            Severity::Policy => 4,
            Severity::Notice => 0,
        };
        let head =
            format!("# {id}: {}\n\nSeverity: {severity} (exit code {code})\n\n## ", check.title());
        assert!(page.starts_with(&head), "{id} is to start with {head}");
        let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, explain::SECTIONS, "{id}");
        for heading in explain::SECTIONS {
            let text = explain::section(*check, heading);
            assert!(text.len() > 4 && !text.contains('#'), "{id}, {heading}: `{text}`");
        }
    }
}

#[test]
fn pages_files_and_the_table_of_findings_name_the_same_checks() {
    let all: Vec<_> = Check::ALL.iter().map(|check| check.id()).collect();
    assert_eq!(explain::ids().collect::<Vec<_>>(), all);
    let files: BTreeSet<_> = fs::read_dir(docs().join("checks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let wanted: BTreeSet<_> = all.iter().map(|id| format!("{id}.md")).collect();
    assert_eq!(files, wanted);
    let findings = fs::read_to_string(docs().join("spec/findings.md")).unwrap();
    let rows = findings.lines().filter_map(|line| line.strip_prefix("| T"));
    let ids: Vec<_> = rows.map(|row| format!("T{}", &row[..3])).collect();
    assert_eq!(ids, all);
}

#[test]
fn what_pages_refer_to_is_there() {
    let ids: BTreeSet<_> = explain::ids().collect();
    let mut options = BTreeSet::new();
    let command = verifier::cli::command();
    for command in command.get_subcommands() {
        options.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned));
    }
    for check in Check::ALL {
        let page = explain::page(*check).unwrap();
        let words = page.split(|c: char| !(c.is_ascii_alphanumeric() || "-./_".contains(c)));
        for word in words.map(|word| word.trim_end_matches('.')) {
            let digits = word.strip_prefix('T').filter(|digits| digits.len() == 3);
            if digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
                assert!(ids.contains(word), "{}: there is no {word}", check.id());
            }
            if let Some(option) = word.strip_prefix("--") {
                assert!(options.contains(option), "{}: no option --{option}", check.id());
            }
            if let Some(file) = word.strip_prefix("docs/") {
                assert!(docs().join(file).exists(), "{}: no file {word}", check.id());
            }
        }
    }
}

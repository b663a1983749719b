//! `tally-must-reject`: writes the must-reject corpus, and its index.
//!
//! The cases are the lies that `ledger/tests/audit` tells the pure audit, each with every finding that it must
//! lead to. Here their chunks are real Parquet files, so that any verifier can be tried on them.
#![cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "of these modules, only the cases are used here")
)]
#![cfg_attr(test, expect(clippy::panic, reason = "their tests are built with this program's"))]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "modules of a test suite: a forge that cannot forge makes no corpus"
)]

#[path = "../../../ledger/tests/audit/driver.rs"]
mod driver;
#[path = "../../../ledger/tests/audit/erasure.rs"]
mod erasure;
#[path = "../../../ledger/tests/audit/forge.rs"]
mod forge;
#[path = "../../../ledger/tests/audit/lies.rs"]
mod lies;
#[path = "../../../ledger/tests/audit/log_lies.rs"]
mod log_lies;
#[path = "../../../ledger/tests/audit/plan.rs"]
mod plan;
#[path = "../../../ledger/tests/audit/prune.rs"]
mod prune;
#[path = "../../../ledger/tests/audit/rollup.rs"]
mod rollup;
#[path = "../../../ledger/tests/audit/rollup_lies.rs"]
mod rollup_lies;
#[path = "../../../ledger/tests/audit/row_lies.rs"]
mod row_lies;
#[path = "../../../ledger/tests/audit/seal_lies.rs"]
mod seal_lies;
#[path = "../../../ledger/tests/audit/store_lies.rs"]
mod store_lies;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use checks::corpus::{self, Case};
use checks::rig::Failure;
use ledger::names::Workspace;
use ledger::verify::{Check, Policy, Severity};

use crate::forge::{Lie, Row, build_with};

fn encode(workspace: &Workspace, rows: &[Row]) -> Vec<u8> {
    verifier::rows::write(&plan::origin(), workspace, rows).unwrap()
}

/// Cases of which a directory of real files shows something else than the pure audit is told, and why.
const OTHERWISE: [(&str, &[&str]); 2] = [
    // The reader of Parquet compares the number of rows before it decodes any.
    ("a row is missing at the end", &["T060 events/acme/16/01-05.parquet", "T112 acme"]),
    ("a row is missing in between", &["T060 events/acme/16/01-05.parquet", "T112 acme"]),
];

/// Cases that are no archive in a directory, and why.
const NOT_HERE: [(&str, &str); 1] = [(
    "a succession by a key that was stolen, says the log, and the auditor has no other",
    "its cut-off is that of a log with objects of another form; see checks/tests/seal/keys.rs",
)];

/// The directory of a case: its number and its name in small letters.
fn directory(number: usize, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let words: Vec<_> = name.split('-').filter(|word| !word.is_empty()).take(8).collect();
    format!("{number:03}-{}", words.join("-"))
}

fn severity(finding: &str) -> Option<Severity> {
    let id = finding.split(' ').next().unwrap_or_default();
    Check::ALL.iter().find(|check| check.id() == id).map(|check| check.severity())
}

/// What the gravest of these findings exits with.
fn exit_code(findings: &[&str]) -> u8 {
    match findings.iter().filter_map(|finding| severity(finding)).max() {
        Some(Severity::Tampering) => 1,
        Some(Severity::Unfinished) => 3,
        Some(Severity::Policy) => 4,
        Some(Severity::Notice) | None => 0,
    }
}

/// Every lie that an archive can tell by its objects.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for lie in lies::all() {
        let (mut trust, mut policy) = (plan::trust(), Policy::default());
        match &lie.lie {
            Lie::Auditor(change) => change(&mut trust, &mut policy),
            Lie::Seals(_, change) => change(&mut trust),
            _ => {}
        }
        let archive = build_with(plan::honest(), &lie.lie, encode);
        // That a store does not answer cannot lie in a directory.
        if !archive.unreadable.is_empty() || NOT_HERE.iter().any(|(name, _)| *name == lie.name) {
            continue;
        }
        // A trust file that pins a workspace names a key.
        let unnamed = trust.workspaces.values_mut().filter(|keys| keys.is_empty());
        unnamed.for_each(|keys| keys.push(plan::key(9).public()));
        let otherwise = OTHERWISE.iter().find(|(name, _)| *name == lie.name);
        let findings = otherwise.map_or(lie.findings, |(_, findings)| findings);
        cases.push(Case {
            directory: directory(cases.len() + 1, lie.name),
            name: lie.name.to_owned(),
            findings: findings.iter().map(|finding| (*finding).to_owned()).collect(),
            exit_code: exit_code(findings),
            arguments: corpus::arguments(&policy),
            trust: corpus::trust_file(&trust),
            objects: archive.objects,
        });
    }
    cases
}

/// Every lie about a rollup that leads to more than a notice.
fn rollup_cases(before: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, lie, store, findings) in rollup_lies::cases() {
        let mut findings = findings.to_vec();
        findings.retain(|finding| severity(finding) != Some(Severity::Notice));
        if findings.is_empty() {
            continue;
        }
        let mut plan = rollup::restated();
        lie(&mut plan);
        let mut archive = build_with(plan, &Lie::Store(|_| {}), encode);
        store(&mut archive);
        cases.push(Case {
            directory: directory(before + cases.len() + 1, name),
            name: name.to_owned(),
            findings: findings.iter().map(|finding| (*finding).to_owned()).collect(),
            exit_code: exit_code(&findings),
            arguments: corpus::arguments(&rollup::policy()),
            trust: corpus::trust_file(&plan::trust()),
            objects: archive.objects,
        });
    }
    cases
}

/// The acts of `docs/THREATS.md` that a check catches, by what stands there.
fn acts(threats: &str, id: &str) -> Vec<String> {
    let caught = |line: &&str| {
        line.starts_with("| **A") && line.split('|').nth(2).is_some_and(|by| by.contains(id))
    };
    let act = |line: &str| line.split("**").nth(1).unwrap_or_default().to_owned();
    threats.lines().filter(caught).map(act).collect()
}

fn index(cases: &[Case], threats: &str) -> String {
    let mut text = "# The must-reject corpus\n\n\
        Archives that cheat, made from one good ledger by whoever holds the seal key, and whoever only the store. Each lies in \
        `checks/must-reject/corpus.tar.zst` as\na directory: `archive/`, the auditor's `trust.toml`, and `case.toml` with the \
        arguments, the exit code and every finding but notices, in\nthe report's order. A verifier that says less lets somebody \
        cheat; one that says more cries wolf.\n\n    \
        tar --use-compress-program='zstd -d --long=26' -xf checks/must-reject/corpus.tar.zst -C DIRECTORY\n\n\
        Made by `make must-reject`, this page too; a test fails where they are not what is made now. Acts are those of \
        [THREATS.md](THREATS.md),\nby the first check found that is named there; findings are written as id and place, shortened.\n\n\
        | case | acts | found |\n|---|---|---|\n"
        .to_owned();
    for case in cases {
        let ids = case.findings.iter().filter_map(|finding| finding.split(' ').next());
        let acts = ids.map(|id| acts(threats, id)).find(|acts| !acts.is_empty());
        let acts = acts.unwrap_or_default().join(" ");
        let found = match case.findings.as_slice() {
            [] => "nothing: it is in order".to_owned(),
            findings => findings.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(", "),
        };
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "| {} {} | {acts} | {found} |", case.directory.split_at(3).0, case.name);
    }
    text
}

fn main() -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut arguments = std::env::args_os().skip(1);
    let into = arguments.next().map_or_else(|| root.clone(), Into::into);
    let threats = std::fs::read_to_string(root.join("docs/THREATS.md"))?;
    let mut cases = cases();
    cases.extend(rollup_cases(cases.len()));
    let names: BTreeSet<_> = cases.iter().map(|case| &case.directory).collect();
    if names.len() != cases.len() {
        return Err("two cases have one directory".into());
    }
    std::fs::create_dir_all(into.join("checks/must-reject"))?;
    std::fs::create_dir_all(into.join("docs"))?;
    let corpus = corpus::compress(&corpus::tar(&cases)?)?;
    std::fs::write(into.join("checks/must-reject/corpus.tar.zst"), corpus)?;
    std::fs::write(into.join("docs/must-reject.md"), index(&cases, &threats))?;
    Ok(())
}

//! The must-reject corpus: it is what the generator makes, and the real verifier says of each case exactly what it
//! has to say; so does the second one, as far as it tells findings apart.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use checks::bin_path::tally;
use checks::corpus;
use ledger::verify::{Check, Severity};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    exit_code: i32,
    arguments: Vec<String>,
    findings: Vec<String>,
}

/// The corpus, unpacked; and its cases, by their directories.
fn unpacked(directory: &Path) -> Vec<(PathBuf, Case)> {
    let tar = corpus::decompress(&fs::read(corpus::path()).unwrap()).unwrap();
    let file = directory.join("corpus.tar");
    fs::write(&file, tar).unwrap();
    let done = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(directory).status();
    assert!(done.unwrap().success(), "tar reads what we write");
    fs::remove_file(file).unwrap();
    let mut places: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    places.sort();
    let case = |place: PathBuf| {
        let text = fs::read_to_string(place.join("case.toml")).unwrap();
        (place, toml::from_str(&text).unwrap())
    };
    places.into_iter().map(case).collect()
}

/// A finding in one line: its id and its place, as shortly as it can be said.
fn line(finding: &Value) -> String {
    let text = |name: &str| finding[name].as_str();
    let number = |name: &str| finding[name].as_u64();
    let short = |key: &str| {
        // What a rollup holds is in its key, by a digest.
        let digest = key.rsplit_once('-').and_then(|(_, rest)| rest.split_once('.'));
        let digest = digest.filter(|(digest, _)| key.starts_with("rollups/") && digest.len() == 16);
        let key =
            digest.map_or(key.to_owned(), |(digest, _)| key.replace(&format!("-{digest}"), ""));
        let key = key.replace("date=2026-11-23/", "").replace("workspace=", "");
        key.replace("hour=", "").replace("000000000000000000", "")
    };
    let mut words = vec![text("id").unwrap().to_owned()];
    words.extend(number("log_index").map(|index| format!("leaf={index}")));
    words.extend(text("object").map(short));
    if text("object").is_none() {
        words.extend(text("workspace").map(ToOwned::to_owned));
        words
            .extend(text("hour").map(|hour| format!("hour={}", hour.split_at(11).1.split_at(2).0)));
    }
    words.extend(number("seq").map(|seq| format!("seq={seq}")));
    words.extend(text("column").map(ToOwned::to_owned));
    words.join(" ")
}

#[test]
fn every_case_is_rejected_for_its_reason_at_its_place() {
    let directory = TempDir::new().unwrap();
    let cases = unpacked(directory.path());
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut wrong = Vec::new();
    let mut reached = BTreeSet::new();
    for (place, case) in &cases {
        let output = Command::new(tally("tally-verify"))
            .current_dir(place)
            .env_clear()
            .args(["verify", "--json", "--archive", "archive", "--trust", "trust.toml"])
            .args(&case.arguments)
            .output()
            .unwrap();
        let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
            wrong.push(format!("{}: {}", case.name, String::from_utf8_lossy(&output.stderr)));
            continue;
        };
        let findings = report["findings"].as_array().unwrap();
        let grave = findings.iter().filter(|finding| finding["severity"] != "notice");
        let found: Vec<_> = grave.map(line).collect();
        reached.extend(findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()));
        if (output.status.code(), &found) != (Some(case.exit_code), &case.findings) {
            let code = output.status.code();
            wrong.push(format!(
                "{}: exits {code:?}, {found:#?}, not {:#?}",
                case.name, case.findings
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What no archive can show alone, and what a directory cannot do, has tests of its own.
    let elsewhere = [
        "T016", "T017", "T052", "T105", "T108", "T110", "T118", "T130", "T131", "T132", "T135",
        "T136", "T146", "T147", "T148",
    ];
    let missed: Vec<_> = Check::ALL
        .iter()
        .filter(|check| check.severity() != Severity::Notice)
        .map(|check| check.id())
        .filter(|id| !reached.contains(*id) && !elsewhere.contains(id))
        .collect();
    assert_eq!(missed, [""; 0]);
}

/// What goes with a shard too: the scope, not what is asked of the whole.
fn of_shards(case: &Case) -> Vec<&String> {
    let scope = case.arguments.iter().position(|argument| argument == "--workspace");
    scope.map_or_else(Vec::new, |at| case.arguments.iter().skip(at).take(2).collect())
}

#[test]
fn by_parts_the_same_is_found() {
    let directory = TempDir::new().unwrap();
    let mut wrong = Vec::new();
    for (place, case) in &unpacked(directory.path()) {
        let verify = |more: &[&str], arguments: &[&String]| {
            let mut command = Command::new(tally("tally-verify"));
            command.current_dir(place).env_clear();
            command.args(["verify", "--archive", "archive", "--trust", "trust.toml"]).args(more);
            command.args(arguments).output().unwrap()
        };
        let arguments: Vec<_> = case.arguments.iter().collect();
        let whole = verify(&["--json"], &arguments);
        let mut worst = 0;
        for shard in ["1/2", "2/2"] {
            let part = shard.replace('/', "-");
            let done = verify(&["--shard", shard, "--keep-part", &part], &of_shards(case));
            worst = worst.max(i32::from(done.status.code() == Some(1)));
        }
        let parts = ["--json", "--part", "1-2", "--part", "2-2"];
        let together = verify(&parts, &arguments);
        let report = |bytes: &[u8]| {
            let mut report: Value = serde_json::from_slice(bytes).unwrap();
            let inputs = report["inputs"].as_array_mut().unwrap();
            inputs.retain(|input| !input["name"].as_str().unwrap().starts_with("part "));
            report
        };
        let same = together.status.code() == whole.status.code()
            && report(&together.stdout) == report(&whole.stdout);
        // A shard that finds tampering says so, and none says so of an archive that has none.
        if !same || worst > i32::from(case.exit_code == 1) {
            wrong.push(case.name.clone());
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_second_verifier_rejects_the_same() {
    let directory = TempDir::new().unwrap();
    let cases = unpacked(directory.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("second/corpus.py");
    let python = checks::tools::tool("venv/bin/python").unwrap();
    let output = Command::new(python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<(String, String)> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said.len(), cases.len());
    let mut wrong = Vec::new();
    for ((place, case), (at, said)) in cases.iter().zip(&said) {
        assert!(place.ends_with(at));
        // It knows no workspace that is asked for, and stops at whatever it cannot follow.
        let broken = said.contains(": ");
        let asked = case.arguments.iter().any(|argument| argument == "--workspace");
        if !asked && broken != [1, 3].contains(&case.exit_code) {
            wrong.push(format!("{at} ({}): {said}, not {:?}", case.name, case.findings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_corpus_and_its_index_are_what_the_generator_makes() {
    let directory = TempDir::new().unwrap();
    let made = Command::new(tally("tally-must-reject")).arg(directory.path()).status().unwrap();
    assert!(made.success());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let again = "the generator makes something else now: run make must-reject";
    let tar = |path: PathBuf| corpus::decompress(&fs::read(path).unwrap()).unwrap();
    let made = directory.path().join("checks/must-reject/corpus.tar.zst");
    assert!(tar(made) == tar(corpus::path()), "{again}");
    let index = |root: &Path| fs::read_to_string(root.join("docs/must-reject.md")).unwrap();
    assert_eq!(index(directory.path()), index(&root), "{again}");
}

//! The verifier on the golden archive of the spec, which another implementation made: as a library,
//! and as the program that an auditor runs.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use checks::bin_path::tally;
use checks::forge::{COLUMNS, golden, golden_path};
use ledger::names::Origin;
use ledger::note::VerifierKey;
use ledger::verify::{Check, Policy, Verdict};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::{Value, json};

/// The agent key that counted 1 and 3.
const SKIPPED: &str = "ed25519:9iPccJeaFfchkBh360mG1p7Bg4s";

fn verify(archive: &Path, trust: &Path) -> Command {
    let mut command = Command::new(tally("tally-verify"));
    command.arg("verify").arg("--archive").arg(archive).arg("--trust").arg(trust);
    command.arg("--any-age");
    command
}

fn verify_golden() -> Command {
    verify(&golden_path().join("archive"), &golden_path().join("trust.toml"))
}

/// The report as JSON, of a run that ends with this exit code.
fn report(mut command: Command, code: i32) -> Value {
    let output = command.arg("--json").assert().code(code).get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(report["exit_code"], code);
    report
}

fn findings<'r>(report: &'r Value, id: &str) -> Vec<&'r Value> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == id).collect()
}

/// The golden trust file with one text replaced by another.
fn trust_with(directory: &tempfile::TempDir, from: &str, to: &str) -> PathBuf {
    let trust = std::fs::read_to_string(golden_path().join("trust.toml")).unwrap();
    assert!(trust.contains(from), "the golden trust file names {from}");
    let path = directory.path().join("trust.toml");
    std::fs::write(&path, trust.replace(from, to)).unwrap();
    path
}

#[test]
fn the_library_proves_it_and_notices_what_is_marked() {
    let (archive, trust) = golden();
    let report = verifier::audit::verify(&archive, trust, Policy::default(), &());
    assert_eq!(report.verdict, Verdict::Proven, "{:#?}", report.findings);
    assert_eq!((report.chunks, report.events, report.log_size), (4, 73, 7));
    let (first, last) = report.hours.unwrap();
    assert_eq!(first.until(last) + 1, 3, "three hour notes");
    let checks: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, [Check::CounterMissing, Check::Custodian, Check::Unpinned]);
}

#[test]
fn the_program_proves_it_and_notices_what_is_marked() {
    let report = report(verify_golden(), 0);
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["origin"], "ledger.example.com/golden");
    assert_eq!((&report["chunks"], &report["log_size"]), (&json!(4), &json!(7)));
    let hours = json!({"first": "2026-11-23T14:00:00Z", "last": "2026-11-23T16:00:00Z"});
    assert_eq!(report["hours"], hours);
    let [acme, beta] = report["workspaces"].as_array().unwrap().as_slice() else {
        panic!("two workspaces")
    };
    assert_eq!((&acme["workspace"], &acme["events"]), (&json!("acme"), &json!(70)));
    assert_eq!((&beta["workspace"], &beta["events"]), (&json!("beta"), &json!(3)));
    assert_eq!((&acme["pinned"], &beta["pinned"]), (&json!(true), &json!(false)));
    assert_eq!(acme["custodian_events"], 1);
    let missing = &acme["missing_counters"];
    assert_eq!(missing.as_array().unwrap().len(), 1);
    assert!(missing[0]["key"].as_str().unwrap().starts_with(SKIPPED), "{missing}");
    assert_eq!(missing[0]["ranges"], json!([[2, 2]]));

    let [counter] = findings(&report, "T120")[..] else { panic!("one missing counter") };
    assert_eq!(counter["workspace"], "acme");
    let detail = counter["detail"].as_str().unwrap();
    assert!(detail.starts_with(SKIPPED) && detail.ends_with("never recorded: 2"), "{detail}");
    let [custodian] = findings(&report, "T121")[..] else { panic!("one custodian") };
    assert_eq!(
        (&custodian["workspace"], &custodian["detail"]),
        (&json!("acme"), &json!("1 events"))
    );
    let [unpinned] = findings(&report, "T122")[..] else { panic!("one unpinned workspace") };
    assert_eq!(unpinned["workspace"], "beta");
    assert_eq!(report["findings"].as_array().unwrap().len(), 3);
}

#[test]
fn the_text_report_says_the_same() {
    let output = verify_golden().assert().code(0).get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    for line in ["PROVEN", "73 events in 4 chunks", "T120 notice", "T121 notice", "T122 notice"] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn one_workspace_can_be_verified_alone() {
    let mut command = verify_golden();
    command.args(["--workspace", "acme"]);
    let report = report(command, 0);
    assert_eq!(report["scope"], "acme");
    assert_eq!((&report["chunks"], &report["events"]), (&json!(3), &json!(70)));
    assert_eq!(report["log_size"], 7, "the log is walked whole");
    assert_eq!(report["workspaces"].as_array().unwrap().len(), 1);

    let mut command = verify_golden();
    command.args(["--workspace", "gamma"]);
    let report = self::report(command, 1);
    assert_eq!(findings(&report, "T090")[0]["workspace"], "gamma");
}

#[test]
fn the_same_inputs_give_the_same_report() {
    let run = || verify_golden().arg("--json").assert().code(0).get_output().stdout.clone();
    assert_eq!(run(), run());
}

#[test]
fn a_foreign_key_or_origin_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    // Another key of the golden vectors: the receipt key, under the name of a seal key.
    let origin = Origin::new("ledger.example.com/golden").unwrap();
    let seal = golden().1.seal_keys[0].to_string();
    let other = golden().1.receipt_keys[0].public().to_owned();
    let other = VerifierKey::seal(&origin, other).to_string();
    let trust = trust_with(&directory, &seal, &other);
    let report = report(verify(&golden_path().join("archive"), &trust), 1);
    assert_eq!(findings(&report, "T003")[0]["object"], "log/checkpoint");
    assert_eq!(findings(&report, "T010").len(), 7, "no leaf is signed by that key");

    let origin = "ledger.example.com/other";
    let name = Origin::new(origin).unwrap();
    let key = golden().1.seal_keys[0].public().to_owned();
    let text =
        format!("origin = \"{origin}\"\nseal_keys = [\"{}\"]\n", VerifierKey::seal(&name, key));
    let trust = directory.path().join("other.toml");
    std::fs::write(&trust, text).unwrap();
    let report = self::report(verify(&golden_path().join("archive"), &trust), 1);
    let finding = findings(&report, "T004")[0];
    assert_eq!(
        (&finding["expected"], &finding["object"]),
        (&json!(origin), &json!("log/checkpoint"))
    );
}

#[test]
fn foreign_root_keys_are_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let root = golden().1.receipt_keys[0].public().to_string();
    let trust =
        trust_with(&directory, "ed25519:TrKU8p1r87qTOeRilxbYzmxchS2IFLrr5P3r8AEdPYU", &root);
    let report = report(verify(&golden_path().join("archive"), &trust), 1);
    let finding = findings(&report, "T091")[0];
    assert_eq!((&finding["workspace"], &finding["seq"]), (&json!("acme"), &json!(1)));
}

#[test]
fn a_wrong_command_or_trust_file_is_a_usage_error() {
    let directory = tempfile::tempdir().unwrap();
    let archive = golden_path().join("archive");
    let unknown = trust_with(&directory, "origin =", "colour = \"red\"\norigin =");
    verify(&archive, &unknown).assert().code(2);
    let weak = trust_with(&directory, "ed25519:TrKU", "ed25519:_");
    verify(&archive, &weak).assert().code(2);
    let unfit =
        trust_with(&directory, "\"ledger.example.com/golden\"", "\"ledger.example.com/no\"");
    verify(&archive, &unfit).assert().code(2);
    verify(&archive, &directory.path().join("absent.toml")).assert().code(2);
    verify_golden().arg("--colour").assert().code(2);
    verify_golden().args(["--expect-through", "tomorrow"]).assert().code(2);
}

#[test]
fn an_archive_that_is_not_there_leaves_it_unfinished() {
    let directory = tempfile::tempdir().unwrap();
    let trust = golden_path().join("trust.toml");
    verify(&directory.path().join("absent"), &trust).assert().code(3);
    let report = report(verify(directory.path(), &trust), 3);
    assert_eq!(findings(&report, "T111").len(), 1, "an empty directory holds no archive");
}

#[test]
fn an_archive_that_ends_too_early_falls_short() {
    let mut command = verify_golden();
    command.args(["--expect-through", "2026-11-23T17:00:00Z"]);
    report(command, 0);
    let mut command = verify_golden();
    command.args(["--expect-through", "2026-11-23T17:00:00.000001Z"]);
    let report = report(command, 4);
    assert_eq!(findings(&report, "T101").len(), 1);
    assert_eq!(report["verdict"], "short");
}

#[test]
fn the_forge_knows_every_column_that_there_is() {
    let (archive, _) = golden();
    let objects = archive.0.iter().filter(|(key, _)| key.ends_with(".parquet"));
    for (key, object) in objects {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("object.parquet");
        std::fs::write(&path, object).unwrap();
        let reader = SerializedFileReader::try_from(path.as_path()).unwrap();
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let names: Vec<_> = schema.columns().iter().map(|column| column.name()).collect();
        assert_eq!(names, COLUMNS, "{key}");
        // Findings that are kept in parts name columns, and are read back by their names.
        assert!(names.iter().all(|name| ledger::columns::named(name).is_some()), "{key}");
    }
}

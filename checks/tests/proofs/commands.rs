//! The commands as an auditor, a third party and an agent's developer run them.

use std::path::Path;
use std::process::Command;

use checks::bin_path::tally;
use checks::forge::golden_path;
use ledger::note::{self, NoteSigner};
use ledger::receipt::Receipt;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::{World, key, origin, trust};

/// Runs the program in a directory; its exit code, and all that it said.
fn run(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(tally("tally-verify"));
    let output = command.current_dir(directory).env_clear().args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[track_caller]
fn json_of(directory: &Path, arguments: &[&str], code: i32) -> Value {
    let (found, text) = run(directory, arguments);
    assert_eq!(found, code, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A directory with the golden archive's trust file.
fn golden() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    std::fs::copy(golden_path().join("trust.toml"), directory.path().join("trust.toml")).unwrap();
    (directory, golden_path().join("archive").display().to_string())
}

#[test]
fn an_event_is_proven_and_checked() {
    let (directory, archive) = golden();
    let directory = directory.path();
    let prove = |more: &[&str]| {
        let start =
            ["prove", "--archive", &archive, "--trust", "trust.toml", "--workspace", "acme"];
        run(directory, &[&start, more].concat())
    };
    let id = "cdca62d3-1b16-5525-95bb-e909bd45fd55";
    let (code, text) = prove(&["--event-id", id, "--out", "one.proof"]);
    assert_eq!(code, 0, "{text}");
    for line in
        ["PROVEN", "acme seq 70", id, "llm_call by actor_id \"agent-7\"", "key history seq 1"]
    {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(text.contains("was not revoked before"), "what is not claimed: {text}");
    assert_eq!(prove(&["--seq", "70", "--out", "two.proof"]).0, 0);
    let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
    assert_eq!(read("one.proof"), read("two.proof"));
    assert!(!directory.join("one.proof.new").exists());
    assert_eq!(prove(&["--seq", "70", "--digest-only", "--out", "digest.proof"]).0, 0);

    let check = ["check", "one.proof", "digest.proof", "--trust", "trust.toml", "--json"];
    let report = json_of(directory, &check, 0);
    assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("proven"), &json!(0)));
    let [one, digest] = report["proofs"].as_array().unwrap().as_slice() else { panic!("two") };
    assert_eq!((&one["event"]["seq"], &one["event"]["event_id"]), (&json!(70), &json!(id)));
    assert!(one["event"]["payload"].as_str().unwrap().contains(id));
    assert_eq!(digest["event"]["payload"], Value::Null);
    assert_eq!(digest["event"]["payload_digest"], one["event"]["payload_digest"]);
    assert_eq!(one["event"]["key_history"][1]["seq"], 68);
    let (code, text) = run(directory, &["check", "digest.proof", "--trust", "trust.toml"]);
    assert!(code == 0 && text.contains("digest alone"), "{text}");

    // One byte is enough.
    let mut bytes = read("one.proof");
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    std::fs::write(directory.join("bad.proof"), bytes).unwrap();
    let check = ["check", "one.proof", "bad.proof", "--trust", "trust.toml", "--json"];
    let report = json_of(directory, &check, 1);
    assert_eq!(report["proofs"][0]["verdict"], "proven");
    assert_eq!(report["proofs"][1]["findings"][0]["id"], "T063");
    assert_eq!(report["proofs"][1]["event"], Value::Null);
    let (code, text) = run(directory, &["check", "bad.proof", "--trust", "trust.toml"]);
    assert!(code == 1 && text.starts_with("REFUSED"), "{text}");
    let (code, text) = run(directory, &["check", "trust.toml", "--trust", "trust.toml"]);
    assert!(code == 1 && text.contains("no proof of an event"), "{text}");
}

#[test]
fn what_cannot_be_proven_is_said() {
    let (directory, archive) = golden();
    let directory = directory.path();
    let start = ["prove", "--archive", &archive, "--trust", "trust.toml", "--out", "x.proof"];
    let prove = |more: &[&str]| run(directory, &[&start, more].concat());
    for (more, code, said) in [
        (&["--workspace", "acme", "--seq", "71"][..], 4, "ends at seq 70"),
        (&["--workspace", "gamma", "--seq", "1"], 4, "nothing of that workspace"),
        (
            &["--workspace", "acme", "--event-id", "cdca62d3-1b16-5525-95bb-e909bd45fd56"],
            4,
            "seq 70",
        ),
        (&["--workspace", "acme", "--seq", "1", "--digest-only"], 2, "with its payload only"),
        (&["--workspace", "acme", "--seq", "0"], 2, "from 1"),
        (&["--workspace", "acme", "--event-id", "7"], 2, "event-id"),
        (&["--workspace", "acme"], 2, "--seq"),
        (&["--workspace", "acme", "--seq", "1", "--event-id", "7"], 2, "event-id"),
        (&["--seq", "1"], 2, "--workspace"),
    ] {
        let (found, text) = prove(more);
        assert_eq!(found, code, "{more:?}: {text}");
        assert!(text.contains(said), "{more:?}: {text}");
        assert!(!directory.join("x.proof").exists());
    }
    let (code, text) = run(
        directory,
        &[
            "prove",
            "--archive",
            "nowhere",
            "--trust",
            "trust.toml",
            "--workspace",
            "acme",
            "--seq",
            "1",
            "--out",
            "x.proof",
        ],
    );
    assert_eq!(code, 3, "{text}");
    let nowhere =
        [&start[..5], &["--out", "no/x.proof", "--workspace", "acme", "--seq", "1"]].concat();
    let (code, text) = run(directory, &nowhere);
    assert!(code == 2 && text.contains("no/x.proof"), "{text}");
    // An archive that is not in order: what is wrong, and where.
    let copy = checks::forge::golden().0;
    copy.store(&directory.join("broken")).unwrap();
    let key = copy.keys().find(|key| key.contains("-00000000000000000063.parquet")).unwrap();
    std::fs::write(directory.join("broken").join(key), "nothing").unwrap();
    let (code, text) = run(
        directory,
        &[
            "prove",
            "--archive",
            "broken",
            "--trust",
            "trust.toml",
            "--workspace",
            "acme",
            "--seq",
            "70",
            "--out",
            "x.proof",
        ],
    );
    assert!(code == 1 && text.contains("T051") && text.contains(key), "{text}");
    assert_eq!(run(directory, &["check", "nowhere", "--trust", "trust.toml"]).0, 2);
    assert_eq!(run(directory, &["check", "--trust", "trust.toml"]).0, 2);
}

fn write_trust(directory: &Path, world: &World, receipt_keys: bool) {
    let trust = trust(&[&world.seal]);
    let mut text =
        format!("origin = \"{}\"\nseal_keys = [\"{}\"]\n", trust.origin, trust.seal_keys[0]);
    if receipt_keys {
        text += &format!("receipt_keys = [\"{}\"]\n", trust.receipt_keys[0]);
    }
    std::fs::write(directory.join("trust.toml"), text).unwrap();
}

#[test]
fn what_is_no_receipt_is_not_said_to_be_proven() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    let mut world = World::new();
    let body = world.receipt().to_body();
    let note = note::sign(&body, &[&NoteSigner::receipt(&origin(), key(90))]);
    std::fs::write(directory.join("good"), note).unwrap();
    world.seal_hour();
    write_trust(directory, &world, true);
    world.archive().store(&directory.join("archive")).unwrap();
    std::fs::write(directory.join("bad"), "no receipt").unwrap();
    for files in [&["bad"][..], &["good", "bad"]] {
        let arguments = ["--archive", "archive", "--trust", "trust.toml"];
        let arguments = [&["receipt"][..], files, &arguments].concat();
        let report = json_of(directory, &[&arguments[..], &["--json"]].concat(), 2);
        assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("refused"), &json!(2)));
        assert_eq!(report["archive"], "archive");
        assert_eq!(report["receipts"][files.len() - 1]["standing"], "refused");
        let (code, text) = run(directory, &arguments);
        assert!(code == 2 && text.starts_with("REFUSED"), "{text}");
        // Neither does `check` say it of what is no proof.
        let check = [&["check"][..], files, &["--trust", "trust.toml", "--json"]].concat();
        assert_eq!(json_of(directory, &check, 1)["verdict"], "tampered");
    }
}

#[test]
fn receipts_are_compared() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    let mut world = World::new();
    let keep = |name: &str, receipt: &Receipt| {
        let note = note::sign(&receipt.to_body(), &[&NoteSigner::receipt(&origin(), key(90))]);
        std::fs::create_dir_all(directory.join("receipts")).unwrap();
        std::fs::write(directory.join("receipts").join(name), note).unwrap();
    };
    keep("1.receipt", &world.receipt());
    world.work(3, 4);
    keep("2.receipt", &world.receipt());
    world.seal_hour();
    write_trust(directory, &world, true);
    world.archive().store(&directory.join("archive")).unwrap();
    let compare =
        ["receipt", "receipts", "--archive", "archive", "--trust", "trust.toml", "--json"];
    let report = json_of(directory, &compare, 0);
    assert_eq!(report["receipts"].as_array().unwrap().len(), 2);
    assert_eq!(report["receipts"][1]["standing"], "recorded");
    assert_eq!(
        (&report["receipts"][1]["first_seq"], &report["receipts"][1]["last_seq"]),
        (&json!(4), &json!(7))
    );
    assert!(report["receipts"][1]["object"].as_str().unwrap().starts_with("events/"));
    let text = run(directory, &compare[..6]);
    assert!(text.0 == 0 && text.1.starts_with("RECORDED"), "{}", text.1);

    world.work(3, 1);
    let lost = world.receipt();
    keep("3.receipt", &lost);
    let report = json_of(directory, &compare, 4);
    assert_eq!(report["receipts"][2]["standing"], "not yet sealed");
    assert_eq!(report["findings"][0]["id"], "T132");
    // The ledger forgets it, and seals the hour.
    let mut forgetful = World::new();
    forgetful.work(3, 4);
    forgetful.seal_hour();
    forgetful.close();
    std::fs::remove_dir_all(directory.join("archive")).unwrap();
    forgetful.archive().store(&directory.join("archive")).unwrap();
    let report = json_of(directory, &compare, 1);
    assert_eq!(report["receipts"][2]["standing"], "missing");
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["id"], &finding["workspace"], &finding["seq"]),
        (&json!("T130"), &json!("acme"), &json!(8))
    );
    let (code, text) = run(directory, &compare[..6]);
    assert!(code == 1 && text.starts_with("TAMPERED") && text.contains("T130"), "{text}");

    // What is no receipt of this ledger, a trust file without receipt keys, nothing at all.
    std::fs::write(directory.join("note"), "x\u{1b}[31m").unwrap();
    let one = |file: &str| {
        run(directory, &["receipt", file, "--archive", "archive", "--trust", "trust.toml"])
    };
    let (code, text) = one("note");
    assert!(code == 2 && text.contains("refused") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(one("nowhere").0, 2);
    std::fs::create_dir(directory.join("empty")).unwrap();
    assert_eq!(one("empty").0, 2);
    write_trust(directory, &world, false);
    let (code, text) = one("receipts");
    assert!(code == 2 && text.contains("receipt_keys"), "{text}");
}

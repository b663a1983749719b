//! The demo runs from start to end, and the second verifier agrees with the first about it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test may panic, and tells its figures"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use checks::bin_path::tally;
use checks::forge::{Archive, Content, OwnedRow};
use checks::tools::python;
use serde_json::{Value, json};

#[tokio::test]
async fn the_demo_runs_and_a_second_verifier_agrees() {
    let directory = tempfile::tempdir().unwrap();
    let demo = directory.path().join("demo");
    // The demo runs the auditor's program, which lies beside its own.
    tally("tally-verify");
    let output = Command::new(env!("CARGO_BIN_EXE_tally-demo"))
        .args(["--events", "3000", "--dir"])
        .arg(&demo)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}\n{error}");
    for line in [
        "PROVEN: nothing was changed",
        "T120 notice: an agent counted submissions that the ledger never recorded",
        "exit code 0;",
        "TAMPERED: the archive is not what was sealed",
        "T051 tampering: an object does not have the size or digests",
        "at events/workspace=billing/",
        "exit code 1;",
        "nothing is left running",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    let receipts = demo.join("receipts/support/support-agent-1-00001.note");
    let receipt = std::fs::read_to_string(receipts).unwrap();
    assert!(receipt.starts_with("tallystick/receipt/v1\n"), "{receipt}");
    receipts_are_borne_out(&demo);
    second_verifier_agrees(&demo).await;
    other_readers_agree(&demo.join("archive")).await;
}

/// The archive holds what each receipt promises, and proves an event of it to somebody else.
fn receipts_are_borne_out(demo: &Path) {
    let auditor = |arguments: &[&str]| {
        let mut command = Command::new(tally("tally-verify"));
        command.current_dir(demo).args(arguments).args(["--trust", "trust.toml"]);
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = auditor(&["receipt", "receipts", "--archive", "archive", "--json"]);
    assert_eq!(code, Some(4), "the last hour is still open: {text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let receipts = report["receipts"].as_array().unwrap();
    let stands = |standing| {
        let so = receipts.iter().filter(|one| one["standing"] == standing);
        so.collect::<Vec<&Value>>()
    };
    let (recorded, open) = (stands("recorded"), stands("not yet sealed"));
    assert!(recorded.len() > 10 && !open.is_empty(), "{text}");
    assert_eq!(recorded.len() + open.len(), receipts.len(), "{text}");
    let last = recorded[recorded.len() - 1];
    let (workspace, seq) = (last["workspace"].as_str().unwrap(), last["last_seq"].to_string());
    let event = ["prove", "--archive", "archive", "--workspace", workspace, "--seq", &seq];
    let (code, text) = auditor(&[&event[..], &["--out", "event.proof"]].concat());
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = auditor(&["check", "event.proof"]);
    assert!(code == Some(0) && text.contains(last["submission"].as_str().unwrap()), "{text}");
}

/// What the archive's own decoder finds, in the words of `readers.py`.
fn expected(content: &Content) -> Value {
    let mut parts: BTreeMap<[String; 3], Vec<&OwnedRow>> = BTreeMap::new();
    for chunk in content.chunks() {
        let (hour, workspace) = (chunk.manifest.hour, chunk.manifest.workspace.to_string());
        let part = [workspace, hour.date(), format!("{:02}", hour.of_day())];
        parts.entry(part).or_default().extend(&chunk.rows);
    }
    let parts = parts.iter().map(|([workspace, date, hour], rows)| {
        let seqs = || rows.iter().map(|row| row.row.seq);
        let sum = |value: fn(&OwnedRow) -> Option<i64>| {
            let values: Vec<i64> = rows.iter().filter_map(|row| value(row)).collect();
            (!values.is_empty()).then(|| values.iter().sum::<i64>())
        };
        let cost = sum(|row| row.row.derived.unit_cost_input);
        let cost = cost.map(|n| format!("{}.{:09}", n / 1_000_000_000, n % 1_000_000_000));
        let payloads = rows.iter().filter(|row| row.payload.is_some()).count();
        json!([
            workspace,
            date,
            hour,
            rows.len(),
            seqs().min(),
            seqs().max(),
            payloads,
            sum(|row| row.row.derived.input_tokens),
            cost,
            rows.len(),
        ])
    });
    parts.collect()
}

/// Programs of others read the archive as it is, its partition columns too, and find the same.
async fn other_readers_agree(archive: &Path) {
    let content = Content::read(&Archive::load(archive).unwrap());
    let rows: Vec<(&str, &OwnedRow)> = content
        .chunks()
        .flat_map(|chunk| chunk.rows.iter().map(|row| (chunk.manifest.workspace.as_str(), row)))
        .collect();
    let picked: Vec<&OwnedRow> = rows.iter().step_by(997).map(|(_, row)| *row).collect();
    let event_ids: Vec<String> = picked
        .iter()
        .map(|row| row.row.event_id.iter().map(|b| format!("{b:02x}")).collect())
        .collect();
    let sessions: BTreeSet<&str> = rows
        .iter()
        .filter_map(|(_, row)| row.row.derived.session_id.as_deref())
        .step_by(499)
        .collect();
    assert!(event_ids.len() > 2 && sessions.len() > 2);
    let places = |found: &dyn Fn(&OwnedRow) -> bool| {
        let mut places: Vec<(&str, u64)> = rows
            .iter()
            .filter(|(_, row)| found(row))
            .map(|(workspace, row)| (*workspace, row.row.seq))
            .collect();
        places.sort_unstable();
        json!(places)
    };
    let of_event: Vec<Value> =
        picked.iter().map(|one| places(&|row| row.row.event_id == one.row.event_id)).collect();
    let of_session: Vec<Value> = sessions
        .iter()
        .map(|id| places(&|row| row.row.derived.session_id.as_deref() == Some(id)))
        .collect();

    let questions = json!({ "event_ids": event_ids, "session_ids": sessions }).to_string();
    let (code, told) = python("readers.py", &[archive, Path::new(&questions)]).await.unwrap();
    assert_eq!(code, Some(0), "{told}");
    for reader in ["duckdb", "datafusion", "pyarrow"] {
        assert_eq!(told[reader]["by_partition"], expected(&content), "{reader}");
        assert_eq!(told[reader]["of_event"], json!(of_event), "{reader}");
        assert_eq!(told[reader]["of_session"], json!(of_session), "{reader}");
    }
    assert_eq!(told["digests_that_differ"], 0);
    let files = told["files"].as_array().unwrap();
    assert_eq!(files.len(), content.chunks().count());
    for file in files {
        assert_eq!(file["created_by"], "tallystick 1");
        assert_eq!(file["in_order"], true);
        assert!(
            file["sorted_by"].to_string().contains("column_index=0, descending=False"),
            "{file}"
        );
        assert_eq!(file["blooms"], json!(["event_id", "session_id", "trace_id"]));
        assert_eq!(file["compression"], json!(["ZSTD"]));
        let dictionaries = file["dictionaries"].as_array().unwrap();
        for plain in ["event_id", "payload_digest", "link", "submission_hash", "signature"] {
            assert!(!dictionaries.contains(&json!(plain)), "{plain}: {dictionaries:?}");
        }
        assert!(file["largest_group"].as_u64() <= Some(65_536));
        assert_eq!(file["columns"].as_array().unwrap().len(), 34);
    }
}

/// The verifier in Python, which shares no code with ours.
async fn second_verifier_agrees(demo: &Path) {
    let trust = demo.join("trust.toml");
    let (code, summary) = python("verify.py", &[&demo.join("archive"), &trust]).await.unwrap();
    assert_eq!(code, Some(0), "{summary}");
    println!("second verifier: {summary}");
    let (code, summary) = python("verify.py", &[&demo.join("tampered"), &trust]).await.unwrap();
    assert_eq!(code, Some(1), "{summary}");
}

//! Reports: what retention has removed is told apart from what was checked.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use ledger::hash::Digest;
use ledger::key::SigningKey;
use ledger::names::{Seq, Workspace};
use ledger::verify::{
    Check, Detail, Finding, Lock, MissingCounters, Place, Pruned, Report, Verdict, WorkspaceReport,
};
use verifier::report::{Inputs, json, text};

const INPUTS: Inputs<'_> = Inputs { archive: "ar\u{202e}chive", trust_sha256: "ab", parts: &[] };

fn report(pruned: Pruned) -> Report {
    let workspace = Workspace::new("acme").unwrap();
    let place = Place::workspace(&workspace);
    let early = Finding::new(Check::PrunedEarly, place)
        .differs("kept for 184 days or longer", "for 30 days, by a policy that keeps for 30")
        .because("the record's reason: \"little\u{1b}[2J room\"");
    let missing = MissingCounters {
        key: SigningKey::from_seed(&[1; 32]).public(),
        ranges: vec![(5, 5), (7, 9)],
        maybe_pruned: true,
        maybe_outside: false,
    };
    Report {
        verdict: Verdict::Short,
        origin: "ledger.example.com/test".to_owned(),
        scope: None,
        checkpoint: None,
        checkpoint_note: Vec::new(),
        log_size: 9,
        seal_keys: None,
        hours: None,
        lock: Lock::Open,
        chunks: 3,
        events: 12,
        payload_bytes: 700,
        pruned,
        outside: Pruned::default(),
        resumed: None,
        workspaces: vec![WorkspaceReport {
            workspace,
            head: Some((Seq::new(16).unwrap(), Digest::ZERO)),
            events: 12,
            custodian_events: 0,
            withheld: 0,
            signers: Vec::new(),
            chunks: 5,
            pruned,
            outside: Pruned::default(),
            pinned: true,
            missing_counters: vec![missing],
        }],
        detail: Detail::default(),
        findings: vec![early],
    }
}

#[test]
fn the_text_says_what_is_gone() {
    let text = text::write(&report(Pruned { chunks: 2, events: 4 }), INPUTS);
    for line in [
        "checked     12 events in 3 chunks, 700 payload bytes, 9 log leaves\n\
         pruned      4 events in 2 chunks, which nobody can check\n\
         store       the store does NOT lock objects: whoever may write may remove\n",
        "\n  acme: 12 events, 4 pruned, head seq 16, link ",
        "\n  T107 policy: records were removed earlier than ",
        "\n       expected kept for 184 days or longer\n",
        "\n       found for 30 days, by a policy that keeps for 30\n",
        "\n       the record's reason: \"little\u{fffd}[2J room\"\n",
        "\n  what stood in chunks that retention has removed: ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = text::write(&report(Pruned::default()), INPUTS);
    assert!(!text.contains("\npruned ") && text.contains("acme: 12 events, head seq 16"), "{text}");
}

#[test]
fn the_json_counts_what_is_gone() {
    let text = json::write(&report(Pruned { chunks: 2, events: 4 }), INPUTS).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let gone = serde_json::json!({"chunks": 2, "events": 4});
    assert_eq!(
        (&report["pruned"], &report["events"], &report["chunks"]),
        (&gone, &12.into(), &3.into())
    );
    let acme = &report["workspaces"][0];
    assert_eq!((&acme["pruned"], &acme["events"]), (&gone, &12.into()));
    assert_eq!(acme["missing_counters"][0]["ranges"], serde_json::json!([[5, 5], [7, 9]]));
    assert_eq!(acme["missing_counters"][0]["maybe_pruned"], true);
    assert_eq!(report["findings"][0]["id"], "T107");
}

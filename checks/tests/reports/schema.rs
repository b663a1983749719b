//! The published schema of the JSON report, and real reports.

use std::fs;

use boon::{Compiler, SchemaIndex, Schemas};
use checks::forge::{Archive, golden, honest};
use ledger::names::Workspace;
use ledger::verify::{Policy, Report, Trust};
use serde_json::{Value, json};
use verifier::report::Inputs;

use super::{docs, flipped, verify};

/// Readers must ignore what they do not know; we may not write what the schema does not know.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            if members.get("type") == Some(&json!("object")) && members.contains_key("properties") {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

fn compile(schemas: &mut Schemas) -> SchemaIndex {
    let text = fs::read_to_string(docs().join("spec/report.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    close(&mut schema);
    let mut compiler = Compiler::new();
    compiler.add_resource("report.json", schema).unwrap();
    compiler.compile("report.json", schemas).unwrap()
}

fn value(report: &Report) -> Value {
    let digest = "0".repeat(64);
    let inputs = Inputs { archive: "s3://kept/here", trust_sha256: &digest, parts: &[] };
    serde_json::from_str(&verifier::report::json::write(report, inputs).unwrap()).unwrap()
}

fn reports() -> Vec<(String, Report)> {
    let mut reports = Vec::new();
    let mut add = |name: &str, archive: &Archive, trust: &Trust, policy: Policy| {
        reports.push((name.to_owned(), verify(archive, trust, policy)));
    };
    let (archive, trust) = golden();
    add("golden", &archive, &trust, Policy::default());
    let beta = Policy {
        workspace: Some(Workspace::new("beta").unwrap()),
        expect_through: Some(ledger::payload::occurred_at("2027-01-01T00:00:00Z").unwrap()),
        expect_locked: true,
        ..Policy::default()
    };
    add("scoped", &archive, &trust, beta);
    let (archive, trust, object) = flipped();
    add("changed", &archive, &trust, Policy::default());
    let mut lacking = archive.clone();
    lacking.0.remove(&object);
    add("lacking", &lacking, &trust, Policy::default());
    add("empty", &Archive::default(), &trust, Policy::default());
    for seed in 0..6 {
        let made = honest(seed);
        add(&format!("made {seed}"), &made.archive(), &made.trust, Policy::default());
    }
    reports
}

#[test]
fn real_reports_have_the_form_that_is_published() {
    let mut schemas = Schemas::new();
    let schema = compile(&mut schemas);
    let mut verdicts = Vec::new();
    for (name, report) in reports() {
        let report = value(&report);
        if let Err(error) = schemas.validate(&report, schema) {
            panic!("{name}: {error:#}");
        }
        assert_eq!(report["format"], "tallystick/report/v1");
        verdicts.push(report["verdict"].as_str().unwrap().to_owned());
    }
    for verdict in ["proven", "tampered", "unfinished", "short"] {
        assert!(verdicts.iter().any(|of| of == verdict), "no {verdict} in {verdicts:?}");
    }
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let mut schemas = Schemas::new();
    let schema = compile(&mut schemas);
    let (archive, trust) = golden();
    let good = value(&verify(&archive, &trust, Policy::default()));
    assert!(schemas.validate(&good, schema).is_ok());
    for (pointer, wrong) in [
        ("/format", json!("tallystick/report/v2")),
        ("/verdict", json!("fine")),
        ("/exit_code", json!(2)),
        ("/log_size", json!(-1)),
        ("/inputs/0/sha256", json!("ab")),
        ("/hours/first", json!("2026-11-23")),
        ("/objects/0/state", json!("good")),
        ("/objects/0/workspace", json!("Acme")),
        ("/workspaces/0/signers/0/role", json!("boss")),
        ("/workspaces/0/missing_counters/0/ranges/0", json!([1])),
        ("/findings/0/id", json!("120")),
        ("/findings/0/severity", json!("bad")),
    ] {
        let mut report = good.clone();
        *report.pointer_mut(pointer).unwrap() = wrong;
        assert!(schemas.validate(&report, schema).is_err(), "{pointer}");
    }
    for member in good.as_object().unwrap().keys() {
        let mut report = good.clone();
        report.as_object_mut().unwrap().remove(member);
        assert!(schemas.validate(&report, schema).is_err(), "without {member}");
    }
}

#[test]
fn each_chunk_has_the_state_that_was_found() {
    let (archive, trust, object) = flipped();
    let report = value(&verify(&archive, &trust, Policy::default()));
    let objects = report["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 4);
    for of in objects {
        // Behind a broken chunk, keys and counters cannot be judged.
        let state = match (of["object"] == json!(object), of["workspace"] == "acme") {
            (true, _) => "broken",
            (false, true) => "unchecked",
            (false, false) => "verified",
        };
        assert_eq!(of["state"], state, "{of}");
    }
    let (archive, trust) = golden();
    let scope = Some(Workspace::new("beta").unwrap());
    let policy = Policy { workspace: scope, ..Policy::default() };
    let report = value(&verify(&archive, &trust, policy));
    for of in report["objects"].as_array().unwrap() {
        let state = if of["workspace"] == "beta" { "verified" } else { "unchecked" };
        assert_eq!(of["state"], state, "{of}");
    }
}

#[test]
fn who_signed_what_adds_up() {
    let (archive, trust) = golden();
    let report = value(&verify(&archive, &trust, Policy::default()));
    for workspace in report["workspaces"].as_array().unwrap() {
        let signers = workspace["signers"].as_array().unwrap();
        let sum = |role: Option<&str>| {
            let of = signers.iter().filter(|signer| role.is_none_or(|role| signer["role"] == role));
            of.map(|signer| signer["events"].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!(json!(sum(None)), workspace["events"], "{workspace}");
        assert_eq!(json!(sum(Some("custodian"))), workspace["custodian_events"], "{workspace}");
        assert!(sum(Some("root")) > 0, "{workspace}");
    }
}

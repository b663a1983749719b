//! Shared secrets, and what the custodian signs for those who have one (FAULTS row 40).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ingest::accept::custody::{NotSigned, payloads, sign};
use ingest::accept::secrets::{SecretError, SecretSettings, Secrets};
use ingest::accept::{Limits, Refused};
use ledger::hash::Digest;
use ledger::key::SigningKey;
use ledger::names::{Origin, Workspace};
use ledger::submission::{Counter, Statement};
use sha2::Sha256;

fn tag(key: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn workspace(name: &str) -> Workspace {
    Workspace::new(name).unwrap()
}

fn event(workspace: &str, n: u64) -> String {
    format!(
        "{{\"event_id\":\"00000000-0000-4000-8000-{n:012x}\",\"event_type\":\"business_event\",\
         \"occurred_at\":\"2026-11-23T16:00:00Z\",\"workspace_id\":\"{workspace}\"}}"
    )
}

const OLD: &[u8] = b"an old secret of 24 bytes";
const NEW: &[u8] = b"a new secret of 24 bytes.";
const BODY: &[u8] = b"{\"events\": []}";

fn secrets() -> Secrets {
    Secrets::new([
        ("pipeline".to_owned(), vec![OLD.to_vec(), NEW.to_vec()], vec![workspace("acme")]),
        ("other".to_owned(), vec![b"another secret, 24 bytes".to_vec()], vec![workspace("beta")]),
    ])
}

#[test]
fn a_signature_is_right_under_a_secret_of_its_name_and_nothing_else() {
    let secrets = secrets();
    let check = |name: &str, signature: &str, body: &[u8]| {
        let found = secrets.check(name.as_bytes(), signature.as_bytes(), body);
        found.map(|secret| secret.name.to_string())
    };
    let right = tag(NEW, BODY);
    assert_eq!(check("pipeline", &right, BODY).as_deref(), Some("pipeline"));
    assert_eq!(check("pipeline", &right.to_uppercase(), BODY).as_deref(), Some("pipeline"));
    assert_eq!(check("pipeline", &tag(OLD, BODY), BODY).as_deref(), Some("pipeline"));
    let longer = [BODY, b" "].concat();
    for (name, signature, body) in [
        ("pipeline", tag(b"not a secret of anyone", BODY), BODY),
        ("pipeline", tag(b"another secret, 24 bytes", BODY), BODY),
        ("pipeline", tag(&[], BODY), BODY),
        ("nobody", tag(&[], BODY), BODY),
        ("nobody", right.clone(), BODY),
        ("", right.clone(), BODY),
        ("other", right.clone(), BODY),
        ("PIPELINE", right.clone(), BODY),
        ("pipeline", right[..62].to_owned(), BODY),
        ("pipeline", format!("{right}00"), BODY),
        ("pipeline", format!("sha256={right}"), BODY),
        ("pipeline", format!(" {right}"), BODY),
        ("pipeline", String::new(), BODY),
        ("pipeline", "0".repeat(64), BODY),
        ("pipeline", "g".repeat(64), BODY),
        ("pipeline", right.clone(), &BODY[1..]),
        ("pipeline", right.clone(), &longer),
        ("pipeline", right, &[]),
    ] {
        assert_eq!(check(name, &signature, body), None, "{name} {signature}");
    }
    assert!(secrets.check(&[0xff], tag(&[], BODY).as_bytes(), BODY).is_none());
    assert!(Secrets::default().check(b"", tag(&[], BODY).as_bytes(), BODY).is_none());
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_secret_file_is_its_owners_and_long_enough_and_says_for_whom() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.secret");
    let read = |name: &str, workspaces: &[&str]| {
        let workspaces = workspaces.iter().map(|&name| name.to_owned()).collect();
        let settings = SecretSettings { files: vec![file.clone()], workspaces };
        Secrets::read(&BTreeMap::from([(name.to_owned(), settings)]))
    };
    write(&file, &[NEW, b"\r\n"].concat(), 0o600);
    let secrets = read("pipeline", &["acme"]).unwrap();
    assert!(secrets.check(b"pipeline", tag(NEW, BODY).as_bytes(), BODY).is_some());
    assert!(!format!("{secrets:?}").contains("secret of 24"));

    assert!(matches!(read("a b", &["acme"]), Err(SecretError::Name(_))));
    assert!(matches!(read("pipeline", &[]), Err(SecretError::NoWorkspaces { .. })));
    assert!(matches!(read("pipeline", &["A"]), Err(SecretError::Workspace { .. })));
    write(&file, NEW, 0o640);
    assert!(matches!(read("pipeline", &["acme"]), Err(SecretError::Exposed { mode: 0o640, .. })));
    write(&file, b"short\n", 0o600);
    let error = read("pipeline", &["acme"]).unwrap_err();
    assert!(matches!(error, SecretError::Length { found: 5, .. }));
    assert!(!error.to_string().contains("short\n"));
    write(&file, &[b'x'; 5_000], 0o600);
    assert!(matches!(read("pipeline", &["acme"]), Err(SecretError::Length { .. })));
}

fn custody(body: &str, max_events: usize) -> Result<Vec<(String, Vec<usize>, Digest)>, NotSigned> {
    let origin = Origin::new("ledger.example.com/test").unwrap();
    let limits = Limits::new(65_536, max_events).unwrap();
    let allowed = BTreeSet::from([workspace("acme"), workspace("beta")]);
    let key = SigningKey::from_seed(&[7; 32]);
    let body = Bytes::copy_from_slice(body.as_bytes());
    let parts = sign(&origin, &key, &payloads(&body)?, &limits, ("pipeline", &allowed))?;
    // Whatever comes out is a submission that a verifier takes.
    for part in &parts {
        let submission = &part.submission;
        let digests: Vec<_> = submission.events.iter().map(|e| e.payload_digest).collect();
        let statement = Statement::new(&origin, &submission.workspace, Counter::NONE, &digests);
        let hash = statement.verify(submission.public_key(), submission.signature());
        assert_eq!(hash.unwrap(), submission.hash);
    }
    let named = parts.into_iter();
    Ok(named.map(|p| (p.submission.workspace.to_string(), p.indexes, p.submission.hash)).collect())
}

fn body(events: &[String]) -> String {
    format!("{{\"events\": [{}]}}", events.join(", "))
}

#[test]
fn events_are_split_by_workspace_in_order_and_signed_the_same_every_time() {
    let events = ["acme", "beta", "acme", "acme", "beta", "acme"];
    let events: Vec<_> = (1..).zip(events).map(|(n, name)| event(name, n)).collect();
    let parts = custody(&body(&events), 3).unwrap();
    let places: Vec<_> = parts.iter().map(|(name, at, _)| (name.as_str(), at.clone())).collect();
    assert_eq!(places, [("acme", vec![0, 2, 3]), ("acme", vec![5]), ("beta", vec![1, 4])]);
    assert_eq!(custody(&body(&events), 3).unwrap(), parts);
    assert_ne!(custody(&body(&events[..5]), 3).unwrap()[1].2, parts[1].2);
}

#[test]
fn one_event_that_is_wrong_refuses_all_and_is_named_by_its_place_in_the_body() {
    let refused = |events: &[String]| match custody(&body(events), 2).unwrap_err() {
        NotSigned::Refused(Refused::Events(errors)) => {
            errors.into_iter().map(|e| (e.index, e.pointer, e.reason)).collect::<Vec<_>>()
        }
        other => vec![(usize::MAX, other.to_string(), "")],
    };
    let good = |n| event("acme", n);
    let bad = event("acme", 9).replace("business_event", "Business");
    let nameless = event("acme", 9).replace("\"acme\"", "7");
    let two = |a: String, b: String| [good(1), good(2), event("beta", 3), a, b];
    let at = |index, pointer: &str, reason| (index, pointer.to_owned(), reason);
    assert_eq!(refused(&two(bad.clone(), good(4))), [at(3, "/event_type", "bad-event-type")]);
    assert_eq!(refused(&two(bad, good(2))), [at(3, "/event_type", "bad-event-type")],);
    assert_eq!(refused(&two(good(4), good(1))), [at(4, "/event_id", "duplicate-event-id")]);
    assert_eq!(refused(&two(good(4), nameless)), [at(4, "/workspace_id", "wrong-type")]);
    assert_eq!(refused(&two("7".to_owned(), good(4))), [at(3, "", "not-an-object")]);
    // The same id in another workspace is another event.
    assert!(custody(&body(&[event("acme", 1), event("beta", 1)]), 2).is_ok());
}

#[test]
fn a_secret_is_for_its_workspaces_and_a_custodian_signs_no_ledger_event() {
    let error = custody(&body(&[event("acme", 1), event("gamma", 2)]), 100).unwrap_err();
    let gamma = workspace("gamma");
    assert!(
        matches!(error, NotSigned::OtherWorkspace { index: 1, workspace, .. } if workspace == gamma)
    );
    let key = SigningKey::from_seed(&[9; 32]).public();
    let ledger = event("acme", 1).replace("business_event", "ledger.key_registered").replace(
        "\"workspace_id\"",
        &format!("\"context\":{{\"key\":\"{key}\",\"role\":\"root\"}},\"workspace_id\""),
    );
    let error = custody(&body(&[ledger]), 100).unwrap_err();
    assert!(matches!(error, NotSigned::Refused(Refused::WrongRoute(_))), "{error}");
}

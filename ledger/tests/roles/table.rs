//! Every refusal, and the bounds of every rule by one.

use ledger::chain::{Acts, Keys, LedgerEvent, Refusal, Role};
use ledger::names::Workspace;
use ledger::payload::{Rules, scan};

use crate::support::{acts_of, created, erased, key, payload, plain, registered, revoked, seq};

/// Roots 1 and 2; 3 is an agent from seq 3 on, for actor `seven` alone; 4 a custodian from 4 on;
/// 5 was an agent for seqs 5 to 9 (registered at 4, revoked at 10).
fn workspace() -> Keys {
    let mut keys = Keys::new();
    for (signer, at, acts) in [
        (1, 1, created(&[1, 2])),
        (1, 2, registered(3, Role::Agent, Some("seven"))),
        (2, 3, registered(4, Role::Custodian, None)),
        (1, 4, registered(5, Role::Agent, None)),
        (1, 10, revoked(5)),
    ] {
        assert_eq!(keys.admit(&key(signer), seq(at), &acts), Ok(Role::Root));
    }
    keys
}

#[test]
fn every_refusal() {
    let not_root = |seed, role| Refusal::NotRoot { key: key(seed), role };
    let gone = || Refusal::RevokedKey { key: key(5), revoked: seq(10) };
    let other_actor = |index, found: &str| Refusal::OtherActor {
        key: key(3),
        bound: "seven".to_owned(),
        index,
        found: found.to_owned(),
    };
    let table: [(&str, u8, u64, Acts, Refusal); 22] = [
        ("workspace-exists", 1, 11, created(&[1]), Refusal::WorkspaceExists),
        ("workspace-exists", 9, 11, created(&[9]), Refusal::WorkspaceExists),
        (
            "not-alone",
            1,
            11,
            acts_of(&[
                payload("business_event", ""),
                payload(
                    "ledger.key_revoked",
                    &format!(r#","context":{{"key":"{}","reason":"x"}}"#, key(3)),
                ),
            ]),
            Refusal::NotAlone(2),
        ),
        ("unknown-key", 9, 11, plain(&[""]), Refusal::UnknownKey(key(9))),
        ("unknown-key", 9, 11, registered(9, Role::Root, None), Refusal::UnknownKey(key(9))),
        ("revoked-key", 5, 10, plain(&[""]), gone()),
        ("revoked-key", 5, 11, plain(&[""]), gone()),
        ("revoked-key", 5, 11, registered(9, Role::Agent, None), gone()),
        ("not-yet-in-force", 3, 2, plain(&[""]), Refusal::NotYetInForce(key(3))),
        ("not-yet-in-force", 4, 3, plain(&[""]), Refusal::NotYetInForce(key(4))),
        ("not-root", 3, 11, registered(9, Role::Agent, None), not_root(3, Role::Agent)),
        ("not-root", 3, 11, revoked(4), not_root(3, Role::Agent)),
        ("not-root", 3, 11, erased(), not_root(3, Role::Agent)),
        ("not-root", 4, 11, erased(), not_root(4, Role::Custodian)),
        ("other-actor", 3, 11, plain(&["eight"]), other_actor(0, "eight")),
        ("other-actor", 3, 11, plain(&["", "seven", "nine"]), other_actor(2, "nine")),
        (
            "already-registered",
            1,
            11,
            registered(3, Role::Agent, None),
            Refusal::AlreadyRegistered(key(3)),
        ),
        (
            "already-registered",
            1,
            11,
            registered(1, Role::Agent, None),
            Refusal::AlreadyRegistered(key(1)),
        ),
        ("registered-again", 1, 11, registered(5, Role::Agent, None), Refusal::Again(key(5))),
        ("not-in-force", 1, 11, revoked(9), Refusal::NotInForce(key(9))),
        ("not-in-force", 1, 11, revoked(5), Refusal::NotInForce(key(5))),
        ("no-workspace", 1, 1, plain(&[""]), Refusal::NoWorkspace),
    ];
    for (code, signer, at, acts, refusal) in table {
        let mut keys = workspace();
        assert_eq!(keys.admit(&key(signer), seq(at), &acts), Err(refusal.clone()));
        assert_eq!(refusal.code(), code);
        assert_eq!(keys, workspace(), "a refusal changes nothing");
    }
}

#[test]
fn a_workspace_is_opened_by_one_of_its_own_roots() {
    let open = |signer: u8, at: u64| Keys::new().admit(&key(signer), seq(at), &created(&[1, 2]));
    assert_eq!(open(1, 1), Ok(Role::Root));
    assert_eq!(open(2, 1), Ok(Role::Root));
    assert_eq!(open(3, 1), Err(Refusal::NotAFounder(key(3))));
    assert_eq!(open(1, 2), Err(Refusal::WorkspaceExists));
    let empty = Keys::new().admit(&key(1), seq(1), &registered(2, Role::Agent, None));
    assert_eq!(empty, Err(Refusal::NoWorkspace));
}

#[test]
fn the_last_root_key_stays() {
    let mut keys = workspace();
    assert_eq!(keys.admit(&key(1), seq(11), &revoked(1)), Ok(Role::Root));
    let last = keys.admit(&key(2), seq(12), &revoked(2));
    assert_eq!(last, Err(Refusal::LastRoot(key(2))));
    assert_eq!(last.unwrap_err().code(), "last-root");
    let another = registered(6, Role::Root, None);
    assert_eq!(keys.admit(&key(2), seq(12), &another), Ok(Role::Root));
    assert_eq!(keys.admit(&key(6), seq(13), &revoked(2)), Ok(Role::Root));
}

#[test]
fn a_key_is_in_force_after_its_registration_and_before_its_revocation() {
    let keys = workspace();
    let signs = |seed: u8, at: u64| keys.clone().admit(&key(seed), seq(at), &plain(&[""]));
    assert_eq!(signs(5, 4), Err(Refusal::NotYetInForce(key(5))));
    assert_eq!(signs(5, 5), Ok(Role::Agent));
    assert_eq!(signs(5, 9), Ok(Role::Agent));
    assert_eq!(signs(5, 10).unwrap_err().code(), "revoked-key");
    assert_eq!(signs(1, 2), Ok(Role::Root));
    assert_eq!(signs(4, 5), Ok(Role::Custodian));
    let record = keys.get(&key(5)).unwrap();
    let in_force: Vec<u64> = (1..12).filter(|at| record.in_force(seq(*at))).collect();
    assert_eq!(in_force, [5, 6, 7, 8, 9]);
    assert_eq!(Keys::from_records(keys.iter().map(|(key, r)| (*key, r.clone()))), keys);
}

#[test]
fn a_bound_key_speaks_for_its_actor_or_none() {
    let mut keys = workspace();
    for actors in [&["seven"][..], &[""], &["seven", "", "seven"]] {
        assert_eq!(keys.admit(&key(3), seq(11), &plain(actors)), Ok(Role::Agent));
    }
    assert_eq!(keys.admit(&key(1), seq(11), &plain(&["seven", "eight"])), Ok(Role::Root));
}

#[test]
fn the_context_of_a_ledger_event_is_read_strictly() {
    let known = key(1);
    let nine: Vec<String> = (1..=9).map(|seed| format!("\"{}\"", key(seed))).collect();
    let eight = nine.iter().take(8).cloned().collect::<Vec<_>>().join(",");
    let event = |kind: &str, context: &str| {
        let more =
            if context.is_empty() { String::new() } else { format!(r#","context":{context}"#) };
        let payload = payload(kind, &more);
        let workspace = Workspace::new("acme").unwrap();
        let event = scan(payload.as_bytes(), &workspace, &Rules::default()).unwrap();
        LedgerEvent::read(&event).map_err(|error| {
            assert_eq!(error.event_type, kind);
            error.reason
        })
    };
    let (created, registered) = ("ledger.workspace_created", "ledger.key_registered");
    let (revoked, erased) = ("ledger.key_revoked", "ledger.payload_erased");
    assert_eq!(event("business_event", "{}"), Ok(None));
    assert!(event(created, &format!(r#"{{"root_keys":[{eight}]}}"#)).is_ok());
    let since = format!(
        r#"{{"key":"{known}","reason":"x","compromised_since":"2026-11-23T16:00:00+01:00"}}"#
    );
    let Ok(Some(LedgerEvent::KeyRevoked { compromised_since, .. })) = event(revoked, &since) else {
        panic!("{since}")
    };
    assert_eq!(compromised_since.unwrap().to_string(), "2026-11-23T15:00:00.000000Z");
    for (kind, context, reason) in [
        (created, String::new(), "required"),
        (created, r"{}".to_owned(), "root_keys"),
        (created, r#"{"root_keys":[]}"#.to_owned(), "1 to 8"),
        (created, format!(r#"{{"root_keys":[{}]}}"#, nine.join(",")), "1 to 8"),
        (created, format!(r#"{{"root_keys":["{known}","{known}"]}}"#), "twice"),
        (created, format!(r#"{{"root_keys":["{known}"],"more":1}}"#), "more"),
        (created, r#"{"root_keys":["ed25519:AA"]}"#.to_owned(), "32 bytes"),
        (registered, format!(r#"{{"key":"{known}"}}"#), "role"),
        (registered, format!(r#"{{"key":"{known}","role":"Root"}}"#), "root, agent or custodian"),
        (registered, format!(r#"{{"key":"{known}","role":"admin"}}"#), "root, agent or custodian"),
        (registered, format!(r#"{{"key":"{known}","role":{{"agent":null}}}}"#), "string"),
        (
            registered,
            format!(r#"{{"key":"{known}","role":"agent","actor_id":"{}"}}"#, "x".repeat(1_025)),
            "1024",
        ),
        (registered, format!(r#"{{"key":"{known}","role":"agent","expires":1}}"#), "expires"),
        (revoked, format!(r#"{{"key":"{known}"}}"#), "reason"),
        (
            revoked,
            format!(r#"{{"key":"{known}","reason":"x","compromised_since":"today"}}"#),
            "compromised_since",
        ),
        (erased, r#"{"event_ids":[],"reason":"x"}"#.to_owned(), "no event"),
        (erased, r#"{"event_ids":["x"],"reason":"x"}"#.to_owned(), "event_ids"),
        (erased, r#"{"event_ids":["d90d8297-ab71-50dd-a26c-4ee62fd9528c"]}"#.to_owned(), "reason"),
    ] {
        let error = event(kind, &context).unwrap_err();
        assert!(error.contains(reason), "{kind} {context}: {error}");
    }
}

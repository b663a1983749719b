//! Keys and submissions by number and name.

use ledger::chain::{Acts, Role};
use ledger::key::{PublicKey, SigningKey};
use ledger::names::{Seq, Workspace};
use ledger::payload::{Rules, scan};

pub fn key(seed: u8) -> PublicKey {
    SigningKey::from_seed(&[seed; 32]).public()
}

/// An event of this type with these further members.
pub fn payload(event_type: &str, more: &str) -> String {
    format!(
        r#"{{"event_id":"d90d8297-ab71-50dd-a26c-4ee62fd9528c","event_type":"{event_type}","occurred_at":"2026-11-23T16:00:00Z","workspace_id":"acme"{more}}}"#
    )
}

pub fn acts_of(payloads: &[String]) -> Acts {
    let mut acts = Acts::new();
    for payload in payloads {
        let workspace = Workspace::new("acme").unwrap();
        let event = scan(payload.as_bytes(), &workspace, &Rules::default()).unwrap();
        acts.push(&event).unwrap();
    }
    acts
}

pub fn created(roots: &[u8]) -> Acts {
    let keys: Vec<String> = roots.iter().map(|seed| format!("\"{}\"", key(*seed))).collect();
    let context = format!(r#","context":{{"root_keys":[{}]}}"#, keys.join(","));
    acts_of(&[payload("ledger.workspace_created", &context)])
}

pub fn registered(seed: u8, role: Role, actor: Option<&str>) -> Acts {
    let actor = actor.map_or_else(String::new, |actor| format!(r#","actor_id":"{actor}""#));
    let context = format!(r#","context":{{"key":"{}","role":"{role}"{actor}}}"#, key(seed));
    acts_of(&[payload("ledger.key_registered", &context)])
}

pub fn revoked(seed: u8) -> Acts {
    let context = format!(r#","context":{{"key":"{}","reason":"lost"}}"#, key(seed));
    acts_of(&[payload("ledger.key_revoked", &context)])
}

pub fn erased() -> Acts {
    let context =
        r#","context":{"event_ids":["d90d8297-ab71-50dd-a26c-4ee62fd9528c"],"reason":"asked"}"#;
    acts_of(&[payload("ledger.payload_erased", context)])
}

/// A plain submission whose events name these actors, or none.
pub fn plain(actors: &[&str]) -> Acts {
    let event = |actor: &&str| match *actor {
        "" => payload("business_event", ""),
        actor => payload("business_event", &format!(r#","actor_id":"{actor}""#)),
    };
    acts_of(&actors.iter().map(event).collect::<Vec<_>>())
}

pub fn seq(seq: u64) -> Seq {
    Seq::new(seq).unwrap()
}

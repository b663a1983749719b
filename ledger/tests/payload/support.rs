//! Events that break one rule, and what must come of them.

use ledger::names::Workspace;
use ledger::payload::{Event, PayloadError, Rules, scan};

/// A valid event without its closing brace.
pub const HEAD: &str = r#"{"event_id":"d90d8297-ab71-50dd-a26c-4ee62fd9528c","event_type":"business_event","occurred_at":"2026-11-23T16:00:00Z","workspace_id":"acme""#;

/// A valid event, and `more` members.
pub fn event(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!("{HEAD}{comma}{more}}}")
}

/// A valid event with another value in one of its members.
pub fn with(member: &str, value: &str) -> String {
    let mut found = false;
    let members: Vec<String> = HEAD
        .trim_start_matches('{')
        .split(",\"")
        .map(|part| {
            let part = part.trim_start_matches('"');
            match part.split_once("\":") {
                Some((name, _)) if name == member => {
                    found = true;
                    format!("\"{name}\":{value}")
                }
                _ => format!("\"{part}"),
            }
        })
        .collect();
    let more = if found { String::new() } else { format!(",\"{member}\":{value}") };
    format!("{{{}{more}}}", members.join(","))
}

/// Scans a payload by the widest rules.
pub fn read(payload: &[u8]) -> Result<Event<'_>, PayloadError> {
    scan(payload, &Workspace::new("acme").unwrap(), &Rules::ceiling())
}

/// The payload must be refused with this code at this member.
pub fn assert_refused(payload: impl AsRef<[u8]>, code: &str, pointer: &str) -> PayloadError {
    let payload = payload.as_ref();
    let shown = String::from_utf8_lossy(payload.get(..300).unwrap_or(payload));
    let error = read(payload).map(|event| format!("accepted {event:?}")).unwrap_err();
    assert_eq!((error.reason.code(), &*error.pointer), (code, pointer), "{shown}");
    assert!(error.offset <= payload.len(), "{shown}");
    error
}

/// The payload must be accepted.
pub fn assert_accepted(payload: &str) -> Event<'_> {
    read(payload.as_bytes()).map_err(|error| format!("{error}: {payload}")).unwrap()
}

//! What the check of proofs came to, as text and as JSON.

use std::fmt::{self, Write as _};

use ledger::chain::LedgerEvent;
use ledger::hash::Digest;
use ledger::proof::{Authority, Checked, Proven, Said};
use ledger::verify::{Finding, Verdict};
use serde::Serialize;

use super::json::{FindingDocument, finding};
use super::text::{self, plain};
use crate::exit;

/// Which form the JSON has.
const FORMAT: &str = "tallystick/proof-report/v1";

fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proven => "PROVEN: the event was signed and recorded as said here",
        Verdict::Tampered => "REFUSED: the file does not prove what it says",
        Verdict::Unfinished => "UNFINISHED: a check could not be made, so nothing is said",
        Verdict::Short => "SHORT: proven as far as it goes, but by a trust that falls short",
    }
}

fn authority(authority: &Authority) -> String {
    let Authority { seq, signed_by, event } = authority;
    let what = match event {
        LedgerEvent::WorkspaceCreated { root_keys } => {
            let keys: Vec<_> = root_keys.iter().map(ToString::to_string).collect();
            format!("creates the workspace with root keys {}", keys.join(", "))
        }
        LedgerEvent::KeyRegistered { key, role, actor_id } => {
            let bound = actor_id.as_ref().map(|actor| format!(", for actor_id {actor:?} alone"));
            format!("registers {key} as {role}{}", bound.unwrap_or_default())
        }
        LedgerEvent::KeyRevoked { key, .. } => format!("revokes {key}"),
        LedgerEvent::PayloadErased { .. } => "erases payloads".to_owned(),
    };
    format!("seq {seq}, signed by {signed_by}, {what}")
}

/// What was found, alone.
pub fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = text::findings(&mut text, findings);
    text
}

/// The report on one file for a person.
pub fn text(name: &str, bytes: &[u8], checked: &Checked, trust_sha256: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = sections(&mut text, name, bytes, checked, trust_sha256);
    text
}

fn sections(
    text: &mut String,
    name: &str,
    bytes: &[u8],
    checked: &Checked,
    trust_sha256: &str,
) -> fmt::Result {
    writeln!(text, "{}\n", headline(checked.verdict))?;
    writeln!(
        text,
        "file        {}, {} bytes, sha256 {}",
        plain(name),
        bytes.len(),
        Digest::of(bytes)
    )?;
    writeln!(text, "trust file  sha256 {trust_sha256}")?;
    if let Some(proven) = &checked.proven {
        event(text, proven)?;
    }
    text::findings(text, &checked.findings)?;
    writeln!(text, "\nnot claimed")?;
    for line in Checked::NOT_CLAIMED {
        writeln!(text, "  {line}")?;
    }
    Ok(())
}

fn event(text: &mut String, proven: &Proven) -> fmt::Result {
    let Proven { event, manifest, log, .. } = proven;
    writeln!(text, "ledger      {}", manifest.origin)?;
    let seq = event.seq;
    writeln!(text, "event       {} seq {seq}, event_id {}", manifest.workspace, event.event_id)?;
    if let Some(Said { event_type, actor_id }) = &proven.said {
        let actor = actor_id.as_ref().map(|actor| format!(" by actor_id {actor:?}"));
        writeln!(
            text,
            "says        {}",
            plain(&format!("{event_type}{}", actor.unwrap_or_default()))
        )?;
    }
    match &event.payload {
        Some(payload) => writeln!(text, "payload     {} bytes, shown", payload.len())?,
        None => writeln!(text, "payload     not shown: what is proven is its digest alone")?,
    }
    writeln!(text, "digest      sha256 {}", proven.payload_digest)?;
    writeln!(text, "signed by   {} ({})", event.public_key, proven.role)?;
    let (first, last) = proven.seqs;
    let counter = event.counter;
    writeln!(text, "submission  {}", proven.submission)?;
    writeln!(text, "            seqs {first} to {last}, counter {counter}")?;
    writeln!(text, "recorded    {}", event.recorded_at)?;
    let (from, to) = (manifest.first_seq, manifest.last_seq);
    writeln!(text, "chunk       hour {}, seqs {from} to {to}", manifest.hour)?;
    writeln!(text, "log         leaf {} of {log}", proven.log_index)?;
    writeln!(text, "seal key    {}", proven.seal_key)?;
    for (at, one) in proven.authority.iter().enumerate() {
        let name = if at == 0 { "key history" } else { "" };
        writeln!(text, "{name:<11} {}", plain(&authority(one)))?;
    }
    if !proven.pinned {
        writeln!(text, "            (root keys not pinned)")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    verdict: &'static str,
    exit_code: u8,
    trust_sha256: &'a str,
    proofs: Vec<ProofDocument<'a>>,
    not_claimed: &'static [&'static str],
}

#[derive(Serialize)]
struct ProofDocument<'a> {
    file: &'a str,
    sha256: String,
    verdict: &'static str,
    event: Option<EventDocument<'a>>,
    findings: Vec<FindingDocument<'a>>,
}

#[derive(Serialize)]
struct EventDocument<'a> {
    origin: &'a str,
    workspace: &'a str,
    seq: u64,
    event_id: String,
    event_type: Option<&'a str>,
    actor_id: Option<&'a str>,
    recorded_at: String,
    payload: Option<&'a str>,
    payload_digest: String,
    public_key: String,
    role: &'static str,
    signature: String,
    counter: u64,
    submission: String,
    first_seq: u64,
    last_seq: u64,
    key_history: Vec<AuthorityDocument>,
    pinned: bool,
    hour: String,
    log_index: u64,
    log_size: u64,
    log_root: String,
    seal_key: &'a str,
}

#[derive(Serialize)]
struct AuthorityDocument {
    seq: u64,
    signed_by: String,
    says: String,
}

fn event_document(proven: &Proven) -> EventDocument<'_> {
    let Proven { event, manifest, log, .. } = proven;
    let said = proven.said.as_ref();
    let history = |one: &Authority| AuthorityDocument {
        seq: one.seq.get(),
        signed_by: one.signed_by.to_string(),
        says: authority(one),
    };
    EventDocument {
        origin: manifest.origin.as_str(),
        workspace: manifest.workspace.as_str(),
        seq: event.seq.get(),
        event_id: event.event_id.to_string(),
        event_type: said.map(|said| said.event_type.as_str()),
        actor_id: said.and_then(|said| said.actor_id.as_deref()),
        recorded_at: event.recorded_at.to_string(),
        payload: event.payload.as_deref().and_then(|payload| str::from_utf8(payload).ok()),
        payload_digest: proven.payload_digest.to_string(),
        public_key: event.public_key.to_string(),
        role: proven.role.as_str(),
        signature: event.signature.to_string(),
        counter: event.counter.get(),
        submission: proven.submission.to_string(),
        first_seq: proven.seqs.0.get(),
        last_seq: proven.seqs.1.get(),
        key_history: proven.authority.iter().map(history).collect(),
        pinned: proven.pinned,
        hour: manifest.hour.to_string(),
        log_index: proven.log_index,
        log_size: log.size,
        log_root: log.root.to_string(),
        seal_key: &proven.seal_key,
    }
}

fn proof_document(check: &(String, Vec<u8>, Checked)) -> ProofDocument<'_> {
    let (file, bytes, checked) = check;
    ProofDocument {
        file,
        sha256: Digest::of(bytes).to_string(),
        verdict: checked.verdict.as_str(),
        event: checked.proven.as_ref().map(event_document),
        findings: checked.findings.iter().map(finding).collect(),
    }
}

/// The report on some files for programs: the same inputs give the same bytes.
pub fn json(
    checks: &[(String, Vec<u8>, Checked)],
    verdict: Verdict,
    trust_sha256: &str,
) -> Result<String, serde_json::Error> {
    let document = Document {
        format: FORMAT,
        verdict: verdict.as_str(),
        exit_code: exit::number(verdict),
        trust_sha256,
        proofs: checks.iter().map(proof_document).collect(),
        not_claimed: Checked::NOT_CLAIMED,
    };
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

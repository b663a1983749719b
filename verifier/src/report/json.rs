//! The report as JSON: the same inputs give the same bytes.

use ledger::line::{KeyLine, Term};
use ledger::verify::{self, ChunkReport, Finding, Policy, Report, WorkspaceReport};
use serde::Serialize;

use super::Inputs;
use crate::exit;

/// Which form the JSON has.
const FORMAT: &str = "tallystick/report/v1";

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    verdict: &'static str,
    exit_code: u8,
    origin: &'a str,
    archive: &'a str,
    scope: Option<&'a str>,
    resumed_from_leaf: Option<u64>,
    policy: PolicyDocument,
    inputs: Vec<Input<'a>>,
    log_size: u64,
    log_root: Option<String>,
    seal_keys: Vec<SealKey>,
    hours: Option<Hours>,
    hour_notes: usize,
    chunks: u64,
    events: u64,
    payload_bytes: u64,
    pruned: Pruned,
    outside: Pruned,
    lock: StoreLock<'a>,
    workspaces: Vec<Workspace<'a>>,
    objects: Vec<Object<'a>>,
    findings: Vec<FindingDocument<'a>>,
    not_claimed: &'static [&'static str],
}

/// What was asked for.
#[derive(Serialize)]
struct PolicyDocument {
    since: Option<String>,
    until: Option<String>,
    expect_through: Option<String>,
    allow_erased: bool,
    allow_pruned: bool,
    min_kept_days: u64,
    expect_locked: bool,
    max_late_micros: Option<u64>,
    max_ahead_micros: Option<u64>,
}

#[derive(Serialize)]
struct Input<'a> {
    name: &'a str,
    sha256: String,
}

#[derive(Serialize)]
struct SealKey {
    key: String,
    from_leaf: u64,
    entrance: &'static str,
    revoked: bool,
}

#[derive(Serialize)]
struct Hours {
    first: String,
    last: String,
}

#[derive(Serialize)]
struct Workspace<'a> {
    workspace: &'a str,
    last_seq: Option<u64>,
    link: Option<String>,
    events: u64,
    custodian_events: u64,
    withheld: u64,
    pruned: Pruned,
    outside: Pruned,
    pinned: bool,
    signers: Vec<Signer>,
    missing_counters: Vec<Missing>,
}

/// A key that signed, as it was allowed to.
#[derive(Serialize)]
struct Signer {
    key: String,
    role: &'static str,
    submissions: u64,
    events: u64,
}

/// The object of a chunk that the log names, as its newest manifest states it.
#[derive(Serialize)]
struct Object<'a> {
    workspace: &'a str,
    hour: String,
    part: u64,
    first_seq: u64,
    last_seq: u64,
    object: &'a str,
    bytes: u64,
    sha256: String,
    state: &'static str,
}

#[derive(Serialize)]
struct Missing {
    key: String,
    ranges: Vec<(u64, u64)>,
    maybe_pruned: bool,
    maybe_outside: bool,
}

#[derive(Serialize)]
struct StoreLock<'a> {
    mode: &'static str,
    until: Option<&'a str>,
}

#[derive(Serialize)]
struct Pruned {
    chunks: u64,
    events: u64,
}

#[derive(Serialize)]
pub(super) struct FindingDocument<'a> {
    id: &'static str,
    severity: &'static str,
    title: &'static str,
    object: Option<&'a str>,
    log_index: Option<u64>,
    workspace: Option<&'a str>,
    hour: Option<String>,
    seq: Option<u64>,
    column: Option<&'static str>,
    expected: Option<&'a str>,
    found: Option<&'a str>,
    detail: Option<&'a str>,
}

fn seal_keys(line: &KeyLine) -> Vec<SealKey> {
    let key = |term: &Term| SealKey {
        key: term.key.to_string(),
        from_leaf: term.before.size,
        entrance: term.entrance.as_str(),
        revoked: line.revoked().contains(&term.key),
    };
    line.terms().map(key).collect()
}

fn pruned(report: &verify::Pruned) -> Pruned {
    Pruned { chunks: report.chunks, events: report.events }
}

fn workspace(report: &WorkspaceReport) -> Workspace<'_> {
    Workspace {
        workspace: report.workspace.as_str(),
        last_seq: report.head.map(|(seq, _)| seq.get()),
        link: report.head.map(|(_, link)| link.to_string()),
        events: report.events,
        custodian_events: report.custodian_events,
        withheld: report.withheld,
        pruned: pruned(&report.pruned),
        outside: pruned(&report.outside),
        pinned: report.pinned,
        signers: report
            .signers
            .iter()
            .map(|(key, signed)| Signer {
                key: key.to_string(),
                role: signed.role.as_str(),
                submissions: signed.submissions,
                events: signed.events,
            })
            .collect(),
        missing_counters: report
            .missing_counters
            .iter()
            .map(|missing| Missing {
                key: missing.key.to_string(),
                ranges: missing.ranges.clone(),
                maybe_pruned: missing.maybe_pruned,
                maybe_outside: missing.maybe_outside,
            })
            .collect(),
    }
}

pub(super) fn finding(finding: &Finding) -> FindingDocument<'_> {
    let place = &finding.place;
    FindingDocument {
        id: finding.check.id(),
        severity: finding.check.severity().as_str(),
        title: finding.check.title(),
        object: place.object.as_deref(),
        log_index: place.log_index,
        workspace: place.workspace.as_ref().map(ledger::names::Workspace::as_str),
        hour: place.hour.map(|hour| hour.to_string()),
        seq: place.seq,
        column: place.column,
        expected: finding.expected.as_deref(),
        found: finding.found.as_deref(),
        detail: finding.detail.as_deref(),
    }
}

fn policy(policy: &Policy) -> PolicyDocument {
    PolicyDocument {
        since: policy.since.map(|since| since.to_string()),
        until: policy.until.map(|until| until.to_string()),
        expect_through: policy.expect_through.map(|through| through.to_string()),
        allow_erased: policy.allow_erased,
        allow_pruned: policy.allow_pruned,
        min_kept_days: policy.min_kept_days,
        expect_locked: policy.expect_locked,
        max_late_micros: policy.max_late,
        max_ahead_micros: policy.max_ahead,
    }
}

fn object(chunk: &ChunkReport) -> Object<'_> {
    let manifest = &chunk.manifest;
    Object {
        workspace: manifest.workspace.as_str(),
        hour: manifest.hour.to_string(),
        part: manifest.part,
        first_seq: manifest.first_seq.get(),
        last_seq: manifest.last_seq.get(),
        object: &manifest.object,
        bytes: manifest.digest.bytes,
        sha256: manifest.digest.sha256.to_string(),
        state: chunk.state.as_str(),
    }
}

/// Writes the report, with what it rests on.
pub fn write(report: &Report, inputs: Inputs<'_>) -> Result<String, serde_json::Error> {
    let Inputs { archive, trust_sha256, parts } = inputs;
    let parts: Vec<_> = parts.iter().map(|part| (part.name(), part.sha256.to_string())).collect();
    let mut inputs = vec![Input { name: "trust file", sha256: trust_sha256.to_owned() }];
    for (name, sha256) in &parts {
        inputs.push(Input { name, sha256: sha256.clone() });
    }
    inputs.extend(
        report
            .checkpoint
            .iter()
            .map(|input| Input { name: &input.name, sha256: input.sha256.to_string() }),
    );
    let document = Document {
        format: FORMAT,
        verdict: report.verdict.as_str(),
        exit_code: exit::number(report.verdict),
        origin: &report.origin,
        archive,
        scope: report.scope.as_ref().map(ledger::names::Workspace::as_str),
        resumed_from_leaf: report.resumed,
        policy: policy(&report.detail.policy),
        inputs,
        log_size: report.log_size,
        log_root: report.detail.log_root.map(|root| root.to_string()),
        seal_keys: report.seal_keys.as_ref().map_or_else(Vec::new, seal_keys),
        hours: report
            .hours
            .map(|(first, last)| Hours { first: first.to_string(), last: last.to_string() }),
        hour_notes: report.detail.hours.len(),
        chunks: report.chunks,
        events: report.events,
        payload_bytes: report.payload_bytes,
        pruned: pruned(&report.pruned),
        outside: pruned(&report.outside),
        lock: StoreLock { mode: report.lock.as_str(), until: report.lock.until() },
        workspaces: report.workspaces.iter().map(workspace).collect(),
        objects: report.detail.chunks.iter().map(object).collect(),
        findings: report.findings.iter().map(finding).collect(),
        not_claimed: Report::NOT_CLAIMED,
    };
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

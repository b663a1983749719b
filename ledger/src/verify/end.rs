//! What an audit comes to at its end: what the auditor knows, and asks for beyond an intact archive.

use std::collections::BTreeSet;

use crate::chunk::ChunkManifest;
use crate::layout::Artefact;
use crate::names::Workspace;
use crate::time::{Hour, Micros};

use super::audit::{Audit, Need};
use super::finding::{Check, Finding, Place};
use super::ids::{DoubledId, IdRuns, doubled_ids};
use super::policy::Policy;
use super::report::{Pruned, Report, Verdict, WorkspaceReport};

impl Audit {
    /// Takes a finding of a driver's own: of what this audit does not compute, as the figures of rollups (T146 to T148).
    pub fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// What was found so far, of the log and of what it names: for a driver that does not bring all that is needed.
    pub fn found_so_far(&self) -> Vec<Finding> {
        let of_log = self.walk.findings.iter().chain(&self.walk.seal.findings);
        self.findings.iter().chain(of_log).cloned().collect()
    }

    /// Whether the store lists an object; as far as it is known: it may not have listed any.
    pub fn may_be_there(&self, key: &str) -> bool {
        self.unlisted || self.listed.contains(key)
    }

    /// The chunks that are still to be asked for, in the order of the log.
    pub fn chunks_to_come(&self) -> impl Iterator<Item = &ChunkManifest> {
        self.queue.iter().filter_map(|need| match need {
            Need::Chunk { manifest, .. } => Some(&**manifest),
            Need::Listing | Need::Object(_) => None,
        })
    }

    /// Takes word that a part could not be checked, and why.
    pub fn unchecked(&mut self, what: impl ToString) {
        self.findings.push(Finding::new(Check::Unchecked, Place::default()).because(what));
    }

    /// Takes away the ids of the chunks that were merged since the last call. Whoever takes them tells of those
    /// that stand twice ([`Audit::doubled`]); the audit itself compares what is left here at its end.
    pub fn take_ids(&mut self) -> IdRuns {
        std::mem::take(&mut self.ids)
    }

    /// Takes word of ids that stand in the chain of a workspace more than once.
    pub fn doubled(&mut self, workspace: &Workspace, doubled: impl Iterator<Item = DoubledId>) {
        if let Some(check) = self.workspaces.get_mut(workspace) {
            check.doubled(doubled);
        }
    }

    /// Ends the audit: what holds over whole chains, the auditor's policy, the verdict.
    pub fn finish(mut self) -> Report {
        self.findings.append(&mut self.walk.findings);
        self.findings.append(&mut self.walk.seal.findings);
        let mut workspaces: Vec<WorkspaceReport> = Vec::new();
        for (workspace, runs) in self.take_ids() {
            self.doubled(&workspace, doubled_ids(runs.into_iter().map(Vec::into_iter)));
        }
        let done = self.is_done();
        for (name, mut check) in std::mem::take(&mut self.workspaces) {
            if !done {
                check.cut();
            }
            self.findings.extend(check.chain.claims.findings(&name, &self.policy));
            let finished = check.finish(self.walk.heads.get(&name));
            self.findings.extend(finished.findings);
            workspaces.push(finished.report);
        }
        if !self.is_done() {
            self.unchecked("the verification was ended before it was done");
        }
        if self.log_is_whole() {
            self.check_workspaces();
            self.check_freshness();
            self.check_times();
        }
        self.check_policy();
        self.findings
            .sort_by(|a, b| b.check.severity().cmp(&a.check.severity()).then_with(|| a.cmp(b)));
        let events = workspaces.iter().map(|workspace| workspace.events).sum();
        let pruned = workspaces.iter().map(|workspace| workspace.pruned).sum::<Pruned>();
        let detail = self.detail(&workspaces);
        Report {
            verdict: Verdict::of(&self.findings),
            origin: self.trust.origin.to_string(),
            scope: self.policy.workspace,
            checkpoint: self.checkpoint_input,
            checkpoint_note: self.checkpoint_note,
            log_size: self.walk.size,
            seal_keys: self.walk.seal.line().cloned(),
            hours: self.walk.first_hour.zip(self.walk.last_hour),
            lock: self.lock,
            chunks: self.chunks,
            events,
            payload_bytes: self.payload_bytes,
            pruned,
            outside: workspaces.iter().map(|workspace| workspace.outside).sum(),
            resumed: self.resumed.map(|resumed| resumed.size),
            workspaces,
            detail,
            findings: self.findings,
        }
    }

    pub(super) fn check_workspaces(&mut self) {
        let known = self.trust.workspaces.keys().chain(&self.policy.workspace);
        let missing: BTreeSet<_> = known
            .filter(|name| self.in_scope(name) && self.walk.heads.get(name).is_none())
            .cloned()
            .collect();
        for workspace in missing {
            let place = Place::workspace(&workspace);
            self.findings.push(Finding::new(Check::WorkspaceMissing, place));
        }
    }

    /// A log only grows: one that is shorter than what the auditor has seen was cut.
    pub(super) fn check_seen(&mut self) {
        let Some(size) = self.checkpoint.as_ref().map(|checkpoint| checkpoint.size) else {
            return;
        };
        for seen in self.trust.seen.iter().filter(|seen| seen.size > size) {
            let place = Place::object(Artefact::Checkpoint);
            let finding = Finding::new(Check::SeenShrunk, place);
            self.findings.push(finding.differs(seen, format!("{size} leaves")));
        }
    }

    pub(super) fn check_freshness(&mut self) {
        let Some(through) = self.policy.expect_through else {
            return;
        };
        let sealed = self.walk.last_hour.map_or(0, Hour::end);
        if sealed < through.get() {
            let found = match Micros::new(sealed) {
                Some(end) if sealed > 0 => format!("sealed through {end}"),
                _ => "nothing sealed".to_owned(),
            };
            let finding = Finding::new(Check::Stale, Place::default());
            self.findings.push(finding.differs(format!("sealed through {through}"), found));
        }
    }

    /// Times in which nothing is sealed leave nothing to be proven.
    pub(super) fn check_times(&mut self) {
        let Policy { since, until, .. } = self.policy;
        if since.is_none() && until.is_none() {
            return;
        }
        let sealed = self.walk.first_hour.zip(self.walk.last_hour);
        // Sealed hours follow each other without a gap.
        let lies = sealed.is_some_and(|(first, last)| {
            since.is_none_or(|since| last.end() > since.get())
                && until.is_none_or(|until| first.start() < until)
        });
        if lies {
            return;
        }
        let since = since.map_or_else(String::new, |since| format!(" since {since}"));
        let until = until.map_or_else(String::new, |until| format!(" until {until}"));
        let found = match sealed {
            Some((first, last)) => format!("sealed hours {first} to {last}"),
            None => "nothing sealed".to_owned(),
        };
        let finding = Finding::new(Check::NoHour, Place::default());
        self.findings.push(finding.differs(format!("a sealed hour{since}{until}"), found));
    }

    /// Compares the archive with what the auditor asks for, and takes out what they allow.
    pub(super) fn check_policy(&mut self) {
        self.check_seen();
        self.check_retention();
        self.check_lock();
        let Policy { allow_erased, allow_pruned, .. } = self.policy;
        let allowed = |check| {
            (check == Check::Erased && allow_erased) || (check == Check::Pruned && allow_pruned)
        };
        self.findings.retain(|finding| !allowed(finding.check));
    }
}

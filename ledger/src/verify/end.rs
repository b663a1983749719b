//! What an audit comes to at its end: what the auditor knows, and asks for beyond an intact archive.

use std::collections::BTreeSet;

use crate::layout::Artefact;
use crate::names::Workspace;
use crate::time::{Hour, Micros};

use super::audit::Audit;
use super::finding::{Check, Finding, Place};
use super::policy::Policy;

impl Audit {
    pub(super) fn in_scope(&self, workspace: &Workspace) -> bool {
        self.policy.workspace.as_ref().is_none_or(|scope| scope == workspace)
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

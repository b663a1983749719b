//! Objects that lie in the archive and that the log does not name: an archiver at work, or somebody
//! else (`docs/spec/layout.md`).
//!
//! Not here: objects that the log names (see [`super::audit`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::{self, Artefact};
use crate::limits::TILE_WIDTH;
use crate::time::Hour;

use super::audit::Audit;
use super::finding::{Check, Finding, Place};

/// Objects that are told one by one. Whoever fills a store with others does not fill the report with them.
const TOLD_MAX: usize = 10_000;

impl Audit {
    /// Objects in the archive's prefixes that nothing in the log names.
    pub(super) fn unknown_objects(&mut self) {
        const PREFIXES: [&str; 5] = ["log/", "hours/", "manifests/", "events/", "rollups/"];
        let mut named: BTreeSet<Artefact> = self.expected.keys().cloned().collect();
        named.extend(self.known.iter().cloned());
        named.insert(Artefact::Checkpoint);
        named.extend(layout::bundles(self.walk.size));
        named.extend(self.walk.rollups.objects());
        for chunk in &self.walk.chunks {
            let manifests = chunk.superseded.iter().chain([&chunk.manifest]);
            for manifest in manifests {
                let (range, erasure) = (manifest.range(), manifest.erasure());
                named.insert(Artefact::Manifest { range: range.clone(), erasure });
                named.insert(Artefact::Events { range, erasure });
            }
        }
        let ours = |key: &&String| PREFIXES.iter().any(|prefix| key.starts_with(prefix));
        let mut told = BTreeMap::<Check, usize>::new();
        for key in self.listed.iter().filter(ours) {
            let check = match Artefact::parse(key) {
                Some(artefact) if named.contains(&artefact) => continue,
                Some(artefact) if self.is_later(&artefact) => Check::Unlogged,
                _ => Check::UnknownObject,
            };
            let count = told.entry(check).or_default();
            *count = count.saturating_add(1);
            if *count <= TOLD_MAX {
                self.findings.push(Finding::new(check, Place::object(key)));
            }
        }
        for (check, count) in told {
            if let Some(more @ 1..) = count.checked_sub(TOLD_MAX) {
                let reason = format!("and {more} more objects, not told one by one");
                self.findings.push(Finding::new(check, Place::default()).because(reason));
            }
        }
    }

    /// Whether an object belongs to what an archiver may be writing right now.
    fn is_later(&self, artefact: &Artefact) -> bool {
        let after = |hour: Hour| self.walk.last_hour.is_none_or(|last| hour > last);
        // The index comes from a key in the store: it may be any number.
        let beyond = |index: u64, width: u16, count: u64| {
            index.saturating_mul(TILE_WIDTH).saturating_add(u64::from(width)) > count
        };
        match artefact {
            Artefact::HourNote(hour) | Artefact::HourHeads(hour) => after(*hour),
            Artefact::Manifest { range, erasure } | Artefact::Events { range, erasure } => {
                after(range.hour) || self.walk.may_amend(range, *erasure)
            }
            Artefact::Bundle { index, width } => beyond(*index, *width, self.walk.size),
            Artefact::Tile { level, index, width } => {
                beyond(*index, *width, self.walk.size >> (8 * u32::from(*level)))
            }
            Artefact::Checkpoint => false,
            // A run that died may have left it, for good where the store locks objects: its key has the digest of
            // figures that were never logged, and counts for nothing.
            Artefact::RollupSql { .. } | Artefact::Rollup(_) | Artefact::RollupNote(_) => true,
        }
    }
}

//! Objects that lie in the archive and that the log does not name: an archiver at work, or somebody
//! else (`docs/spec/layout.md`).
//!
//! Not here: objects that the log names (see [`super::audit`]).

use std::collections::BTreeSet;

use crate::layout::{self, Artefact};
use crate::limits::TILE_WIDTH;
use crate::time::Hour;

use super::audit::Audit;
use super::finding::{Check, Finding, Place};

impl Audit {
    /// Objects in the archive's prefixes that nothing in the log names.
    pub(super) fn unknown_objects(&mut self) {
        const PREFIXES: [&str; 5] = ["log/", "hours/", "manifests/", "events/", "rollups/"];
        let mut named: BTreeSet<Artefact> = self.expected.keys().cloned().collect();
        named.extend(self.known.iter().cloned());
        named.insert(Artefact::Checkpoint);
        named.extend(layout::bundles(self.walk.size));
        for chunk in &self.walk.chunks {
            let manifests = chunk.superseded.iter().chain([&chunk.manifest]);
            for manifest in manifests {
                let (range, erasure) = (manifest.range(), manifest.erasure());
                named.insert(Artefact::Manifest { range: range.clone(), erasure });
                named.insert(Artefact::Events { range, erasure });
            }
        }
        let ours = |key: &&String| PREFIXES.iter().any(|prefix| key.starts_with(prefix));
        for key in self.listed.iter().filter(ours) {
            let place = || Place::object(key);
            match Artefact::parse(key) {
                Some(artefact) if named.contains(&artefact) => {}
                Some(artefact) if self.is_later(&artefact) => {
                    self.findings.push(Finding::new(Check::Unlogged, place()));
                }
                _ => self.findings.push(Finding::new(Check::UnknownObject, place())),
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
            Artefact::Checkpoint | Artefact::Rollup(_) => false,
        }
    }
}

//! Rollups in the log: that their manifests follow on each other, and that what they name is there
//! (FORMAT section 11, `docs/spec/rollups.md`).
//!
//! Not here: what a manifest and a definition say (see [`crate::rollup`]), and from which chunks a rollup should have
//! been computed (see [`super::inputs`]). Whether its figures are right only computing them anew can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::hash::Digest;
use crate::layout::{Artefact, RollupPlace};
use crate::names::{RollupName, Workspace};
use crate::rollup::{Definition, RollupManifest};
use crate::time::Day;

use super::audit::{Audit, Expected};
use super::chunk::ChunkOutcome;
use super::finding::{Check, Finding, Place};
use super::log::LogWalk;

/// What is restated by revisions: one day of a workspace, by one version of a definition.
pub(super) type Series = (RollupName, Workspace, Day, u32);

/// A rollup as the log has it.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) manifest: Arc<RollupManifest>,
    /// Its leaf.
    pub(super) leaf: u64,
    /// Whether the log before it gives it a definition and a workspace.
    pub(super) is_sound: bool,
}

impl Logged {
    pub(super) fn place(&self) -> Place {
        Place { log_index: Some(self.leaf), ..place_of(&self.manifest) }
    }
}

fn place_of(manifest: &RollupManifest) -> Place {
    let (object, workspace) = (manifest.object.clone(), manifest.workspace.clone());
    Place { object: Some(object), workspace: Some(workspace), ..Place::default() }
}

fn series(place: &RollupPlace) -> Series {
    let RollupPlace { name, workspace, day, version, .. } = place;
    (name.clone(), workspace.clone(), *day, *version)
}

/// The rollups that have been read of the log.
#[derive(Debug, Default)]
pub(super) struct Rollups {
    /// In the order of the log.
    pub(super) logged: Vec<Logged>,
    /// The digest of each definition, as the first rollup of it states.
    definitions: BTreeMap<(RollupName, u32), Digest>,
    /// The newest revision of each day, and which of those logged it is.
    pub(super) newest: BTreeMap<Series, (u32, usize)>,
    workspaces: BTreeSet<Workspace>,
}

impl Rollups {
    /// Whether any is of this workspace.
    pub(super) fn are_of(&self, workspace: &Workspace) -> bool {
        self.workspaces.contains(workspace)
    }

    /// The workspaces that they are of.
    pub(super) fn workspaces(&self) -> impl Iterator<Item = &Workspace> {
        self.workspaces.iter()
    }

    /// Whether one is the newest revision of its day.
    pub(super) fn is_newest(&self, at: usize) -> bool {
        let series = self.logged.get(at).map(|logged| series(&logged.manifest.place()));
        series.and_then(|series| self.newest.get(&series)).is_some_and(|(_, newest)| *newest == at)
    }

    /// All that their manifests name.
    pub(super) fn objects(&self) -> impl Iterator<Item = Artefact> {
        let definitions = self.definitions.keys().cloned();
        let of = |logged: &Logged| {
            let place = logged.manifest.place();
            [Artefact::Rollup(place.clone()), Artefact::RollupNote(place)]
        };
        definitions
            .map(|(name, version)| Artefact::RollupSql { name, version })
            .chain(self.logged.iter().flat_map(of))
    }
}

impl LogWalk {
    /// Takes a rollup manifest.
    pub(super) fn rollup(&mut self, body: &str, note: Digest, place: Place) {
        let manifest = match RollupManifest::parse(body) {
            Ok(manifest) => manifest,
            Err(error) => {
                let finding = Finding::new(Check::RollupMalformed, place);
                return self.findings.push(finding.because(error));
            }
        };
        let place = Place { log_index: place.log_index, ..place_of(&manifest) };
        if manifest.origin != self.origin {
            let finding = Finding::new(Check::LeafOrigin, place);
            return self.findings.push(finding.differs(&self.origin, &manifest.origin));
        }
        let (leaf, of) = (self.newest_leaf(), manifest.place());
        self.copies.push((leaf, Artefact::RollupNote(of.clone()), note));
        let finding = || Finding::new(Check::RollupOrder, place.clone());
        let mut is_sound = true;
        if !self.has_chunk_of(&manifest.workspace) {
            is_sound = false;
            self.findings.push(finding().because("no chunk of its workspace was logged before it"));
        }
        let definition = (manifest.name.clone(), manifest.version);
        let sql = *self.rollups.definitions.entry(definition).or_insert(manifest.sql_sha256);
        if sql != manifest.sql_sha256 {
            is_sound = false;
            let finding = finding().differs(sql, manifest.sql_sha256);
            self.findings.push(finding.because("a version of a definition has one text"));
        }
        let newest = self.rollups.newest.get(&series(&of)).map(|(revision, _)| *revision);
        let next = newest.map_or(Some(0), |newest| newest.checked_add(1));
        if next != Some(manifest.revision) {
            let expected = next.map_or_else(|| "none".to_owned(), |next| next.to_string());
            let found = manifest.revision;
            self.findings.push(finding().differs(expected, found).because("revision"));
        }
        let rollups = &mut self.rollups;
        // From here on revisions are counted from the stated one: one wrong number is one finding.
        rollups.newest.insert(series(&of), (manifest.revision, rollups.logged.len()));
        rollups.workspaces.insert(manifest.workspace.clone());
        rollups.logged.push(Logged { manifest: Arc::new(manifest), leaf, is_sound });
    }
}

/// What is known of the days that a chunk's rows occurred on.
#[derive(Debug)]
pub(super) enum Occurred {
    /// These days in order, each with whether a row of it has its payload.
    On(Box<[(Day, bool)]>),
    /// There is a finding about the chunk, so that nobody has to be told that it was not compared.
    Broken,
}

/// What rollups are checked against, beside the log.
#[derive(Debug, Default)]
pub(super) struct RollupCheck {
    /// The definitions that the archive holds.
    pub(super) definitions: BTreeMap<(RollupName, u32), Definition>,
    /// Of each chunk that was read, as an index into the walk's.
    pub(super) occurred: BTreeMap<usize, Occurred>,
}

impl RollupCheck {
    /// Takes a chunk that is merged; one without an outcome was pruned.
    pub(super) fn chunk(&mut self, index: usize, outcome: Option<&ChunkOutcome>) {
        let Some(outcome) = outcome.filter(|outcome| !outcome.outside) else { return };
        let occurred = if outcome.broken || !outcome.findings.is_empty() {
            Some(Occurred::Broken)
        } else {
            outcome.days.known().map(Occurred::On)
        };
        self.occurred.extend(occurred.map(|occurred| (index, occurred)));
    }

    /// The definition that a rollup was computed by, where it is known.
    pub(super) fn definition(&self, rollup: &Logged) -> Option<&Definition> {
        let RollupManifest { name, version, .. } = &*rollup.manifest;
        rollup.is_sound.then(|| self.definitions.get(&(name.clone(), *version))).flatten()
    }
}

impl Audit {
    /// Asks for what the log's rollups name.
    pub(super) fn expect_rollups(&mut self) {
        let compared = self.resumed.as_ref().map_or(0, |resumed| resumed.compared);
        let missing = Some(Check::ObjectMissing);
        for index in 0..self.walk.rollups.logged.len() {
            let Some(Logged { manifest, leaf, .. }) = self.walk.rollups.logged.get(index) else {
                continue;
            };
            if !self.in_scope(&manifest.workspace) {
                continue;
            }
            let (manifest, leaf) = (Arc::clone(manifest), *leaf);
            let definition = (manifest.name.clone(), manifest.version);
            // A definition is small, and what was checked before may be stale by it: it is always fetched.
            if let Some(digest) = self.walk.rollups.definitions.get(&definition).copied() {
                let (name, version) = definition;
                let differs = Check::ObjectDigest;
                let expected = Expected { digest, stated: None, missing, differs };
                self.expected.insert(Artefact::RollupSql { name, version }, expected);
            }
            let artefact = Artefact::Rollup(manifest.place());
            if leaf < compared {
                let place = place_of(&manifest);
                self.still_there(&manifest.object, Check::ObjectMissing, place);
                self.known.insert(artefact);
                continue;
            }
            let (digest, stated) = (manifest.digest.sha256, Some(manifest.digest));
            let expected = Expected { digest, stated, missing, differs: Check::ObjectDigest };
            self.expected.insert(artefact, expected);
        }
    }

    /// Takes the text of a definition, which has the digest that the log states.
    pub(super) fn definition(&mut self, artefact: &Artefact, bytes: &[u8]) {
        let finding = Finding::new(Check::RollupDefinition, Place::object(artefact));
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string());
        let read = text.and_then(|text| Definition::parse(text).map_err(|e| e.to_string()));
        match read {
            Err(reason) => self.findings.push(finding.because(reason)),
            Ok(definition) if definition.artefact() == *artefact => {
                let key = (definition.name.clone(), definition.version);
                self.rollups.definitions.insert(key, definition);
            }
            Ok(definition) => {
                let found = definition.artefact();
                self.findings.push(finding.differs(artefact, found));
            }
        }
    }
}

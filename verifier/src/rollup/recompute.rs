//! Computing again what an archive's rollups state, from the chunks that the log says they were computed from.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::hash::Digest;
use ledger::rollup::{Definition, RollupManifest};
use ledger::verify::{Check, ChunkCheck, Finding, LoggedRollup, Place};

use super::{
    Computed, Engine, FactsFile, Task, compare_stated, definitions, engine_name, on_threads,
    write_facts,
};
use crate::audit::chunk_object;
use crate::room::OBJECTS;
use crate::store::{ArchiveSource, OBJECT_BYTES_MAX};

/// Rows that a finding shows of those that differ.
const SHOWN: usize = 3;

/// What computing again came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recomputed {
    /// Rollups that were computed again.
    pub computed: u64,
    /// Rollups that could not be: a finding of the audit says why.
    pub left: u64,
    /// Rollups that could not be, by their objects, for a reason that no finding has: what the store gave when it was
    /// asked again, or this machine's memory or disk.
    pub failed: Vec<(String, String)>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Computes rollups again, some at a time, and compares. `scratch` is an empty directory; `go_on` is asked before each
/// of these times.
pub fn recompute(
    source: &(dyn ArchiveSource + Send + Sync),
    rollups: &[LoggedRollup],
    engine: &Engine,
    scratch: &Path,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Recomputed {
    // Days that follow on each other read the same chunks.
    let mut order: Vec<&LoggedRollup> = rollups.iter().collect();
    order.sort_by_key(|rollup| {
        let RollupManifest { workspace, day, name, revision, .. } = &rollup.manifest;
        (workspace.clone(), *day, name.clone(), *revision)
    });
    let mut last_use = BTreeMap::new();
    for (at, rollup) in order.iter().enumerate() {
        last_use.extend(rollup.inputs.iter().flatten().map(|(_, note)| (*note, at)));
    }
    let mut again = Recomputed { findings: unknown(rollups), ..Recomputed::default() };
    let mut done = 0;
    for some in order.chunks(engine.at_a_time()) {
        done += some.len();
        let stated: Vec<Stated<'_>> = some.iter().filter_map(|rollup| stated(rollup)).collect();
        let going_on = go_on();
        let count = if going_on { some.len().saturating_sub(stated.len()) } else { some.len() };
        again.left = again.left.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if going_on {
            of_some(source, &stated, engine, scratch, &mut again);
        }
        for (_, note) in some.iter().flat_map(|rollup| rollup.inputs.iter().flatten()) {
            if last_use.get(note).is_some_and(|last| *last < done) {
                // Where it was never written, or is gone already, there is nothing to remove.
                let _ = std::fs::remove_file(facts_path(scratch, note));
            }
        }
    }
    again
}

/// Whether a text is one of this program's. No other is run: whoever wrote it may want the run never to end.
fn is_known(definition: &Definition) -> bool {
    definitions().iter().any(|known| known.sha256 == definition.sha256)
}

/// Definitions that are none of this program's: one finding each.
fn unknown(rollups: &[LoggedRollup]) -> Vec<Finding> {
    let read = rollups.iter().filter_map(|rollup| rollup.definition.as_ref());
    let unknown: BTreeSet<_> = read
        .filter(|definition| !is_known(definition))
        .map(|definition| (definition.artefact().to_string(), definition.sha256))
        .collect();
    let finding = |(key, sha256): (String, Digest)| {
        Finding::new(Check::RollupUnknown, Place::object(key)).because(format!("sha256 {sha256}"))
    };
    unknown.into_iter().map(finding).collect()
}

fn facts_path(scratch: &Path, note: &Digest) -> std::path::PathBuf {
    scratch.join(format!("{note}.parquet"))
}

/// A rollup that can be computed again.
struct Stated<'a> {
    rollup: &'a LoggedRollup,
    definition: &'a Definition,
    inputs: &'a [(Arc<ChunkManifest>, Digest)],
    notes: Vec<Digest>,
}

/// What there is to compute a rollup again from; `None` where the audit has found already what stands in the way.
fn stated(rollup: &LoggedRollup) -> Option<Stated<'_>> {
    let LoggedRollup { definition: Some(definition), inputs: Some(inputs), .. } = rollup else {
        return None;
    };
    let notes = inputs.iter().map(|(_, note)| *note).collect();
    is_known(definition).then_some(Stated { rollup, definition, inputs, notes })
}

/// Computes some again.
fn of_some(
    source: &(dyn ArchiveSource + Send + Sync),
    stated: &[Stated<'_>],
    engine: &Engine,
    scratch: &Path,
    again: &mut Recomputed,
) {
    let chunks: BTreeMap<Digest, &Arc<ChunkManifest>> =
        stated.iter().flat_map(|of| of.inputs.iter().map(|(chunk, note)| (*note, chunk))).collect();
    let chunks: Vec<_> = chunks.into_iter().collect();
    let read = on_threads(&chunks, engine.partitions(), |(note, chunk)| {
        (*note, read(source, chunk, &facts_path(scratch, note)))
    });
    let facts: BTreeMap<_, _> = read.into_iter().collect();
    let mut tasks = Vec::new();
    let mut of_tasks = Vec::new();
    for of in stated {
        let RollupManifest { origin, workspace, day, object, .. } = &of.rollup.manifest;
        let unread = || Err("a chunk was not read".to_owned());
        let files = of.notes.iter().map(|note| facts.get(note).cloned().unwrap_or_else(unread));
        match files.collect::<Result<Vec<FactsFile>, String>>() {
            Ok(files) => {
                let (definition, inputs) = (of.definition, &of.notes[..]);
                tasks.push((Task { origin, workspace, day: *day, definition, inputs }, files));
                of_tasks.push(of);
            }
            Err(reason) => again.failed.push((object.clone(), reason)),
        }
    }
    for (result, of) in engine.compute_all(&tasks).into_iter().zip(of_tasks) {
        // Only texts of our own are run: where one fails, it is this machine's memory or disk, and nobody's lie.
        let told = result.map_err(|error| error.to_string());
        match told.and_then(|computed| differs(source, of, computed)) {
            Ok(finding) => {
                again.computed = again.computed.saturating_add(1);
                again.findings.extend(finding);
            }
            Err(reason) => again.failed.push((of.rollup.manifest.object.clone(), reason)),
        }
    }
}

/// What is to be said of a rollup that came to this; an error where its object is not what the audit has seen.
fn differs(
    source: &(dyn ArchiveSource + Send + Sync),
    of: &Stated<'_>,
    computed: Computed,
) -> Result<Option<Finding>, String> {
    let LoggedRollup { manifest, leaf, .. } = of.rollup;
    if ObjectDigest::of(&computed.object) == manifest.digest {
        return Ok(None);
    }
    let most = manifest.digest.bytes.min(OBJECT_BYTES_MAX);
    let _share = OBJECTS.take(most);
    let object = source.get_within(&manifest.object, most).map_err(|error| error.to_string())?;
    let object = object.filter(|object| ObjectDigest::of(object) == manifest.digest);
    let object = object.ok_or_else(|| {
        "its object is not what its manifest says, or not there any more".to_owned()
    })?;
    let place = Place {
        log_index: Some(*leaf),
        workspace: Some(manifest.workspace.clone()),
        ..Place::object(&manifest.object)
    };
    let finding = Finding::new(Check::RollupWrong, place);
    Ok(told(of, Bytes::from(object), Bytes::from(computed.object), finding))
}

/// What is to be said of an object that is not what comes of the chunks.
fn told(of: &Stated<'_>, object: Bytes, computed: Bytes, finding: Finding) -> Option<Finding> {
    let key = &of.definition.key;
    // What is stated is the seal key holder's file: should a library panic over it, it is wrong all the same.
    let differences = match catch_unwind(|| compare_stated(&object, &computed, key)) {
        Ok(Ok(differences)) => differences,
        Ok(Err(error)) => return Some(finding.because(error)),
        Err(_) => return Some(finding.because("the object cannot be read")),
    };
    if !differences.is_empty() {
        let rows = differences.rows.iter().take(SHOWN).map(|row| row.to_string().trim().to_owned());
        let rows = rows.collect::<Vec<_>>().join("; ");
        let (changed, added, removed) =
            (differences.changed, differences.added, differences.removed);
        return Some(finding.because(format!(
            "from what is stated to what the chunks come to, {changed} rows change, {added} come and {removed} go: {rows}"
        )));
    }
    // Another version of the engine may write the same rows in other bytes.
    let same_engine = of.rollup.manifest.engine == engine_name();
    same_engine.then(|| finding.because("the rows are the same, and the bytes around them are not"))
}

/// The facts of an input, read once; why not, where it is not what the log says.
fn read(
    source: &(dyn ArchiveSource + Send + Sync),
    manifest: &Arc<ChunkManifest>,
    path: &Path,
) -> Result<FactsFile, String> {
    if let Some(file) = FactsFile::open(path) {
        return Ok(file);
    }
    let key = &manifest.object;
    let object = chunk_object(source, manifest).map_err(|error| format!("{key}: {error}"))?;
    let (_share, object) = object.ok_or_else(|| format!("{key} is not there"))?;
    if ChunkCheck::open(manifest, &object).is_err() {
        return Err(format!("{key} is not what its manifest says"));
    }
    write_facts(manifest, &object, path).map_err(|error| {
        // What there is of it is no file to go on with.
        let _ = std::fs::remove_file(path);
        error.to_string()
    })
}

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
    Computed, Engine, FactsFile, RollupError, Task, compare, definitions, engine_name, write_facts,
};
use crate::audit::chunk_object;
use crate::store::{ArchiveSource, OBJECT_BYTES_MAX, SourceError};

/// Rows that a finding shows of those that differ.
const SHOWN: usize = 3;

/// Why a rollup could not be computed again: not that it is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecomputeError {
    /// The engine failed.
    #[error(transparent)]
    Rollup(#[from] RollupError),
    /// The store failed.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What computing again came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recomputed {
    /// Rollups that were computed again.
    pub computed: u64,
    /// Rollups that could not be: a finding of the audit says why.
    pub left: u64,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Computes rollups again, one after the other, and compares. `scratch` is an empty directory; `go_on` is asked before
/// each of them.
pub async fn recompute(
    source: &(dyn ArchiveSource + Send + Sync),
    rollups: &[LoggedRollup],
    engine: &Engine,
    scratch: &Path,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Recomputed, RecomputeError> {
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
    for (at, rollup) in order.into_iter().enumerate() {
        if !go_on() {
            again.left = again.left.saturating_add(1);
            continue;
        }
        match one(source, rollup, engine, scratch).await? {
            Some(findings) => {
                again.computed = again.computed.saturating_add(1);
                again.findings.extend(findings);
            }
            None => again.left = again.left.saturating_add(1),
        }
        for (_, note) in rollup.inputs.iter().flatten() {
            if last_use.get(note) == Some(&at) {
                // Where it was never written, there is nothing to remove.
                let _ = std::fs::remove_file(facts_path(scratch, note));
            }
        }
    }
    Ok(again)
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

/// Computes one again; `None` where the audit has found already what stands in the way.
async fn one(
    source: &(dyn ArchiveSource + Send + Sync),
    rollup: &LoggedRollup,
    engine: &Engine,
    scratch: &Path,
) -> Result<Option<Vec<Finding>>, RecomputeError> {
    let LoggedRollup { manifest, leaf, definition: Some(definition), inputs: Some(inputs), .. } =
        rollup
    else {
        return Ok(None);
    };
    if !is_known(definition) {
        return Ok(None);
    }
    let most = manifest.digest.bytes.min(OBJECT_BYTES_MAX);
    let Some(object) = source.get_within(&manifest.object, most).ok().flatten() else {
        return Ok(None);
    };
    if ObjectDigest::of(&object) != manifest.digest {
        return Ok(None);
    }
    let mut facts = Vec::with_capacity(inputs.len());
    for (chunk, note) in inputs {
        match read(source, chunk, &facts_path(scratch, note))? {
            Some(file) => facts.push(file),
            None => return Ok(None),
        }
    }
    let notes: Vec<Digest> = inputs.iter().map(|(_, note)| *note).collect();
    let RollupManifest { origin, workspace, day, .. } = manifest;
    let task = Task { origin, workspace, day: *day, definition, inputs: &notes };
    let place = Place {
        log_index: Some(*leaf),
        workspace: Some(workspace.clone()),
        ..Place::object(&manifest.object)
    };
    let finding = Finding::new(Check::RollupWrong, place);
    Ok(Some(match engine.compute(&task, &facts).await {
        Ok(computed) => {
            differs(manifest, definition, object, computed, finding)?.into_iter().collect()
        }
        // Of a text that is none of ours, it is its author's fault.
        Err(error @ (RollupError::Sql { .. } | RollupError::Column { .. })) => {
            vec![finding.because(error)]
        }
        Err(error) => return Err(error.into()),
    }))
}

fn differs(
    manifest: &RollupManifest,
    definition: &Definition,
    object: Vec<u8>,
    computed: Computed,
    finding: Finding,
) -> Result<Option<Finding>, RollupError> {
    if object == computed.object {
        return Ok(None);
    }
    let (object, computed) = (Bytes::from(object), Bytes::from(computed.object));
    // What is stated is the seal key holder's file, and the library panics over some.
    let compared = catch_unwind(|| compare(&object, &computed, &definition.key));
    let differences = match compared {
        Ok(Ok(differences)) => differences,
        Ok(Err(error)) => return Ok(Some(finding.because(error))),
        Err(_) => return Ok(Some(finding.because("the object cannot be read"))),
    };
    if !differences.is_empty() {
        let rows = differences.rows.iter().take(SHOWN).map(|row| row.to_string().trim().to_owned());
        let rows = rows.collect::<Vec<_>>().join("; ");
        let (changed, added, removed) =
            (differences.changed, differences.added, differences.removed);
        return Ok(Some(finding.because(format!(
            "from what is stated to what the chunks come to, {changed} rows change, {added} come and {removed} go: {rows}"
        ))));
    }
    // Another version of the engine may write the same rows in other bytes.
    let same_engine = manifest.engine == engine_name();
    Ok(same_engine
        .then(|| finding.because("the rows are the same, and the bytes around them are not")))
}

/// The facts of an input, read once; `None` where it is not what the log says, which the audit has found.
fn read(
    source: &(dyn ArchiveSource + Send + Sync),
    manifest: &Arc<ChunkManifest>,
    path: &Path,
) -> Result<Option<FactsFile>, RecomputeError> {
    if path.exists() {
        return Ok(Some(FactsFile { path: path.to_owned(), days: None }));
    }
    let Ok(Some((_share, object))) = chunk_object(source, manifest) else { return Ok(None) };
    if ChunkCheck::open(manifest, &object).is_err() {
        return Ok(None);
    }
    match write_facts(manifest, &object, path) {
        Ok(facts) => Ok(Some(facts)),
        Err(RollupError::Rows { .. }) => {
            // What there is of it is no file to go on with.
            let _ = std::fs::remove_file(path);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

//! A state that is kept in a directory from one verification to the next.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use checks::forge::{Content, Depth};
use ledger::hash::Digest;
use ledger::verify::{Check, Policy, Report, Verdict};
use tempfile::TempDir;
use verifier::audit::{Progress, verify_from};
use verifier::part::Parts;
use verifier::state::{ResumeError, StateDirectory};
use verifier::store::ArchiveSource;

use super::{Honest, Watched, fresh, grown};

fn verify(
    source: &(impl ArchiveSource + Sync),
    honest: &Honest,
    directory: &Path,
    progress: &dyn Progress,
) -> Result<Report, ResumeError> {
    let state = StateDirectory::open(directory, Digest::of(b"trust"))?;
    verify_from(
        source,
        honest.trust.clone(),
        Policy::default(),
        &state,
        &Parts::default(),
        progress,
    )
}

/// The report of an audit from the beginning, but for where it started.
#[track_caller]
fn assert_same(report: Report, fresh: &Report) {
    assert_eq!(&Report { resumed: None, ..report }, fresh);
}

#[test]
fn hour_by_hour_each_chunk_is_fetched_once_and_every_report_is_the_same() {
    for seed in 0..12 {
        let (honest, archives) = grown(seed);
        let directory = TempDir::new().unwrap();
        let mut fetched = Vec::new();
        for (at, archive) in archives.iter().enumerate() {
            let source = Watched::new(archive.clone());
            let report = verify(&source, &honest, directory.path(), &()).unwrap();
            assert_eq!(report.resumed.is_some(), at > 0);
            assert_same(report, &fresh(archive, &honest));
            fetched.extend(source.take());
        }
        let chunks = honest.content.chunks().count();
        assert_eq!(fetched.len(), chunks, "seed {seed}");
        fetched.sort_unstable();
        fetched.dedup();
        assert_eq!(fetched.len(), chunks, "seed {seed}");
        // More files than are kept come to one.
        let files = fs::read_dir(directory.path()).unwrap().count();
        assert!(files <= 10, "{files}");
    }
}

/// Ends a verification after so many chunks.
struct Ends {
    left: AtomicUsize,
}

impl Progress for Ends {
    fn chunk(&self, _events: u64, _of: u64, _chunks_left: usize) {
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    }

    fn go_on(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }
}

#[test]
fn an_interrupted_verification_goes_on_where_it_was() {
    let mut saved = 0;
    for seed in 0..6 {
        let (honest, archives) = grown(seed);
        let archive = archives.last().unwrap();
        let whole = fresh(archive, &honest);
        let chunks = honest.content.chunks().count();
        for stop in 1..chunks {
            let directory = TempDir::new().unwrap();
            let ends = Ends { left: AtomicUsize::new(stop) };
            let report = verify(archive, &honest, directory.path(), &ends).unwrap();
            if report.verdict != whole.verdict {
                assert_eq!(report.verdict, Verdict::Unfinished);
                let found: Vec<_> = report.findings.iter().map(|f| f.check).collect();
                assert!(found.contains(&Check::Unchecked), "{found:?}");
                let grave = |check: &&Check| check.severity() > Check::Unchecked.severity();
                assert_eq!(found.iter().find(grave), None, "{found:?}");
            }
            let source = Watched::new(archive.clone());
            let report = verify(&source, &honest, directory.path(), &()).unwrap();
            assert_same(report, &whole);
            saved += chunks - source.take().len();
        }
    }
    assert!(saved > 20, "{saved}");
}

#[test]
fn an_id_of_last_time_is_found_when_it_comes_again() {
    let mut tried = 0;
    for seed in 0..12 {
        let (honest, archives) = grown(seed);
        let mut content = honest.content.clone();
        // The last submission of the first workspace is recorded once more, at its end.
        let workspace = content.chunks().next().unwrap().manifest.workspace.clone();
        let early = Content::read(&archives[0]);
        let rows = early.chunks().filter(|chunk| chunk.manifest.workspace == workspace);
        let rows: Vec<_> = rows.flat_map(|chunk| chunk.rows.clone()).collect();
        let last = rows.last().unwrap().clone();
        let again: Vec<_> = rows
            .into_iter()
            .filter(|row| row.row.submission_hash == last.row.submission_hash)
            .collect();
        let later = content
            .chunks_mut()
            .filter(|chunk| chunk.manifest.workspace == workspace)
            .filter(|chunk| chunk.manifest.hour > early.chunks().next().unwrap().manifest.hour)
            .last();
        let Some(later) = later else { continue };
        tried += 1;
        let at = later.rows.last().unwrap().row.recorded_at;
        let count = again.len();
        later.rows.extend(again.into_iter().map(|mut row| {
            row.row.recorded_at = at;
            row
        }));
        content.renumber();
        content.settle(Depth::Links, &honest.seal);
        let doubled = content.seal(&honest.seal);

        let directory = TempDir::new().unwrap();
        verify(&archives[0], &honest, directory.path(), &()).unwrap();
        let kept = fs::read(directory.path().join("state.json")).unwrap();
        let report = verify(&doubled, &honest, directory.path(), &()).unwrap();
        let twice = report.findings.iter().filter(|found| found.check == Check::EventTwice);
        assert_eq!(twice.count(), count, "seed {seed}: {:?}", report.findings);
        assert_same(report, &fresh(&doubled, &honest));
        // What is not intact is nothing to go on from.
        assert_eq!(fs::read(directory.path().join("state.json")).unwrap(), kept);
        let report = verify(archives.last().unwrap(), &honest, directory.path(), &()).unwrap();
        assert_same(report, &fresh(archives.last().unwrap(), &honest));
    }
    assert!(tried > 5, "{tried}");
}

#[test]
fn a_state_of_another_trust_file_or_one_that_is_damaged_is_refused() {
    let (honest, archives) = grown(0);
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    verify(&archives[0], &honest, path, &()).unwrap();

    let other = StateDirectory::open(path, Digest::of(b"another trust file")).unwrap();
    let refused = verify_from(
        &archives[1],
        honest.trust.clone(),
        Policy::default(),
        &other,
        &Parts::default(),
        &(),
    );
    assert!(matches!(refused, Err(ResumeError::Trust { .. })), "{refused:?}");
    drop(other);

    // Ids that are not those that were written: then nobody knows whether one stands twice.
    let ids = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let ids = ids.into_iter().find(|path| path.to_string_lossy().contains("ids-")).unwrap();
    let written = fs::read(&ids).unwrap();
    let mut flipped = written.clone();
    flipped[3] ^= 1;
    fs::write(&ids, flipped).unwrap();
    let report = verify(&archives[1], &honest, path, &()).unwrap();
    assert_eq!(report.verdict, Verdict::Unfinished, "{:?}", report.findings);
    fs::write(&ids, &written).unwrap();
    verify(&archives[1], &honest, path, &()).unwrap();
    let state = fs::read_to_string(path.join("state.json")).unwrap();
    for damaged in
        [state.replace("verify-state/v1", "verify-state/v7"), state.split_at(40).0.to_owned()]
    {
        fs::write(path.join("state.json"), damaged).unwrap();
        let refused = verify(&archives[1], &honest, path, &());
        assert!(matches!(refused, Err(ResumeError::Malformed { .. })), "{refused:?}");
    }
    fs::write(path.join("state.json"), state).unwrap();
    for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.to_string_lossy().contains("ids-") {
            fs::remove_file(entry).unwrap();
        }
    }
    let refused = verify(&archives[1], &honest, path, &());
    assert!(matches!(refused, Err(ResumeError::Damaged { .. })), "{refused:?}");
}

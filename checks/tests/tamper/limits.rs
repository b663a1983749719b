//! What no archive can show by itself, because whoever holds the seal key can make another archive
//! that is sound as well. Each case says what does tell, so that nobody claims more.
//!
//! All of them leave another log behind: whoever has an older checkpoint, or a receipt, can tell.

use checks::forge::{Archive, Content, Depth, Leaf};
use ledger::layout::Artefact;
use ledger::names::Workspace;
use ledger::note::Note;
use ledger::time::Micros;
use ledger::verify::{Check, Policy, Report, Trust, Verdict};

use super::Operator;

fn checkpoint(archive: &Archive) -> String {
    let note = &archive.0[&Artefact::Checkpoint.to_string()];
    Note::parse(note).unwrap().body().to_owned()
}

/// The archive after an edit that it cannot show: the verdict says so, an older checkpoint does not
/// fit.
#[track_caller]
fn beyond(operator: &Operator, what: &str, edit: impl FnOnce(&mut Content)) -> (Archive, Report) {
    let archive = operator.reseal(Depth::Links, edit);
    let report = operator.verify(&archive);
    assert_ne!(report.verdict, Verdict::Tampered, "{what}: {:#?}", report.findings);
    let before = operator.reseal(Depth::Links, |_| {});
    assert_ne!(checkpoint(&archive), checkpoint(&before), "{what}");
    // Whoever has kept the checkpoint of before is told.
    let kept = &before.0[&Artefact::Checkpoint.to_string()];
    let mut trust = operator.trust.clone();
    verifier::trust::add_seen(&mut trust, kept).unwrap();
    let told = super::verify(&archive, &trust);
    assert!(has(&told, Check::SeenForked) || has(&told, Check::SeenShrunk), "{what}: {told:#?}");
    let same = super::verify(&before, &trust);
    assert_ne!(same.verdict, Verdict::Tampered, "{what}: {:#?}", same.findings);
    (archive, report)
}

fn has(report: &Report, check: Check) -> bool {
    report.findings.iter().any(|finding| finding.check == check)
}

fn audit(archive: &Archive, trust: &Trust, through: &str) -> Report {
    let expect_through = Some(Micros::parse(through).unwrap());
    let policy = Policy { expect_through, ..Policy::default() };
    verifier::audit::verify(archive, trust.clone(), policy, &())
}

/// The ledger's clock is its own: only the order of times is bound, and the hour. The receipt
/// holds the time.
#[test]
fn the_time_of_a_whole_submission() {
    let operator = Operator::new();
    let (_, report) = beyond(&operator, "the time of seq 69", |content| {
        content.row_mut("acme", 69).row.recorded_at += 1;
    });
    assert_eq!(report.verdict, Verdict::Proven);
}

/// Nobody but the agent knows what it sent. Its counter shows what is missing below the highest
/// number; the receipt shows the rest.
#[test]
fn a_whole_submission_that_is_left_out() {
    let operator = Operator::new();
    let left_out = |seq: u64| {
        let (_, report) = beyond(&operator, "a submission", |content| {
            content.chunks_mut().for_each(|chunk| {
                let acme = chunk.manifest.workspace.as_str() == "acme";
                chunk.rows.retain(|row| !(acme && row.row.seq == seq));
            });
            content.renumber();
        });
        assert_eq!(report.verdict, Verdict::Proven);
        let acme = report.workspaces.first().unwrap();
        acme.missing_counters.iter().map(|missing| missing.ranges.clone()).collect::<Vec<_>>()
    };
    assert_eq!(left_out(69), [[(1, 2)]], "counter 1 is missed beside 2");
    assert!(left_out(70).is_empty(), "with counter 3 goes the proof that 2 is missing");
    assert_eq!(left_out(66), [[(2, 2)]], "the custodian does not count");
}

/// Submissions of one key may overtake each other, so their order proves nothing about sending.
#[test]
fn the_order_of_whole_submissions() {
    let operator = Operator::new();
    let (_, report) = beyond(&operator, "the order of 69 and 70", |content| {
        let (one, two) = (content.row_mut("acme", 69).clone(), content.row_mut("acme", 70).clone());
        // Each takes the other's place and time.
        for (mut moved, place) in [(one.clone(), &two.row), (two.clone(), &one.row)] {
            (moved.row.seq, moved.row.recorded_at) = (place.seq, place.recorded_at);
            *content.row_mut("acme", place.seq) = moved;
        }
    });
    assert_eq!(report.verdict, Verdict::Proven);
}

/// A workspace that is cut off at its end is whole as far as it goes.
#[test]
fn the_last_chunk_of_a_workspace() {
    let operator = Operator::new();
    let (_, report) = beyond(&operator, "the last chunk of acme", |content| {
        drop(content.leaves.remove(4));
    });
    assert_eq!(report.verdict, Verdict::Proven);
}

/// A workspace that never was is not missed, but by an auditor who knows of it.
#[test]
fn a_whole_workspace() {
    let operator = Operator::new();
    let (archive, report) = beyond(&operator, "all of beta", |content| {
        drop(content.leaves.remove(5));
    });
    assert_eq!(report.verdict, Verdict::Proven);

    let mut trust = operator.trust.clone();
    let acme = trust.workspaces.values().next().unwrap().clone();
    trust.workspaces.insert(Workspace::new("beta").unwrap(), acme);
    let report = super::verify(&archive, &trust);
    assert_eq!(report.verdict, Verdict::Tampered);
    assert!(has(&report, Check::WorkspaceMissing));
}

/// An archive that ends earlier is whole as far as it goes: an auditor says how far it must go.
#[test]
fn the_last_hour() {
    let operator = Operator::new();
    let (archive, report) = beyond(&operator, "hour 16", |content| content.leaves.truncate(4));
    assert_eq!(report.verdict, Verdict::Proven);
    let report = audit(&archive, &operator.trust, "2026-11-23T17:00:00.000000Z");
    assert_eq!(report.verdict, Verdict::Short);
    assert!(has(&report, Check::Stale));
}

/// Chunks without their hour's note are what an archive has between two steps of sealing.
#[test]
fn the_note_of_the_last_hour() {
    let operator = Operator::new();
    let (_, report) = beyond(&operator, "the note of hour 16", |content| {
        assert!(matches!(content.leaves.pop(), Some(Leaf::Hour(_))));
    });
    assert_eq!(report.verdict, Verdict::Short);
    assert!(has(&report, Check::HourOpen));
}

/// Workspaces are independent of each other: the log fixes no order among them within an hour.
#[test]
fn the_order_of_workspaces_in_an_hour() {
    let operator = Operator::new();
    let (_, report) = beyond(&operator, "chunks 4 and 5", |content| content.leaves.swap(4, 5));
    assert_eq!(report.verdict, Verdict::Proven);
}

/// Anyone may add a signature line to a checkpoint: that is how witnesses cosign. It changes
/// nothing of what the ledger signed.
#[test]
fn a_signature_line_more_on_the_checkpoint() {
    let operator = Operator::new();
    let mut archive = operator.reseal(Depth::Links, |_| {});
    let note = archive.0.get_mut(&Artefact::Checkpoint.to_string()).unwrap();
    note.extend_from_slice("\u{2014} witness.example.com AAAAAGhlbGxv\n".as_bytes());
    assert_eq!(operator.verify(&archive).verdict, Verdict::Proven);
}

//! What is erased is gone, everything else stays, and an auditor sees which is which.

use std::path::Path;

use archiver::SealError;
use archiver::step::Step;
use checks::tools::python;
use ledger::verify::{Check, Verdict};

use crate::world::{World, at, erasure, event};

/// The events of the world's requests.
const ERASED: [u64; 5] = [1, 2, 3, 5, 13];

#[tokio::test(flavor = "multi_thread")]
async fn sealed_and_unsealed_events_are_erased_and_the_rest_stays() {
    let mut world = World::of_three_hours().await;
    let ledger = world.copy();
    ledger.seal(at(2)).await;
    let before = ledger.verify(false);
    assert_eq!(before.verdict, Verdict::Proven, "{:?}", before.findings);
    for n in [1, 2, 3, 5] {
        let (objects, tables) = ledger.traces(n).await;
        assert_eq!(
            (objects.len(), tables.len()),
            (1, 1),
            "canaries are found while they are there"
        );
    }

    // The request's own hour is not sealed: what it names there goes now, the rest has to wait.
    let first = ledger.erase().await;
    assert_eq!((first.payloads, first.chunks, first.waiting), (1, 0, 5), "{first:?}");
    assert_eq!(ledger.withheld().await, [(14, 16)]);
    assert_eq!(ledger.verify(false).verdict, Verdict::Proven);
    assert_eq!(ledger.traces(13).await, (vec![], vec![]));

    // Its hour is sealed without it.
    ledger.seal(at(3)).await;
    let sealed = ledger.verify(false);
    let checks: Vec<Check> = sealed.findings.iter().map(|finding| finding.check).collect();
    assert_eq!((sealed.verdict, checks), (Verdict::Short, vec![Check::Erased]));
    assert_eq!(ledger.verify(true).verdict, Verdict::Proven);

    // Now what it names of earlier hours goes too: two chunks, and one of them once more.
    let second = ledger.erase().await;
    assert_eq!((second.payloads, second.requests), (4, 2), "{second:?}");
    assert_eq!((second.chunks, second.waiting), (3, 0), "{second:?}");
    assert_eq!(ledger.withheld().await, [(2, 17), (3, 16), (4, 16), (6, 16), (14, 16)]);
    for n in 1..=14 {
        let (objects, tables) = ledger.traces(n).await;
        let expected = usize::from(!ERASED.contains(&n));
        assert_eq!((objects.len(), tables.len()), (expected, expected), "event {n}");
    }
    let report = ledger.verify(false);
    assert_eq!(report.verdict, Verdict::Short, "{:?}", report.findings);
    let report = ledger.verify(true);
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
    let acme = report.workspaces.iter().find(|found| found.workspace.as_str() == "acme").unwrap();
    assert_eq!((acme.withheld, acme.events), (5, 17));
    let archive = ledger.objects();
    let amended: Vec<&str> = archive.keys().filter(|key| key.contains(".e")).collect();
    assert_eq!(amended.iter().filter(|key| key.ends_with(".parquet")).count(), 2, "{amended:?}");
    assert_eq!(amended.iter().filter(|key| key.ends_with(".note")).count(), 3, "{amended:?}");

    // Again: nothing.
    let again = ledger.erase().await;
    assert_eq!((again.payloads, again.requests, again.chunks), (0, 0, 0), "{again:?}");
    assert!(ledger.objects() == archive);
    ledger.seal(at(4)).await;
    assert_eq!(ledger.verify(true).verdict, Verdict::Proven);

    // Readers are told what happened.
    world.clock.reach(at(4));
    let entry = world.get(&format!("events/{}", crate::world::id(2))).await;
    assert_eq!((entry["payload"].is_null(), &entry["erased_by"]), (true, &16.into()), "{entry}");
    let entries = world.get("entries?from_seq=2&limit=4").await;
    let nulls = entries["entries"].as_array().unwrap().iter();
    let nulls: Vec<bool> = nulls.map(|entry| entry["payload"].is_null()).collect();
    assert_eq!(nulls, [true, true, true, false], "{entries}");
    assert_eq!(entries["entries"][3]["erased_by"], serde_json::Value::Null);
    second_verifier_agrees(&ledger.archive, &world.rig.trust(), 5).await;
    world.stop().await;
}

/// The verifier in Python, which shares no code with ours.
async fn second_verifier_agrees(archive: &Path, trust: &Path, erased: u64) {
    let (code, summary) = python("verify.py", &[archive, trust]).await.unwrap();
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!(summary["workspaces"]["acme"]["erased"], erased, "{summary}");
    assert_eq!(summary["unlogged"].as_array().unwrap().len(), 0, "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_seals_and_then_erases() {
    let mut world = World::of_three_hours().await;
    world.stop().await;
    let ledger = world.copy();
    ledger.run_daemon(at(3), None).await;
    assert_eq!(ledger.withheld().await.len(), ERASED.len());
    for n in ERASED {
        assert_eq!(ledger.traces(n).await, (vec![], vec![]), "event {n}");
    }
    assert_eq!(ledger.verify(true).verdict, Verdict::Proven);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_hour_before_its_request_waits_and_is_never_a_gap() {
    let mut world = World::new().await;
    let ledger = world.copy();
    // Two at once: of one alone that a root key signed, it stays unknown whether it set keys.
    world.record((1..3).map(event).collect()).await;
    world.clock.reach(at(1));
    world.record(vec![erasure(101, &[1])]).await;
    // Neither hour is sealed. To seal the first without the payload would be a finding until the
    // second is sealed.
    let waiting = ledger.erase().await;
    assert_eq!((waiting.payloads, waiting.waiting), (0, 1), "{waiting:?}");
    ledger.seal(at(1)).await;
    assert_eq!(ledger.verify(false).verdict, Verdict::Proven);
    assert_eq!(ledger.erase().await.waiting, 1);
    ledger.seal(at(2)).await;
    assert_eq!(ledger.verify(false).verdict, Verdict::Proven);
    let done = ledger.erase().await;
    assert_eq!((done.payloads, done.chunks, done.waiting), (1, 1, 0), "{done:?}");
    assert_eq!(ledger.verify(true).verdict, Verdict::Proven);
    assert_eq!(ledger.traces(1).await, (vec![], vec![]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_is_sealed_without_what_it_erases_though_nobody_has_carried_it_out() {
    let mut world = World::of_three_hours().await;
    let ledger = world.copy();
    ledger.seal(at(3)).await;
    assert_eq!(ledger.withheld().await, []);
    assert_eq!(ledger.traces(13).await.0, [""; 0]);
    assert_eq!(ledger.verify(true).verdict, Verdict::Proven);
    let erased = ledger.erase().await;
    assert_eq!((erased.payloads, erased.chunks), (5, 3), "{erased:?}");
    assert_eq!(ledger.verify(true).verdict, Verdict::Proven);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_are_lost_are_read_again_amendments_too() {
    let mut world = World::of_three_hours().await;
    let ledger = world.copy();
    ledger.seal(at(3)).await;
    ledger.erase().await;
    let marks = async || -> Vec<String> {
        let sql = "SELECT a::text FROM amended_chunks a ORDER BY log_index";
        sqlx::query_scalar(sql).fetch_all(&ledger.pool).await.unwrap()
    };
    let (archive, before) = (ledger.objects(), marks().await);
    assert_eq!(before.len(), 3);
    sqlx::raw_sql("TRUNCATE sealed_chunks, sealed_hours, amended_chunks, published")
        .execute(&ledger.pool)
        .await
        .unwrap();
    let again = ledger.erase().await;
    assert_eq!((again.payloads, again.recovered), (0, again.log_size), "{again:?}");
    assert_eq!(marks().await, before);
    assert!(ledger.objects() == archive);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_object_that_is_brought_back_goes_again() {
    let mut world = World::of_three_hours().await;
    let ledger = world.copy();
    ledger.seal(at(3)).await;
    let whole = ledger.objects();
    ledger.erase().await;
    let erased = ledger.objects();
    whole.store(&ledger.archive).unwrap();
    let checkpoint = "log/checkpoint";
    std::fs::write(ledger.archive.join(checkpoint), &erased.0[checkpoint]).unwrap();
    assert!(!ledger.traces(2).await.0.is_empty());
    ledger.erase().await;
    assert_eq!(ledger.traces(2).await, (vec![], vec![]));
    assert_eq!(ledger.verify(true).verdict, Verdict::Proven);
    world.stop().await;
}

/// The seal key changes between a chunk's manifest and the one that amends it, and again before the next;
/// also where erasing has died and left a manifest of the old key that no log names.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_an_earlier_seal_key_sealed_are_amended() {
    let mut world = World::of_three_hours().await;
    world.stop().await;
    let ledger = world.copy();
    ledger.seal(at(2)).await;
    ledger.rotate(at(2)).await;
    ledger.seal(at(3)).await;
    let stopped = ledger.erase_with(&|step: Step| step != Step::ManifestPut).await;
    assert!(matches!(stopped, Err(SealError::Stopped(Step::ManifestPut))));
    ledger.rotate(at(3)).await;
    assert_eq!(ledger.erase().await.payloads, 0, "changing the key has finished it");
    ledger.seal(at(4)).await;
    let report = ledger.verify(true);
    assert_eq!(report.verdict, Verdict::Proven, "{:#?}", report.findings);
    assert_eq!(report.seal_keys.unwrap().terms().count(), 3);
}

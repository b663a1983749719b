//! Figures that are not what the sealed bytes come to, signed by whoever holds the seal key; and bytes that changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use ledger::verify::{Audit, LoggedRollup, Policy};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use verifier::store::FileSource;

use super::world::{World, at, findings, text};

/// Halves the latencies in every file of facts: the archiver's own disk is not what anybody else trusts.
pub fn doctor(facts: &std::path::Path) {
    change(facts, "latency_ms", |ms| ms / 2, |day| day);
}

/// Changes a column of numbers in every file of facts, and what it says of its days.
pub fn change(
    facts: &std::path::Path,
    column: &str,
    to: impl Fn(i64) -> i64,
    day: impl Fn(i32) -> i32,
) {
    for entry in std::fs::read_dir(facts).unwrap() {
        let path = entry.unwrap().path();
        let file = Bytes::from(std::fs::read(&path).unwrap());
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
        let pair = pairs.iter().find(|pair| pair.key == "tallystick.days").unwrap();
        let days: BTreeMap<i32, u64> = serde_json::from_str(pair.value.as_ref().unwrap()).unwrap();
        let days: BTreeMap<i32, u64> = days.into_iter().map(|(of, n)| (day(of), n)).collect();
        let days = KeyValue::new(pair.key.clone(), serde_json::to_string(&days).unwrap());
        let reader = reader.build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        let schema = batches[0].schema();
        let place = schema.index_of(column).unwrap();
        let mut writer =
            ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), Arc::clone(&schema), None)
                .unwrap();
        for batch in batches {
            let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
            let values = columns[place].as_primitive::<Int64Type>();
            columns[place] = Arc::new(values.iter().map(|ms| ms.map(&to)).collect::<Int64Array>());
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
        }
        writer.append_key_value_metadata(days);
        writer.close().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_are_not_what_the_chunks_come_to_are_named() {
    let mut world = World::new().await;
    world.work(120, at(-24)).await;
    world.seal(at(26)).await;
    let honest = world.roll_up().await;
    doctor(world.facts.path());
    let doctored = world.roll_up_with(2, true, &()).await.unwrap();
    let wrong: Vec<_> =
        doctored.days.iter().map(|day| (day.name.to_string(), day.object.clone())).collect();
    let names: Vec<_> = wrong.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["llm_daily", "tool_reliability_hourly"], "of {}", honest.days.len());
    // Everything that a signature and a digest say of them is right.
    let output = world.verifier("verify", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = world.verifier("rollup", &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let found = findings(&output);
    let named: Vec<_> =
        found.iter().filter(|(id, _)| id == "T146").map(|(_, object)| object).collect();
    assert_eq!(named, wrong.iter().map(|(_, object)| object).collect::<Vec<_>>(), "{found:?}");
    // It says by how much.
    let output = world.verifier("rollup", &["--name", "llm_daily"]);
    assert!(text(&output).contains("latency_p50_ms "), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_and_dropped_objects_are_named() {
    let mut world = World::new().await;
    world.work(90, at(-24)).await;
    world.seal(at(26)).await;
    let rolled = world.roll_up().await;
    let rollup = rolled.days.iter().find(|day| day.name.as_str() == "llm_daily").unwrap();
    let chunk = {
        let archive = checks::forge::Archive::load(&world.archive()).unwrap();
        archive.keys().find(|key| key.starts_with("events/workspace=acme/")).unwrap().to_owned()
    };
    let note = rollup.object.replace(".parquet", ".note");
    let sql = "rollups/llm_daily/v1.sql".to_owned();
    for (object, changed, dropped) in [
        (chunk, "T051", "T050"),
        (rollup.object.clone(), "T051", "T050"),
        (sql, "T051", "T050"),
        (note, "T041", "T040"),
    ] {
        let path = world.archive().join(&object);
        let bytes = std::fs::read(&path).unwrap();
        let mut other = bytes.clone();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        for (content, expected) in [(Some(other), changed), (None, dropped)] {
            match content {
                Some(other) => std::fs::write(&path, other).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            for command in ["verify", "rollup"] {
                let output = world.verifier(command, &["--json"]);
                assert_eq!(output.status.code(), Some(1), "{object}: {}", text(&output));
                let found = findings(&output);
                assert!(
                    found.contains(&(expected.to_owned(), object.clone())),
                    "{object}: {found:?}"
                );
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    let output = world.verifier("rollup", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// A byte of a chunk that is not as it was sealed: no figure is computed from it.
#[tokio::test(flavor = "multi_thread")]
async fn row_51_nothing_is_rolled_up_of_a_chunk_that_is_not_as_sealed() {
    let mut world = World::new().await;
    world.work(90, at(-24)).await;
    world.seal(at(26)).await;
    let archive = checks::forge::Archive::load(&world.archive()).unwrap();
    let chunk =
        archive.keys().find(|key| key.starts_with("events/workspace=acme/")).unwrap().to_owned();
    let path = world.archive().join(&chunk);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refused = world.roll_up_with(2, false, &()).await.unwrap_err();
    assert_eq!(refused.code(), 4);
    assert!(refused.to_string().contains(&chunk), "{refused}");
    // Another workspace has its figures all the same.
    let after = checks::forge::Archive::load(&world.archive()).unwrap();
    let of = |name: &str| {
        let of =
            |key: &&str| key.starts_with("rollups/") && key.contains(&format!("workspace={name}/"));
        after.keys().filter(of).count()
    };
    assert_eq!(of("acme"), 0);
    assert!(of("ledger.acts") > 0);
}

/// A definition that counts failures as successes, under the name of one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_nobody_knows_is_named_and_not_run() {
    let mut world = World::new().await;
    world.work(60, at(-24)).await;
    world.seal(at(26)).await;
    let known = verifier::rollup::definitions();
    let known =
        known.iter().find(|known| known.name.as_str() == "tool_reliability_hourly").unwrap();
    let better = known.sql.replace("status = 'success'", "status <> 'timeout'");
    assert_ne!(better, known.sql);
    let better = [ledger::rollup::Definition::parse(&better).unwrap()];
    let rolled = world.roll_up_by(&better, 2, false, &()).await.unwrap();
    assert!(!rolled.days.is_empty());
    let output = world.verifier("rollup", &["--json"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let named = ("T147".to_owned(), "rollups/tool_reliability_hourly/v1.sql".to_owned());
    assert!(findings(&output).contains(&named), "{}", text(&output));
    // Nor does the true one take its place under the same version.
    let refused = world.roll_up_with(2, false, &()).await.unwrap_err();
    assert_eq!(refused.code(), 4);
    assert!(refused.to_string().contains("takes the next version"), "{refused}");
}

/// A store that gives an auditor something else when it is asked again: what could not be computed is not called right,
/// and keeps nothing else from being told.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_otherwise_the_second_time_leaves_it_unfinished() {
    let mut world = World::new().await;
    world.work(120, at(-24)).await;
    world.seal(at(26)).await;
    world.roll_up().await;
    doctor(world.facts.path());
    world.roll_up_with(2, true, &()).await.unwrap();
    let source = FileSource::open(&world.archive().to_string_lossy()).unwrap();
    let trust = std::fs::read_to_string(world.rig.trust()).unwrap();
    let trust = verifier::trust::parse(&trust).unwrap();
    let mut audit = Audit::new(trust, Policy::default());
    verifier::audit::run(&source, &mut audit, &());
    let rollups = audit.rollups();
    // What is computed wrong has to be fetched, to say how; a chunk to compute at all.
    let of_acme = |name: &str| {
        let mut of = rollups.iter().filter(|rollup| rollup.manifest.revision == 1);
        let is = |of: &&LoggedRollup| {
            of.manifest.name.as_str() == name && of.manifest.workspace.as_str() == "acme"
        };
        of.find(is).unwrap().manifest.object.clone()
    };
    let archive = checks::forge::Archive::load(&world.archive()).unwrap();
    let of = |name: &str| format!("events/workspace={name}/");
    let chunk = archive.keys().find(|key| key.starts_with(&of("ledger.acts"))).unwrap();
    for gone in [chunk, &of_acme("llm_daily")] {
        std::fs::remove_file(world.archive().join(gone)).unwrap();
    }
    let scratch = tempfile::tempdir().unwrap();
    let engine = verifier::rollup::Engine::new(64 << 20, 2, scratch.path());
    let newest: Vec<_> = rollups.iter().filter(|rollup| rollup.newest).cloned().collect();
    let again = verifier::rollup::recompute(&source, &newest, &engine, scratch.path(), &|| true);
    let failed: Vec<_> = again.failed.iter().map(|(object, _)| object).collect();
    assert!(failed.contains(&&of_acme("llm_daily")), "{:?}", again.failed);
    assert!(failed.iter().any(|object| object.contains("workspace=ledger.acts/")));
    let found: Vec<_> = again.findings.iter().filter_map(|it| it.place.object.as_ref()).collect();
    assert_eq!(found, [&of_acme("tool_reliability_hourly")], "{:?}", again.findings);
    let all = again.computed + u64::try_from(again.failed.len()).unwrap();
    assert_eq!(all, u64::try_from(newest.len()).unwrap());
}

//! Sealing into an object store that fails at random, and into one that overwrites.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use archiver::SealError;
use archiver::seal::Sealed;
use archiver::vault::{Guarantee, S3Vault};
use checks::forge::Archive;
use checks::postgres::Postgres;
use checks::store::flaky::{Act, Fault, Flaky};
use checks::store::{PREFIX, source};
use ledger::hash::Digest;
use ledger::layout::Artefact;
use ledger::names::Seq;
use ledger::verify::{Policy, Verdict};
use proptest::prelude::Strategy;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Builder;

use super::{Ledger, ROWS, World, closed, seal_with};

/// How many scripts are played at once, each on a database of its own.
const PLAYERS: u32 = 2;

fn is_long() -> bool {
    std::env::var_os("CHECKS_LONG").is_some()
}

fn tell(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

/// The smallest ledger of two hours and several chunks, so that a script takes little time.
fn tiny() -> Ledger {
    let ledgers = (0..300).map(|seed| Ledger::new(seed, ROWS));
    let right = |ledger: &Ledger| {
        ledger.hours().count() == 2 && (3..6).contains(&ledger.content.chunks().count())
    };
    ledgers.filter(right).min_by_key(|ledger| ledger.rows().count()).unwrap()
}

/// As it was before anything was sealed.
async fn forget(world: &World) {
    let marks = "DELETE FROM sealed_chunks; DELETE FROM sealed_hours; DELETE FROM published";
    sqlx::raw_sql(marks).execute(&world.pool).await.unwrap();
}

/// One run, as by a process of its own.
async fn seal(world: &World, store: &Flaky) -> Result<Sealed, SealError> {
    let vault = S3Vault::over(source(Arc::new(store.clone())).unwrap());
    let now = closed(world.ledger.last_hour());
    seal_with(&world.pool, &vault, &world.ledger.signer, now, &()).await
}

async fn archive(store: &Flaky) -> Archive {
    let objects = store.objects().await.unwrap().into_iter();
    let prefix = format!("{PREFIX}/");
    Archive(objects.map(|(key, b)| (key.strip_prefix(&prefix).unwrap().to_owned(), b)).collect())
}

fn verdict(store: &Flaky, ledger: &Ledger) -> Verdict {
    let source = source(Arc::new(store.clone())).unwrap();
    verifier::audit::verify(&source, ledger.trust.clone(), Policy::default(), &()).verdict
}

/// What must hold of all that a store has done, at any moment.
fn check(acts: &[Act]) {
    let mut written: BTreeMap<&str, Digest> = BTreeMap::new();
    let mut given: BTreeMap<&str, Digest> = BTreeMap::new();
    let mut ranges: BTreeMap<(String, Seq), Seq> = BTreeMap::new();
    for act in acts {
        match act {
            Act::BeganParts(key) => panic!("an upload in parts, which overwrites: {key}"),
            Act::Gave(key, digest) => {
                given.insert(key, *digest);
            }
            Act::Wrote(path, digest) => {
                let key = path.strip_prefix(PREFIX).and_then(|key| key.strip_prefix('/')).unwrap();
                let artefact = Artefact::parse(key).unwrap();
                if artefact == Artefact::Checkpoint {
                    continue;
                }
                let before = written.insert(path, *digest);
                assert!(before.is_none_or(|before| before == *digest), "{key} was overwritten");
                if let Artefact::Manifest { range, .. } = &artefact {
                    let object = Artefact::Events { range: range.clone(), erasure: 0 };
                    let object = format!("{PREFIX}/{object}");
                    let seen = given.get(object.as_str());
                    assert!(seen.is_some(), "a manifest before its object was read: {key}");
                    assert_eq!(seen, written.get(object.as_str()), "{key}");
                    let start = (range.workspace.to_string(), range.first_seq);
                    let end = ranges.insert(start, range.last_seq);
                    assert!(
                        end.is_none_or(|end| end == range.last_seq),
                        "two for one range: {key}"
                    );
                }
            }
        }
    }
    let ranges: Vec<_> = ranges.into_iter().collect();
    for pair in ranges.windows(2) {
        let [((before, _), end), ((after, start), _)] = pair else { continue };
        assert!(before != after || end < start, "ranges that overlap: {before} at {start}");
    }
}

/// Lets a store fail by a script, and runs until nothing fails any more. Gives the number of runs, and
/// of partial tiles that are still there though nothing needs them.
async fn play(
    world: &World,
    expected: &Archive,
    script: Vec<Option<Fault>>,
    store: &Flaky,
) -> (u32, usize) {
    forget(world).await;
    store.follow(script);
    let mut runs = 1;
    while let Err(error) = seal(world, store).await {
        // A store that fails is no reason to call for someone, and none to stop for good.
        assert_eq!(error.code(), 3, "{error}");
        check(&store.acts());
        runs += 1;
        assert!(runs < 200, "{error}");
    }
    check(&store.acts());
    store.follow(Vec::new());
    let again = seal(world, store).await.unwrap();
    assert_eq!((again.hours.len(), again.recovered), (0, 0));
    check(&store.acts());
    let mut stored = archive(store).await;
    // A late write may bring a partial tile back that was removed; verifiers check it.
    let is_partial = |key: &str| key.starts_with("log/tile/") && key.contains(".p/");
    let brought_back = |key: &String| is_partial(key) && !expected.0.contains_key(key);
    let stale = stored.0.extract_if(.., |key, _| brought_back(key)).count();
    assert!(stored == *expected, "other bytes");
    // Nor does a listing that lags behind, or the rest of it, change what is proven.
    store.follow(vec![Some(Fault::Stale), Some(Fault::CutShort), Some(Fault::ResetAfter)]);
    assert_eq!(verdict(store, &world.ledger), Verdict::Proven);
    (runs, stale)
}

#[derive(Default)]
struct Totals {
    scripts: u32,
    runs: u32,
    stale: usize,
    /// How often each fault met each kind of request.
    met: BTreeMap<String, u32>,
}

/// Plays this many random scripts on a database of its own.
fn play_at_random(postgres: &Postgres, ledger: Ledger, scripts: u32) -> Totals {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new(postgres, ledger));
    let expected = world.ledger.archive();
    let totals = Mutex::new(Totals::default());
    let fault = proptest::option::weighted(0.35, proptest::sample::select(&Fault::ALL[..]));
    // Some are dense enough to outlast the patience for one request.
    let dense = proptest::sample::select(&Fault::ALL[..]).prop_map(Some);
    let script = (
        proptest::collection::vec(fault, 0..150),
        proptest::collection::vec(dense, 0..10),
        0..150_usize,
    );
    let config = Config { cases: scripts, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&script, |(mut script, dense, at)| {
        let at = at.min(script.len());
        script.splice(at..at, dense);
        let store = Flaky::new();
        let (runs, stale) = runtime.block_on(play(&world, &expected, script, &store));
        let mut totals = totals.lock().unwrap();
        totals.scripts += 1;
        totals.runs += runs;
        totals.stale += stale;
        for (fault, times) in store.hit() {
            *totals.met.entry(fault).or_insert(0) += times;
        }
        Ok(())
    });
    outcome.unwrap();
    totals.into_inner().unwrap()
}

#[test]
fn row_19_a_store_that_fails_at_random_gets_one_history() {
    let scripts = if is_long() { 20_000 } else { 2_000 };
    let postgres = Postgres::start().unwrap();
    let ledger = tiny();
    let (mut played, mut runs, mut stale, mut met) = (0, 0, 0, BTreeMap::new());
    let player = || play_at_random(&postgres, ledger.clone(), scripts / PLAYERS);
    let totals: Vec<Totals> = thread::scope(|scope| {
        let players: Vec<_> = (0..PLAYERS).map(|_| scope.spawn(player)).collect();
        players.into_iter().map(|player| player.join().unwrap()).collect()
    });
    for totals in totals {
        (played, runs) = (played + totals.scripts, runs + totals.runs);
        stale += totals.stale;
        for (fault, times) in totals.met {
            *met.entry(fault).or_insert(0) += times;
        }
    }
    assert_eq!(played, scripts);
    let faults: u32 = met.values().sum();
    for request in ["GET", "PUT", "DELETE"] {
        for fault in Fault::ALL {
            let kind = format!("{request} {fault:?}");
            assert!(met.contains_key(&kind), "{kind}: {met:?}");
        }
    }
    tell(&format!(
        "2.2 row 19: {played} random scripts, {faults} faults of {} kinds, {runs} runs: 0 objects \
         twice, 0 manifests for bytes not read back, the same bytes and proven each time ({stale} \
         partial tiles were brought back by late writes)",
        met.len()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_20_a_store_that_overwrites_gets_one_history_of_two_archivers() {
    let rounds = if is_long() { 500 } else { 40 };
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, tiny()).await;
    let expected = world.ledger.archive();
    let mut busy = 0;
    for _ in 0..rounds {
        forget(&world).await;
        let store = Flaky::without_conditions();
        let one_of_two = || seal(&world, &store);
        let (one, other) = tokio::join!(one_of_two(), one_of_two());
        for sealed in [one, other] {
            match sealed {
                Err(SealError::Busy) => busy += 1,
                sealed => {
                    let found = sealed.unwrap().guarantees;
                    assert_eq!(found.create, Guarantee::Compared);
                    assert_eq!(found.replace, Guarantee::Compared);
                }
            }
        }
        check(&store.acts());
        assert!(archive(&store).await == expected, "other bytes");
        assert_eq!(verdict(&store, &world.ledger), Verdict::Proven);
    }
    tell(&format!(
        "2.2 row 20: {rounds} times two archivers ({busy} stood back) on a store that ignores \
         conditions: found out each time, 0 objects twice, one history"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_removes_nothing_is_sealed_into_and_proven() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let store = Flaky::without_removal();
    let sealed = seal(&world, &store).await.unwrap();
    let stored = archive(&store).await;
    let more = stored.keys().count() - world.ledger.archive().keys().count();
    assert!(more > 0 && sealed.kept == more as u64, "{} of {more}", sealed.kept);
    assert_eq!(verdict(&store, &world.ledger), Verdict::Proven);
}

//! What sealing comes to when nothing goes wrong.

use checks::postgres::Postgres;
use ledger::verify::Verdict;
use sqlx::PgPool;

use super::{Ledger, ROWS, World, closed};

#[test]
fn the_locks_are_the_same_for_who_records_and_who_seals() {
    assert_eq!(ingest::store::FENCE_LOCK, archiver::lock::FENCE_LOCK);
    let readme = include_str!("../../../migrations/README.md");
    for lock in [archiver::lock::FENCE_LOCK, archiver::lock::ARCHIVER_LOCK] {
        assert!(readme.contains(&format!("`0x{lock:x}`")), "{lock:x}");
    }
}

#[tokio::test]
async fn a_ledger_comes_to_the_archive_that_the_format_asks_for() {
    let postgres = Postgres::start().unwrap();
    for seed in 0..12 {
        let world = World::new(&postgres, Ledger::new(seed, ROWS)).await;
        let sealed = world.seal().await.unwrap();
        let hours: Vec<_> = sealed.hours.iter().map(|hour| hour.hour).collect();
        assert_eq!(hours, world.ledger.hours().collect::<Vec<_>>());
        let events: u64 = sealed.hours.iter().map(|hour| hour.events).sum();
        assert_eq!(events, world.ledger.rows().count() as u64);

        let (archive, expected) = (world.archive(), world.ledger.archive());
        assert_eq!(archive.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(archive == expected, "seed {seed}: other bytes");
        let report = world.verify();
        assert_eq!(report.verdict, Verdict::Proven, "seed {seed}: {:?}", report.findings);

        let (marks, again) = (world.marks().await, world.seal().await.unwrap());
        assert!(again.hours.is_empty());
        assert_eq!((again.recovered, again.log_size), (0, sealed.log_size));
        assert!(world.archive() == archive, "sealing again changed the archive");
        assert_eq!(world.marks().await, marks);
    }
}

#[tokio::test]
async fn hour_by_hour_comes_to_the_same_archive_as_all_at_once() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let hours: Vec<_> = world.ledger.hours().collect();
    for hour in &hours {
        // A microsecond too early seals nothing.
        let early = closed(*hour).checked_add(-1).unwrap();
        assert_eq!(world.seal_at(early).await.unwrap().hours, []);
        let sealed = world.seal_at(closed(*hour)).await.unwrap();
        assert_eq!(sealed.hours.iter().map(|sealed| sealed.hour).collect::<Vec<_>>(), [*hour]);
        world.check_so_far(&format!("sealed {hour}"));
    }
    assert!(world.archive() == world.ledger.archive());
}

#[tokio::test]
async fn hours_of_silence_are_noted_one_by_one() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::new(1, ROWS)).await;
    world.seal().await.unwrap();
    // Long enough for the log to fill tiles and bundles on the way.
    let mut hour = world.ledger.last_hour();
    for outage in [1, 30, 270] {
        for _ in 0..outage {
            hour = hour.next().unwrap();
        }
        let sealed = world.seal_at(closed(hour)).await.unwrap();
        assert_eq!(sealed.hours.len(), outage);
        assert!(sealed.hours.iter().all(|hour| (hour.chunks, hour.events) == (0, 0)));
        let report = world.verify();
        assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
    }
    // Fuller tiles have replaced every partial one but those at the edge.
    let archive = world.archive();
    let partial: Vec<_> = archive.keys().filter(|key| key.contains(".p/")).collect();
    assert_eq!(partial.len(), 3, "{partial:?}");
}

#[tokio::test]
async fn an_empty_ledger_has_nothing_to_seal() {
    let postgres = Postgres::start().unwrap();
    let mut ledger = Ledger::new(1, ROWS);
    let last = ledger.last_hour();
    ledger.content.leaves.clear();
    let world = World::new(&postgres, ledger).await;
    let sealed = world.seal_at(closed(last)).await.unwrap();
    assert_eq!((sealed.hours.len(), sealed.log_size), (0, 0));
    assert_eq!(world.archive().keys().count(), 0);
}

/// Waits until someone waits for the fence.
async fn fence_is_waited_for(pool: &PgPool) {
    loop {
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        if waiting {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_transaction_that_is_still_open_is_waited_for() {
    let postgres = Postgres::start().unwrap();
    let mut early = Ledger::new(5, ROWS);
    let whole = early.clone();
    // All but the last chunk is recorded; that one by a transaction that is open while the hours
    // are being sealed.
    early.drop_last_chunk();
    let world = World::new(&postgres, early).await;
    let late = whole.content.chunks().last().unwrap();
    let mut tx = world.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1)")
        .bind(archiver::lock::FENCE_LOCK)
        .execute(&mut *tx)
        .await
        .unwrap();
    for row in &late.rows {
        super::ledgers::record(&mut tx, &late.manifest.workspace, row).await;
    }
    let (sealed, ()) = tokio::join!(world.seal(), async {
        fence_is_waited_for(&world.pool).await;
        tx.commit().await.unwrap();
    });
    sealed.unwrap();
    assert!(world.archive() == whole.archive());
}

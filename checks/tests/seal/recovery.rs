//! Store and database that do not belong together: what can be mended is, and nothing else is
//! touched.

use archiver::{Disagreement, SealError};
use checks::forge::Archive;
use checks::postgres::Postgres;
use ledger::verify::Verdict;
use sqlx::PgPool;

use super::{Ledger, ROWS, World, closed};

async fn forget_marks(world: &World) {
    sqlx::raw_sql("TRUNCATE sealed_chunks, sealed_hours, published")
        .execute(&world.pool)
        .await
        .unwrap();
}

/// Seals, and gives the disagreement that stops it. Nothing may have been written.
async fn stopped(world: &World) -> Disagreement {
    let (archive, marks) = (world.archive(), world.marks().await);
    let disagreement = match world.seal().await {
        Err(SealError::Disagreement(disagreement)) => *disagreement,
        other => panic!("{other:?}"),
    };
    assert!(world.archive() == archive, "{disagreement}: the store was written to");
    assert_eq!(world.marks().await, marks, "{disagreement}");
    disagreement
}

#[tokio::test]
async fn marks_that_are_lost_are_read_again_from_the_log() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let sealed = world.seal().await.unwrap();
    let (archive, marks) = (world.archive(), world.marks().await);
    forget_marks(&world).await;
    let again = world.seal().await.unwrap();
    assert_eq!(again.recovered, sealed.log_size);
    assert!(again.hours.is_empty());
    assert_eq!(world.marks().await, marks);
    assert!(world.archive() == archive);
}

#[tokio::test]
async fn a_store_that_was_set_back_stops_sealing() {
    let postgres = Postgres::start().unwrap();
    let ledger = Ledger::of_several_hours();
    let world = World::new(&postgres, ledger.clone()).await;
    let hours: Vec<_> = ledger.hours().collect();
    world.seal_at(closed(hours[0])).await.unwrap();
    let before = world.archive();
    world.seal_at(closed(hours[1])).await.unwrap();
    let whole = world.archive();

    std::fs::remove_dir_all(world.path().join("log")).unwrap();
    assert!(matches!(stopped(&world).await, Disagreement::StoreEmpty { .. }));

    before.store(world.path()).unwrap();
    assert!(matches!(stopped(&world).await, Disagreement::StoreBehind { .. }));

    whole.store(world.path()).unwrap();
    world.seal().await.unwrap();
    assert_eq!(world.verify().verdict, Verdict::Proven);
}

#[tokio::test]
async fn another_history_under_the_same_key_stops_sealing() {
    let postgres = Postgres::start().unwrap();
    let ledger = Ledger::of_several_hours();
    let world = World::new(&postgres, ledger.clone()).await;
    let first = ledger.hours().next().unwrap();
    world.seal_at(closed(first)).await.unwrap();
    // The same ledger, had its first entries been recorded a microsecond later.
    let mut other = ledger.clone();
    for chunk in other.content.chunks_mut() {
        for row in &mut chunk.rows {
            row.row.recorded_at += 1;
        }
    }
    other.content.settle(checks::forge::Depth::Links, &other.signer);
    std::fs::remove_dir_all(world.path()).unwrap();
    other.archive().store(world.path()).unwrap();
    assert!(matches!(stopped(&world).await, Disagreement::Forked { .. }));
}

#[tokio::test]
async fn a_checkpoint_that_is_not_ours_stops_sealing() {
    let postgres = Postgres::start().unwrap();
    let ledger = Ledger::of_several_hours();
    let world = World::new(&postgres, ledger.clone()).await;
    let stranger = Ledger::new(99, ROWS);
    stranger.archive().store(world.path()).unwrap();
    assert!(matches!(stopped(&world).await, Disagreement::Checkpoint(_)));
}

#[tokio::test]
async fn a_database_that_was_set_back_stops_sealing() {
    let postgres = Postgres::start().unwrap();
    let whole = Ledger::of_several_hours();
    // A backup from before the last chunk, under the archive of the whole.
    let mut backup = whole.clone();
    backup.drop_last_chunk();
    let world = World::new(&postgres, backup).await;
    whole.archive().store(world.path()).unwrap();
    let archive = world.archive();
    for _ in 0..2 {
        match world.seal().await {
            Err(SealError::Disagreement(disagreement)) => {
                assert!(matches!(*disagreement, Disagreement::DatabaseBehind { .. }));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(world.archive() == archive);
}

#[tokio::test]
async fn a_record_that_was_changed_is_not_sealed() {
    let postgres = Postgres::start().unwrap();
    for change in [
        "UPDATE entries SET payload = payload || ' '",
        "UPDATE entries SET link = sha256(link)",
        "DELETE FROM entries WHERE seq = 2",
        "UPDATE submissions SET submission_hash = sha256(submission_hash)",
        "UPDATE submissions SET signature = sha512(signature)",
        "UPDATE submissions SET public_key = sha256(public_key)",
    ] {
        let world = World::new(&postgres, Ledger::of_several_hours()).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "SET session_replication_role = replica; {change}"
        )))
        .execute(&world.pool)
        .await
        .unwrap();
        assert!(matches!(stopped(&world).await, Disagreement::Record { .. }), "{change}");
        assert!(world.archive() == Archive::default(), "{change}");
    }
}

#[tokio::test]
async fn a_database_of_another_ledger_is_refused() {
    let postgres = Postgres::start().unwrap();
    let mut ledger = Ledger::of_several_hours();
    let world = World::new(&postgres, ledger.clone()).await;
    ledger.content.origin = ledger::names::Origin::new("ledger.example.com/other").unwrap();
    let pool = PgPool::connect(&postgres.database().unwrap()).await.unwrap();
    sqlx::migrate!("../migrations").run(&pool).await.unwrap();
    let empty = World { pool: pool.clone(), ..world };
    assert!(matches!(empty.seal().await, Err(SealError::NoLedger)));
    sqlx::query("INSERT INTO ledger (origin) VALUES ($1)")
        .bind(ledger.content.origin.as_str())
        .execute(&pool)
        .await
        .unwrap();
    assert!(matches!(stopped(&empty).await, Disagreement::Origin { .. }));
}

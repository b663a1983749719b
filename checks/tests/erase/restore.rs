//! A database that is made again from an archive with erased payloads.

use archiver::restore::restore;
use sqlx::{AssertSqlSafe, PgPool};
use verifier::store::FileSource;

use crate::world::{Copy, World, at};

/// What comes from the archive, and the column by which the sealed part is told; none where all is.
const TABLES: [(&str, bool); 7] = [
    ("entries", true),
    ("submissions", true),
    ("erasures", true),
    ("sealed_chunks", false),
    ("amended_chunks", false),
    ("sealed_hours", false),
    ("published", false),
];

/// The rows of a table that lie before a time.
async fn rows(pool: &PgPool, (table, by_time): (&str, bool), before: i64) -> Vec<String> {
    let condition = if by_time { format!("WHERE recorded_at < {before}") } else { String::new() };
    let rows = format!("SELECT t::text FROM {table} t {condition} ORDER BY 1");
    sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(pool).await.unwrap()
}

/// Makes a database again from a copy of the ledger's archive, and compares it row by row.
async fn restored(world: &World, ledger: &Copy, when: &str) -> Copy {
    let url = world.rig.postgres.database().unwrap();
    ingest::store::migrate(&url, &world.rig.origin).await.unwrap();
    let copy = ledger.on(PgPool::connect(&url).await.unwrap());
    let trust = std::fs::read_to_string(world.rig.trust()).unwrap();
    let trust = verifier::trust::parse(&trust).unwrap();
    let source = FileSource::open(&copy.archive.to_string_lossy()).unwrap();
    let made = restore(&copy.pool, &source, &trust, at(9), &()).await.unwrap();
    for table in TABLES {
        let (found, expected) = (
            rows(&copy.pool, table, made.through.get()).await,
            rows(&ledger.pool, table, made.through.get()).await,
        );
        assert_eq!(found, expected, "{when}: {}", table.0);
    }
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_with_erased_payloads_makes_the_database_again() {
    let mut world = World::of_three_hours().await;
    let ledger = world.copy();
    ledger.seal(at(2)).await;
    ledger.erase().await;
    restored(&world, &ledger, "before the requests are sealed").await;

    // Sealed, and not carried out: whoever has the restored database goes on with them.
    ledger.seal(at(3)).await;
    let copy = restored(&world, &ledger, "before the requests are carried out").await;
    assert_eq!(copy.withheld().await, [(14, 16)], "what was never sealed");
    let (there, here) = (copy.erase().await, ledger.erase().await);
    assert_eq!((there.payloads, there.chunks), (here.payloads, here.chunks));
    assert!(here.payloads > 0 && copy.objects() == ledger.objects());

    let copy = restored(&world, &ledger, "after them").await;
    assert_eq!(copy.withheld().await, [(2, 17), (3, 16), (4, 16), (6, 16), (14, 16)]);
    for n in [1, 2, 3, 5, 13] {
        assert_eq!(copy.traces(n).await, (vec![], vec![]), "event {n}");
    }
    let again = copy.erase().await;
    assert_eq!((again.payloads, again.chunks), (0, 0), "{again:?}");
    let sealed = (copy.seal(at(4)).await, ledger.seal(at(4)).await);
    assert!(sealed.0.hours == sealed.1.hours && copy.objects() == ledger.objects());
    world.stop().await;
}

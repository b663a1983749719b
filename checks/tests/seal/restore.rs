//! A database that is made again from the archive: every row as it was, or nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;

use archiver::restore::{RestoreError, Restored, restore};
use checks::postgres::Postgres;
use ledger::names::Origin;
use ledger::time::Micros;
use ledger::verify::{Trust, Verdict};
use sqlx::{AssertSqlSafe, PgPool};
use verifier::store::{ArchiveSource, FileSource, SourceError};

use super::{Ledger, World, closed};

/// Tables that come from the archive; `keys` too, where a service has filled it.
const TABLES: [&str; 6] =
    ["heads", "submissions", "entries", "sealed_chunks", "sealed_hours", "published"];

/// A new database of the ledger, with nothing in it.
async fn empty(postgres: &Postgres, origin: &Origin) -> PgPool {
    let url = postgres.database().unwrap();
    ingest::store::migrate(&url, origin).await.unwrap();
    PgPool::connect(&url).await.unwrap()
}

/// How many rows a table has, and a digest of all of them.
async fn dump(pool: &PgPool, table: &str) -> (i64, String) {
    let rows = "count(*), md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), ''))";
    let rows = AssertSqlSafe(format!("SELECT {rows} FROM {table} t"));
    sqlx::query_as(rows).fetch_one(pool).await.unwrap()
}

async fn restored<S: ArchiveSource + Sync>(
    pool: &PgPool,
    source: &S,
    trust: &Trust,
) -> Result<Restored, RestoreError> {
    restore(pool, source, trust, Micros::EPOCH, &()).await
}

async fn check_still_empty(pool: &PgPool, what: &str) {
    for table in TABLES.into_iter().chain(["keys", "restores"]) {
        assert_eq!(dump(pool, table).await.0, 0, "{what}: {table}");
    }
}

#[tokio::test]
async fn every_row_is_as_it_was_and_sealing_goes_on() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let (origin, trust) = (&world.ledger.content.origin, &world.ledger.trust);
    let hours: Vec<_> = world.ledger.hours().collect();
    // All hours but the last: what is not sealed cannot come back.
    world.seal_at(closed(hours[hours.len() - 2])).await.unwrap();
    let source = FileSource::open(&world.path().to_string_lossy()).unwrap();
    let pool = empty(&postgres, origin).await;
    let trust = Trust { workspaces: BTreeMap::new(), ..trust.clone() };
    let made = restored(&pool, &source, &trust).await.unwrap();
    let through = hours[hours.len() - 2].end();
    assert_eq!(made.through.get(), through);
    for table in ["sealed_chunks", "sealed_hours", "published"] {
        assert_eq!(dump(&pool, table).await, dump(&world.pool, table).await, "{table}");
    }
    let events = usize::try_from(made.events).unwrap();
    assert!(events > 0 && events < world.ledger.rows().count());
    for table in ["entries", "submissions"] {
        let sealed = format!("(SELECT * FROM {table} WHERE recorded_at < {through})");
        assert_eq!(dump(&pool, table).await, dump(&world.pool, &sealed).await, "{table}");
    }
    let not_before: i64 =
        sqlx::query_scalar("SELECT not_before FROM fence").fetch_one(&pool).await.unwrap();
    assert_eq!(not_before, through);
    let told: i64 =
        sqlx::query_scalar("SELECT count(*) FROM restores WHERE told_at IS NULL AND log_size = $1")
            .bind(made.log_size.cast_signed())
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(told, 1);

    // Once more, when all is sealed: then the heads are those of the ledger too.
    world.seal().await.unwrap();
    let pool = empty(&postgres, origin).await;
    let made = restored(&pool, &source, &world.ledger.trust).await.unwrap();
    assert_eq!(usize::try_from(made.events).unwrap(), world.ledger.rows().count());
    for table in TABLES {
        assert_eq!(dump(&pool, table).await, dump(&world.pool, table).await, "{table}");
    }
    // The archiver takes it for the ledger.
    let (ledger, archive) = (world.ledger.clone(), world.archive());
    let again = World { ledger, pool, directory: world.directory };
    let sealed = again.seal().await.unwrap();
    assert!(sealed.hours.is_empty() && sealed.recovered == 0);
    assert!(again.archive() == archive);
    // And again into the same database: it is not empty any more.
    let source = FileSource::open(&again.path().to_string_lossy()).unwrap();
    let refused = restored(&again.pool, &source, &again.ledger.trust).await;
    assert!(matches!(refused, Err(RestoreError::NotEmpty("heads"))), "{refused:?}");
}

#[tokio::test]
async fn nothing_is_restored_from_an_archive_that_was_changed() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    world.seal().await.unwrap();
    let (origin, trust) = (&world.ledger.content.origin, &world.ledger.trust);
    let pool = empty(&postgres, origin).await;
    let whole = world.archive();
    let is_proof = |key: &&str| key.starts_with("events/") || key.starts_with("log/");
    for key in whole.keys().filter(is_proof) {
        let path = world.path().join(key);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let source = FileSource::open(&world.path().to_string_lossy()).unwrap();
        match restored(&pool, &source, trust).await {
            Err(error @ RestoreError::Archive { verdict: Verdict::Tampered, .. }) => {
                assert_eq!(error.code(), 4, "{key}");
            }
            other => panic!("{key}: {other:?}"),
        }
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
    }
    check_still_empty(&pool, "a changed archive").await;

    // Of another ledger.
    let stranger =
        Trust { origin: Origin::new("ledger.example.com/other").unwrap(), ..trust.clone() };
    let source = FileSource::open(&world.path().to_string_lossy()).unwrap();
    assert!(restored(&pool, &source, &stranger).await.is_err());
    let elsewhere = empty(&postgres, &stranger.origin).await;
    let refused = restored(&elsewhere, &source, trust).await;
    assert!(matches!(refused, Err(RestoreError::Origin { .. })), "{refused:?}");
    check_still_empty(&elsewhere, "another ledger").await;
}

/// A store that shows an intact archive to whoever verifies it, and then something else (FAULTS row 49).
struct Liar {
    honest: FileSource,
    /// What it gives the second time that it is asked for the key.
    lie: (String, Option<Vec<u8>>),
    asked: Mutex<BTreeMap<String, u32>>,
}

impl ArchiveSource for Liar {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let mut asked = self.asked.lock().unwrap();
        let times = asked.entry(key.to_owned()).or_default();
        *times += 1;
        if *times > 1 && self.lie.0 == key {
            return Ok(self.lie.1.clone());
        }
        self.honest.get(key)
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        self.honest.list()
    }
}

#[tokio::test]
async fn a_store_that_lies_the_second_time_restores_nothing() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    world.seal().await.unwrap();
    let pool = empty(&postgres, &world.ledger.content.origin).await;
    let whole = world.archive();
    let chunks: Vec<String> =
        whole.keys().filter(|key| key.starts_with("events/")).map(str::to_owned).collect();
    // The last chunk: by then, all others are written.
    let last = chunks.last().unwrap();
    let bundle = whole.keys().find(|key| key.starts_with("log/tile/entries")).unwrap();
    let (mut flipped, other) = (whole.0[last].clone(), whole.0[&chunks[0]].clone());
    let at = flipped.len() / 2;
    flipped[at] ^= 1;
    let mut leaves = whole.0[bundle].clone();
    let at = leaves.len() - 100;
    leaves[at] ^= 1;
    for lie in [
        (last.clone(), None),
        (last.clone(), Some(flipped)),
        (last.clone(), Some(other)),
        (bundle.to_owned(), Some(leaves)),
        ("log/checkpoint".to_owned(), None),
    ] {
        let key = lie.0.clone();
        let honest = FileSource::open(&world.path().to_string_lossy()).unwrap();
        let liar = Liar { honest, lie, asked: Mutex::default() };
        let refused = restored(&pool, &liar, &world.ledger.trust).await.unwrap_err();
        assert_eq!(refused.code(), 4, "{key}: {refused}");
        check_still_empty(&pool, &key).await;
    }
    // The same store, had it not lied.
    let honest = FileSource::open(&world.path().to_string_lossy()).unwrap();
    restored(&pool, &honest, &world.ledger.trust).await.unwrap();
}

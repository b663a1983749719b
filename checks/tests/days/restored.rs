//! A database that is not the ledger any more: an older copy, or one that went another way.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use checks::bin_path::tally;
use checks::driver::{Answer, Client};
use checks::rig::HandClock;
use checks::service::base;
use ingest::chain::NoProbe;
use ingest::sealed::SealedError;
use ingest::service::StartError;
use ingest::{Clock, Config, Running, Service, SystemClock};
use ledger::time::Micros;

use super::world::{DAY, ROOM, World, noon};

/// Tables that make a database the ledger; a backup has them as they were.
const BACKUP: [&str; 4] = ["heads", "keys", "submissions", "entries"];

impl World {
    async fn sql(&self, statement: &str) {
        let statement = format!("SET session_replication_role = replica; {statement}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&self.rig.pool).await.unwrap();
    }

    async fn back_up(&self) {
        for table in BACKUP {
            self.sql(&format!("CREATE TABLE backup_{table} AS SELECT * FROM {table}")).await;
        }
    }

    async fn restore(&self) {
        for table in BACKUP {
            let rows = format!("INSERT INTO {table} SELECT * FROM backup_{table}");
            self.sql(&format!("DELETE FROM {table}; {rows}")).await;
        }
    }

    fn config(&self) -> Config {
        let mut config = self.rig.config(&self.rig.postgres.url()).unwrap();
        config.seal_verifier_key = Some(self.rig.seal_verifier_key());
        config.archive_url = Some(format!("file://{}", self.rig.archive().display()));
        config
    }

    async fn start(&self) -> Result<Running, StartError> {
        let clock = Arc::new(HandClock::new(noon(2)));
        Service::start(self.config(), clock, Arc::new(NoProbe)).await
    }

    /// Work of 20 events, and the day of it sealed.
    async fn a_sealed_day(&mut self, day: i64) {
        self.clock.reach(noon(day));
        let submission = self.founder.work(20, noon(day));
        self.record(&[&submission]).await[0].as_ref().unwrap();
        self.rig.seal(noon(day + 1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_database_behind_the_sealed_heads_is_not_served() {
    let mut world = World::new(ROOM).await;
    // Nothing is sealed yet: an empty archive says nothing against the database.
    std::fs::create_dir_all(world.rig.archive()).unwrap();
    world.start().await.unwrap().shutdown().await;
    world.a_sealed_day(0).await;
    world.back_up().await;
    world.start().await.unwrap().shutdown().await;

    world.a_sealed_day(1).await;
    world.start().await.unwrap().shutdown().await;
    world.restore().await;
    match world.start().await {
        Err(StartError::Sealed(SealedError::Behind { workspace, found, sealed })) => {
            assert_eq!((workspace.as_str(), found, sealed.get()), ("acme", 21, 41));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
    // The same as the operator meets it.
    let rig = &world.rig;
    let (origin, archive) = (rig.origin.as_str(), rig.archive());
    let output = Command::new(tally("tally-ingest"))
        .args(["serve", "--origin", origin, "--listen", "127.0.0.1:0"])
        .args(["--database-url", &rig.postgres.url()])
        .arg("--receipt-key")
        .arg(rig.receipt_key())
        .arg("--custodian-key")
        .arg(rig.custodian_key())
        .args(["--seal-verifier-key", &rig.seal_verifier_key().to_string()])
        .args(["--archive-url", &format!("file://{}", archive.display())])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("holds `acme` up to seq 21, and the archive has sealed it up to seq 41"));
}

#[tokio::test]
async fn a_database_that_went_another_way_is_not_served() {
    let mut world = World::new(ROOM).await;
    world.back_up().await;
    world.a_sealed_day(0).await;
    world.restore().await;
    // It goes on from the backup, further than what is sealed.
    world.committer = world.another(ROOM);
    world.clock.reach(noon(1));
    for _ in 0..2 {
        let other = world.founder.work(20, noon(1));
        world.record(&[&other]).await[0].as_ref().unwrap();
    }
    match world.start().await {
        Err(StartError::Sealed(SealedError::Forked { workspace, seq, .. })) => {
            assert_eq!((workspace.as_str(), seq.get()), ("acme", 21));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test]
async fn an_archive_that_is_not_there_or_not_ours_is_no_excuse() {
    let mut world = World::new(ROOM).await;
    let missing = world.start().await;
    assert!(matches!(missing, Err(StartError::Sealed(SealedError::Read { .. }))));
    world.a_sealed_day(0).await;
    let checkpoint = world.rig.archive().join("log/checkpoint");
    let text = std::fs::read_to_string(&checkpoint).unwrap();
    std::fs::write(&checkpoint, text.replace("days", "dayz")).unwrap();
    let other = world.start().await;
    assert!(matches!(other, Err(StartError::Sealed(SealedError::Form { .. }))));
}

#[tokio::test]
async fn a_service_stops_when_its_database_falls_behind_its_receipts() {
    let mut world = World::new(ROOM).await;
    world.back_up().await;
    let service = world.rig.serve(world.clock.clone()).await.unwrap();
    let client = Client::new(&base(service.local_addr()), Duration::from_secs(30)).unwrap();
    let first = world.founder.work(10, noon(0));
    assert!(matches!(client.post(&first).await, Answer::Receipt(_)));
    world.restore().await;
    let second = world.founder.work(10, noon(0));
    match client.post(&second).await {
        Answer::Unknown(said) => assert!(said.contains("/problems/behind-receipts"), "{said}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.entries_by_day().await, [(0, 1)]);
    service.shutdown().await;
}

/// A clock that is not of this world, and says that it should be.
struct Leaping(HandClock);

impl Clock for Leaping {
    fn now(&self) -> Micros {
        self.0.now()
    }

    fn tolerance(&self) -> Option<Duration> {
        SystemClock.tolerance()
    }
}

#[tokio::test]
async fn a_clock_that_leaps_is_not_recorded() {
    let mut world = World::new(ROOM).await;
    let clock = Arc::new(Leaping(HandClock::new(SystemClock.now())));
    let leap = |micros| clock.0.reach(SystemClock.now().checked_add(micros).unwrap());
    let url = world.rig.postgres.url();
    let service = world.rig.serve_on(&url, Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    let client = Client::new(&base(service.local_addr()), Duration::from_secs(30)).unwrap();
    leap(30_000_000);
    assert!(matches!(client.post(&world.founder.work(1, noon(0))).await, Answer::Receipt(_)));
    leap(64 * 365 * DAY);
    match client.post(&world.founder.work(1, noon(0))).await {
        Answer::Unknown(said) => assert!(said.contains("/problems/clock-apart"), "{said}"),
        other => panic!("{other:?}"),
    }
    let entries: i64 = sqlx::query_scalar("SELECT count(*) FROM entries")
        .fetch_one(&world.rig.pool)
        .await
        .unwrap();
    assert_eq!(entries, 2);
    service.shutdown().await;
}

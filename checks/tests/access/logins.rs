//! Logins of Postgres with the least that each program needs: everything runs on them.

use std::time::Duration;

use archiver::chunk::Limits;
use archiver::seal::Archiver;
use archiver::vault::FileVault;
use checks::postgres::Postgres;
use ingest::store::StoreError;
use ingest::{Service, StartError};
use ledger::names::Origin;
use ledger::note::NoteSigner;
use ledger::time::{HOUR, Micros};
use ledger::verify::Verdict;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, raw_sql};

use crate::world::{World, routes, serve, start};

const ROLES: &str = include_str!("../../../policies/postgres/roles.sql");
const TENANTS: &str = include_str!("../../../policies/postgres/tenants.sql");

/// The URL with which another login comes to the same database.
pub fn login(url: &str, name: &str) -> String {
    url.replace("postgres://postgres@", &format!("postgres://{name}@"))
}

/// Makes the logins of `policies/postgres/README.md`.
pub async fn make(pool: &PgPool) {
    raw_sql(
        "CREATE ROLE tally_migrate LOGIN IN ROLE tally_owner;
         CREATE ROLE tally_ingest LOGIN IN ROLE tally_writer;
         CREATE ROLE tally_http LOGIN IN ROLE tally_api;
         CREATE ROLE tally_seal LOGIN IN ROLE tally_archiver;
         CREATE ROLE acme_sql LOGIN IN ROLE tally_reader;
         CREATE ROLE stranger LOGIN",
    )
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_and_the_archiver_need_no_more_than_their_groups() {
    // Migrated by a superuser, then never used by one again.
    let mut world = World::new().await;
    world.stop().await;
    let url = world.rig.postgres.url();
    make(&world.rig.pool).await;
    raw_sql(TENANTS).execute(&world.rig.pool).await.unwrap();

    let mut config = world.rig.config(&login(&url, "tally_ingest")).unwrap();
    config.database_read_url = Some(login(&url, "tally_http"));
    // A day later, so that its partitions are made by the writer.
    let tomorrow = Micros::new(start().get() + 24 * HOUR).unwrap();
    world.clock.reach(tomorrow);
    let running = serve(config, &world.clock).await;
    world.base = checks::service::base(running.local_addr());
    world.running = Some(running);
    let mut founder = world.founders[0].clone();
    world.post(&founder.work(100, tomorrow)).await;
    let (id, token) = world.token("acme").await;
    for route in routes("acme") {
        assert!(matches!(world.get(&route, &token).await.status, 200 | 404), "{route}");
    }
    let head = world.get("/v1/workspaces/acme/head", &token).await.json();
    assert_eq!(head["last_seq"], 106);
    let path = format!("/v1/workspaces/acme/tokens/{id}");
    assert_eq!(world.admin(reqwest::Method::DELETE, &path, None).await.status, 200);
    let ready = world.ask(reqwest::Method::GET, "/readyz", &[], None).await;
    assert_eq!(ready.status, 200, "{ready:?}");
    world.stop().await;

    let pool = PgPoolOptions::new().max_connections(2);
    let pool = pool.connect(&login(&url, "tally_seal")).await.unwrap();
    let vault = FileVault::open(&world.rig.archive().to_string_lossy()).unwrap();
    let key = ingest::keyfile::read(&world.rig.directory.join("keys/seal.pem")).unwrap();
    let archiver = Archiver {
        pool,
        vault: &vault,
        signer: std::sync::Arc::new(NoteSigner::seal(&world.rig.origin, key)),
        origin: world.rig.origin.clone(),
        limits: Limits::DEFAULT,
        probe: &(),
    };
    let later = Micros::new(tomorrow.get() + 2 * HOUR).unwrap();
    archiver.seal(later, Duration::ZERO).await.unwrap();
    archiver.seal(later, Duration::ZERO).await.unwrap();
    let report = world.rig.verify().unwrap();
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
    // And retention of the day before.
    let first = start().get() - start().get() % (24 * HOUR);
    let gone: i64 = sqlx::query_scalar("SELECT archive_day($1, $2)")
        .bind(first)
        .bind(later.get())
        .fetch_one(&archiver.pool)
        .await
        .unwrap();
    assert!(gone > 0, "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_its_group_is_told_so_at_the_start() {
    let mut world = World::empty(|_| ()).await;
    world.stop().await;
    let url = world.rig.postgres.url();
    make(&world.rig.pool).await;
    let start = async |writes: &str, reads: &str| {
        let mut config = world.rig.config(&login(&url, writes)).unwrap();
        config.database_read_url = Some(login(&url, reads));
        let clock = std::sync::Arc::new(world.clock.clone());
        let probe = std::sync::Arc::new(ingest::chain::NoProbe);
        Service::start(config, clock, probe).await.map(|_| ()).unwrap_err()
    };
    for (writes, reads, role) in [
        ("tally_http", "tally_http", "tally_writer"),
        ("tally_ingest", "tally_ingest", "tally_api"),
        ("tally_seal", "tally_http", "tally_writer"),
    ] {
        let error = start(writes, reads).await;
        let StartError::Store(StoreError::Role { role: found, .. }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*found, role);
        assert!(error.to_string().contains(&format!("GRANT {role} TO")), "{error}");
    }
    assert!(matches!(start("stranger", "stranger").await, StartError::Store(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_is_no_superuser_migrates() {
    let postgres = Postgres::start().unwrap();
    let pool = PgPool::connect(&postgres.url()).await.unwrap();
    raw_sql("CREATE ROLE upstart LOGIN").execute(&pool).await.unwrap();
    raw_sql("CREATE DATABASE early OWNER upstart").execute(&pool).await.unwrap();
    let origin = Origin::new("ledger.example.com/owned").unwrap();
    let url = postgres.url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let early = login(&format!("{server}/early"), "upstart");
    let refused = ingest::store::migrate(&early, &origin).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("may not make it"), "{refused}");

    for _ in 0..2 {
        raw_sql(ROLES).execute(&pool).await.unwrap();
    }
    make(&pool).await;
    raw_sql("CREATE DATABASE tally OWNER tally_owner").execute(&pool).await.unwrap();
    let url = format!("{server}/tally");
    let owner = login(&url, "tally_migrate");
    for _ in 0..2 {
        ingest::store::migrate(&owner, &origin).await.unwrap();
    }
    let tally = PgPool::connect(&url).await.unwrap();
    let foreign: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND c.relowner <> 'tally_owner'::regrole",
    )
    .fetch_all(&tally)
    .await
    .unwrap();
    assert!(foreign.is_empty(), "not the owner's: {foreign:?}");
    ingest::store::check_login(&login(&url, "tally_ingest"), &origin, true).await.unwrap();
    ingest::store::check_login(&login(&url, "tally_http"), &origin, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_one_cluster_migrate_at_once() {
    let postgres = Postgres::start().unwrap();
    let origin = Origin::new("ledger.example.com/many").unwrap();
    let mut migrating = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (url, origin) = (postgres.database().unwrap(), origin.clone());
        migrating.spawn(async move { ingest::store::migrate(&url, &origin).await });
    }
    for migrated in migrating.join_all().await {
        migrated.unwrap();
    }
}

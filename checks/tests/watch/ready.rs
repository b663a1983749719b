//! `/readyz` says what is in the way; `/healthz` asks nobody.

use serde_json::json;

use crate::world::{Reply, World, event};

/// The checks that are not well.
fn down(reply: &Reply) -> Vec<String> {
    let body = reply.json();
    let checks = body["checks"].as_object().unwrap();
    assert_eq!(checks.len(), 3, "{body}");
    let down = checks.iter().filter(|(_, check)| check["status"] == "down");
    down.map(|(name, _)| name.clone()).collect()
}

async fn is_down(world: &World, expected: &str) {
    let reply = world.get("/readyz").await;
    assert_eq!((reply.status, reply.problem()), (503, "not-ready".to_owned()), "{reply:?}");
    assert_eq!(reply.json()["ready"], false);
    assert_eq!(down(&reply), [expected], "{reply:?}");
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(world.get("/healthz").await.status, 200);
}

async fn is_ready(world: &World) {
    let reply = world.get("/readyz").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.json()["ready"], true);
    assert!(down(&reply).is_empty(), "{reply:?}");
}

async fn execute(world: &World, statement: &'static str) {
    sqlx::query(statement).execute(&world.rig.pool).await.unwrap();
}

#[tokio::test]
async fn the_dependency_that_is_down_is_named() {
    let mut world = World::new(&[]).await;
    is_ready(&world).await;

    execute(
        &world,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of a later release', true, '', 0)",
    )
    .await;
    is_down(&world, "schema").await;
    execute(&world, "DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    is_ready(&world).await;

    world.rig.postgres.kill_9().unwrap();
    is_down(&world, "database").await;
    let metrics = world.get("/metrics").await;
    assert_eq!(metrics.status, 200, "figures are shown most of all when something is wrong");
    assert!(metrics.text.contains("\ntally_database_up 0\n"), "{}", metrics.text);
    world.rig.postgres.start_again().unwrap();
    is_ready(&world).await;
    assert!(world.get("/metrics").await.text.contains("\ntally_database_up 1\n"));

    // An hour from now: as far as the ledger goes, the clock stands an hour behind. The fence never
    // goes back, so this comes last.
    execute(
        &world,
        "UPDATE fence SET not_before = (extract(epoch FROM now()) * 1000000)::bigint + 3600000000",
    )
    .await;
    is_down(&world, "clock").await;
    let submission = world.signed(&[event(2, "business_event", &json!({}))]);
    assert_eq!(world.post(&submission).await.problem(), "clock-behind");
    world.stop().await;
}

//! A database that goes away and comes back, and a task that dies (FAULTS 5 and 10, in small).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ingest::chain::{Probe, Step};

use crate::world::{World, key, plain, signed};

/// Panics at the nth passage of each step.
struct Panics(AtomicU32);

impl Probe for Panics {
    fn at(&self, _step: Step) {
        let passage = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        // A workspace is created in 19 steps, its act included: fewer would never do.
        assert!(!passage.is_multiple_of(23), "a fault, on purpose");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_one_group_and_nothing_else() {
    let probe = Arc::new(Panics(AtomicU32::new(0)));
    let mut world = World::empty(Arc::clone(&probe) as Arc<dyn Probe>).await;
    let founding = crate::world::founding("acme", 1);
    while !matches!(world.agent.post(&founding).await.status, 200 | 201) {}
    let mut failed = 0;
    for n in 0..60 {
        let submission = signed(&key(1), n + 1, vec![plain(100 + n)]);
        loop {
            let reply = world.agent.post(&submission).await;
            match reply.status {
                200 | 201 => break,
                // Before or after the writer's task, and in it.
                500 => assert_eq!(reply.problem(), "internal"),
                503 => {
                    assert_eq!(reply.problem(), "unavailable");
                    assert_eq!(reply.retry_after.as_deref(), Some("1"));
                }
                other => assert_eq!(other, 201, "{}", reply.text),
            }
            failed += 1;
        }
    }
    assert!(failed > 20, "{failed} requests failed");
    let seqs: i64 = sqlx::query_scalar("SELECT max(seq) FROM entries WHERE workspace = 'acme'")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!((world.entries().await, seqs), (61, 61));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_outlives_its_database() {
    let mut world = World::new().await;
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        let before = signed(&key(2), 2 * round + 1, vec![plain(100 + round)]);
        acknowledged.push((before.clone(), world.agent.post(&before).await));
        if round == 0 {
            world.postgres.kill_9().unwrap();
        } else {
            world.postgres.stop_immediate().unwrap();
        }
        assert_eq!(world.agent.get("/healthz").await.status, 200);
        let ready = world.agent.get("/readyz").await;
        assert_eq!((ready.status, ready.problem()), (503, "not-ready".to_owned()));
        let during = signed(&key(2), 2 * round + 2, vec![plain(200 + round)]);
        let refused = world.agent.post(&during).await;
        assert_eq!((refused.status, refused.problem()), (503, "unavailable".to_owned()));
        assert!(refused.retry_after.is_some());
        assert_eq!(world.agent.get("/v1/workspaces/acme/head").await.status, 503);

        world.postgres.start_again().unwrap();
        assert_eq!(world.agent.get("/readyz").await.status, 200);
        acknowledged.push((during.clone(), world.agent.post(&during).await));
    }
    for (submission, receipt) in acknowledged {
        assert_eq!(receipt.status, 201);
        assert_eq!(world.agent.post(&submission).await.text, receipt.text);
    }
    assert_eq!(world.entries().await, 6);
    world.stop().await;
}

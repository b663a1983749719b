//! What the door refuses of an erasure.

use serde_json::{Value, json};

use crate::world::{World, at, erasure, event, id, typed};

/// Status, problem, and each error's pointer and reason.
type Refusal = (u16, String, Vec<(String, String)>);

/// What the service says to events in one submission, by the root key.
async fn refused(world: &mut World, payloads: Vec<Vec<u8>>) -> Refusal {
    let submission = world.founder.sign(payloads);
    match world.client().post(&submission).await {
        checks::driver::Answer::Refused { status, problem } => {
            let problem: Value = serde_json::from_str(&problem).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let kind = text(&problem["type"]).replace("/problems/", "");
            let errors = problem["errors"].as_array().cloned().unwrap_or_default();
            let errors = errors.iter().map(|e| (text(&e["pointer"]), text(&e["reason"])));
            (status, kind, errors.collect())
        }
        other => panic!("{other:?}"),
    }
}

fn fault(index: usize, reason: &str) -> (String, String) {
    (format!("/context/event_ids/{index}"), reason.to_owned())
}

async fn rows(world: &World) -> (i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM entries WHERE workspace = 'acme'),
                      (SELECT count(*) FROM erasures)";
    sqlx::query_as(sql).fetch_one(&world.rig.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_could_never_be_carried_out_is_refused() {
    let mut world = World::new().await;
    world.record((1..4).map(event).collect()).await;
    world.record(vec![erasure(101, &[1])]).await;
    let opening: String = sqlx::query_scalar(
        "SELECT event_id::text FROM entries WHERE workspace = 'acme' AND seq = 1",
    )
    .fetch_one(&world.rig.pool)
    .await
    .unwrap();
    let before = rows(&world).await;
    assert_eq!(before, (5, 1));

    // Not recorded: never, only in another workspace, and the request itself.
    let unknown = refused(&mut world, vec![erasure(102, &[2, 77, 3, 102])]).await;
    let faults = vec![fault(1, "not-recorded"), fault(3, "not-recorded")];
    assert_eq!(unknown, (409, "not-erasable".to_owned(), faults));
    let act: String = sqlx::query_scalar(
        "SELECT coalesce(max(event_id::text), '') FROM entries WHERE workspace <> 'acme'",
    )
    .fetch_one(&world.rig.pool)
    .await
    .unwrap();
    let context = json!({ "event_ids": [act], "reason": "another's" });
    let foreign = refused(&mut world, vec![typed(103, "ledger.payload_erased", &context)]).await;
    assert_eq!(foreign, (409, "not-erasable".to_owned(), vec![fault(0, "not-recorded")]));

    // Events of the ledger: the one that opens the chain, and an erasure.
    let context = json!({ "event_ids": [opening, id(1), id(101)], "reason": "to hide" });
    let ledgers = refused(&mut world, vec![typed(104, "ledger.payload_erased", &context)]).await;
    let faults = vec![fault(0, "ledger-event"), fault(2, "ledger-event")];
    assert_eq!(ledgers, (409, "not-erasable".to_owned(), faults));

    // Twice, also in another spelling.
    let twice = refused(&mut world, vec![erasure(105, &[1, 2, 1])]).await;
    assert_eq!(twice, (422, "event-refused".to_owned(), vec![fault(2, "duplicate-event-id")]));
    let nothing = refused(&mut world, vec![erasure(106, &[])]).await;
    assert_eq!(nothing.1, "event-refused");
    let together = refused(&mut world, vec![event(8), erasure(107, &[1])]).await;
    assert_eq!(together.1, "not-alone");
    assert_eq!(rows(&world).await, before);

    // What is erased already may be asked for again, and what is recorded on days before too.
    world.record(vec![erasure(108, &[1, 2])]).await;
    world.clock.reach(at(30));
    world.record(vec![erasure(109, &[3])]).await;
    assert_eq!(rows(&world).await, (7, 3));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_of_closed_days_and_the_same_again() {
    let mut world = World::new().await;
    world.record((1..4).map(event).collect()).await;
    world.clock.reach(at(48));
    let submission = world.founder.sign(vec![event(4)]);
    world.client().post(&submission).await;
    // The first day lies below the fence: a service that starts now has a filter for it.
    let ledger = world.copy();
    ledger.seal(at(49)).await;
    world.clock.reach(at(49));
    world.restart().await;
    let unknown = refused(&mut world, vec![erasure(101, &[2, 77])]).await;
    assert_eq!(unknown.2, [fault(1, "not-recorded")]);
    let request = world.founder.sign(vec![erasure(102, &[2, 4])]);
    let first = world.client().post(&request).await;
    assert!(matches!(first, checks::driver::Answer::Receipt(_)), "{first:?}");
    assert_eq!(world.client().post(&request).await, first);
    assert_eq!(rows(&world).await, (6, 1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_learns_nothing_of_what_is_recorded() {
    let mut world = World::new().await;
    world.record(vec![event(1)]).await;
    let acme = world.founder.workspace.clone();
    let mut agent = checks::worker::Worker::new(&world.rig.origin, &acme, "founder", 7);
    let registered = world.founder.register(&agent, at(0));
    // Keys are set by another route.
    let path = format!("{}/v1/workspaces/acme/keys", world.base);
    let request = world
        .http
        .post(path)
        .header("Content-Type", "application/json")
        .header("Tally-Public-Key", registered.public_key.to_string())
        .header("Tally-Signature", registered.signature.to_string())
        .header("Tally-Counter", registered.counter.to_string())
        .body(registered.payloads.concat());
    assert_eq!(request.send().await.unwrap().status().as_u16(), 201);
    for named in [1, 77] {
        let submission = agent.sign(vec![erasure(101, &[named])]);
        match world.client().post(&submission).await {
            checks::driver::Answer::Refused { status: 403, problem } => {
                assert!(problem.contains("/problems/not-root"), "{problem}");
            }
            other => panic!("{other:?}"),
        }
    }
    world.stop().await;
}

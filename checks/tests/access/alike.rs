//! What is not there and what is not yours look alike (FAULTS 38).

use std::time::Duration;

use checks::driver::{Answer, Client};
use checks::worker::Worker;
use ledger::names::Workspace;

use crate::world::{Reply, World, routes, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_not_yours_reads_like_one_that_is_not_there() {
    let mut world = World::new().await;
    let (_, token) = world.token("acme").await;
    let long = "a".repeat(64);
    let names = [
        "beta",
        "ledger.acts",
        "nowhere",
        "ACME",
        "acme.",
        "acme%00",
        "acme%2f",
        "..%2facme",
        "acme%20",
        "-acme",
        "%c3%a9",
        "%ff",
        &long,
    ];
    for (n, route) in routes("acme").iter().enumerate() {
        assert!(matches!(world.get(route, &token).await.status, 200 | 404), "{route}");
        let mut answers: Vec<(&str, Reply)> = Vec::new();
        for name in names {
            answers.push((name, world.get(&routes(name)[n], &token).await));
        }
        let (_, first) = answers[0].clone();
        assert_eq!(first.problem(), (404, "no-workspace".to_owned()), "{route}");
        for (name, answer) in answers {
            assert_eq!(answer, first, "{name}: {route}");
        }
    }
    // Every one of them is on record, with whose token it was.
    let acts = world.acts().await;
    let denied = acts.iter().filter(|act| act["success"] == false && act["status"] == "404");
    assert!(denied.count() >= routes("acme").len() * names.len());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_submits_learns_nothing_of_a_workspace() {
    let mut world = World::new().await;
    let client = Client::new(&world.base, Duration::from_secs(30)).unwrap();
    let mut refusals = Vec::new();
    for name in ["beta", "nowhere", "ledger.acts"] {
        let workspace = Workspace::new(name).unwrap();
        let mut stranger = Worker::new(&world.rig.origin, &workspace, "stranger", 99);
        refusals.push(client.post(&stranger.work(1, start())).await);
    }
    let Answer::Refused { status, problem } = &refusals[0] else {
        panic!("{refusals:?}");
    };
    assert!(*status == 403 && problem.contains("/problems/unknown-key"), "{problem}");
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
    world.stop().await;
}

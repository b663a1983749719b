//! The record of acts: each read and each administrative act is one event, and nothing is given
//! that is not on record.

use std::collections::BTreeSet;
use std::time::Duration;

use checks::driver::{Answer, Client};
use checks::submission::{Route, Submission};
use checks::token::ADMIN_NAME;
use checks::worker::Worker;
use ingest::access::settings::{ACTS_WORKSPACE, acts_workspace};
use ingest::{StartError, keyfile};
use ledger::names::Workspace;
use ledger::submission::Counter;
use ledger::time::{HOUR, Micros};
use ledger::verify::Verdict;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{World, routes, start};

/// The one act that a request left.
async fn one_act(world: &World, before: usize, what: &str) -> Value {
    let acts = world.acts().await;
    assert_eq!(acts.len(), before + 1, "{what}: {:?}", &acts[before..]);
    acts[before].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_and_act_leaves_one_event_that_the_verifier_accepts() {
    let mut world = World::new().await;
    let opened = world.acts().await;
    assert_eq!(opened.len(), 2, "two workspaces were created: {opened:?}");
    for (act, name) in opened.iter().zip(["acme", "beta"]) {
        assert_eq!(act["event_type"], "ledger_act");
        assert_eq!(act["actor_id"], format!("admin:{ADMIN_NAME}"));
        assert_eq!(act["status"], "requested");
        assert_eq!(act["context"]["route"], "POST /v1/workspaces");
        assert_eq!(act["context"]["workspace"], name);
        assert_eq!(act["context"]["item"].as_str().unwrap().len(), 64, "its submission");
    }

    let (id, token) = world.token("acme").await;
    let made = one_act(&world, 2, "token create").await;
    assert_eq!(made["context"]["item"], id);
    assert_eq!((&made["status"], &made["success"]), (&json!("201"), &json!(true)));

    let mut count = 3;
    for route in routes("acme").into_iter().chain(routes("beta")) {
        let answer = world.get(&route, &token).await;
        let act = one_act(&world, count, &route).await;
        count += 1;
        assert_eq!(act["event_type"], "ledger_read");
        assert_eq!(act["actor_id"], format!("reader:{id}"));
        assert_eq!(act["status"], answer.status.to_string());
        assert_eq!(act["success"], answer.status == 200, "{act}");
        let workspace = route.split('/').nth(3).unwrap();
        assert_eq!(act["context"]["workspace"], workspace);
        let template = act["context"]["route"].as_str().unwrap();
        assert!(template.starts_with("GET /v1/workspaces/{workspace}/"), "{template}");
        if route.ends_with("limit=1") && workspace == "acme" {
            assert_eq!(act["context"]["item"], "from_seq=2&limit=1");
        }
    }
    let bearer = format!("Bearer {token}");
    let head = world.ask(Method::HEAD, "/v1/workspaces/acme/head", &[&bearer], None).await;
    assert_eq!(head.status, 200);
    let act = one_act(&world, count, "HEAD").await;
    assert_eq!(act["context"]["route"], "HEAD /v1/workspaces/{workspace}/head");
    count += 1;

    let tokens = "/v1/workspaces/acme/tokens";
    let item = format!("{tokens}/{id}");
    for (method, path, status) in [
        (Method::GET, tokens, "200"),
        (Method::DELETE, item.as_str(), "200"),
        (Method::DELETE, "/v1/workspaces/acme/tokens/x", "404"),
        (Method::GET, "/v1/workspaces/nowhere/tokens", "404"),
    ] {
        world.admin(method.clone(), path, None).await;
        let act = one_act(&world, count, path).await;
        count += 1;
        assert_eq!(act["event_type"], "ledger_act");
        assert_eq!(act["status"], status, "{method} {path}");
        assert_eq!(act["success"], status == "200");
    }
    // What everybody may ask leaves none.
    for path in ["/v1/ledger", "/healthz", "/readyz", "/metrics", "/openapi.json", "/nothing"] {
        world.ask(Method::GET, path, &[], None).await;
    }
    assert_eq!(world.acts().await.len(), count);
    world.stop().await;

    let later = Micros::new(start().get() + 2 * HOUR).unwrap();
    world.rig.seal(later).await.unwrap();
    let report = world.rig.verify().unwrap();
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
    let acts = report.workspaces.iter().find(|of| of.workspace == acts_workspace());
    let (last, _) = acts.unwrap().head.unwrap();
    assert_eq!(last.get(), u64::try_from(count).unwrap() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reads_at_once_share_submissions_and_lose_none() {
    let mut world = World::new().await;
    let (_, token) = world.token("acme").await;
    let before = world.acts().await.len();
    let mut reading = JoinSet::new();
    for _ in 0..300 {
        let request = world.http.get(format!("{}/v1/workspaces/acme/head", world.base));
        let request = request.bearer_auth(&token);
        reading.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let statuses = reading.join_all().await;
    let given = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(given, 300, "{statuses:?}");
    let acts = world.acts().await;
    assert_eq!(acts.len() - before, given);
    let ids: BTreeSet<&str> = acts.iter().map(|act| act["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), acts.len());
    let largest =
        "SELECT max(event_count)::bigint FROM submissions WHERE workspace = 'ledger.acts'";
    let largest = world.count(largest).await;
    assert!((2..=100).contains(&largest), "{largest} in one submission");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_not_given_and_not_done() {
    let mut world = World::new().await;
    let (id, token) = world.token("acme").await;
    // The custodian key goes out of force in the ledger's own workspace.
    let custodian = keyfile::read(&world.rig.custodian_key()).unwrap();
    let next = Worker::new(&world.rig.origin, &acts_workspace(), "next", 77);
    let context = json!({"key": next.key.public().to_string(), "role": "root"});
    set_key(&world, &custodian, "ledger.key_registered", &context, 1).await;
    let context = json!({"key": custodian.public().to_string(), "reason": "a test"});
    set_key(&world, &next.key, "ledger.key_revoked", &context, 2).await;

    let before = world.acts().await.len();
    for route in routes("acme").into_iter().chain(routes("beta")) {
        let refused = world.get(&route, &token).await;
        assert_eq!(refused.problem(), (503, "not-on-record".to_owned()), "{route}");
    }
    let tokens = "/v1/workspaces/acme/tokens";
    let refused = world.admin(Method::POST, tokens, Some(json!({"name": "x"}))).await;
    assert_eq!(refused.problem(), (503, "not-on-record".to_owned()));
    assert_eq!(world.count("SELECT count(*) FROM reader_tokens").await, 1, "rolled back");
    let refused = world.admin(Method::DELETE, &format!("{tokens}/{id}"), None).await;
    assert_eq!(refused.problem(), (503, "not-on-record".to_owned()));
    let revoked = "SELECT count(*) FROM reader_tokens WHERE revoked_at IS NOT NULL";
    assert_eq!(world.count(revoked).await, 0, "rolled back");
    let gamma = Workspace::new("gamma").unwrap();
    let mut founder = Worker::new(&world.rig.origin, &gamma, "founder", 3);
    let client = Client::new(&world.base, Duration::from_secs(30)).unwrap();
    let refused = client.post(&founder.open_workspace(start())).await;
    assert!(matches!(refused, Answer::Unknown(_)), "{refused:?}");
    assert_eq!(world.count("SELECT count(*) FROM heads WHERE workspace = 'gamma'").await, 0);
    assert_eq!(world.acts().await.len(), before);
    // Agents are not held up by that.
    world.post(&world.founders[0].clone().work(1, start())).await;
    world.stop().await;

    // A service that could record nothing does not start.
    let config = world.rig.config(&world.rig.postgres.url()).unwrap();
    let (clock, probe) = (world.clock.clone(), ingest::chain::NoProbe);
    let started =
        ingest::Service::start(config, std::sync::Arc::new(clock), std::sync::Arc::new(probe));
    assert!(matches!(started.await, Err(StartError::Custodian { .. })));
}

async fn set_key(
    world: &World,
    key: &ledger::key::SigningKey,
    event_type: &str,
    context: &Value,
    n: u64,
) {
    let payload = json!({
        "event_id": format!("00000000-0000-4000-8000-{n:012x}"),
        "event_type": event_type,
        "occurred_at": start().to_string(),
        "workspace_id": ACTS_WORKSPACE,
        "context": context,
    });
    let payload = serde_json::to_vec(&payload).unwrap();
    let (origin, workspace) = (&world.rig.origin, acts_workspace());
    let signed = Submission::sign(origin, &workspace, Counter::NONE, key, vec![payload]);
    let signed = Submission { route: Route::Workspaces, ..signed };
    let answer = world
        .http
        .post(format!("{}/v1/workspaces/{ACTS_WORKSPACE}/keys", world.base))
        .header("content-type", signed.content_type())
        .header("tally-public-key", signed.public_key.to_string())
        .header("tally-signature", signed.signature.to_string())
        .body(signed.body())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_ledger_opens_its_own_workspace() {
    let mut world = World::empty(|_| ()).await;
    let client = Client::new(&world.base, Duration::from_secs(30)).unwrap();
    let mut founder = Worker::new(&world.rig.origin, &acts_workspace(), "founder", 3);
    let refused = client.post(&founder.open_workspace(start())).await;
    let Answer::Refused { status: 409, problem } = &refused else {
        panic!("{refused:?}");
    };
    assert!(problem.contains("/problems/workspace-exists"), "{problem}");
    assert_eq!(world.count("SELECT count(*) FROM heads").await, 0);

    // Its own readers may read it, and that is on record too.
    let (id, token) = world.token(ACTS_WORKSPACE).await;
    let entries = world.get(&format!("/v1/workspaces/{ACTS_WORKSPACE}/entries"), &token).await;
    assert_eq!(entries.json()["entries"].as_array().unwrap().len(), 2, "opened, token made");
    assert_eq!(world.acts().await.last().unwrap()["actor_id"], format!("reader:{id}"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_record_in_one_chain() {
    let mut world = World::new().await;
    let (_, token) = world.token("acme").await;
    let config = world.rig.config(&world.rig.postgres.url()).unwrap();
    let other = crate::world::serve(config, &world.clock).await;
    let bases = [world.base.clone(), checks::service::base(other.local_addr())];
    let before = world.acts().await.len();
    let mut reading = JoinSet::new();
    for n in 0..100 {
        let request = world.http.get(format!("{}/v1/workspaces/acme/head", bases[n % 2]));
        let request = request.bearer_auth(&token);
        reading.spawn(async move { assert_eq!(request.send().await.unwrap().status(), 200) });
    }
    reading.join_all().await;
    assert_eq!(world.acts().await.len() - before, 100);
    other.shutdown().await;
    world.stop().await;
}

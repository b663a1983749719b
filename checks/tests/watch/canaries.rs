//! FAULTS 42: what is a secret, or a payload, is in no log line, no problem, no figure and no span.

use checks::token;
use reqwest::Method;
use serde_json::{Value, json};

use crate::collector::Collector;
use crate::world::{Reply, World, event};

const CANARY: &str = "canary-7f3a91";

/// What must not be seen, and what it is.
fn secrets(world: &World) -> Vec<(&'static str, String)> {
    let pem = |path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().nth(1).unwrap().to_owned()
    };
    vec![
        ("a payload", CANARY.to_owned()),
        ("the admin's token", token::ADMIN.to_owned()),
        ("a reader's token", world.reader.clone()),
        ("the receipt key", pem(world.rig.receipt_key())),
        ("the custodian key", pem(world.rig.custodian_key())),
        ("the database's password", "canary-password".to_owned()),
    ]
}

fn is_clean(what: &str, text: &str, secrets: &[(&'static str, String)]) {
    for (name, secret) in secrets {
        let at = text.find(secret.as_str());
        let shown = at.map(|at| text.split_at(at.saturating_sub(200)).1.chars().take(400));
        assert!(at.is_none(), "{what} shows {name}: {:?}", shown.map(String::from_iter));
    }
}

/// Everything goes wrong that can, with a canary wherever a client may put a text.
async fn provoke(world: &World) -> Vec<Reply> {
    let mut replies = Vec::new();
    let bad = |member: &str, value: Value| {
        let mut event = event(9, "tool_call", &json!({"said": CANARY}));
        event["salt"] = CANARY.into();
        event[member] = value;
        event
    };
    let events = [
        bad("tool_name", CANARY.into()),
        bad("status", CANARY.into()),
        bad("event_type", format!("{CANARY} {CANARY}").into()),
        bad("occurred_at", CANARY.into()),
        bad("event_id", CANARY.into()),
        bad("workspace_id", CANARY.into()),
        bad("trace_id", CANARY.into()),
        bad("input_tokens", CANARY.into()),
        bad("unit_cost_input", CANARY.into()),
        bad("success", CANARY.into()),
        bad("parent_event_id", CANARY.into()),
        bad("session_id", CANARY.repeat(100).into()),
    ];
    for event in events {
        replies.push(world.post(&world.signed(&[event])).await);
    }
    let good = world.signed(&[event(10, "business_event", &json!({"said": CANARY}))]);
    assert_eq!(world.post(&good).await.status, 201);
    let same = world.signed(&[event(10, "business_event", &json!({"said": [CANARY]}))]);
    replies.push(world.post(&same).await);
    let other_signature = world.submission(&good).body(CANARY);
    replies.push(world.send(other_signature).await);
    for token in [token::ADMIN, CANARY, &world.reader] {
        for path in ["/v1/workspaces/other/head", "/v1/workspaces/acme/keys", "/v1/nothing"] {
            let request = world.request(Method::GET, path).bearer_auth(token);
            replies.push(world.send(request).await);
        }
        let create = world.request(Method::POST, "/v1/workspaces").bearer_auth(token).body(CANARY);
        replies.push(world.send(create).await);
    }
    let request = world.request(Method::GET, &format!("/v1/{CANARY}?{CANARY}={CANARY}"));
    replies.push(world.send(request.header("x-request-id", format!("{CANARY}/"))).await);
    let odd = Method::from_bytes(CANARY.as_bytes()).unwrap();
    replies.push(world.send(world.request(odd, "/v1/ledger")).await);
    for name in ["tally-public-key", "tally-signature", "tally-counter", "content-type"] {
        let mut request = world.submission(&good).build().unwrap();
        request.headers_mut().insert(name, CANARY.parse().unwrap());
        replies.push(world.execute(request).await);
    }
    let hmac = world.request(Method::POST, "/ingest").header("x-api-key", CANARY);
    replies.push(world.send(hmac.header("x-signature", CANARY).body(CANARY)).await);
    replies
}

#[tokio::test]
async fn no_secret_is_seen_anywhere() {
    let collector = Collector::start().await;
    let log = "info,ingest=trace,sqlx=debug";
    let arguments = ["--otlp-endpoint", &collector.url(), "--log-format", "json"];
    let mut world = World::with(&arguments, log).await;
    let secrets = secrets(&world);
    for reply in provoke(&world).await {
        // One of the tokens is good for one of the paths.
        assert!(reply.status < 500, "{reply:?}");
        is_clean("a problem", &reply.text, &secrets);
        for (name, value) in &reply.headers {
            is_clean(name.as_str(), &String::from_utf8_lossy(value.as_bytes()), &secrets);
        }
    }
    // The database is gone, while somebody reads and somebody writes.
    world.rig.postgres.kill_9().unwrap();
    let submission = world.signed(&[event(11, "business_event", &json!({"said": CANARY}))]);
    for reply in [world.post(&submission).await, world.read("/v1/workspaces/acme/head").await] {
        assert_eq!(reply.status, 503, "{reply:?}");
        is_clean("a problem", &reply.text, &secrets);
    }
    let metrics = world.get("/metrics").await.text;
    is_clean("a figure", &metrics, &secrets);
    let series = metrics.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 200, "{series} series");
    let log = world.stop().await;
    is_clean("the log", &log, &secrets);
    assert!(log.lines().count() > 30, "it logs at all: {log}");
    is_clean("a span", &String::from_utf8_lossy(&collector.bytes()), &secrets);
    assert!(collector.spans().len() > 30);
}

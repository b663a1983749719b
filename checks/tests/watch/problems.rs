//! Whatever a client does wrong, it is told so in one form.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use checks::token;
use ingest::chain::{Probe, Step};
use reqwest::Method;
use serde_json::json;

use crate::world::{World, event};

/// Every route, and the methods that it has.
const ROUTES: [(&str, &str); 17] = [
    ("/v1/ledger", "GET,HEAD"),
    ("/v1/workspaces", "POST"),
    ("/v1/workspaces/acme/keys", "GET,HEAD,POST"),
    ("/v1/workspaces/acme/events", "POST"),
    ("/v1/workspaces/acme/events/00000000-0000-4000-8000-000000000001", "GET,HEAD"),
    ("/v1/workspaces/acme/head", "GET,HEAD"),
    ("/v1/workspaces/acme/entries", "GET,HEAD"),
    ("/ingest", "POST"),
    ("/healthz", "GET,HEAD"),
    ("/readyz", "GET,HEAD"),
    ("/metrics", "GET,HEAD"),
    ("/openapi.json", "GET,HEAD"),
    ("/docs/", "GET,HEAD"),
    ("/problems", "GET,HEAD"),
    ("/problems/not-found", "GET,HEAD"),
    ("/.well-known/tally-keys", "GET,HEAD"),
    ("/.well-known/jwks.json", "GET,HEAD"),
];

fn sorted(list: &str) -> Vec<String> {
    let mut methods: Vec<_> = list.split(',').map(|method| method.trim().to_owned()).collect();
    methods.sort_unstable();
    methods
}

#[tokio::test]
async fn methods_are_as_people_expect() {
    let world = World::new(&[]).await;
    for (path, allowed) in ROUTES {
        let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"];
        for method in methods.into_iter().filter(|method| !allowed.contains(method)) {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let reply = world.send(world.request(method.clone(), path)).await;
            assert_eq!((reply.status, reply.problem()), (405, "method-not-allowed".to_owned()));
            assert_eq!(sorted(reply.header("allow")), sorted(allowed), "{method} {path}");
        }
        let asked = world.send(world.request(Method::OPTIONS, path)).await;
        assert_eq!((asked.status, asked.text.as_str()), (204, ""), "{path}");
        assert_eq!(sorted(asked.header("allow")), sorted(allowed), "{path}");
        if allowed.contains("HEAD") {
            let whole = world.read(path).await;
            let head = world.request(Method::HEAD, path).bearer_auth(&world.reader);
            let head = world.send(head).await;
            assert_eq!((head.status, head.text.as_str()), (whole.status, ""), "{path}");
            assert_eq!(head.header("content-type"), whole.header("content-type"), "{path}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn every_way_to_be_wrong_is_a_problem() {
    let world = World::new(&[]).await;
    let submission = world.signed(&[event(2, "business_event", &json!({}))]);
    let long = "a".repeat(7_000);
    let post = |kind: &'static str| {
        let request = world.request(Method::POST, &submission.path());
        let request = request.header("tally-public-key", submission.public_key.to_string());
        let request = request.header("tally-signature", submission.signature.to_string());
        request.header("content-type", kind)
    };
    let get = |path: &str| world.request(Method::GET, path).bearer_auth(&world.reader);
    let entries = "/v1/workspaces/acme/entries";
    let cases = [
        (get("/"), 404, "not-found"),
        (get("/v1/workspaces/acme/events/"), 404, "not-found"),
        (get("/v1/workspaces/%ff/head"), 404, "no-workspace"),
        (get("/problems/%ff"), 400, "bad-request"),
        (get(&format!("/{long}")), 404, "not-found"),
        (get(&format!("{entries}?limit=x")), 400, "bad-request"),
        (get(&format!("{entries}?limit=0")), 400, "bad-request"),
        (get(&format!("{entries}?from_seq=1&from_seq=2")), 400, "bad-request"),
        (get(&format!("{entries}?%ff=%zz")), 400, "bad-request"),
        (post("text/plain").body("{}"), 415, "unsupported-media-type"),
        (post("application/json").body("{"), 422, "body-refused"),
        (post("application/x-ndjson").body(""), 422, "body-refused"),
        (
            world
                .request(Method::POST, "/v1/workspaces/acme/tokens")
                .bearer_auth(token::ADMIN)
                .json(&json!({"name": "a".repeat(5_000)})),
            413,
            "too-large",
        ),
        (world.request(Method::POST, &submission.path()).body("{}"), 400, "bad-header"),
    ];
    for (request, status, kind) in cases {
        let shown = format!("{request:?}").chars().take(300).collect::<String>();
        let reply = world.send(request).await;
        if kind == "bad-header" && reply.status == 415 {
            continue;
        }
        assert_eq!((reply.status, reply.problem().as_str()), (status, kind), "{shown}");
        assert_eq!(reply.header("cache-control"), "no-store", "{shown}");
        assert!(!reply.header("x-request-id").is_empty(), "{shown}");
    }
    world.stop().await;
}

/// What a tenant reads is kept by nobody on the way; what is the same for all may be.
#[tokio::test]
async fn only_what_is_the_same_for_all_may_be_kept() {
    let world = World::new(&[]).await;
    let event = "/v1/workspaces/acme/events/00000000-0000-4000-8000-000000000001";
    for path in ["/v1/workspaces/acme/head", "/v1/workspaces/acme/entries", event, "/v1/ledger"] {
        let reply = world.read(path).await;
        assert_eq!((reply.status, reply.header("cache-control")), (200, "no-store"), "{path}");
        assert_eq!(reply.header("content-type"), "application/json", "{path}");
    }
    for path in ["/openapi.json", "/docs/", "/problems/not-found"] {
        let reply = world.get(path).await;
        assert_eq!(reply.header("cache-control"), "public, max-age=3600", "{path}");
    }
    world.stop().await;
}

/// Panics once, at the first submission.
struct Bomb(AtomicBool);

impl Probe for Bomb {
    fn at(&self, step: Step) {
        if step == Step::Received && !self.0.swap(true, Ordering::SeqCst) {
            let secret: Box<dyn Any + Send> = Box::new("canary in a panic".to_owned());
            resume_unwind(secret);
        }
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_service_goes_on() {
    let world = World::new(&[]).await;
    let running = world.beside(Arc::new(Bomb(AtomicBool::new(false)))).await;
    let base = format!("http://{}", running.local_addr());
    let submission = world.signed(&[event(2, "business_event", &json!({}))]);
    let post = || async {
        let request = world.submission(&submission).build().unwrap();
        let url = format!("{base}{}", request.url().path());
        let parts = reqwest::Client::builder().no_proxy().build().unwrap().post(url);
        let body = request.body().unwrap().as_bytes().unwrap().to_vec();
        world.send(parts.headers(request.headers().clone()).body(body)).await
    };
    let panicked = post().await;
    assert_eq!((panicked.status, panicked.problem()), (500, "internal".to_owned()));
    assert!(!panicked.text.contains("canary"), "{panicked:?}");
    assert!(!panicked.header("x-request-id").is_empty());
    assert_eq!(post().await.status, 201);
    running.shutdown().await;
    world.stop().await;
}

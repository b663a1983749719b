//! Requests that are not even submissions: every answer is a problem, none a panic.

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Agent, World, key, plain, signed};

const EVENTS: &str = "/v1/workspaces/acme/events";

/// Sends bytes as they are, as no HTTP client would.
async fn raw(agent: &Agent, request: &str) -> String {
    let address = agent.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn no_route_and_no_method() {
    let mut world = World::new().await;
    for path in ["/", "/v1", "/v1/workspaces/acme", "/v1/workspaces/acme/events/", "/v2/ledger"] {
        let reply = world.agent.get(path).await;
        assert_eq!((reply.status, reply.problem()), (404, "not-found".to_owned()), "{path}");
    }
    for (method, path, allow) in [
        (Method::PUT, "/v1/ledger", "GET,HEAD"),
        (Method::GET, EVENTS, "POST"),
        (Method::DELETE, "/v1/workspaces/acme/keys", "POST,GET,HEAD"),
    ] {
        let reply = world.agent.send(method, path, &[], Vec::new()).await;
        assert_eq!((reply.status, reply.problem()), (405, "method-not-allowed".to_owned()));
        let sorted = |list: &str| {
            let mut methods: Vec<_> = list.split(',').map(str::to_owned).collect();
            methods.sort_unstable();
            methods
        };
        assert_eq!(sorted(&reply.allow.unwrap()), sorted(allow));
    }
    world.stop().await;
}

/// FAULTS 38, as far as there are no tokens yet: on every route that names a workspace.
#[tokio::test]
async fn names_that_no_workspace_has() {
    let mut world = World::new().await;
    let long = "a".repeat(64);
    let names = [
        "nowhere",
        "..",
        "%2e%2e",
        "%2e",
        "%00",
        "acme%00",
        "%ff",
        "%2f",
        "ACME",
        "acme%20",
        "%C3%A9",
        "-a",
        &long,
        "acme%2fevents",
        "a'b",
        "%25",
        "%",
    ];
    let reader = crate::world::bearer();
    for name in names {
        for rest in ["head", "keys", "entries", "events/x", "submissions/x"] {
            let request = format!(
                "GET /v1/workspaces/{name}/{rest} HTTP/1.1\r\nHost: x\r\nAuthorization: {reader}\r\nConnection: close\r\n\r\n"
            );
            let answer = raw(&world.agent, &request).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{name}/{rest}: {answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
    }
    let nowhere = signed(&key(2), 0, vec![plain(10)]);
    for name in ["nowhere", "%2e%2e", "ACME"] {
        let reply = world.agent.post_to(&format!("/v1/workspaces/{name}/events"), &nowhere).await;
        let expected = if name == "nowhere" { 422 } else { 404 };
        assert_eq!(reply.status, expected, "{name}: {}", reply.problem());
    }
    world.stop().await;
}

#[tokio::test]
async fn items_and_ranges_that_are_none() {
    let mut world = World::new().await;
    let id = crate::world::event_id(999);
    for item in
        ["events/x", "events/%00", &format!("events/{id}"), "submissions/x", "submissions/%ff"]
    {
        let reply = world.agent.get(&format!("/v1/workspaces/acme/{item}")).await;
        assert_eq!((reply.status, reply.problem()), (404, "not-found".to_owned()), "{item}");
    }
    for query in [
        "from_seq=0",
        "from_seq=-1",
        "from_seq=x",
        "from_seq=9223372036854775808",
        "limit=0",
        "limit=1001",
        "limit=99999999",
        "from=1",
        "from_seq=1&from_seq=2",
    ] {
        let reply = world.agent.get(&format!("/v1/workspaces/acme/entries?{query}")).await;
        assert_eq!((reply.status, reply.problem()), (400, "bad-request".to_owned()), "{query}");
    }
    let last = world.agent.get("/v1/workspaces/acme/entries?from_seq=9223372036854775807").await;
    assert_eq!((last.status, last.text.as_str()), (200, "{\"entries\":[]}"));
    world.stop().await;
}

#[tokio::test]
async fn bodies_of_another_type_or_size() {
    let mut world = World::new().await;
    let good = signed(&key(2), 0, vec![plain(10)]);
    let (key, signature) = (good.public_key.to_string(), good.signature.to_string());
    let post = async |more: &[(&str, &str)], body: Vec<u8>| {
        let own = [("tally-public-key", key.as_str()), ("tally-signature", signature.as_str())];
        let headers = [&own, more].concat();
        world.agent.send(Method::POST, EVENTS, &headers, body).await
    };
    let ndjson = ("content-type", "application/x-ndjson");
    for headers in
        [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/cbor")]]
    {
        let reply = post(headers, good.body()).await;
        let expected = (415, "unsupported-media-type".to_owned());
        assert_eq!((reply.status, reply.problem()), expected, "{headers:?}");
    }
    let limit = world.agent.get("/v1/ledger").await.json();
    let limit = usize::try_from(limit["limits"]["max_body_bytes"].as_u64().unwrap()).unwrap();
    let reply = post(&[ndjson], vec![b'x'; limit]).await;
    assert_eq!((reply.status, reply.problem()), (422, "event-refused".to_owned()));
    // The announced length is enough: the body is not waited for.
    let headers = format!(
        "Tally-Public-Key: {key}\r\nTally-Signature: {signature}\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n"
    );
    let start = format!("POST {EVENTS} HTTP/1.1\r\nHost: x\r\n{headers}");
    let answer = raw(&world.agent, &format!("{start}Content-Length: {}\r\n\r\n", limit + 1)).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("/problems/too-large"),
        "{answer}"
    );
    let chunk = format!("{:x}\r\n{}\r\n", limit + 1, "x".repeat(limit + 1));
    let answer =
        raw(&world.agent, &format!("{start}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"))
            .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let parameters = ("content-type", "Application/X-NDJSON; charset=utf-8");
    assert_eq!(post(&[parameters], good.body()).await.status, 201);
    let many: Vec<_> = (100..201).map(plain).collect();
    let many = signed(&crate::world::key(2), 0, many);
    let reply = world.agent.post(&many).await;
    assert_eq!((reply.status, reply.problem()), (413, "too-many-events".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn headers_that_are_missing_or_repeated() {
    let mut world = World::new().await;
    let good = signed(&key(2), 0, vec![plain(10)]);
    let (key, signature) = (good.public_key.to_string(), good.signature.to_string());
    let k = ("tally-public-key", key.as_str());
    let s = ("tally-signature", signature.as_str());
    for (headers, reason) in [
        (vec![s], "header-missing"),
        (vec![k], "header-missing"),
        (vec![k, k, s], "header-repeated"),
        (vec![k, s, s], "header-repeated"),
        (vec![k, s, ("tally-counter", "1"), ("tally-counter", "1")], "header-repeated"),
        (vec![k, s, ("tally-counter", "01")], "counter-text"),
        (vec![k, s, ("tally-counter", "")], "counter-text"),
        (vec![k, s, ("tally-counter", "9223372036854775808")], "counter-text"),
    ] {
        let headers = [&headers[..], &[("content-type", "application/x-ndjson")]].concat();
        let reply = world.agent.send(Method::POST, EVENTS, &headers, good.body()).await;
        assert_eq!(reply.refusal(), (400, "bad-header".to_owned(), reason.to_owned()));
    }
    world.stop().await;
}

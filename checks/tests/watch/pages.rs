//! Pages and documents: all there, and nothing in them from elsewhere.

use std::collections::BTreeSet;

use ingest::http::error::Kind;
use serde_json::Value;

use crate::world::{Reply, World};

/// What a page loads: the values of its `src` and `href`.
fn loaded(html: &str) -> BTreeSet<String> {
    ["src=\"", "href=\""]
        .into_iter()
        .flat_map(|attribute| html.split(attribute).skip(1))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

fn is_closed(reply: &Reply) {
    let policy = reply.header("content-security-policy");
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn the_docs_page_needs_nothing_from_elsewhere() {
    let world = World::empty(&[], "info").await;
    let way = world.get("/docs").await;
    assert_eq!((way.status, way.header("location")), (308, "/docs/"));
    let page = world.get("/docs/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html"));
    is_closed(&page);
    let files = loaded(&page.text);
    assert!(files.len() >= 4, "{files:?}");
    for file in &files {
        assert!(!file.contains("//"), "{file} is elsewhere");
        let reply = world.get(&format!("/docs/{}", file.trim_start_matches("./"))).await;
        assert_eq!(reply.status, 200, "{file}");
        assert!(!reply.text.is_empty(), "{file}");
    }
    let start = world.get("/docs/swagger-initializer.js").await.text;
    assert!(start.contains("\"url\": \"/openapi.json\""), "{start}");
    assert!(start.contains("\"validatorUrl\": \"none\""), "it asks nobody: {start}");
    assert!(!start.contains("://"), "{start}");
    let missing = world.get("/docs/../tally.toml").await;
    assert_eq!(missing.problem(), "not-found");
    assert_eq!(world.get("/docs/no-such-file").await.problem(), "not-found");
    world.stop().await;
}

#[tokio::test]
async fn every_type_of_problem_has_its_page() {
    let world = World::empty(&[], "info").await;
    let list = world.get("/problems").await;
    assert_eq!(list.status, 200);
    for kind in Kind::ALL {
        assert!(loaded(&list.text).contains(&kind.uri()), "{}", kind.slug());
        let page = world.get(&kind.uri()).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(page.text.contains(kind.title()), "{}", page.text);
        assert!(page.text.contains(&kind.status().as_u16().to_string()));
        assert!(loaded(&page.text).iter().all(|link| link.starts_with('/')), "{}", page.text);
        is_closed(&page);
    }
    assert_eq!(world.get("/problems/no-such-problem").await.problem(), "not-found");
    world.stop().await;
}

#[tokio::test]
async fn the_api_describes_itself_as_the_book_does() {
    let world = World::empty(&[], "info").await;
    let reply = world.get("/openapi.json").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    assert!(reply.text == include_str!("../../../docs/openapi.json"));
    world.stop().await;
}

#[tokio::test]
async fn the_ledgers_keys_are_found_where_programs_look() {
    let world = World::empty(&[], "info").await;
    let ledger = world.get("/v1/ledger").await.json();
    let keys = world.get("/.well-known/tally-keys").await.json();
    assert_eq!(keys["origin"], ledger["origin"]);
    assert_eq!(keys["receipt_keys"], Value::from(vec![ledger["receipt_key"].clone()]));
    assert_eq!(keys["seal_keys"], Value::from(Vec::<Value>::new()));
    let web = world.get("/.well-known/jwks.json").await.json();
    let key = &web["keys"][0];
    assert_eq!((&key["kty"], &key["crv"]), (&"OKP".into(), &"Ed25519".into()));
    assert_eq!(key["kid"], ledger["receipt_key"]);
    assert_eq!(key["x"].as_str().unwrap().len(), 43);
    assert_eq!(key.get("d"), None, "a private key is nowhere");
    world.stop().await;
}

//! Tokens: made, used, revoked, and all that is none.

use checks::token::{ADMIN, ADMIN_NAME};
use ledger::hash::Digest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{World, routes};

const TOKENS: &str = "/v1/workspaces/acme/tokens";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_reads_its_workspace_until_it_is_revoked() {
    let mut world = World::new().await;
    let (id, token) = world.token("acme").await;
    let (_, other) = world.token("acme").await;
    assert_eq!(world.get("/v1/workspaces/acme/head", &token).await.status, 200);
    assert_eq!(world.get("/v1/workspaces/beta/head", &token).await.problem().1, "no-workspace");

    let path = format!("{TOKENS}/{id}");
    let revoked = world.admin(Method::DELETE, &path, None).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert_eq!(revoked.json()["revoked_by"], format!("admin:{ADMIN_NAME}"));
    let again = world.admin(Method::DELETE, &path, None).await;
    assert_eq!((again.status, again.text), (200, revoked.text), "revoked once, told twice");
    for route in routes("acme") {
        let refused = world.get(&route, &token).await;
        assert_eq!(refused.problem(), (401, "unauthorized".to_owned()), "{route}");
    }
    assert_eq!(world.get("/v1/workspaces/acme/head", &other).await.status, 200);

    let list = world.admin(Method::GET, TOKENS, None).await.json();
    let states: Vec<bool> =
        list["tokens"].as_array().unwrap().iter().map(|t| t["revoked_at"].is_null()).collect();
    assert_eq!(states.iter().filter(|in_force| **in_force).count(), 1, "{list}");
    world.stop().await;
}

/// Whoever makes tokens up takes no connection from those who read, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_made_up_are_looked_up_on_connections_of_their_own() {
    let mut world = World::with(|config| config.read_connections = 1).await;
    let (_, token) = world.token("acme").await;
    let head = "/v1/workspaces/acme/head";
    assert_eq!(world.get(head, &token).await.status, 200);
    // The one connection for reading waits.
    let mut locked = world.rig.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE heads IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let made_up = async {
        let waits = "SELECT count(*) FROM pg_locks
                     WHERE NOT granted AND relation = 'heads'::regclass";
        while world.count(waits).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let reply = world.get(head, &checks::token::reader("nowhere")).await;
        locked.rollback().await.unwrap();
        reply
    };
    let (read, refused) = tokio::join!(world.get(head, &token), made_up);
    assert_eq!(refused.problem(), (401, "unauthorized".to_owned()));
    assert_eq!(read.status, 200, "{read:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_kept_as_its_digest() {
    let mut world = World::new().await;
    let (id, token) = world.token("acme").await;
    world.get("/v1/workspaces/acme/head", &token).await;
    world.get("/v1/workspaces/beta/head", &token).await;
    world.get(&format!("/v1/workspaces/acme/events/{token}"), &token).await;
    world.get(&format!("/v1/workspaces/acme/entries?token={token}"), &token).await;
    let secret = token.rsplit('_').next().unwrap().to_owned();

    let kept: Vec<u8> = sqlx::query_scalar("SELECT sha256 FROM reader_tokens WHERE token_id = $1")
        .bind(&id)
        .fetch_one(&world.rig.pool)
        .await
        .unwrap();
    assert_eq!(kept, Digest::of(token.as_bytes()).as_bytes());
    let rows: Vec<String> = sqlx::query_scalar("SELECT t::text FROM reader_tokens t")
        .fetch_all(&world.rig.pool)
        .await
        .unwrap();
    let list = world.admin(Method::GET, TOKENS, None).await.text;
    let acts: Vec<Value> = world.acts().await;
    for text in rows.into_iter().chain([list]).chain(acts.iter().map(Value::to_string)) {
        assert!(!text.contains(&secret) && !text.contains(ADMIN), "{text}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_reads_nothing() {
    let mut world = World::new().await;
    let (id, token) = world.token("acme").await;
    let (other_id, other) = world.token("acme").await;
    let swapped = token.replace(&id, &other_id);
    assert_ne!(swapped, other);
    let digest = Digest::of(token.as_bytes()).to_string();
    let bearer = |token: &str| format!("Bearer {token}");
    let before = world.acts().await.len();
    for authorization in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Basic {token}"),
        token.clone(),
        bearer(ADMIN),
        bearer(&swapped),
        bearer(token.get(..token.len() - 1).unwrap()),
        bearer(&format!("{token}0")),
        bearer(&token.to_uppercase()),
        bearer(&digest),
        bearer(&format!("tally_reader_{id}_{digest}")),
        bearer(&format!("tally_reader_{}_{}", "0".repeat(16), "0".repeat(64))),
        bearer(&"x".repeat(4_000)),
        bearer("' OR 1=1 --"),
    ] {
        for route in routes("acme") {
            let refused = world.ask(Method::GET, &route, &[&authorization], None).await;
            assert_eq!(refused.problem(), (401, "unauthorized".to_owned()), "{authorization:?}");
            assert_eq!(refused.challenge.as_deref(), Some("Bearer"));
        }
    }
    let route = "/v1/workspaces/acme/head";
    let none = world.ask(Method::GET, route, &[], None).await;
    assert_eq!(none.problem().0, 401);
    let two = [bearer(&token), bearer(&other)];
    let twice = world.ask(Method::GET, route, &[&two[0], &two[1]], None).await;
    assert_eq!(twice.problem().0, 401, "which of the two?");
    let lower = world.ask(Method::GET, route, &[&format!("bearer {token}")], None).await;
    assert_eq!(lower.status, 200, "a scheme has no case");
    assert_eq!(world.acts().await.len(), before + 1, "strangers leave no act");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_make_workspaces_and_tokens() {
    let mut world = World::new().await;
    let (id, token) = world.token("acme").await;
    let item = format!("{TOKENS}/{id}");
    let before = world.acts().await.len();
    for authorization in [vec![], vec![format!("Bearer {token}")], vec![format!("Bearer {ADMIN}0")]]
    {
        let authorization: Vec<&str> = authorization.iter().map(String::as_str).collect();
        for (method, path, body) in [
            (Method::POST, "/v1/workspaces", Some(json!({}))),
            (Method::POST, TOKENS, Some(json!({"name": "x"}))),
            (Method::GET, TOKENS, None),
            (Method::DELETE, item.as_str(), None),
        ] {
            let refused = world.ask(method.clone(), path, &authorization, body).await;
            assert_eq!(refused.problem(), (401, "unauthorized".to_owned()), "{method} {path}");
            assert_eq!(refused.challenge.as_deref(), Some("Bearer"));
        }
    }
    assert_eq!(world.acts().await.len(), before);
    assert_eq!(world.get("/v1/workspaces/acme/head", &token).await.status, 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_token_that_cannot_be_is_refused_with_its_reason() {
    let mut world = World::new().await;
    let (id, _) = world.token("acme").await;
    let long = "x".repeat(129);
    for body in [
        json!({}),
        json!({"name": ""}),
        json!({"name": long}),
        json!({"name": "a\nb"}),
        json!({"name": "a", "workspace": "beta"}),
        json!([]),
        json!({"name": 7}),
    ] {
        let refused = world.admin(Method::POST, TOKENS, Some(body.clone())).await;
        assert_eq!(refused.problem(), (400, "bad-request".to_owned()), "{body}");
    }
    let huge = json!({"name": "x".repeat(5_000)});
    let refused = world.admin(Method::POST, TOKENS, Some(huge)).await;
    assert_eq!(refused.problem(), (413, "too-large".to_owned()));
    let refused = world.admin(Method::POST, TOKENS, None).await;
    assert_eq!(refused.problem(), (415, "unsupported-media-type".to_owned()));
    for name in ["nowhere", "ACME", "%00"] {
        let path = format!("/v1/workspaces/{name}/tokens");
        let refused = world.admin(Method::POST, &path, Some(json!({"name": "x"}))).await;
        assert_eq!(refused.problem(), (404, "no-workspace".to_owned()), "{name}");
    }
    for (workspace, item) in [("acme", "0".repeat(16)), ("acme", "x".to_owned()), ("beta", id)] {
        let path = format!("/v1/workspaces/{workspace}/tokens/{item}");
        let refused = world.admin(Method::DELETE, &path, None).await;
        assert_eq!(refused.problem(), (404, "not-found".to_owned()), "{path}");
    }
    assert_eq!(world.count("SELECT count(*) FROM reader_tokens").await, 1);
    world.stop().await;
}

//! `/metrics` as Prometheus reads it.

use checks::service::free_address;
use serde_json::json;

use crate::world::{World, event};

/// The value of a series; 0 where it is not there yet.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn what_happens_is_counted() {
    let world = World::new(&[]).await;
    let before = world.get("/metrics").await.text;
    let first = world
        .signed(&[event(2, "business_event", &json!({})), event(3, "business_event", &json!({}))]);
    assert_eq!(world.post(&first).await.status, 201);
    assert_eq!(world.post(&first).await.status, 200);
    let same = world.signed(&[event(3, "business_event", &json!({"other": true}))]);
    assert_eq!(world.post(&same).await.problem(), "event-exists");

    let reply = world.get("/metrics").await;
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((reply.status, reply.header("content-type")), (200, media));
    let grown = |series: &str| value(&reply.text, series) - value(&before, series);
    let route = "/v1/workspaces/{workspace}/events";
    for (series, by) in [
        (format!("tally_requests_total{{route=\"{route}\",outcome=\"ok\"}}"), 2.0),
        (format!("tally_requests_total{{route=\"{route}\",outcome=\"refused\"}}"), 1.0),
        ("tally_answers_total{status=\"409\"}".to_owned(), 1.0),
        ("tally_problems_total{kind=\"event-exists\"}".to_owned(), 1.0),
        ("tally_ack_seconds_count".to_owned(), 2.0),
        ("tally_events_accepted_total".to_owned(), 2.0),
        ("tally_submissions_accepted_total".to_owned(), 1.0),
        ("tally_group_submissions_count".to_owned(), 1.0),
        ("tally_transaction_seconds_count".to_owned(), 1.0),
    ] {
        assert!((grown(&series) - by).abs() < 0.5, "{series} grew by {}", grown(&series));
    }
    assert!(grown("tally_transaction_step_seconds_total{step=\"committed\"}") > 0.0);
    assert!(value(&reply.text, "tally_process_resident_memory_bytes") > 1e6);
    assert!(value(&reply.text, "tally_open_connections") >= 1.0);
    assert!((value(&reply.text, "tally_body_memory_bytes")).abs() < 0.5, "it is given back");
    world.stop().await;
}

#[tokio::test]
async fn metrics_may_have_an_address_of_their_own() {
    let address = free_address().unwrap();
    let world = World::new(&["--metrics-listen", &address.to_string()]).await;
    assert_eq!(world.get("/metrics").await.problem(), "not-found");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = |path: &str| client.get(format!("http://{address}{path}"));
    let shown = world.send(get("/metrics")).await;
    assert_eq!(shown.status, 200);
    assert!(shown.text.contains("tally_requests_total"), "{}", shown.text);
    for path in ["/", "/v1/ledger", "/readyz"] {
        assert_eq!(world.send(get(path)).await.problem(), "not-found", "{path}");
    }
    world.stop().await;
}

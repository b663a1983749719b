//! The line that each request makes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{World, event};

fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn each_request_makes_one_line_with_its_id() {
    let world = World::new(&["--log-format", "json"]).await;
    let submission = world.signed(&[event(2, "business_event", &json!({}))]);
    let named = world.submission(&submission).header("x-request-id", "job-7.a:b_c");
    let reply = world.send(named).await;
    assert_eq!((reply.status, reply.header("x-request-id")), (201, "job-7.a:b_c"));
    let mine = world.request(Method::GET, "/v1/nothing").header("x-request-id", "a b\tc");
    let unnamed = world.send(mine).await;
    let id = unnamed.header("x-request-id").to_owned();
    assert_eq!(id.len(), 36, "an id that could break a line is replaced: {id}");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(world.get(path).await.status, 200);
    }

    let lines = lines(&world.stop().await);
    let of = |id: &str| {
        let found: Vec<_> = lines
            .iter()
            .filter(|line| line["message"] == "answered" && line["request_id"] == id)
            .collect();
        assert_eq!(found.len(), 1, "{lines:#?}");
        found[0]
    };
    let recorded = of("job-7.a:b_c");
    assert_eq!(recorded["level"], "INFO");
    assert_eq!(recorded["method"], "POST");
    assert_eq!(recorded["route"], "/v1/workspaces/{workspace}/events");
    assert_eq!(recorded["status"], 201);
    assert_eq!(recorded["submission"], submission.hash.to_string());
    assert!(recorded["seconds"].as_f64().unwrap() > 0.0);
    let lost = of(&id);
    assert_eq!((&lost["route"], &lost["status"]), (&json!("(other)"), &json!(404)));
    assert_eq!(lost["problem"], "not-found");
    let probes = lines.iter().filter(|line| line["route"] == "/healthz").count();
    assert_eq!(probes, 0, "probes that go well make no line");
}

#[tokio::test]
async fn text_is_for_people() {
    let world = World::new(&[]).await;
    let log = world.stop().await;
    assert!(log.contains("answered"), "{log}");
    assert!(log.lines().all(|line| !line.starts_with('{')), "{log}");
}

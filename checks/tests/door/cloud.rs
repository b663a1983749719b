//! CloudEvents at `POST /ingest`.

use ledger::names::Workspace;
use ledger::payload::{Rules, scan};
use serde_json::{Value, json};

use crate::world::{Reply, Served, Site, tag};

const SECRET: &[u8] = b"a secret of some 24 bytes";

fn cloud(id: &str, workspace: Option<&str>) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": "/agents/a", "type": "tool_call",
        "time": "2026-11-23T16:00:00Z",
        "data": {"tool_name": "search", "status": "success", "query": "x"},
    });
    if let Some(name) = workspace {
        event["tallyworkspace"] = name.into();
    }
    event
}

/// Sends under the secret that is for several workspaces, `cloud`.
async fn send(served: &Served, query: &str, kind: &str, body: &str) -> Reply {
    send_as("cloud", served, query, kind, body).await
}

async fn send_as(name: &str, served: &Served, query: &str, kind: &str, body: &str) -> Reply {
    let request = served
        .post(&format!("/ingest{query}"))
        .header("x-api-key", name)
        .header("x-signature", tag(SECRET, body.as_bytes()))
        .header("content-type", kind);
    Reply::of(request.body(body.to_owned())).await
}

#[tokio::test]
async fn cloud_events_are_mapped_kept_whole_and_recorded_once_in_a_workspace() {
    let site = Site::new().await;
    let file = site.private("cloud.secret", SECRET);
    let settings = format!(
        "[ingest.secrets.cloud]\nfiles = [{file:?}]\nworkspaces = [\"acme\", \"beta\"]\n\
         [ingest.secrets.acme]\nfiles = [{file:?}]\nworkspaces = [\"acme\"]\n"
    );
    let served = site.serve(&settings).await;
    for name in ["acme", "beta"] {
        served.open_workspace(name).await;
        served.register(name, 3, &site.custodian, "custodian").await;
    }
    let (one, batch) =
        ("application/cloudevents+json; charset=utf-8", "application/cloudevents-batch+json");
    let event = format!("\n {} ", cloud("e-1", None));
    let first = send_as("acme", &served, "?workspace=acme", one, &event).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let again = send_as("acme", &served, "?workspace=acme", one, &event).await;
    assert_eq!(again.text, first.text);
    let payload: Vec<u8> =
        sqlx::query_scalar("SELECT payload FROM entries WHERE workspace = 'acme' AND seq = 4")
            .fetch_one(&site.pool)
            .await
            .unwrap();
    let acme = Workspace::new("acme").unwrap();
    let read = scan(&payload, &acme, &Rules::default()).unwrap();
    assert_eq!((&*read.event_type, read.tool_name.as_deref()), ("tool_call", Some("search")));
    let kept = format!("{{\"mapping\":\"cloudevents/v1\",\"cloudevent\":{}}}", event.trim());
    assert_eq!(read.context, Some(kept.as_bytes()));

    // The same source and id: once in each workspace, and never with other content.
    let both = json!([cloud("e-1", Some("beta")), cloud("e-2", Some("acme"))]).to_string();
    let reply = send(&served, "", batch, &both).await;
    assert_eq!((reply.status, &reply.json()["count"]), (200, &json!(2)), "{}", reply.text);
    let mut other = cloud("e-1", Some("acme"));
    other["data"]["query"] = "y".into();
    let reply = send(&served, "", one, &other.to_string()).await;
    assert_eq!(reply.problem(), (409, "event-exists".to_owned()));

    let before = site.entries().await;
    let mut bad = cloud("e-3", Some("acme"));
    bad["data"]["status"] = "done".into();
    let events = json!([cloud("e-4", Some("acme")), bad]).to_string();
    let reply = send(&served, "", batch, &events).await;
    assert_eq!(reply.problem(), (422, "event-refused".to_owned()));
    let error = reply.json()["errors"][0].clone();
    assert_eq!((&error["index"], &error["pointer"]), (&json!(1), &json!("/data/status")));
    // The HMAC does not cover the URL: where the secret is for several workspaces, it decides nothing.
    for query in ["?workspace=acme", "?workspace=beta"] {
        let reply = send(&served, query, one, &event).await;
        assert_eq!(reply.problem(), (400, "bad-request".to_owned()), "{query}");
    }
    for (query, kind, body, problem) in [
        ("", one, cloud("e-5", None), (422, "event-refused")),
        ("?workspace=beta", one, cloud("e-5", Some("acme")), (422, "event-refused")),
        ("?workspace=gamma", one, cloud("e-5", None), (403, "other-workspace")),
        ("?workspace=A", one, cloud("e-5", None), (400, "bad-request")),
        ("?room=acme", one, cloud("e-5", None), (400, "bad-request")),
        ("?workspace=acme", "application/json", cloud("e-5", None), (400, "bad-request")),
        ("", "application/json", cloud("e-5", Some("acme")), (422, "body-refused")),
        ("", batch, cloud("e-5", Some("acme")), (422, "body-refused")),
        ("", "application/cloudevents+avro", cloud("e-5", None), (415, "unsupported-media-type")),
    ] {
        let name = if query.starts_with("?workspace") { "acme" } else { "cloud" };
        let reply = send_as(name, &served, query, kind, &body.to_string()).await;
        assert_eq!(reply.problem(), (problem.0, problem.1.to_owned()), "{query} {kind}");
    }
    assert_eq!(site.entries().await, before);
    served.stop().await;
}

//! Spans, as a collector gets them, and the headers that join traces.

use checks::broker::Mock;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;

use crate::collector::Collector;
use crate::world::{World, event};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const EVENTS: &str = "POST /v1/workspaces/{workspace}/events";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[tokio::test]
async fn a_submission_is_seen_from_its_request_to_its_transaction() {
    let collector = Collector::start().await;
    let world = World::new(&["--otlp-endpoint", &collector.url()]).await;
    let submission = world.signed(&[event(2, "business_event", &json!({}))]);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let request = world.submission(&submission).header("traceparent", &traceparent);
    let reply = world.send(request).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let answered = reply.header("traceparent").to_owned();
    let log = world.stop().await;

    let spans = collector.spans();
    let request = named(&spans, EVENTS);
    assert_eq!(request.len(), 1, "{spans:#?}");
    assert_eq!(hex(&request[0].trace_id), TRACE, "the caller's trace is joined");
    assert_eq!(hex(&request[0].parent_span_id), PARENT);
    assert_eq!(answered, format!("00-{TRACE}-{}-01", hex(&request[0].span_id)));
    assert_eq!(request[0].kind, 2, "a server's span");
    for name in ["check", "queue", "transaction"] {
        let children: Vec<_> = named(&spans, name)
            .into_iter()
            .filter(|span| span.parent_span_id == request[0].span_id)
            .collect();
        assert_eq!(children.len(), 1, "{name}: {spans:#?}");
        assert_eq!(children[0].trace_id, request[0].trace_id);
        let within = request[0].start_time_unix_nano..=request[0].end_time_unix_nano;
        assert!(within.contains(&children[0].start_time_unix_nano), "{name}");
    }
    let senders = collector.senders().join("\n");
    assert!(senders.contains("tally-ingest") && senders.contains("watch"), "{senders}");
    assert!(collector.heads().iter().all(|head| head.starts_with("post /v1/traces ")));
    assert!(log.contains(TRACE), "the log names the trace");
}

/// Through a queue: what records it joins the trace of the request that had it put.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_submission_is_seen_until_it_is_recorded() {
    let collector = Collector::start().await;
    let mock = Mock::start(1, 1).unwrap();
    let url = collector.url();
    let queue = ["--queue-kind", "kafka", "--queue-servers", &mock.servers, "--queue-consume"];
    let world = World::new(&[&["--otlp-endpoint", &url], &queue[..]].concat()).await;
    let submission = world.signed(&[event(2, "business_event", &json!({}))]);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let request = world.submission(&submission).header("traceparent", &traceparent);
    let reply = world.send(request.header("prefer", "wait=25")).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    world.stop().await;

    let spans = collector.spans();
    let request = named(&spans, EVENTS);
    assert_eq!(hex(&request[0].trace_id), TRACE, "the caller's trace is joined");
    let chained: Vec<_> =
        named(&spans, "chain").into_iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    assert_eq!(chained.len(), 1, "{spans:#?}");
    assert_eq!(chained[0].parent_span_id, request[0].span_id, "by way of the message");
    assert_eq!(chained[0].kind, 5, "a consumer's span");
}

#[tokio::test]
async fn a_collector_that_is_gone_stops_nothing() {
    // Nothing listens there any more.
    let gone = checks::service::free_address().unwrap();
    let world = World::new(&["--otlp-endpoint", &format!("http://{gone}")]).await;
    for n in 2..60 {
        let submission = world.signed(&[event(n, "business_event", &json!({}))]);
        assert_eq!(world.post(&submission).await.status, 201);
    }
    let log = world.stop().await;
    assert!(log.contains("spans"), "the log tells of it: {log}");
}

#[tokio::test]
async fn without_a_collector_a_trace_passes_through() {
    let world = World::new(&[]).await;
    for (sent, expected) in [
        (format!("00-{TRACE}-{PARENT}-01"), format!("00-{TRACE}-{PARENT}-01")),
        (format!("00-{}-{PARENT}-01", "0".repeat(32)), String::new()),
        ("00-secret".to_owned(), String::new()),
    ] {
        let request = world.request(reqwest::Method::GET, "/v1/ledger").header("traceparent", sent);
        assert_eq!(world.send(request).await.header("traceparent"), expected);
    }
    world.stop().await;
}

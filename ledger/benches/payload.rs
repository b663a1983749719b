//! The scanner beside `serde_json::Value`, on the same bytes, in events and bytes a second.
//!
//! `Value` checks far less (no duplicates, no member rules) and is only the yardstick: a gate that
//! is slower than a plain parse would be worth replacing.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ledger::names::Workspace;
use ledger::payload::{Rules, scan};
use serde_json::Value;

/// What every event of a run starts with.
fn head(event: u32, kind: &str) -> String {
    format!(
        r#"{{"event_id":"53e2a710-9bfe-558b-8521-{event:012x}","event_type":"{kind}","occurred_at":"2026-11-23T16:{:02}:{:02}.{event:06}Z","workspace_id":"acme","session_id":"airline-{event}-trial-0","actor_id":"gpt-4o","source":"worker""#,
        event / 60 % 60,
        event % 60,
    )
}

/// An event of some 500 bytes, every cost and count in place, no context.
fn call(event: u32) -> String {
    let head = head(event, "llm_call");
    format!(
        r#"{head},"model":"gpt-4o-2024-08-06","provider":"openai","input_tokens":{},"output_tokens":{},"latency_ms":{},"unit_cost_input":0.0000025,"unit_cost_output":"0.00001","success":true,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","agent_version":"2.3.1"}}"#,
        1_000 + event,
        40 + event % 300,
        300 + event % 2_000,
    )
}

/// A model's answer: some lines of text with escapes, and the tool calls that it asks for.
fn answer(event: u32) -> String {
    let head = head(event, "llm_call");
    let content = r"I found these flights for you:\n\n1. **Flight HAT136**: departs 16:00, arrives 18:30, $152 in \u201cbasic economy\u201d\n2. **Flight HAT039**: departs 22:00, arrives 00:30, $198\n\nWhich one would you like? Zürich is not served that day.\n";
    format!(
        r#"{head},"model":"gpt-4o","provider":"openai","success":true,"prompt_hash":"3d5fdc1d57db1a93624b42aa37ecb5fc6c866846f111b14b8eaaacfd4ca35782","context":{{"content":"{}","tool_calls":[{{"id":"call_{event}","type":"function","function":{{"name":"search_direct_flight","arguments":"{{\"origin\": \"JFK\", \"destination\": \"SEA\", \"date\": \"2024-05-20\"}}"}}}}]}}}}"#,
        content.repeat(1 + event as usize % 6),
    )
}

/// A tool call with its arguments and a result of many small objects.
fn tool(event: u32) -> String {
    let head = head(event, "tool_call");
    let flight = r#"{"flight_number":"HAT069","origin":"JFK","destination":"SEA","scheduled_departure_time_est":"06:00:00","scheduled_arrival_time_est":"12:00:00","status":"available","available_seats":{"basic_economy":17,"economy":12,"business":3},"prices":{"basic_economy":51.0,"economy":121,"business":239.5}}"#;
    let flights = vec![flight; 1 + event as usize % 8].join(",");
    format!(
        r#"{head},"tool_name":"search_direct_flight","status":"success","latency_ms":12,"context":{{"arguments":{{"origin":"JFK","destination":"SEA","date":"2024-05-20"}},"result":[{flights}]}}}}"#
    )
}

fn benches(c: &mut Criterion) {
    let Ok(workspace) = Workspace::new("acme") else {
        return;
    };
    let rules = Rules::default();
    let mixes: [(&str, Vec<String>); 4] = [
        ("call", (0..500).map(call).collect()),
        ("answer", (0..500).map(answer).collect()),
        ("tool", (0..500).map(tool).collect()),
        ("run", (0..500).flat_map(|n| [call(n), answer(n), tool(n)]).collect()),
    ];
    for (mix, events) in &mixes {
        for event in events {
            // A refusal would be quick, and the figures wrong.
            assert!(scan(event.as_bytes(), &workspace, &rules).is_ok(), "refused: {event}");
        }
        let bytes = events.iter().map(|event| event.len() as u64).sum();
        let mut group = c.benchmark_group("payload");
        group.throughput(Throughput::ElementsAndBytes { elements: events.len() as u64, bytes });
        group.bench_with_input(BenchmarkId::new("scan", mix), events, |b, events| {
            b.iter(|| {
                for event in events {
                    let _ = black_box(scan(black_box(event.as_bytes()), &workspace, &rules));
                }
            });
        });
        group.bench_with_input(BenchmarkId::new("serde_json_value", mix), events, |b, events| {
            b.iter(|| {
                for event in events {
                    let _ = black_box(serde_json::from_slice::<Value>(black_box(event.as_bytes())));
                }
            });
        });
        group.finish();
    }
}

criterion_group!(payload, benches);
criterion_main!(payload);

//! What `GET /metrics` promises: names, units, and how many series there may be at most.

use super::*;
use crate::http::ROUTES;
use crate::http::error::Kind;

const DOCUMENTED: &str = include_str!("../../../docs/operating/watching.md");

/// Metrics on which everything has happened that can happen.
fn all(metrics: Metrics) -> Metrics {
    let second = Duration::from_secs(1);
    // Files of the docs and pages of problems are told apart by nobody.
    let files = ["/docs/", "/docs/{*file}", "/problems/", "/problems/{problem}"];
    for route in ROUTES.into_iter().filter(|route| !files.contains(route)) {
        for status in [200, 400, 500] {
            metrics.answered(route, status, None, second);
        }
    }
    for status in [201, 204, 308] {
        metrics.answered(crate::http::OTHER, status, None, second);
    }
    for kind in Kind::ALL {
        let status = kind.status().as_u16();
        metrics.answered(crate::http::OTHER, status, Some(kind.slug()), second);
    }
    for shard in 0..4_096 {
        metrics.queued(shard);
    }
    let mut watch = metrics.stopwatch();
    Step::ALL.into_iter().for_each(|step| watch.at(step));
    metrics.acknowledged(second);
    metrics.group_recorded(3, 300, second);
    metrics.broker().put(second);
    metrics.broker().chained(second);
    for kind in Kind::ALL {
        metrics.broker().dead_letter(kind.slug());
    }
    let behind: Vec<_> = (0..4_096).map(|partition| (partition, 1, second, true)).collect();
    metrics.broker().is_behind(&behind);
    metrics
}

fn series(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

/// FAULTS 42: whatever is sent, there are fewer than 200 series; with a queue, fewer than 300.
#[test]
fn series_have_a_bound() {
    let text = all(Metrics::default()).text();
    let found = series(&text).len();
    assert!(found < 200, "{found} series\n{text}");
    assert!(found > 100, "{found} series are too few to be all");
    let text = all(Metrics::with_queue()).text();
    let more = series(&text).len() - found;
    assert!((50..100).contains(&more), "{more} more\n{text}");
    assert!(text.contains("tally_broker_lag_messages{partition=\"8+\"} 1\n"), "{text}");
    assert!(text.contains("tally_broker_partitions_stopped 4096\n"), "{text}");
}

#[test]
fn names_are_ours_and_in_base_units() {
    let text = all(Metrics::with_queue()).text();
    for line in series(&text) {
        assert!(line.starts_with("tally_"), "{line}");
        for unit in ["milli", "micro", "_ms", "_kb", "_mib"] {
            assert!(!line.contains(unit), "{line} is not in a base unit");
        }
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("\ntally_events_accepted_total 300\n"), "{text}");
    assert!(text.contains("\ntally_submissions_accepted_total 3\n"), "{text}");
    assert!(text.contains("tally_ack_seconds_count 1\n"), "{text}");
}

#[test]
fn every_metric_is_explained_for_operators() {
    let text = all(Metrics::with_queue()).text();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap_or_default();
        let shown = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let row = format!("| `{shown}`");
        assert!(DOCUMENTED.contains(&row), "docs/operating/watching.md lacks a row {row}");
    }
}

#[test]
fn queues_and_connections_go_down_again() {
    let metrics = Metrics::default();
    (0..5).for_each(|_| metrics.queued(1));
    metrics.taken(1, 5);
    let open = metrics.connection();
    assert!(metrics.text().contains("tally_open_connections 1\n"));
    drop(open);
    let text = metrics.text();
    assert!(text.contains("tally_open_connections 0\n"), "{text}");
    assert!(text.contains("tally_queue_submissions{shard=\"1\"} 0\n"), "{text}");
}

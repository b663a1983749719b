//! What is counted of the queue between API and chain.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::GaugeF64;

/// Partitions from this one on share a label, which shows the worst of them.
const PARTITIONS: i32 = 8;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Partition {
    partition: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Letter {
    kind: &'static str,
}

/// How far a partition is behind: its number, messages, time since the last one that was recorded had
/// been accepted (0 where nothing waits), and whether it is not read on.
pub type Behind = (i32, i64, Duration, bool);

/// The metrics of the queue.
#[derive(Debug)]
pub struct Broker {
    put_seconds: Histogram,
    failed: Counter,
    chained_seconds: Histogram,
    again: Counter,
    letters: Family<Letter, Counter>,
    lag_messages: Family<Partition, Gauge>,
    lag_seconds: Family<Partition, GaugeF64>,
    stopped: Gauge,
    up: Gauge,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            put_seconds: Histogram::new([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0]),
            failed: Counter::default(),
            chained_seconds: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0]),
            again: Counter::default(),
            letters: Family::default(),
            lag_messages: Family::default(),
            lag_seconds: Family::default(),
            stopped: Gauge::default(),
            up: Gauge::default(),
        }
    }
}

impl Broker {
    pub(super) fn register(&self, registry: &mut Registry) {
        let seconds = Unit::Seconds;
        let help = "From the head of a submission until the broker had stored it";
        registry.register_with_unit("broker_put", help, seconds, self.put_seconds.clone());
        let help = "Submissions that the broker did not store, or did not say so";
        registry.register("broker_puts_failed", help, self.failed.clone());
        let help = "From when a queued submission was accepted until it was recorded or refused";
        let unit = Unit::Seconds;
        registry.register_with_unit("chained", help, unit, self.chained_seconds.clone());
        let help = "Messages that came again and were recorded already";
        registry.register("broker_redeliveries", help, self.again.clone());
        let help =
            "Messages that were refused at the chain, by the last part of the problem's type";
        registry.register("dead_letters", help, self.letters.clone());
        let help = "Messages that wait to be recorded, by partition";
        registry.register("broker_lag_messages", help, self.lag_messages.clone());
        let help = "Time since the last recorded message had been accepted; 0 where none waits";
        let unit = Unit::Seconds;
        registry.register_with_unit("broker_lag", help, unit, self.lag_seconds.clone());
        let help = "Partitions that are not read on until an operator has looked";
        registry.register("broker_partitions_stopped", help, self.stopped.clone());
        let help = "1 where the broker answered when it was last asked, else 0";
        registry.register("broker_up", help, self.up.clone());
    }

    /// A submission was stored.
    pub fn put(&self, elapsed: Duration) {
        self.put_seconds.observe(elapsed.as_secs_f64());
    }

    /// A submission was not stored, or nobody knows.
    pub fn put_failed(&self) {
        self.failed.inc();
    }

    /// A queued submission was recorded, or refused.
    pub fn chained(&self, elapsed: Duration) {
        self.chained_seconds.observe(elapsed.as_secs_f64());
    }

    /// So many messages came again.
    pub fn delivered_again(&self, messages: usize) {
        self.again.inc_by(u64::try_from(messages).unwrap_or(u64::MAX));
    }

    /// A message was refused, for this kind of problem.
    pub fn dead_letter(&self, kind: &'static str) {
        self.letters.get_or_create(&Letter { kind }).inc();
    }

    /// All partitions that this consumer has: others are somebody else's to tell of.
    pub fn is_behind(&self, partitions: &[Behind]) {
        self.lag_messages.clear();
        self.lag_seconds.clear();
        let mut stopped = 0;
        for (number, messages, time, is_stopped) in partitions {
            let partition =
                if *number < PARTITIONS { number.to_string() } else { format!("{PARTITIONS}+") };
            let label = Partition { partition };
            let gauge = self.lag_messages.get_or_create(&label);
            gauge.set(gauge.get().max(*messages));
            drop(gauge);
            let gauge = self.lag_seconds.get_or_create(&label);
            gauge.set(gauge.get().max(time.as_secs_f64()));
            stopped += i64::from(*is_stopped);
        }
        self.stopped.set(stopped);
    }

    /// The broker answered, or did not.
    pub fn is(&self, up: bool) {
        self.up.set(up.into());
    }
}

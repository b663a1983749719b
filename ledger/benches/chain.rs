//! Chaining against bare SHA-256: one event costs a payload digest, a leaf and a link, and nothing
//! beside the hashing should be felt.
//!
//! The limit is the same number of compression blocks in the same run, as the ratio of two medians
//! taken side by side; the rest is for orientation.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench reads the clock and prints its figures"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use ledger::entry::{Entry, next_link};
use ledger::hash::Digest;
use ledger::key::SigningKey;
use ledger::merkle::Frontier;
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::submission::{Counter, Statement};
use ledger::time::Micros;
use sha2::{Digest as _, Sha256};

/// Events in one round.
const EVENTS: u16 = 1_000;
/// Bytes of a payload: with padding, nine blocks of SHA-256.
const PAYLOAD: usize = 500;
/// Bytes under a leaf's hash (0x00 and an entry) and under a link's: two blocks each.
const LEAF: usize = 102;
const LINK: usize = 65;
/// The least share of the bare hash's speed that chaining must reach.
const TARGET: f64 = 0.80;

fn payloads() -> Vec<Vec<u8>> {
    (0..=u8::MAX).cycle().take(usize::from(EVENTS)).map(|byte| vec![byte; PAYLOAD]).collect()
}

/// Digest, leaf and link of every payload.
fn chain(payloads: &[Vec<u8>], template: &Entry) -> Digest {
    payloads.iter().fold(Digest::ZERO, |link, payload| {
        let entry = Entry { payload_digest: Digest::of(payload), ..*template };
        next_link(&link, &entry.leaf())
    })
}

/// The same blocks through SHA-256 and nothing else.
fn bare(payloads: &[Vec<u8>], leaf: &[u8; LEAF], link: &[u8; LINK]) -> u8 {
    payloads.iter().fold(0, |sum, payload| {
        let [a, ..] = <[u8; 32]>::from(Sha256::digest(black_box(payload)));
        let [b, ..] = <[u8; 32]>::from(Sha256::digest(black_box(leaf)));
        let [c, ..] = <[u8; 32]>::from(Sha256::digest(black_box(link)));
        sum ^ a ^ b ^ c
    })
}

fn template() -> Option<Entry> {
    Some(Entry {
        seq: Seq::FIRST,
        recorded_at: Micros::EPOCH,
        event_id: EventId::from_bytes([1; 16]).ok()?,
        payload_digest: Digest::ZERO,
        submission_hash: Digest::ZERO,
        index_in_submission: 0,
        submission_count: 1,
    })
}

fn benches(c: &mut Criterion) {
    let (Some(template), Ok(origin), Ok(workspace)) =
        (template(), Origin::new("ledger.example.com/bench"), Workspace::new("acme"))
    else {
        return;
    };
    let payloads = payloads();
    let mut group = c.benchmark_group("chain");
    group.throughput(Throughput::Elements(u64::from(EVENTS)));
    group.bench_function("digest_leaf_link", |b| {
        b.iter(|| chain(black_box(&payloads), &template));
    });
    group.bench_function("bare_sha256", |b| {
        b.iter(|| bare(black_box(&payloads), &[0; LEAF], &[0; LINK]));
    });
    group.bench_function("merkle_push", |b| {
        b.iter(|| {
            let mut frontier = Frontier::new();
            (0..EVENTS).for_each(|_| frontier.push(black_box(Digest::ZERO)));
            frontier.root()
        });
    });
    group.finish();

    let digests: Vec<Digest> =
        payloads.iter().take(100).map(|payload| Digest::of(payload)).collect();
    let statement = Statement::new(&origin, &workspace, Counter::NONE, &digests);
    let key = SigningKey::from_seed(&[7; 32]);
    let signature = key.sign(statement.as_str().as_bytes());
    let public = key.public();
    c.bench_function("submission_of_100/verify", |b| {
        b.iter(|| black_box(&statement).verify(&public, &signature));
    });
    ratio(&payloads, &template);
}

/// Both loops in turn, so that a busy machine slows both alike; prints the ratio of the medians.
fn ratio(payloads: &[Vec<u8>], template: &Entry) {
    let (mut chained, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..201 {
        chained.push(time(|| chain(black_box(payloads), template)));
        plain.push(time(|| bare(black_box(payloads), &[0; LEAF], &[0; LINK])));
    }
    let (chained, plain) = (median(chained), median(plain));
    let share = plain.as_secs_f64() / chained.as_secs_f64();
    println!(
        "chain: {:.0} ns an event, bare SHA-256 over the same blocks {:.0} ns: {:.1} % of its speed \
         (target {:.0} %)",
        nanos(chained),
        nanos(plain),
        share * 100.0,
        TARGET * 100.0
    );
    assert!(share >= TARGET, "chaining is slower than its target");
}

fn nanos(round: Duration) -> f64 {
    round.as_secs_f64() * 1e9 / f64::from(EVENTS)
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

fn median(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort_unstable();
    rounds.get(rounds.len() / 2).copied().unwrap_or_default()
}

criterion_group!(chain_group, benches);
criterion::criterion_main!(chain_group);

//! Kafka, and Redis, between API and chain, beside the direct path in the same run.
//!
//! One process serves and consumes; the broker of Kafka is a program of its own that keeps what it has in
//! memory, that of Redis has each message on disk before it answers; both are on the same cores. So this shows what a queue costs and how it spreads over partitions, not what a
//! cluster takes.

use std::io::Write;
use std::time::{Duration, Instant};

use super::load::{Manner, Pace};
use super::{Bench, CLIENTS, Options, load, number, rows, whole};
use crate::broker::Broker;
use crate::redis::Redis;
use crate::rig::Failure;

/// Numbers of partitions that are measured.
const PARTITIONS: [i32; 3] = [1, 3, 8];
/// How long half the load lasts, each way.
const HALF: Duration = Duration::from_secs(10);
/// How long all that was accepted may take to be recorded.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was seen.
struct Seen {
    /// Events per second that were acknowledged, and that were recorded from the first to the last.
    accepted: f64,
    chained: f64,
    /// Seconds until acknowledged, and until recorded, at half of what the direct path takes.
    ack: (f64, f64),
    end: (f64, f64),
}

/// Measures, and prints what it saw.
pub(super) async fn run(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let mut bench = Bench::start(options, 500).await?;
    let direct = measure(&mut bench, options, Manner::Recorded, None).await?;
    bench.service.stop().await?;
    writeln!(
        out,
        "\n| path | accepted/s | recorded/s | of direct | ack p50, p99 | recorded p50, p99 |\n|---|---|---|---|---|---|"
    )?;
    line(out, "direct", &direct, &direct)?;
    for (partitions, seed) in PARTITIONS.into_iter().zip(501..) {
        let directory = tempfile::tempdir()?;
        let broker = Broker::start(directory.path(), partitions).await?;
        let queue = ["--queue-kind", "kafka", "--queue-servers", &broker.servers];
        let seen = queued(options, seed, &queue, &direct).await?;
        line(out, &format!("Kafka, {partitions} partitions"), &seen, &direct)?;
        out.flush()?;
    }
    for (partitions, seed) in PARTITIONS.into_iter().zip(511..) {
        let directory = tempfile::tempdir()?;
        let redis = Redis::start(directory.path()).await?;
        let number = partitions.to_string();
        let queue = ["--queue-kind", "redis", "--queue-servers", &redis.url];
        let queue = [&queue[..], &["--queue-partitions", &number]].concat();
        let seen = queued(options, seed, &queue, &direct).await?;
        line(out, &format!("Redis, {partitions} partitions"), &seen, &direct)?;
        out.flush()?;
    }
    Ok(())
}

/// Measures with a queue of these settings.
async fn queued(
    options: &Options,
    seed: u64,
    queue: &[&str],
    direct: &Seen,
) -> Result<Seen, Failure> {
    let arguments = [&["serve", "--queue-consume"], queue].concat();
    let mut bench = Bench::start_with(options, seed, &arguments).await?;
    // The group has given out its partitions once each workspace is recorded.
    let warm = bench.load.requests(options.workspaces * options.batch, options.batch);
    load::closed(&bench.base, warm, 1, Manner::Waits).await?;
    let seen = measure(&mut bench, options, Manner::Queued, Some(direct.chained / 2.0)).await?;
    bench.service.stop().await?;
    Ok(seen)
}

/// `half`: events per second of half the load; half of what is seen where it is not given.
async fn measure(
    bench: &mut Bench,
    options: &Options,
    manner: Manner,
    half: Option<f64>,
) -> Result<Seen, Failure> {
    let before = rows::count(&bench.rig.pool).await?;
    let requests = bench.load.requests(options.events, options.batch);
    let start = Instant::now();
    let acked = load::closed(&bench.base, requests, CLIENTS, manner).await?;
    let accepted = number(acked) / start.elapsed().as_secs_f64();
    while rows::count(&bench.rig.pool).await? < before + acked {
        if start.elapsed() > PATIENCE {
            return Err("what was accepted is not recorded".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let chained = number(acked) / start.elapsed().as_secs_f64();
    let half = Pace { events_per_second: half.unwrap_or(chained / 2.0), batch: options.batch };
    let count = whole(half.events_per_second * HALF.as_secs_f64());
    let requests = bench.load.requests(count, options.batch);
    let ack = load::open(&bench.base, requests, half, manner).await?;
    let requests = bench.load.requests(count, options.batch);
    let end = load::open(&bench.base, requests, half, Manner::Waits).await?;
    Ok(Seen { accepted, chained, ack, end })
}

fn line(out: &mut impl Write, path: &str, seen: &Seen, direct: &Seen) -> Result<(), Failure> {
    let ms = |(p50, p99): (f64, f64)| format!("{:.1}, {:.1} ms", 1e3 * p50, 1e3 * p99);
    writeln!(
        out,
        "| {path} | {:.0} | {:.0} | {:.0} % | {} | {} |",
        seen.accepted,
        seen.chained,
        100.0 * seen.chained / direct.chained,
        ms(seen.ack),
        ms(seen.end),
    )?;
    Ok(())
}

//! Ten thousand connections that ask nothing (FAULTS row 28).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use checks::bin_path::tally;
use checks::crowd::{long, now};
use checks::driver::Answer;
use checks::service::{Process, base, free_address};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Ground, print};

/// Connections that ask nothing.
const IDLE: usize = 10_000;
/// Places that a service has unless told otherwise.
const PLACES: usize = 1_024;
/// Connections at a time that wait to be taken; the kernel lets 1,024 wait.
const WAVE: usize = 256;
/// Handles that this process needs for them.
const HANDLES: u32 = 16_384;
/// How long the service lets one be idle.
const SECONDS: u64 = 20;

/// Lets this process open so many files; `false` where it may not.
fn may_open(handles: u32) -> bool {
    let pid = std::process::id().to_string();
    let mut raise = std::process::Command::new("prlimit");
    raise.args(["--pid", &pid, &format!("--nofile={handles}:")]);
    raise.status().is_ok_and(|status| status.success())
}

/// Half of them say nothing at all, half begin a request and stop.
///
/// A connection that the kernel has no room to queue for the service looks open from here, and is
/// none: nobody would ever close it. So each wave of them is followed by a request, whose
/// connection the service takes after theirs.
async fn open(base: &str) -> Vec<TcpStream> {
    let address: SocketAddr = base.trim_start_matches("http://").parse().unwrap();
    let mut streams = Vec::new();
    for n in 0..IDLE {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if n % 2 == 0 {
            // It may have had to give way already.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        }
        streams.push(stream);
        if n % WAVE == 0 {
            get(base, "healthz").await;
        }
    }
    streams
}

/// What the service answers on a connection of its own.
async fn get(base: &str, path: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("{base}/{path}")).send().await.unwrap();
    answer.error_for_status().unwrap().text().await.unwrap()
}

/// Connections that the service has taken and not closed.
async fn taken(base: &str) -> usize {
    let metrics = get(base, "metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("tally_open_connections "));
    line.unwrap().parse().unwrap()
}

/// How long the healthy wait for their receipts, at the 99th percentile; each of them gets one.
async fn healthy(ground: &mut Ground, submissions: usize) -> Duration {
    let desk = ground.crowd.desk(&ground.base);
    let mut took = Vec::new();
    while took.len() < submissions {
        for agent in &mut ground.agents {
            let submission = agent.work(3, now());
            desk.sent(&submission).await;
            let start = Instant::now();
            let answer = desk.client.post(&submission).await;
            assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
            took.push(start.elapsed());
        }
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// Whether the service has closed the connection, within this time.
async fn closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut told = Vec::new();
    timeout(within, stream.read_to_end(&mut told)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_28_ten_thousand_idle_connections_keep_nobody_out() {
    let submissions = if long() { 2_000 } else { 200 };
    if !may_open(HANDLES) {
        return print(&format!("2.3 row 28: SKIPPED, this process may not open {HANDLES} files"));
    }
    let mut ground = Ground::new().await;
    let before = ground.rows().await;
    let alone = healthy(&mut ground, submissions).await;

    // The others give way as more come.
    let mut idle = open(&ground.base).await;
    let crowded = healthy(&mut ground, submissions).await;
    let mut gone = 0;
    for stream in &mut idle {
        gone += usize::from(closed(stream, Duration::from_millis(1)).await);
    }
    assert!(gone >= IDLE - PLACES, "{gone} gave way");
    drop(idle);

    // A service with places for all of them.
    let (address, crowd) = (free_address().unwrap(), &ground.crowd);
    let seconds = SECONDS.to_string();
    let settings = ["serve", "--max-connections", "12000", "--head-seconds", &seconds];
    let mut roomy = Process::start(&tally("tally-ingest"), &crowd.rig, address, &settings).unwrap();
    roomy.listening().await.unwrap();
    ground.base = base(address);
    let (_, empty) = roomy.memory_kib().unwrap();
    let start = Instant::now();
    let mut idle = open(&ground.base).await;
    let opened = start.elapsed();
    let taken = taken(&ground.base).await;
    assert!(taken >= IDLE, "{taken} are open, {opened:?} after the first");
    let beside = healthy(&mut ground, submissions).await;
    let (_, full) = roomy.memory_kib().unwrap();
    // Each is closed when its time is over, and not before.
    for stream in &mut idle {
        let left = Duration::from_secs(SECONDS + 30).saturating_sub(start.elapsed());
        assert!(closed(stream, left).await, "open for {:?}", start.elapsed());
    }
    let lasted = start.elapsed();
    assert!(lasted + opened >= Duration::from_secs(SECONDS), "{lasted:?}");

    let after = ground.rows().await;
    let recorded = i64::try_from(3 * submissions).unwrap();
    assert_eq!(after[1], before[1] + recorded, "what the healthy sent is there, and nothing else");
    roomy.stop().await.unwrap();
    ground.service.stop().await.unwrap();
    let [alone, crowded, beside] = [alone, crowded, beside].map(|took| took.as_millis());
    if long() {
        // Only where nothing else runs: elsewhere this is a figure.
        assert!(crowded < 2 * alone && beside < 2 * alone, "{alone}, {crowded}, {beside}");
    }
    print(&format!(
        "2.3 row 28: {IDLE} idle connections: p99 of the healthy {alone} ms without them, {crowded} ms \
         where they share {PLACES} places, {beside} ms where each has one ({} KiB each); all closed \
         {} s after the first at most",
        full.saturating_sub(empty) / u64::try_from(IDLE).unwrap(),
        lasted.as_secs()
    ));
}

//! Bodies that are too large, never end, or hardly come (FAULTS rows 28 and 29).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use checks::crowd::{long, now};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::mutation::request;
use crate::wire::{Answer, Request, answer};
use crate::{Ground, print};

const HUGE: usize = 100_000_000;
/// How much a service may grow under attack.
const GROWTH_KIB: u64 = 64 * 1024;

fn address(ground: &Ground) -> SocketAddr {
    ground.base.trim_start_matches("http://").parse().unwrap()
}

/// A request of an agent, its body to be replaced.
fn template(ground: &mut Ground) -> Request {
    let submission = ground.agents[0].clone().work(1, now());
    request(&submission, &submission.path(), &[])
}

/// Sends a head and then pieces until the service closes the connection or `most` bytes are sent;
/// gives the answer and how much was sent.
async fn pour(
    address: SocketAddr,
    head: &[u8],
    piece: &[u8],
    most: usize,
) -> (Option<Answer>, usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head).await.unwrap();
    let mut sent = 0;
    // A service that reads no more closes, or lets the sender wait.
    while sent < most
        && timeout(Duration::from_secs(5), stream.write_all(piece)).await.is_ok_and(|w| w.is_ok())
    {
        sent += piece.len();
    }
    (answer(&mut stream).await, sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_a_hundred_megabytes_are_not_read() {
    let rounds = if long() { 20 } else { 3 };
    let mut ground = Ground::new().await;
    ground.works().await;
    let before = ground.rows().await;
    let (address, template) = (address(&ground), template(&mut ground));
    let (warm, _) = ground.service.memory_kib().unwrap();
    let most = {
        let ledger = format!("{}/v1/ledger", ground.base);
        let ledger: serde_json::Value = reqwest::get(&ledger).await.unwrap().json().await.unwrap();
        usize::try_from(ledger["limits"]["max_body_bytes"].as_u64().unwrap()).unwrap()
    };
    let (mut answered, mut most_sent) = (0, 0);
    for _ in 0..rounds {
        // It says what is to come: it is answered before any of it is sent.
        let mut told = template.clone();
        told.set("Content-Length", HUGE.to_string());
        let (answer, _) = pour(address, &told.head(), b"", 0).await;
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.problem().0.as_str()), (413, "too-large"));
        answer.check().unwrap();
        // It says so, and sends it all the same.
        let piece = vec![b'x'; 64 * 1024];
        let (answer, sent) = pour(address, &told.head(), &piece, HUGE).await;
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 413), "{answer:?}");
        assert!(sent < HUGE, "all of it was taken");
        answered += u64::from(answer.is_some());
        // It says nothing, and never ends.
        let mut chunked = template.clone();
        chunked.set("Transfer-Encoding", "chunked");
        let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
        let (answer, sent) = pour(address, &chunked.head(), &chunk, HUGE).await;
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 413), "{answer:?}");
        assert!(sent < HUGE / 2, "{sent} bytes were taken");
        answered += u64::from(answer.is_some());
        most_sent = most_sent.max(sent);
    }
    // What lies under way in the kernel's buffers is no part of what the service has read.
    assert!(most_sent < 2 * most + 16_000_000, "{most_sent} bytes were taken, the limit is {most}");
    let (_, peak) = ground.service.memory_kib().unwrap();
    let growth = peak.saturating_sub(warm);
    assert!(growth < GROWTH_KIB, "{growth} KiB");
    assert_eq!(ground.rows().await, before);
    ground.works().await;
    ground.service.stop().await.unwrap();
    print(&format!(
        "2.3 row 29: {} bodies of 100 MB refused, {answered} of {} read their 413, at most \
         {most_sent} bytes sent (limit {most}), {growth} KiB of growth",
        3 * rounds,
        2 * rounds,
    ));
}

/// Senders that announce much and send little take nothing away from others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_28_slow_senders_do_not_keep_others_out() {
    let senders = if long() { 900 } else { 200 };
    let mut ground = Ground::new().await;
    ground.works().await;
    let before = ground.rows().await;
    let (address, template) = (address(&ground), template(&mut ground));
    let mut slow = JoinSet::new();
    for n in 0..senders {
        let mut request = template.clone();
        let (what, bytes) = match n % 4 {
            // A body of the largest size is announced, and comes byte by byte.
            0 | 1 => {
                request.set("Content-Length", "6500000");
                ("body", request.head())
            }
            2 => {
                request.set("Transfer-Encoding", "chunked");
                ("chunks", request.head())
            }
            _ => ("head", request.head()[..40].to_vec()),
        };
        slow.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let drip: &[u8] = match what {
                "body" => b"{",
                "chunks" => b"1\r\n{\r\n",
                _ => b"x",
            };
            let start = Instant::now();
            let mut told = [0; 4096];
            loop {
                // Until the service has had enough.
                match timeout(Duration::from_secs(1), stream.readable()).await {
                    Ok(_) => match stream.try_read(&mut told) {
                        Ok(0) | Err(_) => return (what, String::new(), start.elapsed()),
                        Ok(read) => {
                            let told = String::from_utf8_lossy(&told[..read]).into_owned();
                            return (what, told, start.elapsed());
                        }
                    },
                    Err(_) => drop(stream.write_all(drip).await),
                }
            }
        });
    }
    // Meanwhile the others work, and none of them is told to come back.
    let desk = ground.crowd.desk(&ground.base);
    let (mut took, mut longest) = (Vec::new(), Duration::ZERO);
    while let Some(done) = next(&mut slow).await {
        if let Some((what, told, lasted)) = done {
            let status = told.split(' ').nth(1).unwrap_or_default();
            assert!(matches!(status, "" | "400" | "408"), "{what}: {told}");
            longest = longest.max(lasted);
            continue;
        }
        for agent in &mut ground.agents {
            let submission = agent.work(3, now());
            desk.sent(&submission).await;
            let start = Instant::now();
            let answer = desk.client.post(&submission).await;
            assert!(matches!(answer, checks::driver::Answer::Receipt(_)), "{answer:?}");
            took.push(start.elapsed());
        }
    }
    assert!(longest < Duration::from_secs(60), "{longest:?}");
    let worked = took.len();
    took.sort_unstable();
    let p99 = took[worked * 99 / 100].as_millis();
    let rows = ground.rows().await;
    let recorded = i64::try_from(worked).unwrap();
    assert_eq!(rows[1], before[1] + recorded, "what others sent is there, and nothing else");
    ground.service.stop().await.unwrap();
    print(&format!(
        "2.3 row 28: {senders} slow senders, {worked} submissions of others acknowledged \
         meanwhile (p99 {p99} ms), every socket closed within {} s",
        longest.as_secs()
    ));
}

/// The next sender that was closed, `Some(None)` where none was for a while, `None` at the end.
async fn next<T: 'static>(slow: &mut JoinSet<T>) -> Option<Option<T>> {
    match timeout(Duration::from_millis(200), slow.join_next()).await {
        Ok(Some(done)) => Some(Some(done.unwrap())),
        Ok(None) => None,
        Err(_) => Some(None),
    }
}

//! Clients that send slowly, or nothing at all (FAULTS 28). The healthy ones must not notice; how
//! long each may take is a setting, made short here.

use std::time::{Duration, Instant};

use checks::token;
use ledger::names::Workspace;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::world::{Reply, Served, Site, answer, event, key, plain, signed};

#[tokio::test]
async fn who_sends_a_byte_a_second_is_given_up() {
    let site = Site::new().await;
    let served = site.serve("[ingest.limits]\nhead_seconds = 2\nbody_seconds = 20\n").await;
    served.open_workspace("acme").await;

    // A head that never ends: closed, without an answer to what is no request yet.
    let drip_head = async {
        let mut stream = served.connect().await;
        stream.write_all(b"POST /ingest HTTP/1.1\r\nhost: x\r\na: ").await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let drip = async move {
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let drip = tokio::spawn(drip);
        let mut text = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut text).await;
        drip.abort();
        text
    };
    // A connection that says nothing at all.
    let silent = async { answer(&mut served.connect().await).await };
    // A body that comes byte by byte: told so, long before its time is up.
    let submission = signed("acme", &key(2), vec![plain("acme", 9)]);
    let drip_body = async {
        let mut stream = served.connect().await;
        let head = format!(
            "POST /v1/workspaces/acme/events HTTP/1.1\r\nhost: x\r\ntally-public-key: {}\r\n\
             tally-signature: {}\r\ncontent-type: application/x-ndjson\r\n\
             content-length: 5000\r\n\r\n",
            submission.public_key, submission.signature
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let drip = tokio::spawn(async move {
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        let mut text = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut text).await;
        drip.abort();
        String::from_utf8(text).unwrap()
    };
    let start = Instant::now();
    let (head, silence, body) = tokio::join!(drip_head, silent, drip_body);
    assert!(start.elapsed() < Duration::from_secs(20), "the body had all its time");
    let head = String::from_utf8(head).unwrap();
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(silence.is_empty() || silence.starts_with("HTTP/1.1 408 "), "{silence}");
    assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("request-timeout"), "{body}");
    served.stop().await;
}

#[tokio::test]
async fn connections_that_ask_nothing_keep_nobody_out() {
    let site = Site::new().await;
    let served = site.serve("[ingest.limits]\nmax_connections = 50\nhead_seconds = 600\n").await;
    served.open_workspace("acme").await;
    let mut idle = Vec::new();
    for n in 0..500 {
        let mut stream = served.connect().await;
        // Every other one has begun to speak.
        if n % 2 == 0 {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        }
        idle.push(stream);
        if n % 50 == 0 {
            let submission = signed("acme", &key(2), vec![plain("acme", 100 + n)]);
            assert_eq!(served.submit(&submission).await.status, 201);
        }
    }
    // The first ones have gone.
    for stream in idle.iter_mut().take(400) {
        let _ = answer(stream).await;
    }
    assert_eq!(Reply::of(served.http.get(format!("{}/healthz", served.base))).await.status, 200);
    // And the service ends while the last ones are there.
    served.stop().await;
}

/// The head of a request whose body is still to come.
fn head(length: usize) -> String {
    let submission = signed("acme", &key(2), vec![plain("acme", 9)]);
    format!(
        "POST /v1/workspaces/acme/events HTTP/1.1\r\nhost: x\r\ntally-public-key: {}\r\n\
         tally-signature: {}\r\ncontent-type: application/x-ndjson\r\n\
         expect: 100-continue\r\ncontent-length: {length}\r\n\r\n",
        submission.public_key, submission.signature
    )
}

/// They are the ones who are waited for: their places are there for others.
#[tokio::test]
async fn who_lets_the_service_wait_for_a_body_keeps_nobody_out() {
    let site = Site::new().await;
    let served = site
        .serve("[ingest.limits]\nmax_connections = 50\nmin_body_rate = 0\nbody_seconds = 600\n")
        .await;
    served.open_workspace("acme").await;
    let mut waiting = Vec::new();
    for n in 0..500 {
        let mut stream = served.connect().await;
        stream.write_all(head(5_000).as_bytes()).await.unwrap();
        let mut told = [0; 25];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut told).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
        // Every other one has sent some of it.
        if n % 2 == 0 {
            stream.write_all(b"{").await.unwrap();
        }
        waiting.push(stream);
        if n % 50 == 0 {
            let submission = signed("acme", &key(2), vec![plain("acme", 100 + n)]);
            assert_eq!(served.submit(&submission).await.status, 201);
        }
    }
    // The first ones have gone, and were told nothing: nobody knows what they would have sent.
    for stream in waiting.iter_mut().take(400) {
        assert_eq!(answer(stream).await, "");
    }
    // One of the last ones comes to its end.
    let mut last = waiting.pop().unwrap();
    last.write_all(&[b'x'; 5_000]).await.unwrap();
    let mut told = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut last, &mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 422");
    served.stop().await;
}

/// Nobody has to prove anything to ask for these, and the kernel takes only so much for them.
#[tokio::test]
async fn who_takes_no_answer_keeps_nobody_out() {
    let site = Site::new().await;
    let limits = "max_connections = 50\nanswer_seconds = 600\nmin_answer_rate = 0\n";
    let served = site.serve(&format!("[ingest.limits]\n{limits}")).await;
    served.open_workspace("acme").await;
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let mut deaf = Vec::new();
    for n in 0..200 {
        let mut stream = served.connect_with(65_536, 4_096).await;
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut told = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut told).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 200", "{n}");
        deaf.push(stream);
        if n % 20 == 0 {
            let submission = signed("acme", &key(2), vec![plain("acme", 100 + n)]);
            assert_eq!(served.submit(&submission).await.status, 201);
        }
    }
    // The first ones have gone.
    for stream in deaf.iter_mut().take(100) {
        let text = answer(stream).await;
        assert!(text.matches("HTTP/1.1 200 ").count() < 100, "it was cut off");
    }
    served.stop().await;
}

#[tokio::test]
async fn where_everyone_is_busy_who_comes_is_told_to_come_back() {
    let site = Site::new().await;
    let served = site.serve("[ingest.limits]\nmax_connections = 2\n").await;
    served.open_workspace("acme").await;
    // Two submissions wait for the database.
    let mut locked = site.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE heads IN EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let waits = "SELECT EXISTS (SELECT FROM pg_locks
                 WHERE NOT granted AND relation = 'heads'::regclass)";
    let mut busy = Vec::new();
    for n in 0..2 {
        let submission = signed("acme", &key(2), vec![plain("acme", 10 + n)]);
        let (body, mut stream) = (submission.body(), served.connect().await);
        let head = format!(
            "POST /v1/workspaces/acme/events HTTP/1.1\r\nhost: x\r\ntally-public-key: {}\r\n\
             tally-signature: {}\r\ncontent-type: application/x-ndjson\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            submission.public_key,
            submission.signature,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        busy.push(stream);
        // The first one is at work, and cannot give way to the second.
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&site.pool).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    // The other may still be about to be read: whoever comes then may have its place.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let text = answer(&mut served.connect().await).await;
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("retry-after: 1"), "{text}");
    assert!(text.contains("/problems/overloaded"), "{text}");
    locked.rollback().await.unwrap();
    for stream in &mut busy {
        assert!(answer(stream).await.starts_with("HTTP/1.1 201 "));
    }
    let health = served.http.get(format!("{}/healthz", served.base));
    assert_eq!(Reply::of(health).await.status, 200);
    served.stop().await;
}

/// The memory that answers take, and the connections that are open, this one's too.
async fn figures(served: &Served) -> (u64, u64) {
    let reply = Reply::of(served.http.get(format!("{}/metrics", served.base))).await;
    let figure = |name| {
        let line = reply.text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    (figure("tally_answer_memory_bytes "), figure("tally_open_connections "))
}

/// It is given up, and the memory of the answers that it does not take is there for others.
#[tokio::test]
async fn who_takes_no_answer_is_given_up() {
    let site = Site::new().await;
    let served = site.serve("[ingest.limits]\nanswer_seconds = 3\n").await;
    served.open_workspace("acme").await;
    token::admit(&site.pool, &Workspace::new("acme").unwrap()).await.unwrap();
    let large = |n| event("acme", n, "business_event", &json!({ "text": "x".repeat(60_000) }));
    let page = signed("acme", &key(2), (100..140).map(large).collect());
    assert_eq!(served.submit(&page).await.status, 201);
    let id = "00000000-0000-4000-8000-000000000064";
    // More of each than the system itself keeps for it. One page at a time is held, of two MiB; of
    // single events some, of 60 kB, one of them while it is made.
    for (asked, times, most) in [("entries?limit=1000", 8, 3_000_000), (id, 200, 600_000)] {
        let asked = if asked == id { format!("events/{id}") } else { asked.to_owned() };
        assert_eq!(figures(&served).await, (0, 1));
        let mut stream = served.connect_with(65_536, 4_096).await;
        let request = format!(
            "GET /v1/workspaces/acme/{asked} HTTP/1.1\r\nhost: x\r\n\
             authorization: Bearer {}\r\n\r\n",
            token::reader("acme")
        );
        stream.write_all(request.repeat(times).as_bytes()).await.unwrap();
        let start = Instant::now();
        // While an answer waits for its reader, it is held.
        let mut held = Vec::new();
        loop {
            match figures(&served).await {
                (0, 1) if !held.is_empty() => break,
                (0, _) => {}
                (now, _) => held.push(now),
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{held:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let last = held.last().unwrap();
        assert!((most / 10..most).contains(last), "{asked}: {last}");
        let text = answer(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{asked}");
        assert!(text.matches("HTTP/1.1 200 ").count() < times, "it was cut off");
    }
    served.stop().await;
}

/// Those that come while the service does not get to them are kept for it, not dropped: their clients
/// would never be told, and whoever waits to be spoken to waits for ever.
#[tokio::test]
async fn a_burst_of_connections_is_kept() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    // A system that keeps fewer for every listener can be asked for no more.
    let most: usize = most.trim().parse().unwrap();
    let site = Site::new().await;
    let served = site.serve("").await;
    served.signal("STOP").await;
    let mut burst = Vec::new();
    for n in 0..most.min(1_500) {
        let stream = tokio::time::timeout(Duration::from_secs(30), served.connect()).await;
        assert!(stream.is_ok(), "{n} were kept");
        burst.push(stream);
    }
    served.signal("CONT").await;
    drop(burst);
    served.stop().await;
}

#[tokio::test]
async fn an_address_has_its_share_of_the_connections() {
    let site = Site::new().await;
    let served = site.serve("[ingest.limits]\nmax_connections_per_address = 2\n").await;
    let first = [served.connect().await, served.connect().await];
    let text = answer(&mut served.connect().await).await;
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    drop(first);
    served.stop().await;
}

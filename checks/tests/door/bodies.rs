//! Bodies: compressed, digested, too large, without end (FAULTS 29).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use ledger::key::Signature;
use reqwest::RequestBuilder;
use sha2::{Digest as _, Sha512};
use tokio::io::AsyncWriteExt as _;

use crate::world::{Reply, Served, Site, answer, batch, flood, key, plain, signed, tag};

/// Memory that a service may take for all that is thrown at it here, in KiB.
const GROWTH_KIB: u64 = 64 * 1_024;
/// With so many events a body has up to 13.1 MB, which is more than sockets hold on their own.
const EVENTS: usize = 200;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// A request to record, with headers that are well formed.
fn request(served: &Served) -> RequestBuilder {
    let submission = signed("acme", &key(2), vec![plain("acme", 1)]);
    served.signed_post(&submission, "/v1/workspaces/acme/events")
}

fn head(length: &str) -> String {
    let submission = signed("acme", &key(2), vec![plain("acme", 1)]);
    let (key, signature) = (submission.public_key, submission.signature);
    format!(
        "POST /v1/workspaces/acme/events HTTP/1.1\r\nhost: x\r\ntally-public-key: {key}\r\n\
         tally-signature: {signature}\r\ncontent-type: application/x-ndjson\r\n{length}\r\n"
    )
}

#[tokio::test]
async fn what_is_signed_is_what_comes_out_and_the_digest_is_of_what_was_sent() {
    let site = Site::new().await;
    let secret = b"a secret of some 24 bytes";
    let file = site.private("pipeline.secret", secret);
    let secrets = format!("[ingest.secrets.p]\nfiles = [{file:?}]\nworkspaces = [\"acme\"]\n");
    let served = site.serve(&secrets).await;
    served.open_workspace("acme").await;
    served.register("acme", 3, &site.custodian, "custodian").await;

    let submission = signed("acme", &key(2), (10..60).map(|n| plain("acme", n)).collect());
    let path = submission.path();
    let post = |coding: &str, sent: Vec<u8>| {
        served.signed_post(&submission, &path).header("content-encoding", coding).body(sent)
    };
    let first = Reply::of(post("gzip", gzip(&submission.body()))).await;
    assert_eq!(first.status, 201, "{}", first.text);
    for (coding, sent) in [
        ("zstd", zstd(&submission.body())),
        ("x-gzip", gzip(&submission.body())),
        ("identity", submission.body()),
    ] {
        let again = Reply::of(post(coding, sent)).await;
        assert_eq!((again.status, &again.text), (200, &first.text), "{coding}");
    }
    // The HMAC too is over what comes out.
    let body = batch(&[plain("acme", 100)]);
    let shared = served.post("/ingest").header("x-api-key", "p").header("content-encoding", "zstd");
    let reply = Reply::of(shared.header("x-signature", tag(secret, &body)).body(zstd(&body))).await;
    assert_eq!(reply.status, 200, "{}", reply.text);

    // 64 bytes in padded base64: a signature has the same form.
    let digest =
        |bytes: &[u8]| format!("sha-512=:{}:", Signature::from_bytes(Sha512::digest(bytes).into()));
    let sent = gzip(&submission.body());
    let right = post("gzip", sent.clone()).header("content-digest", digest(&sent));
    assert_eq!(Reply::of(right).await.status, 200);
    let wrong = post("gzip", sent.clone()).header("content-digest", digest(&submission.body()));
    let reply = Reply::of(wrong).await;
    assert_eq!(reply.problem(), (400, "digest-mismatch".to_owned()));
    let malformed = post("gzip", sent.clone()).header("content-digest", "sha-256=abc");
    let reply = Reply::of(malformed).await;
    assert_eq!(
        (reply.problem(), reply.reason()),
        ((400, "bad-header".to_owned()), "digest-form".into())
    );

    for coding in ["br", "deflate", "gzip, gzip", ""] {
        let reply = Reply::of(post(coding, sent.clone())).await;
        assert_eq!(reply.problem(), (415, "unsupported-coding".to_owned()), "{coding}");
        assert_eq!(reply.header("accept-encoding"), "gzip, zstd");
    }
    let two = post("gzip", sent.clone()).header("content-encoding", "gzip");
    assert_eq!(Reply::of(two).await.problem(), (415, "unsupported-coding".to_owned()));
    for (coding, sent, reason) in [
        ("gzip", sent[..sent.len() - 1].to_vec(), "coding-cut-off"),
        ("gzip", [&sent[..], &sent].concat(), "coding-several"),
        ("gzip", [&sent[..], b"\n"].concat(), "coding-trailing"),
        ("gzip", submission.body(), "coding-magic"),
        ("zstd", sent, "coding-magic"),
        (
            "zstd",
            [&b"\x50\x2a\x4d\x18\x04\0\0\0abcd"[..], &zstd(b"{}")].concat(),
            "coding-skippable",
        ),
    ] {
        let reply = Reply::of(post(coding, sent)).await;
        assert_eq!(
            (reply.problem(), reply.reason()),
            ((400, "bad-coding".to_owned()), reason.to_owned())
        );
    }
    served.stop().await;
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_early_and_take_no_memory() {
    let site = Site::new().await;
    let served = site.serve(&format!("max_events = {EVENTS}\n")).await;
    served.open_workspace("acme").await;
    let limit = EVENTS * (65_536 + 2) + 1_024;
    let before = site.entries().await;
    // As large as they come, so that what a service needs anyway is there.
    let full = request(&served).body(vec![b'x'; limit]);
    assert_eq!(Reply::of(full).await.status, 422);
    let (start, first) = served.memory_kib();
    let mut peaks = vec![("a full body", first)];

    // Announced: not a byte of it is read.
    let mut stream = served.connect().await;
    stream.write_all(head("content-length: 100000000\r\n").as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 413 "));
    for number in ["-1", "1e3", "99999999999999999999", "0x10"] {
        let mut stream = served.connect().await;
        let length = format!("content-length: {number}\r\n");
        stream.write_all(head(&length).as_bytes()).await.unwrap();
        let text = answer(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 4"), "{number}: {text}");
    }
    // In chunks without end.
    let mut stream = served.connect_with(64 * 1_024, 64 * 1_024).await;
    stream.write_all(head("transfer-encoding: chunked\r\n").as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n", vec![b'x'; 65_536].as_slice(), b"\r\n"].concat();
    let taken = flood(&mut stream, &chunk, 100_000_000).await;
    assert!(taken < 2 * limit, "{taken} bytes were taken");
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 413 "));
    peaks.push(("chunks", served.memory_kib().1));
    // Less than was announced.
    let mut stream = served.connect().await;
    stream.write_all(head("content-length: 1000\r\n").as_bytes()).await.unwrap();
    stream.write_all(b"{}").await.unwrap();
    stream.shutdown().await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{text}");
    // More than was announced is another request, which is none.
    let mut stream = served.connect().await;
    stream.write_all(head("content-length: 2\r\n").as_bytes()).await.unwrap();
    stream.write_all(b"{}GARBAGE\r\n\r\n").await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 422 ") && text.contains("HTTP/1.1 400 "), "{text}");

    // What expands to a gigabyte, and what says of itself that it does.
    let gigabyte = vec![0; 1 << 20];
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    let mut zs = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    for _ in 0..1_024 {
        gz.write_all(&gigabyte).unwrap();
        zs.write_all(&gigabyte).unwrap();
    }
    let skip =
        [&b"\x50\x2a\x4d\x18"[..], &10_000_000_u32.to_le_bytes(), &vec![0; 10_000_000]].concat();
    let declared = b"\x28\xb5\x2f\xfd\xe0\0\0\0\0\x01\0\0\0\x01\0\0";
    let wide = b"\x28\xb5\x2f\xfd\0\xf8\x01\0\0";
    for (coding, sent, status, reason) in [
        ("gzip", gz.finish().unwrap(), 413, "coding-too-large"),
        ("zstd", zs.finish().unwrap(), 413, "coding-too-large"),
        ("zstd", skip.clone(), 400, "coding-skippable"),
        ("zstd", [zstd(b"{}"), skip].concat(), 400, "coding-skippable"),
        ("zstd", declared.to_vec(), 400, "coding-window"),
        ("zstd", wide.to_vec(), 400, "coding-window"),
    ] {
        for _ in 0..3 {
            let reply =
                Reply::of(request(&served).header("content-encoding", coding).body(sent.clone()))
                    .await;
            assert_eq!((reply.status, reply.reason()), (status, reason.to_owned()), "{coding}");
        }
        peaks.push((reason, served.memory_kib().1));
    }
    let (_, most) = served.memory_kib();
    assert!(most < start + GROWTH_KIB, "from {start} to {most} KiB: {peaks:?}");
    assert_eq!(site.entries().await, before);

    // It records as before.
    let submission = signed("acme", &key(2), vec![plain("acme", 10)]);
    assert_eq!(served.submit(&submission).await.status, 201);
    served.stop().await;
}

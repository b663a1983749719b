//! What is done to a good request so that no part of it may be recorded.
//!
//! Here, pure: mutations that follow from a seed. Each leaves a request that must be refused. Not
//! here: sending them (see [`super::requests`]).

use checks::forge::Random;
use checks::submission::Submission;
use checks::worker::Worker;

use crate::wire::Request;

/// A request that must be refused.
pub struct Case {
    pub what: &'static str,
    pub bytes: Vec<u8>,
    /// Whether it is HTTP at all: otherwise the answer may be bare, or there may be none.
    pub is_http: bool,
}

/// A submission as a request; what else the route needs is in `more`.
pub fn request(submission: &Submission, path: &str, more: &[(String, String)]) -> Request {
    let own = [
        ("Content-Type", submission.content_type().to_owned()),
        ("Tally-Public-Key", submission.public_key.to_string()),
        ("Tally-Signature", submission.signature.to_string()),
        ("Tally-Counter", submission.counter.to_string()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()));
    let more = more.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    Request {
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: own.chain(more).collect(),
        body: submission.body(),
    }
}

fn one<T: Clone>(random: &mut Random, of: &[T]) -> T {
    of[random.index(of.len())].clone()
}

/// Bytes that no JSON text may hold where they are put.
const BAD_BYTES: [&[u8]; 9] = [
    b"\0",
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\x1b",
    b"\xe2\x80",
    b"}{",
];

/// Changes some bytes of a payload: what was signed is not what is sent.
pub fn damage(random: &mut Random, payload: &mut Vec<u8>) -> &'static str {
    let before = payload.clone();
    let at = random.index(payload.len());
    let mut what = match random.below(6) {
        0 => {
            payload.truncate(at);
            "payload cut off"
        }
        1 => {
            payload[at] ^= 1 << random.below(8);
            "a bit flipped"
        }
        2 => {
            let bad = one(random, &BAD_BYTES);
            payload.splice(at..at, bad.iter().copied());
            "bytes that no text holds"
        }
        3 => {
            let end = (at + 1 + random.index(40)).min(payload.len());
            payload.drain(at..end);
            "bytes taken out"
        }
        4 => {
            let slice = payload[at..(at + 1 + random.index(80)).min(before.len())].to_vec();
            payload.splice(at..at, slice);
            "bytes doubled"
        }
        _ => {
            let noise: [u8; 16] = random.bytes();
            payload.splice(at..at, noise);
            "noise put in"
        }
    };
    // A line end makes two lines of it, and an empty payload none: they are other cases.
    if *payload == before || payload.contains(&b'\n') || payload.is_empty() {
        *payload = before;
        payload.insert(1, b' ');
        what = "white space in the object";
    }
    what
}

/// More members of a payload that break a rule, each with a name for the report.
fn bad_members(random: &mut Random) -> (&'static str, String) {
    let deep = one(random, &[32_usize, 33, 1_000, 20_000]);
    let digits = one(random, &[20_usize, 400, 30_000]);
    let long = one(random, &[1_025_usize, 60_000]);
    let cases = [
        (
            "nested too deep",
            format!("\"context\":{{\"a\":{}{}}}", "[".repeat(deep), "]".repeat(deep)),
        ),
        ("nested too deep", format!("\"context\":{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep))),
        ("a huge number", format!("\"input_tokens\":1{}", "0".repeat(digits))),
        ("a huge number", "\"latency_ms\":9223372036854775808".to_owned()),
        ("a huge number", "\"unit_cost_input\":1e400".to_owned()),
        ("a huge number", format!("\"unit_cost_output\":0.{}1", "0".repeat(digits))),
        ("a number that is none", "\"output_tokens\":-0".to_owned()),
        ("a number that is none", "\"context\":{\"a\":NaN}".to_owned()),
        ("a number that is none", "\"context\":{\"a\":01}".to_owned()),
        ("another type", "\"success\":\"true\"".to_owned()),
        ("another type", "\"context\":[]".to_owned()),
        ("another type", "\"input_tokens\":1.0".to_owned()),
        ("another type", "\"model\":{}".to_owned()),
        ("another type", "\"parent_event_id\":7".to_owned()),
        ("a member twice", "\"event_type\":\"x\"".to_owned()),
        ("a member twice", "\"context\":{\"a\":1,\"\\u0061\":2}".to_owned()),
        ("a member twice", "\"salt\":\"a\",\"s\\u0061lt\":\"a\"".to_owned()),
        ("NUL", "\"salt\":\"\\u0000\"".to_owned()),
        ("a lone surrogate", "\"salt\":\"\\ud800\"".to_owned()),
        ("a lone surrogate", "\"context\":{\"\\udfff\":1}".to_owned()),
        ("an unknown member", "\"workspace\":\"acme\"".to_owned()),
        ("too long", format!("\"source\":\"{}\"", "x".repeat(long))),
        ("too long", format!("\"context\":{{\"a\":\"{}\"}}", "x".repeat(65_536))),
        ("a bad id", "\"trace_id\":\"4BF92F3577B34DA6A3CE929D0E0E4736\"".to_owned()),
    ];
    one(random, &cases)
}

/// A payload that is signed as it is sent, and breaks a rule.
pub fn bad_payload(random: &mut Random, workspace: &str) -> (&'static str, Vec<u8>) {
    let id = format!("{:08x}-0000-4000-8000-{:012x}", random.below(1 << 32), random.below(1 << 48));
    let at = one(random, &["2026-11-23T16:00:00Z", "2026-11-23T16:00:00.5+01:00"]);
    let start =
        format!("{{\"event_id\":\"{id}\",\"event_type\":\"x\",\"workspace_id\":\"{workspace}\"");
    let (what, text) = match random.below(8) {
        0 => {
            let bad = one(random, &["1969-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "now", ""]);
            ("a bad time", format!("{start},\"occurred_at\":\"{bad}\"}}"))
        }
        1 => ("a member missing", format!("{start}}}")),
        _ => {
            let (what, members) = bad_members(random);
            (what, format!("{start},\"occurred_at\":\"{at}\",{members}}}"))
        }
    };
    (what, text.into_bytes())
}

/// Bodies that are no submission, whoever signs.
fn bad_body(random: &mut Random) -> (&'static str, &'static str, Vec<u8>) {
    let (json, lines) = ("application/json", "application/x-ndjson");
    let many = one(random, &[200_usize, 100_000]);
    let cases: [(&str, &str, Vec<u8>); 17] = [
        ("no events", json, b"{\"events\":[]}".to_vec()),
        ("no events", lines, b"".to_vec()),
        ("no events", lines, b"\n".to_vec()),
        ("another envelope", json, b"[]".to_vec()),
        ("another envelope", json, b"{\"events\":5}".to_vec()),
        ("another envelope", json, b"{\"events\":[{}],\"more\":1}".to_vec()),
        ("another envelope", json, b"{\"Events\":[{}]}".to_vec()),
        ("another envelope", json, b"{\"events\":[{}],\"events\":[{}]}".to_vec()),
        ("another envelope", json, b"\"events\"".to_vec()),
        ("another envelope", json, vec![b'['; many]),
        ("another envelope", json, [&b"{\"events\":"[..], &vec![b'['; many]].concat()),
        ("a long name", json, format!("{{\"{}\":[]}}", "n".repeat(many)).into_bytes()),
        ("a long text", json, format!("{{\"events\":\"{}\"}}", "n".repeat(many)).into_bytes()),
        ("a long text", json, format!("\"{}\"", "n".repeat(many)).into_bytes()),
        ("a huge number", json, [&b"{\"events\":"[..], &vec![b'9'; many], b"}"].concat()),
        ("many lines", lines, vec![b'\n'; many]),
        ("many events", json, format!("{{\"events\":[{}0]}}", "0,".repeat(many)).into_bytes()),
    ];
    one(random, &cases)
}

/// Values that a header may not have.
fn bad_value(random: &mut Random) -> Vec<u8> {
    let long = one(random, &[300_usize, 4_000]);
    let values: [Vec<u8>; 10] = [
        Vec::new(),
        b"ed25519:".to_vec(),
        b"-1".to_vec(),
        b"9223372036854775808".to_vec(),
        b"0x1".to_vec(),
        b"\xff\xfe".to_vec(),
        "ключ".as_bytes().to_vec(),
        vec![b'A'; long],
        b"AAAA==".to_vec(),
        b"ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_vec(),
    ];
    one(random, &values)
}

const SIGNED: [&str; 3] = ["Tally-Public-Key", "Tally-Signature", "Tally-Counter"];

/// Something wrong with a header.
fn bad_header(random: &mut Random, request: &mut Request) -> &'static str {
    match random.below(7) {
        0 => {
            request.without(one(random, &["Tally-Public-Key", "Tally-Signature", "Content-Type"]));
            "a header missing"
        }
        1 => {
            let name = one(random, &SIGNED);
            let (_, value) = request.headers.iter().find(|(header, _)| header == name).unwrap();
            let value = value.clone();
            request.with(name, value);
            "a header twice"
        }
        2 => {
            request.set(one(random, &SIGNED), bad_value(random));
            "a header of another form"
        }
        3 => {
            let name = one(random, &["Tally-Public-Key", "Tally-Signature"]);
            let (_, value) = request.headers.iter_mut().find(|(header, _)| header == name).unwrap();
            let at = random.index(value.len());
            value[at] = if value[at] == b'A' { b'B' } else { b'A' };
            "a letter of a header"
        }
        4 => {
            let counter = random.below(u64::MAX / 2).to_string();
            request.set("Tally-Counter", counter);
            "another counter"
        }
        5 => {
            let types = [
                "text/plain",
                "application",
                "",
                "application/cloudevents+json",
                "multipart/form-data",
            ];
            request.set("Content-Type", one(random, &types));
            "another content type"
        }
        _ => {
            let codings = ["gzip", "zstd", "br", "deflate", "gzip, gzip", "nonsense", "x"];
            request.set("Content-Encoding", one(random, &codings));
            "a coding that the body does not have"
        }
    }
}

/// Bytes that are no HTTP, or hardly. The payload is damaged too: some of it is harmless.
fn bad_http(random: &mut Random, request: &mut Request) -> (&'static str, Vec<u8>) {
    let length = request.body.len();
    match random.below(14) {
        0 => request.set("Content-Length", (length + 1 + random.index(1_000)).to_string()),
        1 => request.set("Content-Length", random.index(length).to_string()),
        2 => request.set("Content-Length", one(random, &["-1", "1e3", "0x10", "", "1 2"])),
        3 => request.set("Content-Length", "99999999999999999999"),
        4 => {
            request.set("Content-Length", length.to_string());
            request.with("Content-Length", (length + 1).to_string());
        }
        5 => {
            request.set("Content-Length", length.to_string());
            request.with("Transfer-Encoding", "chunked");
        }
        6 => request.set("Transfer-Encoding", one(random, &["gzip", "identity", "chunked, gzip"])),
        7 => {
            request.set("Transfer-Encoding", "chunked");
            let sizes = ["fffffffffffffffff\r\n", "-1\r\n", "5", "zz\r\n", "5\r\nabc"];
            request.body = one(random, &sizes).as_bytes().to_vec();
        }
        8 => request.with("X-Long", vec![b'x'; one(random, &[20_000, 200_000])]),
        9 => (0..200).for_each(|n| request.with(&format!("X-{n}"), "x")),
        10 => request.with("X-Nul", &b"a\0b"[..]),
        11 => request.with("X Space", "x"),
        12 => request.path = format!("{} /x", request.path),
        _ => {
            let noise: [u8; 64] = random.bytes();
            let hello = [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01][..], &noise].concat();
            return ("no HTTP at all", one(random, &[noise.to_vec(), hello, b"\r\n\r\n".to_vec()]));
        }
    }
    ("games with lengths and headers", request.bytes())
}

/// Another place or method.
fn bad_place(random: &mut Random, request: &mut Request) -> &'static str {
    if random.once_in(3) {
        request.method = one(random, &["PUT", "PATCH", "DELETE", "BREW"]).to_owned();
        return "another method";
    }
    let names = ["%00", "..", "%2e%2e", "CROWD-0", "a%20b", "%ff", "-", "%2F", "'", "crowd-0%00"];
    let name = one(random, &names);
    request.path = match random.below(4) {
        0 => format!("/v1/workspaces/{name}/events"),
        1 => format!("/v1/workspaces/{}/events", "x".repeat(64)),
        2 => format!("//v1/workspaces/{name}/keys"),
        _ => format!("{}/{name}", request.path),
    };
    "another place"
}

/// A request that would be taken.
pub struct Good {
    /// Who signs it.
    pub worker: Worker,
    pub submission: Submission,
    pub path: String,
    /// Headers that the route needs beside those of a submission.
    pub more: Vec<(String, String)>,
}

/// A request that must be refused, made from one that would be taken.
pub fn case(random: &mut Random, good: &mut Good) -> Case {
    let Good { worker, submission, path, more } = good;
    let route = submission.route;
    let mut submission = submission.clone();
    let mut is_http = true;
    let (what, bytes) = match random.below(12) {
        0..=2 => {
            let at = random.index(submission.payloads.len());
            let what = damage(random, &mut submission.payloads[at]);
            (what, request(&submission, path, more).bytes())
        }
        3..=5 => {
            let (what, bad) = bad_payload(random, worker.workspace.as_str());
            let at = random.index(submission.payloads.len());
            submission.payloads[at] = bad;
            let signed = worker.sign(submission.payloads);
            let signed = Submission { route, ..signed };
            (what, request(&signed, path, more).bytes())
        }
        6 => {
            let (what, kind, body) = bad_body(random);
            let mut request = request(&submission, path, more);
            request.set("Content-Type", kind);
            request.body = body;
            (what, request.bytes())
        }
        7 | 8 => {
            let mut request = request(&submission, path, more);
            let what = bad_header(random, &mut request);
            (what, request.bytes())
        }
        9 => {
            let mut request = request(&submission, path, more);
            // All but the last line end: without it the lines are the same.
            request.body.truncate(random.index(request.body.len() - 1));
            ("body cut off", request.bytes())
        }
        10 => {
            damage(random, &mut submission.payloads[0]);
            is_http = false;
            bad_http(random, &mut request(&submission, path, more))
        }
        _ => {
            let mut request = request(&submission, path, more);
            let what = bad_place(random, &mut request);
            (what, request.bytes())
        }
    };
    Case { what, bytes, is_http }
}

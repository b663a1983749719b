//! FAULTS row 52: an archive of many gigabytes, verified by a process that gets 256 MiB.
//!
//! Made chunk by chunk, so that making it takes no more memory than one; of payloads that hardly compress, and chunks
//! that are full. The limit is a cgroup's, which counts what is resident; where none can be made, one of the data segment.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use checks::bin_path::tally;
use checks::corpus::trust_file;
use checks::forge::{Chunk, Content, Leaf, OwnedRow, Random};
use checks::submission::Submission;
use checks::worker::Worker;
use ledger::chunk::ObjectDigest;
use ledger::columns::{Derived, Row};
use ledger::entry::genesis_link;
use ledger::hash::Digest;
use ledger::hour::{Heads, HourNote};
use ledger::key::SigningKey;
use ledger::names::{Origin, Workspace};
use ledger::note::NoteSigner;
use ledger::payload::{self, Rules};
use ledger::time::{Hour, Micros};
use ledger::verify::Trust;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the verifier gets.
const LIMIT: u64 = 256 << 20;
/// Payload of a full chunk, as the archiver fills it.
const CHUNK_BYTES: usize = 64 << 20;
/// Characters of random text in an event.
const TEXT: usize = 10_000;
const CHUNKS_AN_HOUR: u64 = 8;

fn long() -> bool {
    std::env::var_os("CHECKS_LONG").is_some_and(|value| value == "1")
}

/// Events whose text hardly compresses.
fn payloads(worker: &mut Worker, random: &mut Random, at: Micros) -> Vec<Vec<u8>> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    let payload = |_| {
        let mut event: Value = serde_json::from_slice(&worker.agent.event(at)).unwrap();
        let mut text = String::with_capacity(TEXT);
        while text.len() < TEXT {
            let bits = random.bits();
            let letter = |at: u32| letters[usize::try_from((bits >> (6 * at)) & 63).unwrap()];
            text.extend((0..10).map(|at| char::from(letter(at))));
        }
        event["context"] = json!({ "text": text });
        event.to_string().into_bytes()
    };
    (0..100).map(payload).collect()
}

fn rows(submission: &Submission, seq: &mut u64, at: Micros) -> Vec<OwnedRow> {
    let count = u16::try_from(submission.payloads.len()).unwrap();
    let row = |((index, payload), digest): ((u16, &Vec<u8>), Digest)| {
        *seq += 1;
        let event = payload::scan(payload, &submission.workspace, &Rules::default()).unwrap();
        OwnedRow::of(&Row {
            seq: *seq,
            recorded_at: at.get(),
            event_id: *event.event_id.as_bytes(),
            payload: Some(payload),
            payload_digest: *digest.as_bytes(),
            link: [0; 32],
            submission_hash: *submission.hash.as_bytes(),
            submission_index: index,
            submission_count: count,
            counter: submission.counter.get(),
            public_key: *submission.public_key.as_bytes(),
            signature: *submission.signature.as_bytes(),
            derived: Derived::of(&event),
        })
    };
    (0..).zip(&submission.payloads).zip(submission.digests()).map(row).collect()
}

/// Writes an archive of so many bytes, with its trust file; gives its events and the key of its last object.
fn make(directory: &Path, bytes: u64) -> (u64, PathBuf) {
    let origin = Origin::new("ledger.example.com/large").unwrap();
    let workspace = Workspace::new("acme").unwrap();
    let seal = NoteSigner::seal(&origin, SigningKey::from_seed(&[7; 32]));
    let mut worker = Worker::new(&origin, &workspace, "founder", 3);
    let mut random = Random::new(5);
    let mut hour = Hour::parse("2026-11-23T00:00:00Z").unwrap();
    let mut content = Content { origin: origin.clone(), leaves: Vec::new() };
    let (mut link, mut seq, mut written) = (genesis_link(&origin, &workspace), 0, 0);
    let mut heads = Heads::new();
    let archive = directory.join("archive");
    let mut last = PathBuf::new();
    while written < bytes {
        for part in 0..CHUNKS_AN_HOUR {
            let at = hour.start();
            let mut chunk = Chunk::new(&origin, &workspace, hour, Vec::new());
            if seq == 0 {
                chunk.rows.extend(rows(&worker.open_workspace(at), &mut seq, at));
            }
            let mut filled = 0;
            while filled < CHUNK_BYTES {
                let payloads = payloads(&mut worker, &mut random, at);
                filled += payloads.iter().map(Vec::len).sum::<usize>();
                chunk.rows.extend(rows(&worker.sign(payloads), &mut seq, at));
            }
            chunk.settle(link, part);
            let object = chunk.encode();
            chunk.manifest.digest = ObjectDigest::of(&object);
            last = archive.join(&chunk.manifest.object);
            fs::create_dir_all(last.parent().unwrap()).unwrap();
            fs::write(&last, &object).unwrap();
            written += u64::try_from(object.len()).unwrap();
            link = chunk.manifest.last_link;
            heads.set(workspace.clone(), chunk.manifest.last_seq, link);
            chunk.rows = Vec::new();
            content.leaves.push(Leaf::Chunk(Box::new(chunk)));
        }
        content.leaves.push(Leaf::Hour(HourNote {
            origin: origin.clone(),
            hour,
            chunks: CHUNKS_AN_HOUR,
            workspaces: 1,
            heads_root: heads.root(),
            prev_hour: Digest::ZERO,
        }));
        hour = hour.next().unwrap();
    }
    content.rechain(&seal);
    let mut notes = content.seal(&seal);
    notes.0.retain(|key, _| !key.starts_with("events/"));
    notes.store(&archive).unwrap();
    let trust = Trust {
        origin,
        seal_keys: vec![seal.verifier().clone()],
        revoked: Vec::new(),
        seen: Vec::new(),
        receipt_keys: Vec::new(),
        workspaces: [(workspace, vec![worker.key.public()])].into(),
    };
    fs::write(directory.join("trust.toml"), trust_file(&trust)).unwrap();
    (seq, last)
}

/// A cgroup with that much memory, page cache and all, removed with this value.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Self> {
        let group = PathBuf::from(format!("/sys/fs/cgroup/memory/tally-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let group = Self(group);
        fs::write(group.0.join("memory.limit_in_bytes"), LIMIT.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Nothing runs in it any more.
        let _ = fs::remove_dir(&self.0);
    }
}

fn verify(directory: &Path, cgroup: Option<&Cgroup>) -> (Option<i32>, String) {
    let enter = match cgroup {
        Some(Cgroup(group)) => format!("echo $$ > {}/cgroup.procs", group.display()),
        None => format!("ulimit -d {}", LIMIT >> 10),
    };
    let output = Command::new("bash")
        .current_dir(directory)
        .args(["-c", &format!("{enter} && exec \"$@\""), "bash"])
        .arg(tally("tally-verify"))
        .args(["verify", "--any-age", "--archive", "archive", "--trust", "trust.toml"])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn row_52_gigabytes_are_verified_in_a_quarter_of_one() {
    let directory = TempDir::new().unwrap();
    let (bytes, name) = if long() { (10 << 30, "10 GiB") } else { (300 << 20, "300 MiB") };
    let (events, last) = make(directory.path(), bytes);
    let cgroup = Cgroup::new();
    let began = Instant::now();
    let (code, text) = verify(directory.path(), cgroup.as_ref());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("checked     {events} events")), "{text}");
    let kind = if cgroup.is_some() { "a cgroup" } else { "ulimit" };
    let seconds = began.elapsed().as_secs_f64();
    writeln!(
        std::io::stdout(),
        "2.4 row 52: {name} of objects, {events} events, proven in 256 MiB ({kind}) in {seconds:.0} s"
    )
    .unwrap();
    // The verdict is the same, too, where there is something to be found, at the very end.
    let mut object = fs::read(&last).unwrap();
    let middle = object.len() / 2;
    object[middle] ^= 1;
    fs::write(&last, object).unwrap();
    let (code, text) = verify(directory.path(), cgroup.as_ref());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("T051"), "{text}");
}

//! What comes out in each format says the same, to readers that are not ours; and a part of it is never whole.

use std::io::{self, Read as _, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use checks::forge::{Archive, Content, Depth, Honest, alter, honest};
use checks::tools::python;
use ledger::verify::{Policy, Verdict};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use verifier::audit::Progress;
use verifier::replay::{Format, ReplayError, Selection, What, WriteError, Writer, replay};

use super::command::{command, write_trust};
use super::grown;

const FORMATS: [(&str, Format); 3] =
    [("ndjson", Format::Ndjson), ("arrow", Format::Arrow), ("parquet", Format::Parquet)];

/// An archive in a directory, with a trust file beside it.
fn placed(archive: &Archive, honest: &Honest) -> TempDir {
    let directory = TempDir::new().unwrap();
    write_trust(directory.path(), &honest.trust);
    archive.store(&directory.path().join("archive")).unwrap();
    directory
}

fn run(place: &Path, more: &[&str]) -> Output {
    command(place, "replay", &[&["--any-age"], more].concat()).output().unwrap()
}

fn code(output: &Output) -> (i32, String) {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    (output.status.code().unwrap(), errors)
}

fn names(place: &Path, start: &str) -> Vec<String> {
    let names = std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with(start)).collect()
}

#[tokio::test]
async fn other_readers_see_in_each_format_what_the_lines_say() {
    let (honest, archives) = grown(6);
    let last = archives.last().unwrap();
    let directory = placed(last, &honest);
    let place = directory.path();
    let rows: Vec<_> = honest.content.chunks().flat_map(|chunk| chunk.rows.clone()).collect();
    let since = ledger::time::Micros::new(rows[rows.len() / 2].row.recorded_at).unwrap();
    let since = since.to_string();
    let workspace = honest.content.chunks().next().unwrap().manifest.workspace.to_string();
    let selections: [&[&str]; 4] = [
        &[],
        &["--workspace", &workspace],
        &["--type", "llm_call", "--type", "error"],
        &["--since", &since],
    ];
    for (at, selection) in selections.iter().enumerate() {
        for what in ["entries", "payloads"] {
            for (name, _) in FORMATS {
                let out = format!("{at}-{what}.{name}");
                let more = [&["--what", what, "--format", name, "--out", &out], *selection];
                let (code, errors) = code(&run(place, &more.concat()));
                assert_eq!(code, 0, "{errors}");
            }
        }
        // To standard output a stream is the same, byte for byte.
        let output = run(place, &[&["--format", "arrow"], *selection].concat());
        let file = std::fs::read(place.join(format!("{at}-entries.arrow"))).unwrap();
        assert!(output.stdout == file && !file.is_empty());
    }
    let (code, told) = python("replayed.py", &[place]).await.unwrap();
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told["differences"], json!([]));
    assert_eq!(told["compared"].as_array().unwrap().len(), 8);
    assert_eq!(told["compared"][0], json!(["0-entries", rows.len()]));
    assert!(told["leaves"].as_u64() == Some(rows.len() as u64), "{told}");
}

#[test]
fn each_format_goes_on_from_the_kept_place_in_a_file_of_its_own() {
    for (seed, (format, _)) in (7..).zip(FORMATS) {
        let (honest, archives) = grown(seed);
        let directory = placed(&archives[0], &honest);
        let place = directory.path();
        let mut count = 0;
        for (at, archive) in archives.iter().enumerate() {
            archive.store(&place.join("archive")).unwrap();
            let out = format!("part-{at}");
            let more = ["--format", format, "--out", &out, "--position", "done"];
            let (code, errors) = code(&run(place, &more));
            assert_eq!(code, 0, "{errors}");
            let line = errors.lines().last().unwrap();
            let number = line.split(' ').nth(2).unwrap();
            count += number.parse::<usize>().unwrap();
        }
        let rows = honest.content.chunks().map(|chunk| chunk.rows.len()).sum::<usize>();
        assert_eq!(count, rows);
        assert_eq!(names(place, "part").len(), archives.len());
    }
}

#[test]
fn nothing_comes_out_in_any_format_where_it_is_not_proven() {
    let (honest, _) = grown(2);
    let mut content: Content = honest.content.clone();
    alter(content.chunks_mut().last().unwrap().rows.last_mut().unwrap(), "session_id");
    content.settle(Depth::Digests, &honest.seal);
    let directory = placed(&content.seal(&honest.seal), &honest);
    let place = directory.path();
    for (format, _) in FORMATS {
        let output = run(place, &["--format", format, "--out", "bad", "--position", "bad-place"]);
        assert_eq!(code(&output).0, 1);
        assert!(output.stdout.is_empty() && names(place, "bad").is_empty());
        if format != "parquet" {
            let output = run(place, &["--format", format]);
            assert!(code(&output).0 == 1 && output.stdout.is_empty());
        }
    }
}

#[test]
fn what_cannot_be_written_is_said_before_anything_comes_out() {
    let (honest, archives) = grown(2);
    let directory = placed(archives.last().unwrap(), &honest);
    let place = directory.path();
    std::fs::create_dir(place.join("taken")).unwrap();
    for (more, said) in [
        (&["--format", "parquet"][..], "--out FILE"),
        (&["--out", "same", "--position", "same"], "each needs its own"),
        (&["--out", "taken"], "cannot write to taken"),
        (&["--out", "/dev/null"], "it is no plain file"),
        (&["--position", "no/such/place"], "cannot write to no/such/place"),
        (&["--position", "trust.toml/place"], "trust.toml/place"),
        (&["--position", "taken"], "taken"),
    ] {
        let output = run(place, more);
        let (code, errors) = code(&output);
        assert!(code == 2 && errors.contains(said), "{more:?}: {code} {errors}");
        assert!(output.stdout.is_empty(), "{more:?}");
    }
    let mut left = names(place, "");
    left.sort_unstable();
    assert_eq!(left, ["archive", "taken", "trust.toml"]);
}

/// An archive whose entries fill the buffers between two programs several times over.
fn long() -> (Honest, Archive) {
    let rows =
        |honest: &Honest| honest.content.chunks().map(|chunk| chunk.rows.len()).sum::<usize>();
    // Few are so long: the search begins where one is.
    let honest = (1_276..).map(honest).find(|honest| rows(honest) > 600).unwrap();
    let archive = honest.archive();
    (honest, archive)
}

/// Says that it is enough, once it was asked so often.
struct Enough(AtomicUsize);

impl Progress for Enough {
    fn chunk(&self, _: u64, _: u64, _: usize) {}

    fn go_on(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) > 1
    }
}

/// What has come out where the replay ends after so many questions; and whether it was whole.
fn cut(archive: &Archive, honest: &Honest, format: Format, asked: usize) -> (Vec<u8>, bool) {
    let (trust, policy, selection) =
        (honest.trust.clone(), Policy::default(), Selection::default());
    let enough = Enough(AtomicUsize::new(usize::MAX));
    let mut replay = replay(archive, trust, policy, None, &selection, &enough).unwrap();
    assert_eq!(replay.report().verdict, Verdict::Proven);
    enough.0.store(asked, Ordering::Relaxed);
    let mut out = Vec::new();
    let origin = replay.report().origin.clone();
    let mut writer = Writer::new(&mut out, format, What::Entries, &origin).unwrap();
    for entries in &mut replay {
        match entries {
            Ok(entries) => writer.write(&entries).unwrap(),
            Err(ReplayError::Interrupted) => {
                drop(writer);
                assert!(replay.next().is_none(), "it is at its end");
                return (out, false);
            }
            Err(error) => panic!("{error}"),
        }
    }
    writer.finish().unwrap();
    (out, true)
}

fn is_whole(format: Format, bytes: Vec<u8>) -> bool {
    match format {
        Format::Ndjson => {
            let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.all(|line| serde_json::from_slice::<Value>(line).is_ok()) && !bytes.is_empty()
        }
        Format::Arrow => {
            let reader = StreamReader::try_new(io::Cursor::new(bytes), None);
            reader.is_ok_and(|mut batches| batches.all(|batch| batch.is_ok()))
        }
        Format::Parquet => {
            let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes));
            reader.is_ok()
        }
    }
}

/// A reader that finds a stream's end between two messages takes it for whole: so none of ours ends there.
#[tokio::test]
async fn what_was_interrupted_is_not_whole_to_any_reader() {
    let (honest, archive) = long();
    let directory = TempDir::new().unwrap();
    for (name, format) in FORMATS {
        let mut some = 0;
        for asked in 1.. {
            let (bytes, whole) = cut(&archive, &honest, format, asked);
            std::fs::write(directory.path().join(format!("{asked}-{whole}.{name}")), &bytes)
                .unwrap();
            assert_eq!(is_whole(format, bytes.clone()), whole, "{name} {asked} {}", bytes.len());
            some += usize::from(!whole && !bytes.is_empty());
            if whole {
                break;
            }
        }
        assert!(some > 1 || format == Format::Parquet, "{name}: {some} came out in part");
    }
    let (code, told) = python("replayed.py", &[directory.path()]).await.unwrap();
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told["taken_for_whole"], json!([]));
    assert!(told["refused"].as_u64() > Some(4), "{told}");
}

#[test]
fn an_interruption_ends_it_while_entries_come_out() {
    let (honest, archive) = long();
    let directory = placed(&archive, &honest);
    let place = directory.path();
    for (signal, format) in [("-INT", "ndjson"), ("-TERM", "arrow")] {
        let mut child =
            command(place, "replay", &["--any-age", "--format", format, "--position", "done"]);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        // It is at it, and cannot be done before somebody takes the rest.
        let mut bytes = vec![0];
        out.read_exact(&mut bytes).unwrap();
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        out.read_to_end(&mut bytes).unwrap();
        let (code, errors) = code(&child.wait_with_output().unwrap());
        assert_eq!(code, 3, "{errors}");
        assert!(errors.contains("cut short: it was interrupted"), "{errors}");
        let format = if format == "arrow" { Format::Arrow } else { Format::Ndjson };
        assert!(bytes.len() > 1000 && !is_whole(format, bytes));
        assert!(names(place, "done").is_empty(), "the place stays where it was");
    }
}

#[test]
fn a_file_has_its_name_only_once_it_is_whole_however_it_was_ended() {
    let (honest, archive) = long();
    let directory = placed(&archive, &honest);
    let place = directory.path();
    for (format, _) in FORMATS {
        let start = Instant::now();
        assert_eq!(code(&run(place, &["--format", format, "--out", "whole"])).0, 0);
        let took = start.elapsed();
        let whole = std::fs::read(place.join("whole")).unwrap();
        let mut cut = 0;
        for at in 0..24 {
            let mut child =
                command(place, "replay", &["--any-age", "--format", format, "--out", "out"]);
            let mut child = child.stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(took * at / 20);
            child.kill().unwrap();
            let killed = child.wait().unwrap().code().is_none();
            match std::fs::read(place.join("out")) {
                Ok(bytes) => assert!(bytes == whole, "{format}"),
                Err(_) => cut += usize::from(killed),
            }
            let _ = std::fs::remove_file(place.join("out"));
        }
        assert!(cut > 0, "{format}: none of them was killed in time");
    }
}

/// Takes so many bytes, and no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_in_every_format() {
    let (honest, archive) = long();
    for (name, format) in FORMATS {
        let whole = cut(&archive, &honest, format, usize::MAX).0.len();
        for room in [0, whole / 2, whole - 1] {
            let (trust, selection) = (honest.trust.clone(), Selection::default());
            let replay = replay(&archive, trust, Policy::default(), None, &selection, &()).unwrap();
            let origin = replay.report().origin.clone();
            let written = (|| {
                let mut writer = Writer::new(Full(room), format, What::Entries, &origin)?;
                for entries in replay {
                    writer.write(&entries.unwrap())?;
                }
                writer.finish()
            })();
            assert!(written.is_err(), "{name} {room}");
            if format != Format::Parquet {
                assert!(matches!(written, Err(WriteError::Io(_))), "{name} {room}");
            }
        }
    }
}

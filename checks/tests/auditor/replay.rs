//! Entries out of a verified archive: all of them, in order, from any place on; none where it is not proven.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use checks::forge::{Archive, Content, Honest, alter};
use ledger::names::{Seq, Workspace};
use ledger::time::Micros;
use ledger::verify::{Policy, Report, Verdict};
use serde_json::Value;
use tempfile::TempDir;
use verifier::replay::{Position, ReplayError, Selection, replay};
use verifier::store::{ArchiveSource, SourceError};

use super::command::{command, write_trust};
use super::grown;

/// What a replay came to.
struct Replayed {
    report: Report,
    entries: u64,
    position: Position,
}

type Seen = Vec<(Workspace, u64, Option<Vec<u8>>)>;

/// What comes out.
fn out(archive: &Archive, honest: &Honest, selection: &Selection) -> (Replayed, Seen) {
    let trust = honest.trust.clone();
    let mut replay = replay(archive, trust, Policy::default(), None, selection, &()).unwrap();
    let mut seen = Vec::new();
    for entries in &mut replay {
        let entries = entries.unwrap();
        let rows = entries.rows().map(|row| (row.seq, row.payload.map(<[u8]>::to_vec)));
        seen.extend(rows.map(|(seq, payload)| (entries.workspace().clone(), seq, payload)));
    }
    let (position, entries) = (replay.position().clone(), replay.entries());
    (Replayed { report: replay.report().clone(), entries, position }, seen)
}

/// What was put in, in the order of the log.
fn rows(content: &Content) -> Seen {
    let rows = content.chunks().flat_map(|chunk| {
        let workspace = &chunk.manifest.workspace;
        chunk.rows.iter().map(move |row| (workspace.clone(), row.row.seq, row.payload.clone()))
    });
    rows.collect()
}

#[test]
fn every_row_comes_out_once_in_order_from_any_place_on() {
    for seed in 0..4 {
        let (honest, archives) = grown(seed);
        let archive = archives.last().unwrap();
        let all = rows(&honest.content);
        let (whole, seen) = out(archive, &honest, &Selection::default());
        assert_eq!((whole.report.verdict, &seen), (Verdict::Proven, &all));
        assert_eq!(whole.entries, all.len() as u64);
        // Up to some moment, and then from where that ended.
        let mut times: Vec<_> = honest
            .content
            .chunks()
            .flat_map(|chunk| chunk.rows.iter().map(|row| row.row.recorded_at))
            .collect();
        times.sort_unstable();
        times.dedup();
        for at in times.into_iter().step_by(3) {
            let until = Some(Micros::new(at).unwrap());
            let (first, mut seen) =
                out(archive, &honest, &Selection { until, ..Selection::default() });
            let text = first.position.to_string();
            let after: Position = text.parse().unwrap();
            assert_eq!(after, first.position);
            let (second, more) =
                out(archive, &honest, &Selection { after, ..Selection::default() });
            assert_eq!(second.position, whole.position, "at {at}");
            assert_eq!(first.entries + second.entries, whole.entries);
            seen.extend(more);
            // Of each workspace in the order of its chain; the log puts others between.
            let by_workspace = |seen: &Seen| {
                let mut of: BTreeMap<Workspace, Seen> = BTreeMap::new();
                for row in seen {
                    of.entry(row.0.clone()).or_default().push(row.clone());
                }
                of
            };
            assert_eq!(by_workspace(&seen), by_workspace(&all), "at {at}");
        }
    }
    for wrong in ["acme", "acme:0", "acme:01", "acme:+1", "acme:1\nacme:2", "../x:1", ":1"] {
        assert!(wrong.parse::<Position>().is_err(), "{wrong}");
    }
}

#[test]
fn types_and_times_are_picked_out() {
    let (honest, archives) = grown(1);
    let archive = archives.last().unwrap();
    let all: Vec<_> = honest.content.chunks().flat_map(|chunk| chunk.rows.clone()).collect();
    let since = Micros::new(all[all.len() / 2].row.recorded_at).unwrap();
    let event_types = vec!["llm_call".to_owned(), "error".to_owned()];
    let selection = Selection { since: Some(since), event_types, ..Selection::default() };
    let picked = |row: &&checks::forge::OwnedRow| {
        let kind = &*row.row.derived.event_type;
        row.row.recorded_at >= since.get() && ["llm_call", "error"].contains(&kind)
    };
    let expected = all.iter().filter(picked).count();
    let (replayed, seen) = out(archive, &honest, &selection);
    assert_eq!((replayed.entries, seen.len()), (expected as u64, expected));
    assert!(expected > 0 && expected < all.len());
}

#[test]
fn nothing_comes_out_of_an_archive_that_is_not_proven() {
    let (honest, archives) = grown(2);
    let whole = archives.last().unwrap();
    let mut content = honest.content.clone();
    let chunk = content.chunks_mut().last().unwrap();
    alter(chunk.rows.last_mut().unwrap(), "session_id");
    content.settle(checks::forge::Depth::Digests, &honest.seal);
    let (replayed, seen) = out(&content.seal(&honest.seal), &honest, &Selection::default());
    assert_eq!((replayed.report.verdict, seen), (Verdict::Tampered, Vec::new()));
    assert_eq!(replayed.position, Position::default());
    let mut lost = whole.clone();
    lost.0.retain(|key, _| !key.ends_with(".parquet"));
    let (replayed, seen) = out(&lost, &honest, &Selection::default());
    assert_eq!((replayed.report.verdict, seen), (Verdict::Tampered, Vec::new()));
}

/// Gives one object's true bytes once, and others from then on.
struct Fickle<'a> {
    archive: &'a Archive,
    key: &'a str,
    given: AtomicUsize,
}

impl ArchiveSource for Fickle<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let mut bytes = self.archive.get(key)?;
        if key == self.key && self.given.fetch_add(1, Ordering::Relaxed) > 0 {
            bytes.as_mut().unwrap()[40] ^= 1;
        }
        Ok(bytes)
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        self.archive.list()
    }
}

#[test]
fn an_object_that_is_another_one_the_second_time_ends_it() {
    let (honest, archives) = grown(3);
    let archive = archives.last().unwrap();
    let chunks: Vec<_> = honest.content.chunks().collect();
    for (at, chunk) in chunks.iter().enumerate() {
        let key = &chunk.manifest.object;
        let source = Fickle { archive, key, given: AtomicUsize::new(0) };
        let (trust, selection) = (honest.trust.clone(), Selection::default());
        let mut replay = replay(&source, trust, Policy::default(), None, &selection, &()).unwrap();
        let mut taken = 0;
        let ended = loop {
            match replay.next() {
                Some(Ok(entries)) => taken += entries.rows().count(),
                ended => break ended,
            }
        };
        match ended {
            Some(Err(ReplayError::Changed(finding))) => {
                assert_eq!(finding.place.object.as_ref(), Some(key));
            }
            _ => panic!("it went on"),
        }
        assert!(replay.next().is_none(), "it is at its end");
        let before: usize = chunks.iter().take(at).map(|chunk| chunk.rows.len()).sum();
        assert_eq!(taken, before, "those of the chunks before, and none of it");
    }
}

#[test]
fn the_command_writes_lines_and_goes_on_from_its_place() {
    let (honest, archives) = grown(4);
    let directory = TempDir::new().unwrap();
    let place = directory.path();
    write_trust(place, &honest.trust);
    let run = |more: &[&str]| {
        let output = command(place, "replay", &[&["--any-age"], more].concat()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    // Hour by hour, as a job would.
    let mut lines = Vec::new();
    for archive in &archives {
        archive.store(&place.join("archive")).unwrap();
        let (code, text, error) = run(&["--position", "done", "--resume", "state"]);
        assert_eq!(code, 0, "{error}");
        lines.extend(text.lines().map(ToOwned::to_owned));
    }
    let all = rows(&honest.content);
    assert_eq!(lines.len(), all.len());
    for (line, (workspace, seq, payload)) in lines.iter().zip(&all) {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["workspace"], workspace.as_str());
        assert_eq!(entry["seq"], *seq);
        let payload = String::from_utf8(payload.clone().unwrap()).unwrap();
        assert!(line.ends_with(&format!(r#""payload":{payload}}}"#)), "{line}");
        assert_eq!(entry["event_id"], entry["payload"]["event_id"]);
    }
    assert_eq!(run(&["--position", "done"]).1, "", "all is done");
    let done: Position = std::fs::read_to_string(place.join("done")).unwrap().parse().unwrap();
    assert_eq!(done.0.values().map(|seq: &Seq| seq.get()).sum::<u64>(), all.len() as u64);

    // A place that this archive does not have: of another ledger, perhaps.
    for place_of_another in ["nowhere:5\n".to_owned(), format!("{}:9999\n", all[0].0)] {
        std::fs::write(place.join("other"), &place_of_another).unwrap();
        let (code, text, error) = run(&["--position", "other"]);
        assert!(code == 2 && text.is_empty() && error.contains("lies behind the end"), "{error}");
        assert_eq!(std::fs::read_to_string(place.join("other")).unwrap(), place_of_another);
    }

    let (code, _, error) = run(&["--what", "payloads", "--out", "payloads.ndjson"]);
    assert_eq!(code, 0, "{error}");
    let payloads = std::fs::read(place.join("payloads.ndjson")).unwrap();
    let expected: Vec<u8> = all
        .iter()
        .flat_map(|(.., payload)| [payload.as_deref().unwrap(), b"\n"].concat())
        .collect();
    assert!(payloads == expected);

    // Whoever takes no more is told by the exit code that it was not all.
    let mut child = command(place, "replay", &["--any-age"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));

    // Nothing where it is not proven, and no file.
    let object = honest.content.chunks().last().unwrap().manifest.object.clone();
    let mut bytes = archives.last().unwrap().0[&object].clone();
    bytes.push(0);
    std::fs::write(place.join("archive").join(object), bytes).unwrap();
    let (code, text, error) = run(&["--out", "bad.ndjson"]);
    assert!(code == 1 && text.is_empty() && error.contains("T051"), "{code} {error}");
    let left = std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("bad")).collect();
    assert!(left.is_empty(), "{left:?}");
    std::fs::write(place.join("done"), "acme;7").unwrap();
    let (code, _, error) = run(&["--position", "done"]);
    assert!(code == 2 && error.contains("WORKSPACE:SEQ"), "{error}");
    assert_eq!(run(&["--out", "no/such/file"]).0, 2);
}

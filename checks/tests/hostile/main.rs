//! What a verifier does with an archive, and with an auditor's files, that are made to exhaust it: a finding
//! or exit 3 (2 where the auditor's own file is refused), no panic, and no more memory than is said here.
//!
//! By the command that auditors run, in a process that gets no more memory than that: one allocation beyond
//! ends it by a signal. Files are sparse, so that they cost no disk.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod large;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use checks::bin_path::tally;
use checks::corpus::trust_file;
use checks::forge::{Archive, Content, Depth, Honest, honest};
use ledger::layout::Artefact;
use tempfile::TempDir;

/// Bytes of memory that the verifier may ask for, in KiB: 512 MiB.
const LIMIT_KIB: u32 = 512 << 10;
/// How long each run may take, in seconds: most take none.
const SECONDS: u32 = 60;

/// An archive and a trust file on disk.
struct Desk {
    directory: TempDir,
    archive: Archive,
}

impl Desk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// One of an operator gone bad, who seals whatever he likes.
    fn with(edit: impl FnOnce(&mut Content)) -> Self {
        let directory = TempDir::new().unwrap();
        let Honest { mut content, trust, seal, .. } = honest(7);
        edit(&mut content);
        content.settle(Depth::Links, &seal);
        let archive = content.seal(&seal);
        archive.store(&directory.path().join("archive")).unwrap();
        fs::write(directory.path().join("trust.toml"), trust_file(&trust)).unwrap();
        Self { directory, archive }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The first object of a kind.
    fn key(&self, is: impl Fn(&Artefact) -> bool) -> String {
        let mut keys = self.archive.keys().filter_map(Artefact::parse);
        keys.find(is).unwrap().to_string()
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let limited = format!("ulimit -d {LIMIT_KIB}; exec timeout {SECONDS} \"$@\"");
        let mut command = Command::new("bash");
        command.current_dir(self.path()).args(["-c", &limited, "bash"]);
        let Output { status, stdout, stderr } =
            command.arg(tally("tally-verify")).args(arguments).output().unwrap();
        let text = [stdout, stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        // 124: it did not end in time. None: a signal, such as that of an allocation that failed.
        let code = status.code().unwrap_or(-1);
        assert!(!text.contains("panicked"), "{arguments:?}: {text}");
        assert!((0..=4).contains(&code), "{arguments:?} ends with {code}: {text}");
        (code, text)
    }

    fn verify(&self) -> (i32, String) {
        self.run(&["verify", "--any-age", "--archive", "archive", "--trust", "trust.toml"])
    }
}

/// A sparse file of a gigabyte.
fn gigabyte(path: &Path) {
    File::create(path).unwrap().set_len(1 << 30).unwrap();
}

#[test]
fn an_archive_that_is_in_order_is_proven_in_that_memory() {
    let (code, text) = Desk::new().verify();
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_gigabyte_in_place_of_any_object() {
    let kinds: [fn(&Artefact) -> bool; 6] = [
        |artefact| matches!(artefact, Artefact::Checkpoint),
        |artefact| matches!(artefact, Artefact::Manifest { .. }),
        |artefact| matches!(artefact, Artefact::HourNote(_)),
        |artefact| matches!(artefact, Artefact::HourHeads(_)),
        |artefact| matches!(artefact, Artefact::Tile { .. }),
        |artefact| matches!(artefact, Artefact::Bundle { .. }),
    ];
    for kind in kinds {
        let desk = Desk::new();
        let key = desk.key(kind);
        gigabyte(&desk.path().join("archive").join(&key));
        let (code, text) = desk.verify();
        assert!(matches!(code, 1 | 3), "{key}: {code}: {text}");
        assert!(text.contains(&key), "{key} is named: {text}");
    }
    // A chunk's size is known from its manifest, so another one is a finding.
    let desk = Desk::new();
    let key = desk.key(|artefact| matches!(artefact, Artefact::Events { .. }));
    gigabyte(&desk.path().join("archive").join(&key));
    let (code, text) = desk.verify();
    assert!(code == 1 && text.contains("T051") && text.contains(&key), "{code}: {text}");
}

/// Payloads that compress to nothing: a page of them in each of several chunks that are checked at a time.
#[test]
fn pages_that_are_small_until_they_are_decompressed() {
    for (mib, what) in [(120, "T063"), (129, "a page once decompressed is")] {
        let desk = Desk::with(|content| {
            for chunk in content.chunks_mut().take(3) {
                let row = chunk.rows.first_mut().unwrap();
                row.payload = Some(vec![b' '; mib << 20]);
            }
        });
        let (code, text) = desk.verify();
        assert!(code == 1 && text.contains(what), "{mib} MiB: {code}: {text}");
    }
}

/// As many as are read at a time.
#[test]
fn objects_just_small_enough_to_be_read_all_at_once() {
    let desk = Desk::new();
    let mut heads = 0;
    for artefact in desk.archive.keys().filter_map(Artefact::parse) {
        if matches!(artefact, Artefact::HourHeads(_) | Artefact::Events { .. }) {
            let path = desk.path().join("archive").join(artefact.to_string());
            File::create(path).unwrap().set_len(256 << 20).unwrap();
            heads += 1;
        }
    }
    assert!(heads > 2);
    let (code, text) = desk.verify();
    assert_eq!(code, 1, "{text}");
}

#[test]
fn a_gigabyte_in_place_of_a_file_of_the_auditors() {
    let desk = Desk::new();
    let big = desk.path().join("big");
    gigabyte(&big);
    let archive = ["--archive", "archive"];
    let trust = ["--trust", "trust.toml"];
    let with = |command: &[&'static str], parts: &[&[&'static str]]| {
        let mut all = command.to_vec();
        parts.iter().for_each(|part| all.extend_from_slice(part));
        desk.run(&all)
    };
    for (name, (code, text)) in [
        ("trust", with(&["verify"], &[&archive, &["--trust", "big"]])),
        ("checkpoint", with(&["verify", "--checkpoint", "big"], &[&archive, &trust])),
        ("trust of a check", with(&["check", "big"], &[&["--trust", "big"]])),
    ] {
        assert_eq!(code, 2, "{name}: {text}");
    }
    let (code, text) = with(&["check", "big"], &[&trust]);
    assert_eq!(code, 1, "a proof: {text}");
    fs::create_dir(desk.path().join("state")).unwrap();
    fs::rename(&big, desk.path().join("state/state.json")).unwrap();
    let (code, text) = with(&["verify", "--any-age", "--resume", "state"], &[&archive, &trust]);
    assert!(matches!(code, 2 | 3), "a state: {code}: {text}");
}

#[test]
fn what_is_no_file_stands_where_an_object_should_be() {
    let kinds = ["fifo", "directory", "link", "link to nothing", "link out of the archive"];
    for kind in kinds {
        let desk = Desk::new();
        let keys: Vec<_> = desk.archive.keys().map(str::to_owned).collect();
        for key in keys {
            let path = desk.path().join("archive").join(&key);
            let kept = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            let outside = desk.path().join("outside");
            fs::write(&outside, &kept).unwrap();
            match kind {
                "fifo" => {
                    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
                }
                "directory" => fs::create_dir(&path).unwrap(),
                "link" => std::os::unix::fs::symlink("checkpoint", &path).unwrap(),
                "link to nothing" => std::os::unix::fs::symlink("nothing", &path).unwrap(),
                // To the very bytes that should be there.
                _ => std::os::unix::fs::symlink(&outside, &path).unwrap(),
            }
            let (code, text) = desk.verify();
            assert!(matches!(code, 1 | 3), "{kind} as {key}: {code}: {text}");
            if kind == "directory" { fs::remove_dir(&path) } else { fs::remove_file(&path) }
                .unwrap();
            fs::write(&path, kept).unwrap();
        }
    }
}

#[test]
fn names_that_no_archive_has() {
    for name in [
        "log/%2e%2e/trust.toml",
        "log/a\nb",
        "events/..%2f..",
        "manifests/\u{202e}x",
        "log/a\\..\\b",
    ] {
        let desk = Desk::new();
        let path = desk.path().join("archive").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        let (code, text) = desk.verify();
        assert!(code == 1 && text.contains("T095"), "{name:?}: {code}: {text}");
        assert!(!text.contains("a\nb") && !text.contains('\u{202e}'), "{name:?} as it is: {text}");
    }
}

/// What nothing names is told, and not all of it one by one.
#[test]
fn many_objects_that_nothing_names() {
    let desk = Desk::new();
    let junk = desk.path().join("archive/events/junk");
    fs::create_dir(&junk).unwrap();
    for at in 0..20_000 {
        File::create(junk.join(at.to_string())).unwrap();
    }
    let (code, text) = desk.run(&[
        "verify",
        "--any-age",
        "--json",
        "--archive",
        "archive",
        "--trust",
        "trust.toml",
    ]);
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let unknown = findings.iter().filter(|finding| finding["id"] == "T095");
    assert_eq!(unknown.count(), 10_001);
    assert!(text.contains("and 10000 more objects"));
}

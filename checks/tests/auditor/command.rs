//! The same by the command that auditors run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use checks::bin_path::tally;
use checks::corpus::trust_file;
use ledger::verify::Trust;
use serde_json::Value;
use tempfile::TempDir;

use super::grown;

pub fn write_trust(directory: &Path, trust: &Trust) {
    fs::write(directory.join("trust.toml"), trust_file(trust)).unwrap();
}

pub fn command(directory: &Path, name: &str, more: &[&str]) -> Command {
    let mut command = Command::new(tally("tally-verify"));
    command.current_dir(directory).env_clear();
    command.args([name, "--archive", "archive", "--trust", "trust.toml"]).args(more);
    command
}

fn verify(directory: &Path, more: &[&str]) -> (i32, String, String) {
    let output = command(directory, "verify", more).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_archive_that_ends_long_ago_falls_short_unless_the_auditor_says_how_far_it_must_reach() {
    let (honest, archives) = grown(3);
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    write_trust(directory, &honest.trust);
    archives.last().unwrap().store(&directory.join("archive")).unwrap();
    let hours = honest.content.leaves.iter().rev().find_map(|leaf| match leaf {
        checks::forge::Leaf::Hour(hour) => Some(hour.hour),
        checks::forge::Leaf::Chunk(_) => None,
    });
    let last = hours.unwrap();
    let (code, text, _) = verify(directory, &[]);
    // Made-up archives lie in a fixed month.
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("T101") && text.contains("sealed through"), "{text}");
    let end = ledger::time::Micros::new(last.end()).unwrap().to_string();
    assert_eq!(verify(directory, &["--expect-through", &end]).0, 0);
    assert_eq!(verify(directory, &["--until", &last.start().to_string()]).0, 0);
    assert_eq!(verify(directory, &["--any-age"]).0, 0);
    let (code, text, _) = verify(directory, &["--any-age", "--since", &last.start().to_string()]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(", hours since ") && text.contains("\noutside     "), "{text}");

    // What contradicts itself is said before anything is verified.
    let since = ["--since", "2026-11-23T16:00:00Z"];
    for (more, what) in [
        (vec![since[0], since[1], "--until", "2026-11-23T16:00:00Z"], "--since"),
        (vec![since[0], since[1], "--resume", "state"], "--resume"),
        (vec!["--since", "yesterday"], "a time like"),
    ] {
        let (code, _, text) = verify(directory, &more);
        assert!(code == 2 && text.contains(what), "{more:?}: {text}");
    }
}

/// Where nothing is sealed in the times asked for, nothing of them is proven.
#[test]
fn times_in_which_nothing_is_sealed_fall_short() {
    let (honest, archives) = grown(3);
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    write_trust(directory, &honest.trust);
    archives.last().unwrap().store(&directory.join("archive")).unwrap();
    let (_, json, _) = verify(directory, &["--any-age", "--json"]);
    let whole: Value = serde_json::from_str(&json).unwrap();
    let hour = |which: &str| -> ledger::time::Hour {
        ledger::time::Hour::parse(whole["hours"][which].as_str().unwrap()).unwrap()
    };
    let (first, last) = (hour("first").start().to_string(), hour("last"));
    let end = ledger::time::Micros::new(last.end()).unwrap().to_string();
    let second_before_end = ledger::time::Micros::new(last.end() - 1_000_000).unwrap().to_string();
    let short = [
        vec!["--since", &end],
        vec!["--until", &first],
        vec!["--since", "2031-01-01T00:00:00Z", "--until", "2032-01-01T00:00:00Z"],
        vec!["--since", "1999-01-01T00:00:00Z", "--until", &first],
    ];
    for times in short {
        let more = [&["--any-age"][..], &times].concat();
        let (code, text, _) = verify(directory, &more);
        assert_eq!(code, 4, "{times:?}: {text}");
        assert!(text.starts_with("SHORT") && text.contains("T118"), "{times:?}: {text}");
        assert!(
            text.contains(&format!("expected a sealed hour {}", times[0].trim_start_matches('-'))),
            "{text}"
        );
        let (_, json, _) = verify(directory, &[&more[..], &["--json"]].concat());
        let report: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(report["verdict"], "short");
        assert_eq!(report["findings"][0]["id"], "T118", "{json}");
    }
    for times in [["--since", &second_before_end], ["--until", &end]] {
        let more = [&["--any-age"][..], &times].concat();
        assert_eq!(verify(directory, &more).0, 0, "{times:?}");
    }
}

#[test]
fn an_interruption_ends_with_a_report_and_the_next_run_goes_on() {
    let (honest, archives) = grown(5);
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    write_trust(directory, &honest.trust);
    archives.last().unwrap().store(&directory.join("archive")).unwrap();
    let json = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let start = Instant::now();
    let (code, whole, _) = verify(directory, &["--any-age", "--json"]);
    let took = start.elapsed();
    assert_eq!(code, 0, "{whole}");
    let mut whole = json(&whole);
    // From before it listens to after its end: some of these meet it at work.
    let mut interrupted = 0;
    for at in 0..120_u32 {
        let state = format!("state-{at}");
        let more = ["--any-age", "--json", "--resume", &state];
        let mut child = command(directory, "verify", &more);
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::min(took * at / 60, Duration::from_secs(2)));
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).output();
        kill.unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        match output.status.code() {
            // It did not listen yet.
            None => continue,
            Some(0) => {}
            Some(3) => {
                interrupted += 1;
                let report = json(&text);
                assert_eq!(report["verdict"], "unfinished");
                assert_eq!(report["findings"][0]["id"], "T112", "{text}");
            }
            Some(code) => panic!("{code}: {text}"),
        }
        let (code, text, error) = verify(directory, &more);
        assert_eq!(code, 0, "{text}{error}");
        let mut report = json(&text);
        report["resumed_from_leaf"] = Value::Null;
        whole["resumed_from_leaf"] = Value::Null;
        assert_eq!(report, whole);
        if interrupted == 2 {
            return;
        }
    }
    assert!(interrupted > 0, "none of the signals met it at work");
}

/// What is written takes nothing's place that is read, or that is somebody else's.
#[test]
fn outputs_that_would_replace_what_is_read_are_refused() {
    let (honest, archives) = grown(2);
    let directory = TempDir::new().unwrap();
    let place = directory.path();
    archives.last().unwrap().store(&place.join("archive")).unwrap();
    write_trust(place, &honest.trust);
    let trust = fs::read(place.join("trust.toml")).unwrap();
    fs::write(place.join("page.new"), "mine").unwrap();
    std::os::unix::fs::symlink("page", place.join("link")).unwrap();
    for (arguments, told) in [
        (["--html", "./trust.toml", "--any-age"], "names the trust file"),
        (["--html", "archive/log/checkpoint", "--any-age"], "lies in the archive"),
        (["--resume", "archive/events", "--any-age"], "lies in the archive"),
        (["--html=a", "--keep-checkpoint=./a", "--any-age"], "the same file"),
        (["--html", "link", "--any-age"], "no plain file"),
    ] {
        let (code, _, stderr) = verify(place, &arguments);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
    let (code, _, stderr) = verify(place, &["--html", "page", "--any-age"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(fs::read_to_string(place.join("page")).unwrap().contains("<html"));
    assert_eq!(fs::read_to_string(place.join("page.new")).unwrap(), "mine");
    assert_eq!(fs::read(place.join("trust.toml")).unwrap(), trust);
}

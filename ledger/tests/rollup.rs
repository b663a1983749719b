//! Rollup manifests and the heads of definitions: what is read prints as it was, and every line that is not as it
//! should be is refused.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use ledger::chunk::ObjectDigest;
use ledger::hash::Digest;
use ledger::layout::Artefact;
use ledger::names::{Origin, RollupName, Workspace};
use ledger::note::BodyError;
use ledger::rollup::{DEFINITION_BYTES, Definition, RollupManifest, inputs_root};
use ledger::time::Day;
use proptest::prelude::*;

fn rollup() -> RollupManifest {
    let mut manifest = RollupManifest {
        origin: Origin::new("ledger.example.com/test").unwrap(),
        name: RollupName::new("llm_daily").unwrap(),
        version: 2,
        sql_sha256: Digest::of(DEFINITION.as_bytes()),
        workspace: Workspace::new("acme").unwrap(),
        day: Day::parse("2026-11-23").unwrap(),
        revision: 1,
        engine: "datafusion 1.0".to_owned(),
        inputs: 2,
        inputs_root: inputs_root(&[Digest::of(b"one"), Digest::of(b"two")]),
        object: String::new(),
        digest: ObjectDigest::of(b"object"),
    };
    manifest.object = Artefact::Rollup(manifest.place()).to_string();
    manifest
}

const DEFINITION: &str = "\
-- tallystick/rollup-sql/v1
-- name llm_daily
-- version 2
-- before 3
-- after 1
-- key day model
SELECT day, model, count(*) AS calls FROM events GROUP BY day, model ORDER BY day, model
";

#[test]
fn a_rollup_manifest_prints_as_it_was_read() {
    let body = rollup().to_body();
    assert_eq!(RollupManifest::parse(&body), Ok(rollup()));
    assert!(
        body.starts_with("tallystick/rollup/v1\norigin ledger.example.com/test\nname llm_daily\n")
    );
    assert!(body.contains("\nperiod 2026-11-23T00:00:00Z/2026-11-24T00:00:00Z\nrevision 1\n"));
    let key = "rollups/llm_daily/workspace=acme/date=2026-11-23/v2.r1-2958d416d08aa5a4.parquet";
    assert_eq!(rollup().object, key);
    // The last day that can be written ends in a year that has five digits.
    let mut last = RollupManifest { day: Day::LAST, ..rollup() };
    last.object = Artefact::Rollup(last.place()).to_string();
    assert!(last.to_body().contains("\nperiod 9999-12-31T00:00:00Z/10000-01-01T00:00:00Z\n"));
    assert_eq!(RollupManifest::parse(&last.to_body()), Ok(last));
    // A root over the notes' digests as leaf data, in order (RFC 9162).
    let node = |data: &[&[u8]]| Digest::of(&data.concat());
    let leaf = |of: &[u8]| node(&[&[0], Digest::of(of).as_bytes()]);
    let root = node(&[&[1], leaf(b"one").as_bytes(), leaf(b"two").as_bytes()]);
    assert_eq!(rollup().inputs_root, root);
}

#[test]
fn a_rollup_manifest_has_exactly_its_lines() {
    let body = rollup().to_body();
    let lines: Vec<&str> = body.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 15);
    let mut wrong = vec![
        String::new(),
        body.trim_end().to_owned(),
        format!("{body}\n"),
        format!("{body}extra 1\n"),
        body.replace('\n', "\r\n"),
    ];
    for (at, line) in lines.iter().enumerate() {
        let splice = |instead: &[&str]| [&lines[..at], instead, &lines[at + 1..]].concat().concat();
        let name = line.split(' ').next().unwrap().trim_end();
        wrong.extend([
            splice(&[]),
            splice(&[line, line]),
            splice(&[&format!("{name}\n")]),
            splice(&[&format!("{name} \n")]),
            splice(&[&format!("{} \n", line.trim_end())]),
            splice(&[&format!(" {line}")]),
        ]);
        if let Some(next) = lines.get(at + 1) {
            wrong.push([&lines[..at], &[*next, *line], &lines[at + 2..]].concat().concat());
        }
    }
    for wrong in wrong.iter().filter(|wrong| **wrong != body) {
        assert!(RollupManifest::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_rollup_manifest_that_contradicts_itself_is_refused() {
    let body = rollup().to_body();
    let error = |from: &str, to: &str| {
        let wrong = body.replacen(from, to, 1);
        assert_ne!(wrong, body, "{from}");
        RollupManifest::parse(&wrong).unwrap_err()
    };
    let none = BodyError::Contradiction("a rollup is computed from a chunk at least");
    assert_eq!(error("inputs 2", "inputs 0"), none);
    let key = "`object` is not the archive key of this rollup, workspace, day, revision and digest";
    for (from, to) in [
        ("name llm_daily", "name llm"),
        ("version 2", "version 1"),
        ("workspace acme", "workspace beta"),
        ("revision 1", "revision 0"),
        ("23T00:00:00Z/2026-11-24", "24T00:00:00Z/2026-11-25"),
        ("object_sha256 2958d416", "object_sha256 2958d417"),
        (".parquet", ".note"),
    ] {
        assert_eq!(error(from, to), BodyError::Contradiction(key), "{from}");
    }
    let long = format!("engine {}", "x".repeat(1_025));
    for (from, to) in [
        ("origin ledger", "origin /ledger"),
        ("name llm_daily", "name 1lm"),
        ("version 2", "version 0"),
        ("version 2", "version 02"),
        ("version 2", "version 4294967296"),
        ("sql_sha256 ", "sql_sha256 A"),
        ("workspace acme", "workspace Acme"),
        ("2026-11-24T00", "2026-11-25T00"),
        ("2026-11-23T00", "2026-11-23T01"),
        ("23T00:00:00Z/", "23T00:00:00Z"),
        ("revision 1", "revision -1"),
        ("revision 1", "revision 4294967296"),
        ("engine datafusion", "engine  datafusion"),
        ("engine datafusion 1.0", &long),
        ("inputs 2", "inputs 2.0"),
        ("inputs 2", "inputs 9223372036854775808"),
        ("inputs_root ", "inputs_root 0"),
        ("object_bytes 6", "object_bytes 06"),
        ("object_blake3 ", "object_blake3 0"),
    ] {
        error(from, to);
    }
}

/// The example of the specification is this one.
#[test]
fn the_specification_shows_what_is_read_here() {
    let spec = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/spec/rollups.md"));
    for text in [DEFINITION, &rollup().to_body()] {
        let indented: String = text.lines().map(|line| format!("    {line}\n")).collect();
        assert!(spec.contains(&indented), "{indented}");
    }
    let leaves = [Digest::of(b"one"), Digest::of(b"two")].map(|leaf| leaf.to_string());
    assert!(leaves.iter().all(|leaf| spec.contains(leaf)));
}

#[test]
fn the_head_of_a_definition_is_read() {
    let definition = Definition::parse(DEFINITION).unwrap();
    assert_eq!((definition.name.as_str(), definition.version), ("llm_daily", 2));
    assert_eq!((definition.before, definition.after), (3, 1));
    assert_eq!(definition.key, ["day", "model"]);
    assert_eq!(definition.sql, DEFINITION);
    assert_eq!(definition.sha256, Digest::of(DEFINITION.as_bytes()));
    assert_eq!(definition.artefact().to_string(), "rollups/llm_daily/v2.sql");
    let day = |text: &str| Day::parse(text).unwrap();
    let window = |of: &str| definition.window(day(of));
    assert_eq!(window("2026-03-01"), (day("2026-02-26"), day("2026-03-02")));
    assert_eq!(window("1970-01-02"), (day("1970-01-01"), day("1970-01-03")));
    assert_eq!(window("9999-12-31"), (day("9999-12-28"), Day::LAST));
}

#[test]
fn a_definition_has_its_head_and_no_other() {
    let long = format!("{DEFINITION}{}", " ".repeat(DEFINITION_BYTES));
    assert!(Definition::parse(&long).is_err());
    let just = long.get(..DEFINITION_BYTES).unwrap();
    assert!(Definition::parse(just).is_ok());
    for (line, from, to) in [
        (1, "rollup-sql/v1", "rollup-sql/v2"),
        (1, "-- tally", "--tally"),
        (2, "-- name llm_daily", "-- name llm-daily"),
        (2, "-- name llm_daily\n", ""),
        (2, "-- name ", "-- name"),
        (3, "version 2", "version 0"),
        (3, "version 2", "version +2"),
        (4, "before 3", "before 367"),
        (4, "before 3", "before -1"),
        (4, "before 3", "after 3"),
        (5, "after 1", "after 1 "),
        (5, "after 1", "after"),
        (6, "key day model", "key day  model"),
        (6, "key day model", "key day,model"),
        (6, "key day model", "key "),
        (6, "key day model", "key Day"),
        (6, "-- key day model\n", ""),
        (1, "\n", "\r\n"),
        (6, "model\n", "model\r\n"),
    ] {
        let wrong = DEFINITION.replacen(from, to, 1);
        assert_ne!(wrong, DEFINITION);
        let error = Definition::parse(&wrong).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {line} of a rollup's definition: ")), "{error}");
    }
    assert!(Definition::parse("").unwrap_err().to_string().starts_with("line 1 "));
}

proptest! {
    #[test]
    fn a_changed_manifest_prints_as_it_was_read_or_is_refused(
        at: prop::sample::Index,
        byte in prop_oneof![Just(b'\n'), Just(b' '), Just(b'0'), Just(b'a'), Just(b'/'), any::<u8>()],
        insert: bool,
    ) {
        let mut bytes = rollup().to_body().into_bytes();
        let at = at.index(bytes.len());
        if insert {
            bytes.insert(at, byte);
        } else {
            bytes[at] = byte;
        }
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(manifest) = RollupManifest::parse(&text)
        {
            prop_assert_eq!(manifest.to_body(), text);
        }
    }

    #[test]
    fn a_changed_definition_says_what_its_head_says_or_is_refused(
        at: prop::sample::Index,
        byte in prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), Just(b'0'), Just(b'_'), any::<u8>()],
        insert: bool,
    ) {
        let mut bytes = DEFINITION.to_owned().into_bytes();
        let at = at.index(bytes.len());
        if insert {
            bytes.insert(at, byte);
        } else {
            bytes[at] = byte;
        }
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(Definition { name, version, before, after, key, sql, sha256 }) =
                Definition::parse(&text)
        {
            let head = format!(
                "-- tallystick/rollup-sql/v1\n-- name {name}\n-- version {version}\n-- before {before}\n\
                 -- after {after}\n-- key {}\n",
                key.join(" "),
            );
            prop_assert!(text.starts_with(&head), "{}", text);
            prop_assert_eq!(sha256, Digest::of(text.as_bytes()));
            prop_assert_eq!(sql, text);
        }
    }
}

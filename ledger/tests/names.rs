//! Names and archive keys: each by a table, and by what must hold of all of them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use ledger::layout::{self, Artefact, BundleError, Range, RollupPlace};
use ledger::names::{EventId, NameError, Origin, RollupName, Seq, Workspace};
use ledger::submission::Counter;
use ledger::time::{Day, Hour, Micros};
use proptest::prelude::*;

/// Names that no part of an archive key may have: the tricks that lead out of a directory, and
/// what some file systems fold or reserve.
const TRICKS: [&str; 24] = [
    "", ".", "..", "../acme", "acme/..", "a/../b", "/acme", "acme/", "a//b", "a\\b", "..\\a",
    "%2e%2e", "a%2fb", "%00", "a\0b", "ACME", "Acme", "a b", "a\n", "a:b", "nul ", "aµ", "ａ", "~",
];

#[test]
fn tricks_are_no_workspaces_and_no_archive_keys() {
    for trick in TRICKS {
        assert!(Workspace::new(trick).is_err(), "{trick:?}");
        for key in [
            trick.to_owned(),
            format!("log/tile/{trick}"),
            format!("log/tile/0/{trick}"),
            format!("log/tile/entries/{trick}"),
            format!("hours/date={trick}/hour=16.note"),
            format!("hours/date=2026-11-23/hour={trick}"),
            format!(
                "events/workspace={trick}/date=2026-11-23/hour=16/00000000000000000001-00000000000000000002.parquet"
            ),
            format!(
                "manifests/workspace=acme/date={trick}/hour=16/00000000000000000001-00000000000000000002.note"
            ),
            format!("manifests/workspace=acme/date=2026-11-23/hour=16/{trick}"),
            format!(
                "events/workspace=acme/date=2026-11-23/hour=16/00000000000000000001-00000000000000000002{trick}"
            ),
        ] {
            assert_eq!(Artefact::parse(&key), None, "{key:?}");
        }
    }
    for escape in
        ["", ".", "..", "../x", "a/../b", "a//b", "/a", "a/", "a\\b", "a%2e", "a\0", "a b"]
    {
        assert_eq!(Artefact::parse(&format!("rollups/{escape}")), None, "{escape:?}");
    }
}

#[test]
fn workspaces_at_their_limits() {
    let longest = "a".repeat(63);
    for ok in ["a", "0", "acme", "acme-2", "a.b_c-d", "a..b", "con", "9-", &longest] {
        assert_eq!(Workspace::new(ok).unwrap().as_str(), ok);
    }
    assert_eq!(
        Workspace::new(&"a".repeat(64)),
        Err(NameError::Length { kind: "workspace", max: 63, found: 64 })
    );
    for (bad, found, at) in [("-a", '-', 0), ("_a", '_', 0), (".a", '.', 0), ("a/b", '/', 1)] {
        let Err(NameError::Character { found: is, at: was, .. }) = Workspace::new(bad) else {
            panic!("{bad}")
        };
        assert_eq!((is, was), (found, at));
    }
}

#[test]
fn origins_at_their_limits() {
    let longest = "o".repeat(128);
    for ok in ["a", "ledger.example.com/prod", "a/b/c", "...", ".a", "-", &longest] {
        assert_eq!(Origin::new(ok).unwrap().as_str(), ok);
    }
    for bad in ["/", "a/", "/a", "a//b", ".", "..", "a/./b", "a/.."] {
        assert_eq!(Origin::new(bad), Err(NameError::Segment), "{bad}");
    }
    for bad in ["", "A", "a b", "a+b", "a:1", "a\n", "ü", &"o".repeat(129)] {
        assert!(Origin::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn event_ids_have_one_form() {
    let upper = EventId::parse("371A40A9-D9A6-5BE3-BBC3-2EFDE916E5FA").unwrap();
    assert_eq!(upper.to_string(), "371a40a9-d9a6-5be3-bbc3-2efde916e5fa");
    for bad in [
        "",
        "00000000-0000-0000-0000-000000000000",
        "371a40a9d9a65be3bbc32efde916e5fa",
        "371a40a9-d9a6-5be3-bbc3-2efde916e5f",
        "371a40a9-d9a6-5be3-bbc3-2efde916e5faa",
        "371a40a9-d9a6-5be3-bbc32-efde916e5fa",
        "371a40a9-d9a6-5be3-bbc3-2efde916e5fg",
        "{71a40a9-d9a6-5be3-bbc3-2efde916e5f}",
        "371a40a9_d9a6_5be3_bbc3_2efde916e5fa",
        "-371a40a9d9a6-5be3-bbc3-2efde916e5fa",
        "371a40a9-d9a6-5be3-bbc3-2efde916e-fa",
    ] {
        assert_eq!(EventId::parse(bad), Err(NameError::EventId), "{bad}");
    }
    assert!(EventId::from_bytes([0; 16]).is_err());
}

#[test]
fn seqs_and_counters_end_at_the_largest_signed_number() {
    let last = i64::MAX.unsigned_abs();
    assert_eq!((Seq::new(0), Seq::new(last + 1)), (None, None));
    let full = Seq::new(last).unwrap();
    assert_eq!((full.next(), full.checked_add(1)), (None, None));
    assert_eq!(Seq::FIRST.checked_add(u64::MAX), None);
    assert_eq!(Seq::FIRST.checked_add(last - 1), Some(full));
    assert_eq!(Counter::new(last + 1), None);
    assert_eq!(Counter::parse(&last.to_string()), Counter::new(last));
    for bad in ["", "-1", "+1", "01", "1.0", "1e3", " 1", "9223372036854775808", "１"] {
        assert_eq!(Counter::parse(bad), None, "{bad}");
    }
}

fn workspaces() -> impl Strategy<Value = Workspace> {
    "[a-z0-9][a-z0-9._-]{0,62}".prop_map(|name| Workspace::new(&name).unwrap())
}

fn hours() -> impl Strategy<Value = Hour> {
    (0..=Micros::MAX.get()).prop_map(|at| Micros::new(at).unwrap().hour())
}

fn ranges() -> impl Strategy<Value = Range> {
    let seqs = 1..=i64::MAX.unsigned_abs();
    (workspaces(), hours(), seqs.clone(), seqs).prop_map(|(workspace, hour, first, last)| Range {
        workspace,
        hour,
        first_seq: Seq::new(first).unwrap(),
        last_seq: Seq::new(last).unwrap(),
    })
}

fn rollups() -> impl Strategy<Value = RollupPlace> {
    ("[a-z][a-z0-9_]{0,47}", workspaces(), hours(), 1_u32.., any::<u32>(), any::<[u8; 8]>())
        .prop_map(|(name, workspace, hour, version, revision, object)| RollupPlace {
            name: RollupName::new(&name).unwrap(),
            workspace,
            day: Day::of(hour.start()),
            version,
            revision,
            object,
        })
}

fn artefacts() -> impl Strategy<Value = Artefact> {
    let index = prop_oneof![0_u64..3_000, any::<u64>()];
    prop_oneof![
        Just(Artefact::Checkpoint),
        (0_u8..8, index.clone(), 1_u16..=256).prop_map(|(level, index, width)| Artefact::Tile {
            level,
            index,
            width
        }),
        (index, 1_u16..=256).prop_map(|(index, width)| Artefact::Bundle { index, width }),
        hours().prop_map(Artefact::HourNote),
        hours().prop_map(Artefact::HourHeads),
        (ranges(), any::<u32>()).prop_map(|(range, erasure)| Artefact::Manifest { range, erasure }),
        (ranges(), any::<u32>()).prop_map(|(range, erasure)| Artefact::Events { range, erasure }),
        ("[a-z][a-z0-9_]{0,47}", 1_u32..).prop_map(|(name, version)| Artefact::RollupSql {
            name: RollupName::new(&name).unwrap(),
            version
        }),
        rollups().prop_map(Artefact::Rollup),
        rollups().prop_map(Artefact::RollupNote),
    ]
}

proptest! {
    #[test]
    fn names_print_as_they_were_read(text in "[a-zA-Z0-9._/%-]{0,140}", id: [u8; 16]) {
        if let Ok(origin) = Origin::new(&text) {
            prop_assert_eq!(origin.to_string(), text.clone());
        }
        if let Ok(workspace) = Workspace::new(&text) {
            prop_assert_eq!(workspace.to_string(), text);
        }
        if let Ok(id) = EventId::from_bytes(id) {
            prop_assert_eq!(EventId::parse(&id.to_string()), Ok(id));
            prop_assert_eq!(EventId::parse(&id.to_string().to_uppercase()), Ok(id));
        }
    }

    #[test]
    fn every_artefact_prints_as_a_key_that_is_read_as_it(artefact in artefacts()) {
        let key = artefact.to_string();
        prop_assert!(!key.split('/').any(|segment| matches!(segment, "" | "." | "..")), "{}", key);
        prop_assert_eq!(Artefact::parse(&key), Some(artefact));
    }

    #[test]
    fn a_changed_key_names_another_object_or_none(
        artefact in artefacts(),
        at: prop::sample::Index,
        with in "[a-zA-Z0-9./=_ +%-]{0,3}",
    ) {
        let mut key = artefact.to_string();
        let at = at.index(key.len());
        key.replace_range(at..=at, &with);
        if let Some(read) = Artefact::parse(&key) {
            prop_assert_eq!(read.to_string(), key);
        }
    }

    #[test]
    fn any_text_that_is_a_key_prints_as_it(text in "(log|hours|events|manifests|rollups)/\\PC{0,60}") {
        if let Some(read) = Artefact::parse(&text) {
            prop_assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn bundles_come_back(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20)) {
        let bundle = layout::encode_bundle(entries.iter().map(Vec::as_slice)).unwrap();
        let width = u16::try_from(entries.len()).unwrap();
        prop_assert_eq!(layout::decode_bundle(&bundle, width).unwrap(), entries);
        let short = layout::decode_bundle(&bundle, width + 1);
        prop_assert_eq!(short, Err(BundleError::Short { entry: width, expected: width + 1 }));
        if let Some((_, cut)) = bundle.split_last() {
            prop_assert!(layout::decode_bundle(cut, width).is_err());
            prop_assert!(layout::decode_bundle(&bundle, width - 1).is_err());
        }
    }
}

#[test]
fn tile_keys_are_those_of_c2sp() {
    let tile = |level, index, width| Artefact::Tile { level, index, width }.to_string();
    assert_eq!(tile(0, 0, 256), "log/tile/0/000");
    assert_eq!(tile(1, 999, 7), "log/tile/1/999.p/7");
    assert_eq!(tile(2, 1_234_067, 256), "log/tile/2/x001/x234/067");
    for bad in [
        "log/tile/0/00",
        "log/tile/0/0000",
        "log/tile/0/x000/001",
        "log/tile/0/x001/x234/67",
        "log/tile/0/001.p/0",
        "log/tile/0/001.p/256",
        "log/tile/0/001.p/07",
        "log/tile/0/001.p/+7",
        "log/tile/8/000",
        "log/tile/00/000",
        "log/tile/+1/000",
        "log/tile/-1/000",
        "log/tile/0/x99999999999999999999/000",
        "log/tile/entries/000.p/",
        "log/checkpoint/",
        "log/Checkpoint",
        "log/tile/data/000",
    ] {
        assert_eq!(Artefact::parse(bad), None, "{bad}");
    }
    let keys = |size| layout::tiles(size).map(|tile| tile.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(0), [""; 0]);
    assert_eq!(
        keys(70_000).into_iter().rev().take(3).collect::<Vec<_>>(),
        ["log/tile/2/000.p/1", "log/tile/1/001.p/17", "log/tile/1/000"]
    );
    let bundles: Vec<String> = layout::bundles(257).map(|bundle| bundle.to_string()).collect();
    assert_eq!(bundles, ["log/tile/entries/000", "log/tile/entries/001.p/1"]);
}

#[test]
fn an_entry_that_no_bundle_can_hold_is_refused() {
    let (largest, too_long) = (vec![0; 65_535], vec![0; 65_536]);
    assert!(layout::encode_bundle([largest.as_slice()]).is_ok());
    assert_eq!(layout::encode_bundle([too_long.as_slice()]), Err(BundleError::TooLong(65_536)));
}

//! Changes by someone without any key: bytes and whole objects.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::path::Path;

use checks::crowd::long;
use checks::forge::{Archive, COLUMNS, Content, alter, golden};
use ledger::layout::Artefact;
use ledger::verify::{Check, Finding};
use proptest::prelude::{Strategy, any, prop};
use proptest::sample::Index;

use super::{runner, tampering, verify};

/// Whether a finding names the object that was changed. What is changed in the checkpoint or in an
/// entry bundle may as well show at the other, or at the leaf.
fn names(finding: &Finding, key: &str) -> bool {
    let place = &finding.place;
    let is_log = |key: &str| {
        matches!(Artefact::parse(key), Some(Artefact::Checkpoint | Artefact::Bundle { .. }))
    };
    place.object.as_deref() == Some(key)
        || is_log(key) && (place.log_index.is_some() || place.object.as_deref().is_some_and(is_log))
}

/// The archive is found out, and one of these objects is named.
#[track_caller]
fn assert_located(archive: &Archive, keys: &[&str], what: &str) {
    let report = verify(archive, &golden().1);
    let found = tampering(&report, what);
    let named = found.iter().any(|finding| keys.iter().any(|key| names(finding, key)));
    assert!(named, "{what}: {keys:?} is not named, but {found:#?}");
}

fn key_of(archive: &Archive, index: Index) -> String {
    let keys: Vec<_> = archive.keys().collect();
    (*index.get(&keys)).to_owned()
}

/// Manifests are of one kind, tiles of another.
fn kind(key: &str) -> Option<Discriminant<Artefact>> {
    Artefact::parse(key).as_ref().map(discriminant)
}

/// FAULTS row 45.
#[test]
fn a_flipped_bit_is_found_in_the_object_that_has_it() {
    let (archive, _) = golden();
    let flips = (any::<Index>(), any::<Index>(), 0_u32..8);
    let count = if long() { 20_000 } else { 500 };
    runner(count)
        .run(&flips, |(object, offset, bit)| {
            let mut changed = archive.clone();
            let key = key_of(&archive, object);
            let bytes = changed.0.get_mut(&key).unwrap();
            let at = offset.index(bytes.len());
            bytes[at] ^= 1 << bit;
            assert_located(&changed, &[&key], &format!("bit {bit} of byte {at} of {key}"));
            Ok(())
        })
        .unwrap();
    tell(&format!("2.4 row 45: {count} flips, all found in the object that has them"));
}

fn tell(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

/// FAULTS row 47: the last object of each kind, cut behind any byte; the last chunk behind every one in the
/// long run.
#[test]
fn row_47_the_last_objects_cut_at_every_byte() {
    let (archive, _) = golden();
    let mut last = BTreeMap::new();
    for key in archive.keys() {
        last.insert(
            Artefact::parse(key).map(|artefact| format!("{:?}", discriminant(&artefact))),
            key,
        );
    }
    let mut cuts = 0;
    for key in last.into_values() {
        let whole = &archive.0[key];
        let step = if whole.len() < 2_000 || long() { 1 } else { 61 };
        for length in (0..whole.len()).step_by(step) {
            let mut changed = archive.clone();
            changed.0.insert(key.to_owned(), whole[..length].to_vec());
            assert_located(&changed, &[key], &format!("{key} cut to {length} bytes"));
            cuts += 1;
        }
    }
    tell(&format!("2.4 row 47: {cuts} cuts of the last objects, all found"));
}

/// FAULTS row 47, for an archive without keys: every object cut anywhere, or made longer.
#[test]
fn a_cut_or_longer_object_is_found() {
    let (archive, _) = golden();
    let tail = prop::collection::vec(any::<u8>(), 1..40);
    let changes = (any::<Index>(), any::<Index>(), prop::option::of(tail));
    runner(100)
        .run(&changes, |(object, length, tail)| {
            let mut changed = archive.clone();
            let key = key_of(&archive, object);
            let bytes = changed.0.get_mut(&key).unwrap();
            let what = match tail {
                Some(tail) => {
                    bytes.extend_from_slice(&tail);
                    format!("{tail:?} after {key}")
                }
                None => {
                    bytes.truncate(length.index(bytes.len()));
                    format!("{key} cut to {} bytes", bytes.len())
                }
            };
            assert_located(&changed, &[&key], &what);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_dropped_object_is_found() {
    let (archive, _) = golden();
    for key in archive.keys() {
        let mut changed = archive.clone();
        changed.0.remove(key);
        assert_located(&changed, &[key], &format!("{key} dropped"));
    }
}

#[test]
fn an_object_that_nothing_names_is_found() {
    let (archive, _) = golden();
    for (key, bytes) in &archive.0 {
        let (head, ending) = key.rsplit_once('.').unwrap_or((key, ""));
        for double in [format!("{key}.bak"), format!("{head}.e1.{ending}"), format!("{key}/{key}")]
        {
            let mut changed = archive.clone();
            changed.0.insert(double.clone(), bytes.clone());
            let what = format!("{key} doubled as {double}");
            // What takes a chunk's place once a payload is erased: the log may be about to name it.
            match Artefact::parse(&double) {
                Some(
                    Artefact::Events { erasure: 1, .. } | Artefact::Manifest { erasure: 1, .. },
                ) => {
                    let findings = verify(&changed, &golden().1).findings;
                    let named = |f: &&Finding| f.check == Check::Unlogged && names(f, &double);
                    assert_eq!(findings.iter().filter(named).count(), 1, "{what}: {findings:?}");
                }
                _ => assert_located(&changed, &[&double], &what),
            }
        }
    }
}

#[test]
fn two_swapped_objects_are_found() {
    let (archive, _) = golden();
    let keys: Vec<_> = archive.keys().collect();
    for (at, one) in keys.iter().enumerate() {
        for other in keys.iter().skip(at + 1).filter(|other| kind(one) == kind(other)) {
            let (first, second) = (archive.0[*one].clone(), archive.0[*other].clone());
            // The heads of an hour without events are those of the hour before.
            if first != second {
                let mut changed = archive.clone();
                changed.0.insert((*one).to_owned(), second);
                changed.0.insert((*other).to_owned(), first);
                for key in [one, other] {
                    assert_located(&changed, &[key], &format!("{one} swapped with {other}"));
                }
            }
        }
    }
}

/// Whoever can write to the store but has no key can still write Parquet.
#[test]
fn a_row_changed_in_a_rewritten_object_is_found_at_the_object() {
    let (archive, trust) = golden();
    let content = Content::read(&archive);
    let rows = content.chunks().flat_map(|chunk| {
        let object = &chunk.manifest.object;
        (0..chunk.rows.len()).map(move |row| (chunk, object, row))
    });
    let rows: Vec<_> = rows.collect();
    let changes = (any::<Index>(), prop::sample::select(&COLUMNS[..])).prop_map(|(row, column)| {
        let (chunk, object, row) = *row.get(&rows);
        let mut chunk = chunk.clone();
        alter(&mut chunk.rows[row], column);
        (object.clone(), chunk.encode(), column)
    });
    runner(64)
        .run(&changes, |(object, bytes, column)| {
            let mut changed = archive.clone();
            changed.0.insert(object.clone(), bytes);
            let report = verify(&changed, &trust);
            let found = tampering(&report, column);
            let at_object = |finding: &&Finding| {
                finding.check == Check::ObjectDigest
                    && finding.place.object.as_ref() == Some(&object)
            };
            assert!(found.iter().any(at_object), "{column} in {object}: {found:#?}");
            Ok(())
        })
        .unwrap();
}

//! A log is the same whether it grows at once or is taken up again in the middle.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use archiver::log::{Log, LogError, read_leaves, superseded};
use ledger::layout::{bundles, tiles};
use ledger::merkle;
use verifier::store::{ArchiveSource, SourceError};

#[derive(Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl ArchiveSource for Memory {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.0.get(key).cloned())
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.0.keys().cloned().collect())
    }
}

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

impl Memory {
    /// Grows a log up to `size` leaves, and writes what a checkpoint over them needs.
    fn grow(&mut self, log: &mut Log, size: u64) {
        let old = log.size();
        for index in old..size {
            assert_eq!(log.append(&leaf(index)).unwrap(), index);
        }
        let objects = log.take_bundles().unwrap().into_iter().chain(log.take_tiles());
        for (artefact, bytes) in objects {
            let before = self.0.insert(artefact.to_string(), bytes.clone());
            assert!(before.is_none_or(|before| before == bytes), "{artefact} changed");
        }
        for artefact in superseded(old, size) {
            assert!(self.0.remove(&artefact.to_string()).is_some(), "{artefact}");
        }
    }
}

#[test]
fn a_log_in_steps_is_the_log_at_once() {
    // Around full tiles of both levels.
    let sizes = [1, 2, 255, 256, 257, 300, 512, 700, 65_535, 65_536, 65_537, 65_800];
    let mut store = Memory::default();
    let mut log = Log::new();
    let mut leaves = Vec::new();
    for size in sizes {
        // As after a restart: nothing is kept but the store.
        log = Log::load(&store, log.size(), log.size()).unwrap();
        store.grow(&mut log, size);
        leaves.extend((log.size() - (size - leaves.len() as u64)..size).map(leaf));
        let hashes: Vec<_> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        assert_eq!(log.root(), merkle::root(&hashes));
        let expected: Vec<_> =
            bundles(size).chain(tiles(size)).map(|key| key.to_string()).collect();
        assert_eq!(store.0.len(), expected.len());
        assert!(expected.iter().all(|key| store.0.contains_key(key)));
    }
}

#[test]
fn an_older_size_is_taken_up_from_a_longer_log() {
    let mut store = Memory::default();
    store.grow(&mut Log::new(), 600);
    for size in [0, 1, 255, 256, 300, 512, 599, 600] {
        let mut log = Log::load(&store, size, 600).unwrap();
        let hashes: Vec<_> = (0..size).map(|index| merkle::leaf_hash(&leaf(index))).collect();
        assert_eq!(log.root(), merkle::root(&hashes));
        let rest = read_leaves(&store, size, 600).unwrap();
        assert_eq!(rest, (size..600).map(leaf).collect::<Vec<_>>());
        for leaf in rest {
            log.append(&leaf).unwrap();
        }
        assert_eq!(log.root(), Log::load(&store, 600, 600).unwrap().root());
    }
}

#[test]
fn a_hole_in_the_log_is_named() {
    let mut store = Memory::default();
    store.grow(&mut Log::new(), 300);
    let hole = "log/tile/entries/001.p/44";
    store.0.remove(hole);
    let missing = read_leaves(&store, 0, 300);
    assert!(matches!(missing, Err(LogError::Missing(key)) if key.to_string() == hole));
}

//! A store that lies between two reads (FAULTS row 49): what is decided is decided on the bytes that were
//! hashed, as each object is read once.

use std::collections::BTreeMap;
use std::sync::Mutex;

use checks::forge::Archive;
use ledger::verify::{Policy, Verdict};
use verifier::store::{ArchiveSource, SourceError};

use super::{Honest, fresh, grown};

/// Gives one archive's object the first time that it is asked for it, and another's ever after.
struct TwoFaced<'a> {
    first: &'a Archive,
    later: &'a Archive,
    asked: Mutex<BTreeMap<String, u32>>,
}

impl ArchiveSource for TwoFaced<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let mut asked = self.asked.lock().unwrap();
        let times = asked.entry(key.to_owned()).or_default();
        *times += 1;
        if *times == 1 { self.first.get(key) } else { self.later.get(key) }
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        self.first.list()
    }
}

fn flipped(archive: &Archive, key: &str) -> Archive {
    let mut flipped = archive.clone();
    let bytes = flipped.0.get_mut(key).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    flipped
}

fn verdict(first: &Archive, later: &Archive, honest: &Honest) -> Verdict {
    let source = TwoFaced { first, later, asked: Mutex::default() };
    let trust = honest.trust.clone();
    verifier::audit::verify(&source, trust, Policy::default(), &()).verdict
}

#[test]
fn row_49_what_was_read_first_is_what_counts() {
    let (honest, archives) = grown(3);
    let archive = archives.last().unwrap();
    assert_eq!(fresh(archive, &honest).verdict, Verdict::Proven);
    for key in archive.keys() {
        let other = flipped(archive, key);
        assert_eq!(verdict(archive, &other, &honest), Verdict::Proven, "{key}, later another");
        assert_eq!(verdict(&other, archive, &honest), Verdict::Tampered, "{key}, first another");
    }
}

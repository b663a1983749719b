//! What an auditor does with an archive over time: verify what is new, verify some hours, be
//! interrupted, and compute with what is proven.
//!
//! On honest archives of random shape, which tell what a verification from the beginning says of them; and by
//! the command that auditors run. How the pure audit goes on from a state is shown in `ledger/tests/audit`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod command;
mod formats;
mod once;
mod replay;
mod resume;
mod shards;
mod signals;
mod state;

use std::sync::Mutex;

use checks::forge::{Archive, Honest, Leaf, honest};
use ledger::verify::{Policy, Report};
use verifier::store::{ArchiveSource, SourceError};

/// An archive that remembers which chunks' objects were fetched.
struct Watched {
    archive: Archive,
    fetched: Mutex<Vec<String>>,
}

impl Watched {
    fn new(archive: Archive) -> Self {
        Self { archive, fetched: Mutex::default() }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.fetched.lock().unwrap())
    }
}

impl ArchiveSource for Watched {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        if key.starts_with("events/") {
            self.fetched.lock().unwrap().push(key.to_owned());
        }
        self.archive.get(key)
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        self.archive.list()
    }
}

/// An honest archive of several hours, and how it was at the end of each.
fn grown(seed: u64) -> (Honest, Vec<Archive>) {
    let seeds = (1000 * seed..).map(honest);
    let several = |honest: &Honest| {
        let hours = honest.content.leaves.iter().filter(|leaf| matches!(leaf, Leaf::Hour(_)));
        hours.count() >= 3 && honest.content.chunks().count() >= 6
    };
    let mut honest = seeds.into_iter().find(several).unwrap();
    let workspaces = std::mem::take(&mut honest.trust.workspaces);
    let first = honest.content.leaves.iter().find_map(|leaf| match leaf {
        Leaf::Chunk(chunk) => Some(chunk.manifest.workspace.clone()),
        Leaf::Hour(_) => None,
    });
    // Later ones are not there yet when the log is short.
    let first = first.unwrap();
    honest.trust.workspaces.extend(workspaces.into_iter().filter(|(name, _)| *name == first));
    let ends = honest.content.leaves.iter().enumerate();
    let ends = ends.filter_map(|(at, leaf)| matches!(leaf, Leaf::Hour(_)).then_some(at + 1));
    let archives = ends.map(|end| {
        let mut content = honest.content.clone();
        content.leaves.truncate(end);
        content.seal(&honest.seal)
    });
    let archives = archives.collect();
    (honest, archives)
}

fn fresh(archive: &Archive, honest: &Honest) -> Report {
    verifier::audit::verify(archive, honest.trust.clone(), Policy::default(), &())
}

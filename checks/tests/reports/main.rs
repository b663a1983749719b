//! What an auditor reads: reports in each form, pages of checks, help, manual, completions.
//!
//! Here: the commands as they are run ([`commands`]), help pages ([`help`]), the HTML page
//! ([`html`]), pages
//! of checks ([`pages`]), the published schema ([`schema`]), and what is said where something fails ([`told`]).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

mod commands;
mod help;
mod html;
mod pages;
mod schema;
mod told;

use std::path::{Path, PathBuf};

use checks::forge::{Archive, Content, Depth, Honest, Leaf, golden, honest};
use ledger::verify::{Policy, Report, Trust};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn verify(archive: &Archive, trust: &Trust, policy: Policy) -> Report {
    verifier::audit::verify(archive, trust.clone(), policy, &())
}

/// A made-up ledger that goes on for so many hours more in which nothing happens.
fn long(seed: u64, hours: usize) -> (Honest, Archive) {
    let mut made = honest(seed);
    let last = made.content.leaves.iter().rev().find_map(|leaf| match leaf {
        Leaf::Hour(note) => Some(note.clone()),
        Leaf::Chunk(_) => None,
    });
    let mut note = last.unwrap();
    for _ in 0..hours {
        note.hour = note.hour.next().unwrap();
        made.content.leaves.push(Leaf::Hour(note.clone()));
    }
    made.content.settle(Depth::Links, &made.seal);
    let archive = made.archive();
    (made, archive)
}

/// The golden archive with one byte of its first chunk's object changed.
fn flipped() -> (Archive, Trust, String) {
    let (mut archive, trust) = golden();
    let object = Content::read(&archive).chunks().next().unwrap().manifest.object.clone();
    let bytes = archive.0.get_mut(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    (archive, trust, object)
}

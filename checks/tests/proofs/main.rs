//! One event proven by one file, and receipts against an archive (docs/spec/proof.md, notes.md).
//!
//! Here: every event of several archives ([`every`]), also by the second implementation; files that
//! prove nothing ([`hostile`], [`forged`]); keys of the workspace and of the seal that change ([`keys`]); payloads
//! and chunks that are gone ([`gone`]); receipts of each kind ([`receipts`]); the commands ([`commands`]).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod commands;
mod every;
mod forged;
mod gone;
mod hostile;
mod keys;
mod receipts;
mod world;

use checks::forge::Archive;
use ledger::names::{Seq, Workspace};
use ledger::proof::{Checked, check};
use ledger::verify::{Check, Finding, Trust, Verdict};
use verifier::prove::{Made, ProveError, Which, prove};

fn acme() -> Workspace {
    Workspace::new("acme").unwrap()
}

fn at(seq: u64) -> Which {
    Which::Seq(Seq::new(seq).unwrap())
}

/// The proof of an event of `acme`, payload and all.
#[track_caller]
fn proof(archive: &Archive, trust: &Trust, seq: u64) -> Vec<u8> {
    made(archive, trust, seq).bytes
}

#[track_caller]
fn made(archive: &Archive, trust: &Trust, seq: u64) -> Made {
    prove(archive, trust, &acme(), at(seq), false).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Why there is no proof: the checks that failed.
#[track_caller]
fn not_made(archive: &Archive, trust: &Trust, seq: u64) -> Vec<Check> {
    match prove(archive, trust, &acme(), at(seq), false) {
        Err(ProveError::Found(findings)) => checks(&findings),
        other => panic!("{other:?}"),
    }
}

fn checks(findings: &[Finding]) -> Vec<Check> {
    findings.iter().map(|finding| finding.check).collect()
}

/// Nothing is proven, and this is why.
#[track_caller]
fn refused(bytes: &[u8], trust: &Trust, check: Check) {
    let checked = self::check(bytes, trust);
    assert!(checks(&checked.findings).contains(&check), "{:?}", checked.findings);
    nothing(&checked);
}

#[track_caller]
fn nothing(checked: &Checked) {
    assert!(matches!(checked.verdict, Verdict::Tampered | Verdict::Unfinished), "{checked:?}");
    assert_eq!(checked.proven, None);
}

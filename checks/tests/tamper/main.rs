//! Every single change to an archive is found, and found where it is.
//!
//! Here: changes without any key ([`bytes`]), with the seal key to rows ([`rows`]) and to the log
//! ([`log`]); both in archives of any shape ([`random`]); what no archive can show by itself ([`limits`]); that nothing is found where nothing
//! was changed ([`untouched`], [`nothing_false`]).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod bytes;
mod kept;
mod limits;
mod log;
mod nothing_false;
mod random;
mod rows;
mod untouched;

use checks::forge::{Archive, Content, Depth, golden};
use ledger::key::SigningKey;
use ledger::note::NoteSigner;
use ledger::verify::{Check, Finding, Policy, Report, Severity, Trust, Verdict};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::hash::{BuildHasher as _, RandomState};

/// The golden archive in the hands of an operator who holds the seal key.
struct Operator {
    content: Content,
    trust: Trust,
    seal: NoteSigner,
}

impl Operator {
    fn new() -> Self {
        let (archive, trust) = golden();
        let content = Content::read(&archive);
        let seal = NoteSigner::seal(&content.origin, SigningKey::from_seed(&[7; 32]));
        let trust = Trust { seal_keys: vec![seal.verifier().clone()], ..trust };
        Self { content, trust, seal }
    }

    /// The archive after an edit, settled down to a depth and signed.
    fn reseal(&self, depth: Depth, edit: impl FnOnce(&mut Content)) -> Archive {
        let mut content = self.content.clone();
        edit(&mut content);
        content.settle(depth, &self.seal);
        content.seal(&self.seal)
    }

    fn verify(&self, archive: &Archive) -> Report {
        verify(archive, &self.trust)
    }

    /// The report on the archive after an edit.
    fn after(&self, depth: Depth, edit: impl FnOnce(&mut Content)) -> Report {
        self.verify(&self.reseal(depth, edit))
    }
}

fn verify(archive: &Archive, trust: &Trust) -> Report {
    verifier::audit::verify(archive, trust.clone(), Policy::default(), &())
}

/// The findings of tampering; there is one at least, and the verdict says so.
#[track_caller]
fn tampering<'r>(report: &'r Report, what: &str) -> Vec<&'r Finding> {
    assert_eq!(report.verdict, Verdict::Tampered, "{what}: {:#?}", report.findings);
    let grave = |finding: &&Finding| finding.check.severity() == Severity::Tampering;
    report.findings.iter().filter(grave).collect()
}

/// A finding of this check is at this row and column.
#[track_caller]
fn assert_found(report: &Report, check: Check, seq: u64, column: &str, what: &str) {
    let here = |finding: &&Finding| {
        let place = &finding.place;
        (finding.check, place.seq, place.column) == (check, Some(seq), Some(column))
    };
    let found = tampering(report, what);
    assert!(
        found.iter().any(here),
        "{what}: no {} at seq {seq}, {column}, but {found:#?}",
        check.id()
    );
}

/// Runs so many cases in CI, or `PROPTEST_CASES` of them; the seed is printed.
fn runner(cases: u32) -> TestRunner {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one("seed"));
    }
    eprintln!("{} cases, PROPTEST_RNG_SEED={}", config.cases, config.rng_seed);
    TestRunner::new(config)
}

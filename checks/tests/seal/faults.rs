//! A run that dies anywhere is finished by the next one, with the same bytes.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use archiver::step::Step;
use archiver::vault::{FileVault, Vault, VaultError};
use archiver::{Disagreement, SealError};
use checks::postgres::Postgres;
use ledger::verify::Verdict;
use verifier::store::{ArchiveSource, SourceError};

use super::{Ledger, ROWS, World, closed, seal_with};

/// A ledger of two hours and a few chunks.
fn small() -> Ledger {
    let mut ledgers = (0..).map(|seed| Ledger::new(seed, ROWS));
    let right = |ledger: &Ledger| {
        ledger.hours().count() == 2 && (3..6).contains(&ledger.content.chunks().count())
    };
    ledgers.find(right).unwrap()
}

#[tokio::test]
async fn killed_after_any_step() {
    let postgres = Postgres::start().unwrap();
    let ledger = small();
    let template = World::template(&postgres, ledger.clone()).await;
    let expected = ledger.archive();
    let now = closed(ledger.last_hour());
    let mut seen = Vec::new();
    for kill_at in 0.. {
        let world = template.copy(&postgres).await;
        let steps = AtomicUsize::new(0);
        let probe = |_: Step| steps.fetch_add(1, Ordering::Relaxed) != kill_at;
        match seal_with(&world.pool, &world.vault(), &ledger.signer, now, &probe).await {
            Err(SealError::Stopped(step)) => seen.push(step),
            sealed => {
                sealed.unwrap();
                break;
            }
        }
        // Until an hour is whole, an auditor sees the hours before it, and nothing wrong.
        if world.archive().keys().any(|key| key == "log/checkpoint") {
            world.check_so_far(&format!("killed after {:?}", seen.last()));
        }
        world.seal().await.unwrap();
        assert!(world.archive() == expected, "killed after {:?}", seen.last());
        assert_eq!(world.verify().verdict, Verdict::Proven);
        let again = world.seal().await.unwrap();
        assert!(again.hours.is_empty() && again.recovered == 0);
    }
    for step in Step::ALL {
        assert!(seen.contains(&step), "{step:?} was never reached");
    }
}

/// A store whose n-th write fails: it is not made, or it is made and not heard of.
struct Failing {
    vault: FileVault,
    writes: AtomicUsize,
    fail_at: usize,
    lands: bool,
}

impl Failing {
    fn write(
        &self,
        key: &str,
        write: impl FnOnce() -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        if self.writes.fetch_add(1, Ordering::Relaxed) != self.fail_at {
            return write();
        }
        if self.lands {
            write()?;
        }
        let error = io::Error::other("the line went dead");
        Err(VaultError::Io { key: key.to_owned(), error })
    }
}

impl ArchiveSource for Failing {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        self.vault.get(key)
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        self.vault.list()
    }
}

impl Vault for Failing {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<(), VaultError> {
        self.write(key, || self.vault.create(key, bytes))
    }

    fn replace(&self, key: &str, before: Option<&[u8]>, bytes: &[u8]) -> Result<(), VaultError> {
        self.write(key, || self.vault.replace(key, before, bytes))
    }

    fn remove(&self, key: &str) -> Result<(), VaultError> {
        self.write(key, || self.vault.remove(key))
    }

    fn tidy(&self) -> Result<(), VaultError> {
        self.vault.tidy()
    }
}

#[tokio::test]
async fn any_write_fails_lost_or_landed() {
    let postgres = Postgres::start().unwrap();
    let ledger = small();
    let template = World::template(&postgres, ledger.clone()).await;
    let expected = ledger.archive();
    let now = closed(ledger.last_hour());
    for lands in [false, true] {
        for fail_at in 0.. {
            let world = template.copy(&postgres).await;
            let (vault, writes) = (world.vault(), AtomicUsize::new(0));
            let failing = Failing { vault, writes, fail_at, lands };
            match seal_with(&world.pool, &failing, &ledger.signer, now, &()).await {
                Err(SealError::Vault(VaultError::Io { .. })) => {}
                sealed => {
                    sealed.unwrap();
                    break;
                }
            }
            world.seal().await.unwrap();
            assert!(world.archive() == expected, "write {fail_at}, landed: {lands}");
        }
    }
}

/// A store that flips a bit of every chunk's object on its way: as memory may.
struct Flipping(FileVault);

impl ArchiveSource for Flipping {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        self.0.get(key)
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        self.0.list()
    }
}

impl Vault for Flipping {
    fn create(&self, key: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let mut bytes = bytes.to_vec();
        if key.ends_with(".parquet") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        self.0.create(key, &bytes)
    }

    fn replace(&self, key: &str, before: Option<&[u8]>, bytes: &[u8]) -> Result<(), VaultError> {
        self.0.replace(key, before, bytes)
    }

    fn remove(&self, key: &str) -> Result<(), VaultError> {
        self.0.remove(key)
    }

    fn tidy(&self) -> Result<(), VaultError> {
        self.0.tidy()
    }
}

#[tokio::test]
async fn a_bit_that_flips_on_the_way_is_seen_when_it_is_read_back() {
    let postgres = Postgres::start().unwrap();
    let ledger = small();
    let world = World::new(&postgres, ledger.clone()).await;
    let now = closed(ledger.last_hour());
    let flipping = Flipping(world.vault());
    let stopped = seal_with(&world.pool, &flipping, &ledger.signer, now, &()).await;
    let object = match stopped {
        Err(SealError::Disagreement(disagreement)) => match *disagreement {
            Disagreement::ReadBack { object, .. } => object,
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(world.archive().keys().collect::<Vec<_>>(), [object.as_str()]);
    // The bad object is in the way, and no record: someone moves it, and sealing goes on.
    let blocked = world.seal().await;
    assert!(matches!(blocked, Err(SealError::Vault(VaultError::Differs(key))) if key == object));
    std::fs::remove_file(world.path().join(&object)).unwrap();
    world.seal().await.unwrap();
    assert!(world.archive() == ledger.archive());
}

#[tokio::test]
async fn two_archivers_at_once_write_one_history() {
    let postgres = Postgres::start().unwrap();
    let ledger = small();
    let template = World::template(&postgres, ledger.clone()).await;
    for _ in 0..5 {
        let world = template.copy(&postgres).await;
        let (one, other) = tokio::join!(world.seal(), world.seal());
        let busy = [&one, &other].iter().filter(|r| matches!(r, Err(SealError::Busy))).count();
        let sealed = [&one, &other].iter().filter(|r| r.is_ok()).count();
        assert_eq!(busy + sealed, 2, "{one:?} {other:?}");
        assert!(sealed >= 1);
        assert!(world.archive() == ledger.archive());
    }
}

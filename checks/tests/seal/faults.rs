//! A run that dies anywhere is finished by the next one, with the same bytes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use archiver::chunk::Limits;
use archiver::seal::Archiver;
use archiver::step::Step;
use archiver::vault::{FileVault, Guarantees, Removal, Vault, VaultError};
use archiver::{Disagreement, SealError};
use checks::crowd::long;
use checks::forge::Random;
use checks::postgres::Postgres;
use ledger::verify::Verdict;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use verifier::store::{ArchiveSource, SourceError};

use super::{GRACE, Ledger, ROWS, World, closed, seal_with};

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
    for step in Step::SEALING {
        assert!(seen.contains(&step), "{step:?} was never reached");
    }
}

/// A setting that changes between a death and the next run counts from the next hour on: nothing is left
/// behind that no manifest names.
#[tokio::test]
async fn an_hour_that_was_begun_keeps_its_limits() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, small()).await;
    let (ledger, expected) = (&world.ledger, world.ledger.archive());
    let first = closed(ledger.hours().next().unwrap());
    let died = |step: Step| step != Step::ManifestPut;
    let stopped = seal_with(&world.pool, &world.vault(), &ledger.signer, first, &died).await;
    assert!(matches!(stopped, Err(SealError::Stopped(Step::ManifestPut))), "{stopped:?}");
    let seal_by_other_limits = async || {
        let archiver = Archiver {
            pool: world.pool.clone(),
            vault: &world.vault(),
            signer: Arc::new(ledger.signer.clone()),
            origin: ledger.content.origin.clone(),
            limits: Limits { rows: 1, payload_bytes: 1 },
            probe: &(),
        };
        archiver.seal(first, GRACE).await.unwrap();
    };
    seal_by_other_limits().await;
    world.seal().await.unwrap();
    assert!(world.archive() == expected, "the second hour was begun with the usual limits again");
    // And where they differ from the start, the hour does too.
    forget(&world).await;
    sqlx::raw_sql("DELETE FROM sealing").execute(&world.pool).await.unwrap();
    seal_by_other_limits().await;
    assert!(world.archive().keys().any(|key| expected.get(key).unwrap().is_none()));
}

/// A store whose n-th write fails: it is not made, or it is made and not heard of.
struct Failing {
    vault: FileVault,
    writes: AtomicUsize,
    fail_at: usize,
    lands: bool,
}

impl Failing {
    fn write<T>(
        &self,
        key: &str,
        write: impl FnOnce() -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
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

    fn remove(&self, key: &str) -> Result<Removal, VaultError> {
        self.write(key, || self.vault.remove(key))
    }

    fn tidy(&self) -> Result<(), VaultError> {
        self.vault.tidy()
    }

    fn probe(&self, key: &str) -> Result<Guarantees, VaultError> {
        self.vault.probe(key)
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

/// A store that flips a bit of every chunk's object on its way, as memory may: the second is which.
struct Flipping(FileVault, u64);

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
            let bit = usize::try_from(self.1).unwrap() % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        self.0.create(key, &bytes)
    }

    fn replace(&self, key: &str, before: Option<&[u8]>, bytes: &[u8]) -> Result<(), VaultError> {
        self.0.replace(key, before, bytes)
    }

    fn remove(&self, key: &str) -> Result<Removal, VaultError> {
        self.0.remove(key)
    }

    fn tidy(&self) -> Result<(), VaultError> {
        self.0.tidy()
    }

    fn probe(&self, key: &str) -> Result<Guarantees, VaultError> {
        self.0.probe(key)
    }
}

#[tokio::test]
async fn row_26_a_bit_that_flips_on_the_way_is_seen_when_it_is_read_back() {
    let postgres = Postgres::start().unwrap();
    let ledger = small();
    let world = World::new(&postgres, ledger.clone()).await;
    let now = closed(ledger.last_hour());
    let mut random = Random::new(26);
    for flip in 0..1_000 {
        let flipping = Flipping(world.vault(), random.bits());
        let stopped = seal_with(&world.pool, &flipping, &ledger.signer, now, &()).await;
        let object = match stopped {
            Err(SealError::Disagreement(disagreement)) => match *disagreement {
                Disagreement::ReadBack { object, .. } => object,
                other => panic!("flip {flip}: {other}"),
            },
            other => panic!("flip {flip}: {other:?}"),
        };
        let objects: Vec<String> = world.archive().keys().map(str::to_owned).collect();
        assert_eq!(objects, [object.as_str()], "flip {flip}: nothing speaks of it");
        if flip == 0 {
            // The bad object is in the way, and no record.
            let blocked = world.seal().await;
            let differs =
                matches!(blocked, Err(SealError::Vault(VaultError::Differs(key))) if key == object);
            assert!(differs);
        }
        // Someone moves it, and sealing goes on.
        std::fs::remove_file(world.path().join(&object)).unwrap();
    }
    world.seal().await.unwrap();
    assert!(world.archive() == ledger.archive());
    tell("2.2 row 26: 1,000 bits flipped between hash and write, 1,000 seen when read back");
}

fn tell(line: &str) {
    checks::figures::tell(Path::new(env!("CARGO_TARGET_TMPDIR")), line).unwrap();
}

/// As it was before anything was sealed.
async fn forget(world: &World) {
    let marks = "DELETE FROM sealed_chunks; DELETE FROM sealed_hours; DELETE FROM published";
    sqlx::raw_sql(marks).execute(&world.pool).await.unwrap();
    std::fs::remove_dir_all(world.path()).unwrap();
}

#[tokio::test]
async fn row_21_two_archivers_at_once_write_one_history() {
    let races = if long() { 500 } else { 60 };
    let postgres = Postgres::start().unwrap();
    let ledger = small();
    let world = World::new(&postgres, ledger.clone()).await;
    let (expected, mut both) = (ledger.archive(), 0);
    for race in 0..races {
        forget(&world).await;
        let (one, other) = tokio::join!(world.seal(), world.seal());
        let busy = [&one, &other].iter().filter(|r| matches!(r, Err(SealError::Busy))).count();
        let sealed = [&one, &other].iter().filter(|r| r.is_ok()).count();
        assert_eq!(busy + sealed, 2, "race {race}: {one:?} {other:?}");
        assert!(sealed >= 1);
        both += usize::from(sealed == 2);
        // The archive is known byte for byte: one manifest a range, one index in the log a note.
        assert!(world.archive() == expected, "race {race}");
    }
    tell(&format!(
        "2.2 row 21: {races} races of two archivers ({both} times one after the other): one history"
    ));
}

/// Ends the connections that hold an advisory lock of this database.
const LOSE_LOCK: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE granted AND locktype = 'advisory' AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Runs it on a thread of its own.
fn alone<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The connection that holds the lock dies, and another archiver goes on at once: whoever lost the lock
/// must not publish any more.
#[tokio::test]
async fn row_21_an_archiver_that_lost_its_lock_publishes_nothing() {
    let postgres = Postgres::start().unwrap();
    let ledger = small();
    let world = World::new(&postgres, ledger.clone()).await;
    let expected = ledger.archive();
    for step in Step::SEALING {
        forget(&world).await;
        let (reached, go_on) = (Semaphore::new(0), AtomicBool::new(false));
        let probe = |at: Step| {
            if at == step && !go_on.load(Ordering::SeqCst) {
                reached.add_permits(1);
                // It stands still here for as long as the other works.
                while !go_on.load(Ordering::SeqCst) {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            true
        };
        let (pool, now) = (world.pool.clone(), closed(ledger.last_hour()));
        let slow = std::thread::scope(|scope| {
            let slow = scope.spawn(|| {
                alone(async {
                    let own = PgPool::connect_with((*pool.connect_options()).clone()).await;
                    seal_with(&own.unwrap(), &world.vault(), &ledger.signer, now, &probe).await
                })
            });
            let other = scope.spawn(|| {
                alone(async {
                    let own = PgPool::connect_with((*pool.connect_options()).clone()).await;
                    let own = own.unwrap();
                    drop(reached.acquire().await.unwrap());
                    sqlx::query(LOSE_LOCK).execute(&own).await.unwrap();
                    seal_with(&own, &world.vault(), &ledger.signer, now, &()).await.unwrap();
                });
                go_on.store(true, Ordering::SeqCst);
            });
            other.join().unwrap();
            slow.join().unwrap()
        });
        assert!(slow.is_err(), "{step:?}: {slow:?}");
        // It may have brought back partial tiles that fuller ones had replaced. They say nothing new.
        let found = world.archive();
        let extra = found.keys().filter(|key| expected.get(key).unwrap().is_none());
        let extra: Vec<&str> = extra.filter(|key| !key.contains(".p/")).collect();
        assert!(extra.is_empty(), "{step:?}: {extra:?}");
        assert!(
            expected.keys().all(|key| found.get(key).unwrap() == expected.get(key).unwrap()),
            "{step:?}"
        );
        assert_eq!(world.verify().verdict, Verdict::Proven, "{step:?}");
    }
    tell(
        "2.2 row 21: the lock's connection dies at each of 12 steps, another archiver goes on: one history",
    );
}

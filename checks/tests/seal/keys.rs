//! The seal key changes while a ledger is sealed: by succession, and because it was stolen
//! (FAULTS row 24).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use archiver::chunk::Limits;
use archiver::rotate::{Change, Changed};
use archiver::seal::{Archiver, Sealed};
use archiver::step::{Probe, Step};
use archiver::{Disagreement, SealError};
use checks::forge::{Archive, golden};
use checks::postgres::Postgres;
use ledger::key::SigningKey;
use ledger::names::Origin;
use ledger::note::{NoteSigner, Signer, VerifierKey};
use ledger::succession::Cutoff;
use ledger::time::Micros;
use ledger::verify::{Check, Report, Severity, Trust, Verdict};
use sqlx::PgPool;

use super::{GRACE, Ledger, ROWS, World, closed, verify};

/// Another seal key of a ledger.
fn key_of(origin: &Origin, seed: u8) -> NoteSigner {
    NoteSigner::seal(origin, SigningKey::from_seed(&[seed; 32]))
}

impl World {
    fn origin(&self) -> Origin {
        self.ledger.content.origin.clone()
    }

    pub fn key(&self, seed: u8) -> NoteSigner {
        key_of(&self.origin(), seed)
    }

    /// Changes the seal key with this one configured, before anything more has closed.
    pub async fn change(
        &self,
        configured: &NoteSigner,
        change: &Change,
        probe: &dyn Probe,
    ) -> Result<Changed, SealError> {
        self.change_at(Micros::EPOCH, configured, change, probe).await
    }

    async fn change_at(
        &self,
        now: Micros,
        configured: &NoteSigner,
        change: &Change,
        probe: &dyn Probe,
    ) -> Result<Changed, SealError> {
        let vault = self.vault();
        let archiver = Archiver {
            pool: self.pool.clone(),
            vault: &vault,
            signer: Arc::new(configured.clone()),
            origin: self.origin(),
            limits: Limits { rows: ROWS as u64, payload_bytes: 1 << 20 },
            probe,
        };
        archiver.change_key(change, "yearly", now, GRACE).await
    }

    pub async fn seal_by(&self, signer: &NoteSigner, now: Micros) -> Result<Sealed, SealError> {
        super::seal_with(&self.pool, &self.vault(), signer, now, &()).await
    }

    pub fn verify_by(&self, keys: &[&NoteSigner], revoked: &[(VerifierKey, Cutoff)]) -> Report {
        let seal_keys = keys.iter().map(|key| key.verifier().clone()).collect();
        let trust = self.ledger.trust.clone();
        verify(self.path(), Trust { seal_keys, revoked: revoked.to_vec(), ..trust })
    }

    /// The database's marks, those of the seal keys too.
    async fn all_marks(&self) -> (String, String) {
        let keys = sqlx::query_scalar(
            "SELECT concat_ws(E'\\n', (SELECT string_agg(k::text, E'\\n' ORDER BY place)
                                       FROM seal_keys k),
                                      (SELECT string_agg(n::text, E'\\n' ORDER BY log_index)
                                       FROM seal_key_notes n))",
        );
        (self.marks().await, keys.fetch_one(&self.pool).await.unwrap())
    }
}

pub fn succeed(key: &NoteSigner) -> Change {
    Change::Succeed { to: Arc::new(key.clone()) }
}

fn revoke(key: &NoteSigner) -> Change {
    Change::Revoke { key: Box::new(key.verifier().clone()) }
}

#[track_caller]
fn disagreement<T>(result: Result<T, SealError>) -> Disagreement {
    match result {
        Err(SealError::Disagreement(disagreement)) => *disagreement,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it went on"),
    }
}

fn tampering(report: &Report) -> Vec<Check> {
    let grave = report.findings.iter().filter(|f| f.check.severity() == Severity::Tampering);
    grave.map(|finding| finding.check).collect()
}

#[tokio::test]
async fn a_ledger_goes_on_under_the_next_key() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let (old, new, third) = (world.ledger.signer.clone(), world.key(2), world.key(3));
    let hours: Vec<_> = world.ledger.hours().collect();
    let nothing = world.change(&old, &succeed(&new), &()).await;
    assert!(matches!(disagreement(nothing), Disagreement::Change(_)), "nothing is sealed yet");
    world.seal_by(&old, closed(hours[1])).await.unwrap();

    let changed = world.change(&old, &succeed(&new), &()).await.unwrap();
    assert!(changed.published && changed.in_force == *new.verifier());
    let again = world.change(&old, &succeed(&new), &()).await.unwrap();
    assert!(!again.published, "it is done already");
    let archive = world.archive();
    match disagreement(world.seal_by(&old, closed(hours[2])).await) {
        Disagreement::SealKey { configured, in_force, since } => {
            assert_eq!((&*configured, &*in_force), (old.verifier(), new.verifier()));
            assert_eq!(since, changed.log_size);
        }
        other => panic!("{other}"),
    }
    assert!(world.archive() == archive, "the old key signs nothing any more");

    world.seal_by(&new, closed(hours[2])).await.unwrap();
    let back = world.change(&new, &succeed(&old), &()).await;
    assert!(matches!(disagreement(back), Disagreement::Leaf { .. }), "no key comes back");
    world.change(&new, &succeed(&third), &()).await.unwrap();
    world.seal_by(&third, closed(world.ledger.last_hour())).await.unwrap();
    for keys in [&[&old][..], &[&new], &[&third], &[&third, &old]] {
        let report = world.verify_by(keys, &[]);
        assert_eq!(report.verdict, Verdict::Proven, "{:#?}", report.findings);
        assert_eq!(report.seal_keys.unwrap().terms().count(), 3);
    }
    assert_eq!(tampering(&world.verify_by(&[&world.key(9)], &[])), [Check::CheckpointUntrusted]);

    // The service that compares its heads with the archive at start may know any of them.
    let address = world.path().to_string_lossy().into_owned();
    let mut expected = None;
    for key in [&third, &new, &old] {
        let heads = ingest::sealed::heads(&address, key.verifier(), &world.origin()).unwrap();
        assert!(!heads.is_empty());
        assert_eq!(*expected.get_or_insert_with(|| heads.clone()), heads);
    }
    let stranger = ingest::sealed::heads(&address, world.key(9).verifier(), &world.origin());
    assert!(stranger.is_err());

    // A database that is made again from the archive goes on under the same key.
    let url = postgres.database().unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    sqlx::migrate!("../migrations").run(&pool).await.unwrap();
    let insert = sqlx::query("INSERT INTO ledger (origin) VALUES ($1)");
    insert.bind(world.origin().as_str()).execute(&pool).await.unwrap();
    let source = verifier::store::FileSource::open(&address).unwrap();
    let trust = Trust { seal_keys: vec![third.verifier().clone()], ..world.ledger.trust.clone() };
    archiver::restore::restore(&pool, &source, &trust, Micros::EPOCH, &()).await.unwrap();
    let marks = world.all_marks().await;
    let restored = World { pool, ..world };
    assert_eq!(restored.all_marks().await, marks);
    let later = closed(restored.ledger.last_hour().next().unwrap());
    assert!(matches!(
        disagreement(restored.seal_by(&new, later).await),
        Disagreement::SealKey { .. }
    ));
    restored.seal_by(&third, later).await.unwrap();
    assert_eq!(restored.verify_by(&[&old], &[]).verdict, Verdict::Proven);
}

/// What a change comes to, and who may finish it.
struct Case {
    name: &'static str,
    configured: NoteSigner,
    change: Change,
    /// The key in force behind it.
    next: NoteSigner,
}

#[tokio::test]
async fn killed_after_any_step_of_a_change() {
    let postgres = Postgres::start().unwrap();
    let ledger = Ledger::of_several_hours();
    let template = World::template(&postgres, ledger.clone()).await;
    let (old, new) = (ledger.signer.clone(), key_of(&ledger.content.origin, 2));
    let hours: Vec<_> = ledger.hours().collect();
    let end = closed(ledger.last_hour());
    let cases = [
        Case {
            name: "succession",
            configured: old.clone(),
            change: succeed(&new),
            next: new.clone(),
        },
        Case {
            name: "revocation",
            configured: new.clone(),
            change: revoke(&old),
            next: new.clone(),
        },
    ];
    let mut kills = 0;
    for Case { name, configured, change, next } in cases {
        let world = template.copy(&postgres).await;
        world.seal_by(&old, closed(hours[1])).await.unwrap();
        let before = world.archive();
        world.change(&configured, &change, &()).await.unwrap();
        world.seal_by(&next, end).await.unwrap();
        let expected: (Archive, _) = (world.archive(), world.all_marks().await);
        let mut seen = Vec::new();
        for kill_at in 0.. {
            // Finished by the same command, or by whoever comes next with the new key.
            let mut stopped = false;
            for by_command in [true, false] {
                let world = template.copy(&postgres).await;
                world.seal_by(&old, closed(hours[1])).await.unwrap();
                let steps = AtomicUsize::new(0);
                let probe = |_: Step| steps.fetch_add(1, Ordering::Relaxed) != kill_at;
                match world.change(&configured, &change, &probe).await {
                    Err(SealError::Stopped(step)) => {
                        seen.push(step);
                        stopped = true;
                    }
                    done => drop(done.unwrap()),
                }
                let when = format!("{name}, killed after {:?}", seen.last());
                let keys = [&old, &new];
                let so_far = world.verify_by(&keys, &[]);
                let missing = [Check::WorkspaceMissing];
                let grave = tampering(&so_far);
                assert!(grave.iter().all(|c| missing.contains(c)), "{when}: {grave:?}");
                let archive = world.archive();
                // The old key gets no further, and nothing is written.
                let behind = disagreement(world.seal_by(&old, end).await);
                let told =
                    matches!(behind, Disagreement::ChangeBegun(_) | Disagreement::SealKey { .. });
                assert!(told, "{when}: {behind}");
                let trimmed = [Step::CheckpointPut];
                if !seen.last().is_some_and(|step| trimmed.contains(step)) {
                    assert!(world.archive() == archive, "{when}: the old key has written");
                }
                if by_command {
                    world.change(&configured, &change, &()).await.unwrap();
                }
                world.seal_by(&next, end).await.unwrap();
                assert!(world.archive() == expected.0, "{when}: other bytes");
                assert_eq!(world.all_marks().await, expected.1, "{when}");
                assert_eq!(world.verify_by(&[&new], &[]).verdict, Verdict::Proven, "{when}");
                assert!(
                    before
                        .keys()
                        .all(|key| key.contains(".p/") || archive.keys().any(|k| k == key))
                );
                kills += usize::from(stopped);
            }
            if !stopped {
                break;
            }
        }
        for step in Step::CHANGING_KEYS {
            assert!(seen.contains(&step), "{name}: {step:?} was never reached");
        }
    }
    let line = format!(
        "2.2 row 24: the seal key changed and killed after each step, {kills} times, finished by the \
         same command or by the next run: the same bytes each time"
    );
    checks::figures::tell(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")), &line).unwrap();
}

/// A run of sealing that died has left notes of the old key that no log names.
#[tokio::test]
async fn the_key_is_changed_where_sealing_has_died() {
    let postgres = Postgres::start().unwrap();
    let ledger = Ledger::of_several_hours();
    let template = World::template(&postgres, ledger.clone()).await;
    let (old, new) = (ledger.signer.clone(), key_of(&ledger.content.origin, 2));
    let hours: Vec<_> = ledger.hours().collect();
    let mut seen = Vec::new();
    for kill_at in 0.. {
        let world = template.copy(&postgres).await;
        world.seal_by(&old, closed(hours[0])).await.unwrap();
        let steps = AtomicUsize::new(0);
        let probe = |_: Step| steps.fetch_add(1, Ordering::Relaxed) != kill_at;
        let now = closed(hours[1]);
        match super::seal_with(&world.pool, &world.vault(), &old, now, &probe).await {
            Err(SealError::Stopped(step)) => seen.push(step),
            done => {
                done.unwrap();
                break;
            }
        }
        world.change_at(now, &old, &succeed(&new), &()).await.unwrap();
        world.seal_by(&new, closed(ledger.last_hour())).await.unwrap();
        let report = world.verify_by(&[&old], &[]);
        assert_eq!(report.verdict, Verdict::Proven, "{:?}: {:#?}", seen.last(), report.findings);
    }
    for step in Step::SEALING {
        assert!(seen.contains(&step), "{step:?} was never reached");
    }
}

#[tokio::test]
async fn another_change_waits_until_the_first_is_finished() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let (old, new, third) = (world.ledger.signer.clone(), world.key(2), world.key(3));
    let hours: Vec<_> = world.ledger.hours().collect();
    world.seal_by(&old, closed(hours[0])).await.unwrap();
    let kept = |step: Step| step != Step::ChangeKept;
    let stopped = world.change(&old, &succeed(&new), &kept).await;
    assert!(matches!(stopped, Err(SealError::Stopped(Step::ChangeKept))));
    match disagreement(world.change(&old, &succeed(&third), &()).await) {
        Disagreement::ChangeBegun(key) => assert_eq!(*key, *new.verifier()),
        other => panic!("{other}"),
    }
    assert!(world.change(&old, &succeed(&new), &()).await.unwrap().published);
}

#[tokio::test]
async fn a_stolen_key_counts_up_to_its_cutoff() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let (old, new) = (world.ledger.signer.clone(), world.key(2));
    let hours: Vec<_> = world.ledger.hours().collect();
    world.seal_by(&old, closed(hours[1])).await.unwrap();
    let stolen = world.archive();
    let refused = world.change(&old, &revoke(&old), &()).await;
    assert!(matches!(disagreement(refused), Disagreement::Change(_)), "by itself");
    let refused = world.change(&old, &revoke(&world.key(9)), &()).await;
    assert!(matches!(disagreement(refused), Disagreement::Checkpoint(_)), "of a stranger");

    // In force when it was stolen: the new one takes over, and whoever has the old one is told no.
    let changed = world.change(&new, &revoke(&old), &()).await.unwrap();
    world.seal_by(&new, closed(world.ledger.last_hour())).await.unwrap();
    let (key, cutoff) = changed.before.unwrap();
    assert_eq!((&key, cutoff.size), (old.verifier(), changed.log_size - 1));
    let known = [(key, cutoff)];
    for (keys, revoked) in [(&[&new][..], &[][..]), (&[&new], &known), (&[&new, &old], &known)] {
        let report = world.verify_by(keys, revoked);
        assert_eq!(report.verdict, Verdict::Proven, "{:#?}", report.findings);
    }
    assert_eq!(tampering(&world.verify_by(&[&old], &[])), [Check::CheckpointUntrusted]);

    // The thief goes on in a copy of his own, with what he finds or makes up.
    let forged = world.ledger.archive();
    let thief = tempfile::tempdir().unwrap();
    forged.store(thief.path()).unwrap();
    let trust = |keys: &[&NoteSigner], revoked: &[_]| Trust {
        seal_keys: keys.iter().map(|key| key.verifier().clone()).collect(),
        revoked: revoked.to_vec(),
        ..world.ledger.trust.clone()
    };
    let report = verify(thief.path(), trust(&[&old], &[]));
    assert_eq!(report.verdict, Verdict::Proven, "nothing tells an auditor who knows nothing");
    let report = verify(thief.path(), trust(&[&new], &known));
    assert!(tampering(&report).contains(&Check::RevokedKey), "{:#?}", report.findings);
    let untrusted = tampering(&verify(thief.path(), trust(&[&new], &[])));
    assert_eq!(untrusted.first(), Some(&Check::CheckpointUntrusted));
    // What was sealed before it was stolen is believed still, where it reaches the cut-off.
    let whole = tempfile::tempdir().unwrap();
    stolen.store(whole.path()).unwrap();
    let workspaces = std::collections::BTreeMap::new();
    let report = verify(whole.path(), Trust { workspaces, ..trust(&[&new], &known) });
    assert_eq!(report.verdict, Verdict::Proven, "{:#?}", report.findings);
}

/// Each change right behind the one before, so that no key between signs a leaf alone.
#[tokio::test]
async fn keys_that_have_signed_nothing_are_in_the_line_all_the_same() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let keys: Vec<_> = (2..6).map(|seed| world.key(seed)).collect();
    let first = world.ledger.signer.clone();
    let hours: Vec<_> = world.ledger.hours().collect();
    world.seal_by(&first, closed(hours[0])).await.unwrap();
    world.change(&first, &succeed(&keys[0]), &()).await.unwrap();
    world.change(&keys[1], &revoke(&keys[0]), &()).await.unwrap();
    world.change(&keys[2], &revoke(&keys[1]), &()).await.unwrap();
    world.change(&keys[2], &succeed(&keys[3]), &()).await.unwrap();
    world.change(&keys[3], &revoke(&first), &()).await.unwrap();
    world.seal_by(&keys[3], closed(world.ledger.last_hour())).await.unwrap();
    for (known, verdict) in [
        (&keys[3], Verdict::Proven),
        (&keys[2], Verdict::Proven),
        (&keys[1], Verdict::Tampered),
        (&first, Verdict::Tampered),
    ] {
        let report = world.verify_by(&[known], &[]);
        assert_eq!(report.verdict, verdict, "{:#?}", report.findings);
    }
    assert_eq!(world.verify().seal_keys.unwrap().terms().count(), 5);
    assert!(!world.change(&keys[3], &revoke(&keys[0]), &()).await.unwrap().published);
    let address = world.path().to_string_lossy().into_owned();
    ingest::sealed::heads(&address, keys[3].verifier(), &world.origin()).unwrap();
}

#[tokio::test]
async fn a_key_may_turn_out_to_be_stolen_after_its_time() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    let (old, new) = (world.ledger.signer.clone(), world.key(2));
    let hours: Vec<_> = world.ledger.hours().collect();
    world.seal_by(&old, closed(hours[0])).await.unwrap();
    let changed = world.change(&old, &succeed(&new), &()).await.unwrap();
    world.seal_by(&new, closed(hours[1])).await.unwrap();
    let revoked = world.change(&new, &revoke(&old), &()).await.unwrap();
    assert_eq!((&revoked.in_force, &revoked.before), (new.verifier(), &changed.before));
    assert!(!world.change(&new, &revoke(&old), &()).await.unwrap().published, "once");
    world.seal_by(&new, closed(world.ledger.last_hour())).await.unwrap();
    assert_eq!(world.verify_by(&[&new], &[]).verdict, Verdict::Proven);
    let report = world.verify_by(&[&old], &[]);
    assert_eq!(report.verdict, Verdict::Short);
    assert!(report.findings.iter().any(|finding| finding.check == Check::RestsOnRevoked));
    let known: Vec<_> = changed.before.into_iter().collect();
    assert_eq!(world.verify_by(&[&old], &known).verdict, Verdict::Proven);
}

/// A KMS that answers with something else than a signature, or not at all.
#[derive(Debug)]
struct Kms(NoteSigner, Option<SigningKey>);

impl Signer for Kms {
    fn verifier(&self) -> &VerifierKey {
        self.0.verifier()
    }

    fn sign(&self, body: &[u8]) -> Result<ledger::key::Signature, ledger::note::SignerError> {
        let Some(other) = &self.1 else {
            let (key, reason) = (Box::new(self.verifier().clone()), "no answer".to_owned());
            return Err(ledger::note::SignerError { key, reason });
        };
        Ok(other.sign(body))
    }
}

#[tokio::test]
async fn a_key_that_signs_wrongly_seals_nothing() {
    let postgres = Postgres::start().unwrap();
    let world = World::new(&postgres, Ledger::of_several_hours()).await;
    for other in [None, Some(SigningKey::from_seed(&[9; 32]))] {
        let vault = world.vault();
        let archiver = Archiver {
            pool: world.pool.clone(),
            vault: &vault,
            signer: Arc::new(Kms(world.ledger.signer.clone(), other)),
            origin: world.origin(),
            limits: Limits { rows: ROWS as u64, payload_bytes: 1 << 20 },
            probe: &(),
        };
        let sealed = archiver.seal(closed(world.ledger.last_hour()), GRACE).await;
        assert!(matches!(sealed, Err(SealError::Signer(_))));
        assert!(!world.archive().keys().any(|key| key.ends_with(".note")));
    }
    world.seal().await.unwrap();
    assert!(world.archive() == world.ledger.archive());
}

/// The golden archive knows no change of keys, and is what it was.
#[test]
fn an_archive_of_one_key_is_verified_as_before() {
    let (archive, trust) = golden();
    let report = verifier::audit::verify(&archive, trust, Default::default(), &());
    assert_eq!(report.verdict, Verdict::Proven);
    let line = report.seal_keys.unwrap();
    assert_eq!((line.terms().count(), line.revoked()), (1, &[][..]));
}

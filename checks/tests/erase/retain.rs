//! What a policy does not keep goes, what it keeps stays, and an auditor sees which is which.

use archiver::SealError;
use archiver::restore::{RestoreError, restore};
use archiver::retain::{PrunedRun, Retained, Stay, Why};
use archiver::step::Step;
use checks::tools::python;
use ledger::verify::{Check, Verdict};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use verifier::store::FileSource;

use crate::commands::run;
use crate::world::{Copy, World, at, erasure, event, shown};

/// Payloads stay in the database for a day, objects in the archive for two.
pub const POLICY: &str = "[database]\nkeep_days = 1\n\
                          [archive]\nkeep_days = 2\nwhy = \"these are tests\"\n";
/// When all of the world's records are over by [`POLICY`].
pub const LATER: i64 = 5 * 24;

/// Events whose object goes by [`POLICY`].
const PRUNED: std::ops::RangeInclusive<u64> = 4..=18;

/// The world, sealed and erased up to [`LATER`], its service stopped.
async fn sealed() -> (World, Copy) {
    let mut world = World::of_three_days().await;
    world.stop().await;
    let ledger = world.copy();
    ledger.seal(at(LATER)).await;
    ledger.erase().await;
    (world, ledger)
}

/// Runs of pruned chunks of `acme`, by first and last seq. The ledger's own workspace has some, too.
fn runs(retained: &Retained) -> Vec<(u64, u64, u64)> {
    let run = |run: &PrunedRun| (run.first_seq.get(), run.last_seq.get(), run.chunks);
    retained.pruned.iter().filter(|run| run.workspace.as_str() == "acme").map(run).collect()
}

fn days(retained: &Retained) -> Vec<String> {
    retained.days.iter().map(|day| day.day.date()).collect()
}

/// What stays: its hour, its first seq where it is a chunk, and why.
fn stays(retained: &Retained) -> Vec<(String, Option<u64>, &'static str)> {
    let stay = |stay: &Stay| {
        let seq = stay.chunk.as_ref().map(|(_, first, _)| *first);
        (stay.hour.to_string().get(5..13).unwrap().to_owned(), seq, stay.why.as_str())
    };
    retained.stays.iter().map(stay).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_and_the_rest_stays() {
    let (world, ledger) = sealed().await;
    let (before, rehearsed) = (ledger.objects(), ledger.rehearse(POLICY, at(LATER)).await);
    assert!(rehearsed.dry_run && ledger.objects() == before);
    assert_eq!(days(&rehearsed), ["2026-11-23", "2026-11-24", "2026-11-25"]);
    let trace = ledger.traces(7).await;
    assert_eq!((trace.0.len(), trace.1.len()), (1, 1), "a rehearsal takes nothing: {trace:?}");

    let acts: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM entries WHERE workspace = 'ledger.acts'
         AND event_type_of(payload) NOT LIKE 'ledger.%'",
    )
    .fetch_one(&ledger.pool)
    .await
    .unwrap();
    let acts = acts.unsigned_abs();
    let retained = ledger.retain(POLICY, at(LATER)).await;
    assert_eq!(days(&retained), days(&rehearsed));
    // 18 events, of which 5 was erased before, and those that say what was done here.
    let payloads: u64 = retained.days.iter().filter_map(|day| day.payloads).sum();
    assert_eq!(payloads, 17 + acts, "{retained:?}");
    assert_eq!(runs(&retained), [(5, 13, 3), (15, 20, 2)], "{retained:?}");
    for stay in [("11-23T16", 1), ("11-24T17", 14)] {
        let stay = (stay.0.to_owned(), Some(stay.1), "ledger-events");
        assert!(stays(&retained).contains(&stay), "{retained:?}");
    }
    assert_eq!(retained.kept, [""; 0]);
    for n in 1..=18 {
        let (objects, tables) = ledger.traces(n).await;
        let left = usize::from(!PRUNED.contains(&n));
        assert_eq!((objects.len(), tables.len()), (left, 0), "event {n}: {objects:?} {tables:?}");
    }

    // An auditor is told, and asks for six months unless told otherwise.
    let report = ledger.verify(true);
    let checks: Vec<Check> = report.findings.iter().map(|finding| finding.check).collect();
    assert!(checks.contains(&Check::Pruned) && checks.contains(&Check::PrunedEarly), "{checks:?}");
    assert_eq!(report.verdict, Verdict::Short, "{:?}", report.findings);
    let report = ledger.verify_kept(2);
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
    assert_eq!(ledger.verify_kept(3).verdict, Verdict::Short);
    second_verifier_agrees(&world, &ledger).await;

    // Again: nothing more.
    let (archive, again) = (ledger.objects(), ledger.retain(POLICY, at(LATER)).await);
    assert_eq!((days(&again).len(), runs(&again).len()), (0, 0), "{again:?}");
    assert!(ledger.objects() == archive);
}

async fn second_verifier_agrees(world: &World, ledger: &Copy) {
    let (code, summary) =
        python("verify.py", &[ledger.archive.as_path(), &world.rig.trust()]).await.unwrap();
    assert_eq!(code, Some(0), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_goes_on_after_it() {
    let (mut world, ledger) = sealed().await;
    ledger.retain(POLICY, at(LATER)).await;
    world.restart().await;
    // The first day's events are known though they are nowhere any more.
    let again = world.founder.sign(vec![event(7)]);
    let answer = format!("{:?}", world.client().post(&again).await);
    assert!(answer.contains("409"), "{answer}");
    world.record((20..23).map(event).collect()).await;
    // What is pruned is erased all the same: the chain says so, and there is nothing left to amend.
    world.record(vec![erasure(102, &[8, 20])]).await;
    world.clock.reach(at(LATER + 1));
    ledger.seal(at(LATER + 1)).await;
    let erased = ledger.erase().await;
    // 20 was withheld as its hour was sealed, and 8 is nowhere.
    assert_eq!((erased.payloads, erased.chunks), (2, 0), "{erased:?}");
    assert_eq!(ledger.withheld().await.iter().filter(|(_, by)| *by == 24).count(), 2);
    let report = ledger.verify_kept(2);
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_what_it_names() {
    let (_world, ledger) = sealed().await;
    let hold = "[[hold]]\nworkspace = \"acme\"\nfrom = \"2026-11-24\"\nthrough = \"2026-11-24\"\n\
                reason = \"case 12/26\"\n";
    let held = format!("{POLICY}{hold}");
    let rehearsed = ledger.rehearse(&held, at(LATER)).await;
    let retained = ledger.retain(&held, at(LATER)).await;
    assert_eq!(days(&retained), ["2026-11-23", "2026-11-25"]);
    assert_eq!(runs(&retained), [(5, 10, 2), (18, 20, 1)]);
    assert_eq!(runs(&rehearsed), runs(&retained));
    let why = |retained: &Retained| {
        retained
            .stays
            .iter()
            .filter_map(|stay| match &stay.why {
                Why::Held { reason, .. } => Some((stay.chunk.is_some(), reason.clone())),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    // The day, and its three chunks.
    assert_eq!(why(&retained).len(), 4, "{retained:?}");
    assert!(why(&retained).iter().all(|(_, reason)| reason == "case 12/26"));
    assert_eq!(why(&rehearsed), why(&retained));
    let trace = ledger.traces(11).await;
    assert_eq!((trace.0.len(), trace.1.len()), (1, 1), "{trace:?}");
    assert_eq!(ledger.verify_kept(2).verdict, Verdict::Proven);

    // Lifted, it goes.
    let lifted = ledger.retain(POLICY, at(LATER)).await;
    assert_eq!((days(&lifted).len(), runs(&lifted)), (1, vec![(11, 13, 1), (15, 17, 1)]));
    assert_eq!(ledger.verify_kept(2).verdict, Verdict::Proven);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_that_is_not_sealed() {
    let mut world = World::of_three_days().await;
    world.stop().await;
    let ledger = world.copy();
    ledger.seal(at(24)).await;
    let retained = ledger.retain(POLICY, at(LATER)).await;
    assert_eq!(days(&retained), ["2026-11-23"]);
    assert_eq!(runs(&retained), [], "by the clock of the log, two days have not passed");
    let not_sealed: Vec<_> =
        stays(&retained).into_iter().filter(|stay| stay.2 == "not-sealed").collect();
    assert_eq!(not_sealed.len(), 2, "{retained:?}");
    assert_eq!(ledger.verify_kept(2).verdict, Verdict::Proven);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_says_something_else_than_the_archive_keeps_its_day() {
    let (world, _) = sealed().await;
    world.rig.pool.close().await;
    let changes = [
        ("payload", "UPDATE entries SET payload = payload || ' ' WHERE seq = 12"),
        ("event_id", "UPDATE entries SET event_id = gen_random_uuid() WHERE seq = 12"),
        ("link", "UPDATE entries SET link = payload_digest WHERE seq = 12"),
        ("payload_digest", "UPDATE entries SET payload_digest = link WHERE seq = 12"),
        ("seq", "DELETE FROM entries WHERE seq = 12"),
    ];
    for (number, (column, change)) in (1..).zip(changes) {
        let ledger = world.another(number).await;
        let sql =
            format!("SET session_replication_role = replica; {change} AND workspace = 'acme'");
        let mut conn = ledger.pool.acquire().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await.unwrap();
        drop(conn);
        let refused = ledger.retain_with(POLICY, at(LATER), &()).await.unwrap_err();
        let told = refused.to_string();
        assert!(refused.code() == 4 && told.contains(column) && told.contains("seq 12"), "{told}");
        // The day before went; this one did not, and nothing was pruned.
        let trace = ledger.traces(14).await;
        assert_eq!((trace.0.len(), trace.1.len()), (1, 1), "{column}: {trace:?}");
        assert_eq!(ledger.verify(true).verdict, Verdict::Proven, "{column}");
        ledger.pool.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_does_not_verify_loses_nothing() {
    let (_world, ledger) = sealed().await;
    let objects = ledger.objects();
    let object = objects.keys().find(|key| key.contains("0000011-")).unwrap();
    let path = ledger.archive.join(object);
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for broken in [Some(flipped), None] {
        match &broken {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let refused = ledger.retain_with(POLICY, at(LATER), &()).await.unwrap_err();
        assert!(refused.code() == 4 && refused.to_string().contains(object), "{refused}");
        let trace = ledger.traces(12).await;
        assert_eq!(trace.1.len(), 1, "{trace:?}");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(runs(&ledger.retain(POLICY, at(LATER)).await), [(5, 13, 3), (15, 20, 2)]);
}

/// A ledger whose prune records are kept and not logged.
async fn planned() -> (World, Copy) {
    let (world, ledger) = sealed().await;
    let at_kept = |step: Step| step != Step::LeavesKept;
    let stopped = ledger.retain_with(POLICY, at(LATER), &at_kept).await;
    assert!(matches!(stopped, Err(SealError::Stopped(Step::LeavesKept))), "{stopped:?}");
    (world, ledger)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seal_key_changes_while_a_record_waits() {
    let (_world, ledger) = planned().await;
    ledger.rotate(at(LATER)).await;
    assert_eq!(runs(&ledger.retain(POLICY, at(LATER)).await), [], "changing the key has logged it");
    assert_eq!(ledger.traces(7).await, (vec![], vec![]));
    let report = ledger.verify_kept(2);
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seal_key_is_stolen_while_a_record_waits() {
    let (_world, ledger) = planned().await;
    ledger.revoke(at(LATER)).await;
    assert_eq!(runs(&ledger.retain(POLICY, at(LATER)).await), [(5, 13, 3), (15, 20, 2)]);
    let report = ledger.verify_kept(2);
    assert!(
        report.findings.iter().all(|finding| finding.check.id() == "T003"),
        "what only the auditor's trust file can settle: {:?}",
        report.findings
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_are_lost_are_read_again() {
    let (_world, ledger) = sealed().await;
    ledger.retain(POLICY, at(LATER)).await;
    let marks = async || -> Vec<String> {
        let sql =
            "SELECT concat_ws(' ', workspace, first_seq, log_index) FROM pruned_chunks ORDER BY 1";
        sqlx::query_scalar(sql).fetch_all(&ledger.pool).await.unwrap()
    };
    let (archive, before) = (ledger.objects(), marks().await);
    assert_eq!(before.len(), 5);
    let lose = "TRUNCATE sealed_chunks, sealed_hours, amended_chunks, pruned_chunks, published";
    sqlx::raw_sql(lose).execute(&ledger.pool).await.unwrap();
    let again = ledger.retain(POLICY, at(LATER)).await;
    assert_eq!((runs(&again), again.recovered), (vec![], again.log_size));
    assert_eq!(marks().await, before);
    assert!(ledger.objects() == archive);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_brought_back_is_seen_and_one_that_another_takes_is_tampering() {
    let (_world, ledger) = sealed().await;
    let whole = ledger.objects();
    ledger.retain(POLICY, at(LATER)).await;
    let key = whole.keys().find(|key| key.contains("0000011-")).unwrap();
    let path = ledger.archive.join(key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &whole.0[key]).unwrap();
    assert_eq!(ledger.verify_kept(2).verdict, Verdict::Proven, "it is what it was");
    std::fs::write(&path, b"something else").unwrap();
    assert_eq!(ledger.verify_kept(2).verdict, Verdict::Tampered);
    std::fs::remove_file(&path).unwrap();
    // Without a record, a missing object is loss.
    let kept = whole.keys().find(|key| key.contains("0000014-")).unwrap();
    std::fs::remove_file(ledger.archive.join(kept)).unwrap();
    let report = ledger.verify_kept(2);
    assert_eq!(report.verdict, Verdict::Tampered);
    assert!(report.findings.iter().any(|finding| finding.check == Check::ObjectMissing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_archive_makes_no_database_and_says_why() {
    let (world, ledger) = sealed().await;
    ledger.retain(POLICY, at(LATER)).await;
    let url = world.rig.postgres.database().unwrap();
    ingest::store::migrate(&url, &world.rig.origin).await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    let trust = verifier::trust::parse(&std::fs::read_to_string(world.rig.trust()).unwrap());
    let source = FileSource::open(&ledger.archive.to_string_lossy()).unwrap();
    let refused = restore(&pool, &source, &trust.unwrap(), at(LATER), &()).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Pruned(_)), "{refused}");
    assert_eq!(refused.code(), 4);
    let entries: i64 =
        sqlx::query_scalar("SELECT count(*) FROM entries").fetch_one(&pool).await.unwrap();
    assert_eq!(entries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_seals_erases_and_lets_go() {
    let mut world = World::of_three_days().await;
    world.stop().await;
    let ledger = world.copy();
    let policy = world.rig.directory.join("retention.toml");
    std::fs::write(&policy, POLICY).unwrap();
    ledger.run_daemon(at(LATER), Some(policy)).await;
    for n in PRUNED {
        assert_eq!(ledger.traces(n).await, (vec![], vec![]), "event {n}");
    }
    assert_eq!(ledger.verify_kept(2).verdict, Verdict::Proven);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_seals_on_where_nothing_can_be_let_go() {
    let mut world = World::of_three_days().await;
    world.stop().await;
    let ledger = world.copy();
    ledger.seal(at(LATER - 2)).await;
    let policy = world.rig.directory.join("retention.toml");
    std::fs::write(&policy, POLICY).unwrap();
    let change = "SET session_replication_role = replica;
                  UPDATE entries SET payload = payload || ' ' WHERE seq = 12 AND workspace = 'acme'";
    let mut conn = ledger.pool.acquire().await.unwrap();
    sqlx::raw_sql(change).execute(&mut *conn).await.unwrap();
    drop(conn);
    ledger.run_daemon_until(at(LATER), Some(policy), "failures > 0 AND code = 4").await;
    let last: i64 = sqlx::query_scalar("SELECT max(hour) FROM sealed_hours")
        .fetch_one(&ledger.pool)
        .await
        .unwrap();
    assert_eq!(last, at(LATER - 1).hour().start().get(), "every hour that has closed is sealed");
    let trace = ledger.traces(14).await;
    assert_eq!((trace.0.len(), trace.1.len()), (1, 1), "{trace:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_command() {
    let (world, ledger) = sealed().await;
    let (url, archive) = (world.rig.postgres.url(), shown(&world.rig.archive()));
    let origin = world.rig.origin.to_string();
    let settings = ["--origin", &origin, "--database-url", &url, "--archive-url", &archive];
    let settings = [&settings[..], &["--seal-key", "keys/seal.pem"]].concat();
    let archiver =
        |arguments: &[&str]| run(&world, "tally-archiver", &[arguments, &settings[..]].concat());
    let (code, text) = archiver(&["retain"]);
    assert!(code == 2 && text.contains("archive.retention_policy"), "{text}");
    let (code, text) = archiver(&["retain", "--policy", "nowhere.toml"]);
    assert!(code == 2 && text.contains("nowhere.toml"), "{text}");
    let short = POLICY.replace("why", "# why");
    std::fs::write(world.rig.directory.join("short.toml"), short).unwrap();
    let (code, text) = archiver(&["retain", "--policy", "short.toml"]);
    assert!(code == 2 && text.contains("184 days") && text.contains("archive.why"), "{text}");
    let (code, text) = archiver(&["run", "--retention-policy", "short.toml"]);
    assert!(code == 2 && text.contains("184 days"), "{text}");
    std::fs::write(world.rig.directory.join("retention.toml"), POLICY).unwrap();
    // The program's clock is the real one: by that of the log, only what is sealed has passed.
    let before = ledger.objects();
    let own = ["--retention-policy", "retention.toml"];
    let (code, text) = archiver(&[&["retain", "--dry-run", "--json"], &own[..]].concat());
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["dry_run"]), (0, &json!(true)), "{told}");
    assert!(ledger.objects() == before);
    let (code, text) = archiver(&[&["retain"], &own[..]].concat());
    assert!(code == 0 && text.contains("the log has"), "{text}");
    let status = archiver(&["status"]);
    assert!(status.0 == 0, "{}", status.1);
    let verify =
        ["verify", "--archive", &archive, "--trust", "trust.toml", "--allow-erased", "--any-age"];
    let verify = |more: &[&str]| run(&world, "tally-verify", &[&verify[..], more].concat());
    let pruned = ["--allow-pruned", "--min-kept-days", "2"];
    let (code, text) = verify(&pruned);
    assert_eq!(code, 0, "{text}");
}

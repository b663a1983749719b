//! Erasure of what is in the archive alone: the archive is amended, and the database says so.

use checks::forge::Archive;
use ledger::layout::Artefact;
use ledger::verify::{Check, Verdict};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use verifier::rows::ChunkRows;

use crate::world::{World, canary, erasure, id, noon, start};

impl World {
    /// Whether the archive still has the payload of an event.
    fn is_in_archive(&self, n: u64) -> bool {
        let archive = Archive::load(&self.rig.archive()).unwrap();
        archive.0.iter().any(|(key, bytes)| {
            let Some(Artefact::Events { range, .. }) = Artefact::parse(key) else {
                return false;
            };
            let count = range.last_seq.get() - range.first_seq.get() + 1;
            let rows = ChunkRows::open(bytes.clone(), &self.rig.origin, &range.workspace, count);
            rows.unwrap().any(|batch| {
                let batch = batch.unwrap();
                let mut payloads = batch.rows().map(|row| row.payload.unwrap_or_default().to_vec());
                payloads.any(|payload| String::from_utf8(payload).unwrap().contains(&canary(n)))
            })
        })
    }

    /// Which entries of `acme` lack their payload: whether archived, and what erased them.
    async fn withheld(&self) -> Vec<(i64, bool, Option<i64>)> {
        sqlx::query_as(
            "SELECT seq, archived, erased_by FROM entries
             WHERE workspace = 'acme' AND payload IS NULL
               AND (NOT archived OR erased_by IS NOT NULL) ORDER BY seq",
        )
        .fetch_all(&self.rig.pool)
        .await
        .unwrap()
    }

    /// The code with which a statement is refused, whoever asks; `None` where it is not.
    async fn code(&self, statement: &str) -> Option<String> {
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&self.rig.pool);
        done.await.err().map(refusal)
    }
}

/// The code of an error of the database.
fn refusal(error: sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        other => other.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_event_is_erased_where_it_is() {
    let mut world = World::of_days().await;
    world.archive(start(0)).await.unwrap();
    // Events 2 and 4 are at seqs 14 and 16 of the archived day, event 5 at 27 of one that is not.
    world.record(vec![erasure(101, &[2, 4, 5])]).await;
    let waiting = world.erase().await;
    assert_eq!((waiting.payloads, waiting.waiting), (0, 3), "{waiting:?}");
    assert!([2, 4, 5].iter().all(|n| world.is_in_archive(*n)));
    let (status, _) = world.get(&format!("events/{}", id(2))).await;
    assert_eq!(status, 410, "it is in the archive until the request is sealed");

    world.clock.reach(noon(3));
    world.seal(3).await;
    assert_eq!(world.verify(false).verdict, Verdict::Proven);
    let erased = world.erase().await;
    assert_eq!((erased.payloads, erased.requests, erased.chunks), (3, 1, 2), "{erased:?}");
    assert_eq!((erased.waiting, erased.kept.len()), (0, 0), "{erased:?}");
    for n in 1..7 {
        assert_eq!(world.is_in_archive(n), ![2, 4, 5].contains(&n), "event {n}");
    }
    let by = Some(32);
    assert_eq!(world.withheld().await, [(14, true, by), (16, true, by), (27, false, by)]);
    let report = world.verify(false);
    let checks: Vec<Check> = report.findings.iter().map(|finding| finding.check).collect();
    assert_eq!((report.verdict, checks.as_slice()), (Verdict::Short, [Check::Erased].as_slice()));
    assert_eq!(verifier::exit::number(report.verdict), 4);
    assert_eq!(world.verify(true).verdict, Verdict::Proven);

    // It is shown as any other that was erased, and its neighbour as archived.
    for n in [2, 4, 5] {
        let (status, one) = world.get(&format!("events/{}", id(n))).await;
        assert_eq!((status, &one["payload"], &one["erased_by"]), (200, &Value::Null, &json!(32)));
        assert_eq!(one.get("archived"), None, "{one}");
    }
    assert_eq!(world.get(&format!("events/{}", id(3))).await.0, 410);
    let entries = world.entries().await;
    assert_eq!((&entries[13]["erased_by"], entries[13].get("archived")), (&json!(32), None));
    assert_eq!((entries[14].get("erased_by"), &entries[14]["archived"]), (None, &json!(true)));

    // Nothing is left to do: by this run, for the same events asked for again, and after the day of
    // the request itself has been archived.
    world.record(vec![erasure(102, &[2, 5])]).await;
    world.clock.reach(noon(4));
    world.seal(4).await;
    for day in [1, 2, 3] {
        let again = world.erase().await;
        assert_eq!((again.payloads, again.requests, again.chunks), (0, 0, 0), "{again:?}");
        world.archive(start(day)).await.unwrap();
    }
    assert_eq!(world.withheld().await, [(14, true, by), (16, true, by), (27, false, by)]);
    world.stop().await;
    assert_eq!(world.verify(true).verdict, Verdict::Proven);
    let figures = world.judge(None).await;
    assert!(figures.held(), "{figures}: {:?}", figures.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_own_day_is_archived_first_is_carried_out_all_the_same() {
    let mut world = World::of_days().await;
    world.record(vec![erasure(101, &[2, 4, 5])]).await;
    world.clock.reach(noon(3));
    world.seal(3).await;
    // Retention comes before the erasure, for the days of what it names and its own.
    for day in 0..3 {
        world.archive(start(day)).await.unwrap();
    }
    assert_eq!(world.withheld().await, []);
    let erased = world.erase().await;
    assert_eq!((erased.payloads, erased.requests, erased.chunks), (3, 1, 2), "{erased:?}");
    let by = Some(32);
    assert_eq!(world.withheld().await, [(14, true, by), (16, true, by), (27, true, by)]);
    assert!([2, 4, 5].iter().all(|n| !world.is_in_archive(*n)));
    assert_eq!(world.verify(false).verdict, Verdict::Short);
    assert_eq!(world.verify(true).verdict, Verdict::Proven);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_row_changes_only_where_the_chain_says_so() {
    let mut world = World::of_days().await;
    world.record(vec![erasure(101, &[1])]).await;
    world.record(vec![erasure(102, &[1, 2])]).await;
    world.archive(start(0)).await.unwrap();
    // Even of a superuser: seq 32 erases the event at seq 13, seq 33 that and the one at 14.
    for statement in [
        "UPDATE entries SET erased_by = 32 WHERE seq = 14",
        "UPDATE entries SET erased_by = 28 WHERE seq = 13",
        "UPDATE entries SET erased_by = 999 WHERE seq = 13",
        "UPDATE entries SET erased_by = NULL WHERE seq = 13",
        "UPDATE entries SET erased_by = 32, archived = false WHERE seq = 13",
        "UPDATE entries SET archived = false, payload = 'x' WHERE seq = 13",
        "UPDATE entries SET payload = 'x' WHERE seq = 13",
        "UPDATE entries SET erased_by = 32, link = sha256(link) WHERE seq = 13",
        "UPDATE entries SET erased_by = 32, recorded_at = recorded_at + 1 WHERE seq = 13",
        // Archived by hand, and the payloads that stay.
        "UPDATE entries SET archived = true WHERE seq = 20",
        "UPDATE entries SET archived = true, payload = NULL WHERE seq = 20",
        "UPDATE entries SET payload = NULL, archived = true WHERE seq = 1",
        "UPDATE entries SET payload = NULL, erased_by = 32 WHERE seq = 1",
        "UPDATE entries_20241004 SET erased_by = 32 WHERE seq = 13",
        "DELETE FROM entries_20241004 WHERE seq = 13",
        "TRUNCATE entries_20241004",
    ] {
        let statement = format!("{statement} /* of acme */");
        let of_acme = statement.replace("WHERE", "WHERE workspace = 'acme' AND");
        assert_eq!(world.code(&of_acme).await.as_deref(), Some("23001"), "{statement}");
    }
    // What the table itself takes.
    for (values, code) in [
        ("NULL, NULL, false", Some("23514")),
        ("NULL, 7, false", Some("23514")),
        ("NULL, 7, true", Some("23514")),
        ("'x', NULL, true", Some("23514")),
        ("'x', 999, false", Some("23514")),
        ("NULL, NULL, NULL", Some("23502")),
        ("NULL, NULL, true", None),
        ("NULL, 999, true", None),
        ("NULL, 999, false", None),
        ("'x', NULL, false", None),
    ] {
        let insert = format!(
            "INSERT INTO entries SELECT 'other', 99, recorded_at, event_id, payload_digest, link,
             {values} FROM entries WHERE workspace = 'acme' AND seq = 13"
        );
        let mut transaction = world.rig.pool.begin().await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut *transaction).await;
        assert_eq!(done.err().map(refusal).as_deref(), code, "{values}");
        transaction.rollback().await.unwrap();
    }
    assert_eq!(world.withheld().await, []);
    // The first request that is carried out is the one that is named; later ones find nothing to do.
    world.clock.reach(noon(3));
    world.seal(3).await;
    assert_eq!(world.erase().await.payloads, 2);
    assert_eq!(world.withheld().await, [(13, true, Some(32)), (14, true, Some(33))]);
    let again = "UPDATE entries SET erased_by = 33 WHERE workspace = 'acme' AND seq = 13";
    assert_eq!(world.code(again).await.as_deref(), Some("23001"));
    world.stop().await;
}

/// What an erasure names is looked up in archived days too.
#[tokio::test(flavor = "multi_thread")]
async fn the_door_knows_what_an_erasure_names_in_archived_days() {
    let mut world = World::of_days().await;
    world.archive(start(0)).await.unwrap();
    let opening = world.entries().await[0]["event_id"].as_str().unwrap().to_owned();
    let text = String::from_utf8(erasure(101, &[1, 77])).unwrap();
    let named = text.replace(&id(77), &opening);
    for (payload, reason) in [(text.clone(), "not-recorded"), (named, "ledger-event")] {
        let submission = world.founder.sign(vec![payload.into_bytes()]);
        match world.client().post(&submission).await {
            checks::driver::Answer::Refused { status: 409, problem } => {
                let problem: Value = serde_json::from_str(&problem).unwrap();
                assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
                assert_eq!(problem["errors"][0]["reason"], reason, "{problem}");
                assert_eq!(problem["errors"][0]["pointer"], "/context/event_ids/1");
            }
            other => panic!("{other:?}"),
        }
    }
    world.record(vec![erasure(102, &[1, 2])]).await;
    world.stop().await;
}

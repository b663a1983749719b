//! What the database lets happen to a payload, whoever asks, and what the archiver makes of a
//! database that was changed.

use archiver::{Disagreement, SealError};
use ledger::verify::{Check, Verdict};
use sqlx::{AssertSqlSafe, PgPool};

use crate::world::{World, at, event, id, typed};

/// The code with which a statement is refused; `None` where it is not.
async fn refusal(pool: &PgPool, statement: &str) -> Option<String> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool).await;
    done.err().map(|error| match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        other => other.to_string(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_goes_only_where_the_chain_says_so() {
    let mut world = World::of_three_hours().await;
    let pool = &world.rig.pool;
    let ledger = world.copy();
    ledger.seal(at(3)).await;
    // Even of a superuser: seq 16 erases the events at seqs 3, 4, 6 and 14.
    for statement in [
        "UPDATE entries SET payload = NULL WHERE seq = 3",
        "UPDATE entries SET payload = NULL, erased_by = 16 WHERE seq = 5",
        "UPDATE entries SET payload = NULL, erased_by = 16 WHERE seq = 1",
        "UPDATE entries SET payload = NULL, erased_by = 15 WHERE seq = 3",
        "UPDATE entries SET payload = NULL, erased_by = 2 WHERE seq = 3",
        "UPDATE entries SET payload = NULL, erased_by = 999 WHERE seq = 3",
        "UPDATE entries SET payload = NULL, erased_by = 16, link = sha256(link) WHERE seq = 3",
        "UPDATE entries SET payload = NULL, erased_by = 17 WHERE seq = 16",
        "UPDATE entries SET payload = 'x' WHERE seq = 3",
        "UPDATE entries SET erased_by = 16 WHERE seq = 3",
        "UPDATE entries_20261123 SET payload = NULL, erased_by = 16 WHERE seq = 3",
        "DELETE FROM erasures",
        "UPDATE erasures SET seq = 15",
        "TRUNCATE erasures",
    ] {
        let statement = format!("{statement} /* of acme */");
        assert_eq!(refusal(pool, &statement).await.as_deref(), Some("23001"), "{statement}");
    }
    for (statement, code) in [
        ("SELECT erase_payloads('acme', 15)", "22023"),
        ("SELECT erase_payloads('nowhere', 16)", "22023"),
        // Withheld from the start, without an entry that says so.
        (
            "INSERT INTO entries SELECT workspace, 99, recorded_at, gen_random_uuid(),
             payload_digest, link, NULL FROM entries WHERE seq = 3",
            "23514",
        ),
    ] {
        assert_eq!(refusal(pool, statement).await.as_deref(), Some(code), "{statement}");
    }
    assert_eq!(ledger.withheld().await, []);
    assert_eq!(refusal(pool, "SELECT erase_payloads('acme', 16)").await, None);
    assert_eq!(ledger.withheld().await, [(3, 16), (4, 16), (6, 16), (14, 16)]);
    // What is gone does not come back either, and is not erased by another.
    for statement in [
        "UPDATE entries SET payload = 'x', erased_by = NULL WHERE seq = 3",
        "UPDATE entries SET erased_by = 17 WHERE seq = 3",
    ] {
        assert_eq!(refusal(pool, statement).await.as_deref(), Some("23001"), "{statement}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_reads_types_as_the_ledger_does() {
    let mut world = World::new().await;
    // The same type, with escapes where a search for its text would miss it.
    let escaped = |n: u64| {
        let text = String::from_utf8(typed(n, "kind", &serde_json::Value::Null)).unwrap();
        text.replace("\"kind\"", r#""\u006cedger\u002enote\ud83d\ude00""#).into_bytes()
    };
    let plain = "ledger.note\u{1f600}";
    let submission = world.founder.sign(vec![escaped(1)]);
    let answer = world.client().post(&submission).await;
    // The door knows no such type; what it would be is read alike.
    assert!(matches!(answer, checks::driver::Answer::Refused { status: 422, .. }), "{answer:?}");
    let found: String = sqlx::query_scalar("SELECT event_type_of($1)")
        .bind(escaped(1))
        .fetch_one(&world.rig.pool)
        .await
        .unwrap();
    assert_eq!(found, plain);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_what_was_sealed_destroys_nothing() {
    let mut world = World::of_three_hours().await;
    let ledger = world.copy();
    ledger.seal(at(3)).await;
    let archive = ledger.objects();
    // Someone with every right on the database has the request name another event, in all ways at
    // once that show there.
    let change = format!(
        "SET session_replication_role = replica;
         UPDATE entries SET payload = convert_to(replace(convert_from(payload, 'UTF8'),
                                                         '{}', '{}'), 'UTF8') WHERE seq = 16;
         UPDATE entries SET payload_digest = sha256(payload) WHERE seq = 16 AND workspace = 'acme'",
        id(5),
        id(6),
    );
    sqlx::raw_sql(AssertSqlSafe(change)).execute(&world.rig.pool).await.unwrap();
    match ledger.erase_with(&()).await {
        Err(SealError::Disagreement(found)) => {
            assert!(matches!(*found, Disagreement::Erasure { .. }), "{found}");
        }
        other => panic!("{other:?}"),
    }
    assert!(ledger.objects() == archive);
    assert_eq!(ledger.withheld().await, []);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_not_what_was_sealed_is_not_amended() {
    let mut world = World::of_three_hours().await;
    let ledger = world.copy();
    ledger.seal(at(3)).await;
    let key = ledger.objects().keys().find(|key| key.ends_with("07.parquet")).unwrap().to_owned();
    let path = ledger.archive.join(&key);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    match ledger.erase_with(&()).await {
        Err(SealError::Disagreement(found)) => match *found {
            Disagreement::Sealed { key: found, .. } => assert_eq!(found, key),
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
    assert_eq!(ledger.withheld().await, []);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_missing_without_a_record_is_not_sealed_and_is_tampering() {
    let mut world = World::new().await;
    world.record(vec![event(1)]).await;
    world.record(vec![event(2)]).await;
    let ledger = world.copy();
    sqlx::raw_sql(
        "SET session_replication_role = replica;
         UPDATE entries SET payload = NULL, erased_by = 3 WHERE workspace = 'acme' AND seq = 2",
    )
    .execute(&world.rig.pool)
    .await
    .unwrap();
    match ledger.seal_with(at(1), &()).await {
        Err(SealError::Disagreement(found)) => {
            let found = found.to_string();
            assert!(found.contains("seq 2: the database has no payload"), "{found}");
        }
        other => panic!("{other:?}"),
    }
    world.stop().await;

    // An archiver gone bad, who amends a chunk without a record, has signed tampering.
    let mut world = World::of_three_hours().await;
    let ledger = world.copy();
    ledger.seal(at(2)).await;
    ledger.amend_without_a_record(2).await;
    let report = ledger.verify(true);
    assert_eq!(report.verdict, Verdict::Tampered);
    let checks: Vec<Check> = report.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, [Check::Withheld], "{:?}", report.findings);
    world.stop().await;
}

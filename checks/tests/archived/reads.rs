//! What readers see of an archived day, and what a day's partition is like.

use archiver::amend::Place;
use ledger::names::{Seq, Workspace};
use serde_json::{Value, json};

use crate::world::{World, noon, start};

/// Entries 1 and 2 set keys: their payloads stay.
const LEDGER: std::ops::RangeInclusive<u64> = 1..=2;
/// The last entry of day 0.
const LAST: u64 = 16;

/// What is shown beside the payload.
fn rest(entry: &Value) -> Value {
    let mut entry = entry.clone();
    let members = entry.as_object_mut().unwrap();
    members.remove("payload");
    members.remove("archived");
    entry
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_day_is_shown_without_its_payloads_and_says_where_they_are() {
    let mut world = World::of_days().await;
    let before = world.entries().await;
    assert_eq!(before.len(), 31);
    let (head, keys) = (world.get("head").await, world.get("keys").await);
    let shown = async |world: &World| {
        let mut shown = Vec::new();
        for (submission, _) in &world.sent {
            shown.push(world.get(&format!("submissions/{}", submission.hash)).await);
        }
        shown
    };
    let submissions = shown(&world).await;

    assert_eq!(world.archive(start(0)).await, Ok(15));
    // The same service, whose statements were prepared before, and one that starts now, which
    // compares the database with what is sealed.
    for is_new in [false, true] {
        if is_new {
            world.restart(|_| ()).await;
        }
        let after = world.entries().await;
        for (before, after) in before.iter().zip(&after) {
            let seq = before["seq"].as_u64().unwrap();
            let (event_id, is_gone) = (&before["event_id"], seq <= LAST && !LEDGER.contains(&seq));
            let (status, one) = world.get(&format!("events/{}", event_id.as_str().unwrap())).await;
            if !is_gone {
                assert_eq!((status, &one, after), (200, before, before));
                continue;
            }
            assert_eq!(rest(before), rest(after));
            assert_eq!(after["payload"], Value::Null, "{after}");
            assert_eq!(after["archived"], Value::Bool(true), "{after}");
            assert_eq!((status, &one["type"]), (410, &json!("/problems/in-archive")));
            assert_eq!((&one["status"], &one["seq"]), (&json!(410), &json!(seq)), "{one}");
            // By which the chunk is found.
            let conn = &mut world.rig.pool.acquire().await.unwrap();
            let acme = Workspace::new("acme").unwrap();
            let place = Place::of(conn, &acme, Seq::new(seq).unwrap()).await.unwrap().unwrap();
            assert_eq!(one["hour"], place.range.hour.to_string(), "{one}");
            assert_eq!(place.range.hour, noon(0).hour());
        }
        assert_eq!((after.len(), world.get("head").await), (31, head.clone()));
        assert_eq!(world.get("keys").await, keys);
        assert_eq!(shown(&world).await, submissions);
    }
    world.stop().await;
}

/// Reads are on record in the ledger's own workspace: those records are archived too, and the event
/// that opened it is not.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_acts_is_archived_but_for_the_ledgers_own_events() {
    let mut world = World::new().await;
    for _ in 0..3 {
        world.get("head").await;
    }
    world.stop().await;
    world.seal(1).await;
    let left = "SELECT count(*) FROM entries WHERE workspace = 'ledger.acts' AND seq > 1
                AND payload IS NOT NULL";
    let count =
        async || -> i64 { sqlx::query_scalar(left).fetch_one(&world.rig.pool).await.unwrap() };
    let acts = count().await;
    assert!(acts >= 3, "{acts}");
    assert_eq!(world.archive(start(0)).await, Ok(acts));
    assert_eq!(count().await, 0);
    let own: Vec<String> = sqlx::query_scalar(
        "SELECT event_type_of(payload) FROM entries WHERE payload IS NOT NULL ORDER BY 1",
    )
    .fetch_all(&world.rig.pool)
    .await
    .unwrap();
    let created = "ledger.workspace_created";
    assert_eq!(own, ["ledger.key_registered", created, created]);
}

/// Columns, constraints, indexes, triggers, owner and rights of a partition, its own name left out.
async fn made(world: &World, table: &str) -> Vec<String> {
    let sql = "SELECT format('%s %s %s %s', attname, atttypid::regtype, attstorage, attnotnull)
               FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0
               UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
               WHERE conrelid = $1::regclass
               UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index
               WHERE indrelid = $1::regclass
               UNION ALL SELECT format('%s %s %s', tgenabled, pg_get_triggerdef(oid), tgparentid <> 0)
               FROM pg_trigger WHERE tgrelid = $1::regclass
               UNION ALL SELECT format('%s %s %s %s', relowner::regrole, relacl, relrowsecurity,
                                       relispartition) FROM pg_class WHERE oid = $1::regclass
               ORDER BY 1";
    let rows = sqlx::query_scalar::<_, String>(sql).bind(table).fetch_all(&world.rig.pool);
    rows.await.unwrap().iter().map(|row| row.replace(table, "{}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_partition_is_like_any_other_and_new_days_are_made() {
    let mut world = World::of_days().await;
    let before = made(&world, "entries_20241004").await;
    assert_eq!(before, made(&world, "entries_20241005").await);
    world.archive(start(0)).await.unwrap();
    assert_eq!(made(&world, "entries_20241004").await, before);
    // The next day, by the service that was there before; and archived in its turn.
    world.clock.reach(noon(3));
    world.work(5, 3).await;
    assert_eq!(made(&world, "entries_20241007").await, before);
    assert_eq!(world.archive(start(1)).await, Ok(12));
    let days: Vec<(i64, Option<i64>)> =
        sqlx::query_as("SELECT day, archived_at FROM days ORDER BY day")
            .fetch_all(&world.rig.pool)
            .await
            .unwrap();
    let at = Some(noon(30).get());
    assert_eq!(days, [(start(0), at), (start(1), at), (start(2), None), (start(3), None)]);
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class WHERE relname LIKE 'entries%' AND relkind IN ('r', 'p')",
    )
    .fetch_one(&world.rig.pool)
    .await
    .unwrap();
    assert_eq!(tables, 5, "the old partitions are gone");
    world.stop().await;
    world.seal(4).await;
    let report = world.verify(false);
    let figures = world.judge(Some(&report)).await;
    assert!(figures.held(), "{figures}: {:?}", figures.findings);
    assert_eq!(figures.recorded, 9, "{figures}");
}

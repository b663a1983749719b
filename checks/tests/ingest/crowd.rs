//! Many clients, two services, one workspace: one chain (FAULTS 2 to 4, in small).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ingest::chain::{NoProbe, Probe, Step};
use ledger::entry::{Entry, genesis_link, next_link};
use ledger::hash::Digest;
use ledger::names::{EventId, Origin, Seq};
use ledger::time::Micros;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::world::{ORIGIN, World, acme, event_id, founding, key, plain, signed};

const CLIENTS: u64 = 32;
const SUBMISSIONS: u64 = 8;
const EVENTS: u64 = 7;

/// An entry as the table has it, with its submission.
type Row = (i64, i64, Uuid, Vec<u8>, Vec<u8>, i64, i16, Vec<u8>);

/// Every link of the workspace, made again from its payloads.
async fn verify(world: &World) -> usize {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT e.seq, e.recorded_at, e.event_id, e.payload, e.link, s.first_seq, s.event_count,
                s.submission_hash
         FROM entries e JOIN submissions s ON s.workspace = e.workspace
              AND e.seq BETWEEN s.first_seq AND s.first_seq + s.event_count - 1
         WHERE e.workspace = 'acme' ORDER BY e.seq",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap();
    let mut link = genesis_link(&Origin::new(ORIGIN).unwrap(), &acme());
    let mut last = 0;
    for (at, row) in rows.iter().enumerate() {
        let (seq, recorded_at, event_id, payload, found, first_seq, count, hash) = row;
        assert_eq!(*seq, i64::try_from(at).unwrap() + 1, "no gap");
        assert!(*recorded_at >= last, "recorded_at never falls");
        last = *recorded_at;
        let entry = Entry {
            seq: Seq::new(u64::try_from(*seq).unwrap()).unwrap(),
            recorded_at: Micros::new(*recorded_at).unwrap(),
            event_id: EventId::from_bytes(event_id.into_bytes()).unwrap(),
            payload_digest: Digest::of(payload),
            submission_hash: Digest::from_slice(hash).unwrap(),
            index_in_submission: u16::try_from(seq - first_seq).unwrap(),
            submission_count: u16::try_from(*count).unwrap(),
        };
        link = next_link(&link, &entry.leaf());
        assert_eq!(found, link.as_bytes());
    }
    rows.len()
}

/// Each submission is sent to both services at once: one of them records it.
#[tokio::test(flavor = "multi_thread")]
async fn two_services_make_one_chain() {
    let mut world = World::new().await;
    let (other, agent) = world.another().await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (here, there) = (world.agent.clone(), agent.clone());
        clients.spawn(async move {
            let mut counts = (0, 0);
            for n in 0..SUBMISSIONS {
                let first = 1_000 + (client * SUBMISSIONS + n) * EVENTS;
                let payloads = (first..first + EVENTS).map(plain).collect();
                let counter = client * SUBMISSIONS + n + 1;
                let submission = signed(&key(2), counter, payloads);
                let (a, b) = tokio::join!(here.post(&submission), there.post(&submission));
                assert_eq!(a.text, b.text, "one receipt");
                let statuses = BTreeSet::from([a.status, b.status]);
                assert_eq!(statuses, BTreeSet::from([200, 201]), "recorded once");
                counts.0 += u64::from(a.status == 201);
                counts.1 += u64::from(b.status == 201);
            }
            counts
        });
    }
    let counts = clients.join_all().await;
    let here: u64 = counts.iter().map(|count| count.0).sum();
    let there: u64 = counts.iter().map(|count| count.1).sum();
    assert_eq!(here + there, CLIENTS * SUBMISSIONS);
    assert!(here > 0 && there > 0, "both services recorded: {here} and {there}");
    let expected = 2 + CLIENTS * SUBMISSIONS * EVENTS;
    assert_eq!(verify(&world).await, usize::try_from(expected).unwrap());
    other.shutdown().await;
    world.stop().await;
}

/// A new workspace has no head to lock: whoever comes second must find it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_created_once_however_many_try() {
    let mut world = World::empty(Arc::new(NoProbe)).await;
    let (other, agent) = world.another().await;
    for round in 0..20 {
        let name = format!("ws{round}");
        let mut tries = JoinSet::new();
        for n in 0..6 {
            let agent = if n % 2 == 0 { world.agent.clone() } else { agent.clone() };
            // Three different submissions, each sent twice.
            let submission = founding(&name, 100 + n / 2);
            tries.spawn(async move { agent.post(&submission).await.status });
        }
        let mut statuses = tries.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 201, 409, 409, 409, 409]);
    }
    assert_eq!(world.entries().await, 20);
    other.shutdown().await;
    world.stop().await;
}

/// Lets nobody pass who has locked the heads, from the third on: before it are the ledger's own
/// workspace, and the act.
struct Third {
    locked: AtomicI64,
    arrived: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Probe for Third {
    fn at(&self, step: Step) {
        if step == Step::Locked && self.locked.fetch_add(1, Ordering::Relaxed) == 2 {
            self.arrived.send(()).unwrap();
            // Others go on meanwhile, also those who would have had this thread.
            tokio::task::block_in_place(|| self.go_on.lock().unwrap().recv().unwrap());
        }
    }
}

/// Another service creates the workspace after this one has looked for the submission, and before it
/// has looked for its event: what it has read then is of two states.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_workspace_that_appears_while_it_is_read_is_found() {
    let ((arrived, at_lock), (go, go_on)) = (mpsc::channel(), mpsc::channel());
    let third = Third { locked: AtomicI64::new(0), arrived, go_on: Mutex::new(go_on) };
    let mut world = World::empty(Arc::new(third)).await;
    let yesterday = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap()
        - 86_400_000_000;
    sqlx::query("SELECT ensure_day($1)").bind(yesterday).execute(&world.pool).await.unwrap();
    let twin = founding("twin", 100);
    let (agent, sent) = (world.agent.clone(), twin.clone());
    let answer = tokio::spawn(async move { agent.post(&sent).await });
    tokio::task::spawn_blocking(move || at_lock.recv().unwrap()).await.unwrap();

    let mut other = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE").execute(&mut *other).await.unwrap();
    go.send(()).unwrap();
    let waits = "SELECT EXISTS (SELECT FROM pg_locks
                 WHERE NOT granted AND relation = 'entries'::regclass AND mode = 'AccessShareLock')";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&world.pool).await.unwrap() {
        assert!(!answer.is_finished(), "it looks for the event of the submission");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sqlx::query(
        "WITH t AS (SELECT $1::bigint AS at, decode(repeat('00', 32), 'hex') AS h),
         head AS (INSERT INTO heads SELECT 'twin', 1, h, at FROM t),
         sent AS (INSERT INTO submissions SELECT 'twin', 1, 1, at, 0, $2, $3, h || h, h FROM t)
         INSERT INTO entries SELECT 'twin', 1, at, $4::uuid, h, h, $5 FROM t",
    )
    .bind(yesterday)
    .bind(twin.hash.as_bytes().as_slice())
    .bind(twin.public_key.as_bytes().as_slice())
    .bind(event_id(100))
    .bind(twin.payloads[0].as_slice())
    .execute(&mut *other)
    .await
    .unwrap();
    other.commit().await.unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    world.stop().await;
}

/// FAULTS 16, in small: what was acknowledged is there, what was not is not, and every request that
/// reached the service was answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_answers_what_it_has_taken() {
    let mut world = World::new().await;
    let acknowledged = Arc::new(AtomicI64::new(0));
    let mut clients = JoinSet::new();
    for client in 0..16 {
        let (agent, acknowledged) = (world.agent.clone(), Arc::clone(&acknowledged));
        clients.spawn(async move {
            for n in 0.. {
                let submission = signed(&key(2), 0, vec![plain(1_000 + 10_000 * client + n)]);
                match agent.try_post(&submission).await {
                    Ok(reply) => assert_eq!(reply.status, 201, "{}", reply.text),
                    // Only a connection that was never taken breaks.
                    Err(error) => return assert!(error.is_connect() || error.is_request()),
                }
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    while acknowledged.load(Ordering::SeqCst) < 50 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.stop().await;
    clients.join_all().await;
    assert_eq!(world.entries().await, 2 + acknowledged.load(Ordering::SeqCst));
}

//! What is recorded, and what is given back of it.

use checks::submission::{Route, Submission};
use ledger::entry::{Entry, genesis_link, next_link};
use ledger::hash::Digest;
use ledger::key::{PublicKey, Signature};
use ledger::names::{EventId, Origin, Seq};
use ledger::note::Note;
use ledger::receipt::{HeadNote, Receipt};
use ledger::submission::{Counter, Statement};
use ledger::time::Micros;
use serde_json::Value;

use crate::world::{
    ORIGIN, World, acme, event_id, founding, key, plain, receipt_key, revoked, signed,
};

/// Payloads whose bytes no JSON library would write like this again.
fn odd_payloads() -> Vec<Vec<u8>> {
    let odd = [
        r#"{ "event_id" : "00000000-0000-4000-8000-00000000000A" , "event_type":"x","occurred_at":"2026-11-23T16:00:00.1234567+01:00","workspace_id":"\u0061cme","context":{"z":1,"a":1e400,"n":-0} }"#,
        "{\"event_id\":\"00000000-0000-4000-8000-00000000000b\",\"event_type\":\"x\",\"occurred_at\":\"2026-11-23T16:00:00Z\",\"workspace_id\":\"acme\",\"source\":\"\u{2028}\u{7f}\u{1f600}\",\"model\":null}",
    ];
    odd.iter().map(|payload| payload.as_bytes().to_vec()).collect()
}

/// Every entry of the workspace, page by page.
async fn all_entries(world: &World, limit: u64) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut next = Some(1);
    while let Some(from) = next {
        let path = format!("/v1/workspaces/acme/entries?from_seq={from}&limit={limit}");
        let mut page = world.agent.get(&path).await.json();
        entries.append(page["entries"].as_array_mut().unwrap());
        next = page["next_seq"].as_u64();
    }
    entries
}

fn text(entry: &Value, member: &str) -> String {
    entry[member].as_str().unwrap().to_owned()
}

/// Everything that an entry shows is what the format says of its payload, down to the signature.
fn verify(entries: &[Value]) -> Digest {
    let origin = Origin::new(ORIGIN).unwrap();
    let mut link = genesis_link(&origin, &acme());
    for (at, shown) in entries.iter().enumerate() {
        let number = |member: &str| shown[member].as_u64().unwrap();
        let digest = Digest::of(text(shown, "payload").as_bytes());
        let entry = Entry {
            seq: Seq::new(u64::try_from(at).unwrap() + 1).unwrap(),
            recorded_at: Micros::parse(&text(shown, "recorded_at")).unwrap(),
            event_id: EventId::parse(&text(shown, "event_id")).unwrap(),
            payload_digest: digest,
            submission_hash: Digest::parse(&text(shown, "submission")).unwrap(),
            index_in_submission: u16::try_from(number("submission_index")).unwrap(),
            submission_count: u16::try_from(number("submission_count")).unwrap(),
        };
        link = next_link(&link, &entry.leaf());
        assert_eq!(number("seq"), entry.seq.get());
        assert_eq!(text(shown, "payload_digest"), digest.to_string());
        assert_eq!(text(shown, "link"), link.to_string());

        let first = at - usize::from(entry.index_in_submission);
        let members = &entries[first..first + usize::from(entry.submission_count)];
        let digests: Vec<_> =
            members.iter().map(|e| Digest::of(text(e, "payload").as_bytes())).collect();
        let counter = Counter::new(number("counter")).unwrap();
        let statement = Statement::new(&origin, &acme(), counter, &digests);
        let signer = PublicKey::parse(&text(shown, "public_key")).unwrap();
        let signature = Signature::parse(&text(shown, "signature")).unwrap();
        assert_eq!(statement.verify(&signer, &signature), Ok(entry.submission_hash));
    }
    link
}

#[tokio::test]
async fn what_was_sent_comes_back_byte_for_byte_and_verifies() {
    let mut world = World::new().await;
    let mut lines = odd_payloads();
    lines.extend((100..150).map(plain));
    let by_line = signed(&key(2), 1, lines.clone());
    let array: Vec<_> = (200..250).map(plain).collect();
    let by_array = Submission { route: Route::Array, ..signed(&key(2), 2, array.clone()) };
    for submission in [&by_line, &by_array] {
        assert_eq!(world.agent.post(submission).await.status, 201);
    }

    for limit in [1, 7, 1_000] {
        let entries = all_entries(&world, limit).await;
        let sent = lines.iter().chain(&array).cloned();
        let found = entries[2..].iter().map(|entry| text(entry, "payload").into_bytes());
        assert!(found.eq(sent));
        let link = verify(&entries);
        let head = world.agent.get("/v1/workspaces/acme/head").await.json();
        assert_eq!((head["last_seq"].as_u64(), text(&head, "link")), (Some(104), link.to_string()));
    }
    // An event is found by its id, in either case.
    for id in ["00000000-0000-4000-8000-00000000000A", "00000000-0000-4000-8000-00000000000a"] {
        let entry = world.agent.get(&format!("/v1/workspaces/acme/events/{id}")).await.json();
        assert_eq!(text(&entry, "payload").into_bytes(), lines[0]);
        assert_eq!((&entry["seq"], &entry["submission_count"]), (&3.into(), &52.into()));
    }
    world.stop().await;
}

#[tokio::test]
async fn a_receipt_states_what_was_recorded_and_is_the_same_for_ever() {
    let mut world = World::new().await;
    let submission = signed(&key(2), 1, vec![plain(10), plain(11)]);
    let first = world.agent.post(&submission).await;
    assert_eq!(first.status, 201);
    let answer = first.json();
    let note = text(&answer, "receipt");
    let body = Note::parse(note.as_bytes()).unwrap().verify(&receipt_key()).unwrap();
    let receipt = Receipt::parse(body).unwrap();
    assert_eq!(receipt.submission, submission.hash);
    assert_eq!((receipt.first_seq.get(), receipt.last_seq.get()), (3, 4));
    assert_eq!(answer["first_seq"], 3);
    assert_eq!(answer["last_seq"], 4);
    assert_eq!(text(&answer, "recorded_at"), receipt.recorded_at.to_string());
    assert_eq!(text(&answer, "submission"), submission.hash.to_string());

    // The same bytes again, in the other form, from another service, after the key is revoked.
    let again = world.agent.post(&submission).await;
    assert_eq!((again.status, &again.text), (200, &first.text));
    let array = Submission { route: Route::Array, ..submission.clone() };
    let (other, agent) = world.another().await;
    assert_eq!(agent.post(&array).await.text, first.text);
    other.shutdown().await;
    let revoke = signed(&key(1), 0, vec![revoked(12, &key(2))]);
    assert_eq!(world.agent.post_key(&revoke).await.status, 201);
    assert_eq!(world.agent.post(&submission).await.text, first.text);

    let path = format!("/v1/workspaces/acme/submissions/{}", submission.hash);
    assert_eq!(world.agent.get(&path).await.text, first.text);
    let bare = world.agent.get_text(&path).await;
    assert_eq!((bare.content_type.as_str(), bare.text), ("text/plain; charset=utf-8", note));
    assert_eq!(world.entries().await, 5);
    world.stop().await;
}

#[tokio::test]
async fn the_service_says_who_it_is_and_signs_heads() {
    let mut world = World::new().await;
    let ledger = world.agent.get("/v1/ledger").await.json();
    assert_eq!(ledger["origin"], ORIGIN);
    assert_eq!(ledger["receipt_key"], receipt_key().to_string());
    assert_eq!(ledger["limits"]["max_events"], 100);
    let note = world.agent.get_text("/v1/workspaces/acme/head").await.text;
    let body = Note::parse(note.as_bytes()).unwrap().verify(&receipt_key()).unwrap();
    assert_eq!(HeadNote::parse(body).unwrap().last_seq.get(), 2);
    let keys = world.agent.get("/v1/workspaces/acme/keys").await.json();
    let of = |seed: u8| {
        let name = key(seed).public().to_string();
        let keys = keys["keys"].as_array().unwrap();
        keys.iter().find(|key| key["key"] == name.as_str()).unwrap().clone()
    };
    assert_eq!((&of(1)["role"], &of(1)["registered_seq"]), (&"root".into(), &1.into()));
    assert_eq!((&of(2)["role"], &of(2)["registered_seq"]), (&"agent".into(), &2.into()));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(world.agent.get(path).await.status, 200);
    }
    world.stop().await;
}

#[tokio::test]
async fn an_event_and_a_counter_are_used_once_and_the_seq_is_named() {
    let mut world = World::new().await;
    let first = signed(&key(2), 1, vec![plain(10), plain(11)]);
    assert_eq!(world.agent.post(&first).await.status, 201);

    let other = signed(&key(2), 2, vec![plain(12), plain(11)]);
    let reply = world.agent.post(&other).await;
    assert_eq!((reply.status, reply.problem()), (409, "event-exists".to_owned()));
    assert_eq!(reply.json()["seq"], 4);
    assert_eq!(reply.json()["errors"][0]["index"], 1);
    assert!(reply.json()["detail"].as_str().unwrap().contains(&event_id(11)));

    let reused = signed(&key(2), 1, vec![plain(13)]);
    let reply = world.agent.post(&reused).await;
    assert_eq!((reply.status, reply.problem()), (409, "counter-reused".to_owned()));
    assert_eq!(reply.json()["seq"], 3);

    let reply = world.agent.post(&founding("acme", 20)).await;
    assert_eq!((reply.status, reply.problem()), (409, "workspace-exists".to_owned()));
    assert_eq!(world.entries().await, 4);
    // What was refused has used nothing up, and another workspace has ids of its own.
    assert_eq!(world.agent.post(&signed(&key(2), 2, vec![plain(12)])).await.status, 201);
    assert_eq!(world.agent.post(&founding("beta", 10)).await.status, 201);
    world.stop().await;
}

#[tokio::test]
async fn a_database_is_of_one_ledger_and_of_one_schema() {
    let mut world = World::new().await;
    let other = Origin::new("ledger.example.com/other").unwrap();
    let error = ingest::store::migrate(&world.url, &other).await.unwrap_err();
    assert!(error.to_string().contains(ORIGIN), "{error}");
    let origin = Origin::new(ORIGIN).unwrap();
    ingest::store::migrate(&world.url, &origin).await.unwrap();
    let empty = world.postgres.database().unwrap();
    let pool = sqlx::PgPool::connect(&empty).await.unwrap();
    let error = ingest::store::check(&pool, &origin).await.unwrap_err();
    assert!(error.to_string().contains("tally-ingest migrate"), "{error}");
    world.stop().await;
}

//! `POST /ingest`: clients that share a secret, and the custodian who signs for them (FAULTS 40).

use checks::broker::Mock;
use ledger::names::Origin;
use ledger::note::{Note, VerifierKey};
use ledger::receipt::Receipt;
use serde_json::json;

use crate::world::{ORIGIN, Reply, Served, Site, batch, event, key, plain, signed};

const OLD: &[u8] = b"an old secret of 24 bytes";
const NEW: &[u8] = b"a new secret of 24 bytes.";

fn secrets(site: &Site, files: &[(&str, &[u8])]) -> String {
    let files = files.iter().map(|(name, secret)| format!("{:?}", site.private(name, secret)));
    let files = files.collect::<Vec<_>>().join(", ");
    format!("[ingest.secrets.pipeline]\nfiles = [{files}]\nworkspaces = [\"acme\", \"beta\"]\n")
}

async fn opened(site: &Site, settings: &str) -> Served {
    let served = site.serve(settings).await;
    for name in ["acme", "beta"] {
        served.open_workspace(name).await;
    }
    served
}

#[tokio::test]
async fn who_shares_a_secret_changes_one_url_and_gets_receipts() {
    let site = Site::new().await;
    let served = opened(&site, &secrets(&site, &[("new.secret", NEW)])).await;
    served.register("acme", 3, &site.custodian, "custodian").await;
    let before = site.entries().await;

    // Of two workspaces, one has no custodian: nothing at all is recorded.
    let events = [plain("acme", 10), plain("beta", 11), plain("acme", 12)];
    let both = batch(&events);
    let reply = Reply::of(served.ingest("pipeline", NEW, &both)).await;
    assert_eq!(reply.problem(), (403, "no-custodian".to_owned()));
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    let key_text = site.custodian.public().to_string();
    assert!(detail.contains("`beta`") && detail.contains(&key_text), "{detail}");
    // An agent's role is not a custodian's.
    served.register("beta", 3, &site.custodian, "agent").await;
    let reply = Reply::of(served.ingest("pipeline", NEW, &both)).await;
    assert_eq!(reply.problem(), (403, "no-custodian".to_owned()));
    assert_eq!(site.entries().await, before + 1);

    let acme = batch(&[events[0].clone(), events[2].clone()]);
    let first = Reply::of(served.ingest("pipeline", NEW, &acme)).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let answer = first.json();
    assert_eq!((&answer["ok"], &answer["count"]), (&json!(true), &json!(2)));
    let receipts = answer["receipts"].as_array().unwrap();
    assert_eq!((receipts.len(), &receipts[0]["events"]), (1, &json!([0, 1])));
    let origin = Origin::new(ORIGIN).unwrap();
    let receipt_key = ingest::keyfile::read(&site.path("receipt.pem")).unwrap();
    let verifier = VerifierKey::receipt(&origin, receipt_key.public());
    let note = Note::parse(receipts[0]["receipt"].as_str().unwrap().as_bytes()).unwrap();
    let receipt = Receipt::parse(note.verify(&verifier).unwrap()).unwrap();
    assert_eq!((receipt.first_seq.get(), receipt.last_seq.get()), (4, 5));
    assert_eq!(receipts[0]["submission"], receipt.submission.to_string());

    // The same again, byte for byte; the payloads are the elements as they were sent.
    let again = Reply::of(served.ingest("pipeline", NEW, &acme)).await;
    assert_eq!((again.status, &again.text), (200, &first.text));
    let payloads: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload FROM entries WHERE workspace = 'acme' AND seq >= 4 ORDER BY seq",
    )
    .fetch_all(&site.pool)
    .await
    .unwrap();
    assert_eq!(payloads, [events[0].clone(), events[2].clone()]);
    let keys: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT public_key FROM submissions WHERE workspace = 'acme' AND first_seq = 4",
    )
    .fetch_all(&site.pool)
    .await
    .unwrap();
    assert_eq!(keys, [site.custodian.public().as_bytes().to_vec()]);

    // An id in another batch is used up, as for every client.
    let other = batch(&[plain("acme", 13), events[0].clone()]);
    let reply = Reply::of(served.ingest("pipeline", NEW, &other)).await;
    assert_eq!(reply.problem(), (409, "event-exists".to_owned()));
    assert_eq!(reply.json()["errors"][0]["index"], 1);
    served.stop().await;
}

#[tokio::test]
async fn what_was_recorded_before_a_refusal_is_told_with_its_receipt() {
    let site = Site::new().await;
    let served = opened(&site, &secrets(&site, &[("new.secret", NEW)])).await;
    for name in ["acme", "beta"] {
        served.register(name, 3, &site.custodian, "custodian").await;
    }
    let taken = signed("beta", &key(2), vec![plain("beta", 21)]);
    assert_eq!(served.submit(&taken).await.status, 201);
    let body = batch(&[plain("acme", 20), plain("beta", 20), plain("acme", 22), plain("beta", 21)]);
    let reply = Reply::of(served.ingest("pipeline", NEW, &body)).await;
    assert_eq!(reply.problem(), (409, "event-exists".to_owned()));
    let problem = reply.json();
    assert_eq!(problem["errors"][0]["index"], 3);
    let recorded = problem["recorded"].as_array().unwrap();
    assert_eq!((recorded.len(), &recorded[0]["workspace"]), (1, &json!("acme")));
    assert_eq!(recorded[0]["events"], json!([0, 2]));
    // What is mended goes through, with the same receipt for what was recorded.
    let body = batch(&[plain("acme", 20), plain("beta", 20), plain("acme", 22)]);
    let reply = Reply::of(served.ingest("pipeline", NEW, &body)).await;
    assert_eq!((reply.status, &reply.json()["count"]), (200, &json!(3)));
    assert_eq!(reply.json()["receipts"][0], recorded[0]);

    // A custodian that was revoked signs nothing more.
    let context = json!({"key": site.custodian.public().to_string(), "reason": "a test"});
    served.set_key("beta", event("beta", 30, "ledger.key_revoked", &context)).await;
    let before = site.entries().await;
    let reply = Reply::of(served.ingest("pipeline", NEW, &batch(&[plain("beta", 31)]))).await;
    assert_eq!(reply.problem(), (403, "revoked-key".to_owned()));
    // A secret is for its workspaces: whether another exists is not told.
    for name in ["gamma", "ledger.acts"] {
        let reply = Reply::of(served.ingest("pipeline", NEW, &batch(&[plain(name, 1)]))).await;
        assert_eq!(reply.problem(), (403, "other-workspace".to_owned()));
    }
    assert_eq!(site.entries().await, before);
    served.stop().await;
}

#[tokio::test]
async fn who_is_not_let_in_is_not_told_why() {
    let site = Site::new().await;
    let both = secrets(&site, &[("old.secret", OLD), ("new.secret", NEW)]);
    let served = opened(&site, &both).await;
    served.register("acme", 3, &site.custodian, "custodian").await;
    let body = batch(&[plain("acme", 10)]);
    // Both hold while one replaces the other.
    for secret in [OLD, NEW] {
        assert_eq!(Reply::of(served.ingest("pipeline", secret, &body)).await.status, 200);
    }
    let before = site.entries().await;
    let right = crate::world::tag(NEW, &body);
    let longer = [&body[..], b"\n"].concat();
    let spaced = String::from_utf8(body.clone()).unwrap().replace("\": [", "\":[").into_bytes();
    let with = |name: &str, signature: &str, body: &[u8]| {
        served
            .post("/ingest")
            .header("x-api-key", name)
            .header("x-signature", signature)
            .header("content-type", "application/json")
            .body(body.to_vec())
    };
    let empty = crate::world::tag(&[], &body);
    let bare = served.post("/ingest").header("content-type", "application/json");
    let requests = [
        with("pipeline", &crate::world::tag(b"no secret of this name", &body), &body),
        with("pipeline", &right[..62], &body),
        with("pipeline", &format!("{right}{right}"), &body),
        with("pipeline", "", &body),
        with("pipeline", &right, &longer),
        with("pipeline", &right, &spaced),
        with("pipeline", &right, b""),
        with("nobody", &right, &body),
        with("nobody", &empty, &body),
        with("pipeline", &empty, &body),
        with("", &right, &body),
        with("pipeline", &right, &body).header("x-signature", &right),
        with("pipeline", &right, &body).header("x-api-key", "pipeline"),
        with("pipeline", &right, b"no JSON at all"),
        bare.try_clone().unwrap().header("x-signature", &right).body(body.clone()),
        bare.try_clone().unwrap().header("x-api-key", "pipeline").body(body.clone()),
        bare.body(body.clone()),
    ];
    let mut texts = Vec::new();
    for request in requests {
        let reply = Reply::of(request).await;
        assert_eq!(reply.problem(), (401, "not-authentic".to_owned()));
        assert_eq!(reply.header("www-authenticate"), "HMAC-SHA256");
        texts.push(reply.text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(site.entries().await, before);
    assert!(!site.log().contains("secret of 24"));
    served.stop().await;

    // The old secret is gone.
    let served = site.serve(&secrets(&site, &[("new.secret", NEW)])).await;
    let reply = Reply::of(served.ingest("pipeline", OLD, &body)).await;
    assert_eq!(reply.problem(), (401, "not-authentic".to_owned()));
    assert_eq!(Reply::of(served.ingest("pipeline", NEW, &body)).await.status, 200);
    served.stop().await;
}

/// With a queue between API and chain, set in `tally.toml`: accepted first, recorded then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_queue_what_the_custodian_signs_is_queued_too() {
    let site = Site::new().await;
    let mock = Mock::start(1, 2).unwrap();
    let queue =
        format!("[queue]\nkind = \"kafka\"\nservers = {:?}\nconsume = true\n", mock.servers);
    let settings = format!("{}{queue}", secrets(&site, &[("new.secret", NEW)]));
    let served = opened(&site, &settings).await;
    for name in ["acme", "beta"] {
        served.register(name, 3, &site.custodian, "custodian").await;
    }
    // An element's exact bytes are its payload, white space within included.
    let spaced = String::from_utf8(plain("acme", 12)).unwrap().replacen(':', " :\n ", 1);
    let events = [plain("acme", 10), plain("beta", 11), spaced.into_bytes()];
    let body = batch(&events);
    let reply = Reply::of(served.ingest("pipeline", NEW, &body)).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let answer = reply.json();
    assert_eq!((&answer["ok"], &answer["count"]), (&json!(true), &json!(3)));
    assert_eq!(answer["receipts"], json!([]));
    let queued = answer["queued"].as_array().unwrap();
    let names: Vec<_> = queued.iter().map(|one| one["workspace"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme", "beta"]);

    // The same again, by who would rather wait.
    let waiting = served.ingest("pipeline", NEW, &body).header("prefer", "wait=25");
    let reply = Reply::of(waiting).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let receipts = reply.json()["receipts"].as_array().unwrap().clone();
    assert_eq!(receipts.len(), 2);
    for (receipt, queued) in receipts.iter().zip(queued) {
        assert_eq!(receipt["submission"], queued["submission"], "the same submission");
        assert!(receipt["receipt"].as_str().unwrap().contains(ORIGIN));
    }
    let payloads: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload FROM entries WHERE workspace = 'acme' AND seq >= 4 ORDER BY seq",
    )
    .fetch_all(&site.pool)
    .await
    .unwrap();
    assert_eq!(payloads, [events[0].clone(), events[2].clone()]);
}

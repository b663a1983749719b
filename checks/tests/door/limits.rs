//! How fast a key may send and a reader may ask, which keys may send at all, and what a request's head
//! may have.

use checks::submission::{Route, Submission};
use checks::token;
use ledger::key::Signature;
use ledger::names::Workspace;
use tokio::io::AsyncWriteExt as _;

use crate::world::{Reply, Site, answer, batch, event, key, plain, signed};

#[tokio::test]
async fn each_key_has_a_share_that_nobody_else_can_use_up() {
    let site = Site::new().await;
    let secret = b"a secret of some 24 bytes";
    let file = site.private("pipeline.secret", secret);
    let served = site
        .serve(&format!(
            "max_events = 10\n[ingest.limits]\nevents_per_second = 1\nburst = 10\n\
             [ingest.secrets.p]\nfiles = [{file:?}]\nworkspaces = [\"acme\"]\n"
        ))
        .await;
    served.open_workspace("acme").await;
    served.register("acme", 3, &site.custodian, "custodian").await;
    served.register("acme", 4, &key(3), "agent").await;

    // Others send in the name of key 2, and cannot sign.
    let mut forged = signed("acme", &key(2), (50..60).map(|n| plain("acme", n)).collect());
    forged.signature = Signature::from_bytes([1; 64]);
    for _ in 0..5 {
        assert_eq!(served.submit(&forged).await.status, 403);
    }
    let all = signed("acme", &key(2), (10..20).map(|n| plain("acme", n)).collect());
    assert_eq!(served.submit(&all).await.status, 201);
    let before = site.entries().await;
    let more = signed("acme", &key(2), (20..30).map(|n| plain("acme", n)).collect());
    let reply = served.submit(&more).await;
    assert_eq!(reply.problem(), (429, "too-fast".to_owned()));
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=11).contains(&wait), "{wait}");
    assert_eq!(site.entries().await, before);
    // Another key, and a client with a secret, have shares of their own.
    let other = signed("acme", &key(3), (20..30).map(|n| plain("acme", n)).collect());
    assert_eq!(served.submit(&other).await.status, 201);
    let body = batch(&(30..40).map(|n| plain("acme", n)).collect::<Vec<_>>());
    assert_eq!(Reply::of(served.ingest("p", secret, &body)).await.status, 200);
    let reply = Reply::of(served.ingest("p", secret, &body)).await;
    assert_eq!(reply.problem(), (429, "too-fast".to_owned()));
    // Who comes back when told to is let in.
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    let reply = served.submit(&signed("acme", &key(2), vec![plain("acme", 60)])).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    served.stop().await;
}

/// Whoever makes keys of their own takes nothing from those who have been let in: no lock, no queue.
#[tokio::test]
async fn a_key_that_nobody_knows_is_refused_without_a_lock() {
    let site = Site::new().await;
    let limits = "max_events = 2\n[ingest.limits]\nevents_per_second = 1\nburst = 2\n";
    let served = site.serve(limits).await;
    served.open_workspace("acme").await;
    let mut locked = site.pool.begin().await.unwrap();
    // Nobody gets a lock on a head; heads can be read, as in any transaction.
    sqlx::query("LOCK TABLE heads IN EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    // The workspace that is not there is told apart from the other by nothing, and no rate limit
    // remembers who asked.
    let stranger = key(7);
    let mut told = Vec::new();
    for (n, workspace) in ["acme", "nowhere", "acme"].into_iter().enumerate() {
        let payload = plain(workspace, 9 + u64::try_from(n).unwrap());
        let reply = served.submit(&signed(workspace, &stranger, vec![payload])).await;
        assert_eq!(reply.problem(), (403, "unknown-key".to_owned()), "{workspace}");
        told.push((reply.text.replace(workspace, "…"), reply.header("content-length").len()));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    // One that is known waits.
    let known = signed("acme", &key(2), vec![plain("acme", 12)]);
    let mut waits = Box::pin(served.submit(&known));
    let early = tokio::time::timeout(std::time::Duration::from_secs(1), &mut waits).await;
    assert!(early.is_err(), "{early:?}");
    locked.rollback().await.unwrap();
    let reply = waits.await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    served.stop().await;
}

/// Whatever tenants send, a token is revoked at once: its act waits in no queue of theirs.
#[tokio::test]
async fn where_tenants_queues_are_full_administrators_are_heard() {
    let site = Site::new().await;
    let served = site.serve("shards = 1\nqueue = 1\n").await;
    served.open_workspace("acme").await;
    let mut locked = site.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM heads WHERE workspace = 'acme' FOR UPDATE")
        .execute(&mut *locked)
        .await
        .unwrap();
    let send = async |n| served.submit(&signed("acme", &key(2), vec![plain("acme", n)])).await;
    let administer = async {
        // One is being recorded, one waits: there is no room for another.
        let mut n = 100;
        loop {
            let full = tokio::time::timeout(std::time::Duration::from_secs(1), send(n)).await;
            if full.is_ok_and(|reply| reply.problem() == (503, "overloaded".to_owned())) {
                break;
            }
            n += 1;
        }
        let url = format!("{}/v1/workspaces/acme/tokens", served.base);
        let reply = Reply::of(served.http.get(url).bearer_auth(served.admin_token())).await;
        locked.rollback().await.unwrap();
        reply
    };
    let (first, second, reply) = tokio::join!(send(10), send(11), administer);
    assert_eq!(reply.status, 200, "{}", reply.text);
    // Those that were taken are recorded now, unless the wait for the lock was too long for them.
    assert!([first, second].iter().all(|reply| matches!(reply.status, 201 | 503)));
    served.stop().await;
}

#[tokio::test]
async fn a_workspace_has_so_many_keys_and_no_more() {
    let site = Site::new().await;
    let served = site.serve("max_keys = 8\n").await;
    served.open_workspace("acme").await;
    served.open_workspace("beta").await;
    for n in 3..9 {
        served.register("acme", n.into(), &key(10 + n), "agent").await;
    }
    // What is revoked has been there all the same.
    let context = serde_json::json!({"key": key(13).public().to_string(), "reason": "a test"});
    served.set_key("acme", event("acme", 9, "ledger.key_revoked", &context)).await;
    let before = site.entries().await;
    let context = serde_json::json!({"key": key(30).public().to_string(), "role": "agent"});
    let payload = event("acme", 20, "ledger.key_registered", &context);
    let set = Submission { route: Route::Workspaces, ..signed("acme", &key(1), vec![payload]) };
    let request = served.signed_post(&set, "/v1/workspaces/acme/keys").body(set.body());
    let reply = Reply::of(request).await;
    assert_eq!(reply.problem(), (409, "too-many-keys".to_owned()));
    assert_eq!(site.entries().await, before);
    // Those that are there go on, and other workspaces have keys of their own.
    let reply = served.submit(&signed("acme", &key(18), vec![plain("acme", 60)])).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    served.register("beta", 3, &key(30), "agent").await;
    served.stop().await;
}

#[tokio::test]
async fn each_reader_has_a_share_that_nobody_else_can_use_up() {
    let site = Site::new().await;
    let served = site.serve("[ingest.limits]\nreads_per_second = 1\n").await;
    for name in ["acme", "beta"] {
        served.open_workspace(name).await;
        token::admit(&site.pool, &Workspace::new(name).unwrap()).await.unwrap();
    }
    let read = async |workspace: &str, as_reader_of: &str| {
        let url = format!("{}/v1/workspaces/{workspace}/head", served.base);
        Reply::of(served.http.get(url).bearer_auth(token::reader(as_reader_of))).await
    };
    // What is refused counts too.
    assert_eq!(read("beta", "acme").await.status, 404);
    let mut last = read("acme", "acme").await;
    for _ in 0..20 {
        last = read("acme", "acme").await;
        if last.status != 200 {
            break;
        }
    }
    assert_eq!(last.problem(), (429, "too-fast".to_owned()));
    let wait: u64 = last.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    // It leaves no act: who asks too often would fill the ledger with that.
    let acts = "SELECT count(*) FROM entries WHERE workspace = 'ledger.acts'";
    let before: i64 = sqlx::query_scalar(acts).fetch_one(&site.pool).await.unwrap();
    assert_eq!(read("acme", "acme").await.status, 429);
    assert_eq!(sqlx::query_scalar::<_, i64>(acts).fetch_one(&site.pool).await.unwrap(), before);
    assert_eq!(read("beta", "beta").await.status, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_head_has_a_limit() {
    let site = Site::new().await;
    let served = site.serve("[ingest.limits]\nmax_head_bytes = 8192\n").await;
    for (head, statuses) in [
        (format!("GET /healthz HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(9_000)), ["431"]),
        (format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200)), ["431"]),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(9_000)), ["431"]),
        ("GET /healthz HTTP/1.1\r\nhost: x\r\na b: c\r\n\r\n".to_owned(), ["400"]),
        ("\r\n\r\nnothing\r\n\r\n".to_owned(), ["400"]),
    ] {
        let mut stream = served.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let text = answer(&mut stream).await;
        let status = text.split(' ').nth(1).unwrap_or_default();
        assert!(statuses.contains(&status), "{status}: {}", &head[..30]);
    }
    served.stop().await;
}

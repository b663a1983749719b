//! Nothing fails: what clients are told, and what comes of it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use checks::bin_path::tally;
use checks::broker::{Broker, Mock};
use checks::crowd::{Crowd, now};
use serde_json::json;
use tokio::process::Command;

use crate::world::{admit, command, metric, slug, start, status, submission, told};

/// On a real broker, in one process: acknowledged, recorded, receipted; and what is asked for before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_is_acknowledged_then_recorded_then_receipted() {
    let mut crowd = Crowd::new().await;
    let broker = Broker::start(&crowd.rig.directory, 3).await.unwrap();
    let (process, base) = start(&crowd, &broker.servers, "both", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    admit(&crowd, &worker.workspace).await;

    let first = worker.work(5, now());
    desk.sent(&first).await;
    let answer = submission(&base, &first).send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let (code, queued) = told(answer).await;
    assert_eq!(code, 202, "{queued}");
    let path = format!("/v1/workspaces/{}/submissions/{}", worker.workspace, first.hash);
    assert_eq!((queued["status"].as_str(), location.as_str()), (Some(&*path), &*path));
    assert_eq!(queued["submission"], first.hash.to_string());

    // A long poll ends as soon as it is recorded.
    let (code, recorded) = status(&base, &first, "?wait=25").await;
    assert_eq!(code, 200, "{recorded}");
    let receipt = recorded["receipt"].as_str().unwrap().to_owned();
    // The same bytes again: stored once more, recorded once, the same receipt.
    assert_eq!(desk.deliver(&first).await, receipt);
    let (code, again) = status(&base, &first, "").await;
    assert_eq!((code, again), (200, recorded));

    // One that was never sent: told at once, or after the wait.
    let never = worker.work(1, now());
    for query in ["", "?wait=1"] {
        let (code, problem) = status(&base, &never, query).await;
        assert_eq!((code, slug(&problem)), (404, "not-found"), "{problem}");
    }
    let (code, problem) = status(&base, &never, "?wait=26").await;
    assert_eq!((code, slug(&problem)), (400, "bad-request"), "{problem}");

    // Whoever would rather wait gets what they would get without a queue.
    let second = worker.work(5, now());
    desk.sent(&second).await;
    let waiting = submission(&base, &second).header("Prefer", "wait=25");
    let (code, recorded) = told(waiting.send().await.unwrap()).await;
    assert_eq!(code, 201, "{recorded}");
    assert_eq!(recorded["first_seq"].as_u64(), Some(8), "behind the first, of five events");

    // What needs no chain is refused before anything is queued.
    let mut forged = worker.work(2, now());
    forged.payloads.reverse();
    let (code, problem) = told(submission(&base, &forged).send().await.unwrap()).await;
    assert_eq!((code, slug(&problem)), (403, "signature-invalid"), "{problem}");

    let ready = told(reqwest::get(format!("{base}/readyz")).await.unwrap()).await;
    assert_eq!(ready.1["checks"]["queue"], json!({"status": "ok"}), "{ready:?}");
    assert!(metric(&base, "tally_chained_seconds_count").await >= 2.0);
    assert_eq!(metric(&base, "tally_broker_up").await, 1.0);
    assert_eq!(metric(&base, "tally_dead_letters_total").await, 0.0);
    process.stop().await.unwrap();
    crowd.held().await;
}

/// A conflict is only known at the chain: it is told there, kept, and can be tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_chain_refuses_is_told_with_the_reason_that_it_would_have_without_a_queue() {
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(1, 2).unwrap();
    let (process, base) = start(&crowd, &mock.servers, "both", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let desk = crowd.desk(&base);
    admit(&crowd, &worker.workspace).await;
    let first = worker.work(2, now());
    desk.deliver(&first).await;

    let conflict = worker.sign(vec![first.payloads[1].clone()]);
    let waiting = submission(&base, &conflict).header("Prefer", "wait=25");
    let (code, problem) = told(waiting.send().await.unwrap()).await;
    assert_eq!((code, slug(&problem)), (409, "submission-refused"), "{problem}");
    let refusal = &problem["refusal"];
    assert_eq!((slug(refusal), &refusal["status"]), ("event-exists", &json!(409)), "{problem}");
    assert_eq!(refusal["seq"], 4, "{problem}");
    // Whoever asks later is told the same.
    let (code, later) = status(&base, &conflict, "?wait=5").await;
    assert_eq!((code, &later["refusal"]), (409, refusal));
    assert_eq!(metric(&base, "tally_dead_letters_total").await, 1.0);

    // The workspace goes on.
    let next = worker.work(2, now());
    desk.deliver(&next).await;
    process.stop().await.unwrap();
    crowd.held().await;
}

/// Two processes: who acknowledges does not record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_alone_acknowledges_and_a_consumer_alone_records() {
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(1, 2).unwrap();
    let (serving, base) = start(&crowd, &mock.servers, "serve", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    admit(&crowd, &worker.workspace).await;
    let before = crowd.count("entries").await;
    let sent = worker.work(5, now());
    crowd.desk(&base).sent(&sent).await;
    let (code, _) = told(submission(&base, &sent).send().await.unwrap()).await;
    assert_eq!(code, 202);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(crowd.count("entries").await, before, "nobody consumes");
    let (code, problem) = status(&base, &sent, "").await;
    assert_eq!(code, 404);
    assert!(problem["detail"].as_str().unwrap().contains("waits in the queue"), "{problem}");

    let (consuming, watched) = start(&crowd, &mock.servers, "consume", &[]).await;
    let (code, recorded) = status(&base, &sent, "?wait=25").await;
    assert_eq!((code, &recorded["last_seq"]), (200, &json!(7)), "{recorded}");
    assert_eq!(told(reqwest::get(format!("{watched}/readyz")).await.unwrap()).await.0, 200);
    assert_eq!(metric(&watched, "tally_broker_lag_messages").await, 0.0);
    assert!(metric(&watched, "tally_events_accepted_total").await >= 5.0);
    consuming.stop().await.unwrap();
    serving.stop().await.unwrap();
    crowd.held().await;
}

/// The commands that users run: `serve`, `consume`, `submit` with and without `--wait`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_do_what_the_book_says() {
    let mut crowd = Crowd::new().await;
    let mock = Mock::start(1, 2).unwrap();
    let (serving, base) = start(&crowd, &mock.servers, "serve", &[]).await;
    let mut worker = crowd.open(&base, 1, 1).await.remove(0);
    let at = |name: &str| crowd.rig.directory.join(name);
    let write = |name: &str, bytes: &[u8]| std::fs::write(at(name), bytes).unwrap();
    write("agent.pem", worker.key.to_pem().unwrap().as_bytes());
    std::fs::set_permissions(at("agent.pem"), PermissionsExt::from_mode(0o600)).unwrap();
    let lines = |payloads: Vec<Vec<u8>>| {
        payloads.into_iter().flat_map(|line| [line, b"\n".to_vec()].concat()).collect::<Vec<_>>()
    };
    write("first.ndjson", &lines(worker.agent.events(30, now())));
    write("second.ndjson", &lines(worker.agent.events(30, now())));
    let receipts = at("receipts");
    let submit = async |file: &str, more: &[&str]| {
        let paths = [at(file), at("agent.pem"), receipts.clone()];
        let [file, key, receipts] = paths.map(|path| path.to_str().unwrap().to_owned());
        let arguments = [
            &["submit", &file, "--workspace", "crowd-0", "--key", &key, "--batch", "10"],
            &["--url", &base, "--receipts", &receipts][..],
            more,
        ];
        command(&crowd, &mock.servers, &arguments.concat()).await
    };
    let (code, done, told) = submit("first.ndjson", &[]).await;
    assert_eq!(code, Some(0), "{told}");
    let text = "3 submissions are stored in the queue, without a receipt yet\n";
    assert_eq!(done, text, "nobody consumes, and it does not wait");
    assert!(!receipts.exists());
    // It waits, in vain: try again.
    let (code, _, told) = submit("second.ndjson", &["--wait", "--give-up-after", "1"]).await;
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("run the same command again"), "{told}");

    let mut consumer = Command::new(tally("tally-ingest"))
        .args(["consume", "--origin", crowd.rig.origin.as_str()])
        .args(["--queue-kind", "kafka", "--queue-servers", &mock.servers])
        .args(["--database-url", &crowd.rig.postgres.url()])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (code, done, told) = submit("second.ndjson", &["--wait"]).await;
    assert_eq!((code, done.trim()), (Some(0), "30 events recorded in 3 submissions"), "{told}");
    assert_eq!(std::fs::read_dir(&receipts).unwrap().count(), 3);
    let pid = consumer.id().unwrap().to_string();
    assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
    assert!(consumer.wait().await.unwrap().success(), "told to end, it ends");
    let (code, _, told) = command(&crowd, "", &["consume", "--origin", "a.example/b"]).await;
    assert_eq!(code, Some(2), "{told}");
    serving.stop().await.unwrap();
    // The oracle knows nothing of what the command has sent.
    assert_eq!(crowd.count("entries WHERE workspace = 'crowd-0'").await, 62);
}

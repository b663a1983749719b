//! Recorded is recorded: what lies in archived days is known as before.

use checks::driver::Answer;
use checks::submission::Submission;
use serde_json::Value;

use crate::world::{World, noon, start};

/// Status, the last part of the problem's type, and the seq that it names.
fn refusal(answer: &Answer) -> (u16, String, u64) {
    let Answer::Refused { status, problem } = answer else { panic!("{answer:?}") };
    let problem: Value = serde_json::from_str(problem).unwrap();
    let kind = problem["type"].as_str().unwrap().replace("/problems/", "");
    (*status, kind, problem["seq"].as_u64().unwrap())
}

/// How the service knows closed days.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    /// As it did before the days were archived.
    Before,
    /// By filters of archived days.
    Filters,
    /// By looks into the store alone.
    Store,
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_counters_and_receipts_are_known_across_archived_days() {
    let mut world = World::of_days().await;
    for day in 0..2 {
        world.archive(start(day)).await.unwrap();
    }
    let first_seqs = [1, 2, 3, 13, 14, 17, 27, 29];
    let mut new = 0;
    for known in [Known::Before, Known::Filters, Known::Store] {
        match known {
            Known::Before => {}
            Known::Filters => world.restart(|_| ()).await,
            Known::Store => world.restart(|config| config.filter_mib = 0).await,
        }
        let count = world.entries().await.len();
        let client = world.client();
        let sent = world.sent.clone();
        for ((submission, receipt), seq) in sent.iter().zip(first_seqs) {
            let again = client.post(submission).await;
            assert_eq!(again, Answer::Receipt(receipt.clone()), "{known:?}, seq {seq}");
            assert_eq!(world.status_of(submission).await, 200, "{known:?}, seq {seq}");
            if seq < 3 {
                continue;
            }
            // An event of it in a submission of its own, with other bytes too.
            let mut payloads = world.agent.agent.events(1, noon(2));
            payloads.extend(submission.payloads.last().cloned());
            let is_agents = submission.public_key == world.agent.key.public();
            let who = if is_agents { &mut world.agent } else { &mut world.founder };
            let exists = client.post(&who.sign(payloads.clone())).await;
            let last = seq + u64::try_from(submission.payloads.len()).unwrap() - 1;
            assert_eq!(refusal(&exists), (409, "event-exists".to_owned(), last), "{known:?}");
            if let Some(payload) = payloads.last_mut() {
                let text = String::from_utf8(payload.clone()).unwrap();
                *payload = text.replacen('{', "{ ", 1).into_bytes();
            }
            let other = client.post(&who.sign(payloads)).await;
            assert_eq!(refusal(&other), (409, "event-exists".to_owned(), last), "{known:?}");
            // Its counter for something else.
            let payloads = who.agent.events(1, noon(2));
            let (origin, acme) = (&world.rig.origin, &who.workspace);
            let reused = Submission::sign(origin, acme, submission.counter, &who.key, payloads);
            let reused = client.post(&reused).await;
            assert_eq!(refusal(&reused), (409, "counter-reused".to_owned(), seq), "{known:?}");
        }
        assert_eq!(world.entries().await.len(), count, "{known:?}");
        // And what is new is recorded.
        world.work(2, 2).await;
        new += 2;
        assert_eq!(world.entries().await.len(), 31 + new, "{known:?}");
    }
    world.stop().await;
    world.seal(3).await;
    let report = world.verify(false);
    assert_eq!(report.verdict, ledger::verify::Verdict::Proven, "{:?}", report.findings);
    let figures = world.judge(Some(&report)).await;
    assert!(figures.held(), "{figures}: {:?}", figures.findings);
    assert_eq!((figures.recorded, figures.sent), (11, 11), "{figures}");
}

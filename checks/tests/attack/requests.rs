//! Ten thousand mutated requests: each is refused with a problem that names the place, nothing is
//! recorded, and the service's memory stays flat (FAULTS rows 29 to 34, over HTTP).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use checks::crowd::{long, now};
use checks::forge::Random;
use checks::submission::{Route, Submission};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::mutation::{Good, case};
use crate::wire::{Answer, send, send_all};
use crate::{Ground, newcomer, print};

/// Requests that are under way at once.
const AT_ONCE: usize = 16;
/// How much a service may grow under attack, once it is warm.
const GROWTH_KIB: u64 = 64 * 1024;

/// One good request for each way in.
fn goods(ground: &mut Ground) -> Vec<Good> {
    let mut goods = Vec::new();
    for (route, worker) in [Route::Lines, Route::Array].into_iter().zip(&ground.agents) {
        let mut worker = worker.clone();
        let submission = Submission { route, ..worker.work(3, now()) };
        let path = submission.path();
        goods.push(Good { worker, submission, path, more: Vec::new() });
    }
    let mut founder = ground.crowd.founders()[0].clone();
    let new = newcomer(ground, 0);
    let registration = founder.register(&new, now());
    let path = format!("/v1/workspaces/{}/keys", founder.workspace);
    let submission = Submission { route: Route::Workspaces, ..registration };
    goods.push(Good { worker: founder, submission, path, more: Vec::new() });

    let mut founder = newcomer(ground, 1);
    let submission = founder.open_workspace(now());
    let path = submission.path();
    goods.push(Good { worker: founder, submission, path, more: ground.admin() });
    goods
}

/// What is wrong with an answer to a request that must be refused.
fn judge(is_http: bool, answer: Option<&Answer>) -> Result<String, String> {
    let Some(answer) = answer else {
        return if is_http { Err("no answer".to_owned()) } else { Ok("closed".to_owned()) };
    };
    if !(400..500).contains(&answer.status) {
        return Err(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)));
    }
    if !is_http && answer.body.is_empty() {
        return Ok(format!("{} without a body", answer.status));
    }
    answer.check().map(|()| format!("{} {}", answer.status, answer.problem().0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_mutated_requests_are_refused() {
    let cases = if long() { 200_000 } else { 10_000 };
    let seed = std::env::var("TALLY_SEED").map_or(30, |seed| seed.parse().unwrap());
    let mut ground = Ground::new().await;
    let mut goods = goods(&mut ground);
    let before = ground.rows().await;
    let address: SocketAddr = ground.base.trim_start_matches("http://").parse().unwrap();
    let mut random = Random::new(seed);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut sending = JoinSet::new();
    let (mut told, mut wrong) = (BTreeMap::<String, u64>::new(), Vec::new());
    let mut warm = 0;
    for n in 0..cases {
        if n == cases / 10 {
            (warm, _) = ground.service.memory_kib().unwrap();
        }
        let at = random.index(goods.len());
        let case = case(&mut random, &mut goods[at]);
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        sending.spawn(async move {
            let answer = if case.is_http {
                send(address, &case.bytes).await
            } else {
                // Some of it never ends otherwise.
                send_all(address, &case.bytes).await
            };
            drop(permit);
            (n, case, answer)
        });
        while let Some(done) = sending.try_join_next() {
            let (n, case, answer) = done.unwrap();
            match judge(case.is_http, answer.as_ref()) {
                Ok(kind) => *told.entry(kind).or_default() += 1,
                Err(error) => {
                    let text = String::from_utf8_lossy(&case.bytes);
                    let text: String = text.chars().take(600).collect();
                    wrong.push(format!("case {n}, {}: {error}\n{text}", case.what));
                }
            }
        }
        assert!(wrong.len() < 5, "seed {seed}: {}", wrong.join("\n\n"));
    }
    while let Some(done) = sending.join_next().await {
        let (n, case, answer) = done.unwrap();
        let kind = judge(case.is_http, answer.as_ref());
        *told.entry(kind.unwrap_or_else(|error| panic!("case {n}: {error}"))).or_default() += 1;
    }
    assert!(wrong.is_empty(), "seed {seed}: {}", wrong.join("\n\n"));
    let (_, peak) = ground.service.memory_kib().unwrap();
    assert_eq!(ground.rows().await, before, "nothing was recorded");
    let growth = peak.saturating_sub(warm);
    assert!(growth < GROWTH_KIB, "{growth} KiB more than when it was warm");

    // What was refused has used nothing up: the good ones are taken.
    for good in &goods {
        let request = crate::mutation::request(&good.submission, &good.path, &good.more);
        let answer = send(address, &request.bytes()).await.unwrap();
        assert_eq!(answer.status, 201, "{}: {}", good.path, String::from_utf8_lossy(&answer.body));
    }
    ground.service.stop().await.unwrap();
    assert!(told.len() > 15, "{told:?}");
    let kinds: Vec<String> = told.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    print(&format!(
        "2.3 mutated requests: {cases} refused (seed {seed}), 0 recorded, {growth} KiB of growth \
         (from {warm} KiB): {}",
        kinds.join(", ")
    ));
}

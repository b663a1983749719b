//! One tenant asks for another's data, over every route that shows a workspace (FAULTS row 38).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checks::crowd::{long, now};
use checks::forge::Random;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::wire::{Answer, Request, send};
use crate::{Ground, print};

/// Requests that are under way at once.
const AT_ONCE: usize = 16;

/// What follows the workspace in each route that shows one; `{id}` and `{hash}` are filled in.
const ROUTES: [&str; 9] = [
    "head",
    "keys",
    "entries",
    "entries?from_seq=1&limit=1000",
    "entries?from_seq=0",
    "events/{id}",
    "events/%7Bid%7D",
    "submissions/{hash}",
    "submissions/..",
];
/// Names beside those of the two workspaces.
const NAMES: [&str; 22] = [
    "nowhere",
    "crowd-2",
    "CROWD-1",
    "Crowd-0",
    "%43rowd-1",
    "..",
    "%2e%2e",
    ".",
    "%00",
    "crowd-1%00",
    "crowd-0%00crowd-1",
    "",
    "/crowd-1",
    "crowd-1/",
    "crowd-0/../crowd-1",
    "crowd-0%2f..%2fcrowd-1",
    "crowd-0/%2e%2e/crowd-1",
    "crowd-0;crowd-1",
    "crowd-1%20",
    "crowd-1'--",
    "%ff",
    "ledger.acts",
];

/// Two tenants: the first one attacks, the second one's data is asked for.
struct Tenants {
    address: SocketAddr,
    /// Each token, and the workspace that it may read.
    tokens: Vec<(String, Option<&'static str>)>,
    /// An event id and a submission hash of each workspace.
    items: [(String, String); 2],
}

impl Tenants {
    async fn new(ground: &mut Ground) -> Self {
        let desk = ground.crowd.desk(&ground.base);
        let mut items = Vec::new();
        for at in [0, 2] {
            let submission = ground.agents[at].work(3, now());
            desk.deliver(&submission).await;
            let event: Value = serde_json::from_slice(&submission.payloads[0]).unwrap();
            let id = event["event_id"].as_str().unwrap().to_owned();
            items.push((id, submission.hash.to_string()));
        }
        let first = ground.token("crowd-0").await;
        let second = ground.token("crowd-1").await;
        let flipped = |token: &str| {
            let mut text = token.to_owned();
            let last = text.pop().unwrap();
            text.push(if last == 'A' { 'B' } else { 'A' });
            text
        };
        let admin = ground.admin().remove(0).1.trim_start_matches("Bearer ").to_owned();
        let tokens = vec![
            (first.clone(), Some("crowd-0")),
            (second.clone(), Some("crowd-1")),
            (flipped(&first), None),
            (flipped(&second), None),
            (first.get(1..).unwrap().to_owned(), None),
            (format!("{first}{second}"), None),
            (second.to_uppercase(), None),
            (admin, None),
            (String::new(), None),
            ("x".repeat(6_000), None),
            ("%00' OR 1=1 --".to_owned(), None),
        ];
        let items = items.try_into().unwrap();
        Self { address: ground.base.trim_start_matches("http://").parse().unwrap(), tokens, items }
    }

    async fn get(&self, name: &str, rest: &str, token: Option<&str>) -> Answer {
        let mut request = Request {
            method: "GET".to_owned(),
            path: format!("/v1/workspaces/{name}/{rest}"),
            headers: Vec::new(),
            body: Vec::new(),
        };
        if let Some(token) = token {
            request.with("Authorization", format!("Bearer {token}"));
        }
        send(self.address, &request.bytes()).await.unwrap()
    }

    fn route(&self, random: &mut Random) -> String {
        let (id, hash) = &self.items[random.index(2)];
        ROUTES[random.index(ROUTES.len())].replace("{id}", id).replace("{hash}", hash)
    }
}

/// The answer but for what differs from request to request.
fn same(answer: &Answer) -> (u16, Vec<String>, String) {
    let head = answer.head.lines().skip(1);
    let own = ["date:", "traceparent:", "x-request-id:"];
    let head = head.filter(|line| !own.iter().any(|name| line.starts_with(name)));
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    (answer.status, head.map(str::to_owned).collect(), body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_38_no_request_shows_another_tenants_data() {
    let cases = if long() { 50_000 } else { 2_000 };
    let seed = 38;
    let mut ground = Ground::new().await;
    let tenants = Tenants::new(&mut ground).await;
    let before = ground.rows().await;
    let mut random = Random::new(seed);
    let mut told: BTreeMap<(u16, String), u64> = BTreeMap::new();
    let tenants = Arc::new(tenants);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut asked = JoinSet::new();
    for case in 0..cases {
        let name = match random.below(3) {
            0 => "crowd-0".to_owned(),
            1 => "crowd-1".to_owned(),
            _ if random.once_in(20) => "x".repeat(64),
            _ => NAMES[random.index(NAMES.len())].to_owned(),
        };
        let rest = tenants.route(&mut random);
        let (token, reads) = tenants.tokens[random.index(tenants.tokens.len())].clone();
        let (tenants, permit) = (tenants.clone(), room.clone().acquire_owned().await.unwrap());
        asked.spawn(async move {
            let token = (!token.is_empty()).then_some(token.as_str());
            let answer = tenants.get(&name, &rest, token).await;
            drop(permit);
            (case, answer, name, rest, reads)
        });
    }
    while let Some(done) = asked.join_next().await {
        let (case, answer, name, rest, reads) = done.unwrap();
        let text = String::from_utf8_lossy(&answer.body);
        let at = format!("seed {seed}, case {case}: {name}/{rest} as {reads:?}: {text}");
        let expected: &[u16] = match (reads, reads.is_some_and(|own| own == name)) {
            (Some(_), true) => &[200, 400, 404],
            (Some(_), false) => &[400, 404],
            (None, _) => &[400, 401, 404],
        };
        assert!(expected.contains(&answer.status), "{} {at}", answer.status);
        if answer.status != 200 {
            answer.check().unwrap_or_else(|error| panic!("{error}: {at}"));
            // A refusal tells nothing of what is there.
            for (id, hash) in &tenants.items {
                let named = name.contains(id.as_str()) || rest.contains(id.as_str());
                assert!(!text.contains(hash.as_str()) && (named || !text.contains(id)), "{at}");
            }
        }
        if reads.is_none() && name.starts_with("crowd-") && !name.contains(['%', '/', ';', '\'']) {
            assert_eq!(answer.status, 401, "{at}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
        }
        *told.entry((answer.status, answer.problem().0)).or_default() += 1;
    }
    assert_eq!(ground.rows().await, before, "reading records nothing in a tenant's chain");
    ground.service.stop().await.unwrap();
    let told = told.iter().map(|((status, kind), count)| format!("{status} {kind} {count}"));
    let told: Vec<_> = told.collect();
    print(&format!(
        "2.3 row 38: {cases} requests over {} routes with {} tokens (seed {seed}), none showed \
         another tenant's data: {}",
        ROUTES.len(),
        tenants.tokens.len(),
        told.join(", ")
    ));
}

/// To a stranger, a workspace that is another's and one that is not there are the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_38_not_yours_and_not_there_are_told_alike() {
    const ROUNDS: usize = 6;
    let mut ground = Ground::new().await;
    let tenants = Tenants::new(&mut ground).await;
    let (id, hash) = &tenants.items[1];
    let mine = tenants.tokens[0].0.as_str();
    let bad = tenants.tokens[2].0.as_str();
    let mut took: [Vec<Duration>; 2] = Default::default();
    for token in [Some(mine), Some(bad), None] {
        for round in 0..ROUNDS {
            for route in ROUTES {
                let rest = route.replace("{id}", id).replace("{hash}", hash);
                let mut answers = Vec::new();
                // In turn the one or the other first: the first may wait for what came before.
                for at in [round % 2, 1 - round % 2] {
                    let start = Instant::now();
                    answers.push(tenants.get(["crowd-1", "crowd-9"][at], &rest, token).await);
                    if token == Some(mine) {
                        took[at].push(start.elapsed());
                    }
                }
                assert_eq!(same(&answers[0]), same(&answers[1]), "{rest}");
                let expected = if token == Some(mine) { 404 } else { 401 };
                assert_eq!(answers[0].status, expected, "{rest}");
            }
        }
    }
    ground.service.stop().await.unwrap();
    let [yours, nowhere] = took.map(|mut took| {
        took.sort_unstable();
        took[took.len() / 2].as_micros()
    });
    print(&format!(
        "2.3 row 38: not yours and not there: equal in every byte on {} routes; medians {yours} us \
         and {nowhere} us",
        ROUTES.len()
    ));
}

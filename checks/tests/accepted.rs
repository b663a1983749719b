//! Nothing is accepted that is refused later (FAULTS row 43): random valid and nearly valid
//! submissions, through the service and Postgres into a sealed archive, and through the verifier.
//!
//! `CHECKS_LONG=1` runs 100,000 cases.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and tells its figures"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use checks::driver::{Answer, Client};
use checks::events::{Agent, event_id, ledger_event, pick};
use checks::forge::{Archive, Content, Random};
use checks::history::History;
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::service::base;
use checks::submission::{Route, Submission};
use checks::variation::vary;
use checks::worker::Worker;
use ingest::Clock as _;
use ingest::access::settings::acts_workspace;
use ledger::chain::{KEY_REGISTERED, KEY_REVOKED, PAYLOAD_ERASED, WORKSPACE_CREATED};
use ledger::hash::Digest;
use ledger::key::{Signature, SigningKey};
use ledger::names::{Origin, Workspace};
use ledger::payload::{Rules, scan};
use ledger::submission::Counter;
use ledger::time::{HOUR, Micros};
use ledger::verify::Verdict;
use serde_json::json;
use tokio::task::JoinSet;

const SEED: u64 = 43;
const HOURS: u64 = 4;

fn start() -> Micros {
    Micros::parse("2026-11-23T10:59:59.999990Z").unwrap()
}

#[test]
fn agents_write_valid_events_and_variations_lie_on_both_sides_of_the_rules() {
    let workspace = Workspace::new("acme").unwrap();
    let mut agent = Agent::new(&workspace, "agent-1", 1);
    let mut random = Random::new(2);
    let (mut accepted, mut refused) = (0, BTreeSet::new());
    for event in agent.events(4_000, start()) {
        scan(&event, &workspace, &Rules::default()).unwrap();
        match scan(&vary(&mut random, &event), &workspace, &Rules::default()) {
            Ok(_) => accepted += 1,
            Err(error) => drop(refused.insert(error.reason.code())),
        }
    }
    assert!(accepted > 400, "{accepted}");
    assert!(refused.len() > 25, "almost every rule is broken by some variation: {refused:?}");
}

/// Those who submit to one workspace.
struct Cast {
    random: Random,
    founder: Worker,
    /// An agent whose key may speak for it alone.
    agent: Worker,
    /// An agent whose key was revoked.
    revoked: Worker,
    /// An agent whose key was never registered.
    stranger: Worker,
    /// What was sent before, accepted or not.
    before: Vec<Submission>,
}

impl Cast {
    fn new(origin: &Origin, workspace: &str, seed: u64) -> Self {
        let workspace = Workspace::new(workspace).unwrap();
        let worker = |actor: &str, n| Worker::new(origin, &workspace, actor, seed * 10 + n);
        Self {
            random: Random::new(seed),
            founder: worker("founder", 1),
            agent: worker("agent", 2),
            revoked: worker("former", 3),
            stranger: worker("stranger", 4),
            before: Vec::new(),
        }
    }

    /// What opens the workspace.
    fn opening(&mut self, now: Micros) -> Vec<Submission> {
        let Self { random, founder, agent, revoked, .. } = self;
        let context = json!({"key": revoked.key.public().to_string(), "reason": "left"});
        let mut opening = vec![
            founder.open_workspace(now),
            founder.register(agent, now),
            founder.register(revoked, now),
        ];
        let revocation = ledger_event(KEY_REVOKED, &founder.workspace, now, random, &context);
        opening.push(founder.sign(vec![revocation]));
        opening
    }

    /// One random case.
    fn case(&mut self, now: Micros) -> Submission {
        let mut case = match self.random.below(10) {
            0..=3 => self.agent.work(1 + self.random.below(4), now),
            4..=6 => self.varied(now),
            7 => self.by_another(now),
            8 => self.about_keys(now),
            _ => self.altered(now),
        };
        if case.route == Route::Lines && self.random.once_in(2) {
            case.route = Route::Array;
        }
        self.before.push(case.clone());
        case
    }

    /// Some events, the last of which is nearly valid.
    fn varied(&mut self, now: Micros) -> Submission {
        let mut payloads = self.agent.agent.events(1 + self.random.below(3), now);
        let last = payloads.pop().unwrap();
        payloads.push(vary(&mut self.random, &last));
        self.agent.sign(payloads)
    }

    /// Signed by someone who may not, or for an actor that is not theirs.
    fn by_another(&mut self, now: Micros) -> Submission {
        let Self { random, founder, agent, revoked, stranger, .. } = self;
        match random.below(5) {
            0 => founder.work(2, now),
            1 => revoked.work(1, now),
            2 => stranger.work(1, now),
            3 => agent.sign(stranger.agent.events(2, now)),
            _ => founder.sign(stranger.agent.events(2, now)),
        }
    }

    /// About keys, by a root key or by one that may not.
    fn about_keys(&mut self, now: Micros) -> Submission {
        let Self { random, founder, agent, revoked, before, .. } = self;
        let new = SigningKey::from_seed(&random.bytes()).public().to_string();
        let small_order = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned();
        let known = [&*founder, agent, revoked].map(|of| of.key.public().to_string());
        let key = match random.below(6) {
            0..=2 => new,
            3 => small_order,
            _ => pick(random, &[0, 1, 2].map(|n: usize| known.get(n))).unwrap().clone(),
        };
        let role = pick(random, &["agent", "root", "custodian", "auditor"]);
        let erased = event_id(random).to_string();
        let (event_type, context) = match random.below(8) {
            0..=2 => (KEY_REGISTERED, json!({"key": key, "role": role})),
            3 => (KEY_REGISTERED, json!({"key": key, "role": "agent", "actor_id": null})),
            4 => (KEY_REGISTERED, json!({"key": key, "role": "agent", "more": 1})),
            // The agent's own key stays, so that it can go on.
            5 if key != agent.key.public().to_string() => {
                let since = pick(random, &["2026-11-23T10:00:00Z", "yesterday"]);
                (KEY_REVOKED, json!({"key": key, "reason": "lost", "compromised_since": since}))
            }
            6 => (PAYLOAD_ERASED, json!({"event_ids": [erased], "reason": "asked for"})),
            _ => (WORKSPACE_CREATED, json!({"root_keys": [key]})),
        };
        let event = ledger_event(event_type, &founder.workspace, now, random, &context);
        match random.below(8) {
            0 => agent.sign(vec![event]),
            1 => founder.sign([vec![event], agent.agent.events(1, now)].concat()),
            2 => Submission { route: Route::Workspaces, ..founder.sign(vec![event]) },
            3 => before.last().cloned().unwrap_or_else(|| founder.sign(vec![event])),
            _ => founder.sign(vec![event]),
        }
    }

    /// A submission, valid by itself or sent before, with something changed.
    fn altered(&mut self, now: Micros) -> Submission {
        let fresh = self.agent.work(1 + self.random.below(3), now);
        let Self { random, agent, before, .. } = self;
        let old = usize::try_from(random.below(before.len() as u64)).unwrap();
        let old = before.get(old).unwrap_or(&fresh).clone();
        let counted = |counter, payloads| {
            let counter = Counter::new(counter).unwrap();
            Submission::sign(&agent.origin, &agent.workspace, counter, &agent.key, payloads)
        };
        let events = agent.agent.events(2, now);
        match random.below(12) {
            0 => old,
            1 => counted(old.counter.get(), events),
            2 => counted(0, events),
            3 => counted(i64::MAX.unsigned_abs(), events),
            // An event_id that is recorded, or was refused, with other bytes or with the same.
            4 => agent.sign(old.payloads),
            5 => agent.sign([fresh.payloads.clone(), fresh.payloads].concat()),
            6 => {
                let mut signature = *fresh.signature.as_bytes();
                let at = usize::try_from(random.below(64)).unwrap();
                *signature.get_mut(at).unwrap() ^= 1 << random.below(8);
                Submission { signature: Signature::from_bytes(signature), ..fresh }
            }
            7 => Submission { payloads: fresh.payloads.into_iter().rev().collect(), ..fresh },
            8 => Submission { counter: Counter::NONE, ..fresh },
            9 => agent.work(100, now),
            10 => agent.work(101, now),
            _ => agent.sign(Vec::new()),
        }
    }
}

/// What became of cases: the submissions that were accepted, and those that were refused, with why.
#[derive(Default)]
struct Outcome {
    accepted: BTreeSet<Digest>,
    refused: BTreeMap<Digest, String>,
}

/// Plays one workspace: microseconds around the ends of hours, and hours with nothing in them.
async fn play(
    mut cast: Cast,
    cases: u64,
    client: Client,
    history: History,
    clock: HandClock,
) -> Outcome {
    let mut now = start();
    let mut outcome = Outcome::default();
    for submission in cast.opening(now) {
        let answer = client.deliver(&history, &submission, Duration::ZERO).await.unwrap();
        assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
        outcome.accepted.insert(submission.hash);
    }
    for case in 0..cases {
        let step = if case % (cases / HOURS) == cases / HOURS - 1 { 2 * HOUR } else { 1 };
        now = now.checked_add(step).unwrap();
        clock.reach(now);
        let submission = cast.case(now);
        match client.deliver(&history, &submission, Duration::ZERO).await.unwrap() {
            Answer::Receipt(_) => drop(outcome.accepted.insert(submission.hash)),
            Answer::Refused { status, problem } => {
                let problem: serde_json::Value = serde_json::from_str(&problem).unwrap();
                let kind = problem.get("type").unwrap().to_string();
                outcome.refused.insert(submission.hash, format!("{status} {kind}"));
            }
            answer @ Answer::Unknown(_) => panic!("seed {SEED}, case {case}: {answer:?}"),
        }
    }
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_43_what_is_accepted_is_proven_and_what_is_refused_is_not_there() {
    const WORKSPACES: u64 = 10;
    let long = std::env::var_os("CHECKS_LONG").is_some();
    let cases: u64 = if long { 100_000 } else { 2_000 };
    let directory = tempfile::tempdir().unwrap();
    let postgres = Postgres::start().unwrap();
    let rig = Rig::new(directory.path(), "ledger.example.com/accepted", postgres).await.unwrap();
    let clock = HandClock::new(start());
    let service = rig.serve(clock.clone()).await.unwrap();
    let client = Client::new(&base(service.local_addr()), Duration::from_secs(10)).unwrap();
    let path = rig.directory.join("history.ndjson");
    let history = History::open(&path).unwrap();
    let mut playing = JoinSet::new();
    for n in 0..WORKSPACES {
        let cast = Cast::new(&rig.origin, &format!("workspace-{n}"), SEED + n);
        let (client, history, clock) = (client.clone(), history.clone(), clock.clone());
        playing.spawn(play(cast, cases / WORKSPACES, client, history, clock));
    }
    let Outcome { accepted, refused } =
        playing.join_all().await.into_iter().fold(Outcome::default(), |mut all, of_one| {
            all.accepted.extend(of_one.accepted);
            all.refused.extend(of_one.refused);
            all
        });
    service.shutdown().await;

    let sealed = rig.seal(clock.now().checked_add(HOUR).unwrap()).await.unwrap();
    let report = rig.verify().unwrap();
    let findings = &report.findings;
    assert_eq!(report.verdict, Verdict::Proven, "seed {SEED}: {findings:#?}");
    let figures = rig.judge(&path, Some(&report)).await.unwrap();
    assert!(figures.held(), "seed {SEED}: {:#?}", figures.findings);
    // Each workspace was created by an administrator's act, and the acts opened theirs.
    let acts = WORKSPACES + 1;
    assert!(report.events >= figures.events + acts, "all of it is sealed");
    let own = acts_workspace();
    let sealed_acts = report.workspaces.iter().find(|of| of.workspace == own);
    let sealed_acts = sealed_acts.and_then(|of| of.head).map(|(last, _)| last.get());
    assert_eq!(report.events - sealed_acts.unwrap(), figures.events, "all of it is sealed");
    let content = Content::read(&Archive::load(&rig.archive()).unwrap());
    let rows = content.chunks().flat_map(|chunk| &chunk.rows);
    let archived: BTreeSet<_> =
        rows.map(|row| Digest::from_bytes(row.row.submission_hash)).collect();
    // A replay of what was refused may have been accepted in another form of the request.
    let intruders =
        refused.keys().filter(|hash| !accepted.contains(hash) && archived.contains(hash));
    assert_eq!(intruders.count(), 0);
    assert!(accepted.iter().all(|hash| archived.contains(hash)));
    let kinds: BTreeSet<_> = refused.values().collect();
    println!(
        "2.4 row 43: {cases} cases, {} accepted, {} refused ({} kinds), {} hours sealed, verify \
         exit 0, none of the refused archived",
        accepted.len(),
        refused.len(),
        kinds.len(),
        sealed.hours.len()
    );
    assert!(accepted.len() > refused.len() / 3 && refused.len() > accepted.len() / 3);
}

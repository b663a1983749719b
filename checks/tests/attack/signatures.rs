//! Forged, replayed and foreign signatures: refused over HTTP, and found by the verifier for the
//! same reason where an operator with the seal key put them into an archive all the same (FAULTS
//! rows 35 to 37 and 41).

use checks::crowd::now;
use checks::events::ledger_event;
use checks::forge::{Chunk, Content, Depth, Leaf, OwnedRow, Random};
use checks::submission::Submission;
use checks::worker::Worker;
use ledger::chain::{KEY_REGISTERED, KEY_REVOKED};
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::{Derived, Row};
use ledger::hash::Digest;
use ledger::hour::HourNote;
use ledger::key::{PublicKey, Signature, SigningKey};
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::NoteSigner;
use ledger::payload::{Rules, scan};
use ledger::submission::{Counter, Statement};
use ledger::time::{Hour, SECOND};
use ledger::verify::{Check, Policy, Report, Trust};
use serde_json::json;

use crate::mutation::request;
use crate::wire::send;
use crate::{Ground, print};

/// The order of the group, in little-endian bytes.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
/// Keys that are none: the neutral point, a point of order 4, and the neutral point as y = p + 1.
const BAD_KEYS: [(&str, &str, [u8; 32], &str); 3] = [
    (
        "a key of order 1",
        "key-small-order",
        ends(1, 0),
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ),
    (
        "a key of order 4",
        "key-small-order",
        ends(0, 0),
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ),
    (
        "a key that is not canonical",
        "key-not-canonical",
        NOT_CANONICAL,
        "7v_______________________________________38",
    ),
];
const NOT_CANONICAL: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xee;
    bytes[31] = 0x7f;
    bytes
};

const fn ends(first: u8, last: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// S + l: the same signature to whoever reduces S.
fn plus_order(signature: &Signature) -> Signature {
    let mut bytes = *signature.as_bytes();
    let mut carry = 0_u16;
    for (byte, more) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    Signature::from_bytes(bytes)
}

/// Something that nobody may get recorded.
struct Attack {
    what: &'static str,
    submission: Submission,
    /// The key as it is told, where it is none.
    key: Option<([u8; 32], String)>,
    status: u16,
    /// The stable code: of the problem or its first error, and of the verifier's finding.
    code: &'static str,
    /// What the verifier finds.
    check: Check,
}

fn attack(
    what: &'static str,
    submission: Submission,
    status: u16,
    code: &'static str,
    check: Check,
) -> Attack {
    Attack { what, submission, key: None, status, code, check }
}

/// Those who submit to one workspace, and what they have submitted.
struct Cast {
    random: Random,
    founder: Worker,
    agent: Worker,
    other: Worker,
    former: Worker,
    stranger: Worker,
    past: Vec<Submission>,
}

impl Cast {
    fn new(origin: &Origin, name: &str, seed: u64) -> Self {
        let workspace = Workspace::new(name).unwrap();
        let worker = |actor: &str, n| Worker::new(origin, &workspace, actor, seed + n);
        let mut cast = Self {
            random: Random::new(seed),
            founder: worker("founder", 1),
            agent: worker("agent", 2),
            other: worker("other", 3),
            former: worker("former", 4),
            stranger: worker("stranger", 5),
            past: Vec::new(),
        };
        let Cast { founder, agent, other, former, .. } = &mut cast;
        cast.past = vec![
            founder.open_workspace(now()),
            founder.register(agent, now()),
            founder.register(other, now()),
            founder.register(former, now()),
            agent.work(3, now()),
            former.work(1, now()),
        ];
        let revocation = cast.revoked(&cast.former.key.public());
        let revocation = cast.founder.sign(vec![revocation]);
        cast.past.push(revocation);
        cast
    }

    fn set(&mut self, event_type: &str, context: &serde_json::Value) -> Vec<u8> {
        ledger_event(event_type, &self.founder.workspace, now(), &mut self.random, context)
    }

    fn revoked(&mut self, key: &PublicKey) -> Vec<u8> {
        self.set(KEY_REVOKED, &json!({"key": key.to_string(), "reason": "a test"}))
    }

    fn registered(&mut self, key: &PublicKey) -> Vec<u8> {
        self.set(KEY_REGISTERED, &json!({"key": key.to_string(), "role": "agent"}))
    }

    /// Signatures that do not stand for what is sent with them.
    fn forgeries(&mut self, elsewhere: &Workspace) -> Vec<Attack> {
        let good = self.agent.work(3, now());
        let invalid =
            |what, submission| attack(what, submission, 403, "signature-invalid", Check::Signature);
        let with = |change: &dyn Fn(&mut Submission)| {
            let mut changed = good.clone();
            change(&mut changed);
            changed
        };
        let signed_for = |origin: &Origin, workspace: &Workspace| {
            let (key, payloads) = (&self.agent.key, good.payloads.clone());
            let signed = Submission::sign(origin, workspace, good.counter, key, payloads);
            Submission { workspace: good.workspace.clone(), ..signed }
        };
        let other_origin = Origin::new("elsewhere.example.com/crowd").unwrap();
        let mut flipped = *good.signature.as_bytes();
        flipped[7] ^= 1;
        let fresh = self.agent.agent.events(1, now());
        vec![
            invalid("another workspace", signed_for(&self.agent.origin, elsewhere)),
            invalid("another origin", signed_for(&other_origin, &self.agent.workspace)),
            invalid("another order", with(&|s| s.payloads.reverse())),
            invalid("an event dropped", with(&|s| drop(s.payloads.pop()))),
            invalid("an event added", with(&|s| s.payloads.extend(fresh.clone()))),
            invalid("an event exchanged", with(&|s| s.payloads[1] = fresh[0].clone())),
            invalid("another counter", with(&|s| s.counter = Counter::new(4_000).unwrap())),
            invalid("no counter", with(&|s| s.counter = Counter::NONE)),
            invalid("another key's name", with(&|s| s.public_key = self.other.key.public())),
            invalid("S + l", with(&|s| s.signature = plus_order(&s.signature))),
            invalid("all zeros", with(&|s| s.signature = Signature::from_bytes([0; 64]))),
            invalid("a bit of R", with(&|s| s.signature = Signature::from_bytes(flipped))),
        ]
    }

    /// Signatures under keys that are none.
    fn keys_that_are_none(&mut self) -> Vec<Attack> {
        let of = |(what, code, bytes, text): &(&'static str, &'static str, [u8; 32], &str)| {
            let submission = self.agent.work(1, now());
            let key = Some((*bytes, format!("ed25519:{text}")));
            Attack { key, ..attack(what, submission, 400, code, Check::PublicKey) }
        };
        BAD_KEYS.iter().map(of).collect()
    }

    /// Good signatures of those who may not.
    fn trespasses(&mut self, foreign: &mut Worker) -> Vec<Attack> {
        let key_rule =
            |what, submission, status, code| attack(what, submission, status, code, Check::KeyRule);
        let new = SigningKey::from_seed(&self.random.bytes()).public();
        let [former, agent, root] =
            [&self.former, &self.agent, &self.founder].map(|of| of.key.public());
        foreign.workspace = self.agent.workspace.clone();
        let mine = self.agent.agent.events(1, now());
        let foreign = foreign.sign(mine);
        let register = self.registered(&new);
        let (register_former, register_agent) = (self.registered(&former), self.registered(&agent));
        let (revoke_root, revoke_new) = (self.revoked(&root), self.revoked(&new));
        let not_alone = [self.agent.agent.events(1, now()), vec![self.registered(&new)]].concat();
        vec![
            key_rule("a revoked key", self.former.work(2, now()), 403, "revoked-key"),
            key_rule("a key of another workspace", foreign, 403, "unknown-key"),
            key_rule("a key nobody registered", self.stranger.work(2, now()), 403, "unknown-key"),
            key_rule(
                "the actor_id of another agent",
                self.agent.sign(self.other.agent.events(2, now())),
                403,
                "other-actor",
            ),
            key_rule("an agent sets a key", self.agent.sign(vec![register]), 403, "not-root"),
            key_rule(
                "a revoked key once more",
                self.founder.sign(vec![register_former]),
                403,
                "registered-again",
            ),
            key_rule(
                "a key twice",
                self.founder.sign(vec![register_agent]),
                409,
                "already-registered",
            ),
            key_rule("the last root key", self.founder.sign(vec![revoke_root]), 403, "last-root"),
            key_rule(
                "a key that is not there",
                self.founder.sign(vec![revoke_new]),
                409,
                "not-in-force",
            ),
            key_rule("a key among events", self.founder.sign(not_alone), 422, "not-alone"),
        ]
    }
}

/// The rows of a submission, its name as the format makes it of what it says.
fn rows(submission: &Submission, key: [u8; 32], origin: &Origin, at: i64) -> Vec<OwnedRow> {
    let Submission { workspace, counter, payloads, signature, .. } = submission;
    let digests = submission.digests();
    let statement = Statement::new(origin, workspace, *counter, &digests);
    let hash = statement.submission_hash(&key, signature);
    let rows = (0_u16..).zip(payloads).zip(&digests).map(|((index, payload), digest)| {
        let named: serde_json::Value = serde_json::from_slice(payload).unwrap();
        let named = Workspace::new(named["workspace_id"].as_str().unwrap()).unwrap();
        let event = scan(payload, &named, &Rules::default()).unwrap();
        OwnedRow::of(&Row {
            seq: 0,
            recorded_at: at,
            event_id: *event.event_id.as_bytes(),
            payload: Some(payload),
            payload_digest: *digest.as_bytes(),
            link: [0; 32],
            submission_hash: *hash.as_bytes(),
            submission_index: index,
            submission_count: u16::try_from(payloads.len()).unwrap(),
            counter: counter.get(),
            public_key: key,
            signature: *signature.as_bytes(),
            derived: Derived::of(&event),
        })
    });
    rows.collect()
}

/// What an auditor finds in an archive that holds these submissions, in this order, whatever the
/// ledger would have said to them. The last of them starts at the seq that is given back.
fn audit(cast: &Cast, last: &Submission, last_key: [u8; 32]) -> (Report, u64) {
    let Worker { origin, workspace, key: root, .. } = &cast.founder;
    let seal = NoteSigner::seal(origin, SigningKey::from_seed(&[7; 32]));
    let hour = Hour::parse("2026-11-23T22:00:00Z").unwrap();
    let start = hour.start();
    let keys = cast.past.iter().map(|past| *past.public_key.as_bytes()).chain([last_key]);
    let mut all = Vec::new();
    let mut first = 0;
    for ((submission, key), n) in cast.past.iter().chain([last]).zip(keys).zip(1..) {
        first = u64::try_from(all.len()).unwrap() + 1;
        all.extend(rows(submission, key, origin, start.get() + n * SECOND));
    }
    let manifest = ChunkManifest {
        origin: origin.clone(),
        workspace: workspace.clone(),
        hour,
        part: 0,
        first_seq: Seq::FIRST,
        last_seq: Seq::FIRST,
        prev_link: Digest::ZERO,
        last_link: Digest::ZERO,
        root: Digest::ZERO,
        first_recorded_at: start,
        last_recorded_at: start,
        prev_manifest: Digest::ZERO,
        amends: Digest::ZERO,
        object: String::new(),
        digest: ObjectDigest::of(b""),
    };
    let chunk = Chunk { manifest, rows: all, object: Vec::new() };
    let hour = HourNote {
        origin: origin.clone(),
        hour,
        chunks: 0,
        workspaces: 0,
        heads_root: Digest::ZERO,
        prev_hour: Digest::ZERO,
    };
    let leaves = vec![Leaf::Chunk(Box::new(chunk)), Leaf::Hour(hour)];
    let mut content = Content { origin: origin.clone(), leaves };
    content.renumber();
    content.settle(Depth::Links, &seal);
    let trust = Trust {
        origin: origin.clone(),
        seal_keys: vec![seal.verifier().clone()],
        revoked: Vec::new(),
        seen: Vec::new(),
        receipt_keys: Vec::new(),
        workspaces: [(workspace.clone(), vec![root.public()])].into(),
    };
    (verifier::audit::verify(&content.seal(&seal), trust, Policy::default(), &()), first)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_35_to_37_no_signature_gets_a_row_that_it_does_not_stand_for() {
    let mut ground = Ground::new().await;
    let mut cast = Cast::new(&ground.crowd.rig.origin, "acme", 35_000);
    let desk = ground.crowd.desk(&ground.base);
    for submission in &cast.past {
        desk.deliver(submission).await;
    }
    let replayed = ground.agents[0].work(2, now());
    desk.deliver(&replayed).await;
    let mut foreign = ground.agents[0].clone();
    let elsewhere = foreign.workspace.clone();

    // In an archive, what was recorded is intact: all that is found below is the attack.
    let fine = cast.agent.clone().work(2, now());
    let (report, _) = audit(&cast, &fine, *fine.public_key.as_bytes());
    assert_eq!(report.verdict, ledger::verify::Verdict::Proven, "{:#?}", report.findings);

    let mut attacks = cast.forgeries(&elsewhere);
    attacks.extend(cast.keys_that_are_none());
    attacks.extend(cast.trespasses(&mut foreign));
    let carried = Submission { workspace: cast.agent.workspace.clone(), ..replayed };
    attacks.push(attack(
        "replayed elsewhere",
        carried,
        422,
        "wrong-workspace",
        Check::PayloadRules,
    ));
    let known = cast.past[4].clone();
    let again = cast.agent.sign(known.payloads.clone());
    attacks.push(attack("events again", again, 409, "event-exists", Check::EventTwice));
    let events = cast.agent.agent.events(1, now());
    let (agent, origin) = (&cast.agent, &cast.agent.origin);
    let used = Submission::sign(origin, &agent.workspace, known.counter, &agent.key, events);
    attacks.push(attack("a counter again", used, 409, "counter-reused", Check::CounterTwice));

    let before = ground.rows().await;
    for Attack { what, submission, key, status, code, check } in &attacks {
        let mut http = request(submission, &submission.path(), &[]);
        let mut bytes = *submission.public_key.as_bytes();
        if let Some((raw, text)) = key {
            http.set("Tally-Public-Key", text.clone());
            bytes = *raw;
        }
        let address = ground.base.trim_start_matches("http://").parse().unwrap();
        let answer = send(address, &http.bytes()).await.unwrap();
        let (kind, reason) = answer.problem();
        answer.check().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.status, *status, "{what}: {kind}");
        assert!(kind == *code || reason == *code, "{what}: {kind}, {reason}");

        let (report, first) = audit(&cast, submission, bytes);
        let found = report.findings.iter().any(|finding| {
            let told = !matches!(check, Check::Signature | Check::PublicKey | Check::KeyRule)
                || finding.to_string().contains(code);
            finding.check == *check && finding.place.seq >= Some(first) && told
        });
        assert!(found, "{what}: no {} with {code} in {:#?}", check.id(), report.findings);
    }
    assert_eq!(ground.rows().await, before, "0 rows");
    ground.works().await;
    ground.service.stop().await.unwrap();
    print(&format!(
        "2.3 rows 35 to 37: {} forged, replayed or foreign signatures: refused over HTTP, 0 rows, \
         and each found by the verifier in an archive, for the same reason",
        attacks.len()
    ));
}

//! Archives of random shape that an honest ledger could have made.
#![expect(clippy::expect_used, reason = "a forge that cannot forge is a failed test")]

use ledger::columns::{Derived, Row};
use ledger::hash::Digest;
use ledger::hour::HourNote;
use ledger::key::SigningKey;
use ledger::names::{Origin, Workspace};
use ledger::note::NoteSigner;
use ledger::payload::{self, Rules};
use ledger::submission::{Counter, Statement};
use ledger::time::{Hour, Micros, SECOND};
use ledger::verify::Trust;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::content::OwnedRow;
use super::{Archive, Chunk, Content, Depth, Leaf, Random};

/// The hour that made-up ledgers start in.
const START: &str = "2026-11-23T22:00:00Z";

/// A made-up archive, with what verifies it and what seals it.
#[derive(Clone, Debug)]
pub struct Honest {
    /// What it says.
    pub content: Content,
    /// The trust file of its auditor.
    pub trust: Trust,
    /// Its seal key.
    pub seal: NoteSigner,
    /// The same key, as it lies in a file.
    pub seal_pem: String,
}

impl Honest {
    /// The archive itself.
    pub fn archive(&self) -> Archive {
        self.content.seal(&self.seal)
    }
}

/// Makes up an archive: up to four workspaces over up to five hours, some of them empty; root,
/// agent and custodian keys, some bound to an actor, some revoked, all counting.
pub fn honest(seed: u64) -> Honest {
    let mut random = Random::new(seed);
    let origin = Origin::new("ledger.example.com/forge").expect("an origin");
    let seal_key = SigningKey::from_seed(&random.bytes());
    let seal_pem = seal_key.to_pem().expect("a key");
    let seal = NoteSigner::seal(&origin, seal_key);
    let mut hour = Hour::parse(START).expect("an hour");
    let mut desks: Vec<Desk> = Vec::new();
    let mut content = Content { origin: origin.clone(), leaves: Vec::new() };
    let hours = 1 + random.below(5);
    for at in 0..hours {
        // The first hour of a ledger is that of its first entry.
        while at == 0 && desks.is_empty() || desks.len() < 4 && random.once_in(3) {
            desks.push(Desk::open(&origin, desks.len(), hour, &mut random));
        }
        for desk in &mut desks {
            if at > 0 && random.once_in(3) && desk.rows.is_empty() {
                continue;
            }
            desk.work(hour, &mut random);
            content.leaves.extend(desk.chunks(hour, &mut random));
        }
        content.leaves.push(Leaf::Hour(HourNote {
            origin: origin.clone(),
            hour,
            chunks: 0,
            workspaces: 0,
            heads_root: Digest::ZERO,
            prev_hour: Digest::ZERO,
        }));
        hour = hour.next().expect("an hour after this one");
    }
    content.renumber();
    content.settle(Depth::Links, &seal);
    let workspaces = desks.iter().map(|desk| (desk.workspace.clone(), vec![desk.root.public()]));
    let trust = Trust {
        origin,
        seal_keys: vec![seal.verifier().clone()],
        revoked: Vec::new(),
        seen: Vec::new(),
        receipt_keys: Vec::new(),
        workspaces: workspaces.collect(),
    };
    Honest { content, trust, seal, seal_pem }
}

/// A key that signs for a workspace.
struct Agent {
    key: SigningKey,
    actor: Option<String>,
    counter: u64,
}

/// A workspace while it is written: the rows of the open hour have no seq and no link yet.
struct Desk {
    origin: Origin,
    workspace: Workspace,
    root: SigningKey,
    agents: Vec<Agent>,
    rows: Vec<OwnedRow>,
    now: Micros,
}

impl Desk {
    fn open(origin: &Origin, index: usize, hour: Hour, random: &mut Random) -> Self {
        let names = ["acme", "b.eta-2", "0", "zulu_z"];
        let name = names.get(index).expect("at most four workspaces");
        let mut desk = Self {
            origin: origin.clone(),
            workspace: Workspace::new(name).expect("a workspace"),
            root: SigningKey::from_seed(&random.bytes()),
            agents: Vec::new(),
            rows: Vec::new(),
            now: hour.start(),
        };
        let created = json!({"root_keys": [desk.root.public().to_string()]});
        desk.set("ledger.workspace_created", created, random);
        for role in ["agent", "custodian"] {
            desk.register(role, random);
        }
        desk
    }

    /// A `ledger.` event by the root key.
    fn set(&mut self, event_type: &str, context: Value, random: &mut Random) {
        let mut event = self.event(event_type, random);
        event.insert("context".to_owned(), context);
        let root = self.root.clone();
        self.submit(&root, 0, vec![event], random);
    }

    fn register(&mut self, role: &str, random: &mut Random) {
        let key = SigningKey::from_seed(&random.bytes());
        let actor = random.once_in(2).then(|| format!("agent-{}", random.below(100)));
        let mut context = json!({"key": key.public().to_string(), "role": role});
        if let (Some(actor), Some(context)) = (&actor, context.as_object_mut()) {
            context.insert("actor_id".to_owned(), json!(actor));
        }
        self.set("ledger.key_registered", context, random);
        self.agents.push(Agent { key, actor, counter: 0 });
    }

    fn event(&self, event_type: &str, random: &mut Random) -> Map<String, Value> {
        let event = json!({
            "event_id": Uuid::from_bytes(random.bytes()).to_string(),
            "event_type": event_type,
            "occurred_at": self.now.to_string(),
            "workspace_id": self.workspace.as_str(),
        });
        event.as_object().cloned().unwrap_or_default()
    }

    /// An hour's submissions.
    fn work(&mut self, hour: Hour, random: &mut Random) {
        self.now = self.now.max(hour.start());
        for _ in 0..1 + random.below(6) {
            if random.once_in(6) {
                self.register("agent", random);
            }
            if self.agents.len() > 1 && random.once_in(8) {
                let index = random.index(self.agents.len());
                let revoked = self.agents.remove(index).key.public().to_string();
                self.set("ledger.key_revoked", json!({"key": revoked, "reason": "left"}), random);
            }
            self.shift(random);
        }
    }

    /// One submission of an agent.
    fn shift(&mut self, random: &mut Random) {
        let count = if random.once_in(3) { 1 } else { 1 + random.below(20) };
        let index = random.index(self.agents.len());
        let Some(agent) = self.agents.get_mut(index) else { return };
        // One in ten submissions was lost on its way: the count has a gap.
        agent.counter += 1 + u64::from(random.once_in(10));
        let (key, actor, counter) = (agent.key.clone(), agent.actor.clone(), agent.counter);
        let events = (0..count).map(|_| self.act(actor.as_deref(), random)).collect();
        self.submit(&key, counter, events, random);
    }

    /// One event with some of the members that it may have.
    fn act(&self, actor: Option<&str>, random: &mut Random) -> Map<String, Value> {
        let event_types = ["tool_call", "llm_call", "error", "business_event", "agent.slept"];
        let event_type = event_types.get(random.index(event_types.len())).expect("a type");
        let mut event = self.event(event_type, random);
        let members = json!({
            "actor_id": actor.unwrap_or("someone \"else\""),
            "session_id": format!("s-{}", random.below(9)),
            "source": "forge", "model": "gpt-4o", "provider": "openai", "error_type": "rate_limited",
            "tool_name": "suche \u{1f50d}", "status": "timeout", "prompt_hash": "00ff",
            "input_tokens": random.below(1 << 40), "output_tokens": 0, "latency_ms": 17,
            "success": random.once_in(2), "unit_cost_input": "0.000002500", "unit_cost_output": 1e-5,
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
            "agent_version": "1.2.3", "on_behalf_of": "user@example.com", "salt": "n4Cl",
            "parent_event_id": Uuid::from_bytes(random.bytes()).to_string(),
            "context": {"a": [1, {"b": null}]},
        });
        let needed = ["tool_name", "status", "model", "error_type"];
        for (name, value) in members.as_object().into_iter().flatten() {
            if needed.contains(&name.as_str()) || random.once_in(2) {
                event.insert(name.clone(), value.clone());
            }
        }
        event
    }

    /// Signs events, and records them a moment later.
    fn submit(
        &mut self,
        key: &SigningKey,
        counter: u64,
        events: Vec<Map<String, Value>>,
        random: &mut Random,
    ) {
        let payloads: Vec<_> = events
            .iter()
            .map(|event| Value::from(event.clone()).to_string().into_bytes())
            .collect();
        let digests: Vec<_> = payloads.iter().map(|payload| Digest::of(payload)).collect();
        let number = Counter::new(counter).expect("a counter");
        let statement = Statement::new(&self.origin, &self.workspace, number, &digests);
        let signature = key.sign(statement.as_str().as_bytes());
        let public_key = *key.public().as_bytes();
        let submission_hash = statement.submission_hash(&public_key, &signature);
        let pause = i64::try_from(random.below(60 * SECOND.unsigned_abs())).unwrap_or(0);
        self.now = self.now.checked_add(pause).expect("a time");
        let count = u16::try_from(payloads.len()).expect("few events");
        for ((index, payload), digest) in (0_u16..).zip(&payloads).zip(digests) {
            let event = payload::scan(payload, &self.workspace, &Rules::default()).expect("good");
            self.rows.push(OwnedRow::of(&Row {
                seq: 0,
                recorded_at: self.now.get(),
                event_id: *event.event_id.as_bytes(),
                payload: Some(payload),
                payload_digest: *digest.as_bytes(),
                link: [0; 32],
                submission_hash: *submission_hash.as_bytes(),
                submission_index: index,
                submission_count: count,
                counter,
                public_key,
                signature: *signature.as_bytes(),
                derived: Derived::of(&event),
            }));
        }
    }

    /// The hour's rows as one chunk or several, none of which splits a submission.
    fn chunks(&mut self, hour: Hour, random: &mut Random) -> Vec<Leaf> {
        let mut chunks: Vec<Vec<OwnedRow>> = Vec::new();
        for row in self.rows.drain(..) {
            let starts = row.row.submission_index == 0 && random.once_in(4);
            match chunks.last_mut().filter(|_| !starts) {
                Some(chunk) => chunk.push(row),
                None => chunks.push(vec![row]),
            }
        }
        let chunk = |rows| Chunk::new(&self.origin, &self.workspace, hour, rows);
        chunks.into_iter().map(|rows| Leaf::Chunk(Box::new(chunk(rows)))).collect()
    }
}

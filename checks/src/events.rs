//! Simulated agents: event after event of made-up but plausible work, the same from the same seed.
//!
//! Here: payloads that the format accepts. Not here: payloads that it may refuse (see
//! [`crate::variation`]), and signing (see [`crate::submission`]).

#![expect(clippy::expect_used, reason = "never shipped: what cannot be made is a failed test")]

use std::fmt::Write as _;

use ledger::chain::{KEY_REGISTERED, Role, WORKSPACE_CREATED};
use ledger::hash::Digest;
use ledger::key::PublicKey;
use ledger::names::{EventId, Workspace};
use ledger::time::Micros;
use serde_json::{Value, json};

use crate::forge::Random;

/// Model, provider, and the price of a token read and written.
const MODELS: [(&str, &str, &str, &str); 3] = [
    ("atlas-large", "north", "0.0000025", "0.00001"),
    ("atlas-small", "north", "0.00000015", "0.0000006"),
    ("heron-2", "lakeside", "0.000003", "0.000015"),
];
const TOOLS: [&str; 5] =
    ["search_flights", "get_reservation", "update_reservation", "send_invoice", "calculate"];
const ERRORS: [&str; 3] = ["rate_limited", "tool_unavailable", "context_too_long"];
const GOALS: [&str; 4] = [
    "move a booking to the next morning",
    "refund a cancelled seat",
    "answer a question about luggage",
    "reconcile last week's invoices",
];
const SENTENCES: [&str; 6] = [
    "The customer asked for the change in writing and was told the fee before it was made.",
    "Two of the three legs are refundable; the third one is not, as the fare rules say.",
    "The tool gave no seat map, so the request was repeated with the aircraft's type.",
    "Der Kunde w\u{fc}nscht eine Best\u{e4}tigung per E-Mail \u{2014} sie ist unterwegs.",
    "The amounts of both systems agree to the cent once the voucher is counted.",
    "A person approved this step: it moves more money than the agent may move alone.",
];

/// One agent at work: runs of calls to models and tools, one after the other.
#[derive(Clone, Debug)]
pub struct Agent {
    workspace: Workspace,
    actor: String,
    random: Random,
    run: Option<Run>,
}

#[derive(Clone, Debug)]
struct Run {
    session: String,
    trace: String,
    goal: &'static str,
    steps: u64,
}

impl Agent {
    /// An agent that speaks as `actor`; other seeds give other work and other event ids.
    pub fn new(workspace: &Workspace, actor: &str, seed: u64) -> Self {
        let mut random = Random::new(seed);
        // Seeds of neighbours differ in a few bits only: the first draw spreads them.
        let random = Random::new(random.bits());
        Self { workspace: workspace.clone(), actor: actor.to_owned(), random, run: None }
    }

    /// The payload of the agent's next event, about 700 bytes.
    pub fn event(&mut self, at: Micros) -> Vec<u8> {
        let mut event = json!({
            "event_id": event_id(&mut self.random).to_string(),
            "occurred_at": at.to_string(),
            "workspace_id": self.workspace.as_str(),
            "actor_id": self.actor,
            "source": "simulation",
            "agent_version": "1.4.2",
        });
        let act = self.act();
        if let (Value::Object(event), Value::Object(act)) = (&mut event, act) {
            event.extend(act);
        }
        event.to_string().into_bytes()
    }

    /// `count` events, one second apart, the last one at `until`.
    pub fn events(&mut self, count: u64, until: Micros) -> Vec<Vec<u8>> {
        let ago = |seconds: u64| {
            i64::try_from(seconds)
                .ok()
                .and_then(|seconds| until.checked_add(-seconds * ledger::time::SECOND))
                .unwrap_or(until)
        };
        (0..count).rev().map(|seconds| self.event(ago(seconds))).collect()
    }

    /// What tells this event from the others of its run.
    fn act(&mut self) -> Value {
        let Some(mut run) = self.run.take() else {
            let run = Run {
                session: format!("run-{:08x}", self.random.below(1 << 32)),
                trace: hex(&self.random.bytes::<16>()),
                goal: pick(&mut self.random, &GOALS),
                steps: 4 + self.random.below(12),
            };
            let act = json!({
                "event_type": "agent_run_started",
                "session_id": run.session,
                "trace_id": run.trace,
                "on_behalf_of": format!("customer-{:04}", self.random.below(10_000)),
                "context": {"goal": run.goal, "notes": self.prose(4)},
            });
            self.run = Some(run);
            return act;
        };
        let kind = if run.steps == 0 { 20 } else { self.random.below(20) };
        let mut act = match kind {
            0..=9 => self.llm_call(),
            10..=16 => self.tool_call(),
            17..=18 => json!({
                "event_type": "business_event",
                "status": "recorded",
                "context": {"kind": "booking_changed", "amount_cents": self.random.below(90_000),
                            "currency": "EUR", "notes": self.prose(4)},
            }),
            19 => json!({
                "event_type": "error",
                "error_type": pick(&mut self.random, &ERRORS),
                "success": false,
                "context": {"retry": self.random.below(3), "message": self.prose(4)},
            }),
            _ => json!({
                "event_type": "agent_run_finished",
                "success": !self.random.once_in(9),
                "latency_ms": 5_000 + self.random.below(90_000),
                "context": {"goal": run.goal, "outcome": self.prose(4)},
            }),
        };
        if let Value::Object(act) = &mut act {
            act.insert("session_id".to_owned(), run.session.clone().into());
            act.insert("trace_id".to_owned(), run.trace.clone().into());
            act.insert("span_id".to_owned(), hex(&self.random.bytes::<8>()).into());
        }
        if run.steps > 0 {
            run.steps -= 1;
            self.run = Some(run);
        }
        act
    }

    fn llm_call(&mut self) -> Value {
        let (model, provider, read, written) = pick(&mut self.random, &MODELS);
        json!({
            "event_type": "llm_call",
            "model": model,
            "provider": provider,
            "input_tokens": 200 + self.random.below(6_000),
            "output_tokens": 20 + self.random.below(800),
            "latency_ms": 150 + self.random.below(4_000),
            "unit_cost_input": read,
            "unit_cost_output": written,
            "success": true,
            "prompt_hash": Digest::of(&self.random.bytes::<8>()).to_string(),
            "context": {"content": self.prose(4), "finish_reason": "stop"},
        })
    }

    fn tool_call(&mut self) -> Value {
        let status = match self.random.below(20) {
            0 => "timeout",
            1..=2 => "failure",
            _ => "success",
        };
        json!({
            "event_type": "tool_call",
            "tool_name": pick(&mut self.random, &TOOLS),
            "status": status,
            "success": status == "success",
            "latency_ms": 10 + self.random.below(1_500),
            "context": {"arguments": {"reservation": format!("R{:06}", self.random.below(1_000_000)),
                                      "passengers": self.random.below(5)},
                        "result": self.prose(4)},
        })
    }

    fn prose(&mut self, sentences: usize) -> String {
        let chosen: Vec<_> = (0..sentences).map(|_| pick(&mut self.random, &SENTENCES)).collect();
        chosen.join(" ")
    }
}

/// One of several.
///
/// # Panics
/// Where there is none.
pub fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    let at = random.below(u64::try_from(from.len()).unwrap_or(0));
    let one = usize::try_from(at).ok().and_then(|at| from.get(at));
    *one.expect("there is at least one to pick")
}

/// A random event id (UUID version 4).
pub fn event_id(random: &mut Random) -> EventId {
    let id = uuid::Builder::from_random_bytes(random.bytes()).into_uuid();
    EventId::from_bytes(id.into_bytes()).expect("a version 4 UUID is never nil")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The payload of the event that opens a workspace (FORMAT section 6).
pub fn workspace_created(
    workspace: &Workspace,
    at: Micros,
    random: &mut Random,
    root: &PublicKey,
) -> Vec<u8> {
    let context = json!({"root_keys": [root.to_string()]});
    ledger_event(WORKSPACE_CREATED, workspace, at, random, &context)
}

/// The payload of the event that brings an agent's key into force (FORMAT section 6).
pub fn agent_registered(
    workspace: &Workspace,
    at: Micros,
    random: &mut Random,
    key: &PublicKey,
    actor: Option<&str>,
) -> Vec<u8> {
    let mut context = json!({"key": key.to_string(), "role": Role::Agent.as_str()});
    if let (Value::Object(context), Some(actor)) = (&mut context, actor) {
        context.insert("actor_id".to_owned(), actor.into());
    }
    ledger_event(KEY_REGISTERED, workspace, at, random, &context)
}

/// The payload of an event that the ledger itself acts on.
pub fn ledger_event(
    event_type: &str,
    workspace: &Workspace,
    at: Micros,
    random: &mut Random,
    context: &Value,
) -> Vec<u8> {
    let event = json!({
        "event_id": event_id(random).to_string(),
        "event_type": event_type,
        "occurred_at": at.to_string(),
        "workspace_id": workspace.as_str(),
        "context": context,
    });
    event.to_string().into_bytes()
}

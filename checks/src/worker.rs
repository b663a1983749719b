//! Who signs: an agent or a founder, with a key, a counter and work to do.
//!
//! Here: everything that a client keeps between two submissions. Not here: sending them (see
//! [`crate::driver`]).

use ledger::key::SigningKey;
use ledger::names::{Origin, Workspace};
use ledger::submission::Counter;
use ledger::time::Micros;

use crate::events::{self, Agent};
use crate::forge::Random;
use crate::submission::{Route, Submission};

/// A key holder of one workspace.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The ledger it submits to.
    pub origin: Origin,
    /// The workspace it works in.
    pub workspace: Workspace,
    /// The actor that it speaks as.
    pub actor: String,
    /// The key it signs with.
    pub key: SigningKey,
    /// The work it does.
    pub agent: Agent,
    random: Random,
    counter: u64,
}

impl Worker {
    /// A worker whose key and work follow from a seed.
    pub fn new(origin: &Origin, workspace: &Workspace, actor: &str, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            origin: origin.clone(),
            workspace: workspace.clone(),
            actor: actor.to_owned(),
            key: SigningKey::from_seed(&random.bytes()),
            agent: Agent::new(workspace, actor, random.bits()),
            random,
            counter: 0,
        }
    }

    /// The next submission: `count` events up to `now`.
    pub fn work(&mut self, count: u64, now: Micros) -> Submission {
        let payloads = self.agent.events(count, now);
        self.sign(payloads)
    }

    /// Opens the workspace, with this worker's key as its one root key.
    pub fn open_workspace(&mut self, now: Micros) -> Submission {
        let Self { workspace, random, key, .. } = self;
        let payload = events::workspace_created(workspace, now, random, &key.public());
        Submission { route: Route::Workspaces, ..self.sign(vec![payload]) }
    }

    /// Brings another worker's key into force, for its actor alone.
    pub fn register(&mut self, other: &Self, now: Micros) -> Submission {
        let (key, actor) = (other.key.public(), Some(other.actor.as_str()));
        let payload = events::agent_registered(&self.workspace, now, &mut self.random, &key, actor);
        self.sign(vec![payload])
    }

    /// Signs payloads under the next counter.
    pub fn sign(&mut self, payloads: Vec<Vec<u8>>) -> Submission {
        self.skip();
        let counter = Counter::new(self.counter).unwrap_or(Counter::NONE);
        Submission::sign(&self.origin, &self.workspace, counter, &self.key, payloads)
    }

    /// Counts a submission that is never sent.
    pub fn skip(&mut self) {
        self.counter += 1;
    }
}

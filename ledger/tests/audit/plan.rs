//! The honest ledger as a plan: who submits what, hour by hour, and the keys of everyone.

use std::collections::BTreeMap;

use ledger::hash::Digest;
use ledger::key::SigningKey;
use ledger::merkle::Frontier;
use ledger::names::{EventId, Origin, Workspace};
use ledger::note::{self, NoteSigner};
use ledger::prune::PruneRecord;
use ledger::rollup::RollupManifest;
use ledger::time::Hour;
use ledger::verify::Trust;

/// A submission as an agent makes it.
#[derive(Clone)]
pub struct Sub {
    pub key: u8,
    pub counter: u64,
    /// Seconds into the chunk's hour.
    pub second: i64,
    pub payloads: Vec<String>,
}

/// The submissions of one chunk.
#[derive(Clone)]
pub struct ChunkPlan {
    pub workspace: &'static str,
    pub hour: Hour,
    pub subs: Vec<Sub>,
}

/// What is recorded, hour by hour, which payloads are withheld afterwards, and what then comes.
pub struct Plan {
    pub hours: Vec<(Hour, Vec<ChunkPlan>)>,
    /// Rollups that are logged right behind the note of the n-th hour.
    pub rollups: Vec<(usize, Rolled)>,
    pub withheld: Vec<(&'static str, u64)>,
    pub late: Vec<Late>,
    pub seals: Seals,
}

/// What the archiver does once all is recorded.
#[derive(Clone)]
pub enum Late {
    /// So many hours pass without an event.
    Hours(usize),
    /// The payload of an entry is withheld.
    Withhold(&'static str, u64),
    /// Chunks go.
    Prune(Prune),
    /// A day is computed.
    Rollup(Rolled),
}

/// A rollup of a day, as it is logged.
#[derive(Clone)]
pub struct Rolled {
    pub workspace: &'static str,
    pub day: &'static str,
    pub version: u32,
    pub revision: u32,
    /// The chunks that it was computed from, by their first seqs.
    pub inputs: &'static [u64],
    /// What is wrong with the notes of these, in the order of the log.
    pub notes: fn(&mut Vec<Digest>),
    /// What is wrong with its manifest.
    pub lie: fn(&mut RollupManifest),
}

/// The definition of the rollup of the tests: version 1 reads one day, and a later one so many before it less one.
pub fn definition(version: u32) -> String {
    let before = version - 1;
    format!(
        "-- tallystick/rollup-sql/v1\n-- name daily\n-- version {version}\n-- before {before}\n\
         -- after 0\n-- key day\nSELECT 1\n"
    )
}

/// A prune record, and whether the objects go too.
#[derive(Clone)]
pub struct Prune {
    pub workspace: &'static str,
    /// First and last seq.
    pub seqs: (u64, u64),
    pub keep_days: u64,
    /// What is wrong with the record.
    pub lie: fn(&mut PruneRecord),
    /// Whether the record is logged at all.
    pub logged: bool,
    /// Whether the objects are removed.
    pub removed: bool,
}

/// Who signs the log.
#[derive(Default)]
pub struct Seals {
    /// Notes about seal keys: which leaf each is, and what follows.
    pub changes: Vec<(usize, Change)>,
    /// Leaves that another key signs than the one in force.
    pub leaves: Vec<(usize, u8)>,
    /// The checkpoint, where another key signs it than the one in force.
    pub checkpoint: Option<u8>,
}

/// A note about seal keys.
#[derive(Clone)]
pub struct Change {
    /// Its body, behind these leaves.
    pub body: fn(&Frontier) -> String,
    /// Who signs it.
    pub by: Vec<u8>,
    /// Who signs what follows.
    pub then: u8,
}

pub fn origin() -> Origin {
    Origin::new("ledger.example.com/test").unwrap()
}

pub fn workspace(name: &str) -> Workspace {
    Workspace::new(name).unwrap()
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The first seal key.
pub const SEAL: u8 = 100;

pub fn seal_of(seed: u8) -> NoteSigner {
    NoteSigner::seal(&origin(), key(seed))
}

pub fn seal() -> NoteSigner {
    seal_of(SEAL)
}

/// Signs a body as the ledger's seal does.
pub fn sealed(body: &str) -> Vec<u8> {
    note::sign(body, &[&seal()]).into_bytes()
}

pub fn hour(of_day: i64) -> Hour {
    let midnight = Hour::parse("2026-11-23T00:00:00Z").unwrap();
    (0..of_day).fold(midnight, |hour, _| hour.next().unwrap())
}

/// The id of the n-th event of a workspace.
pub fn id(workspace: &str, n: u64) -> EventId {
    let digest = Digest::of(format!("{workspace} {n}").as_bytes());
    let bytes: [u8; 16] = digest.as_bytes()[..16].try_into().unwrap();
    EventId::from_bytes(bytes).unwrap()
}

/// A payload of a workspace's n-th event.
pub fn event(workspace: &str, n: u64, kind: &str, more: &str) -> String {
    format!(
        r#"{{"event_id":"{}","event_type":"{kind}","occurred_at":"2026-11-23T16:00:00Z","workspace_id":"{workspace}"{more}}}"#,
        id(workspace, n)
    )
}

pub fn created(workspace: &str, root: u8) -> String {
    let context = format!(r#","context":{{"root_keys":["{}"]}}"#, key(root).public());
    event(workspace, 1, "ledger.workspace_created", &context)
}

pub fn registered(workspace: &str, n: u64, seed: u8, role: &str) -> String {
    let context = format!(r#","context":{{"key":"{}","role":"{role}"}}"#, key(seed).public());
    event(workspace, n, "ledger.key_registered", &context)
}

pub fn erased(workspace: &str, n: u64, erased: u64) -> String {
    let id = id(workspace, erased);
    let context = format!(r#","context":{{"event_ids":["{id}"],"reason":"asked for"}}"#);
    event(workspace, n, "ledger.payload_erased", &context)
}

pub fn sub(key: u8, counter: u64, second: i64, payloads: Vec<String>) -> Sub {
    Sub { key, counter, second, payloads }
}

/// `acme` (root key 1, agent key 2): seqs 1 to 5 and 6 in two chunks of hour 16, seqs 7 to 8 in
/// hour 18. `beta` (root key 3): seqs 1 to 2 in hour 18. Nothing in hour 17.
pub fn honest() -> Plan {
    let plain = |ws, n| event(ws, n, "business_event", r#","actor_id":"seven","input_tokens":5"#);
    let chunk = |workspace, of_day, subs| ChunkPlan { workspace, hour: hour(of_day), subs };
    Plan {
        hours: vec![
            (
                hour(16),
                vec![
                    chunk(
                        "acme",
                        16,
                        vec![
                            sub(1, 0, 1, vec![created("acme", 1)]),
                            sub(1, 0, 2, vec![registered("acme", 2, 2, "agent")]),
                            sub(2, 1, 3, (3..=5).map(|n| plain("acme", n)).collect()),
                        ],
                    ),
                    chunk("acme", 16, vec![sub(2, 2, 4, vec![plain("acme", 6)])]),
                ],
            ),
            (hour(17), vec![]),
            (
                hour(18),
                vec![
                    chunk("acme", 18, vec![sub(2, 3, 5, vec![plain("acme", 7), plain("acme", 8)])]),
                    chunk(
                        "beta",
                        18,
                        vec![
                            sub(3, 0, 6, vec![created("beta", 3)]),
                            sub(3, 0, 6, vec![plain("beta", 2)]),
                        ],
                    ),
                ],
            ),
        ],
        rollups: vec![],
        withheld: vec![],
        late: vec![],
        seals: Seals::default(),
    }
}

pub fn trust() -> Trust {
    let pin = |name: &str, root: u8| (workspace(name), vec![key(root).public()]);
    Trust {
        origin: origin(),
        seal_keys: vec![seal().verifier().clone()],
        revoked: Vec::new(),
        seen: Vec::new(),
        receipt_keys: vec![],
        workspaces: BTreeMap::from([pin("acme", 1), pin("beta", 3)]),
    }
}

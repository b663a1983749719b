//! An operator who holds the seal key: builds a small ledger, honestly or with one lie, and signs
//! everything after the lie as if nothing had been.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ledger::checkpoint::Checkpoint;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::{self, Derived};
use ledger::entry::{genesis_link, next_link};
use ledger::hash::Digest;
use ledger::hour::{Heads, HourNote};
use ledger::key::SigningKey;
use ledger::layout::{self, Artefact, Range, TileBuilder};
use ledger::merkle;
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::note::{self, NoteSigner};
use ledger::payload::{Rules, scan};
use ledger::submission::{Counter, Statement};
use ledger::time::{Hour, Micros};
use ledger::verify::{Policy, Trust};

/// A row whose payload lives as long as the test.
pub type Row = columns::Row<'static>;

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

/// What is recorded, hour by hour, and which payloads are withheld afterwards.
pub struct Plan {
    pub hours: Vec<(Hour, Vec<ChunkPlan>)>,
    pub withheld: Vec<(&'static str, u64)>,
}

/// A chunk that has been recorded, before it is sealed.
pub struct Recorded {
    pub workspace: Workspace,
    pub hour: Hour,
    pub rows: Vec<Row>,
}

/// Everything that the auditor gets to see.
#[derive(Clone)]
pub struct Archive {
    pub objects: BTreeMap<String, Vec<u8>>,
    /// What the object with this digest decodes to: it stands for a Parquet reader.
    pub rows: HashMap<Digest, (Workspace, Vec<Row>)>,
    pub unreadable: BTreeSet<String>,
}

/// The one lie, by the step at which it is told. All later steps are done as always.
pub enum Lie {
    /// What was submitted and recorded.
    Plan(fn(&mut Plan)),
    /// Recorded rows; links are made anew.
    Rows(fn(&mut [Recorded])),
    /// The rows of one chunk's object, which its manifest then describes no longer.
    Object(usize, fn(&mut Vec<Row>)),
    /// The n-th manifest, amendments counted after all others.
    Manifest(usize, fn(&mut ChunkManifest)),
    /// The n-th hour note.
    Hour(usize, fn(&mut HourNote)),
    /// The log's leaves.
    Leaves(fn(&mut Vec<Vec<u8>>)),
    /// The checkpoint.
    Checkpoint(fn(&mut Checkpoint)),
    /// The store.
    Store(fn(&mut Archive)),
    /// Not the operator's: what the auditor knows and asks for.
    Auditor(fn(&mut Trust, &mut Policy)),
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

pub fn seal() -> NoteSigner {
    NoteSigner::seal(&origin(), key(100))
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
    let context = format!(
        r#","context":{{"key":"{}","role":"{role}"}}"#,
        key(seed).public()
    );
    event(workspace, n, "ledger.key_registered", &context)
}

pub fn erased(workspace: &str, n: u64, erased: u64) -> String {
    let id = id(workspace, erased);
    let context = format!(r#","context":{{"event_ids":["{id}"],"reason":"asked for"}}"#);
    event(workspace, n, "ledger.payload_erased", &context)
}

pub fn sub(key: u8, counter: u64, second: i64, payloads: Vec<String>) -> Sub {
    Sub {
        key,
        counter,
        second,
        payloads,
    }
}

/// `acme` (root key 1, agent key 2): seqs 1 to 5 and 6 in two chunks of hour 16, seqs 7 to 8 in
/// hour 18. `beta` (root key 3): seqs 1 to 2 in hour 18. Nothing in hour 17.
pub fn honest() -> Plan {
    let plain = |ws, n| {
        event(
            ws,
            n,
            "business_event",
            r#","actor_id":"seven","input_tokens":5"#,
        )
    };
    let chunk = |workspace, of_day, subs| ChunkPlan {
        workspace,
        hour: hour(of_day),
        subs,
    };
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
                    chunk(
                        "acme",
                        18,
                        vec![sub(2, 3, 5, vec![plain("acme", 7), plain("acme", 8)])],
                    ),
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
        withheld: vec![],
    }
}

pub fn trust() -> Trust {
    let pin = |name: &str, root: u8| (workspace(name), vec![key(root).public()]);
    Trust {
        origin: origin(),
        seal_keys: vec![seal().verifier().clone()],
        receipt_keys: vec![],
        workspaces: BTreeMap::from([pin("acme", 1), pin("beta", 3)]),
    }
}

/// The columns of a payload; those of a withheld one where it cannot be read.
fn derive(payload: &'static [u8], workspace: &Workspace, at: i64) -> Derived<'static> {
    scan(payload, workspace, &Rules::ceiling())
        .map_or_else(|_| Derived::withheld(at), |event| Derived::of(&event))
}

/// Gives a row another payload, and everything but the signature that follows from it.
pub fn set_payload(row: &mut Row, workspace: &Workspace, payload: String) {
    let payload: &'static [u8] = payload.leak().as_bytes();
    row.payload = Some(payload);
    row.derived = derive(payload, workspace, row.recorded_at);
}

/// Records the submissions of a plan: rows without links.
fn record(plan: &Plan) -> Vec<Recorded> {
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    let chunks = plan.hours.iter().flat_map(|(_, chunks)| chunks);
    chunks
        .map(|chunk| {
            let name = workspace(chunk.workspace);
            let mut rows = Vec::new();
            for sub in &chunk.subs {
                let seq = next.entry(chunk.workspace).or_insert(1);
                rows.extend(sign(sub, &name, chunk.hour, *seq));
                *seq += u64::try_from(sub.payloads.len()).unwrap();
            }
            Recorded {
                workspace: name,
                hour: chunk.hour,
                rows,
            }
        })
        .collect()
}

fn sign(sub: &Sub, name: &Workspace, hour: Hour, first: u64) -> Vec<Row> {
    let digests: Vec<Digest> = sub
        .payloads
        .iter()
        .map(|p| Digest::of(p.as_bytes()))
        .collect();
    let counter = Counter::new(sub.counter).unwrap();
    let statement = Statement::new(&origin(), name, counter, &digests);
    let signer = key(sub.key);
    let signature = signer.sign(statement.as_str().as_bytes());
    let submission = statement.submission_hash(signer.public().as_bytes(), &signature);
    let recorded_at = hour.start().get() + sub.second * ledger::time::SECOND;
    let row = |(index, payload): (u16, &String)| {
        let bytes: &'static [u8] = payload.clone().leak().as_bytes();
        let id = payload.split('"').nth(3).unwrap();
        Row {
            seq: first + u64::from(index),
            recorded_at,
            event_id: *EventId::parse(id).unwrap().as_bytes(),
            payload: Some(bytes),
            payload_digest: *Digest::of(bytes).as_bytes(),
            link: [0; 32],
            submission_hash: *submission.as_bytes(),
            submission_index: index,
            submission_count: sub.payloads.len().try_into().unwrap(),
            counter: sub.counter,
            public_key: *signer.public().as_bytes(),
            signature: *signature.as_bytes(),
            derived: derive(bytes, name, recorded_at),
        }
    };
    (0..).zip(&sub.payloads).map(row).collect()
}

/// The leaf of a row, whatever it holds: a liar's rows need not be entries.
fn leaf(row: &Row) -> Digest {
    let mut entry = vec![0x01];
    entry.extend(row.seq.to_be_bytes());
    entry.extend(row.recorded_at.to_be_bytes());
    entry.extend(row.event_id);
    entry.extend(row.payload_digest);
    entry.extend(row.submission_hash);
    entry.extend(row.submission_index.to_be_bytes());
    entry.extend(row.submission_count.to_be_bytes());
    merkle::leaf_hash(&entry)
}

fn link(chunks: &mut [Recorded]) {
    let mut links: BTreeMap<Workspace, Digest> = BTreeMap::new();
    for chunk in chunks {
        let genesis = || genesis_link(&origin(), &chunk.workspace);
        let link = links.entry(chunk.workspace.clone()).or_insert_with(genesis);
        for row in &mut chunk.rows {
            *link = next_link(link, &leaf(row));
            row.link = *link.as_bytes();
        }
    }
}

/// The object that holds these rows. Only its bytes count here, not their form.
fn object(rows: &[Row]) -> Vec<u8> {
    format!("{rows:?}").into_bytes()
}

/// Seals recorded chunks, one step after the other, with the lie at its step.
struct Sealer<'l> {
    lie: &'l Lie,
    archive: Archive,
    leaves: Vec<Vec<u8>>,
    heads: Heads,
    /// Digest of a workspace's newest original manifest, its hour and part.
    tails: BTreeMap<Workspace, (Digest, Hour, u64)>,
    manifests: Vec<(ChunkManifest, Digest, Vec<Row>)>,
    prev_hour: Digest,
    hours: usize,
}

impl Sealer<'_> {
    fn put(&mut self, key: &impl ToString, bytes: Vec<u8>) {
        self.archive.objects.insert(key.to_string(), bytes);
    }

    /// Writes the object and the manifest, and logs it; gives the manifest as it was logged.
    fn seal(&mut self, mut manifest: ChunkManifest, mut rows: Vec<Row>) -> ChunkManifest {
        let n = self.manifests.len();
        if let Lie::Object(at, lie) = self.lie
            && *at == n
        {
            lie(&mut rows);
        }
        let bytes = object(&rows);
        manifest.digest = ObjectDigest::of(&bytes);
        if let Lie::Manifest(at, lie) = self.lie
            && *at == n
        {
            lie(&mut manifest);
        }
        let decoded = (manifest.workspace.clone(), rows.clone());
        self.archive.rows.insert(Digest::of(&bytes), decoded);
        self.put(&manifest.object, bytes);
        let note = sealed(&manifest.to_body());
        let digest = Digest::of(&note);
        let (range, erasure) = (manifest.range(), manifest.erasure());
        self.put(&Artefact::Manifest { range, erasure }, note.clone());
        self.leaves.push(note);
        self.manifests.push((manifest.clone(), digest, rows));
        manifest
    }

    fn chunk(&mut self, chunk: Recorded) {
        let Recorded {
            workspace,
            hour,
            rows,
        } = chunk;
        let (first, last) = (rows.first().unwrap(), rows.last().unwrap());
        let tail = self.tails.get(&workspace);
        let range = Range {
            workspace: workspace.clone(),
            hour,
            first_seq: Seq::new(first.seq).unwrap(),
            last_seq: Seq::new(last.seq).unwrap(),
        };
        let head = self.heads.get(&workspace).map(|(_, link)| link);
        let leaves: Vec<Digest> = rows.iter().map(leaf).collect();
        let manifest = ChunkManifest {
            origin: origin(),
            workspace: workspace.clone(),
            hour,
            part: tail
                .filter(|tail| tail.1 == hour)
                .map_or(0, |tail| tail.2 + 1),
            first_seq: range.first_seq,
            last_seq: range.last_seq,
            prev_link: head.unwrap_or_else(|| genesis_link(&origin(), &workspace)),
            last_link: Digest::from_bytes(last.link),
            root: merkle::root(&leaves),
            first_recorded_at: Micros::new(first.recorded_at).unwrap(),
            last_recorded_at: Micros::new(last.recorded_at).unwrap(),
            prev_manifest: tail.map_or(Digest::ZERO, |tail| tail.0),
            amends: Digest::ZERO,
            object: Artefact::Events { range, erasure: 0 }.to_string(),
            digest: ObjectDigest::of(b""),
        };
        let manifest = self.seal(manifest, rows);
        let digest = self.manifests.last().unwrap().1;
        self.heads
            .set(workspace.clone(), manifest.last_seq, manifest.last_link);
        self.tails.insert(workspace, (digest, hour, manifest.part));
    }

    fn hour(&mut self, hour: Hour, chunks: usize) {
        let mut note = HourNote {
            origin: origin(),
            hour,
            chunks: chunks.try_into().unwrap(),
            workspaces: self.heads.len().try_into().unwrap(),
            heads_root: self.heads.root(),
            prev_hour: self.prev_hour,
        };
        if let Lie::Hour(at, lie) = self.lie
            && *at == self.hours
        {
            lie(&mut note);
        }
        self.hours += 1;
        let bytes = sealed(&note.to_body());
        self.prev_hour = Digest::of(&bytes);
        self.put(&Artefact::HourNote(note.hour), bytes.clone());
        self.put(
            &Artefact::HourHeads(note.hour),
            self.heads.to_text().into_bytes(),
        );
        self.leaves.push(bytes);
    }

    /// Withholds the payload of one entry: a new object, and a manifest that amends the old one.
    /// The old object is removed, its manifest stays.
    fn withhold(&mut self, name: &str, seq: u64) {
        let covers = |m: &ChunkManifest| {
            m.workspace.as_str() == name && (m.first_seq.get()..=m.last_seq.get()).contains(&seq)
        };
        let (before, digest, mut rows) = self
            .manifests
            .iter()
            .rfind(|(m, ..)| covers(m))
            .unwrap()
            .clone();
        for row in rows.iter_mut().filter(|row| row.seq == seq) {
            row.payload = None;
            row.derived = Derived::withheld(row.recorded_at);
        }
        let (range, erasure) = (before.range(), before.erasure() + 1);
        let object = Artefact::Events { range, erasure }.to_string();
        self.archive.objects.remove(&before.object);
        let amended = ChunkManifest {
            amends: digest,
            object,
            ..before
        };
        self.seal(amended, rows);
    }

    fn log(mut self) -> Archive {
        if let Lie::Leaves(lie) = self.lie {
            lie(&mut self.leaves);
        }
        let mut tiles = TileBuilder::new();
        for leaf in self.leaves.clone() {
            for (key, bytes) in tiles.push(merkle::leaf_hash(&leaf)) {
                self.put(&key, bytes);
            }
        }
        for (key, bytes) in tiles.partial() {
            self.put(&key, bytes);
        }
        for (bundle, entries) in layout::bundles(tiles.size()).zip(self.leaves.clone().chunks(256))
        {
            let bytes = layout::encode_bundle(entries.iter().map(Vec::as_slice)).unwrap();
            self.put(&bundle, bytes);
        }
        let mut checkpoint = Checkpoint {
            origin: origin(),
            size: tiles.size(),
            root: tiles.root(),
        };
        if let Lie::Checkpoint(lie) = self.lie {
            lie(&mut checkpoint);
        }
        self.put(&Artefact::Checkpoint, sealed(&checkpoint.to_body()));
        if let Lie::Store(lie) = self.lie {
            lie(&mut self.archive);
        }
        self.archive
    }
}

/// Builds the archive of a plan, with a lie.
pub fn build(mut plan: Plan, lie: &Lie) -> Archive {
    if let Lie::Plan(lie) = lie {
        lie(&mut plan);
    }
    let mut recorded = record(&plan);
    if let Lie::Rows(lie) = lie {
        lie(&mut recorded);
    }
    link(&mut recorded);
    let mut sealer = Sealer {
        lie,
        archive: Archive {
            objects: BTreeMap::new(),
            rows: HashMap::new(),
            unreadable: BTreeSet::new(),
        },
        leaves: Vec::new(),
        heads: Heads::new(),
        tails: BTreeMap::new(),
        manifests: Vec::new(),
        prev_hour: Digest::ZERO,
        hours: 0,
    };
    let mut recorded = recorded.into_iter();
    for (hour, chunks) in &plan.hours {
        for chunk in recorded.by_ref().take(chunks.len()) {
            sealer.chunk(chunk);
        }
        sealer.hour(*hour, chunks.len());
    }
    for (workspace, seq) in &plan.withheld {
        sealer.withhold(workspace, *seq);
    }
    sealer.log()
}

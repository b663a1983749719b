//! An operator who holds the seal key: builds a small ledger, honestly or with one lie, and signs
//! everything after the lie as if nothing had been.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ledger::checkpoint::Checkpoint;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::{self, Derived};
use ledger::entry::{genesis_link, next_link};
use ledger::hash::Digest;
use ledger::hour::{Heads, HourNote};
use ledger::layout::{self, Artefact, Range, TileBuilder};
use ledger::merkle;
use ledger::names::{EventId, RollupName, Seq, Workspace};
use ledger::note;
use ledger::payload::{Rules, scan};
use ledger::prune::{PruneRecord, manifests_root};
use ledger::rollup::{RollupManifest, inputs_root};
use ledger::submission::{Counter, Statement};
use ledger::time::{Day, Hour, Micros};
use ledger::verify::{Policy, Trust};

use crate::plan::{
    Late, Plan, Prune, Rolled, SEAL, Seals, Sub, definition, key, origin, seal_of, workspace,
};

/// A row whose payload lives as long as the test.
pub type Row = columns::Row<'static>;

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
    /// Who signs the log, and what the auditor knows of it.
    Seals(fn(&mut Seals), fn(&mut Trust)),
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
            Recorded { workspace: name, hour: chunk.hour, rows }
        })
        .collect()
}

fn sign(sub: &Sub, name: &Workspace, hour: Hour, first: u64) -> Vec<Row> {
    let digests: Vec<Digest> = sub.payloads.iter().map(|p| Digest::of(p.as_bytes())).collect();
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

/// How the rows of a workspace's chunk become an object.
pub type Encode = fn(&Workspace, &[Row]) -> Vec<u8>;

/// The object that holds these rows. Only its bytes count here, not their form.
fn object(_: &Workspace, rows: &[Row]) -> Vec<u8> {
    format!("{rows:?}").into_bytes()
}

/// Seals recorded chunks, one step after the other, with the lie at its step.
struct Sealer<'l> {
    lie: &'l Lie,
    encode: Encode,
    archive: Archive,
    leaves: Vec<Vec<u8>>,
    heads: Heads,
    /// Digest of a workspace's newest original manifest, its hour and part.
    tails: BTreeMap<Workspace, (Digest, Hour, u64)>,
    manifests: Vec<(ChunkManifest, Digest, Vec<Row>)>,
    prev_hour: Digest,
    hours: usize,
    seals: Seals,
    in_force: u8,
}

impl Sealer<'_> {
    /// Signs the next leaf's body, behind the notes about seal keys that come before it.
    fn sign(&mut self, body: &str) -> Vec<u8> {
        self.change_keys();
        let at = self.leaves.len();
        let other = self.seals.leaves.iter().find(|(leaf, _)| *leaf == at);
        let seed = other.map_or(self.in_force, |(_, seed)| *seed);
        note::sign(body, &[&seal_of(seed)]).into_bytes()
    }

    fn change_keys(&mut self) {
        while let Some(at) = self.seals.changes.iter().position(|(at, _)| *at == self.leaves.len())
        {
            let (_, change) = self.seals.changes.remove(at);
            let mut tree = merkle::Frontier::new();
            self.leaves.iter().for_each(|leaf| tree.push(merkle::leaf_hash(leaf)));
            let signers: Vec<_> = change.by.iter().map(|seed| seal_of(*seed)).collect();
            let signers: Vec<_> = signers.iter().collect();
            self.leaves.push(note::sign(&(change.body)(&tree), &signers).into_bytes());
            self.in_force = change.then;
        }
    }

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
        let bytes = (self.encode)(&manifest.workspace, &rows);
        manifest.digest = ObjectDigest::of(&bytes);
        if let Lie::Manifest(at, lie) = self.lie
            && *at == n
        {
            lie(&mut manifest);
        }
        let decoded = (manifest.workspace.clone(), rows.clone());
        self.archive.rows.insert(Digest::of(&bytes), decoded);
        self.put(&manifest.object, bytes);
        let note = self.sign(&manifest.to_body());
        let digest = Digest::of(&note);
        let (range, erasure) = (manifest.range(), manifest.erasure());
        self.put(&Artefact::Manifest { range, erasure }, note.clone());
        self.leaves.push(note);
        self.manifests.push((manifest.clone(), digest, rows));
        manifest
    }

    fn chunk(&mut self, chunk: Recorded) {
        let Recorded { workspace, hour, rows } = chunk;
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
            part: tail.filter(|tail| tail.1 == hour).map_or(0, |tail| tail.2 + 1),
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
        self.heads.set(workspace.clone(), manifest.last_seq, manifest.last_link);
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
        let bytes = self.sign(&note.to_body());
        self.prev_hour = Digest::of(&bytes);
        self.put(&Artefact::HourNote(note.hour), bytes.clone());
        self.put(&Artefact::HourHeads(note.hour), self.heads.to_text().into_bytes());
        self.leaves.push(bytes);
    }

    /// Withholds the payload of one entry: a new object, and a manifest that amends the old one.
    /// The old object is removed, its manifest stays.
    fn withhold(&mut self, name: &str, seq: u64) {
        let covers = |m: &ChunkManifest| {
            m.workspace.as_str() == name && (m.first_seq.get()..=m.last_seq.get()).contains(&seq)
        };
        let (before, digest, mut rows) =
            self.manifests.iter().rfind(|(m, ..)| covers(m)).unwrap().clone();
        for row in rows.iter_mut().filter(|row| row.seq == seq) {
            row.payload = None;
            row.derived = Derived::withheld(row.recorded_at);
        }
        let (range, erasure) = (before.range(), before.erasure() + 1);
        let object = Artefact::Events { range, erasure }.to_string();
        self.archive.objects.remove(&before.object);
        let amended = ChunkManifest { amends: digest, object, ..before };
        self.seal(amended, rows);
    }

    /// Logs a prune record, and removes the objects of its chunks.
    fn prune(&mut self, prune: &Prune) {
        let (first, last) = prune.seqs;
        // The newest manifest of each range, in the order of the chain.
        let mut chunks = BTreeMap::new();
        for (manifest, note, _) in &self.manifests {
            let seq = manifest.first_seq.get();
            if manifest.workspace.as_str() == prune.workspace && (first..=last).contains(&seq) {
                chunks.insert(seq, (manifest.clone(), *note));
            }
        }
        let youngest = &chunks.values().last().unwrap().0;
        let mut record = PruneRecord {
            origin: origin(),
            workspace: workspace(prune.workspace),
            first_seq: Seq::new(first).unwrap(),
            last_seq: Seq::new(last).unwrap(),
            chunks: chunks.len().try_into().unwrap(),
            manifests_root: manifests_root(chunks.values().map(|(_, note)| note)),
            last_recorded_at: youngest.last_recorded_at,
            keep_days: prune.keep_days,
            reason: "kept for as long as we say".to_owned(),
            policy_sha256: Digest::of(b"a policy"),
        };
        (prune.lie)(&mut record);
        if prune.logged {
            let note = self.sign(&record.to_body());
            self.leaves.push(note);
        }
        for (manifest, _) in chunks.values().filter(|_| prune.removed) {
            self.archive.objects.remove(&manifest.object);
        }
    }

    /// Writes a rollup, with its definition, and logs it.
    fn rollup(&mut self, rolled: &Rolled) {
        let Rolled { version, revision, .. } = *rolled;
        let name = RollupName::new("daily").unwrap();
        let sql = definition(version);
        let newest = |seq: &u64| {
            let of = |m: &ChunkManifest| {
                m.workspace.as_str() == rolled.workspace && m.first_seq.get() == *seq
            };
            self.manifests.iter().rposition(|(manifest, ..)| of(manifest)).unwrap()
        };
        let mut at: Vec<usize> = rolled.inputs.iter().map(newest).collect();
        at.sort_unstable();
        let mut notes = at.into_iter().map(|at| self.manifests[at].1).collect();
        (rolled.notes)(&mut notes);
        let bytes = format!("{} {} v{version} r{revision}", rolled.workspace, rolled.day);
        let mut manifest = RollupManifest {
            origin: origin(),
            name: name.clone(),
            version,
            sql_sha256: Digest::of(sql.as_bytes()),
            workspace: workspace(rolled.workspace),
            day: Day::parse(rolled.day).unwrap(),
            revision,
            engine: "none 1.0".to_owned(),
            inputs: notes.len().try_into().unwrap(),
            inputs_root: inputs_root(&notes),
            object: String::new(),
            digest: ObjectDigest::of(bytes.as_bytes()),
        };
        manifest.object = Artefact::Rollup(manifest.place()).to_string();
        (rolled.lie)(&mut manifest);
        self.put(&Artefact::RollupSql { name, version }, sql.into_bytes());
        self.put(&manifest.object, bytes.into_bytes());
        let note = self.sign(&manifest.to_body());
        self.put(&Artefact::RollupNote(manifest.place()), note.clone());
        self.leaves.push(note);
    }

    fn log(mut self) -> Archive {
        self.change_keys();
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
        let mut checkpoint =
            Checkpoint { origin: origin(), size: tiles.size(), root: tiles.root() };
        if let Lie::Checkpoint(lie) = self.lie {
            lie(&mut checkpoint);
        }
        let seal = seal_of(self.seals.checkpoint.unwrap_or(self.in_force));
        let checkpoint = note::sign(&checkpoint.to_body(), &[&seal]);
        self.put(&Artefact::Checkpoint, checkpoint.into_bytes());
        if let Lie::Store(lie) = self.lie {
            lie(&mut self.archive);
        }
        self.archive
    }
}

/// Builds the archive of a plan, with a lie.
pub fn build(plan: Plan, lie: &Lie) -> Archive {
    build_with(plan, lie, object)
}

/// The same, with objects of another form.
pub fn build_with(mut plan: Plan, lie: &Lie, encode: Encode) -> Archive {
    if let Lie::Plan(lie) = lie {
        lie(&mut plan);
    }
    if let Lie::Seals(lie, _) = lie {
        lie(&mut plan.seals);
    }
    let mut recorded = record(&plan);
    if let Lie::Rows(lie) = lie {
        lie(&mut recorded);
    }
    link(&mut recorded);
    let mut sealer = Sealer {
        lie,
        encode,
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
        seals: plan.seals,
        in_force: SEAL,
    };
    let mut recorded = recorded.into_iter();
    for (n, (hour, chunks)) in plan.hours.iter().enumerate() {
        for chunk in recorded.by_ref().take(chunks.len()) {
            sealer.chunk(chunk);
        }
        sealer.hour(*hour, chunks.len());
        for (_, rolled) in plan.rollups.iter().filter(|(behind, _)| *behind == n) {
            sealer.rollup(rolled);
        }
    }
    for (workspace, seq) in &plan.withheld {
        sealer.withhold(workspace, *seq);
    }
    let mut last = plan.hours.last().unwrap().0;
    for late in &plan.late {
        match late {
            Late::Hours(count) => {
                for _ in 0..*count {
                    last = last.next().unwrap();
                    sealer.hour(last, 0);
                }
            }
            Late::Withhold(workspace, seq) => sealer.withhold(workspace, *seq),
            Late::Prune(prune) => sealer.prune(prune),
            Late::Rollup(rolled) => sealer.rollup(rolled),
        }
    }
    sealer.log()
}

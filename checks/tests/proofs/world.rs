//! A small ledger with every key in hand: rows, and a log that is written leaf by leaf.

use std::collections::BTreeMap;

use checks::forge::{Archive, Chunk, OwnedRow};
use ledger::checkpoint::Checkpoint;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::{Derived, Row};
use ledger::entry::{Entry, genesis_link, next_link};
use ledger::hash::Digest;
use ledger::hour::{Heads, HourNote};
use ledger::key::SigningKey;
use ledger::layout::{self, Artefact};
use ledger::merkle::{self, Frontier, leaf_hash};
use ledger::names::{EventId, Origin, Seq};
use ledger::note::{self, NoteSigner, VerifierKey};
use ledger::payload::{self, Rules};
use ledger::prune::{PruneRecord, manifests_root};
use ledger::receipt::Receipt;
use ledger::submission::{Counter, Statement};
use ledger::succession::{Cutoff, Revocation, Succession};
use ledger::time::{Hour, Micros, SECOND};
use ledger::verify::Trust;
use serde_json::{Value, json};
use uuid::Uuid;

use super::acme;

pub fn origin() -> Origin {
    Origin::new("ledger.example.com/proofs").unwrap()
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub fn seal(seed: u8) -> NoteSigner {
    NoteSigner::seal(&origin(), key(seed))
}

/// What an auditor of this ledger trusts, who has these seal keys.
pub fn trust(seals: &[&NoteSigner]) -> Trust {
    Trust {
        origin: origin(),
        seal_keys: seals.iter().map(|seal| seal.verifier().clone()).collect(),
        revoked: Vec::new(),
        seen: Vec::new(),
        receipt_keys: vec![VerifierKey::receipt(&origin(), key(90).public())],
        workspaces: BTreeMap::from([(acme(), vec![key(1).public()])]),
    }
}

/// The log of a ledger while it is written, and the rows of the hour that is open.
pub struct World {
    pub seal: NoteSigner,
    hour: Hour,
    now: Micros,
    rows: Vec<OwnedRow>,
    seq: u64,
    link: Digest,
    heads: Heads,
    notes: Vec<Vec<u8>>,
    tree: Frontier,
    prev_manifest: Digest,
    prev_hour: Digest,
    logged: u64,
    /// The chunks so far, each with its note.
    pub chunks: Vec<(Chunk, Vec<u8>)>,
    objects: BTreeMap<String, Vec<u8>>,
}

impl World {
    /// A ledger whose workspace `acme` has root key 1, root key 2 that was registered by it, and agent 3
    /// for actor-3 whom root key 2 registered: seqs 1 to 3.
    pub fn new() -> Self {
        let mut world = Self::empty();
        world.set(
            1,
            "ledger.workspace_created",
            json!({"root_keys": [key(1).public().to_string()]}),
        );
        world.register(1, 2, "root", None);
        world.register(2, 3, "agent", Some("actor-3"));
        world
    }

    fn empty() -> Self {
        let hour = Hour::parse("2026-11-23T22:00:00Z").unwrap();
        Self {
            seal: seal(50),
            hour,
            now: hour.start(),
            rows: Vec::new(),
            seq: 0,
            link: genesis_link(&origin(), &acme()),
            heads: Heads::new(),
            notes: Vec::new(),
            tree: Frontier::new(),
            prev_manifest: Digest::ZERO,
            prev_hour: Digest::ZERO,
            logged: 0,
            chunks: Vec::new(),
            objects: BTreeMap::new(),
        }
    }

    pub fn register(&mut self, by: u8, seed: u8, role: &str, actor: Option<&str>) -> u64 {
        let context =
            json!({"key": key(seed).public().to_string(), "role": role, "actor_id": actor});
        self.set(by, "ledger.key_registered", context)
    }

    pub fn revoke(&mut self, by: u8, seed: u8) -> u64 {
        let context = json!({"key": key(seed).public().to_string(), "reason": "lost"});
        self.set(by, "ledger.key_revoked", context)
    }

    /// An event of the ledger's own by a root key.
    pub fn set(&mut self, by: u8, event_type: &str, context: Value) -> u64 {
        let event = event(self.seq + 1, event_type, json!({"context": context}));
        self.submit(by, 0, &[event])
    }

    /// So many events of one submission; gives the seq of the last one.
    pub fn work(&mut self, by: u8, count: u64) -> u64 {
        let members = json!({"actor_id": format!("actor-{by}")});
        let events: Vec<_> =
            (1..=count).map(|at| event(self.seq + at, "business_event", members.clone())).collect();
        self.submit(by, self.seq, &events)
    }

    fn submit(&mut self, by: u8, counter: u64, payloads: &[Vec<u8>]) -> u64 {
        self.now = self.now.checked_add(SECOND).unwrap();
        let digests: Vec<_> = payloads.iter().map(|payload| Digest::of(payload)).collect();
        let number = Counter::new(counter).unwrap();
        let statement = Statement::new(&origin(), &acme(), number, &digests);
        let signature = key(by).sign(statement.as_str().as_bytes());
        let public_key = *key(by).public().as_bytes();
        let submission = statement.submission_hash(&public_key, &signature);
        for ((index, payload), digest) in (0_u16..).zip(payloads).zip(&digests) {
            let event = payload::scan(payload, &acme(), &Rules::default()).unwrap();
            self.seq += 1;
            let entry = Entry {
                seq: Seq::new(self.seq).unwrap(),
                recorded_at: self.now,
                event_id: event.event_id,
                payload_digest: *digest,
                submission_hash: submission,
                index_in_submission: index,
                submission_count: u16::try_from(payloads.len()).unwrap(),
            };
            self.link = next_link(&self.link, &entry.leaf());
            self.rows.push(OwnedRow::of(&Row {
                seq: self.seq,
                recorded_at: self.now.get(),
                event_id: *event.event_id.as_bytes(),
                payload: Some(payload),
                payload_digest: *digest.as_bytes(),
                link: *self.link.as_bytes(),
                submission_hash: *submission.as_bytes(),
                submission_index: index,
                submission_count: entry.submission_count,
                counter,
                public_key,
                signature: *signature.as_bytes(),
                derived: Derived::of(&event),
            }));
        }
        self.seq
    }

    /// The receipt of the newest submission.
    pub fn receipt(&self) -> Receipt {
        let row = &self.rows.last().unwrap().row;
        Receipt {
            origin: origin(),
            workspace: acme(),
            submission: Digest::from_bytes(row.submission_hash),
            first_seq: Seq::new(row.seq + 1 - u64::from(row.submission_count)).unwrap(),
            last_seq: Seq::new(row.seq).unwrap(),
            recorded_at: Micros::new(row.recorded_at).unwrap(),
            link: Digest::from_bytes(row.link),
        }
    }

    /// Logs a body under the key in force.
    fn log(&mut self, body: &str) -> Vec<u8> {
        let seal = self.seal.clone();
        self.log_by(body, &[&seal])
    }

    pub fn log_by(&mut self, body: &str, signers: &[&NoteSigner]) -> Vec<u8> {
        let note = note::sign(body, signers).into_bytes();
        self.tree.push(leaf_hash(&note));
        self.notes.push(note.clone());
        note
    }

    /// Leaves of the log and their root.
    pub fn size(&self) -> Cutoff {
        Cutoff { size: self.tree.size(), root: self.tree.root() }
    }

    /// Puts the rows since the last one into a chunk.
    pub fn chunk(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let leaves: Vec<_> = rows.iter().map(leaf).collect();
        let (first, last) = (&rows[0].row, &rows[rows.len() - 1].row);
        let prev_link = match self.chunks.last() {
            None => genesis_link(&origin(), &acme()),
            Some((chunk, _)) => chunk.manifest.last_link,
        };
        let mut manifest = ChunkManifest {
            origin: origin(),
            workspace: acme(),
            hour: self.hour,
            part: self.logged,
            first_seq: Seq::new(first.seq).unwrap(),
            last_seq: Seq::new(last.seq).unwrap(),
            prev_link,
            last_link: Digest::from_bytes(last.link),
            root: merkle::root(&leaves),
            first_recorded_at: Micros::new(first.recorded_at).unwrap(),
            last_recorded_at: Micros::new(last.recorded_at).unwrap(),
            prev_manifest: self.prev_manifest,
            amends: Digest::ZERO,
            object: String::new(),
            digest: ObjectDigest::of(b""),
        };
        manifest.object = Artefact::Events { range: manifest.range(), erasure: 0 }.to_string();
        let mut chunk = Chunk { manifest, rows, object: Vec::new() };
        chunk.object = chunk.encode();
        chunk.manifest.digest = ObjectDigest::of(&chunk.object);
        self.objects.insert(chunk.manifest.object.clone(), chunk.object.clone());
        let note = self.log(&chunk.manifest.to_body());
        self.heads.set(acme(), chunk.manifest.last_seq, chunk.manifest.last_link);
        self.prev_manifest = Digest::of(&note);
        self.logged += 1;
        self.chunks.push((chunk, note));
    }

    /// Ends the hour.
    pub fn close(&mut self) {
        let body = HourNote {
            origin: origin(),
            hour: self.hour,
            chunks: self.logged,
            workspaces: u64::try_from(self.heads.len()).unwrap(),
            heads_root: self.heads.root(),
            prev_hour: self.prev_hour,
        }
        .to_body();
        self.prev_hour = Digest::of(&self.log(&body));
        self.hour = self.hour.next().unwrap();
        self.now = self.hour.start();
        self.logged = 0;
    }

    /// Chunk and hour note.
    pub fn seal_hour(&mut self) {
        self.chunk();
        self.close();
    }

    /// Another seal key takes over.
    pub fn succeed(&mut self, new: &NoteSigner) {
        let old = self.seal.clone();
        let (old_key, new_key) = (old.verifier().clone(), new.verifier().clone());
        let reason = "yearly".to_owned();
        let body = Succession { origin: origin(), old_key, new_key, reason }.to_body();
        self.log_by(&body, &[&old, new]);
        self.seal = new.clone();
    }

    /// The seal key in force is revoked, and another one takes its place.
    pub fn revoke_seal(&mut self, new: &NoteSigner) -> (VerifierKey, Cutoff) {
        let (key, cutoff) = (self.seal.verifier().clone(), self.size());
        let body = Revocation {
            origin: origin(),
            key: key.clone(),
            cutoff,
            new_key: new.verifier().clone(),
            reason: "stolen".to_owned(),
        };
        self.log_by(&body.to_body(), &[new]);
        self.seal = new.clone();
        (key, cutoff)
    }

    /// The payload of a seq is taken out of its chunk, which is logged again.
    pub fn erase(&mut self, seq: u64) {
        let holds = |(chunk, _): &&mut (Chunk, Vec<u8>)| {
            let ChunkManifest { first_seq, last_seq, .. } = &chunk.manifest;
            (first_seq.get()..=last_seq.get()).contains(&seq)
        };
        let mut chunk = self.chunks.iter_mut().find(holds).unwrap().clone();
        let row = chunk.0.rows.iter_mut().find(|row| row.row.seq == seq).unwrap();
        row.payload = None;
        row.row.derived = Derived::withheld(row.row.recorded_at);
        let (range, erasure) = (chunk.0.manifest.range(), chunk.0.manifest.erasure() + 1);
        let manifest = &mut chunk.0.manifest;
        manifest.amends = Digest::of(&chunk.1);
        let before = std::mem::take(&mut manifest.object);
        manifest.object = Artefact::Events { range, erasure }.to_string();
        chunk.0.object = chunk.0.encode();
        chunk.0.manifest.digest = ObjectDigest::of(&chunk.0.object);
        self.objects.remove(&before);
        self.objects.insert(chunk.0.manifest.object.clone(), chunk.0.object.clone());
        self.log(&chunk.0.manifest.to_body());
    }

    /// Retention takes a chunk.
    pub fn prune(&mut self, index: usize) {
        let (chunk, note) = self.chunks[index].clone();
        let manifest = chunk.manifest;
        let body = PruneRecord {
            origin: origin(),
            workspace: acme(),
            first_seq: manifest.first_seq,
            last_seq: manifest.last_seq,
            chunks: 1,
            manifests_root: manifests_root([&Digest::of(&note)]),
            last_recorded_at: manifest.last_recorded_at,
            keep_days: 184,
            reason: "six months".to_owned(),
            policy_sha256: Digest::of(b"a policy"),
        };
        self.log(&body.to_body());
        self.objects.remove(&manifest.object);
    }

    /// What lies in the store of it that is looked at for a proof: the log and the objects.
    pub fn archive(&self) -> Archive {
        let mut archive = Archive(self.objects.clone());
        for (bundle, notes) in layout::bundles(self.tree.size()).zip(self.notes.chunks(256)) {
            let notes = notes.iter().map(Vec::as_slice);
            archive.0.insert(bundle.to_string(), layout::encode_bundle(notes).unwrap());
        }
        let Cutoff { size, root } = self.size();
        let body = Checkpoint { origin: origin(), size, root }.to_body();
        let checkpoint = note::sign(&body, &[&self.seal]).into_bytes();
        archive.0.insert(Artefact::Checkpoint.to_string(), checkpoint);
        archive
    }
}

fn leaf(row: &OwnedRow) -> Digest {
    let row = &row.row;
    Entry {
        seq: Seq::new(row.seq).unwrap(),
        recorded_at: Micros::new(row.recorded_at).unwrap(),
        event_id: EventId::from_bytes(row.event_id).unwrap(),
        payload_digest: Digest::from_bytes(row.payload_digest),
        submission_hash: Digest::from_bytes(row.submission_hash),
        index_in_submission: row.submission_index,
        submission_count: row.submission_count,
    }
    .leaf()
}

/// The UUID of the event at a seq.
pub fn id_of(seq: u64) -> EventId {
    EventId::from_bytes(*Uuid::from_u128(0xabcdef << 100 | u128::from(seq)).as_bytes()).unwrap()
}

fn event(seq: u64, event_type: &str, members: Value) -> Vec<u8> {
    let mut event = json!({
        "event_id": id_of(seq).to_string(),
        "event_type": event_type,
        "occurred_at": "2026-11-23T22:00:00Z",
        "workspace_id": "acme",
    });
    event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    event.to_string().into_bytes()
}

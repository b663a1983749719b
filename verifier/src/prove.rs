//! Makes the proof of one event out of an archive (docs/spec/proof.md).
//!
//! Here: finding the event, and what put its key in force. Not here: what a proof is, and its check
//! (see [`ledger::proof`]), by which each proof is checked before it is given out.

use std::collections::{BTreeMap, BTreeSet};

use ledger::chain::{
    Acts, KEY_REGISTERED, KEY_REVOKED, Keys, LedgerEvent, Refusal, Role, WORKSPACE_CREATED,
};
use ledger::chunk::ChunkManifest;
use ledger::columns::Row;
use ledger::entry::Entry;
use ledger::hash::Digest;
use ledger::key::{PublicKey, Signature};
use ledger::layout::{self, Artefact};
use ledger::limits::TILE_WIDTH;
use ledger::merkle::{inclusion_path, leaf_hash};
use ledger::names::{EventId, Seq, Workspace};
use ledger::note::Note;
use ledger::payload::{self, Rules};
use ledger::proof::{self, Checked, LoggedNote, Proof, RecordedEvent};
use ledger::submission::Counter;
use ledger::succession::KeyNote;
use ledger::time::Micros;
use ledger::verify::{Check, ChunkCheck, Finding, Place, Trust, Verdict};

use crate::audit::{chunk_object, larger, unreadable};
use crate::store::{ArchiveSource, SourceError};
use crate::{log, rows};

/// Which event of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its UUID.
    Id(EventId),
    /// By its place in the chain.
    Seq(Seq),
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// Something is wrong with what the proof would rest on.
    #[error("the archive, as far as the proof would rest on it, is not in order")]
    Found(Vec<Finding>),
    /// The archive holds no such event.
    #[error("the archive holds no such event of workspace {workspace}{hint}")]
    NoEvent {
        /// The workspace.
        workspace: Workspace,
        /// What may be the reason.
        hint: String,
    },
    /// The chunk that holds the event was removed by retention.
    #[error(
        "seqs {first} to {last} of workspace {workspace} were removed by retention, as the log records: \
         nothing proves what they held"
    )]
    Pruned {
        /// The workspace.
        workspace: Workspace,
        /// First seq of the chunk.
        first: Seq,
        /// Last seq of the chunk.
        last: Seq,
    },
    /// The event that opens a chain cannot be proven by its digest alone.
    #[error("seq 1 says who may sign in the workspace, so it is proven with its payload only")]
    Opening,
    /// The store failed.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// A proof, and what its check came to.
#[derive(Clone, Debug)]
pub struct Made {
    /// The bytes of the file.
    pub bytes: Vec<u8>,
    /// What it proves.
    pub checked: Checked,
    /// Whether the archive has the event's payload no more.
    pub erased: bool,
}

/// Makes the proof of one event, and checks it. The chunks of the workspace up to the event are read and
/// checked, and its keys are replayed up to there.
pub fn prove<S: ArchiveSource>(
    source: &S,
    trust: &Trust,
    workspace: &Workspace,
    which: Which,
    digest_only: bool,
) -> Result<Made, ProveError> {
    let mut leaves = Leaves::new(workspace);
    let (audit, end) = log::read(source, trust, |index, leaf| leaves.take(index, leaf))
        .map_err(ProveError::Found)?;
    let mut search = Search::new(workspace, which);
    let mut chunks = Vec::new();
    for logged in audit.logged(workspace) {
        let ChunkManifest { first_seq: first, last_seq: last, .. } = *logged.manifest;
        if logged.pruned {
            if matches!(which, Which::Seq(seq) if first <= seq && seq <= last) {
                return Err(ProveError::Pruned { workspace: workspace.clone(), first, last });
            }
            search.passed = true;
            continue;
        }
        chunks.push(logged);
        read_chunk(source, logged.manifest, |row| search.row(row))?;
        if search.found.is_some() {
            break;
        }
        if matches!(which, Which::Seq(seq) if seq <= last) {
            break;
        }
    }
    let Some(found) = &search.found else {
        return Err(search.none(audit.logged_head(workspace)));
    };
    let erased = !found.shown;
    if digest_only && found.seq == Seq::FIRST {
        return Err(ProveError::Opening);
    }
    let seqs = search.authority(found)?;
    let mut events = Vec::new();
    for logged in &chunks {
        let ChunkManifest { first_seq, last_seq, .. } = *logged.manifest;
        let here: BTreeSet<Seq> = seqs.range(first_seq..=last_seq).copied().collect();
        if !here.is_empty() {
            for event in extract(source, logged.manifest, &here)? {
                events.push((logged.note, event));
            }
        }
    }
    if digest_only && let Some((_, last)) = events.last_mut() {
        last.payload = None;
    }
    let (notes, events) = leaves.prove(source, end.checkpoint.size, events)?;
    let (origin, workspace) = (trust.origin.clone(), workspace.clone());
    let checkpoint = String::from_utf8_lossy(&end.checkpoint_note).into_owned();
    let proof = Proof { origin, workspace, checkpoint, notes, events };
    let bytes = proof.to_bytes();
    let checked = proof::check(&bytes, trust);
    match checked.verdict {
        Verdict::Proven | Verdict::Short => Ok(Made { bytes, checked, erased }),
        Verdict::Tampered | Verdict::Unfinished => Err(ProveError::Found(checked.findings)),
    }
}

/// Reads a chunk whole, and checks it as an audit does.
fn read_chunk<S: ArchiveSource>(
    source: &S,
    manifest: &ChunkManifest,
    mut on_row: impl FnMut(&Row<'_>),
) -> Result<(), ProveError> {
    let found = |finding| Err(ProveError::Found(vec![finding]));
    let object =
        chunk_object(source, manifest).map_err(|error| match larger(manifest, &error) {
            Some(finding) => ProveError::Found(vec![finding]),
            None => error.into(),
        })?;
    let Some((_share, object)) = object else {
        return found(Finding::new(Check::ObjectMissing, Place::chunk(manifest)));
    };
    let mut check = ChunkCheck::open(manifest, &object)
        .map_err(|outcome| ProveError::Found(outcome.findings))?;
    let read = rows::read(manifest, &object, |row| {
        check.row(row);
        on_row(row);
    });
    let outcome = match read {
        Ok(()) => check.finish(),
        Err(error) => check.abandon(unreadable(manifest, &error)),
    };
    if outcome.findings.is_empty() { Ok(()) } else { Err(ProveError::Found(outcome.findings)) }
}

/// The event that is looked for.
struct Found {
    seq: Seq,
    first: Seq,
    signer: PublicKey,
    shown: bool,
    /// The key that it revokes, if it does.
    revokes: Option<PublicKey>,
}

/// Looks for the event, and follows the workspace's keys on the way.
struct Search<'a> {
    workspace: &'a Workspace,
    which: Which,
    keys: Keys,
    /// Who signed the events that set keys.
    signers: BTreeMap<Seq, PublicKey>,
    refused: Option<(Seq, Refusal)>,
    found: Option<Found>,
    /// Whether a chunk was passed over that retention has removed.
    passed: bool,
}

impl<'a> Search<'a> {
    fn new(workspace: &'a Workspace, which: Which) -> Self {
        Self {
            workspace,
            which,
            keys: Keys::new(),
            signers: BTreeMap::new(),
            refused: None,
            found: None,
            passed: false,
        }
    }

    /// Takes the next row of the chain, which its chunk's check judges.
    fn row(&mut self, row: &Row<'_>) {
        let (Some(seq), Ok(signer)) = (Seq::new(row.seq), PublicKey::from_bytes(&row.public_key))
        else {
            return;
        };
        if self.found.is_some() {
            return;
        }
        let here = match self.which {
            Which::Id(id) => row.event_id == *id.as_bytes(),
            Which::Seq(wanted) => wanted == seq,
        };
        let first = row.seq.checked_sub(u64::from(row.submission_index)).and_then(Seq::new);
        if let (true, Some(first)) = (here, first) {
            let acts = row.payload.and_then(|payload| acts_of(payload, self.workspace));
            let revokes = acts.as_ref().and_then(|acts| match acts.ledger_event() {
                Some(LedgerEvent::KeyRevoked { key, .. }) => Some(*key),
                _ => None,
            });
            let shown = row.payload.is_some();
            self.found = Some(Found { seq, first, signer, shown, revokes });
        }
        let event_type = &*row.derived.event_type;
        if [WORKSPACE_CREATED, KEY_REGISTERED, KEY_REVOKED].contains(&event_type) && !here {
            self.keys_of(row, seq, signer);
        }
    }

    fn keys_of(&mut self, row: &Row<'_>, seq: Seq, signer: PublicKey) {
        let Some(acts) = row.payload.and_then(|payload| acts_of(payload, self.workspace)) else {
            return;
        };
        match self.keys.admit(&signer, seq, &acts) {
            Ok(_) => drop(self.signers.insert(seq, signer)),
            Err(refusal) => self.refused = self.refused.take().or(Some((seq, refusal))),
        }
    }

    /// The seqs of the event and of all that put its key in force.
    fn authority(&self, found: &Found) -> Result<BTreeSet<Seq>, ProveError> {
        let refused = |seq: Seq, refusal: &Refusal| {
            let place = Place::workspace(self.workspace).at_seq(seq.get()).in_column("public_key");
            let finding = Finding::new(Check::KeyRule, place);
            let reason = format!("{}: {refusal}", refusal.code());
            ProveError::Found(vec![finding.because(reason)])
        };
        if let Some((seq, refusal)) = &self.refused {
            return Err(refused(*seq, refusal));
        }
        let mut seqs = BTreeSet::from([found.seq]);
        if found.first == Seq::FIRST {
            return Ok(seqs);
        }
        let mut needed = vec![(found.signer, found.first)];
        if let Some(revoked) = found.revokes {
            // Only a key in force is revoked, and another root key has to remain.
            needed.push((revoked, found.first));
            let roots = self
                .keys
                .iter()
                .filter(|(_, record)| record.role == Role::Root && record.revoked.is_none());
            let other = roots.map(|(key, _)| *key).find(|key| *key != revoked);
            needed.extend(other.filter(|_| revoked == found.signer).map(|key| (key, found.first)));
        }
        while let Some((key, at)) = needed.pop() {
            let record = self.keys.get(&key);
            let unknown = Refusal::UnknownKey(key);
            let record = record.ok_or_else(|| refused(at, &unknown))?;
            if let Some(revoked) = record.revoked.filter(|revoked| *revoked <= at) {
                return Err(refused(at, &Refusal::RevokedKey { key, revoked }));
            }
            // A key comes into force by an event that stands before.
            let since = record.registered;
            let by = self.signers.get(&since).filter(|_| since < at);
            let by = by.ok_or_else(|| refused(at, &unknown))?;
            if seqs.insert(since) && since != Seq::FIRST {
                needed.push((*by, since));
            }
        }
        Ok(seqs)
    }

    fn none(&self, head: Option<Seq>) -> ProveError {
        let hint = match (head, self.which) {
            (None, _) => ": it holds nothing of that workspace".to_owned(),
            (Some(head), Which::Seq(_)) => {
                format!(": it ends at seq {head}; what is younger may not be sealed yet")
            }
            (Some(head), Which::Id(_)) => {
                let gone = "; it may have stood in what retention has removed";
                let gone = if self.passed { gone } else { "" };
                format!(
                    ": it was read up to seq {head}; what is younger may not be sealed yet{gone}"
                )
            }
        };
        ProveError::NoEvent { workspace: self.workspace.clone(), hint }
    }
}

/// What a payload says of keys; `None` where that is nothing.
fn acts_of(payload: &[u8], workspace: &Workspace) -> Option<Acts> {
    let mut acts = Acts::new();
    acts.push(&payload::scan(payload, workspace, &Rules::ceiling()).ok()?).ok()?;
    Some(acts)
}

/// The events at some seqs of a chunk, with their submissions and paths.
fn extract<S: ArchiveSource>(
    source: &S,
    manifest: &ChunkManifest,
    seqs: &BTreeSet<Seq>,
) -> Result<Vec<RecordedEvent>, ProveError> {
    let mut leaves = Vec::new();
    let mut digests: Vec<Digest> = Vec::new();
    let mut open: Vec<(usize, RecordedEvent)> = Vec::new();
    let mut done: Vec<(usize, RecordedEvent)> = Vec::new();
    read_chunk(source, manifest, |row| {
        let Some((entry, event)) = recorded(row) else { return };
        if row.submission_index == 0 {
            digests.clear();
        }
        digests.push(entry.payload_digest);
        if seqs.contains(&entry.seq) {
            open.push((leaves.len(), event));
        }
        leaves.push(entry.leaf());
        if row.submission_index.checked_add(1) == Some(row.submission_count) {
            for (at, event) in open.drain(..) {
                done.push((at, RecordedEvent { digests: digests.clone(), ..event }));
            }
        }
    })?;
    let with_path = |(at, event): (usize, RecordedEvent)| {
        let path = inclusion_path(&leaves, at).unwrap_or_default();
        RecordedEvent { path, ..event }
    };
    Ok(done.into_iter().map(with_path).collect())
}

/// A row as its entry and its event; `None` for one that its chunk's check refuses.
fn recorded(row: &Row<'_>) -> Option<(Entry, RecordedEvent)> {
    let entry = Entry {
        seq: Seq::new(row.seq)?,
        recorded_at: Micros::new(row.recorded_at)?,
        event_id: EventId::from_bytes(row.event_id).ok()?,
        payload_digest: Digest::from_bytes(row.payload_digest),
        submission_hash: Digest::from_bytes(row.submission_hash),
        index_in_submission: row.submission_index,
        submission_count: row.submission_count,
    };
    let event = RecordedEvent {
        seq: entry.seq,
        recorded_at: entry.recorded_at,
        event_id: entry.event_id,
        submission_index: row.submission_index,
        counter: Counter::new(row.counter)?,
        public_key: PublicKey::from_bytes(&row.public_key).ok()?,
        signature: Signature::from_bytes(row.signature),
        digests: Vec::new(),
        manifest: 0,
        path: Vec::new(),
        payload: row.payload.map(<[u8]>::to_vec),
    };
    Some((entry, event))
}

/// What a proof needs of the log: all its hashes, and where the notes stand that it may rest on.
struct Leaves {
    /// The line of a manifest by which it is of the workspace.
    mark: String,
    hashes: Vec<Digest>,
    /// Notes about seal keys.
    key_notes: BTreeSet<u64>,
    /// Notes of the workspace, by the digest of the whole note.
    places: BTreeMap<Digest, u64>,
}

impl Leaves {
    fn new(workspace: &Workspace) -> Self {
        Self {
            mark: format!("\nworkspace {workspace}\n"),
            hashes: Vec::new(),
            key_notes: BTreeSet::new(),
            places: BTreeMap::new(),
        }
    }

    fn take(&mut self, index: u64, leaf: &[u8]) {
        self.hashes.push(leaf_hash(leaf));
        let Ok(note) = Note::parse(leaf) else { return };
        if KeyNote::parse(note.body()).is_some() {
            self.key_notes.insert(index);
        } else if note.body().contains(&self.mark) {
            self.places.insert(Digest::of(leaf), index);
        }
    }

    /// The notes of a log of `size` leaves that the events rest on, each with its path; and the events,
    /// each with the place of its manifest among them.
    fn prove<S: ArchiveSource>(
        &self,
        source: &S,
        size: u64,
        events: Vec<(Digest, RecordedEvent)>,
    ) -> Result<(Vec<LoggedNote>, Vec<RecordedEvent>), ProveError> {
        let indices = events.iter().filter_map(|(note, _)| self.places.get(note));
        let indices: BTreeSet<u64> = indices.chain(&self.key_notes).copied().collect();
        let mut notes = Vec::new();
        for index in &indices {
            let note = self.note(source, size, *index)?;
            let path = usize::try_from(*index).ok().and_then(|at| inclusion_path(&self.hashes, at));
            notes.push(LoggedNote { note, index: *index, path: path.unwrap_or_default() });
        }
        let place = |note: &Digest| {
            let index = self.places.get(note)?;
            indices.iter().position(|known| known == index)
        };
        let with_manifest = |(note, event): (Digest, RecordedEvent)| RecordedEvent {
            manifest: place(&note).unwrap_or_default(),
            ..event
        };
        Ok((notes, events.into_iter().map(with_manifest).collect()))
    }

    fn note<S: ArchiveSource>(
        &self,
        source: &S,
        size: u64,
        index: u64,
    ) -> Result<String, ProveError> {
        let at = index / TILE_WIDTH;
        let bundle = layout::bundles(size)
            .find(|bundle| matches!(bundle, Artefact::Bundle { index, .. } if *index == at));
        let bundle = bundle.unwrap_or(Artefact::Checkpoint);
        let bytes = source.get(&bundle.to_string())?;
        let leaves = log::leaves(&bundle, bytes.as_deref());
        let leaf = usize::try_from(index % TILE_WIDTH).ok().and_then(|at| leaves.get(at));
        // Where it is not what was read before, the check of the proof says so.
        Ok(leaf.map_or_else(String::new, |leaf| String::from_utf8_lossy(leaf).into_owned()))
    }
}

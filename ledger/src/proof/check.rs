//! The check of a proof against what its reader trusts. It calls what the audit of an archive calls:
//! the line of seal keys, the rules of payloads, the key rules of the chain.

use std::collections::BTreeSet;

use crate::chain::{Acts, Keys, LedgerEvent, Role};
use crate::checkpoint::Checkpoint;
use crate::chunk::{self, ChunkManifest};
use crate::entry::Entry;
use crate::hash::Digest;
use crate::key::PublicKey;
use crate::layout::Artefact;
use crate::merkle::{self, check_inclusion, leaf_hash};
use crate::names::Seq;
use crate::note::Note;
use crate::payload::{self, Rules};
use crate::submission::Statement;
use crate::succession::{Cutoff, REVOCATION, SUCCESSION};
use crate::verify::{Check, Finding, Place, SealCheck, Trust, Verdict, check_pins};

use super::{Proof, RecordedEvent};

/// An event by which a key came into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its seq.
    pub seq: Seq,
    /// The key that signed it.
    pub signed_by: PublicKey,
    /// What it says.
    pub event: LedgerEvent,
}

/// What the payload of a proven event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// `event_type`.
    pub event_type: String,
    /// `actor_id`.
    pub actor_id: Option<String>,
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The event, with the submission that brought it.
    pub event: RecordedEvent,
    /// `H` of its payload.
    pub payload_digest: Digest,
    /// What its payload says, where that is shown.
    pub said: Option<Said>,
    /// Name of the submission.
    pub submission: Digest,
    /// Seqs of the first and last event of the submission.
    pub seqs: (Seq, Seq),
    /// What its key may do there.
    pub role: Role,
    /// The events that put the key in force, from seq 1 on.
    pub authority: Vec<Authority>,
    /// Whether the trust file names the workspace's root keys.
    pub pinned: bool,
    /// The manifest of its chunk.
    pub manifest: ChunkManifest,
    /// The manifest's place in the log, from 0.
    pub log_index: u64,
    /// The log that the checkpoint states.
    pub log: Cutoff,
    /// The seal key in force at the end of that log.
    pub seal_key: String,
}

/// What the check of a proof came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The verdict.
    pub verdict: Verdict,
    /// What is proven; `None` where nothing is.
    pub proven: Option<Proven>,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// What even a proven proof does not say.
    pub const NOT_CLAIMED: &'static [&'static str] = &[
        "that the event is true: only who signed it",
        "that its key, or a root key that put it in force, was not revoked before: only a replay of the \
         workspace's chain up to there shows that (verify)",
        "that the archive holds it still, or that the rest of the archive is intact (verify)",
        "that the log of this checkpoint is the one that others were shown: compare checkpoints",
        "that recorded_at is right: it is the ledger's own clock",
    ];
}

/// Checks the bytes of a proof file.
pub fn check(bytes: &[u8], trust: &Trust) -> Checked {
    let mut findings = Vec::new();
    let proven = match Proof::parse(bytes) {
        Ok(proof) => Checker::new(&proof, trust, &mut findings).run(),
        Err(error) => {
            findings.push(Finding::new(Check::ProofMalformed, Place::default()).because(error));
            None
        }
    };
    findings.sort_by(|a, b| b.check.severity().cmp(&a.check.severity()).then_with(|| a.cmp(b)));
    findings.dedup();
    let verdict = Verdict::of(&findings);
    let stands = matches!(verdict, Verdict::Proven | Verdict::Short);
    Checked { verdict, proven: proven.filter(|_| stands), findings }
}

struct Checker<'a> {
    proof: &'a Proof,
    trust: &'a Trust,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Checker<'a> {
    fn new(proof: &'a Proof, trust: &'a Trust, findings: &'a mut Vec<Finding>) -> Self {
        Self { proof, trust, findings }
    }

    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn run(mut self) -> Option<Proven> {
        let Proof { origin, events, .. } = self.proof;
        let checkpoint = self.checkpoint()?;
        if *origin != checkpoint.origin {
            let finding = Finding::new(Check::ProofMalformed, Place::default());
            self.report(finding.differs(&checkpoint.origin, origin));
            return None;
        }
        let seal_key = self.log(&checkpoint)?;
        let manifests = self.manifests()?;
        let mut keys = Keys::new();
        let mut authority = Vec::new();
        let mut last: Option<(&RecordedEvent, u64, &ChunkManifest, Judged)> = None;
        for event in events {
            if let Some((.., judged)) = last.take() {
                authority.extend(judged.sets);
            }
            let Some((at, manifest)) = manifests.get(event.manifest).and_then(Option::as_ref)
            else {
                let finding = Finding::new(Check::ProofMalformed, self.at(event, "manifest"));
                self.report(finding.because("the note that it names is no chunk manifest"));
                return None;
            };
            last = Some((event, *at, manifest, self.event(event, manifest, &mut keys)?));
        }
        let (event, log_index, manifest, judged) = last?;
        if authority.len().saturating_add(1) != events.len() {
            let finding = Finding::new(Check::ProofMalformed, Place::default());
            self.report(finding.because("an event before the last one says nothing about keys"));
        }
        let used: BTreeSet<_> = events.iter().map(|event| event.manifest).collect();
        let known = manifests.iter().filter(|manifest| manifest.is_some()).count();
        if used.len() != known {
            let finding = Finding::new(Check::ProofMalformed, Place::default());
            self.report(finding.because("a chunk manifest in it is that of none of its events"));
        }
        Some(Proven {
            event: event.clone(),
            payload_digest: event.payload_digest()?,
            said: judged.said,
            submission: judged.submission,
            seqs: (event.first_seq()?, event.last_seq()?),
            role: judged.role,
            authority,
            pinned: self.trust.workspaces.contains_key(&self.proof.workspace),
            manifest: manifest.clone(),
            log_index,
            log: Cutoff { size: checkpoint.size, root: checkpoint.root },
            seal_key,
        })
    }

    fn checkpoint(&mut self) -> Option<Checkpoint> {
        let place = || Place::object(Artefact::Checkpoint);
        let note = Note::parse(self.proof.checkpoint.as_bytes()).map_err(|e| e.to_string());
        let read = note.and_then(|note| Checkpoint::parse(note.body()).map_err(|e| e.to_string()));
        match read {
            Ok(checkpoint) if checkpoint.origin == self.trust.origin => Some(checkpoint),
            Ok(checkpoint) => {
                let finding = Finding::new(Check::CheckpointOrigin, place());
                self.report(finding.differs(&self.trust.origin, &checkpoint.origin));
                None
            }
            Err(reason) => {
                self.report(Finding::new(Check::CheckpointMalformed, place()).because(reason));
                None
            }
        }
    }

    /// The notes are leaves of the log, each signed by the key in force there, and trust reaches the
    /// checkpoint. Gives the key in force at its end; `None` where a note is no leaf.
    fn log(&mut self, checkpoint: &Checkpoint) -> Option<String> {
        let Checkpoint { size, root, .. } = *checkpoint;
        let mut seal = SealCheck::new(self.trust);
        let mut seen = BTreeSet::from([size]);
        for leaf in &self.proof.notes {
            let (data, place) = (leaf.note.as_bytes(), Place::leaf(leaf.index));
            let proven = check_inclusion(&root, size, leaf.index, &leaf_hash(data), &leaf.path);
            let before = merkle::before(size, leaf.index, &leaf.path);
            let before = match (proven, before) {
                (Ok(()), Some(before)) => before,
                (proven, _) => {
                    let reason = proven.err().unwrap_or(merkle::ProofError::Length);
                    self.report(Finding::new(Check::ProofPath, place).because(reason));
                    return None;
                }
            };
            seen.extend([leaf.index, leaf.index.saturating_add(1)]);
            seal.go_to(before);
            let note = Note::parse(data);
            seal.leaf(data, note.as_ref().ok());
            if let Err(error) = note {
                self.report(Finding::new(Check::LeafSignature, place).because(error));
            }
        }
        seal.compare(&Cutoff { size, root });
        seal.end(self.proof.checkpoint.as_bytes(), size);
        let line = seal.line().cloned();
        for (key, cutoff) in &self.trust.revoked {
            let in_line = line.iter().flat_map(|line| line.terms()).any(|term| term.key == *key);
            if in_line && cutoff.size <= size && !seen.contains(&cutoff.size) {
                let finding = Finding::new(Check::Unchecked, Place::leaf(cutoff.size));
                self.report(finding.because(format!(
                    "the log up to the cut-off of {key}, of which this proof shows nothing"
                )));
            }
        }
        self.findings.append(&mut seal.findings);
        Some(line.map_or_else(String::new, |line| line.in_force().to_string()))
    }

    /// The chunk manifests among the notes, with their places in the log.
    fn manifests(&mut self) -> Option<Vec<Option<(u64, ChunkManifest)>>> {
        let Proof { notes, workspace, .. } = self.proof;
        let mut manifests = Vec::with_capacity(notes.len());
        for leaf in notes {
            let place = Place::leaf(leaf.index);
            let body = Note::parse(leaf.note.as_bytes()).ok()?.body();
            let finding = match body.lines().next() {
                // Read and judged with the line of keys.
                Some(SUCCESSION | REVOCATION) => {
                    manifests.push(None);
                    continue;
                }
                Some(chunk::KIND) => match ChunkManifest::parse(body) {
                    Ok(manifest) if manifest.origin != self.trust.origin => {
                        Finding::new(Check::LeafOrigin, place)
                            .differs(&self.trust.origin, &manifest.origin)
                    }
                    Ok(manifest) if manifest.workspace != *workspace => {
                        Finding::new(Check::ProofMalformed, place)
                            .differs(workspace, &manifest.workspace)
                    }
                    Ok(manifest) => {
                        manifests.push(Some((leaf.index, manifest)));
                        continue;
                    }
                    Err(error) => Finding::new(Check::ManifestMalformed, place).because(error),
                },
                _ => Finding::new(Check::ProofMalformed, place)
                    .because("neither a chunk manifest nor a note about seal keys"),
            };
            self.report(finding);
            return None;
        }
        Some(manifests)
    }

    fn at(&self, event: &RecordedEvent, column: &'static str) -> Place {
        Place::workspace(&self.proof.workspace).at_seq(event.seq.get()).in_column(column)
    }

    /// One event: signed, recorded in this chunk, and by the keys as the events before have set them
    /// allowed to be.
    fn event(
        &mut self,
        event: &RecordedEvent,
        manifest: &ChunkManifest,
        keys: &mut Keys,
    ) -> Option<Judged> {
        let Proof { origin, workspace, .. } = self.proof;
        let digest = event.payload_digest()?;
        let bounds = event.first_seq().zip(event.last_seq());
        let within =
            |(first, last): &(Seq, Seq)| manifest.first_seq <= *first && *last <= manifest.last_seq;
        let Some((first, _)) = bounds.filter(within) else {
            let finding = Finding::new(Check::SubmissionCut, self.at(event, "submission_count"));
            self.report(finding.because("its submission does not lie within the chunk"));
            return None;
        };
        let statement = Statement::new(origin, workspace, event.counter, &event.digests);
        let submission = match statement.verify(&event.public_key, &event.signature) {
            Ok(submission) => submission,
            Err(error) => {
                let finding = Finding::new(Check::Signature, self.at(event, "signature"));
                let key = event.public_key;
                self.report(finding.because(format!("{}: {error} {key}", error.code())));
                return None;
            }
        };
        self.entry(event, manifest, digest, submission)?;
        let (acts, said) = self.payload(event, digest)?;
        if event.seq == Seq::FIRST && event.payload.is_none() {
            self.report(Finding::new(Check::LedgerWithheld, self.at(event, "payload")));
            return None;
        }
        let role = match keys.admit(&event.public_key, first, &acts) {
            Ok(role) => role,
            Err(refusal) => {
                let finding = Finding::new(Check::KeyRule, self.at(event, "public_key"));
                self.report(finding.because(format!("{}: {refusal}", refusal.code())));
                return None;
            }
        };
        let set = acts.ledger_event().cloned();
        if let Some(LedgerEvent::WorkspaceCreated { root_keys }) = &set {
            let pinned = self.trust.workspaces.get(workspace).map(Vec::as_slice);
            self.findings.extend(check_pins(workspace, pinned, root_keys));
        }
        let about_keys = |event: &LedgerEvent| !matches!(event, LedgerEvent::PayloadErased { .. });
        let sets = set.filter(about_keys).map(|set| Authority {
            seq: event.seq,
            signed_by: event.public_key,
            event: set,
        });
        Some(Judged { submission, role, said, sets })
    }

    /// The entry that the event comes to is the one of its seq in the chunk.
    fn entry(
        &mut self,
        event: &RecordedEvent,
        manifest: &ChunkManifest,
        payload_digest: Digest,
        submission_hash: Digest,
    ) -> Option<()> {
        let entry = Entry {
            seq: event.seq,
            recorded_at: event.recorded_at,
            event_id: event.event_id,
            payload_digest,
            submission_hash,
            index_in_submission: event.submission_index,
            submission_count: u16::try_from(event.digests.len()).ok()?,
        };
        let index = event.seq.get().checked_sub(manifest.first_seq.get())?;
        let leaf = entry.leaf();
        if let Err(error) =
            check_inclusion(&manifest.root, manifest.rows(), index, &leaf, &event.path)
        {
            let place = Place { column: None, ..self.at(event, "path") };
            self.report(Finding::new(Check::ProofPath, place).because(error));
            return None;
        }
        let ChunkManifest { first_recorded_at: from, last_recorded_at: to, .. } = manifest;
        if event.recorded_at < *from || event.recorded_at > *to {
            let finding = Finding::new(Check::RowTime, self.at(event, "recorded_at"));
            self.report(finding.differs(format!("{from} to {to}"), event.recorded_at));
            return None;
        }
        Some(())
    }

    /// What its payload says, if it is shown.
    fn payload(&mut self, event: &RecordedEvent, digest: Digest) -> Option<(Acts, Option<Said>)> {
        let mut acts = Acts::new();
        let mut said = None;
        for place in 0..event.digests.len() {
            match &event.payload {
                Some(payload) if place == usize::from(event.submission_index) => {
                    said = Some(self.read(event, digest, payload, &mut acts)?);
                }
                _ => acts.push_withheld(),
            }
        }
        Some((acts, said))
    }

    fn read(
        &mut self,
        event: &RecordedEvent,
        digest: Digest,
        payload: &[u8],
        acts: &mut Acts,
    ) -> Option<Said> {
        let found = Digest::of(payload);
        let refused = |check, column| Finding::new(check, self.at(event, column));
        let finding = if found != digest {
            refused(Check::PayloadDigest, "payload").differs(digest, found)
        } else {
            match payload::scan(payload, &self.proof.workspace, &Rules::ceiling()) {
                Err(error) => refused(Check::PayloadRules, "payload").because(error),
                Ok(read) if read.event_id != event.event_id => {
                    refused(Check::EventId, "event_id").differs(read.event_id, event.event_id)
                }
                Ok(read) => match acts.push(&read) {
                    Err(error) => refused(Check::LedgerContext, "payload").because(error),
                    Ok(()) => {
                        let actor_id = read.actor_id.as_deref().map(str::to_owned);
                        return Some(Said { event_type: read.event_type.to_string(), actor_id });
                    }
                },
            }
        };
        self.report(finding);
        None
    }
}

/// What one event of a proof comes to.
struct Judged {
    submission: Digest,
    role: Role,
    said: Option<Said>,
    sets: Option<Authority>,
}

//! Who signed the log: the line of seal keys, and whether the auditor's trust reaches its end
//! (FORMAT section 11).
//!
//! The log says by itself which key is in force where. What it says is worth something only if the
//! checkpoint is: its key must be one that the auditor trusts, or one that such a key leads to by
//! successions. It then vouches for all leaves, those before the trusted key too. A revocation in the
//! log leads nowhere, as anyone could write it; whom to believe then, the auditor's trust file says.

use crate::hash::Digest;
use crate::layout::Artefact;
use crate::line::{Entrance, KeyLine, LineError, Term};
use crate::merkle::{Frontier, leaf_hash};
use crate::note::{Note, VerifierKey};
use crate::succession::{Cutoff, KeyNote};

use super::finding::{Check, Finding, Place};
use super::policy::Trust;

/// The check of all signatures by seal keys.
#[derive(Debug)]
pub(crate) struct SealCheck {
    trusted: Vec<VerifierKey>,
    seen: Vec<Cutoff>,
    revoked: Vec<(VerifierKey, Cutoff)>,
    tree: Frontier,
    line: Option<KeyLine>,
    /// Leaves that came before anything said which key is the first, with their indices. There are
    /// some only where the auditor has a later key and not the first.
    waiting: Vec<(u64, Vec<u8>)>,
    /// Their bytes, those too that were let go because they were too many.
    waiting_bytes: usize,
    pub(crate) findings: Vec<Finding>,
}

/// Most bytes of leaves that wait: some 200,000 leaves.
const WAITING_BYTES: usize = 256 << 20;

fn refused(index: u64, error: LineError) -> Finding {
    let (check, place) = match &error {
        LineError::Unsigned(_) => (Check::LeafSignature, Place::leaf(index)),
        LineError::Revoked(_) => (Check::RevokedKey, Place::leaf(index)),
        LineError::Malformed(_) => (Check::KeyNoteMalformed, Place::leaf(index)),
        LineError::Origin(_) => (Check::LeafOrigin, Place::leaf(index)),
        LineError::Order { .. } => (Check::KeyNoteOrder, Place::leaf(index)),
    };
    let finding = Finding::new(check, place);
    match error {
        LineError::Order { what, expected, found } => {
            finding.differs(expected, found).because(what)
        }
        error => finding.because(error),
    }
}

impl SealCheck {
    pub(crate) fn new(trust: &Trust) -> Self {
        Self {
            trusted: trust.seal_keys.clone(),
            seen: trust.seen.clone(),
            revoked: trust.revoked.clone(),
            tree: Frontier::new(),
            line: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            findings: Vec::new(),
        }
    }

    /// The keys of the log, as far as it has been read.
    pub(crate) fn line(&self) -> Option<&KeyLine> {
        self.line.as_ref()
    }

    /// The auditor's keys; of a revoked one counts what lies before its cut-off.
    fn known(&self) -> impl Iterator<Item = &VerifierKey> {
        self.trusted.iter().chain(self.revoked.iter().map(|(key, _)| key))
    }

    fn cutoff(&self, key: &VerifierKey) -> Option<&Cutoff> {
        self.revoked.iter().find(|(revoked, _)| revoked == key).map(|(_, cutoff)| cutoff)
    }

    /// Takes the next leaf, and the note that it is, if it is one; gives its hash.
    pub(crate) fn leaf(&mut self, data: &[u8], note: Option<&Note<'_>>) -> Digest {
        let index = self.tree.size();
        if let Some(note) = note {
            if self.line.is_none()
                && let Some(key) = self.first_key(index, note)
            {
                self.start(key);
            }
            match &self.line {
                None => self.wait(index, data),
                Some(line) => {
                    let key = line.in_force();
                    let cutoff = self.cutoff(key).filter(|cutoff| cutoff.size <= index);
                    let past = cutoff.is_some() && note.verify(key).is_ok();
                    let followed = line.follow(note, data, &self.tree);
                    if past {
                        let error = LineError::Revoked(Box::new(key.clone()));
                        self.findings.push(refused(index, error));
                    }
                    match followed {
                        Ok(None) => {}
                        Ok(line) => self.line = line,
                        Err(error) => self.findings.push(refused(index, error)),
                    }
                }
            }
        }
        let hash = leaf_hash(data);
        self.tree.push(hash);
        self.compare(&Cutoff { size: self.tree.size(), root: self.tree.root() });
        hash
    }

    /// Goes on behind the leaves of `tree`, which are known to be the first ones of the log. So leaves
    /// can be left out between those that are taken, as long as none of them is a note about seal keys.
    pub(crate) fn go_to(&mut self, tree: Frontier) {
        self.compare(&Cutoff { size: tree.size(), root: tree.root() });
        self.tree = tree;
    }

    /// Compares the first leaves of the log with what the auditor knows of so many of them.
    pub(crate) fn compare(&mut self, log: &Cutoff) {
        let place = || Place::leaf(log.size.saturating_sub(1));
        for (key, cutoff) in &self.revoked {
            if cutoff.size == log.size && cutoff.root != log.root {
                let finding = Finding::new(Check::CutoffRoot, place());
                let finding = finding.differs(cutoff.root, log.root);
                self.findings.push(finding.because(format!("cut-off of {key}")));
            }
        }
        for seen in &self.seen {
            if seen.size == log.size && seen.root != log.root {
                let finding = Finding::new(Check::SeenForked, place());
                self.findings.push(finding.differs(seen, format!("root {}", log.root)));
            }
        }
    }

    /// Keeps a leaf until it is known who should have signed it. A hostile log is not kept in memory
    /// whole, and what was let go is not proven.
    fn wait(&mut self, index: u64, data: &[u8]) {
        let before = self.waiting_bytes;
        self.waiting_bytes = before.saturating_add(data.len());
        if self.waiting_bytes <= WAITING_BYTES {
            self.waiting.push((index, data.to_vec()));
        } else if before <= WAITING_BYTES {
            self.waiting.clear();
            let finding = Finding::new(Check::Unchecked, Place::leaf(index));
            self.findings.push(finding.because(
                "who signed the leaves up to the log's first change of its seal key: they are too many \
                 to remember until then. Name the log's first seal key in the trust file",
            ));
        }
    }

    /// Which key the log starts with: the one whose time its first note about seal keys ends, or one of
    /// the auditor's that has signed the first leaf.
    fn first_key(&self, index: u64, note: &Note<'_>) -> Option<VerifierKey> {
        let signed = |key: &&VerifierKey| note.verify(key).is_ok();
        let key = match KeyNote::parse(note.body()) {
            Some(read) => read.ok().filter(|read| signed(&read.new_key()))?.old_key().clone(),
            None if index == 0 => self.known().find(signed)?.clone(),
            None => return None,
        };
        self.known().any(|ours| ours.name() == key.name()).then_some(key)
    }

    fn start(&mut self, key: VerifierKey) {
        let line = KeyLine::starting_with(key);
        for (index, data) in std::mem::take(&mut self.waiting) {
            let followed = Note::parse(&data)
                .map_err(LineError::from)
                .and_then(|note| line.follow(&note, &data, &self.tree));
            self.findings.extend(followed.err().map(|error| refused(index, error)));
        }
        self.line = Some(line);
    }

    /// Ends the log of `size` leaves, whose checkpoint is this note. Where nothing has said who signed the first leaf,
    /// it is whoever of the auditor's keys has signed any.
    pub(crate) fn end(&mut self, checkpoint: &[u8], size: u64) {
        let signed = |key: &&VerifierKey| {
            let by_key = |data: &[u8]| Note::parse(data).is_ok_and(|note| note.verify(key).is_ok());
            self.waiting.iter().any(|(_, data)| by_key(data))
        };
        let key = self.known().find(signed).or_else(|| self.known().last()).cloned();
        if let Some(key) = key.filter(|_| !self.waiting.is_empty()) {
            self.start(key);
        }
        if let Ok(note) = Note::parse(checkpoint) {
            self.checkpoint(&note, size, &Place::object(Artefact::Checkpoint));
        }
    }

    /// Judges who signed the checkpoint over the log as it has been read.
    fn checkpoint(&mut self, note: &Note<'_>, size: u64, place: &Place) {
        let untrusted = |reason: String| {
            Finding::new(Check::CheckpointUntrusted, place.clone()).because(reason)
        };
        let reached = match &self.line {
            None => {
                let tried: Vec<_> = self.known().map(|key| note.verify(key)).collect();
                let reasons =
                    tried.iter().filter_map(|r| r.as_ref().err().map(ToString::to_string));
                match tried.iter().any(Result::is_ok) {
                    true => Ok(()),
                    false => Err(untrusted(reasons.collect::<Vec<_>>().join("; "))),
                }
            }
            Some(line) => match note.verify(line.in_force()) {
                Ok(_) => self.trust_reaches(line).map_err(untrusted),
                Err(error) => {
                    let known = self.revoked.iter().map(|(key, _)| key);
                    let mut revoked = line.revoked().iter().chain(known);
                    let by = revoked.find(|key| note.verify(key).is_ok());
                    Err(by.map_or_else(
                        || untrusted(error.to_string()),
                        |key| {
                            let finding = Finding::new(Check::RevokedKey, place.clone());
                            finding.because(LineError::Revoked(Box::new(key.clone())))
                        },
                    ))
                }
            },
        };
        match reached {
            Ok(()) => self.rests_on_revoked(place),
            Err(finding) => self.findings.push(finding),
        }
        for (key, cutoff) in &self.revoked {
            if size < cutoff.size {
                let finding = Finding::new(Check::CutoffAhead, place.clone());
                let finding = finding.differs(cutoff, format!("{size} leaves"));
                self.findings.push(finding.because(format!("cut-off of {key}")));
            }
        }
    }

    /// The last key of the line that the auditor has, and all behind it.
    fn reach(&self, line: &KeyLine) -> Option<Vec<Term>> {
        let terms: Vec<_> = line.terms().cloned().collect();
        let from = terms.iter().rposition(|term| self.known().any(|key| *key == term.key))?;
        terms.get(from..).map(<[_]>::to_vec)
    }

    fn trust_reaches(&self, line: &KeyLine) -> Result<(), String> {
        let Some(terms) = self.reach(line) else {
            let keys: Vec<_> = line.terms().map(|term| term.key.to_string()).collect();
            return Err(format!("the auditor has none of the log's keys: {}", keys.join(", ")));
        };
        let mut links = terms.iter().skip(1);
        match links.find(|term| term.entrance == Entrance::Revocation) {
            None => Ok(()),
            Some(term) => Err(format!(
                "the log revokes the key that the auditor has, at leaf {}, and puts {} in its place, \
                 which anyone could have written: where the ledger's operator confirms that key by \
                 another way, name it in the trust file",
                term.before.size, term.key
            )),
        }
    }

    /// A succession that a stolen key has signed may be the thief's: the log says so itself, and the
    /// auditor has neither a later key nor the cut-off.
    fn rests_on_revoked(&mut self, place: &Place) {
        let Some(line) = &self.line else { return };
        let terms = self.reach(line).unwrap_or_default();
        let carry = terms.iter().rev().skip(1).map(|term| &term.key);
        let mut stolen = carry.filter(|key| line.revoked().contains(key));
        let stolen = stolen.find(|key| self.cutoff(key).is_none());
        let finding = stolen.map(|key| {
            let finding = Finding::new(Check::RestsOnRevoked, place.clone());
            finding.because(format!(
                "{key}: name the key in force in the trust file, or the revocation with its cut-off, \
                 as the ledger's operator confirms it by another way"
            ))
        });
        self.findings.extend(finding);
    }
}

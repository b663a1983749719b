//! The check of one chunk: its rows against its manifest, its payloads and its signatures.
//!
//! It needs nothing of the chunks before: the manifest says where the chain enters, and the log
//! walk checks that each manifest enters where the one before left (FORMAT sections 4, 5, 7).

use crate::chain::{Acts, ContextError};
use crate::chunk::{ChunkManifest, ObjectDigest};
use crate::columns::{Derived, Row};
use crate::entry::{Entry, next_link};
use crate::hash::Digest;
use crate::key::{PublicKey, Signature};
use crate::limits::{PAYLOAD_BYTES_CEILING, SUBMISSION_EVENTS_CEILING};
use crate::merkle::{Frontier, leaf_hash};
use crate::names::{EventId, Seq};
use crate::payload::{self, Rules};
use crate::submission::{Counter, Statement};
use crate::time::Micros;

use super::claims::Claims;
use super::days::Days;
use super::finding::{Check, Finding, Place};
use super::ids::IdAt;

/// Payload of a chunk after which payloads that break the rules by their length are not hashed any more.
const LONG_HASHED_BYTES: u64 = 1 << 30;

/// Findings kept per chunk: after so many, more of them tell an auditor nothing new.
const FINDINGS_MAX: usize = 32;

/// What the chain-wide checks need to know of a checked chunk.
#[derive(Clone, Debug)]
pub struct ChunkOutcome {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Rows that were checked.
    pub rows: u64,
    /// Bytes of payload that were checked.
    pub payload_bytes: u64,
    /// Whether rows are missing from what follows: the chain-wide checks then cannot go on.
    pub broken: bool,
    /// Whether only the digest of its object was checked.
    pub(super) outside: bool,
    pub(super) submissions: Vec<Submitted>,
    pub(super) claims: Claims,
    /// The days that its rows occurred on.
    pub(super) days: Days,
    /// Sorted.
    pub(super) ids: Vec<IdAt>,
    pub(super) withheld: Vec<(EventId, Seq)>,
}

/// A submission of a chunk, as the key rules see it.
#[derive(Clone, Debug)]
pub(super) struct Submitted {
    pub(super) first: Seq,
    pub(super) key: PublicKey,
    pub(super) counter: u64,
    pub(super) acts: Acts,
    pub(super) context_error: Option<ContextError>,
}

impl ChunkOutcome {
    /// A chunk whose rows could not be had.
    pub fn broken(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
            rows: 0,
            payload_bytes: 0,
            broken: true,
            outside: false,
            submissions: Vec::new(),
            claims: Claims::default(),
            days: Days::default(),
            ids: Vec::new(),
            withheld: Vec::new(),
        }
    }

    /// A chunk outside of the times asked for, whose object has the digests of its manifest, and in which
    /// no `event_type` is one of the ledger's own.
    pub fn outside(check: ChunkCheck<'_>) -> Self {
        Self { outside: true, ..check.outcome }
    }
}

/// The submission that the last rows belong to.
struct Open {
    first: Seq,
    recorded_at: i64,
    submission_hash: [u8; 32],
    count: u16,
    next_index: u16,
    counter: u64,
    public_key: [u8; 32],
    signature: [u8; 64],
    digests: Vec<Digest>,
    acts: Acts,
    context_error: Option<ContextError>,
}

/// Checks the rows of one chunk, in order, one at a time.
pub struct ChunkCheck<'m> {
    manifest: &'m ChunkManifest,
    next_seq: u64,
    last_at: i64,
    link: Digest,
    leaves: Frontier,
    open: Option<Open>,
    outcome: ChunkOutcome,
}

impl<'m> ChunkCheck<'m> {
    /// Starts the check of a chunk whose object has these bytes. `Err` where they are not the
    /// bytes that the manifest names: such bytes are not to be decoded at all.
    pub fn open(manifest: &'m ChunkManifest, object: &[u8]) -> Result<Self, ChunkOutcome> {
        let found = ObjectDigest::of(object);
        if found != manifest.digest {
            let show = |digest: &ObjectDigest| {
                let ObjectDigest { bytes, sha256, blake3 } = digest;
                format!("{bytes} bytes, sha256 {sha256}, blake3 {blake3}")
            };
            let finding = Finding::new(Check::ObjectDigest, Place::chunk(manifest))
                .differs(show(&manifest.digest), show(&found));
            return Err(ChunkOutcome::broken(finding));
        }
        Ok(Self {
            manifest,
            next_seq: manifest.first_seq.get(),
            last_at: manifest.first_recorded_at.get(),
            link: manifest.prev_link,
            leaves: Frontier::new(),
            open: None,
            outcome: ChunkOutcome {
                findings: Vec::new(),
                rows: 0,
                payload_bytes: 0,
                broken: false,
                outside: false,
                submissions: Vec::new(),
                claims: Claims::default(),
                days: Days::default(),
                ids: Vec::new(),
                withheld: Vec::new(),
            },
        })
    }

    fn report(&mut self, finding: Finding) {
        if self.outcome.findings.len() < FINDINGS_MAX {
            self.outcome.findings.push(finding);
        }
    }

    fn at(&self, seq: u64, column: &'static str) -> Place {
        Place::chunk(self.manifest).at_seq(seq).in_column(column)
    }

    /// Checks the next row.
    pub fn row(&mut self, row: &Row<'_>) {
        self.outcome.rows += 1;
        self.outcome.days.take(row.derived.occurred_at, row.payload.is_some());
        let Some((seq, recorded_at, event_id)) = self.names(row) else {
            self.outcome.broken = true;
            return;
        };
        self.time(row);
        let payload_digest = Digest::from_bytes(row.payload_digest);
        self.continue_submission(row, seq);
        self.payload(row, event_id, seq);
        let entry = Entry {
            seq,
            recorded_at,
            event_id,
            payload_digest,
            submission_hash: Digest::from_bytes(row.submission_hash),
            index_in_submission: row.submission_index,
            submission_count: row.submission_count,
        };
        let leaf = leaf_hash(&entry.to_bytes());
        self.leaves.push(leaf);
        let expected = next_link(&self.link, &leaf);
        let found = Digest::from_bytes(row.link);
        if expected != found {
            let place = self.at(row.seq, "link");
            self.report(Finding::new(Check::RowLink, place).differs(expected, found));
        }
        // Going on from the stated link keeps one wrong row from making all later ones wrong: the
        // manifest's last link and root decide about the whole.
        self.link = found;
        self.outcome.ids.push((event_id, seq));
        self.finish_submission(false);
    }

    /// Seq, time and id as the types that bound them; their findings, where they have none.
    fn names(&mut self, row: &Row<'_>) -> Option<(Seq, Micros, EventId)> {
        if row.seq != self.next_seq {
            let finding = Finding::new(Check::RowSeq, self.at(row.seq, "seq"));
            self.report(finding.differs(self.next_seq, row.seq));
        }
        self.next_seq = row.seq.saturating_add(1);
        let seq = Seq::new(row.seq);
        let recorded_at = Micros::new(row.recorded_at);
        let event_id = EventId::from_bytes(row.event_id).ok();
        if seq.is_none() {
            let place = self.at(row.seq, "seq");
            self.report(Finding::new(Check::RowSeq, place).because("a seq is 1 to 2^63-1"));
        }
        if recorded_at.is_none() {
            let place = self.at(row.seq, "recorded_at");
            self.report(Finding::new(Check::RowTime, place).because("not within 1970 to 9999"));
        }
        if event_id.is_none() {
            let place = self.at(row.seq, "event_id");
            self.report(Finding::new(Check::EventId, place).because("the nil UUID"));
        }
        Some((seq?, recorded_at?, event_id?))
    }

    fn time(&mut self, row: &Row<'_>) {
        let hour = self.manifest.hour;
        let first = self.outcome.rows == 1;
        let expected = if first && row.recorded_at != self.manifest.first_recorded_at.get() {
            Some(format!("{} (first_recorded_at)", self.manifest.first_recorded_at))
        } else if row.recorded_at < self.last_at {
            Some(format!("{} or later", show_time(self.last_at)))
        } else if row.recorded_at < hour.start().get() || row.recorded_at >= hour.end() {
            Some(format!("within the hour {hour}"))
        } else {
            None
        };
        if let Some(expected) = expected {
            let place = self.at(row.seq, "recorded_at");
            let finding = Finding::new(Check::RowTime, place);
            self.report(finding.differs(expected, show_time(row.recorded_at)));
        }
        self.last_at = row.recorded_at;
    }

    fn payload(&mut self, row: &Row<'_>, event_id: EventId, seq: Seq) {
        let digest = Digest::from_bytes(row.payload_digest);
        let derived = match row.payload {
            None => {
                self.outcome.withheld.push((event_id, seq));
                if let Some(open) = &mut self.open {
                    open.acts.push_withheld();
                }
                Derived::withheld(row.recorded_at)
            }
            Some(payload) => {
                self.outcome.payload_bytes += u64::try_from(payload.len()).unwrap_or(u64::MAX);
                // Ones that are longer than any may be are hashed only so far: a few bytes of a file can give each
                // of a million rows a hundred megabytes.
                let is_long = payload.len() > PAYLOAD_BYTES_CEILING;
                if !is_long || self.outcome.payload_bytes <= LONG_HASHED_BYTES {
                    let found = Digest::of(payload);
                    if found != digest {
                        let place = self.at(row.seq, "payload");
                        let finding = Finding::new(Check::PayloadDigest, place);
                        self.report(finding.differs(digest, found));
                    }
                }
                let event =
                    match payload::scan(payload, &self.manifest.workspace, &Rules::ceiling()) {
                        Ok(event) => event,
                        Err(error) => {
                            let place = self.at(row.seq, "payload");
                            self.report(Finding::new(Check::PayloadRules, place).because(error));
                            if let Some(open) = &mut self.open {
                                open.acts.push_withheld();
                            }
                            return;
                        }
                    };
                if event.event_id != event_id {
                    let place = self.at(row.seq, "event_id");
                    let finding = Finding::new(Check::EventId, place);
                    self.report(finding.differs(event.event_id, event_id));
                }
                if let Some(open) = &mut self.open
                    && let Err(error) = open.acts.push(&event)
                {
                    open.context_error = Some(error);
                }
                self.outcome.claims.take(row.seq, row.recorded_at, event.occurred_at);
                Derived::of(&event)
            }
        };
        if let Some(difference) = derived.difference(&row.derived) {
            let place = self.at(row.seq, difference.column);
            let finding = Finding::new(Check::DerivedColumn, place);
            self.report(finding.differs(difference.expected, difference.found));
        }
    }

    /// Adds the row to the submission that it belongs to, or starts one.
    fn continue_submission(&mut self, row: &Row<'_>, seq: Seq) {
        let digest = Digest::from_bytes(row.payload_digest);
        if let Some(open) = &mut self.open {
            if row.submission_index == open.next_index {
                open.next_index += 1;
                open.digests.push(digest);
                if let Some(column) = disagreement(open, row) {
                    let place = self.at(row.seq, column);
                    self.report(Finding::new(Check::SubmissionMixed, place));
                }
                return;
            }
            // The open one was cut short; what it has is checked as it stands.
            self.finish_submission(true);
        }
        if row.submission_index != 0 {
            let place = self.at(row.seq, "submission_index");
            let finding = Finding::new(Check::SubmissionCut, place);
            self.report(finding.differs(0, row.submission_index));
        }
        self.open = Some(Open {
            first: seq,
            recorded_at: row.recorded_at,
            submission_hash: row.submission_hash,
            count: row.submission_count,
            next_index: row.submission_index.saturating_add(1),
            counter: row.counter,
            public_key: row.public_key,
            signature: row.signature,
            digests: vec![digest],
            acts: Acts::new(),
            context_error: None,
        });
    }

    /// Closes the open submission if it is complete, or in any case where `cut`.
    fn finish_submission(&mut self, cut: bool) {
        let complete = |open: &Open| open.next_index >= open.count;
        if !cut && !self.open.as_ref().is_some_and(complete) {
            return;
        }
        let Some(open) = self.open.take() else { return };
        let first = open.first.get();
        let manifest = self.manifest;
        let at = |column| Place::chunk(manifest).at_seq(first).in_column(column);
        if usize::from(open.count) != open.digests.len() {
            let finding = Finding::new(Check::SubmissionCut, at("submission_count"));
            self.report(finding.differs(open.count, open.digests.len()));
            return;
        }
        if open.digests.len() > SUBMISSION_EVENTS_CEILING {
            let finding = Finding::new(Check::SubmissionCut, at("submission_count"));
            self.report(finding.differs(format!("1 to {SUBMISSION_EVENTS_CEILING}"), open.count));
        }
        let Some(counter) = Counter::new(open.counter) else {
            let finding = Finding::new(Check::SubmissionMixed, at("counter"));
            self.report(finding.because("a counter is 0 to 2^63-1"));
            return;
        };
        let key = match PublicKey::from_bytes(&open.public_key) {
            Ok(key) => key,
            Err(error) => {
                let finding = Finding::new(Check::PublicKey, at("public_key"));
                self.report(finding.because(format!("{}: {error}", error.code())));
                return;
            }
        };
        let ChunkManifest { origin, workspace, .. } = self.manifest;
        let statement = Statement::new(origin, workspace, counter, &open.digests);
        let signature = Signature::from_bytes(open.signature);
        if let Err(error) = key.verify(statement.as_str().as_bytes(), &signature) {
            let finding = Finding::new(Check::Signature, at("signature"));
            self.report(finding.because(format!("{}: {error} {key}", error.code())));
        }
        let expected = statement.submission_hash(key.as_bytes(), &signature);
        let found = Digest::from_bytes(open.submission_hash);
        if expected != found {
            let finding = Finding::new(Check::SubmissionHash, at("submission_hash"));
            self.report(finding.differs(expected, found));
        }
        self.outcome.submissions.push(Submitted {
            first: open.first,
            key,
            counter: open.counter,
            acts: open.acts,
            context_error: open.context_error,
        });
    }

    /// Ends the check of a chunk whose rows cannot be read to their end, for the reason found.
    /// Nothing is said of the rows as a whole: not all of them were seen.
    pub fn abandon(mut self, finding: Finding) -> ChunkOutcome {
        self.outcome.broken = true;
        self.outcome.findings.push(finding);
        self.outcome.ids.sort_unstable();
        self.outcome
    }

    /// Checks what the rows come to together.
    pub fn finish(mut self) -> ChunkOutcome {
        self.finish_submission(true);
        let manifest = self.manifest;
        let mut end = Vec::new();
        if self.outcome.rows != manifest.rows() {
            end.push(
                Finding::new(Check::RowCount, Place::chunk(manifest))
                    .differs(manifest.rows(), self.outcome.rows),
            );
        }
        let last = manifest.last_seq.get();
        if self.last_at != manifest.last_recorded_at.get() {
            end.push(
                Finding::new(Check::RowTime, self.at(last, "recorded_at"))
                    .differs(manifest.last_recorded_at, show_time(self.last_at)),
            );
        }
        if self.link != manifest.last_link {
            end.push(
                Finding::new(Check::ChunkLink, self.at(last, "link"))
                    .differs(manifest.last_link, self.link),
            );
        }
        let root = self.leaves.root();
        if root != manifest.root {
            end.push(
                Finding::new(Check::ChunkRoot, Place::chunk(manifest)).differs(manifest.root, root),
            );
        }
        // These speak of the chunk as a whole, so they are not subject to the limit on rows'.
        self.outcome.findings.append(&mut end);
        self.outcome.ids.sort_unstable();
        self.outcome
    }
}

/// The first column in which a row disagrees with the first row of its submission.
fn disagreement(open: &Open, row: &Row<'_>) -> Option<&'static str> {
    if row.submission_hash != open.submission_hash {
        Some("submission_hash")
    } else if row.submission_count != open.count {
        Some("submission_count")
    } else if row.counter != open.counter {
        Some("counter")
    } else if row.public_key != open.public_key {
        Some("public_key")
    } else if row.signature != open.signature {
        Some("signature")
    } else if row.recorded_at != open.recorded_at {
        Some("recorded_at")
    } else {
        None
    }
}

fn show_time(at: i64) -> String {
    Micros::new(at).map_or_else(|| format!("{at} µs"), |at| at.to_string())
}

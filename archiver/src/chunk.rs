//! Makes a chunk: which submissions go into it, its rows, its object.
//!
//! Pure: the caller brings submissions in order and takes the bytes away. All that an auditor checks of
//! a row, signatures too, is checked on the way, and every derived column is made from the payload: so nothing
//! goes into the archive because the database says so. What was checked is also kept as a digest over the
//! rows: see [`crate::readback`].

use bytes::Bytes;
use ledger::chunk::ObjectDigest;
use ledger::columns::{Derived, Row, RowsDigest};
use ledger::entry::{Entry, next_link};
use ledger::hash::Digest;
use ledger::key::{KeyError, PublicKey, Signature, SignatureError};
use ledger::limits::SUBMISSION_EVENTS_CEILING;
use ledger::merkle::Frontier;
use ledger::names::{EventId, NameError, Origin, Seq, Workspace};
use ledger::payload::{self, PayloadError, Rules};
use ledger::submission::{Counter, Statement};
use ledger::time::{Hour, Micros};
use verifier::rows::{ChunkWriter, RowsError};
use verifier::store::OBJECT_BYTES_MAX;

use crate::erasure::Erased;

/// How much goes into one chunk.
///
/// An hour that was half sealed before a restart comes to the same chunks after it, whatever the
/// settings say by then: the database keeps the limits of the hour that is being sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most rows.
    pub rows: u64,
    /// Most bytes of payload.
    pub payload_bytes: u64,
}

impl Limits {
    /// What a ledger uses unless its settings say otherwise: an object stays below 256 MiB, and one
    /// chunk and its object fit the memory of a small machine.
    pub const DEFAULT: Self = Self { rows: 4 * 65_536, payload_bytes: 64 << 20 };

    /// What no object may reach: verifiers read no larger one, as whoever checks a chunk holds all of it.
    pub const OBJECT_BYTES: u64 = OBJECT_BYTES_MAX;

    /// What an object comes to at most, where nothing can be compressed: derived columns repeat parts
    /// of the payload, and all others come to some 256 bytes a row.
    pub const fn object_bytes(&self) -> u64 {
        self.rows.saturating_mul(256).saturating_add(self.payload_bytes.saturating_mul(2))
    }
}

const _: () = assert!(Limits::DEFAULT.object_bytes() <= 256 << 20);

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A recorded event, as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Place in the workspace's chain.
    pub seq: u64,
    /// The event's UUID.
    pub event_id: [u8; 16],
    /// The payload's digest.
    pub payload_digest: [u8; 32],
    /// The link.
    pub link: [u8; 32],
    /// The payload; none where it is erased or archived.
    pub payload: Option<Bytes>,
    /// Whether the archive alone has the payload, or had it until it was erased there.
    pub archived: bool,
}

/// A recorded submission, as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// When it was recorded, in microseconds since 1970.
    pub recorded_at: i64,
    /// The agent's count.
    pub counter: u64,
    /// The submission's name.
    pub submission_hash: [u8; 32],
    /// Who signed.
    pub public_key: [u8; 32],
    /// The signature.
    pub signature: [u8; 64],
    /// Its events, in order.
    pub events: Vec<Recorded>,
}

impl Submission {
    /// Its rows.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.events.len()).unwrap_or(u64::MAX)
    }

    /// Bytes of its payloads.
    pub fn payload_bytes(&self) -> u64 {
        let payloads = self.events.iter().filter_map(|event| event.payload.as_ref());
        let bytes: usize = payloads.map(Bytes::len).sum();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Where the entry behind it starts, by the database: its seq, and the link that it follows on. `None`
    /// where there is no such seq.
    pub fn end(&self) -> Option<(Seq, Digest)> {
        let last = self.events.last()?;
        Some((Seq::new(last.seq)?.next()?, Digest::from_bytes(last.link)))
    }

    /// Withholds the payloads that later entries erase, whether the database still has them or not:
    /// so that what is sealed does not depend on when that was carried out.
    pub fn withhold(&mut self, workspace: &Workspace, erased: &Erased) {
        for event in &mut self.events {
            if erased.covers(workspace, event) {
                event.payload = None;
            }
        }
    }
}

/// Why a recorded event cannot be archived: the database does not hold what was recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// A seq is missing or doubled.
    #[error("seq {expected} is expected, the database has {found}")]
    Seq {
        /// The seq that comes next.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// The time is outside the hour, or before that of the entry before.
    #[error("seq {seq}: recorded_at {found} is not within {hour} and at or after its predecessor")]
    Time {
        /// The entry.
        seq: u64,
        /// Its time, in microseconds since 1970.
        found: i64,
        /// The hour that is being sealed.
        hour: Hour,
    },
    /// A digest or link is not what payload and chain come to.
    #[error("seq {seq}: `{column}` should be {expected}, the database has {found}")]
    Differs {
        /// The entry.
        seq: u64,
        /// The column.
        column: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The payload breaks the rules by which it was accepted.
    #[error("seq {seq}: the payload: {error}")]
    Payload {
        /// The entry.
        seq: u64,
        /// The rule.
        error: PayloadError,
    },
    /// The payload is not there, and nothing says that it may be.
    #[error(
        "seq {0}: the database has no payload, and no later entry of the same hour erases it: to seal \
         it so would be a finding of tampering"
    )]
    Withheld(u64),
    /// Retention has taken the payload: the hour was sealed before, and is not sealed again.
    #[error(
        "seq {0}: its payload is in the archive alone, as its day was archived: what was sealed once is \
         not sealed again"
    )]
    Archived(u64),
    /// The event's UUID is nil.
    #[error("seq {seq}: {error}")]
    EventId {
        /// The entry.
        seq: u64,
        /// Why it is no event id.
        error: NameError,
    },
    /// The submission has no event, or more than an entry can say.
    #[error("the submission at seq {0} has no events, or too many")]
    Count(u64),
    /// The counter is beyond what one can be.
    #[error("the submission at seq {0} has a counter over 2^63-1")]
    Counter(u64),
    /// The public key is none that may sign.
    #[error("the submission at seq {seq}: its public key: {error}")]
    Key {
        /// The submission's first entry.
        seq: u64,
        /// Why not.
        error: KeyError,
    },
    /// The signature is not that of the key over these events.
    #[error("the submission at seq {seq}: {error}")]
    Signature {
        /// The submission's first entry.
        seq: u64,
        /// Why not.
        error: SignatureError,
    },
    /// The thread that made the chunk has died.
    #[error("the thread that made the chunk failed")]
    Thread,
    /// The rows cannot be written.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// A finished chunk: its object, and what its manifest says of its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The Parquet object.
    pub object: Vec<u8>,
    /// Its size and digests.
    pub digest: ObjectDigest,
    /// Over the rows as they were checked.
    pub rows: Digest,
    /// Seq of the first entry.
    pub first_seq: Seq,
    /// Seq of the last entry.
    pub last_seq: Seq,
    /// `link(first_seq-1)`.
    pub prev_link: Digest,
    /// `link(last_seq)`.
    pub last_link: Digest,
    /// Merkle root over the leaves.
    pub root: Digest,
    /// `recorded_at` of the first entry.
    pub first_recorded_at: Micros,
    /// `recorded_at` of the last entry.
    pub last_recorded_at: Micros,
    /// Bytes of its payloads.
    pub payload_bytes: u64,
}

/// How much a chunk holds so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    rows: u64,
    payload_bytes: u64,
}

impl Fill {
    /// Whether the submission still fits. The first one always does: a chunk never splits one.
    pub fn fits(&self, submission: &Submission, limits: &Limits) -> bool {
        let Self { rows, payload_bytes } = self.with(submission);
        self.rows == 0 || (rows <= limits.rows && payload_bytes <= limits.payload_bytes)
    }

    /// With one more submission.
    pub fn with(&self, submission: &Submission) -> Self {
        Self {
            rows: self.rows.saturating_add(submission.rows()),
            payload_bytes: self.payload_bytes.saturating_add(submission.payload_bytes()),
        }
    }
}

/// A chunk that is being filled.
pub struct ChunkMaker<'a> {
    origin: &'a Origin,
    workspace: &'a Workspace,
    hour: Hour,
    erased: &'a Erased,
    writer: ChunkWriter,
    first_seq: Seq,
    next_seq: Seq,
    prev_link: Digest,
    link: Digest,
    leaves: Frontier,
    times: Option<(Micros, Micros)>,
    rows: RowsDigest,
    fill: Fill,
}

impl<'a> ChunkMaker<'a> {
    /// Starts a chunk of this workspace and hour at `first_seq`, which follows on `prev_link`. A
    /// payload may be withheld where the hour's own entries erase it.
    pub fn new(
        origin: &'a Origin,
        workspace: &'a Workspace,
        hour: Hour,
        first_seq: Seq,
        prev_link: Digest,
        erased: &'a Erased,
    ) -> Result<Self, ChunkError> {
        Ok(Self {
            origin,
            workspace,
            hour,
            erased,
            writer: ChunkWriter::new(origin, workspace)?,
            first_seq,
            next_seq: first_seq,
            prev_link,
            link: prev_link,
            leaves: Frontier::new(),
            times: None,
            rows: RowsDigest::new(),
            fill: Fill::default(),
        })
    }

    /// Appends a submission.
    pub fn push(&mut self, submission: &Submission) -> Result<(), ChunkError> {
        let count = u16::try_from(submission.events.len()).ok().filter(|count| *count > 0);
        let count = count.ok_or(ChunkError::Count(self.next_seq.get()))?;
        self.check_signature(submission)?;
        for (index, event) in (0_u16..count).zip(&submission.events) {
            self.push_event(submission, index, count, event)?;
        }
        self.fill = self.fill.with(submission);
        Ok(())
    }

    /// That the agent's key signed these digests, by the same strict rules as an auditor's.
    fn check_signature(&self, submission: &Submission) -> Result<(), ChunkError> {
        let seq = self.next_seq.get();
        if submission.events.len() > SUBMISSION_EVENTS_CEILING {
            return Err(ChunkError::Count(seq));
        }
        let counter = Counter::new(submission.counter).ok_or(ChunkError::Counter(seq))?;
        let key = PublicKey::from_bytes(&submission.public_key)
            .map_err(|error| ChunkError::Key { seq, error })?;
        let digest = |event: &Recorded| Digest::from_bytes(event.payload_digest);
        let digests: Vec<_> = submission.events.iter().map(digest).collect();
        let statement = Statement::new(self.origin, self.workspace, counter, &digests);
        let expected = statement
            .verify(&key, &Signature::from_bytes(submission.signature))
            .map_err(|error| ChunkError::Signature { seq, error })?;
        let found = Digest::from_bytes(submission.submission_hash);
        if found == expected {
            return Ok(());
        }
        let (expected, found) = (expected.to_string(), found.to_string());
        Err(ChunkError::Differs { seq, column: "submission_hash", expected, found })
    }

    fn push_event(
        &mut self,
        submission: &Submission,
        index: u16,
        count: u16,
        event: &Recorded,
    ) -> Result<(), ChunkError> {
        let seq = event.seq;
        if seq != self.next_seq.get() {
            return Err(ChunkError::Seq { expected: self.next_seq.get(), found: seq });
        }
        let recorded_at = self.time(seq, submission.recorded_at)?;
        let differs = |column, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            ChunkError::Differs { seq, column, expected, found }
        };
        let event_id = EventId::from_bytes(event.event_id)
            .map_err(|error| ChunkError::EventId { seq, error })?;
        let payload_digest = Digest::from_bytes(event.payload_digest);
        let derived = match &event.payload {
            None if event.archived => return Err(ChunkError::Archived(seq)),
            // Digest, link and signature stay, and are checked.
            None if self.erased.names(seq, &event_id) => Derived::withheld(recorded_at.get()),
            None => return Err(ChunkError::Withheld(seq)),
            Some(payload) => {
                let read = payload::scan(payload, self.workspace, &Rules::ceiling())
                    .map_err(|error| ChunkError::Payload { seq, error })?;
                if read.event_id != event_id {
                    return Err(differs("event_id", &read.event_id, &event_id));
                }
                let expected = Digest::of(payload);
                if payload_digest != expected {
                    return Err(differs("payload_digest", &expected, &payload_digest));
                }
                Derived::of(&read)
            }
        };
        let leaf = Entry {
            seq: self.next_seq,
            recorded_at,
            event_id,
            payload_digest,
            submission_hash: Digest::from_bytes(submission.submission_hash),
            index_in_submission: index,
            submission_count: count,
        }
        .leaf();
        let link = next_link(&self.link, &leaf);
        let found = Digest::from_bytes(event.link);
        if found != link {
            return Err(differs("link", &link, &found));
        }
        let row = Row {
            seq,
            recorded_at: recorded_at.get(),
            event_id: event.event_id,
            payload: event.payload.as_deref(),
            payload_digest: event.payload_digest,
            link: event.link,
            submission_hash: submission.submission_hash,
            submission_index: index,
            submission_count: count,
            counter: submission.counter,
            public_key: submission.public_key,
            signature: submission.signature,
            derived,
        };
        // Before the row goes anywhere else: what becomes of it from here on is compared with this.
        self.rows.push(&row);
        self.writer.push(&row)?;
        self.leaves.push(leaf);
        self.link = link;
        self.next_seq = self.next_seq.next().ok_or(ChunkError::Count(seq))?;
        Ok(())
    }

    fn time(&mut self, seq: u64, found: i64) -> Result<Micros, ChunkError> {
        let earliest = self.times.map_or(self.hour.start(), |(_, last)| last);
        let at = Micros::new(found).filter(|at| *at >= earliest && self.hour.contains(*at));
        let at = at.ok_or(ChunkError::Time { seq, found, hour: self.hour })?;
        self.times = Some((self.times.map_or(at, |(first, _)| first), at));
        Ok(at)
    }

    /// Closes the chunk; `None` where it has no entry.
    pub fn finish(self) -> Result<Option<Chunk>, ChunkError> {
        let rows = self.leaves.size();
        let last_seq = rows.checked_sub(1).and_then(|rows| self.first_seq.checked_add(rows));
        let (Some(last_seq), Some((first_at, last_at))) = (last_seq, self.times) else {
            return Ok(None);
        };
        let object = self.writer.finish()?;
        Ok(Some(Chunk {
            digest: ObjectDigest::of(&object),
            object,
            rows: self.rows.finish(),
            first_seq: self.first_seq,
            last_seq,
            prev_link: self.prev_link,
            last_link: self.link,
            root: self.leaves.root(),
            first_recorded_at: first_at,
            last_recorded_at: last_at,
            payload_bytes: self.fill.payload_bytes,
        }))
    }
}

//! What a group of submissions becomes: rows to write, receipts, refusals.
//!
//! Here, pure: the decision over what the store holds. The group goes to the store as one
//! transaction, but each submission stands alone: one that is refused leaves no trace in the
//! others. Not here: reading and writing the store (see [`crate::chain::commit`]).

use std::collections::{BTreeMap, HashMap};

use ledger::chain::{KeyRecord, Keys, LedgerEvent, Refusal};
use ledger::entry::{ClockError, Entry, genesis_link, next_link, next_recorded_at};
use ledger::hash::Digest;
use ledger::key::PublicKey;
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::receipt::Receipt;
use ledger::submission::Counter;
use ledger::time::Micros;

use super::days::start_of_day;
use super::erasure::{self, Erasable, NotErasable};
use crate::accept::Submission;

/// The newest entry of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its seq.
    pub last_seq: Seq,
    /// Its link.
    pub link: Digest,
    /// When it was recorded.
    pub recorded_at: Micros,
}

/// Where a submission lies in its chain: what a receipt states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Seq of its first event.
    pub first_seq: Seq,
    /// Seq of its last event.
    pub last_seq: Seq,
    /// When it was recorded.
    pub recorded_at: Micros,
    /// `link(last_seq)`.
    pub link: Digest,
}

impl Recorded {
    /// The body of the receipt.
    pub fn receipt(self, origin: &Origin, workspace: &Workspace, submission: Digest) -> Receipt {
        Receipt {
            origin: origin.clone(),
            workspace: workspace.clone(),
            submission,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            recorded_at: self.recorded_at,
            link: self.link,
        }
    }
}

/// What the store holds of one workspace, as far as a group needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The head; `None` where the chain is empty.
    pub head: Option<Head>,
    /// All root keys, and every other key that the group names.
    pub keys: Keys,
    /// Submissions of the group that are recorded already.
    pub recorded: HashMap<Digest, Recorded>,
    /// Counters of the group that are used already, each with the first seq that it brought.
    pub counters: HashMap<(PublicKey, Counter), Seq>,
    /// How many keys it has had, revoked ones too; asked where the group sets keys, else 0.
    pub key_count: usize,
    /// The highest counter that each key of the group has used.
    pub highest: HashMap<PublicKey, Counter>,
    /// Event ids of the group that are recorded already, each with its seq.
    pub events: HashMap<EventId, Seq>,
    /// Events that the group asks to have erased, as far as they are recorded already.
    pub erasable: Erasable,
}

impl Chain {
    /// Whether it was read in part before its workspace was created, and in part after: there is
    /// no head to lock of a workspace that is not there, so another process may create it meanwhile.
    /// Nothing may be decided over such a chain.
    pub fn is_torn(&self) -> bool {
        self.head.is_none() && *self != Self::default()
    }
}

/// What the store holds, as far as a group needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// No entry may be recorded before this time: the hours below it are sealed.
    pub not_before: Micros,
    /// Most keys that a workspace registers, revoked ones too.
    pub max_keys: usize,
    /// Every workspace of the group. Their order is the order in which heads are locked.
    pub chains: BTreeMap<Workspace, Chain>,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where it lies.
    pub recorded: Recorded,
    /// Whether this group recorded it; otherwise it was recorded before.
    pub is_new: bool,
}

/// Why a submission is not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The rules of keys.
    #[error("{0}")]
    Key(Box<Refusal>),
    /// The counter stands for another submission of this key.
    #[error(
        "counter {counter} of this key stands for the submission that starts at seq {seq}; \
         use the next one"
    )]
    CounterReused {
        /// The counter.
        counter: Counter,
        /// The first seq of the submission that used it.
        seq: Seq,
    },
    /// An event of this id is recorded already.
    #[error(
        "event {event_id} is recorded at seq {seq}, in another submission; an event is \
         recorded once"
    )]
    EventExists {
        /// Its place in the submission, from 0.
        index: usize,
        /// The id.
        event_id: EventId,
        /// The seq that holds it.
        seq: Seq,
    },
    /// The clock is too far behind.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The workspace has as many keys as this ledger takes.
    #[error(
        "the workspace has registered {most} keys, revoked ones too, and this ledger takes no more"
    )]
    TooManyKeys {
        /// Most keys.
        most: usize,
    },
    /// Events that the submission asks to have erased, and that cannot be.
    #[error("{} of the events cannot be erased, so none of them is", .0.len())]
    NotErasable(Vec<NotErasable>),
    /// No seq is left.
    #[error("the chain of this workspace has no seq left")]
    ChainFull,
}

/// A submission to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the group.
    pub index: usize,
    /// Where it comes to lie.
    pub recorded: Recorded,
    /// The links of its events, in order.
    pub links: Vec<Digest>,
}

/// What a workspace's chain becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The workspace.
    pub workspace: Workspace,
    /// Its new head.
    pub head: Head,
    /// Whether the chain was empty before.
    pub is_first: bool,
    /// The keys that the group sets, as they stand afterwards.
    pub keys: Vec<(PublicKey, KeyRecord)>,
    /// How far each key has counted that counted further than before.
    pub highest: Vec<(PublicKey, Counter)>,
}

/// What a group becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One for each submission, in order.
    pub verdicts: Vec<Result<Verdict, Refused>>,
    /// The submissions to write, in order.
    pub records: Vec<Record>,
    /// The heads and keys to write, in the order of workspaces.
    pub advances: Vec<Advance>,
}

impl Plan {
    /// The days that its entries come to lie in, by their first microsecond; some more than once.
    pub fn days(&self) -> impl Iterator<Item = i64> + use<'_> {
        self.records.iter().map(|record| start_of_day(record.recorded.recorded_at))
    }
}

/// Decides what each submission of a group becomes.
///
/// `known` holds every workspace of the group; `now` was read after their heads were locked, so
/// that no later entry can carry an earlier time.
pub fn plan(origin: &Origin, mut known: Known, group: &[Submission], now: Micros) -> Plan {
    let before: Vec<_> = known
        .chains
        .iter()
        .map(|(workspace, chain)| {
            (workspace.clone(), chain.head, chain.keys.clone(), chain.highest.clone())
        })
        .collect();
    let mut records = Vec::new();
    let mut verdicts = Vec::with_capacity(group.len());
    for (index, submission) in group.iter().enumerate() {
        let chain = known.chains.entry(submission.workspace.clone()).or_default();
        let limits = (known.not_before, known.max_keys);
        let decided = decide(origin, chain, submission, limits, now);
        verdicts.push(decided.map(|(recorded, links)| {
            let is_new = links.is_some();
            records.extend(links.map(|links| Record { index, recorded, links }));
            Verdict { recorded, is_new }
        }));
    }
    let advances = before
        .into_iter()
        .filter_map(|(workspace, head, keys, highest)| {
            advance(&known, workspace, head, &keys, &highest)
        })
        .collect();
    Plan { verdicts, records, advances }
}

/// Where the submission lies, with its links where it has to be written. On a refusal the chain is
/// as it was.
fn decide(
    origin: &Origin,
    chain: &mut Chain,
    submission: &Submission,
    (not_before, max_keys): (Micros, usize),
    now: Micros,
) -> Result<(Recorded, Option<Vec<Digest>>), Refused> {
    if let Some(recorded) = chain.recorded.get(&submission.hash) {
        return Ok((*recorded, None));
    }
    let (first_seq, last_seq) = seqs(chain.head, submission.events.len())?;
    // Only an event of the ledger changes keys; where it is refused below, they stay as they are.
    let changes = submission.acts.ledger_event().is_some();
    let mut changed = changes.then(|| chain.keys.clone());
    let keys = changed.as_mut().unwrap_or(&mut chain.keys);
    // Before anything that tells what the chain holds: that is for its own keys only.
    keys.admit(submission.public_key(), first_seq, &submission.acts)
        .map_err(|refusal| Refused::Key(Box::new(refusal)))?;
    let registers =
        matches!(submission.acts.ledger_event(), Some(LedgerEvent::KeyRegistered { .. }));
    if registers && chain.key_count >= max_keys {
        return Err(Refused::TooManyKeys { most: max_keys });
    }
    check_new(chain, submission)?;
    let faults = erasure::refused(chain, &submission.acts);
    if !faults.is_empty() {
        return Err(Refused::NotErasable(faults));
    }
    let last_time = chain.head.map_or(not_before, |head| head.recorded_at.max(not_before));
    let recorded_at = next_recorded_at(last_time, now)?;

    let mut link = match chain.head {
        Some(head) => head.link,
        None => genesis_link(origin, &submission.workspace),
    };
    let links = links(submission, first_seq, recorded_at, &mut link);
    let recorded = Recorded { first_seq, last_seq, recorded_at, link };
    if let Some(keys) = changed {
        chain.keys = keys;
        chain.key_count = chain.key_count.saturating_add(usize::from(registers));
    }
    remember(chain, submission, recorded);
    Ok((recorded, Some(links)))
}

/// The first and last seq that `count` more events take.
fn seqs(head: Option<Head>, count: usize) -> Result<(Seq, Seq), Refused> {
    let first = match head {
        Some(head) => head.last_seq.next().ok_or(Refused::ChainFull)?,
        None => Seq::FIRST,
    };
    // A submission has at least one event.
    let more = u64::try_from(count.saturating_sub(1)).map_err(|_| Refused::ChainFull)?;
    let last = first.checked_add(more).ok_or(Refused::ChainFull)?;
    Ok((first, last))
}

fn check_new(chain: &Chain, submission: &Submission) -> Result<(), Refused> {
    let counter = submission.head.counter;
    if let Some(seq) = chain.counters.get(&(*submission.public_key(), counter)) {
        return Err(Refused::CounterReused { counter, seq: *seq });
    }
    for (index, event) in submission.events.iter().enumerate() {
        if let Some(seq) = chain.events.get(&event.event_id) {
            return Err(Refused::EventExists { index, event_id: event.event_id, seq: *seq });
        }
    }
    Ok(())
}

fn links(
    submission: &Submission,
    first_seq: Seq,
    recorded_at: Micros,
    link: &mut Digest,
) -> Vec<Digest> {
    // At most SUBMISSION_EVENTS_CEILING events: the count fits.
    let submission_count = u16::try_from(submission.events.len()).unwrap_or(u16::MAX);
    let seqs = std::iter::successors(Some(first_seq), |seq| seq.next());
    submission
        .events
        .iter()
        .zip(seqs)
        .zip(0_u16..)
        .map(|((event, seq), index_in_submission)| {
            let entry = Entry {
                seq,
                recorded_at,
                event_id: event.event_id,
                payload_digest: event.payload_digest,
                submission_hash: submission.hash,
                index_in_submission,
                submission_count,
            };
            *link = next_link(link, &entry.leaf());
            *link
        })
        .collect()
}

/// What the next submission of the group finds.
fn remember(chain: &mut Chain, submission: &Submission, recorded: Recorded) {
    chain.head = Some(Head {
        last_seq: recorded.last_seq,
        link: recorded.link,
        recorded_at: recorded.recorded_at,
    });
    chain.recorded.insert(submission.hash, recorded);
    let counter = submission.head.counter;
    if counter != Counter::NONE {
        chain.counters.insert((*submission.public_key(), counter), recorded.first_seq);
        let highest = chain.highest.entry(*submission.public_key()).or_insert(counter);
        *highest = counter.max(*highest);
    }
    let seqs = std::iter::successors(Some(recorded.first_seq), |seq| seq.next());
    let ids = submission.events.iter().map(|event| event.event_id);
    if submission.acts.ledger_event().is_some() {
        chain.erasable.ledgers.extend(ids.clone());
    }
    chain.events.extend(ids.zip(seqs));
}

fn advance(
    known: &Known,
    workspace: Workspace,
    head: Option<Head>,
    keys: &Keys,
    highest: &HashMap<PublicKey, Counter>,
) -> Option<Advance> {
    let chain = known.chains.get(&workspace)?;
    let new_head = chain.head.filter(|new| Some(*new) != head)?;
    let set = chain.keys.iter().filter(|(key, record)| keys.get(key) != Some(*record));
    let higher = chain.highest.iter().filter(|(key, counter)| highest.get(key) != Some(*counter));
    Some(Advance {
        head: new_head,
        is_first: head.is_none(),
        keys: set.map(|(key, record)| (*key, record.clone())).collect(),
        highest: higher.map(|(key, counter)| (*key, *counter)).collect(),
        workspace,
    })
}

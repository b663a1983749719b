//! What archived rows come to: submissions, keys, requests to erase, and heads.
//!
//! Pure: the caller brings the rows of each workspace in the order of their seqs. They were verified
//! before; what is refused here is what a database cannot hold.

use std::collections::BTreeMap;

use ledger::chain::{Acts, ContextError, KeyRecord, Keys, LedgerEvent, Refusal};
use ledger::columns::Row;
use ledger::key::PublicKey;
use ledger::names::{Seq, Workspace};
use ledger::payload::{self, PayloadError, Rules};

/// What the names of events start with that the ledger itself acts on.
const LEDGER: &str = "ledger.";

/// Why rows cannot be taken up.
#[derive(Debug, thiserror::Error)]
#[error("{workspace}, seq {seq}: {what}")]
pub struct ChainError {
    /// The workspace.
    pub workspace: Workspace,
    /// The entry.
    pub seq: u64,
    /// What is wrong with it.
    pub what: What,
}

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum What {
    /// A number that a `bigint` or `smallint` cannot hold, or that is none.
    #[error("`{0}` is out of the range of its column")]
    Range(&'static str),
    /// The rows of a submission are not together.
    #[error("it is not the next event of its submission")]
    Torn,
    /// Its key is none.
    #[error("`public_key` is no key")]
    Key,
    /// The payload of a ledger event.
    #[error("the payload of a ledger event: {0}")]
    Payload(Box<PayloadError>),
    /// Its context.
    #[error(transparent)]
    Context(Box<ContextError>),
    /// It may not set the key that it sets.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// Its payload is withheld without a reason.
    #[error("its payload is withheld, and no later entry erases it")]
    Withheld,
}

impl From<PayloadError> for What {
    fn from(error: PayloadError) -> Self {
        Self::Payload(Box::new(error))
    }
}

impl From<ContextError> for What {
    fn from(error: ContextError) -> Self {
        Self::Context(Box::new(error))
    }
}

impl From<Refusal> for What {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

/// A submission as its row says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The workspace.
    pub workspace: Workspace,
    /// Seq of its first event.
    pub first_seq: i64,
    /// Its events.
    pub count: i16,
    /// When it was recorded, in microseconds since 1970.
    pub recorded_at: i64,
    /// The agent's count.
    pub counter: i64,
    /// Its name.
    pub hash: [u8; 32],
    /// Who signed.
    pub public_key: [u8; 32],
    /// The signature.
    pub signature: [u8; 64],
    /// The link of its last entry.
    pub last_link: [u8; 32],
}

/// A `ledger.payload_erased` entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its seq.
    pub seq: i64,
    /// When it was recorded, in microseconds since 1970.
    pub recorded_at: i64,
}

/// The newest entry of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its seq.
    pub last_seq: i64,
    /// Its link.
    pub link: [u8; 32],
    /// When it was recorded, in microseconds since 1970.
    pub recorded_at: i64,
}

/// What a workspace comes to.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    head: Option<Head>,
    keys: Keys,
    highest: BTreeMap<PublicKey, i64>,
    requests: Vec<Request>,
    /// By which entries an event is erased, in the order of the chain.
    erased: BTreeMap<[u8; 16], Vec<i64>>,
}

impl Chain {
    /// Its newest entry.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Its keys, each with the highest counter that it has used; 0 for none.
    pub fn keys(&self) -> impl Iterator<Item = (&PublicKey, &KeyRecord, i64)> {
        let highest = |key| self.highest.get(key).copied().unwrap_or_default();
        self.keys.iter().map(move |(key, record)| (key, record, highest(key)))
    }

    /// Where it asks for erasures.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }
}

/// All workspaces, as far as their rows were taken.
#[derive(Clone, Debug)]
pub struct Chains {
    chains: BTreeMap<Workspace, Chain>,
    rules: Rules,
}

impl Chains {
    /// None yet.
    pub fn new() -> Self {
        Self { chains: BTreeMap::new(), rules: Rules::ceiling() }
    }

    /// Workspaces.
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// What each workspace comes to.
    pub fn iter(&self) -> impl Iterator<Item = (&Workspace, &Chain)> {
        self.chains.iter()
    }

    /// The entry that erased a withheld payload first.
    pub fn erased_by(
        &self,
        workspace: &Workspace,
        seq: i64,
        id: &[u8; 16],
    ) -> Result<i64, ChainError> {
        let by = self.chains.get(workspace).and_then(|chain| chain.erased.get(id));
        by.and_then(|by| by.iter().copied().find(|by| *by > seq)).ok_or_else(|| ChainError {
            workspace: workspace.clone(),
            seq: seq.cast_unsigned(),
            what: What::Withheld,
        })
    }

    /// Takes the next row of a workspace; gives its submission where it is the last one of it.
    pub fn take(
        &mut self,
        workspace: &Workspace,
        row: &Row<'_>,
    ) -> Result<Option<Submission>, ChainError> {
        let chain = self.chains.entry(workspace.clone()).or_default();
        chain.take(workspace, row, &self.rules).map_err(|what| ChainError {
            workspace: workspace.clone(),
            seq: row.seq,
            what,
        })
    }
}

impl Default for Chains {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    fn take(
        &mut self,
        workspace: &Workspace,
        row: &Row<'_>,
        rules: &Rules,
    ) -> Result<Option<Submission>, What> {
        let seq = i64::try_from(row.seq).map_err(|_| What::Range("seq"))?;
        self.head = Some(Head { last_seq: seq, link: row.link, recorded_at: row.recorded_at });
        if row.derived.event_type.starts_with(LEDGER) {
            self.take_ledger_event(workspace, row, rules)?;
        }
        let (index, count) = (row.submission_index, row.submission_count);
        if index.checked_add(1) != Some(count) {
            return if index < count { Ok(None) } else { Err(What::Torn) };
        }
        let key = PublicKey::from_bytes(&row.public_key).map_err(|_| What::Key)?;
        let counter = i64::try_from(row.counter).map_err(|_| What::Range("counter"))?;
        if counter > 0 {
            let highest = self.highest.entry(key).or_default();
            *highest = counter.max(*highest);
        }
        Ok(Some(Submission {
            workspace: workspace.clone(),
            first_seq: seq.checked_sub(index.into()).ok_or(What::Range("seq"))?,
            count: i16::try_from(count).map_err(|_| What::Range("submission_count"))?,
            recorded_at: row.recorded_at,
            counter,
            hash: row.submission_hash,
            public_key: row.public_key,
            signature: row.signature,
            last_link: row.link,
        }))
    }

    /// A ledger event stands alone in its submission, so its row is all there is to it.
    fn take_ledger_event(
        &mut self,
        workspace: &Workspace,
        row: &Row<'_>,
        rules: &Rules,
    ) -> Result<(), What> {
        // What is withheld is no event of the ledger: those are never erased.
        let Some(payload) = row.payload else {
            return Ok(());
        };
        let mut acts = Acts::new();
        acts.push(&payload::scan(payload, workspace, rules)?)?;
        let key = PublicKey::from_bytes(&row.public_key).map_err(|_| What::Key)?;
        let seq = Seq::new(row.seq).ok_or(What::Range("seq"))?;
        self.keys.admit(&key, seq, &acts)?;
        if let Some(LedgerEvent::PayloadErased { event_ids, .. }) = acts.ledger_event() {
            let seq = seq.get().cast_signed();
            self.requests.push(Request { seq, recorded_at: row.recorded_at });
            for id in event_ids {
                self.erased.entry(*id.as_bytes()).or_default().push(seq);
            }
        }
        Ok(())
    }
}

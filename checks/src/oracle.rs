//! Compares what clients were told with what Postgres holds, and with what the archive proves.
//!
//! Here: promises 1 to 3 of the ledger, as a stranger would check them: from the clients' own
//! histories and the rows of the database, with nothing taken from what the service says of
//! itself. Not here: making load (see [`crate::driver`]).

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ingest::access::settings::ACTS_WORKSPACE;
use ledger::entry::{Entry, genesis_link, next_link};
use ledger::hash::Digest;
use ledger::names::{EventId, Seq, Workspace};
use ledger::note::Note;
use ledger::payload::{Rules, scan};
use ledger::receipt::Receipt;
use ledger::time::Micros;
use ledger::verify::{Report, Trust, Verdict};
use sqlx::{FromRow, PgPool};
use verifier::trust::TrustError;

use crate::figures::Figures;
use crate::history::{self, Record};

/// Rows read at a time.
const PAGE: i64 = 10_000;

/// What clients know of one submission.
#[derive(Debug)]
struct Sent {
    workspace: Workspace,
    counter: u64,
    public_key: String,
    events: Vec<Digest>,
    receipt: Option<(String, Receipt)>,
    refused: bool,
    recorded: bool,
}

/// Why histories cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OracleError {
    /// The history says something that no client writes.
    #[error("the history is not one: {0}")]
    History(String),
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// The trust file cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The database cannot be read.
    #[error("the database cannot be read: {0}")]
    Database(#[from] sqlx::Error),
}

/// The clients' side of the comparison.
#[derive(Debug)]
pub struct Oracle {
    trust: Trust,
    sent: BTreeMap<Digest, Sent>,
    figures: Figures,
}

#[derive(Clone, FromRow)]
struct SubmissionRow {
    workspace: String,
    first_seq: i64,
    event_count: i16,
    recorded_at: i64,
    counter: i64,
    submission_hash: Vec<u8>,
    public_key: Vec<u8>,
    last_link: Vec<u8>,
}

impl SubmissionRow {
    /// The seq after its last event.
    fn end(&self) -> i64 {
        self.first_seq + i64::from(self.event_count)
    }
}

#[derive(FromRow)]
struct EntryRow {
    seq: i64,
    recorded_at: i64,
    event_id: uuid::Uuid,
    payload_digest: Vec<u8>,
    link: Vec<u8>,
    payload: Option<Vec<u8>>,
    /// Whether it is erased, or in the archive alone.
    is_withheld: bool,
}

impl Oracle {
    /// Reads a trust file and histories.
    pub fn open(trust: &Path, histories: &[PathBuf]) -> Result<Self, OracleError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |error| OracleError::File { path, error }
        };
        let trust_text = fs::read_to_string(trust).map_err(failed(trust))?;
        let mut records = Vec::new();
        for path in histories {
            records.extend(history::read(path).map_err(failed(path))?);
        }
        Self::new(verifier::trust::parse(&trust_text)?, &records)
    }

    /// Takes in histories. The trust file says which ledger, and whose receipts count.
    pub fn new(trust: Trust, records: &[Record]) -> Result<Self, OracleError> {
        let mut oracle = Self { trust, sent: BTreeMap::new(), figures: Figures::default() };
        for record in records {
            oracle.record(record).map_err(OracleError::History)?;
        }
        let sent = oracle.sent.values();
        oracle.figures.sent = count(oracle.sent.len());
        oracle.figures.acked = count(sent.clone().filter(|sent| sent.receipt.is_some()).count());
        oracle.figures.refused = count(sent.filter(|sent| sent.refused).count());
        Ok(oracle)
    }

    fn record(&mut self, record: &Record) -> Result<(), String> {
        let digest = |hex: &String| Digest::parse(hex).map_err(|error| error.to_string());
        match record {
            Record::Sent { submission, workspace, counter, public_key, events } => {
                let sent = Sent {
                    workspace: Workspace::new(workspace).map_err(|error| error.to_string())?,
                    counter: *counter,
                    public_key: public_key.clone(),
                    events: events.iter().map(digest).collect::<Result<_, _>>()?,
                    receipt: None,
                    refused: false,
                    recorded: false,
                };
                self.sent.entry(digest(submission)?).or_insert(sent);
            }
            Record::Acked { submission, receipt } => self.acked(digest(submission)?, receipt)?,
            Record::Refused { submission, .. } => {
                let sent = self.sent.get_mut(&digest(submission)?);
                sent.ok_or("a refusal of what was never sent")?.refused = true;
            }
        }
        Ok(())
    }

    /// A receipt: signed by the ledger, of this submission, and the same every time.
    fn acked(&mut self, submission: Digest, note: &str) -> Result<(), String> {
        let sent = self.sent.get_mut(&submission).ok_or("a receipt of what was never sent")?;
        if let Some((before, _)) = &sent.receipt {
            if before != note {
                self.figures.find(
                    |figures| &mut figures.wrong,
                    || format!("submission {submission} has two receipts:\n{before}\n{note}"),
                );
            }
            return Ok(());
        }
        let signed =
            Note::parse(note.as_bytes()).map_err(|error| error.to_string()).and_then(|note| {
                let signed = self.trust.receipt_keys.iter().find_map(|key| note.verify(key).ok());
                signed.ok_or_else(|| "not signed by a receipt key".to_owned())
            });
        match signed.and_then(|body| Receipt::parse(body).map_err(|error| error.to_string())) {
            Ok(receipt) => sent.receipt = Some((note.to_owned(), receipt)),
            Err(error) => self.figures.find(
                |figures| &mut figures.wrong,
                || format!("the receipt of submission {submission}: {error}"),
            ),
        }
        Ok(())
    }

    /// Compares with the database, and with the verified archive where there is one.
    pub async fn compare(
        mut self,
        pool: &PgPool,
        archive: Option<&Report>,
    ) -> Result<Figures, OracleError> {
        let submissions: Vec<SubmissionRow> = sqlx::query_as(
            "SELECT workspace, first_seq, event_count, recorded_at, counter, submission_hash, \
             public_key, last_link FROM submissions ORDER BY workspace, first_seq",
        )
        .fetch_all(pool)
        .await?;
        for of_workspace in submissions.chunk_by(|a, b| a.workspace == b.workspace) {
            self.workspace(pool, of_workspace, archive).await?;
        }
        for (hash, sent) in &self.sent {
            if sent.receipt.is_some() && !sent.recorded {
                let lost = || format!("submission {hash} was acknowledged and is not recorded");
                self.figures.find(|figures| &mut figures.lost, lost);
            }
        }
        if let Some(report) = archive {
            let known = |name: &str| submissions.iter().any(|row| row.workspace == name);
            for of in report.workspaces.iter().filter(|of| !known(of.workspace.as_str())) {
                let unknown = || format!("{}: in the archive, not in the database", of.workspace);
                self.figures.find(|figures| &mut figures.wrong, unknown);
            }
            if report.verdict != Verdict::Proven {
                let verdict = || format!("the archive is {}", report.verdict.as_str());
                self.figures.find(|figures| &mut figures.wrong, verdict);
            }
        }
        Ok(self.figures)
    }

    async fn workspace(
        &mut self,
        pool: &PgPool,
        submissions: &[SubmissionRow],
        archive: Option<&Report>,
    ) -> Result<(), OracleError> {
        let Some(name) = submissions.first().map(|row| row.workspace.clone()) else {
            return Ok(());
        };
        let bad = |error: &dyn fmt::Display| OracleError::History(format!("{name}: {error}"));
        let workspace = Workspace::new(&name).map_err(|error| bad(&error))?;
        let sealed = archive
            .and_then(|report| report.workspaces.iter().find(|of| of.workspace == workspace))
            .and_then(|of| of.head);
        let mut chain = Chain {
            link: genesis_link(&self.trust.origin, &workspace),
            workspace,
            next: 1,
            recorded_at: 0,
            event_ids: HashSet::new(),
            sealed,
        };
        let mut entries: Vec<EntryRow> = Vec::new();
        for submission in submissions {
            let end = submission.end();
            if entries.last().is_none_or(|last| last.seq + 1 < end) {
                let from = entries.last().map_or(chain.next, |last| last.seq + 1);
                entries.extend(page(pool, &name, from).await?);
            }
            let rest = entries.split_off(entries.partition_point(|entry| entry.seq < end));
            self.submission(&mut chain, submission, &entries);
            entries = rest;
        }
        if !entries.is_empty() || !page(pool, &name, chain.next).await?.is_empty() {
            let more = || format!("{name}: entries from seq {} on have no submission", chain.next);
            self.figures.find(|figures| &mut figures.wrong, more);
        }
        let head: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT last_seq, link FROM heads WHERE workspace = $1")
                .bind(&name)
                .fetch_optional(pool)
                .await?;
        if head != Some((chain.next - 1, chain.link.as_bytes().to_vec())) {
            let head = || format!("{name}: the head is not the last link");
            self.figures.find(|figures| &mut figures.wrong, head);
        }
        if chain.sealed.is_some() {
            let sealed = || format!("{name}: the archive's head is not in the database");
            self.figures.find(|figures| &mut figures.wrong, sealed);
        }
        Ok(())
    }

    /// Whether the ledger signed it itself, in its own workspace: no client sent it, and its chain
    /// is followed all the same.
    fn is_own(&self, chain: &Chain, row: &SubmissionRow) -> bool {
        let roots = self.trust.workspaces.get(&chain.workspace);
        chain.workspace.as_str() == ACTS_WORKSPACE
            && roots.is_some_and(|roots| {
                roots.iter().any(|root| root.as_bytes().as_slice() == row.public_key)
            })
    }

    /// One recorded submission: sent, not doubled, its rows as they must be, as its receipt says.
    fn submission(&mut self, chain: &mut Chain, row: &SubmissionRow, entries: &[EntryRow]) {
        let is_own = self.is_own(chain, row);
        let figures = &mut self.figures;
        let hash = Digest::from_slice(&row.submission_hash).unwrap_or(Digest::ZERO);
        let at = format!("{} seq {}, submission {hash}", chain.workspace, row.first_seq);
        if row.first_seq != chain.next {
            figures.find(|figures| &mut figures.gaps, || format!("{at}: after {}", chain.next - 1));
        }
        chain.follow(figures, hash, row, entries);
        if is_own {
            return;
        }
        figures.recorded += 1;
        figures.events += count(entries.len());
        let Some(sent) = self.sent.get_mut(&hash) else {
            return figures.find(|figures| &mut figures.strangers, || format!("{at}: never sent"));
        };
        if sent.refused && sent.receipt.is_none() {
            figures.find(|figures| &mut figures.strangers, || format!("{at}: was refused"));
        }
        if std::mem::replace(&mut sent.recorded, true) {
            figures.find(|figures| &mut figures.doubled, || format!("{at}: recorded before"));
        }
        let key = <[u8; 32]>::try_from(row.public_key.as_slice());
        let key = key.ok().and_then(|key| ledger::key::PublicKey::from_bytes(&key).ok());
        let as_sent = sent.workspace == chain.workspace
            && u64::try_from(row.counter) == Ok(sent.counter)
            && key.is_some_and(|key| key.to_string() == sent.public_key)
            && sent
                .events
                .iter()
                .map(|digest| digest.as_bytes().as_slice())
                .eq(entries.iter().map(|entry| entry.payload_digest.as_slice()));
        if !as_sent {
            figures.find(|figures| &mut figures.wrong, || format!("{at}: not what was sent"));
        }
        let Some((_, receipt)) = &sent.receipt else { return };
        let as_promised = receipt.origin == self.trust.origin
            && receipt.workspace == chain.workspace
            && receipt.submission == hash
            && i64::try_from(receipt.first_seq.get()) == Ok(row.first_seq)
            && i64::try_from(receipt.last_seq.get()) == Ok(chain.next - 1)
            && receipt.recorded_at.get() == row.recorded_at
            && receipt.link == chain.link;
        if !as_promised {
            figures
                .find(|figures| &mut figures.wrong, || format!("{at}: not what its receipt says"));
        }
    }
}

/// The entries of a workspace from a seq on, at most a page of them.
async fn page(pool: &PgPool, workspace: &str, from: i64) -> Result<Vec<EntryRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT seq, recorded_at, event_id, payload_digest, link, payload, \
                archived OR erased_by IS NOT NULL AS is_withheld FROM entries \
         WHERE workspace = $1 AND seq >= $2 ORDER BY seq LIMIT $3",
    )
    .bind(workspace)
    .bind(from)
    .bind(PAGE)
    .fetch_all(pool)
    .await
}

/// How far a workspace's chain has been followed.
struct Chain {
    workspace: Workspace,
    link: Digest,
    next: i64,
    recorded_at: i64,
    event_ids: HashSet<uuid::Uuid>,
    /// The archive's head, until it is passed.
    sealed: Option<(Seq, Digest)>,
}

impl Chain {
    /// Links the rows of one submission, from the bytes of their payloads on.
    fn follow(
        &mut self,
        figures: &mut Figures,
        submission_hash: Digest,
        row: &SubmissionRow,
        entries: &[EntryRow],
    ) {
        for entry in entries {
            let at = format!("{} seq {}", self.workspace, entry.seq);
            if entry.seq != self.next {
                figures
                    .find(|figures| &mut figures.gaps, || format!("{at}: after {}", self.next - 1));
            }
            if !self.event_ids.insert(entry.event_id) {
                figures.find(|figures| &mut figures.doubled, || format!("{at}: event_id again"));
            }
            let link = self.link(submission_hash, row, entry);
            if link.is_none_or(|link| link.as_bytes().as_slice() != entry.link) {
                figures.find(|figures| &mut figures.wrong, || format!("{at}: the row or its link"));
            }
            // Goes on from what is stored, so that one wrong row is one finding.
            self.link = Digest::from_slice(&entry.link).unwrap_or(Digest::ZERO);
            self.next = entry.seq + 1;
            self.recorded_at = entry.recorded_at;
            let here = |(seq, link): &(Seq, Digest)| {
                i64::try_from(seq.get()) == Ok(entry.seq) && *link == self.link
            };
            self.sealed = self.sealed.filter(|sealed| !here(sealed));
        }
        if self.next != row.end() {
            let at = || format!("{} ends after {}", self.workspace, self.next - 1);
            figures.find(|figures| &mut figures.gaps, at);
            self.next = row.end();
        }
        let whole = usize::try_from(row.event_count) == Ok(entries.len());
        if !whole || row.last_link != self.link.as_bytes() {
            let at = || format!("{} seq {}: submission cut", self.workspace, row.first_seq);
            figures.find(|figures| &mut figures.wrong, at);
        }
    }

    /// The link that the row must have; `None` where the row contradicts itself or what is before.
    fn link(
        &self,
        submission_hash: Digest,
        row: &SubmissionRow,
        entry: &EntryRow,
    ) -> Option<Digest> {
        let payload_digest = Digest::from_slice(&entry.payload_digest)?;
        let event_id = EventId::from_bytes(*entry.event_id.as_bytes()).ok()?;
        // Where the payload is gone, its digest and id stay: link and signature are over them.
        let is_whole = match &entry.payload {
            Some(payload) => {
                let event = scan(payload, &self.workspace, &Rules::ceiling()).ok()?;
                Digest::of(payload) == payload_digest && event.event_id == event_id
            }
            None => entry.is_withheld,
        };
        let sound = is_whole
            && entry.recorded_at == row.recorded_at
            && entry.recorded_at >= self.recorded_at;
        let leaf = Entry {
            seq: u64::try_from(entry.seq).ok().and_then(Seq::new)?,
            recorded_at: Micros::new(entry.recorded_at)?,
            event_id,
            payload_digest,
            submission_hash,
            index_in_submission: u16::try_from(entry.seq - row.first_seq).ok()?,
            submission_count: u16::try_from(row.event_count).ok()?,
        };
        sound.then(|| next_link(&self.link, &leaf.leaf()))
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

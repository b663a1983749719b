//! The record of who read and who administered: events in a workspace of the ledger's own.
//!
//! Here: what such an event says, and the one task that has them recorded, up to a hundred in a
//! submission that the custodian key signs. Whoever waits is told after the commit. Not here: when
//! an act is recorded (see `http/auth.rs`); how entries are written (see [`crate::chain`]).
//!
//! Promises: an act that is answered `Ok` is in the chain; one that is answered with an error may be,
//! as with any submission whose commit nobody answered. What is asked may not be given then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ledger::chain::{KeyRecord, Refusal, WORKSPACE_CREATED};
use ledger::hash::Digest;
use ledger::key::{PublicKey, SigningKey};
use ledger::names::{Origin, Workspace};
use ledger::submission::{Counter, Statement};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc, oneshot};
use uuid::Uuid;

use crate::accept::{self, Head, Limits, Submission};
use crate::chain::{Refused, WriteError, Writer};
use crate::clock::Clock;
use crate::store::restores::Restore;
use crate::store::{StoreError, read};

/// The type of an event that tells of a read.
pub const READ: &str = "ledger_read";
/// The type of an event that tells of an administrative act.
pub const ACT: &str = "ledger_act";
/// What `status` says of an act that is recorded before it is done.
pub const REQUESTED: &str = "requested";

/// Most acts in one submission.
const GROUP: usize = 100;
/// Reads that may wait to be recorded...
const READS: usize = 1_024;
/// ...and acts of administrators.
const ACTS: usize = 256;
/// How long an act may take to be recorded.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest text of a request that stands in an act, in bytes.
const TEXT_BYTES: usize = 256;

/// What `status` says of a database that was made from the archive.
pub const RESTORED: &str = "restored";

/// One read or administrative act, as its event tells it. Holds no token and no payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// [`READ`] or [`ACT`].
    pub event_type: &'static str,
    /// Who: `reader:` and the id of a token, `admin:` and a name from the settings, or `operator:`
    /// and a role of the database.
    pub actor: String,
    /// What was asked: method and route.
    pub route: String,
    /// The workspace that the request names, whether it is there or not.
    pub workspace: Option<String>,
    /// What was asked for in it.
    pub item: Option<String>,
    /// The status of the answer, or [`REQUESTED`].
    pub status: String,
    /// Whether it was given or done; unknown where it is recorded before.
    pub success: Option<bool>,
}

#[derive(Serialize)]
struct Event<'a> {
    event_id: String,
    event_type: &'static str,
    occurred_at: String,
    workspace_id: &'a str,
    actor_id: &'a str,
    source: &'static str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
    context: Context<'a>,
}

#[derive(Serialize)]
struct Context<'a> {
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<String>,
}

impl Act {
    fn payload(&self, workspace: &Workspace, occurred_at: &str) -> Vec<u8> {
        let event = Event {
            event_id: Uuid::now_v7().to_string(),
            event_type: self.event_type,
            occurred_at: occurred_at.to_owned(),
            workspace_id: workspace.as_str(),
            actor_id: &self.actor,
            source: "tally-ingest",
            status: &self.status,
            success: self.success,
            context: Context {
                route: &self.route,
                workspace: self.workspace.as_deref().map(plain),
                item: self.item.as_deref().map(plain),
            },
        };
        // Texts and a number: there is nothing that cannot be written as JSON.
        serde_json::to_vec(&event).unwrap_or_default()
    }
}

/// A text of a request, short and without control characters: a payload takes no NUL, and a log no
/// line of a stranger's.
fn plain(text: &str) -> String {
    let text = text.get(..text.floor_char_boundary(TEXT_BYTES)).unwrap_or_default();
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Why an act is not on record, or nobody knows whether it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ActError {
    /// Too many wait already. It is not on record.
    #[error("too many acts wait to be recorded")]
    Full,
    /// The chain writer.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store, when it was asked whether the workspace is there.
    #[error("the ledger's database could not be read")]
    Store,
    /// Its event breaks a rule of the format: a fault of this program.
    #[error("the event of the act breaks a rule: {0}")]
    Event(String),
}

/// What is needed to record acts.
pub struct Ledger {
    /// The ledger's name.
    pub origin: Origin,
    /// Its own workspace.
    pub workspace: Workspace,
    /// The custodian key: the root key of that workspace.
    pub key: SigningKey,
    /// The ledger's clock.
    pub clock: Arc<dyn Clock>,
    /// Connections for reading.
    pub readers: PgPool,
    /// Records submissions.
    pub writer: Arc<Writer>,
}

struct Job {
    act: Act,
    reply: oneshot::Sender<Result<(), ActError>>,
}

/// Has acts recorded.
pub struct Recorder {
    workspace: Workspace,
    lanes: Lanes<mpsc::Sender<Job>>,
}

/// Administrators have a queue of their own, which comes first: however much is read, a token is
/// revoked at once.
struct Lanes<T> {
    acts: T,
    reads: T,
}

impl Lanes<mpsc::Sender<Job>> {
    fn of(&self, act: &Act) -> &mpsc::Sender<Job> {
        if act.event_type == ACT { &self.acts } else { &self.reads }
    }
}

impl Lanes<mpsc::Receiver<Job>> {
    /// What is recorded together next: acts first, and reads where there is room. `None` where
    /// nobody can ask any more.
    async fn next(&mut self) -> Option<Vec<Job>> {
        let first = tokio::select! {
            biased;
            Some(job) = self.acts.recv() => job,
            Some(job) = self.reads.recv() => job,
            else => return None,
        };
        let mut jobs = vec![first];
        while jobs.len() < GROUP {
            match self.acts.try_recv().or_else(|_| self.reads.try_recv()) {
                Ok(job) => jobs.push(job),
                Err(_) => break,
            }
        }
        Some(jobs)
    }
}

/// Both queues, from either end.
fn lanes(acts: usize, reads: usize) -> (Lanes<mpsc::Sender<Job>>, Lanes<mpsc::Receiver<Job>>) {
    let ((acts, acts_end), (reads, reads_end)) = (mpsc::channel(acts), mpsc::channel(reads));
    (Lanes { acts, reads }, Lanes { acts: acts_end, reads: reads_end })
}

impl Recorder {
    /// Starts the task that records. It ends when this is dropped.
    pub fn start(ledger: Ledger) -> Self {
        let (lanes, ends) = lanes(ACTS, READS);
        let workspace = ledger.workspace.clone();
        tokio::spawn(serve(ledger, ends));
        Self { workspace, lanes }
    }

    /// The ledger's own workspace.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// Puts on record that the database was made from the archive: going on from there is an act of the
    /// operator's, and the chain tells of it before anything else.
    pub async fn tell_of(&self, restore: &Restore) -> Result<(), ActError> {
        let Restore { at, by, log_size, checkpoint } = restore;
        self.record(Act {
            event_type: ACT,
            actor: format!("operator:{by}"),
            route: "tally-archiver restore".to_owned(),
            workspace: None,
            item: Some(format!("at {at} from a log of {log_size} leaves, checkpoint {checkpoint}")),
            status: RESTORED.to_owned(),
            success: Some(true),
        })
        .await
    }

    /// Records an act, and returns once it is on disk. Whoever stops waiting may find it recorded.
    pub async fn record(&self, act: Act) -> Result<(), ActError> {
        let (reply, answer) = oneshot::channel();
        let lane = self.lanes.of(&act);
        lane.try_send(Job { act, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ActError::Full,
            mpsc::error::TrySendError::Closed(_) => ActError::Write(WriteError::Closed),
        })?;
        let unknown = ActError::Write(WriteError::Unknown);
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(_)) | Err(_) => Err(unknown),
        }
    }
}

/// Whether the custodian key can write in the ledger's own workspace: it is not there yet, or the
/// key is in force in it.
pub async fn check(
    readers: &PgPool,
    workspace: &Workspace,
    key: &PublicKey,
) -> Result<bool, StoreError> {
    let keys: Vec<(PublicKey, KeyRecord)> = read::keys(readers, workspace).await?;
    let mut in_force = keys.iter().filter(|(_, record)| record.revoked.is_none());
    Ok(keys.is_empty() || in_force.any(|(known, _)| known == key))
}

async fn serve(ledger: Ledger, mut lanes: Lanes<mpsc::Receiver<Job>>) {
    // The chain writer gives it back after it has answered: one for the next group, one to spare.
    let memory = Arc::new(Semaphore::new(2));
    let mut is_there = false;
    while let Some(jobs) = lanes.next().await {
        let recorded = ledger.record(&jobs, &memory, &mut is_there).await;
        if let Err(error) = &recorded {
            tracing::warn!(%error, acts = jobs.len(), "acts not recorded, what they asked is refused");
        }
        for job in jobs {
            // A client that has gone is on record all the same.
            let _ = job.reply.send(recorded.clone());
        }
    }
}

impl Ledger {
    async fn record(
        &self,
        jobs: &[Job],
        memory: &Arc<Semaphore>,
        is_there: &mut bool,
    ) -> Result<(), ActError> {
        if !*is_there {
            self.open(memory).await?;
            *is_there = true;
        }
        let now = self.clock.now().to_string();
        let payloads = jobs.iter().map(|job| job.act.payload(&self.workspace, &now));
        let sent = self.send(payloads.map(Bytes::from).collect(), memory).await;
        // Looked for again next time: another database may stand in the place of this one.
        *is_there = sent.is_ok();
        sent
    }

    /// Creates the workspace if it is not there.
    async fn open(&self, memory: &Arc<Semaphore>) -> Result<(), ActError> {
        let head = read::head(&self.readers, &self.workspace).await.map_err(|error| {
            tracing::warn!(%error, "the ledger's own workspace could not be read");
            ActError::Store
        })?;
        if head.is_some() {
            return Ok(());
        }
        let event = json!({
            "event_id": Uuid::now_v7().to_string(),
            "event_type": WORKSPACE_CREATED,
            "occurred_at": self.clock.now().to_string(),
            "workspace_id": self.workspace.as_str(),
            "context": { "root_keys": [self.key.public().to_string()] },
        });
        match self.send(vec![Bytes::from(event.to_string())], memory).await {
            // Another process was quicker.
            Err(ActError::Write(WriteError::Refused(Refused::Key(refusal))))
                if *refusal == Refusal::WorkspaceExists =>
            {
                Ok(())
            }
            sent => sent,
        }
    }

    async fn send(&self, payloads: Vec<Bytes>, memory: &Arc<Semaphore>) -> Result<(), ActError> {
        let submission = self.sign(payloads)?;
        let permit = Arc::clone(memory).acquire_owned().await;
        let permit = permit.map_err(|_| ActError::Write(WriteError::Closed))?;
        self.writer.record(submission, permit).await?;
        Ok(())
    }

    fn sign(&self, payloads: Vec<Bytes>) -> Result<Submission, ActError> {
        // The limits are those of agents: acts are always within what the format takes.
        let (acts, events) = accept::read(&self.workspace, payloads, &Limits::default())
            .map_err(|refused| ActError::Event(refused.to_string()))?;
        let digests: Vec<Digest> = events.iter().map(|event| event.payload_digest).collect();
        let statement = Statement::new(&self.origin, &self.workspace, Counter::NONE, &digests);
        let signature = self.key.sign(statement.as_str().as_bytes());
        let public_key = self.key.public();
        let hash = statement.submission_hash(public_key.as_bytes(), &signature);
        let head = Head { public_key, signature, counter: Counter::NONE };
        Ok(Submission { workspace: self.workspace.clone(), head, hash, acts, events })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use ledger::payload::{Rules, scan};

    use super::*;

    fn act(event_type: &'static str) -> Act {
        Act {
            event_type,
            actor: "admin:test".to_owned(),
            route: "GET /v1/workspaces/{workspace}/head".to_owned(),
            workspace: None,
            item: None,
            status: "200".to_owned(),
            success: Some(true),
        }
    }

    #[tokio::test]
    async fn however_much_is_read_an_act_comes_next() {
        let (senders, mut ends) = lanes(2, 3 * GROUP);
        let send = |act: Act| {
            let (reply, _) = oneshot::channel();
            senders.of(&act).try_send(Job { act, reply }).is_ok()
        };
        assert_eq!((0..1_000).filter(|_| send(act(READ))).count(), 3 * GROUP, "reads are full");
        assert!(send(act(ACT)) && send(act(ACT)) && !send(act(ACT)));
        let mut types = Vec::new();
        for _ in 0..4 {
            let jobs = ends.next().await.unwrap();
            assert!(jobs.len() <= GROUP);
            types.extend(jobs.iter().map(|job| job.act.event_type));
        }
        let (acts, reads) = types.split_at(2);
        assert_eq!((acts, reads), (&[ACT; 2][..], &[READ; 3 * GROUP][..]));
        drop(senders);
        assert!(ends.next().await.is_none());
    }

    #[test]
    fn whatever_a_request_says_its_act_is_an_event_that_the_format_takes() {
        let workspace = Workspace::new("ledger.acts").unwrap();
        let long = "ü".repeat(10_000);
        for text in ["", "acme", "a\0b\r\n\u{85}", "\"}],\\", long.as_str()] {
            let act = Act {
                event_type: READ,
                actor: "reader:00".to_owned(),
                route: "GET /v1/workspaces/{workspace}/head".to_owned(),
                workspace: Some(text.to_owned()),
                item: Some(text.to_owned()),
                status: "404".to_owned(),
                success: Some(false),
            };
            let payload = act.payload(&workspace, "2026-11-23T16:00:00Z");
            let rules = Rules { max_bytes: Limits::default().max_payload_bytes() };
            let event = scan(&payload, &workspace, &rules).unwrap();
            assert_eq!(event.event_type, READ);
            assert_eq!(event.actor_id.as_deref(), Some("reader:00"));
        }
    }
}

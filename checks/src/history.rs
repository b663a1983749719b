//! What clients sent and what they were told, kept where no crash of the service can reach it.
//!
//! Here: records, written with fsync before and after each submission, one JSON object a line.
//! Not here: what they prove (see [`crate::oracle`]).

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::submission::Submission;

/// One thing that a client did or learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A submission is about to be sent, for the first time or again.
    Sent {
        /// Its hash, in hex.
        submission: String,
        /// Where it goes.
        workspace: String,
        /// The agent's own count.
        counter: u64,
        /// Who signed it.
        public_key: String,
        /// The digests of its payloads, in order, in hex.
        events: Vec<String>,
    },
    /// The service acknowledged it.
    Acked {
        /// The submission's hash, in hex.
        submission: String,
        /// The signed note, byte for byte.
        receipt: String,
    },
    /// The service refused it for good.
    Refused {
        /// The submission's hash, in hex.
        submission: String,
        /// The status code.
        status: u16,
    },
}

impl Record {
    /// This submission is about to be sent.
    pub fn sent(submission: &Submission) -> Self {
        Self::Sent {
            submission: submission.hash.to_string(),
            workspace: submission.workspace.to_string(),
            counter: submission.counter.get(),
            public_key: submission.public_key.to_string(),
            events: submission.digests().iter().map(ToString::to_string).collect(),
        }
    }
}

/// A history file that is being written. Many clients share it.
///
/// - Durability: when [`History::append`] returns, the record is on disk.
/// - Cost: records that wait together share one fsync.
#[derive(Clone, Debug)]
pub struct History {
    queue: mpsc::UnboundedSender<(Vec<u8>, oneshot::Sender<io::Result<()>>)>,
}

impl History {
    /// Starts a new file, or goes on with the one that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().create(true).append(true).open(path)?;
        let (queue, mut waiting) = mpsc::unbounded_channel::<(Vec<u8>, oneshot::Sender<_>)>();
        // The thread ends when the last clone of the history is gone.
        std::thread::spawn(move || {
            while let Some((mut lines, waiter)) = waiting.blocking_recv() {
                let mut waiters = vec![waiter];
                while let Ok((line, waiter)) = waiting.try_recv() {
                    lines.extend(line);
                    waiters.push(waiter);
                }
                let written = file.write_all(&lines).and_then(|()| file.sync_data());
                for waiter in waiters {
                    let written = written.as_ref().map_err(|error| error.kind().into());
                    // A client that gave up waiting needs no answer.
                    let _ = waiter.send(written.copied());
                }
            }
        });
        Ok(Self { queue })
    }

    /// Adds a record, and returns once it is on disk.
    pub async fn append(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let (done, wait) = oneshot::channel();
        let gone = || io::Error::other("the history's writer is gone");
        self.queue.send((line, done)).map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }
}

/// Reads a history. A last line that a crash cut off counts as never written.
pub fn read(path: &Path) -> io::Result<Vec<Record>> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

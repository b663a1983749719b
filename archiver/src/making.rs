//! A chunk that is made on a thread of its own, while the next submissions are read.

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use ledger::hash::Digest;
use ledger::names::{Origin, Seq, Workspace};
use ledger::time::Hour;

use crate::chunk::{Chunk, ChunkError, ChunkMaker, Fill, Limits, Submission};
use crate::erasure::Erased;

/// What is handed on at a time is as many whole submissions as come to this many rows, or to this many bytes of
/// payload: few enough that the thread hardly waits, and many enough that waking it costs nothing.
const HANDED: Limits = Limits { rows: 1_024, payload_bytes: 1 << 20 };

/// Batches that may wait for the thread.
const BATCHES_WAITING: usize = 4;

/// A chunk that is being filled.
pub(crate) struct Making {
    fill: Fill,
    batch: Vec<Submission>,
    in_batch: Fill,
    batches: SyncSender<Vec<Submission>>,
    thread: Thread,
}

type Thread = JoinHandle<Result<Option<Chunk>, ChunkError>>;

/// A chunk that is full, and is being finished.
pub(crate) struct Closing {
    /// Whose it is.
    pub(crate) workspace: Workspace,
    /// Its index in its hour.
    pub(crate) part: u64,
    thread: Thread,
}

impl Making {
    /// Starts a chunk: see [`ChunkMaker::new`].
    pub(crate) fn start(
        origin: &Origin,
        workspace: &Workspace,
        hour: Hour,
        (first_seq, prev_link): (Seq, Digest),
        erased: &Arc<Erased>,
    ) -> Result<Self, ChunkError> {
        let (batches, received) = mpsc::sync_channel::<Vec<Submission>>(BATCHES_WAITING);
        let (origin, workspace) = (origin.clone(), workspace.clone());
        let erased = Arc::clone(erased);
        let make = move || {
            let mut maker =
                ChunkMaker::new(&origin, &workspace, hour, first_seq, prev_link, &erased)?;
            for batch in received {
                batch.iter().try_for_each(|submission| maker.push(submission))?;
            }
            maker.finish()
        };
        let thread = thread::Builder::new().name("make".to_owned()).spawn(make);
        Ok(Self {
            fill: Fill::default(),
            batch: Vec::new(),
            in_batch: Fill::default(),
            batches,
            thread: thread.map_err(|_| ChunkError::Thread)?,
        })
    }

    /// Whether the submission still goes into this chunk. None does where the chunk has failed already.
    pub(crate) fn fits(&self, submission: &Submission, limits: &Limits) -> bool {
        self.fill.fits(submission, limits) && !self.thread.is_finished()
    }

    /// Appends a submission.
    pub(crate) fn push(&mut self, submission: Submission) {
        self.fill = self.fill.with(&submission);
        if !self.in_batch.fits(&submission, &HANDED) {
            self.hand_on();
        }
        self.in_batch = self.in_batch.with(&submission);
        self.batch.push(submission);
    }

    fn hand_on(&mut self) {
        self.in_batch = Fill::default();
        // Where the thread takes none any more it has failed: why, it tells when it is joined.
        let _ = self.batches.send(std::mem::take(&mut self.batch));
    }

    /// Ends the chunk.
    pub(crate) fn close(mut self, workspace: &Workspace, part: u64) -> Closing {
        self.hand_on();
        Closing { workspace: workspace.clone(), part, thread: self.thread }
    }
}

impl Closing {
    /// Whether [`Closing::finish`] would not wait.
    pub(crate) fn is_ready(&self) -> bool {
        self.thread.is_finished()
    }

    /// The chunk.
    pub(crate) fn finish(self) -> Result<Option<Chunk>, ChunkError> {
        self.thread.join().map_err(|_| ChunkError::Thread)?
    }
}

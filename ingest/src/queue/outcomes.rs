//! Who waits to hear what became of a queued submission.
//!
//! Here: all who wait are asked for together, with one question to the database every few milliseconds
//! as long as there are any: whoever records the submission may be another process. Not here: how the
//! answer looks (see [`crate::http`]).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ledger::hash::Digest;
use ledger::names::Workspace;
use ledger::time::Micros;
use sqlx::PgPool;
use tokio::sync::{Notify, oneshot};

pub use crate::store::queue::Outcome;
use crate::store::queue::{Asked, outcomes};

/// How often the database is asked.
const ASK: Duration = Duration::from_millis(25);
/// How long it is left alone where it did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// Most submissions in one question.
const MOST: usize = 512;
/// How far the clock of whoever refuses may stand behind ours, in microseconds.
const APART: i64 = 2_000_000;

struct Waiting {
    asked: Asked,
    reply: oneshot::Sender<Outcome>,
}

/// Asks for all who wait.
pub struct Outcomes {
    pool: PgPool,
    waiting: Mutex<Vec<Waiting>>,
    called: Notify,
}

impl Outcomes {
    /// Asks on connections made by [`crate::store::writers`].
    pub fn new(pool: PgPool) -> Self {
        Self { pool, waiting: Mutex::default(), called: Notify::new() }
    }

    /// Waits for what becomes of a submission that was accepted at that time, for at most so long.
    pub async fn wait(
        &self,
        workspace: &Workspace,
        hash: &Digest,
        accepted: Micros,
        patience: Duration,
    ) -> Option<Outcome> {
        let (reply, answer) = oneshot::channel();
        let refused_since = accepted.get().saturating_sub(APART);
        let asked =
            Asked { workspace: workspace.clone(), hash: *hash, refused_since, recorded_since: 0 };
        self.lock().push(Waiting { asked, reply });
        self.called.notify_one();
        // Whoever does not wait any more is forgotten with the next question.
        tokio::time::timeout(patience, answer).await.ok()?.ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks as long as anybody waits, and then waits to be called.
    pub async fn serve(&self) {
        loop {
            let mut turn = {
                let mut waiting = self.lock();
                waiting.retain(|waiting| !waiting.reply.is_closed());
                let count = waiting.len().min(MOST);
                waiting.drain(..count).collect::<Vec<_>>()
            };
            if turn.is_empty() {
                self.called.notified().await;
                continue;
            }
            let asked: Vec<&Asked> = turn.iter().map(|waiting| &waiting.asked).collect();
            match outcomes(&self.pool, &asked).await {
                Ok(found) => {
                    let mut found: std::collections::BTreeMap<usize, Outcome> =
                        found.into_iter().collect();
                    let mut rest = Vec::with_capacity(turn.len());
                    for (at, mut waiting) in turn.drain(..).enumerate() {
                        if let Some(outcome) = found.remove(&at) {
                            // Whoever has gone asks again and finds it.
                            let _ = waiting.reply.send(outcome);
                        } else {
                            waiting.asked.was_not_there();
                            rest.push(waiting);
                        }
                    }
                    self.lock().append(&mut rest);
                    tokio::time::sleep(ASK).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "nobody can be told what became of submissions");
                    self.lock().append(&mut turn);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

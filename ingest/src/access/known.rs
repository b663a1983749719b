//! Whose submissions reach the chain writer: those of keys that the workspace has had at some time.
//!
//! Whether a key may sign is decided under the lock of its workspace's head, by the rules of keys
//! ([`ledger::chain`]), and only there. Here: what is asked before, without any lock, so that
//! whoever makes keys of their own takes nothing from a workspace's transactions. Such keys are looked
//! for in the database on connections that nothing else uses; those that are known are remembered
//! ([`crate::chain::seen`]).
//!
//! A workspace that is not there has no keys: it is looked for in the same way.

use std::sync::Arc;
use std::time::Duration;

use ledger::chain::Refusal;
use ledger::key::PublicKey;
use ledger::names::Workspace;
use sqlx::PgPool;

use crate::accept::Submission;
use crate::chain::seen::{Seen, not_behind};
use crate::chain::{Refused, WriteError};
use crate::store::{StoreError, access};

/// How long the database may take to say whether a key is there, once there is a connection. One that
/// says nothing for so long is dead, and nobody was told.
const LOOK: Duration = Duration::from_secs(3);
/// How often it is asked where a connection breaks or says nothing: all that nobody has used for a while
/// may have broken at once, and then the next one is new.
const ATTEMPTS: u32 = 3;

/// Looks for keys.
pub struct KnownKeys {
    /// The database that is written to: a replica may not have heard of a key yet.
    pool: PgPool,
    seen: Arc<Seen>,
}

impl KnownKeys {
    /// Looks on these connections, made by [`crate::store::doorkeepers`], for keys that were not seen
    /// recorded.
    pub fn new(pool: PgPool, seen: Arc<Seen>) -> Self {
        Self { pool, seen }
    }

    /// Whether the workspace has registered the key, be it revoked since.
    ///
    /// Where it has not, and the database lacks what this process has seen recorded, it is
    /// [`StoreError::Behind`]: the key may be among what is lacking, and "no" would be a final answer.
    pub async fn has(&self, workspace: &Workspace, key: &PublicKey) -> Result<bool, StoreError> {
        if self.seen.has_key(workspace, key) {
            return Ok(true);
        }
        // Before the database is asked: what is recorded meanwhile must not seem to be lacking.
        let witnesses = self.seen.witnesses(workspace);
        let mut attempt = 1;
        let found = loop {
            let names: Vec<&Workspace> = witnesses.iter().map(|(name, _)| name).collect();
            match self.look(workspace, key, &names).await {
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => attempt += 1,
                found => break found?,
            }
        };
        if found.is_there {
            self.seen.has_key_now(workspace.clone(), *key);
            return Ok(true);
        }
        for (name, newest) in witnesses {
            let head = found.heads.iter().find(|(found, _)| *found == name);
            not_behind(&name, newest, head.map(|(_, head)| *head))?;
        }
        Ok(false)
    }

    async fn look(
        &self,
        workspace: &Workspace,
        key: &PublicKey,
        heads: &[&Workspace],
    ) -> Result<access::KeyFound, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let look = access::find_key(&mut connection, workspace, key, heads);
        tokio::time::timeout(LOOK, look).await.unwrap_or_else(|_| {
            // It may never say anything again: given back, it would be waited for.
            connection.close_on_drop();
            let silent = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(StoreError::Database(sqlx::Error::Io(silent)))
        })
    }
}

/// The refusal of a submission whose key the workspace does not know, as the rules of keys have it.
pub fn unknown_key(submission: &Submission) -> WriteError {
    let refusal = Refusal::UnknownKey(*submission.public_key());
    WriteError::Refused(Refused::Key(Box::new(refusal)))
}

//! Memory for answers.
//!
//! Here: how much all answers together may hold, and those about each workspace, however many tokens its
//! readers have: what is asked for is read, written as JSON and sent in memory that was claimed before. What it takes is given back when its last byte has gone
//! to the client, or its connection. Not here: the memory for bodies (see `body`), which answers
//! never take from, so that readers cannot keep agents out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use ledger::names::Workspace;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::{Kind, Problem};

/// The readers of one workspace have this part of the memory at most.
const WORKSPACES: usize = 4;
/// How long an answer waits for memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many shares are remembered before those that are not in use are forgotten.
const SWEEP: usize = 1_024;

/// The memory for answers.
pub struct Room {
    kib: usize,
    free: Arc<Semaphore>,
    shares: Mutex<HashMap<Workspace, Arc<Semaphore>>>,
}

/// Memory that an answer has claimed.
pub(super) struct Claim {
    all: OwnedSemaphorePermit,
    share: OwnedSemaphorePermit,
}

/// An answer's bytes, with the memory that they take.
struct Held {
    bytes: Vec<u8>,
    _claim: Claim,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Room {
    /// Room of so many KiB.
    pub fn new(kib: usize) -> Self {
        Self { kib, free: Arc::new(Semaphore::new(kib)), shares: Mutex::default() }
    }

    /// What is taken of it, in bytes.
    pub(super) fn taken(&self) -> usize {
        self.kib.saturating_sub(self.free.available_permits()).saturating_mul(1_024)
    }

    /// The least KiB of which the share of a workspace holds so many bytes.
    pub fn least(bytes: usize) -> usize {
        bytes.div_ceil(1_024).saturating_mul(WORKSPACES)
    }

    /// Claims memory for an answer about this workspace; more than its share counts as all of it.
    /// Where there is none, it waits for a while.
    pub(super) async fn claim(
        &self,
        workspace: &Workspace,
        bytes: usize,
    ) -> Result<Claim, Problem> {
        let share = (self.kib / WORKSPACES).max(1);
        let kib = u32::try_from(bytes.div_ceil(1_024).clamp(1, share)).unwrap_or(u32::MAX);
        let own = self.share(workspace, share);
        let claimed = async {
            // One's own first: who has used it up does not stand in the way of others.
            let share = own.acquire_many_owned(kib).await.ok()?;
            let all = Arc::clone(&self.free).acquire_many_owned(kib).await.ok()?;
            Some(Claim { all, share })
        };
        timeout(PATIENCE, claimed).await.ok().flatten().ok_or_else(|| {
            let detail = "other answers are still being sent, and there is no memory for this one: \
                          ask again later, or for fewer entries at once";
            Problem::new(Kind::Overloaded, detail)
        })
    }

    fn share(&self, workspace: &Workspace, share: usize) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() >= SWEEP && !shares.contains_key(workspace) {
            shares.retain(|_, own| Arc::strong_count(own) > 1);
        }
        let own =
            shares.entry(workspace.clone()).or_insert_with(|| Arc::new(Semaphore::new(share)));
        Arc::clone(own)
    }
}

impl Claim {
    /// Gives back all but what `bytes` take.
    fn shrink(&mut self, bytes: usize) {
        for permit in [&mut self.all, &mut self.share] {
            let spare = permit.num_permits().saturating_sub(bytes.div_ceil(1_024));
            drop(permit.split(spare));
        }
    }

    /// The answer, which holds what it takes until it is sent.
    pub(super) fn answer(mut self, value: &impl Serialize) -> Result<Response, Problem> {
        let mut bytes = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "an answer cannot be written as JSON");
            Problem::new(Kind::Internal, "a fault of the service, which its log tells of")
        })?;
        bytes.shrink_to_fit();
        self.shrink(bytes.len());
        let body = Body::from(Bytes::from_owner(Held { bytes, _claim: self }));
        let json = HeaderValue::from_static("application/json");
        Ok(([(header::CONTENT_TYPE, json)], body).into_response())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn workspace(n: u8) -> Workspace {
        Workspace::new(&format!("w{n}")).unwrap()
    }

    #[tokio::test]
    async fn an_answer_holds_what_it_takes_until_it_is_gone() {
        let room = Room::new(400);
        let claim = room.claim(&workspace(1), 80 * 1_024).await.unwrap();
        assert_eq!(room.taken(), 80 * 1_024);
        let answer = claim.answer(&"x".repeat(10_000)).unwrap();
        assert_eq!(room.taken(), 10 * 1_024, "the rest is free again");
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert_eq!((bytes.len(), room.taken()), (10_002, 10 * 1_024), "it is still there");
        drop(bytes);
        assert_eq!(room.taken(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_workspace_whose_readers_take_nothing_keeps_no_other_out() {
        let room = Room::new(400);
        // More than a share is a share.
        let claims = [
            room.claim(&workspace(1), 60 * 1_024).await.unwrap(),
            room.claim(&workspace(1), 40 * 1_024).await.unwrap(),
            room.claim(&workspace(2), usize::MAX).await.unwrap(),
        ];
        assert_eq!(room.taken(), 200 * 1_024);
        let [first, third] = [1, 3].map(workspace);
        let (own, other) = tokio::join!(room.claim(&first, 1_024), room.claim(&third, 100 * 1_024));
        assert!(own.is_err() && other.is_ok());
        assert_eq!(Room::least(100 * 1_024), 400);
        drop(claims);
        assert!(room.claim(&workspace(1), 100 * 1_024).await.is_ok());
    }
}

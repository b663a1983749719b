//! What a source has read of a partition and nobody has taken yet.
//!
//! Here: a bound on messages and bytes, so that a slow database stops reading instead of filling memory.
//! Not here: reading (see [`crate::queue::kafka`]) and taking (see [`crate::queue::worker`]).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Message, Position};

/// Bytes from which on a source stops reading.
const BYTES: usize = 16 * 1024 * 1024;
/// Messages from which on it does.
const MESSAGES: usize = 2_048;

/// A message, and where it lies.
pub type Placed = (Position, Message);

/// Between the source of a partition and its worker.
#[derive(Debug, Default)]
pub struct Feed {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Placed>,
    bytes: usize,
    is_closed: bool,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message; the source gives what it has, and then asks [`is_full`](Self::is_full).
    pub fn push(&self, placed: Placed) {
        let mut waiting = self.lock();
        if !waiting.is_closed {
            waiting.bytes = waiting.bytes.saturating_add(placed.1.bytes());
            waiting.messages.push_back(placed);
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Whether no more should be read for now.
    pub fn is_full(&self) -> bool {
        let waiting = self.lock();
        waiting.bytes >= BYTES || waiting.messages.len() >= MESSAGES
    }

    /// Whether a source that stopped reading may go on.
    pub fn has_room(&self) -> bool {
        let waiting = self.lock();
        waiting.bytes < BYTES / 2 && waiting.messages.len() < MESSAGES / 2
    }

    /// Ends it: what waits is never taken, it will be read again.
    pub fn close(&self) {
        let mut waiting = self.lock();
        *waiting = Waiting { is_closed: true, ..Waiting::default() };
        drop(waiting);
        self.changed.notify_one();
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// The next messages, at least one and not much more than `most_bytes`; `None` once it has ended.
    /// One at a time waits here.
    pub async fn take(&self, most: usize, most_bytes: usize) -> Option<Vec<Placed>> {
        loop {
            if let Some(taken) = self.try_take(most, most_bytes)? {
                return Some(taken);
            }
            self.changed.notified().await;
        }
    }

    #[expect(clippy::option_option, reason = "ended, nothing there, or messages")]
    fn try_take(&self, most: usize, most_bytes: usize) -> Option<Option<Vec<Placed>>> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return None;
        }
        let mut taken = Vec::new();
        let mut bytes = 0_usize;
        while taken.len() < most
            && bytes < most_bytes
            && let Some(placed) = waiting.messages.pop_front()
        {
            bytes = bytes.saturating_add(placed.1.bytes());
            taken.push(placed);
        }
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        Some(Some(taken).filter(|taken| !taken.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn placed(major: i64, bytes: usize) -> Placed {
        let message =
            Message { key: Bytes::new(), headers: Vec::new(), value: Bytes::from(vec![0; bytes]) };
        (Position { major, minor: 0 }, message)
    }

    #[tokio::test]
    async fn messages_come_in_order_and_in_bounds() {
        let feed = Feed::default();
        (0..5).for_each(|at| feed.push(placed(at, 10)));
        let taken = feed.take(3, 1_000).await.unwrap_or_default();
        assert_eq!(taken.iter().map(|(at, _)| at.major).collect::<Vec<_>>(), [0, 1, 2]);
        // The one that goes over the bytes is the last one.
        let taken = feed.take(3, 1).await.unwrap_or_default();
        assert_eq!(taken.len(), 1);
        feed.close();
        assert_eq!(feed.take(3, 1_000).await, None);
        feed.push(placed(9, 10));
        assert_eq!(feed.take(3, 1_000).await, None);
    }

    #[test]
    fn it_is_full_by_bytes_and_by_messages() {
        let feed = Feed::default();
        assert!(!feed.is_full() && feed.has_room());
        feed.push(placed(0, BYTES));
        assert!(feed.is_full() && !feed.has_room());
        let feed = Feed::default();
        (0..2_048).for_each(|at| feed.push(placed(at, 1)));
        assert!(feed.is_full() && !feed.has_room());
    }
}

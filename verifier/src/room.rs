//! How much may be in memory at a time, whatever an archive holds and however many check it.
//!
//! Here: who waits for whom. Not here: how large one object, note or page may be (see
//! [`crate::store::OBJECT_BYTES_MAX`] and `rows`).

use std::num::NonZero;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::thread::available_parallelism;

/// Bytes of objects that are held at a time, where there are few cores.
const OBJECTS_BYTES: u64 = 96 << 20;
/// The same for each core, where there are many.
const OBJECT_BYTES_PER_CORE: u64 = 16 << 20;

/// Room for objects as they lie in the store. One that is larger than all of it is held alone.
pub(crate) static OBJECTS: LazyLock<Room> = LazyLock::new(|| {
    let cores = available_parallelism().map_or(1, NonZero::get);
    let cores = u64::try_from(cores).unwrap_or(1);
    Room::new(OBJECT_BYTES_PER_CORE.saturating_mul(cores).max(OBJECTS_BYTES))
});

/// Room for what is decoded and larger than any usual writer makes it: one chunk at a time.
pub(crate) static WIDE: LazyLock<Room> = LazyLock::new(|| Room::new(1));

/// Room for so many bytes.
pub(crate) struct Room {
    whole: u64,
    left: Mutex<u64>,
    freed: Condvar,
}

/// A part of a room, which is given back when this is dropped.
pub(crate) struct Share<'r> {
    room: &'r Room,
    bytes: u64,
}

impl Room {
    const fn new(whole: u64) -> Self {
        Self { whole, left: Mutex::new(whole), freed: Condvar::new() }
    }

    /// Waits until there is room for so many bytes; for as many as there are in all, where that is less.
    ///
    /// Whoever holds a share asks for no second one of the same room: two of them would wait for ever.
    pub(crate) fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.whole);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.freed.wait_while(left, |left| *left < bytes);
        let mut left = left.unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(bytes);
        Share { room: self, bytes }
    }

    /// Waits until there is nothing else in the room.
    pub(crate) fn take_all(&self) -> Share<'_> {
        self.take(self.whole)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut left = self.room.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_add(self.bytes);
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let room = Room::new(10);
        let held = AtomicU64::new(0);
        thread::scope(|scope| {
            for bytes in [1, 3, 5, 7, 9, 10, 1_000] {
                let (room, held) = (&room, &held);
                scope.spawn(move || {
                    for _ in 0..500 {
                        let share = room.take(bytes);
                        let counted = bytes.min(10);
                        assert!(held.fetch_add(counted, Ordering::SeqCst) + counted <= 10);
                        held.fetch_sub(counted, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert_eq!(*room.left.lock().unwrap(), 10);
    }
}

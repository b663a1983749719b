//! Which messages of a partition come next.
//!
//! Here, pure: a message that was taken before is passed over, one that follows is taken, and where one
//! is missing, or another stands in its place, the partition stops: nothing is ever skipped silently.
//! Not here: how far a partition is recorded (see [`crate::store::queue`]).

use ledger::hash::Digest;

use super::Position;

/// The last message that was taken, and its digest where that is known.
pub type Taken = (Position, Option<Digest>);

/// Why a partition is not read on until an operator has looked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// Messages are missing.
    #[error(
        "message {expected} is missing: the next one is {found}, so the topic has lost what was \
         never recorded"
    )]
    Gap {
        /// What should come.
        expected: Position,
        /// What came.
        found: Position,
    },
    /// Another message stands where the last one stood.
    #[error(
        "message {at} is another one than was recorded there: the topic was made anew, or it is not \
         the one that was read before"
    )]
    Other {
        /// Where.
        at: Position,
    },
    /// The topic ends before what was recorded of it.
    #[error(
        "the topic ends before message {recorded}, which was recorded: it was truncated, or made anew"
    )]
    Short {
        /// What was recorded.
        recorded: Position,
    },
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next one.
    New,
    /// The last one that was taken, read again to see that it still stands there.
    Anchor,
    /// One that was taken before, delivered again.
    Again,
}

/// Follows one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    last: Option<Position>,
    /// Whether each position follows the one before without a gap, as Kafka's offsets do.
    is_dense: bool,
    /// The last one that was taken, where it is to be read again first.
    anchor: Option<Taken>,
}

impl Track {
    /// Follows a partition from behind `last`. `reads_anchor`: the last one is delivered first.
    pub fn new(last: Option<Taken>, is_dense: bool, reads_anchor: bool) -> Self {
        let anchor = last.filter(|_| reads_anchor);
        Self { last: last.map(|(position, _)| position), is_dense, anchor }
    }

    /// The last message that was taken.
    pub fn last(&self) -> Option<Position> {
        self.last
    }

    /// Takes up the message at `position`; `digest` is asked for where it matters.
    pub fn take(
        &mut self,
        position: Position,
        digest: impl FnOnce() -> Digest,
    ) -> Result<Next, Stop> {
        if let Some((at, known)) = self.anchor.take() {
            return match known {
                _ if position > at => Err(Stop::Gap { expected: at, found: position }),
                _ if position < at => Err(Stop::Other { at: position }),
                Some(known) if known != digest() => Err(Stop::Other { at }),
                _ => Ok(Next::Anchor),
            };
        }
        if let Some(last) = self.last {
            if position <= last {
                return Ok(Next::Again);
            }
            if self.is_dense && Some(position.major) != last.major.checked_add(1) {
                let expected = Position { major: last.major.saturating_add(1), minor: 0 };
                return Err(Stop::Gap { expected, found: position });
            }
        }
        self.last = Some(position);
        Ok(Next::New)
    }
}

/// Where to begin to read a partition that holds the messages from `low` on and ends before `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first message to read.
    pub from: i64,
    /// Whether that is the last one that was taken.
    pub reads_anchor: bool,
}

impl Start {
    /// Decides for a partition whose positions are dense.
    pub fn of(last: Option<Position>, (low, high): (i64, i64)) -> Result<Self, Stop> {
        // Never read: from the first message that there ever was, never from the newest.
        let next = last.map_or(0, |last| last.major.saturating_add(1));
        if low > next {
            let at = |major| Position { major, minor: 0 };
            return Err(Stop::Gap { expected: at(next), found: at(low) });
        }
        let Some(recorded) = last else {
            return Ok(Self { from: low, reads_anchor: false });
        };
        if next > high {
            return Err(Stop::Short { recorded });
        }
        if low == next {
            // The last one is gone by the topic's retention, and nothing after it.
            return Ok(Self { from: low, reads_anchor: false });
        }
        Ok(Self { from: recorded.major, reads_anchor: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(major: i64) -> Position {
        Position { major, minor: 0 }
    }

    fn digest(of: i64) -> Digest {
        Digest::of(&of.to_be_bytes())
    }

    fn take(track: &mut Track, major: i64) -> Result<Next, Stop> {
        track.take(at(major), || digest(major))
    }

    #[test]
    fn what_follows_is_new_what_was_taken_is_passed_over_and_a_gap_stops() {
        let mut track = Track::new(None, true, false);
        assert_eq!(take(&mut track, 7), Ok(Next::New));
        assert_eq!(take(&mut track, 8), Ok(Next::New));
        assert_eq!(take(&mut track, 7), Ok(Next::Again));
        assert_eq!(take(&mut track, 8), Ok(Next::Again));
        assert_eq!(take(&mut track, 10), Err(Stop::Gap { expected: at(9), found: at(10) }));
        assert_eq!(track.last(), Some(at(8)));
    }

    #[test]
    fn sparse_positions_only_grow() {
        let mut track = Track::new(Some((at(5), None)), false, false);
        assert_eq!(take(&mut track, 90), Ok(Next::New));
        assert_eq!(take(&mut track, 6), Ok(Next::Again));
    }

    #[test]
    fn the_last_message_must_still_stand_where_it_stood() {
        let recorded = |of| Track::new(Some((at(5), Some(digest(of)))), true, true);
        let mut same = recorded(5);
        assert_eq!(take(&mut same, 5), Ok(Next::Anchor));
        assert_eq!(take(&mut same, 6), Ok(Next::New));
        assert_eq!(take(&mut recorded(77), 5), Err(Stop::Other { at: at(5) }));
        let gap = Stop::Gap { expected: at(5), found: at(6) };
        assert_eq!(take(&mut recorded(5), 6), Err(gap));
        assert_eq!(take(&mut recorded(5), 4), Err(Stop::Other { at: at(4) }));
        // Of one that an operator moved to, nothing is known.
        let mut moved = Track::new(Some((at(5), None)), true, true);
        assert_eq!(take(&mut moved, 5), Ok(Next::Anchor));
    }

    #[test]
    fn a_partition_is_read_from_where_it_is_recorded_or_not_at_all() {
        let of = |last: Option<i64>, range| Start::of(last.map(at), range);
        let start = |from, reads_anchor| Ok(Start { from, reads_anchor });
        assert_eq!(of(None, (0, 0)), start(0, false));
        assert_eq!(of(None, (0, 9)), start(0, false));
        // What was acknowledged and never read may be gone: nobody begins behind it unasked.
        assert_eq!(of(None, (40, 50)), Err(Stop::Gap { expected: at(0), found: at(40) }));
        assert_eq!(of(Some(44), (40, 50)), start(44, true));
        assert_eq!(of(Some(49), (40, 50)), start(49, true));
        assert_eq!(of(Some(49), (50, 50)), start(50, false));
        assert_eq!(of(Some(50), (40, 50)), Err(Stop::Short { recorded: at(50) }));
        let gap = Stop::Gap { expected: at(39), found: at(40) };
        assert_eq!(of(Some(38), (40, 50)), Err(gap));
        assert_eq!(of(Some(39), (40, 50)), start(40, false));
        assert_eq!(of(Some(9), (0, 0)), Err(Stop::Short { recorded: at(9) }));
    }
}

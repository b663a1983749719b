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
    /// Somebody else's entry stands behind the last message.
    #[error(
        "an entry that is not the ledger's stands where message {expected} should: its id does not \
         count on. Remove it (XDEL), and set the stream's last id to the message before (XSETID)"
    )]
    Foreign {
        /// What should come.
        expected: Position,
    },
    /// The stream was replaced while it was read.
    #[error(
        "the stream is not the one any more that was read: message {last} is not there, or another one"
    )]
    Lost {
        /// The last message that was taken.
        last: Position,
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
    /// The number that the first message must have.
    first: i64,
    /// The last one that was taken, where it is to be read again first.
    anchor: Option<Taken>,
}

impl Track {
    /// Follows a partition from behind `last`, as it was decided where to begin.
    pub fn new(last: Option<Taken>, start: Start) -> Self {
        let anchor = last.filter(|_| start.reads_anchor);
        Self { last: last.map(|(position, _)| position), first: start.from, anchor }
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
        let next = self.last.map_or(self.first, |last| last.major.saturating_add(1));
        let expected = Position { major: next, minor: 0 };
        match position {
            Position::FOREIGN => return Err(Stop::Foreign { expected }),
            Position::LOST => {
                return Err(Stop::Lost { last: self.last.unwrap_or(expected) });
            }
            _ => {}
        }
        if let Some((at, known)) = self.anchor.take() {
            return match known {
                _ if position > at => Err(Stop::Gap { expected: at, found: position }),
                _ if position < at => Err(Stop::Other { at: position }),
                Some(known) if known != digest() => Err(Stop::Other { at }),
                _ => Ok(Next::Anchor),
            };
        }
        if self.last.is_some_and(|last| position <= last) {
            return Ok(Next::Again);
        }
        if position != expected {
            return Err(Stop::Gap { expected, found: position });
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
    /// Decides for a partition whose first message ever has the number `first`.
    pub fn of(last: Option<Taken>, (low, high): (i64, i64), first: i64) -> Result<Self, Stop> {
        // Never read: from the first message that there ever was, never from the newest.
        let next = last.map_or(first, |(last, _)| last.major.saturating_add(1));
        if low > next {
            let at = |major| Position { major, minor: 0 };
            return Err(Stop::Gap { expected: at(next), found: at(low) });
        }
        let Some((recorded, known)) = last else {
            return Ok(Self { from: low, reads_anchor: false });
        };
        if next > high {
            return Err(Stop::Short { recorded });
        }
        // The last one is gone by the topic's retention, and nothing after it; or an operator has moved to
        // behind one, which need not be there.
        if low == next || known.is_none() {
            return Ok(Self { from: next, reads_anchor: false });
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

    const ANCHOR: Start = Start { from: 5, reads_anchor: true };

    fn take_at(track: &mut Track, position: Position) -> Result<Next, Stop> {
        track.take(position, || digest(position.major))
    }

    fn take(track: &mut Track, major: i64) -> Result<Next, Stop> {
        take_at(track, at(major))
    }

    #[test]
    fn what_follows_is_new_what_was_taken_is_passed_over_and_a_gap_stops() {
        let start = Start { from: 7, reads_anchor: false };
        assert!(take(&mut Track::new(None, start), 8).is_err(), "the first one is missing");
        let mut track = Track::new(None, start);
        assert_eq!(take(&mut track, 7), Ok(Next::New));
        assert_eq!(take(&mut track, 8), Ok(Next::New));
        assert_eq!(take(&mut track, 7), Ok(Next::Again));
        assert_eq!(take(&mut track, 8), Ok(Next::Again));
        assert_eq!(take(&mut track, 10), Err(Stop::Gap { expected: at(9), found: at(10) }));
        assert_eq!(track.last(), Some(at(8)));
    }

    #[test]
    fn the_last_message_must_still_stand_where_it_stood() {
        let recorded = |of| Track::new(Some((at(5), Some(digest(of)))), ANCHOR);
        let mut same = recorded(5);
        assert_eq!(take(&mut same, 5), Ok(Next::Anchor));
        assert_eq!(take(&mut same, 6), Ok(Next::New));
        assert_eq!(take(&mut recorded(77), 5), Err(Stop::Other { at: at(5) }));
        let gap = Stop::Gap { expected: at(5), found: at(6) };
        assert_eq!(take(&mut recorded(5), 6), Err(gap));
        assert_eq!(take(&mut recorded(5), 4), Err(Stop::Other { at: at(4) }));
        let foreign = Stop::Foreign { expected: at(6) };
        assert_eq!(take_at(&mut recorded(5), Position::FOREIGN), Err(foreign));
        let lost = Stop::Lost { last: at(5) };
        assert_eq!(take_at(&mut recorded(5), Position::LOST), Err(lost));
    }

    #[test]
    fn a_partition_is_read_from_where_it_is_recorded_or_not_at_all() {
        let known = |major| (at(major), Some(digest(major)));
        let of = |last: Option<i64>, range| Start::of(last.map(known), range, 0);
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
        // One that an operator has moved to.
        assert_eq!(Start::of(Some((at(44), None)), (40, 50), 0), start(45, false));
        // One that counts from 1.
        assert_eq!(Start::of(None, (1, 9), 1), start(1, false));
        let gap = Stop::Gap { expected: at(1), found: at(2) };
        assert_eq!(Start::of(None, (2, 9), 1), Err(gap));
    }
}

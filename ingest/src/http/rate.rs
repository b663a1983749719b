//! How fast one caller may send (429).
//!
//! Here: a limit for each caller, in events. It is asked once a caller has proved who they are: what
//! others send in someone's name must not use up what that one may send. Memory is bounded: callers
//! who have been silent for as long as a burst takes are forgotten, and where there are too many of
//! them all the same, some share a limit. Not here: how many connections
//! there may be (see [`super::crowd`]).

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ledger::key::PublicKey;

use crate::access::token::TokenId;

/// So many answers are given before those who are silent are forgotten.
const SWEEP: usize = 1_024;
/// Most callers that have a limit of their own, each in less than 200 bytes.
const CALLERS: usize = 100_000;
/// While there are more, all are spread over so many limits. Which one a caller has, nobody can
/// choose: it is another one in each process.
const SHARED: u64 = 65_536;

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The holder of a key.
    Key([u8; 32]),
    /// Whoever shares a secret of this name.
    Secret(Arc<str>),
    /// Whoever reads with a token of this id.
    Token(TokenId),
}

impl From<&PublicKey> for Caller {
    fn from(key: &PublicKey) -> Self {
        Self::Key(*key.as_bytes())
    }
}

/// The caller has sent too much, and may go on after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFast {
    /// How long to wait.
    pub wait: Duration,
}

/// The limit of every caller; without one, everyone may send as fast as they can.
pub struct Rate {
    limits: Option<Limits>,
    most: usize,
    answers: AtomicUsize,
    hasher: RandomState,
}

struct Limits {
    own: DefaultKeyedRateLimiter<Caller>,
    shared: DefaultKeyedRateLimiter<u64>,
}

impl Rate {
    /// Lets each caller send `per_second` events (or requests) a second on average, and `burst` at
    /// once.
    pub fn new(limit: Option<(NonZeroU32, NonZeroU32)>) -> Self {
        Self::with_room_for(CALLERS, limit)
    }

    fn with_room_for(most: usize, limit: Option<(NonZeroU32, NonZeroU32)>) -> Self {
        let limits = limit.map(|(per_second, burst)| {
            let quota = Quota::per_second(per_second).allow_burst(burst);
            Limits { own: RateLimiter::keyed(quota), shared: RateLimiter::keyed(quota) }
        });
        Self { limits, most, answers: AtomicUsize::new(0), hasher: RandomState::new() }
    }

    /// Asks whether the caller may send so many events now, and counts them if so. More than a
    /// burst counts as a burst.
    pub fn ask(&self, caller: &Caller, events: usize) -> Result<(), TooFast> {
        let Some(Limits { own, shared }) = &self.limits else {
            return Ok(());
        };
        if self.answers.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            own.retain_recent();
            own.shrink_to_fit();
        }
        if own.len() < self.most {
            take(own, caller, events)
        } else {
            take(shared, &(self.hasher.hash_one(caller) % SHARED), events)
        }
    }

    /// How many callers have a limit of their own.
    pub fn callers(&self) -> usize {
        self.limits.as_ref().map_or(0, |limits| limits.own.len())
    }
}

fn take<K: Clone + Eq + Hash>(
    limiter: &DefaultKeyedRateLimiter<K>,
    key: &K,
    events: usize,
) -> Result<(), TooFast> {
    let events = u32::try_from(events).unwrap_or(u32::MAX);
    let mut events = NonZeroU32::new(events).unwrap_or(NonZeroU32::MIN);
    loop {
        match limiter.check_key_n(key, events) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                return Err(TooFast { wait });
            }
            Err(burst) if burst.0 < events.get() => {
                events = NonZeroU32::new(burst.0).unwrap_or(NonZeroU32::MIN);
            }
            Err(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Caller {
        Caller::Key([n; 32])
    }

    #[test]
    fn where_there_are_too_many_callers_each_still_has_a_limit_and_none_is_shut_out() {
        let one = NonZeroU32::MIN;
        let rate = Rate::with_room_for(2, Some((one, one)));
        assert_eq!(rate.ask(&key(1), 1), Ok(()));
        assert!(rate.ask(&key(1), 1).is_err());
        assert_eq!(rate.ask(&key(2), 1), Ok(()));
        // From here on they are spread. Chance may put two of them into one of 65,536 places: not three.
        let taken = (1..=4).filter(|n| rate.ask(&key(*n), 1).is_ok()).count();
        assert!(taken >= 3, "{taken} of four");
        assert!((1..=4).all(|n| rate.ask(&key(n), 1).is_err()));
        assert_eq!(rate.callers(), 2, "nobody is remembered who has no place");
    }
}

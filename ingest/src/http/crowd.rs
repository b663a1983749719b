//! How many connections there may be, and who has to leave when there are too many.
//!
//! Here: a place for each connection. Where all are taken, one that is idle gives way to a new one:
//! first those whose caller has proved nothing, then the one that has been idle for longest. One that
//! has begun a request and lets the service wait, for the rest of it or until it takes the answer, is
//! idle too, since it began. So ten thousand connections that ask nothing, ask and never come to the
//! end, or take no answer, keep nobody out, and push out nobody who works. Not here: the connections
//! themselves (see [`super::listen`], `guard`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::Extensions;
use tokio::sync::Notify;

/// All connections that are open.
#[derive(Debug)]
pub struct Crowd {
    max: usize,
    max_per_address: usize,
    /// Counts up each time that a connection becomes idle: who has the lowest number has been so
    /// for longest.
    turn: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    places: HashMap<u64, Arc<State>>,
    addresses: HashMap<IpAddr, usize>,
}

/// What a connection does. Its own task writes it; who looks for a place reads it.
#[derive(Debug)]
struct State {
    address: IpAddr,
    /// When it became idle, or else began the first request whose answer is not yet sent.
    since: AtomicU64,
    /// Requests that it has begun and that have no answer yet: with pipelining, some may be begun
    /// before the answer to the one before is sent.
    at_work: AtomicUsize,
    /// There is an answer, not yet all of it sent.
    unsent: AtomicBool,
    /// The rest of a request has not come.
    awaits_body: AtomicBool,
    /// The client takes nothing of what is sent.
    awaits_reader: AtomicBool,
    /// Its caller has shown a key, a secret or a token that lets them in.
    is_proven: AtomicBool,
    leave: Notify,
}

impl State {
    fn new(address: IpAddr, now: u64) -> Self {
        Self {
            address,
            since: AtomicU64::new(now),
            at_work: AtomicUsize::new(0),
            unsent: AtomicBool::new(false),
            awaits_body: AtomicBool::new(false),
            awaits_reader: AtomicBool::new(false),
            is_proven: AtomicBool::new(false),
            leave: Notify::new(),
        }
    }

    fn has_work(&self) -> bool {
        self.at_work.load(Ordering::Acquire) > 0 || self.unsent.load(Ordering::Acquire)
    }

    /// Since when it waits for its client; `None` while its client waits for it.
    fn idle_since(&self) -> Option<u64> {
        let awaits = [&self.awaits_body, &self.awaits_reader];
        let is_idle = !self.has_work() || awaits.iter().any(|waits| waits.load(Ordering::Acquire));
        is_idle.then(|| self.since.load(Ordering::Acquire))
    }
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    id: u64,
    state: Arc<State>,
}

/// A request that a connection has begun: whether it waits for its client, or its client for it.
#[derive(Clone, Debug)]
pub struct Turn {
    place: Arc<Place>,
}

/// There is no place for another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// None at all, and every connection is busy.
    Everywhere,
    /// None for this address.
    Here,
}

impl Crowd {
    /// Room for so many connections, and for so many from one address.
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        let open = Mutex::default();
        Arc::new(Self { max, max_per_address, turn: AtomicU64::new(0), open })
    }

    /// Takes a place for a connection from this address. It is idle until it says otherwise.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Refused> {
        let mut open = self.lock();
        if open.addresses.get(&address).is_some_and(|found| *found >= self.max_per_address) {
            return Err(Refused::Here);
        }
        if open.places.len() >= self.max {
            let idle = |(id, state): (&u64, &Arc<State>)| {
                let is_proven = state.is_proven.load(Ordering::Relaxed);
                state.idle_since().map(|since| (is_proven, since, *id))
            };
            let (_, _, id) =
                open.places.iter().filter_map(idle).min().ok_or(Refused::Everywhere)?;
            // Its place is free at once; the connection itself goes as soon as its task runs.
            if let Some(state) = open.remove(id) {
                state.leave.notify_one();
            }
        }
        let state = Arc::new(State::new(address, self.turn()));
        open.next += 1;
        let id = open.next;
        open.places.insert(id, Arc::clone(&state));
        *open.addresses.entry(address).or_default() += 1;
        Ok(Place { crowd: Arc::clone(self), id, state })
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.lock().places.len()
    }

    fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn remove(&mut self, id: u64) -> Option<Arc<State>> {
        let state = self.places.remove(&id)?;
        if let Some(found) = self.addresses.get_mut(&state.address) {
            *found -= 1;
            if *found == 0 {
                self.addresses.remove(&state.address);
            }
        }
        Some(state)
    }
}

impl Place {
    /// The connection begins to answer a request: it cannot be sent away, unless it waits for its
    /// client.
    pub fn begin(self: &Arc<Self>) -> Turn {
        if !self.state.has_work() {
            self.is_now();
        }
        self.state.awaits_body.store(false, Ordering::Release);
        self.state.at_work.fetch_add(1, Ordering::AcqRel);
        Turn { place: Arc::clone(self) }
    }

    /// There is an answer to a request that it has begun, which still has to be sent.
    pub fn answered(&self) {
        self.state.unsent.store(true, Ordering::Release);
        self.state.awaits_body.store(false, Ordering::Release);
        self.state.at_work.fetch_sub(1, Ordering::AcqRel);
    }

    /// The client takes nothing of what is sent: the connection is idle, and was so since it began
    /// the request. Who takes a byte now and then is not taken for one who has just asked.
    pub fn stalls(&self) {
        self.state.awaits_reader.store(true, Ordering::Release);
    }

    /// The client has taken some.
    pub fn takes(&self) {
        self.state.awaits_reader.store(false, Ordering::Release);
    }

    /// All that there was has been sent: where that was an answer, and no other request is at work,
    /// the connection is idle again.
    pub fn sent(&self) {
        self.takes();
        if self.state.unsent.swap(false, Ordering::AcqRel) {
            self.is_now();
        }
    }

    /// The connection is about to end: it waits for its client alone.
    pub fn ends(&self) {
        self.is_now();
        self.stalls();
    }

    /// Waits until the connection has to leave.
    pub async fn must_leave(&self) {
        self.state.leave.notified().await;
    }

    fn is_now(&self) {
        self.state.since.store(self.crowd.turn(), Ordering::Release);
    }
}

impl Turn {
    /// The turn of a request, where it came over a connection.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().cloned()
    }

    /// The rest of the request has not come: the connection is idle, and was so since it began the
    /// request. Who sends a byte now and then is not taken for one who has just asked.
    pub fn waits(&self) {
        self.place.state.awaits_body.store(true, Ordering::Release);
    }

    /// More of it has come.
    pub fn goes_on(&self) {
        self.place.state.awaits_body.store(false, Ordering::Release);
    }

    /// The caller has shown who they are, and may ask: others leave before them.
    pub fn proves(&self) {
        self.place.state.is_proven.store(true, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    fn places<const N: usize>(crowd: &Arc<Crowd>) -> [Arc<Place>; N] {
        let mut last = 0;
        [(); N].map(|()| {
            last += 1;
            Arc::new(crowd.enter(address(last)).unwrap())
        })
    }

    fn ask_and_hear(place: &Arc<Place>, is_proven: bool) {
        let turn = place.begin();
        if is_proven {
            turn.proves();
        }
        place.sent();
        place.answered();
        place.sent();
    }

    #[tokio::test]
    async fn who_proved_nothing_leaves_first_and_then_who_asked_longest_ago() {
        let crowd = Crowd::new(3, usize::MAX);
        let [first, second, third] = places(&crowd);
        ask_and_hear(&first, true);
        // What anyone may ask makes nobody known.
        ask_and_hear(&second, false);
        ask_and_hear(&third, true);
        let fourth = Arc::new(crowd.enter(address(4)).unwrap());
        second.must_leave().await;
        drop(second);
        assert_eq!(crowd.connections(), 3);
        let _at_work = fourth.begin();
        let fifth = Arc::new(crowd.enter(address(5)).unwrap());
        first.must_leave().await;
        drop(first);
        let _at_work = [&third, &fifth].map(Place::begin);
        assert_eq!(crowd.enter(address(6)).unwrap_err(), Refused::Everywhere);
    }

    #[tokio::test]
    async fn who_lets_the_service_wait_leaves_before_who_was_answered() {
        let crowd = Crowd::new(4, usize::MAX);
        let [slow, deaf, known, works] = places(&crowd);
        let (turn, _, mut at_work) = (slow.begin(), deaf.begin(), vec![works.begin()]);
        deaf.answered();
        ask_and_hear(&known, false);
        // They drip: that does not make them ones who came last.
        for _ in 0..3 {
            turn.waits();
            turn.goes_on();
            deaf.stalls();
            deaf.takes();
        }
        turn.waits();
        deaf.stalls();
        for leaves in [&slow, &deaf, &known] {
            let next = Arc::new(crowd.enter(address(4)).unwrap());
            leaves.must_leave().await;
            at_work.push(next.begin());
        }
        // The one that worked all the time is there.
        at_work.iter().for_each(Turn::goes_on);
        assert_eq!(crowd.enter(address(5)).unwrap_err(), Refused::Everywhere);
    }

    #[test]
    fn who_works_on_a_second_request_is_not_idle_when_the_first_is_answered() {
        let crowd = Crowd::new(1, usize::MAX);
        let [place] = places(&crowd);
        let full = |crowd: &Arc<Crowd>| crowd.enter(address(2)).map(drop).is_err();
        let _turns = (place.begin(), place.begin());
        place.answered();
        place.sent();
        assert!(full(&crowd), "the second is at work");
        // A body that waits while an earlier answer is taken goes on waiting.
        place.answered();
        assert!(full(&crowd), "its answer is not sent");
        place.stalls();
        place.takes();
        assert!(full(&crowd));
        place.sent();
        assert!(!full(&crowd));
    }

    #[test]
    fn who_takes_some_of_an_answer_is_still_waited_for_with_the_rest_of_a_request() {
        let crowd = Crowd::new(1, usize::MAX);
        let [place] = places(&crowd);
        let turn = place.begin();
        turn.waits();
        place.stalls();
        place.takes();
        assert!(crowd.enter(address(2)).is_ok());
    }

    #[test]
    fn an_address_has_a_share_that_it_gets_back() {
        let crowd = Crowd::new(10, 2);
        let places = [(); 2].map(|()| crowd.enter(address(1)).unwrap());
        assert_eq!(crowd.enter(address(1)).unwrap_err(), Refused::Here);
        assert!(crowd.enter(address(2)).is_ok());
        drop(places);
        assert!(crowd.enter(address(1)).is_ok());
        assert_eq!(crowd.connections(), 0);
        assert!(crowd.lock().addresses.is_empty());
    }
}

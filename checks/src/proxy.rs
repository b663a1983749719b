//! A way to Postgres that breaks when it is told to.
//!
//! Here: a TCP proxy that understands enough of Postgres' protocol to break off at a COMMIT or in
//! the middle of a COPY, and a network that goes down or swallows what it is given. Not here: what
//! must come of it (see `tests/outage`).

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::forge::Random;

/// The codes of messages that come before the session's start, and are followed by another.
const REQUESTS: [[u8; 4]; 2] = [[4, 210, 22, 47], [4, 210, 22, 48]];
/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// What becomes of the connections, as far as all of them are told alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weather {
    /// Every connection of an earlier age is cut.
    age: u64,
    /// Every connection of an earlier silence, or opened in one, moves no byte any more.
    silence: u64,
    is_silent: bool,
}

/// How often a COMMIT is cut, and which.
struct Commits {
    random: Random,
    one_in: u64,
}

#[derive(Default)]
struct Shared {
    upstream: Mutex<Option<SocketAddr>>,
    commits: Mutex<Option<Commits>>,
    holds_copy: Mutex<bool>,
    copy_held: Notify,
    unsent: AtomicU64,
    unanswered: AtomicU64,
}

/// A lock whose holder panicked guards nothing that could be half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The proxy. Its connections end when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Leads from a free port of this machine to a server.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        *lock(&shared.upstream) = Some(upstream);
        let (weather, forecast) = watch::channel(Weather::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), forecast));
        Ok(Self { address, shared, weather, accepting })
    }

    /// The same URL, by way of this proxy.
    pub fn url(&self, direct: &str) -> String {
        let upstream = *lock(&self.shared.upstream);
        let upstream = upstream.map(|address| address.to_string()).unwrap_or_default();
        direct.replace(&upstream, &self.address.to_string())
    }

    /// From now on leads to another server, and cuts what leads to the one before.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = Some(upstream);
        self.cut();
    }

    /// Cuts every connection. New ones are taken.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.age += 1);
    }

    /// From now on no byte arrives, and nobody is told: as where a switch dies.
    pub fn fall_silent(&self) {
        self.weather.send_modify(|weather| {
            weather.silence += 1;
            weather.is_silent = true;
        });
    }

    /// New connections work again. Those that fell silent never do.
    pub fn speak_again(&self) {
        self.weather.send_modify(|weather| weather.is_silent = false);
    }

    /// Cuts one in so many COMMITs: half of them before the server gets it, half of them between
    /// the commit and its answer. `None` cuts none.
    pub fn cut_commits(&self, one_in: Option<u64>, seed: u64) {
        let commits = one_in.map(|one_in| Commits { random: Random::new(seed), one_in });
        *lock(&self.shared.commits) = commits;
    }

    /// COMMITs that were cut: those that the server never got, and those that it has answered.
    pub fn commits_cut(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        (of(&self.shared.unsent), of(&self.shared.unanswered))
    }

    /// Waits until the server has half of the next piece of a COPY; the other half never comes.
    /// `false` where no COPY came for so long.
    pub async fn hold_copy(&self, patience: Duration) -> bool {
        *lock(&self.shared.holds_copy) = true;
        tokio::time::timeout(patience, self.shared.copy_held.notified()).await.is_ok()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, weather: watch::Receiver<Weather>) {
    loop {
        // A client that went away before it was taken is none of ours.
        if let Ok((client, _)) = listener.accept().await {
            tokio::spawn(connection(client, Arc::clone(&shared), weather.clone()));
        }
    }
}

/// Serves one connection until one side closes it, or the proxy cuts it.
async fn connection(mut client: TcpStream, shared: Arc<Shared>, weather: watch::Receiver<Weather>) {
    let (mut cut, mut silent) = (weather.clone(), weather.clone());
    let born = *weather.borrow();
    let upstream = *lock(&shared.upstream);
    let carried = async {
        // A silent network takes no connection to the server either.
        if born.is_silent {
            return std::future::pending().await;
        }
        let upstream = upstream.ok_or_else(|| io::Error::other("leads nowhere"))?;
        let mut server = TcpStream::connect(upstream).await?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        tokio::select! {
            carried = carry(&mut client, &mut server, &shared) => carried,
            () = until(&mut silent, |now| now.silence != born.silence) => {
                // Both sides stay open, and nobody says anything.
                std::future::pending().await
            }
        }
    };
    tokio::select! {
        // One side has gone: so does the other.
        _ = carried => {}
        () = until(&mut cut, |now| now.age != born.age) => {}
    }
}

/// Waits until the weather is so. A dropped proxy ends the wait too: all connections are cut.
async fn until(weather: &mut watch::Receiver<Weather>, is_so: impl FnMut(&Weather) -> bool) {
    let _ = weather.wait_for(is_so).await.is_ok();
}

/// What is to be done with a message of the client.
enum Order {
    Pass,
    /// Drops it, and the connection with it.
    Cut,
    /// Passes it on; the answer is dropped, and the connection with it.
    CutAnswer,
    /// Passes on half of it.
    Hold,
}

async fn carry(client: &mut TcpStream, server: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (mut asked, mut answered) = (vec![0; PIECE], vec![0; PIECE]);
    let mut messages = Messages::default();
    let mut cuts_answer = false;
    loop {
        tokio::select! {
            read = from_client.read(&mut asked) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                messages.waiting.extend_from_slice(asked.get(..read).unwrap_or_default());
                while let Some(message) = messages.next() {
                    match order(shared, &message) {
                        Order::Pass => {}
                        Order::Cut => return Ok(()),
                        Order::CutAnswer => cuts_answer = true,
                        Order::Hold => {
                            let (half, _) = message.split_at(message.len() / 2);
                            to_server.write_all(half).await?;
                            shared.copy_held.notify_one();
                            // The server is killed while it waits for the rest.
                            while from_server.read(&mut answered).await? > 0 {}
                            return Ok(());
                        }
                    }
                    to_server.write_all(&message).await?;
                }
            }
            read = from_server.read(&mut answered) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                // Nothing else was asked before: this is the answer to the COMMIT.
                if cuts_answer {
                    shared.unanswered.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                to_client.write_all(answered.get(..read).unwrap_or_default()).await?;
            }
        }
    }
}

fn order(shared: &Shared, message: &[u8]) -> Order {
    const COPY_DATA: u8 = b'd';
    if message.first() == Some(&COPY_DATA) && std::mem::take(&mut *lock(&shared.holds_copy)) {
        return Order::Hold;
    }
    // A simple query: its type, its length, its text.
    let is_commit = message.first() == Some(&b'Q')
        && message.get(5..).is_some_and(|text| text.starts_with(b"COMMIT"));
    let mut commits = lock(&shared.commits);
    let Some(Commits { random, one_in }) = commits.as_mut().filter(|_| is_commit) else {
        return Order::Pass;
    };
    if !random.once_in(*one_in) {
        Order::Pass
    } else if random.once_in(2) {
        shared.unsent.fetch_add(1, Ordering::SeqCst);
        Order::Cut
    } else {
        Order::CutAnswer
    }
}

/// What a client sends, message by message.
#[derive(Default)]
struct Messages {
    waiting: Vec<u8>,
    /// From its start message on, each message of a session tells its type in a byte.
    in_session: bool,
}

impl Messages {
    /// The next whole message, once all of it is there.
    fn next(&mut self) -> Option<Vec<u8>> {
        let head = usize::from(self.in_session);
        let length: [u8; 4] = self.waiting.get(head..head + 4)?.try_into().ok()?;
        let end = head + usize::try_from(u32::from_be_bytes(length)).ok()?;
        if self.waiting.len() < end {
            return None;
        }
        let rest = self.waiting.split_off(end);
        let message = std::mem::replace(&mut self.waiting, rest);
        let code = message.get(4..8);
        self.in_session |= !REQUESTS.iter().any(|request| code == Some(request.as_slice()));
        Some(message)
    }
}

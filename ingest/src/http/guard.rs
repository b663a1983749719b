//! A stream that does not wait for ever.
//!
//! Here: a reader that takes nothing is cut off, and a connection is closed so that the last answer
//! arrives: a socket that is closed while bytes of a refused body wait in it would be reset, and the
//! client might never see why. Not here: how long a request may take to arrive (see
//! [`super::listen`], `body`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::crowd::Place;
use super::limits::EdgeLimits;

/// How long a closed connection waits for the client to close it too...
const LINGER: Duration = Duration::from_millis(500);
/// ...and how many bytes it reads and forgets meanwhile.
const LINGER_BYTES: usize = 1024 * 1024;

/// A stream with a place in the crowd.
pub struct Guard<S> {
    stream: S,
    place: Arc<Place>,
    pace: Pace,
    stalled: Option<Stalled>,
    closing: Option<Closing>,
}

/// How fast a client has to take what it is sent, over all answers of its connection: with one
/// answer's count for each, who asks for many small ones could take a few bytes now and then, for ever.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it may take nothing at all.
    stall: Duration,
    /// Bytes a second that it takes at least, once that time has passed; 0 for none.
    rate: u32,
    /// How long it may still be waited for.
    left: Duration,
}

impl From<&EdgeLimits> for Pace {
    fn from(limits: &EdgeLimits) -> Self {
        Self::new(limits.answer, limits.min_answer_rate)
    }
}

impl Pace {
    fn new(stall: Duration, rate: u32) -> Self {
        Self { stall, rate, left: stall }
    }

    /// It was waited for so long, and took so many bytes then: each earns some of that time again.
    fn took(&mut self, waited: Duration, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let earned = bytes.saturating_mul(1_000_000).checked_div(u64::from(self.rate));
        self.left = earned.map_or(self.stall, |micros| {
            let left = self.left.saturating_sub(waited);
            self.stall.min(left.saturating_add(Duration::from_micros(micros)))
        });
    }
}

/// A client that takes nothing: since when, and until when it may.
struct Stalled {
    since: Instant,
    until: Pin<Box<Sleep>>,
}

struct Closing {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> Guard<S> {
    /// Guards a stream.
    pub fn new(stream: S, place: Arc<Place>, pace: Pace) -> Self {
        Self { stream, place, pace, stalled: None, closing: None }
    }

    /// Passes on what a write came to, unless it has come to nothing for too long; `bytes` says how
    /// many were taken.
    fn within_time<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        let now = Instant::now();
        if let Poll::Ready(done) = &written {
            let waited =
                self.stalled.take().map(|stalled| now.saturating_duration_since(stalled.since));
            if waited.is_some() {
                self.place.takes();
            }
            self.pace.took(waited.unwrap_or_default(), done.as_ref().map_or(0, bytes));
            return written;
        }
        // It is the client that is waited for: another may have its place.
        self.place.stalls();
        let left = self.pace.left;
        let stalled = self.stalled.get_or_insert_with(|| Stalled {
            since: now,
            until: Box::pin(sleep_until(now + left)),
        });
        ready!(stalled.until.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within_time(context, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.within_time(context, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if let Poll::Ready(Ok(())) = flushed {
            self.place.sent();
        }
        self.within_time(context, flushed, |()| 0)
    }

    /// Says that nothing more will come, then reads on for a moment.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            let closed = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.within_time(context, closed, |()| 0))?;
            self.place.ends();
            self.closing = Some(Closing { until: Box::pin(sleep(LINGER)), left: LINGER_BYTES });
        }
        let Self { stream, closing: Some(closing), .. } = &mut *self else {
            return Poll::Ready(Ok(()));
        };
        let mut space = [0_u8; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.left = closing.left.saturating_sub(buffer.filled().len());
                    if closing.left == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                // The client has closed it too, or it is broken anyway.
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(Ok(())),
                Poll::Pending => return closing.until.as_mut().poll(context).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::crowd::Crowd;
    use super::*;

    #[test]
    fn who_takes_an_answer_slowly_is_given_up_and_who_takes_it_fast_has_all_the_time() {
        let seconds = |pace: &Pace| pace.left.as_secs();
        let fresh = Pace::new(Duration::from_secs(10), 1_000);
        let waited = |steps: &[(u64, usize)]| {
            let mut pace = fresh;
            for (waited, bytes) in steps {
                pace.took(Duration::from_secs(*waited), *bytes);
            }
            seconds(&pace)
        };
        assert_eq!((waited(&[]), waited(&[(4, 0)]), waited(&[(11, 0)])), (10, 6, 0));
        // A thousand bytes a second: it goes on for ever.
        let (fast, slow) = (vec![(5, 5_000); 100], vec![(5, 4_500); 100]);
        assert_eq!((waited(&fast), waited(&slow)), (10, 4));
        // What it took before, fast, gives nobody a right to be waited for later.
        assert_eq!(waited(&[(0, usize::MAX), (8, 0)]), 2);
        let mut lenient = Pace::new(Duration::from_secs(10), 0);
        lenient.took(Duration::from_secs(1_000), 1);
        assert_eq!(seconds(&lenient), 10);
    }

    /// Many small answers, each of them sent and flushed: they have one time together.
    #[tokio::test]
    async fn who_asks_for_many_answers_has_the_time_of_one() {
        let place = Arc::new(Crowd::new(1, 1).enter(Ipv4Addr::LOCALHOST.into()).unwrap());
        let (ours, mut theirs) = tokio::io::duplex(1);
        let mut guard = Guard::new(ours, place, Pace::new(Duration::from_secs(1), 1_000));
        let answers = async {
            loop {
                if let Err(error) = guard.write_all(b"x").await {
                    return error;
                }
                guard.flush().await.unwrap();
            }
        };
        let reader = async {
            loop {
                sleep(Duration::from_millis(100)).await;
                theirs.read_u8().await.unwrap();
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! {
                error = answers => error,
                error = reader => error,
            }
        });
        assert_eq!(ended.await.unwrap().kind(), io::ErrorKind::TimedOut);
    }
}

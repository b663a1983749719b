//! Bodies: read within limits, expanded, checked against their digest.
//!
//! Here: memory is claimed before bytes are kept, as they come, and for what they may expand to; a
//! body that comes too slowly is given up. Not here: the codings ([`super::coding`]) and the digest
//! ([`super::digest`]) themselves, and what a body holds (see [`crate::accept`]).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, header};
use bytes::Bytes;
use hyper::body::Body as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::App;
use super::coding::{self, Coding, CodingError};
use super::crowd::Turn;
use super::digest::{CONTENT_DIGEST, ContentDigest, DigestError};
use super::error::{Fault, Kind, Problem};
use super::limits::EdgeLimits;
use super::pages::Pages;
use crate::chain::WriteError;

/// Bytes that a body is given memory for before the first of them is there. More is claimed as more
/// comes: who announces much and sends little keeps nobody out.
const STEP: usize = 64 * 1_024;
/// From then on a body has to arrive at the least rate.
const GRACE: Duration = Duration::from_secs(5);

/// A body that was read.
pub(super) struct Body {
    /// What it holds, expanded: the bytes that are signed.
    pub(super) bytes: Bytes,
    /// The memory that it takes.
    pub(super) memory: OwnedSemaphorePermit,
}

/// Reads the body of a request.
pub(super) async fn read(app: &Arc<App>, request: Request) -> Result<Body, Problem> {
    let headers = request.headers();
    let values = |name: HeaderName| headers.get_all(name).iter().map(|value| value.as_bytes());
    let coding = Coding::read(values(header::CONTENT_ENCODING)).ok_or_else(|| {
        let detail =
            format!("a body has one of these Content-Encodings, or none: {}", coding::ACCEPTED);
        Problem::new(Kind::UnsupportedCoding, detail)
    })?;
    let digest = ContentDigest::read(values(HeaderName::from_static(CONTENT_DIGEST)))?;
    let most = app.limits.max_body_bytes();
    let length = announced(headers).unwrap_or(most);
    if length > most {
        return Err(too_large(most));
    }
    let mut memory = claim(app, kib(length.min(STEP)))?;
    let sent = receive(app, request, length, &mut memory).await?;
    memory.merge(claim(app, kib(coding.most(sent.len(), most)))?);
    let (bytes, mut memory) = open(app, coding, digest, sent, most, memory).await?;
    // The rest of what was claimed is free again.
    let spare = memory.num_permits().saturating_sub(bytes.len().div_ceil(1_024));
    drop(memory.split(spare));
    Ok(Body { bytes, memory })
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1_024)
}

/// Takes memory, in KiB.
fn claim(app: &App, kib: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let kib = u32::try_from(kib).unwrap_or(u32::MAX);
    let full = |_| Problem::from(WriteError::Full);
    Arc::clone(&app.memory).try_acquire_many_owned(kib).map_err(full)
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

fn too_large(most: usize) -> Problem {
    Problem::new(
        Kind::TooLarge,
        format!("a body has at most {most} bytes: send fewer events at once"),
    )
}

/// Reads what is sent, `expected` bytes or fewer than `most`, as long as it comes fast enough.
async fn receive(
    app: &App,
    request: Request,
    expected: usize,
    memory: &mut OwnedSemaphorePermit,
) -> Result<Bytes, Problem> {
    let (most, limits) = (app.limits.max_body_bytes(), &app.edge);
    let broken = || Problem::new(Kind::BadRequest, "the body did not arrive as it was announced");
    let turn = Turn::of(request.extensions());
    let mut body = request.into_body();
    let start = Instant::now();
    // All of it at once: room that nothing is written to takes no memory.
    let mut received = Pages::with_room(expected);
    loop {
        let deadline = start + allowed(received.len(), limits);
        let frame = std::future::poll_fn(|context| {
            let frame = Pin::new(&mut body).poll_frame(context);
            match &turn {
                Some(turn) if frame.is_pending() => turn.waits(),
                Some(turn) => turn.goes_on(),
                None => {}
            }
            frame
        });
        let frame = match timeout_at(deadline, frame).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(broken()),
            Ok(None) => return Ok(received.finish()),
            Err(_) => return Err(too_slow(limits)),
        };
        // Trailers say nothing to us.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if received.len() + data.len() > most {
            return Err(too_large(most));
        }
        let (needed, held) = (kib(received.len() + data.len()), memory.num_permits());
        if needed > held {
            // Twice as much each time, up to all that is to come.
            let more = held.min(kib(expected).saturating_sub(held)).max(needed - held);
            memory.merge(claim(app, more)?);
        }
        // More than it has announced, which is no body of this protocol.
        if !received.push(&data) {
            return Err(broken());
        }
    }
}

/// When the next bytes of a body have to be there, from its start, once so many are.
fn allowed(received: usize, limits: &EdgeLimits) -> Duration {
    let rate = u64::from(limits.min_body_rate);
    let received = u64::try_from(received).unwrap_or(u64::MAX);
    match received.checked_div(rate) {
        Some(seconds) => limits.body.min(GRACE.saturating_add(Duration::from_secs(seconds))),
        None => limits.body,
    }
}

fn too_slow(limits: &EdgeLimits) -> Problem {
    let detail = format!(
        "the body did not arrive within {} seconds, or slower than {} bytes a second",
        limits.body.as_secs(),
        limits.min_body_rate
    );
    Problem::new(Kind::RequestTimeout, detail)
}

/// Checks the digest of what was sent, and expands it: on a thread that may be busy for a while.
async fn open(
    app: &Arc<App>,
    coding: Coding,
    digest: ContentDigest,
    sent: Bytes,
    most: usize,
    memory: OwnedSemaphorePermit,
) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    if coding == Coding::Identity && digest.is_empty() {
        return Ok((sent, memory));
    }
    app.busy(memory, move || {
        digest.check(&sent).map_err(Problem::from)?;
        coding::expand(coding, &sent, most).map_err(Problem::from)
    })
    .await
}

impl From<CodingError> for Problem {
    fn from(error: CodingError) -> Self {
        let kind = match error {
            CodingError::TooLarge { .. } => Kind::TooLarge,
            CodingError::Magic
            | CodingError::CutOff
            | CodingError::Damaged
            | CodingError::Several
            | CodingError::Trailing(_)
            | CodingError::Skippable
            | CodingError::Window { .. }
            | CodingError::Dictionary => Kind::BadCoding,
        };
        let detail = format!("{error}: {}", error.mend());
        Self::new(kind, detail).with(Fault {
            index: None,
            pointer: None,
            header: Some("content-encoding"),
            reason: error.code(),
            detail: error.to_string(),
        })
    }
}

impl From<DigestError> for Problem {
    fn from(error: DigestError) -> Self {
        let kind = match error {
            DigestError::Form | DigestError::Length(_) => Kind::BadHeader,
            DigestError::Mismatch(_) => Kind::DigestMismatch,
        };
        Self::new(kind, format!("Content-Digest: {error}")).with(Fault {
            index: None,
            pointer: None,
            header: Some(CONTENT_DIGEST),
            reason: error.code(),
            detail: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_slowly_is_given_up_early_and_who_sends_fast_has_all_the_time() {
        let limits = EdgeLimits { min_body_rate: 1_000, ..EdgeLimits::default() };
        let seconds = |received| allowed(received, &limits).as_secs();
        assert_eq!((seconds(0), seconds(999), seconds(1_000)), (5, 5, 6));
        assert_eq!(seconds(usize::MAX), limits.body.as_secs());
        let lenient = EdgeLimits { min_body_rate: 0, ..limits };
        assert_eq!(allowed(0, &lenient), lenient.body);
    }
}

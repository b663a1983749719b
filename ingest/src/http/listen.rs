//! Connections: accepted, served within limits, closed in order.
//!
//! Here: the loop over a listener, with TLS or without. Not here: what is served (see
//! [`super::router`]), how long a body may take (see `body`), and who leaves when there are
//! too many (see [`super::crowd`]).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::crowd::{Crowd, Place};
use super::guard::Guard;
use super::limits::EdgeLimits;
use super::tls::Tls;
use crate::metrics::Metrics;

/// How long to wait when no connection can be accepted, as when no file handle is left.
const BREATH: Duration = Duration::from_millis(50);
/// Most headers of a request: hyper keeps room for them without asking for memory.
const HEADERS: usize = 100;
/// Most bytes that hyper reads ahead on a connection.
const READ_AHEAD: usize = 64 * 1024;

/// What stands in for an answer where there is no place for a connection.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 140\r\n\r\n\
    {\"type\":\"/problems/overloaded\",\"title\":\"Too much is waiting to be recorded\",\
    \"status\":503,\"detail\":\"no connection is free: try again later\"}\n";

/// How connections are served.
#[derive(Clone)]
pub struct Door {
    /// What is served.
    pub router: Router,
    /// Within which limits.
    pub limits: EdgeLimits,
    /// By which certificate; plain HTTP where there is none.
    pub tls: Option<Arc<Tls>>,
    /// How many there may be.
    pub crowd: Arc<Crowd>,
    /// Counts them.
    pub metrics: Arc<Metrics>,
}

/// Serves until `stop` says so; then takes no new connection, lets each open one answer what it
/// has read, and returns.
pub async fn serve(listener: TcpListener, door: Door, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => match door.crowd.enter(address.ip()) {
                    Ok(place) => {
                        connections.spawn(connection(stream, place, door.clone(), stop.clone()));
                    }
                    Err(refused) => {
                        tracing::debug!(?refused, "connection refused");
                        // Told if it can be told at once; in the midst of a handshake it cannot.
                        if door.tls.is_none() {
                            let _ = stream.try_write(NO_PLACE);
                        }
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves a connection until it ends, or has to leave.
async fn connection(stream: TcpStream, place: Place, door: Door, mut stop: watch::Receiver<bool>) {
    // Answers are small and written at once: there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let _open = door.metrics.connection();
    let place = Arc::new(place);
    let tenant = Arc::clone(&place);
    let served = async {
        let Some(tls) = &door.tls else {
            return speak(stream, place, &door, &mut stop).await;
        };
        let handshake = tokio::time::timeout(door.limits.head, tls.acceptor().accept(stream));
        tokio::select! {
            shaken = handshake => match shaken {
                Ok(Ok(stream)) => speak(stream, place, &door, &mut stop).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
                Err(_) => tracing::debug!("the TLS handshake took too long"),
            },
            () = stopped(&mut stop) => {}
        }
    };
    tokio::select! {
        () = served => {}
        () = tenant.must_leave() => tracing::debug!("an idle connection gave way"),
    }
}

async fn speak<S>(stream: S, place: Arc<Place>, door: &Door, stop: &mut watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(door.router.clone());
    let pace = (&door.limits).into();
    let service = Counted { router, place: Arc::clone(&place) };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.limits.head)
        .max_headers(HEADERS)
        .max_header_size(door.limits.max_head_bytes)
        .max_buf_size(READ_AHEAD.max(door.limits.max_head_bytes))
        .serve_connection(TokioIo::new(Guard::new(stream, place, pace)), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stopped(stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// The router, which tells the connection's place when it has something to do.
struct Counted {
    router: TowerToHyperService<Router>,
    place: Arc<Place>,
}

type Answering = <TowerToHyperService<Router> as Service<hyper::Request<Incoming>>>::Future;

impl Service<hyper::Request<Incoming>> for Counted {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        // For whoever reads the body: while that has to come, the connection waits for its client.
        request.extensions_mut().insert(self.place.begin());
        let (answering, place): (Answering, _) =
            (self.router.call(request), Arc::clone(&self.place));
        Box::pin(async move {
            let answered = answering.await;
            place.answered();
            answered
        })
    }
}

/// Waits until the service is to stop; that its handle was dropped says so too.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Only a dropped sender ends this with an error.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn the_answer_to_one_too_many_is_as_long_as_it_says() {
        let text = std::str::from_utf8(NO_PLACE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}

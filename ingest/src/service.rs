//! The service: started, and stopped without losing what it has taken.
//!
//! Here: how its parts are put together. Clock and probe come in by argument: the binary passes
//! the machine's clock and no probe, and nothing that it reads can say otherwise
//! (`docs/decisions/0006-clock-injection.md`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ledger::note::NoteSigner;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::chain::{Committer, Probe, Writer};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::{self, App};
use crate::store::{self, StoreError};

/// How long open requests may take to end when the service stops.
const DRAIN: Duration = Duration::from_secs(7);
/// How long what is queued may take to be recorded after that.
const FLUSH: Duration = Duration::from_secs(2);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database, or what is in it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address is not free, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// The service.
#[derive(Clone, Copy, Debug)]
pub struct Service;

impl Service {
    /// Checks the database and starts to serve.
    pub async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        probe: Arc<dyn Probe>,
    ) -> Result<Running, StartError> {
        let address = config.listen;
        let readers = store::readers(&config.database_url, config.read_connections)?;
        store::check(&readers, &config.origin).await?;
        let shards = u32::try_from(config.shards).unwrap_or(u32::MAX);
        let writers = store::writers(&config.database_url, shards)?;
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;

        let committer = Committer {
            origin: config.origin.clone(),
            pool: writers.clone(),
            clock,
            probe: Arc::clone(&probe),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let app = Arc::new(App {
            receipts: NoteSigner::receipt(&config.origin, config.receipt_key),
            origin: config.origin,
            seal_verifier_key: config.seal_verifier_key,
            limits: config.limits,
            readers: readers.clone(),
            writer: Writer::start(&committer, config.shards, config.queue),
            probe,
            memory: Arc::new(Semaphore::new(config.memory_kib)),
            processors: Semaphore::new(processors),
        });
        let (stop, stopped) = watch::channel(false);
        let router = http::router(Arc::clone(&app));
        let serving = tokio::spawn(http::listen::serve(listener, router, stopped));
        Ok(Running { local_addr, stop, serving, app, pools: [readers, writers] })
    }
}

/// A service that runs.
pub struct Running {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    app: Arc<App>,
    pools: [PgPool; 2],
}

impl Running {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops: takes no new connection, answers what it has taken, records what is queued, all in
    /// under ten seconds.
    pub async fn shutdown(mut self) {
        // Nobody listens only where serving has ended already.
        let _ = self.stop.send(true);
        if tokio::time::timeout(DRAIN, &mut self.serving).await.is_err() {
            tracing::warn!("open requests were cut off");
            self.serving.abort();
        }
        if tokio::time::timeout(FLUSH, self.app.writer.drain()).await.is_err() {
            tracing::warn!("queued submissions were not recorded, their clients were told nothing");
        }
        for pool in self.pools {
            // A connection that does not end is left to the operating system.
            let _ = tokio::time::timeout(Duration::from_millis(250), pool.close()).await;
        }
    }
}

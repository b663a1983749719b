//! The service: started, and stopped without losing what it has taken.
//!
//! Here: how its parts are put together. Clock and probe come in by argument: the binary passes
//! the machine's clock and no probe, and nothing that it reads can say otherwise
//! (`docs/decisions/0006-clock-injection.md`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ledger::key::PublicKey;
use ledger::names::Workspace;
use ledger::note::NoteSigner;
use sqlx::PgPool;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::access::{ActError, KnownKeys, Porter, Recorder, acts};
use crate::chain::{Committer, Days, Probe, Writer};
use crate::clock::Clock;
use crate::config::{Config, Footing};
use crate::http::crowd::Crowd;
use crate::http::door::DoorConfig;
use crate::http::hmac::Custodian;
use crate::http::listen::Door;
use crate::http::queued::Queueing;
use crate::http::rate::Rate;
use crate::http::ready::Readiness;
use crate::http::room::Room;
use crate::http::tls::{Tls, TlsError};
use crate::http::{self, App};
use crate::metrics::Metrics;
use crate::queue::QueueSettingsError;
use crate::queue::run::Consuming;
use crate::sealed::{self, SealedError};
use crate::store::{self, StoreError};

/// How long open requests may take to end when the service stops.
const DRAIN: Duration = Duration::from_secs(7);
/// How long what is queued may take to be recorded after that.
const FLUSH: Duration = Duration::from_secs(2);
/// Connections on which tokens are made and revoked.
const REGISTRARS: u32 = 2;
/// Connections on which keys are looked for that this process does not know.
const DOORKEEPERS: u32 = 2;
/// Connections on which tokens are looked up that this process has not seen yet.
const PORTERS: u32 = 2;
/// Connections that the kernel keeps until they are taken up, as far as it lets us (`somaxconn`): one
/// that it drops is not told, so that a client that waits to be spoken to waits for ever.
const BACKLOG: u32 = 4_096;
/// How often the days are looked at.
const REFRESH: Duration = Duration::from_secs(60);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The database, or what is in it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database is not the ledger that the archive has sealed, or that cannot be told.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The queue's settings.
    #[error(transparent)]
    Queue(#[from] QueueSettingsError),
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The ledger's own workspace knows another custodian key.
    #[error(
        "the workspace `{workspace}` is there, and the custodian key {key} is not in force in it, so \
         no act could be recorded: `ingest.custodian_key` is the key that it was opened with, or one \
         that this key has registered there since"
    )]
    Custodian {
        /// The ledger's own workspace.
        workspace: Workspace,
        /// The key in the settings.
        key: PublicKey,
    },
    /// That the database was made from the archive could not be put on record.
    #[error(
        "the database was made from the archive, which has to be on record before anything is taken, \
         and that failed: {0}"
    )]
    Restored(#[from] ActError),
    /// The same, of a consumer: the service has to put it on record first.
    #[error(
        "the database was made from the archive, which is not on record yet: start `tally-ingest serve` \
         once, it puts it on record"
    )]
    Untold,
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
        let ground = Ground::lay(config.footing(), &clock, &probe).await?;
        let Ground { committer, writers, readers, metrics, keeper } = ground;
        let read_url = config.database_read_url.as_deref().unwrap_or(&config.database_url);
        let DoorConfig { tls, limits: edge, secrets } = config.door;
        let tls = tls.map(Tls::read).transpose()?.map(Arc::new);
        let custodian = config.custodian_key.public();
        if !acts::check(&readers, &config.acts_workspace, &custodian).await? {
            let workspace = config.acts_workspace;
            return Err(StartError::Custodian { workspace, key: custodian });
        }
        // Of their own: whoever makes a token waits for its act, which waits for a writer.
        let registrars = store::writers(&config.database_url, REGISTRARS)?;
        // Of their own: strangers may keep them as busy as they like.
        let doorkeepers = store::doorkeepers(&config.database_url, DOORKEEPERS)?;
        let porters = store::readers(read_url, PORTERS)?;
        let listen = |source| StartError::Listen { address, source };
        let listener = open(address).map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let metrics_listener = match config.telemetry.metrics_listen {
            None => None,
            Some(address) => {
                let listen = |source| StartError::Listen { address, source };
                Some(TcpListener::bind(address).await.map_err(listen)?)
            }
        };

        let known = KnownKeys::new(doorkeepers.clone(), Arc::clone(&committer.seen));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let writer = Arc::new(Writer::start(
            &committer,
            config.shards,
            config.queue,
            &config.acts_workspace,
        ));
        let acts = Recorder::start(acts::Ledger {
            origin: config.origin.clone(),
            workspace: config.acts_workspace,
            key: config.custodian_key.clone(),
            clock: Arc::clone(&clock),
            readers: readers.clone(),
            writer: Arc::clone(&writer),
        });
        for restore in store::restores::untold(&registrars).await? {
            acts.tell_of(&restore).await?;
            store::restores::told(&registrars, &restore, clock.now()).await?;
            tracing::warn!(at = %restore.at, "the database was made from the archive: put on record");
        }
        let queueing = match &config.broker {
            None => None,
            Some(broker) => {
                Some(Queueing::start(broker, &config.database_url, &config.limits, &committer)?)
            }
        };
        let (queue, consuming, watching) = match queueing {
            None => (None, None, None),
            Some((queue, consuming, watching)) => (Some(queue), consuming, Some(watching)),
        };
        let app = Arc::new(App {
            queue,
            receipts: NoteSigner::receipt(&config.origin, config.receipt_key),
            origin: config.origin,
            seal_verifier_key: config.seal_verifier_key,
            limits: config.limits,
            rate: Rate::new(edge.rate),
            read_rate: Rate::new(edge.reads),
            known,
            edge: edge.clone(),
            secrets,
            custodian: Custodian::new(config.custodian_key),
            porter: Porter::new(readers.clone(), porters.clone()),
            readers: readers.clone(),
            registrars: registrars.clone(),
            admins: config.admin_tokens,
            acts,
            writer,
            clock,
            probe,
            metrics,
            shows_metrics: metrics_listener.is_none(),
            readiness: Readiness::default(),
            memory_kib: config.memory_kib,
            memory: Arc::new(Semaphore::new(config.memory_kib)),
            room: Room::new(config.answer_memory_kib),
            processors: Arc::new(Semaphore::new(processors)),
        });
        let (stop, stopped) = watch::channel(false);
        if let Some(listener) = metrics_listener {
            let router = http::metrics_router(Arc::clone(&app));
            let mut stopped = stopped.clone();
            let stopped = async move {
                // Only a dropped sender ends this with an error.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
            tokio::spawn(async move { serving.await });
        }
        let reloading = tls.clone().map(|tls| tokio::spawn(tls.reload_on_hangup()));
        let door = Door {
            router: http::router(Arc::clone(&app)),
            tls,
            crowd: Crowd::new(edge.max_connections, edge.max_connections_per_address),
            limits: edge,
            metrics: Arc::clone(&app.metrics),
        };
        let serving = tokio::spawn(http::listen::serve(listener, door, stopped));
        let keepers = [Some(keeper), reloading, watching].into_iter().flatten().collect();
        Ok(Running {
            local_addr,
            stop,
            serving,
            keepers,
            consuming,
            app,
            pools: [readers, registrars, doorkeepers, porters, writers],
        })
    }
}

/// What the service and a consumer alone stand on: the database, and that it is the ledger.
pub(crate) struct Ground {
    /// Records.
    pub(crate) committer: Committer,
    /// Its connections.
    pub(crate) writers: PgPool,
    /// Connections for reading.
    pub(crate) readers: PgPool,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Looks at the days.
    pub(crate) keeper: JoinHandle<()>,
}

impl Ground {
    /// Checks the database, and that it is the ledger that the archive has sealed.
    pub(crate) async fn lay(
        config: Footing<'_>,
        clock: &Arc<dyn Clock>,
        probe: &Arc<dyn Probe>,
    ) -> Result<Self, StartError> {
        let Footing { origin, database_url, .. } = config;
        let read_url = config.database_read_url.unwrap_or(database_url);
        store::check_login(database_url, origin, true).await?;
        store::check_login(read_url, origin, false).await?;
        let readers = store::readers(read_url, config.read_connections)?;
        let writers = store::writers(database_url, config.transactions)?;
        // Of the database that is written to: another one may be behind it, or before it.
        if let (Some(url), Some(key)) = (config.archive_url, config.seal_verifier_key) {
            let (url, key, origin) = (url.to_owned(), key.clone(), origin.clone());
            let heads = tokio::task::spawn_blocking(move || sealed::heads(&url, &key, &origin));
            match heads.await {
                Ok(heads) => sealed::compare(&writers, &heads?).await?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        } else {
            tracing::warn!(
                "`ingest.archive_url` is not set: nobody checks that this is the ledger"
            );
        }
        let metrics = if config.has_queue { Metrics::with_queue() } else { Metrics::default() };
        let metrics = Arc::new(metrics);
        let committer = Committer {
            origin: origin.clone(),
            pool: writers.clone(),
            clock: Arc::clone(clock),
            probe: Arc::clone(probe),
            metrics: Arc::clone(&metrics),
            max_keys: config.max_keys,
            days: Arc::new(Days::new(config.filter_mib * 1_048_576)),
            seen: Arc::default(),
        };
        let keeper = tokio::spawn(keep_days(Arc::clone(&committer.days), writers.clone()));
        Ok(Self { committer, writers, readers, metrics, keeper })
    }
}

/// Listens at an address.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As after a restart: connections of the process before may not have ended yet.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Looks from time to time whether a day has closed, and reads its ids.
async fn keep_days(days: Arc<Days>, pool: PgPool) {
    loop {
        if let Err(error) = days.refresh(&pool).await {
            tracing::warn!(%error, "ids of closed days could not be read: the database is asked");
        }
        tokio::time::sleep(REFRESH).await;
    }
}

/// A service that runs.
pub struct Running {
    local_addr: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    keepers: Vec<JoinHandle<()>>,
    consuming: Option<Consuming>,
    app: Arc<App>,
    pools: [PgPool; 5],
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
        for keeper in &self.keepers {
            keeper.abort();
        }
        if tokio::time::timeout(DRAIN, &mut self.serving).await.is_err() {
            tracing::warn!("open requests were cut off");
            self.serving.abort();
        }
        if let Some(consuming) = self.consuming
            && tokio::time::timeout(FLUSH, consuming.stop()).await.is_err()
        {
            tracing::warn!("what was taken from the queue is not recorded: it is taken again");
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

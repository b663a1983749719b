//! A consumer alone: `tally-ingest consume`, on as many machines as there are partitions.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::run::{CONNECTIONS, Consuming, Parts};
use super::{Consumer, open};
use crate::chain::Probe;
use crate::clock::Clock;
use crate::config::ConsumerConfig;
use crate::http::node::{Node, router};
use crate::service::{Ground, StartError};
use crate::store;

/// How long a connection may take to close.
const CLOSE: Duration = Duration::from_millis(250);

/// A consumer that runs alone.
pub struct RunningNode {
    consuming: Consuming,
    keeper: JoinHandle<()>,
    stop: watch::Sender<bool>,
    pools: [PgPool; 3],
}

impl RunningNode {
    /// Checks the database, and starts to consume; and to answer at `telemetry.metrics_listen`, where
    /// that is set, to `/healthz`, `/readyz` and `/metrics`.
    pub async fn start(
        config: ConsumerConfig,
        clock: Arc<dyn Clock>,
        probe: Arc<dyn Probe>,
    ) -> Result<Self, StartError> {
        let Ground { committer, writers, readers, metrics, keeper } =
            Ground::lay(config.footing(), &clock, &probe).await?;
        let pool = store::writers(&config.database_url, CONNECTIONS)?;
        if !store::restores::untold(&pool).await?.is_empty() {
            return Err(StartError::Untold);
        }
        let listener = match config.telemetry.metrics_listen {
            None => None,
            Some(address) => {
                let listen = |source| StartError::Listen { address, source };
                Some(TcpListener::bind(address).await.map_err(listen)?)
            }
        };
        let most = config.limits.max_body_bytes();
        let queue = open(&config.broker, most)?;
        let consuming = Consuming::start(Parts {
            config: config.broker,
            origin: config.origin.clone(),
            limits: config.limits,
            committer,
            pool: pool.clone(),
            queue: Arc::clone(&queue),
        })?;
        let (stop, mut stopped) = watch::channel(false);
        if let Some(listener) = listener {
            let consumer = Arc::clone(consuming.consumer());
            let node =
                Node { origin: config.origin, readers: readers.clone(), queue, consumer, metrics };
            let stopped = async move {
                // Only a dropped sender ends this with an error.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let serving = axum::serve(listener, router(Arc::new(node)));
            tokio::spawn(async move { serving.with_graceful_shutdown(stopped).await });
        }
        Ok(Self { consuming, keeper, stop, pools: [pool, writers, readers] })
    }

    /// The consumer.
    pub fn consumer(&self) -> &Arc<Consumer> {
        self.consuming.consumer()
    }

    /// Stops: records what was begun, and gives the partitions back.
    pub async fn shutdown(self) {
        self.consuming.stop().await;
        self.keeper.abort();
        // Nobody listens only where nothing is served.
        let _ = self.stop.send(true);
        for pool in self.pools {
            // A connection that does not end is left to the operating system.
            let _ = tokio::time::timeout(CLOSE, pool.close()).await;
        }
    }
}

//! The nodes of a cluster: a scheduler, which cuts plans into tasks, and executors, which run them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::ConfigProducer;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::error::BallistaError;
use ballista_core::extension::SessionConfigExt as _;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::flight_service::BallistaFlightService;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::create_scheduler;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};

use super::codec::Codec;
use super::link::{Link, LinkError, chain};
use super::scan::{Reader, make_directory};
use crate::store::ArchiveSource;

/// Largest message: a plan names each chunk that it reads by its manifest, of a kilobyte or so.
pub(super) const MESSAGE_BYTES: u32 = 256 << 20;

/// Seconds that an executor tries to reach its scheduler before it gives up.
const REACH_SECONDS: u16 = 30;

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Its links are not let be.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It is asked for what does not go together.
    #[error("{0}")]
    Usage(&'static str),
    /// A directory of its cannot be used.
    #[error("{path}: {error}", path = .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It could not listen, or reach its scheduler, or failed.
    #[error("{0}")]
    Failed(String),
}

impl From<BallistaError> for NodeError {
    fn from(error: BallistaError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// How a scheduler runs.
#[derive(Clone, Debug)]
pub struct SchedulerSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// After how long a silent executor counts as gone: its tasks are given to others.
    pub executor_timeout: Duration,
    /// How nodes speak to each other.
    pub link: Link,
}

fn config(codec: &Arc<Codec>, link: &Link) -> ConfigProducer {
    let (codec, link) = (Arc::clone(codec), link.clone());
    Arc::new(move || session(&codec, &link))
}

/// What sessions on every side have set.
pub(super) fn session(codec: &Arc<Codec>, link: &Link) -> SessionConfig {
    let bytes = usize::try_from(MESSAGE_BYTES).unwrap_or(usize::MAX);
    let config = SessionConfig::new_with_ballista()
        .with_information_schema(false)
        .with_ballista_logical_extension_codec(Arc::clone(codec) as _)
        .with_ballista_physical_extension_codec(Arc::clone(codec) as _)
        // Plans that change while they run are the younger half of the engine, and these are small.
        .with_ballista_adaptive_query_planner(false)
        // A small side of a join goes to every task otherwise, and each of them says which of its rows have no match:
        // outer joins give such a row as often as there are tasks (datafusion-ballista, issue 1055).
        .with_ballista_broadcast_join_threshold_bytes(0)
        .with_ballista_broadcast_join_threshold_rows(0)
        .set_u64("datafusion.optimizer.hash_join_single_partition_threshold", 0)
        .set_u64("datafusion.optimizer.hash_join_single_partition_threshold_rows", 0)
        .with_ballista_grpc_client_max_message_size(bytes)
        .with_ballista_use_tls(link.is_tls());
    match link.endpoint() {
        Some(endpoint) => config.with_ballista_override_create_grpc_client_endpoint(endpoint),
        None => config,
    }
}

/// Runs a scheduler until `stop` is done.
pub async fn serve_scheduler(
    settings: SchedulerSettings,
    stop: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let SchedulerSettings { listen, executor_timeout, link } = settings;
    link.check(&listen.ip().to_string())?;
    let codec = Arc::new(Codec::new(None));
    let seconds = executor_timeout.as_secs().max(1);
    let config = SchedulerConfig {
        bind_host: listen.ip().to_string(),
        bind_port: listen.port(),
        external_host: listen.ip().to_string(),
        scheduling_policy: TaskSchedulingPolicy::PullStaged,
        executor_timeout_seconds: seconds,
        expire_dead_executor_interval_seconds: seconds.div_ceil(3),
        no_executors_grace_period_seconds: seconds,
        grpc_server_max_decoding_message_size: MESSAGE_BYTES,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES,
        grpc_client_max_message_size: MESSAGE_BYTES,
        override_config_producer: Some(config(&codec, &link)),
        override_logical_codec: Some(Arc::clone(&codec) as _),
        override_physical_codec: Some(codec),
        override_create_grpc_client_endpoint: link.endpoint(),
        use_tls: link.is_tls(),
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&config).await?;
    let scheduler =
        create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config));
    let bytes = usize::try_from(MESSAGE_BYTES).unwrap_or(usize::MAX);
    let service = SchedulerGrpcServer::new(scheduler.await?)
        .max_decoding_message_size(bytes)
        .max_encoding_message_size(bytes);
    let served = link.server()?.add_service(service).serve_with_shutdown(listen, stop).await;
    served.map_err(|error| NodeError::Failed(format!("listening on {listen}: {}", chain(&error))))
}

/// How an executor runs.
#[derive(Clone, Debug)]
pub struct ExecutorSettings {
    /// Host and port of its scheduler.
    pub scheduler: (String, u16),
    /// Where it listens: others fetch from there what its tasks came to.
    pub listen: SocketAddr,
    /// The host by which others reach it.
    pub host: String,
    /// Tasks that it runs at a time.
    pub cores: usize,
    /// Bytes of intermediate results that it holds in memory at most.
    pub memory: u64,
    /// Where it keeps what its tasks came to, and what does not fit into memory.
    pub work: PathBuf,
    /// Where it keeps the facts of chunks.
    pub facts: PathBuf,
    /// How nodes speak to each other.
    pub link: Link,
}

/// Runs an executor over an archive until it is told to end by SIGTERM or Ctrl-C: tasks that it has begun are done
/// then.
pub async fn serve_executor(
    settings: ExecutorSettings,
    source: Box<dyn ArchiveSource + Send + Sync>,
) -> Result<(), NodeError> {
    let ExecutorSettings { scheduler, listen, host, cores, memory, work, facts, link } = settings;
    for host in [&scheduler.0, &host, &listen.ip().to_string()] {
        link.check(host)?;
    }
    for path in [&work, &facts] {
        make_directory(path).map_err(|error| NodeError::Directory { path: path.clone(), error })?;
    }
    let codec = Arc::new(Codec::new(Some(Arc::new(Reader { source, facts }))));
    let server = link.clone();
    // Made once before it is needed, so that a certificate that is none is told at the beginning.
    server.server()?;
    let flight = move |work_dir: String,
                       address,
                       mut stop: ballista_executor::shutdown::Shutdown,
                       _config| {
        let server = server.clone();
        tokio::spawn(async move {
            let bytes = usize::try_from(MESSAGE_BYTES).unwrap_or(usize::MAX);
            let service = FlightServiceServer::new(BallistaFlightService::new(work_dir))
                .max_decoding_message_size(bytes)
                .max_encoding_message_size(bytes);
            let told = |error: String| BallistaError::General(error);
            let mut server = server.server().map_err(|error| told(error.to_string()))?;
            let served = server.add_service(service).serve_with_shutdown(address, stop.recv());
            served.await.map_err(|error| told(format!("listening on {address}: {}", chain(&error))))
        })
    };
    let config = ExecutorProcessConfig {
        bind_host: listen.ip().to_string(),
        external_host: Some(host),
        port: listen.port(),
        scheduler_host: scheduler.0,
        scheduler_port: scheduler.1,
        scheduler_connect_timeout_seconds: REACH_SECONDS,
        vcores: cores.max(1),
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        work_dir: Some(work.display().to_string()),
        memory_pool_size: Some(memory),
        grpc_max_decoding_message_size: MESSAGE_BYTES,
        grpc_max_encoding_message_size: MESSAGE_BYTES,
        override_config_producer: Some(config(&codec, &link)),
        override_logical_codec: Some(Arc::clone(&codec) as _),
        override_physical_codec: Some(codec),
        override_arrow_flight_service: Some(Arc::new(flight)),
        override_create_grpc_client_endpoint: link.endpoint(),
        ..ExecutorProcessConfig::default()
    };
    Ok(start_executor_process(Arc::new(config)).await?)
}

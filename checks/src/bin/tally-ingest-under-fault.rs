//! `tally-ingest-under-fault`: the ingest service, with a death that is told beforehand.

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use checks::broker;
use clap::{Parser, ValueEnum};
use ingest::access::AdminTokens;
use ingest::chain::{Probe, Step};
use ingest::config::ConsumerConfig;
use ingest::queue::node::RunningNode;
use ingest::{Config, Service, SystemClock, keyfile};
use ledger::names::Origin;
use tokio::signal::unix::{SignalKind, signal};

/// Serves as `tally-ingest serve` does, until it comes to a step for the nth time: there it kills
/// its own process, as `kill -9` would.
#[derive(Parser)]
struct Cli {
    /// Name of the ledger.
    #[arg(long)]
    origin: String,
    /// Postgres URL.
    #[arg(long)]
    database_url: String,
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// PKCS#8 PEM file with the receipt key.
    #[arg(long)]
    receipt_key: PathBuf,
    /// PKCS#8 PEM file with the custodian key.
    #[arg(long)]
    custodian_key: PathBuf,
    /// Who administers.
    #[arg(long, value_name = "NAME=sha256:HEX")]
    admin_token_hash: String,
    /// Brokers of the queue; submissions are recorded at once where they are not given.
    #[arg(long)]
    queue_servers: Option<String>,
    /// Consumer group; that of the defaults where it is not given.
    #[arg(long)]
    queue_group: Option<String>,
    /// Streams of Redis that submissions lie in.
    #[arg(long, default_value_t = 8)]
    queue_partitions: i32,
    /// Replicas of Redis that must have a submission.
    #[arg(long, default_value_t = 0)]
    queue_replicas: u32,
    /// Recorded messages that each stream of Redis keeps.
    #[arg(long, default_value_t = 1_000)]
    queue_keep: u32,
    /// How long the broker may take to store a submission, in seconds.
    #[arg(long, default_value_t = 10)]
    queue_put_timeout: u64,
    /// Whether to serve, to consume, or both.
    #[arg(long, value_enum, default_value_t = Part::Both)]
    part: Part,
    /// The step to die at; none where it is not given.
    #[arg(long, value_parser = |name: &str| Step::parse(name).ok_or("there is no such step"))]
    abort_at: Option<Step>,
    /// At which passage of that step, from 1.
    #[arg(long, default_value_t = 1)]
    passage: u64,
}

/// What a process does of a ledger with a queue.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Serve,
    Consume,
    Both,
}

/// Kills the process at one passage of one step.
struct Abort {
    step: Option<Step>,
    passage: u64,
    passed: AtomicU64,
}

impl Probe for Abort {
    fn at(&self, step: Step) {
        if self.step == Some(step) && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == self.passage
        {
            std::process::abort();
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "tally-ingest-under-fault: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(cli: Cli) -> Result<(), Box<dyn Error>> {
    let key = keyfile::read(&cli.receipt_key)?;
    let custodian = keyfile::read(&cli.custodian_key)?;
    let origin = Origin::new(&cli.origin)?;
    let mut config = Config::new(origin, &cli.database_url, key, custodian);
    config.admin_tokens = AdminTokens::new(cli.admin_token_hash.split_once('='))?;
    config.listen = cli.listen;
    let abort = Abort { step: cli.abort_at, passage: cli.passage, passed: AtomicU64::new(0) };
    let mut terminated = signal(SignalKind::terminate())?;
    config.broker = cli.queue_servers.as_deref().map(broker::settings);
    if let Some(broker) = &mut config.broker {
        broker.put_timeout = Duration::from_secs(cli.queue_put_timeout);
        broker.partitions = cli.queue_partitions;
        broker.replicas = cli.queue_replicas;
        broker.keep = cli.queue_keep;
        broker.consume = cli.part == Part::Both;
        broker.group = cli.queue_group.unwrap_or(std::mem::take(&mut broker.group));
        // Sooner than an operator would: tests wait for it.
        broker.options.insert("session.timeout.ms".to_owned(), "6000".to_owned());
    }
    if cli.part == Part::Consume {
        let consumer = consumer(config).ok_or("a consumer needs --queue-servers")?;
        let running = RunningNode::start(consumer, Arc::new(SystemClock), Arc::new(abort)).await?;
        terminated.recv().await;
        running.shutdown().await;
        return Ok(());
    }
    let service = Service::start(config, Arc::new(SystemClock), Arc::new(abort)).await?;
    terminated.recv().await;
    service.shutdown().await;
    Ok(())
}

/// The settings of a consumer of the same ledger, which answers at the service's address.
fn consumer(config: Config) -> Option<ConsumerConfig> {
    let mut telemetry = config.telemetry;
    telemetry.metrics_listen = Some(config.listen);
    Some(ConsumerConfig {
        origin: config.origin,
        database_url: config.database_url,
        database_read_url: config.database_read_url,
        seal_verifier_key: config.seal_verifier_key,
        archive_url: config.archive_url,
        limits: config.limits,
        max_keys: config.max_keys,
        filter_mib: config.filter_mib,
        broker: config.broker?,
        telemetry,
    })
}

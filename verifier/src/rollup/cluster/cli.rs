//! The command line of `tally-cluster`, and what `tally-archiver rollup` takes of a cluster.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use super::super::{RollupError, Scratch};
use super::{
    Cluster, ClusterSettings, ExecutorSettings, Link, NodeError, SchedulerSettings, Tls,
    serve_executor, serve_scheduler,
};
use crate::exit;
use crate::store::{self, S3Settings, SourceError};

/// Where a scheduler listens: `http://host:port` on the loopback, `https://host:port` with certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SchedulerUrl {
    secure: bool,
    host: String,
    port: u16,
}

fn scheduler_url(text: &str) -> Result<SchedulerUrl, String> {
    let read = || {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| SchedulerUrl { secure, host: host.to_owned(), port })
    };
    read().ok_or_else(|| {
        "an address like http://127.0.0.1:50050 or https://scheduler.example.org:50050 is expected".to_owned()
    })
}

/// The certificates of a node.
#[derive(Args, Clone, Debug)]
struct TlsArgs {
    /// The authority that has signed the certificates of all nodes, in PEM.
    #[arg(long, value_name = "FILE", requires_all = ["tls_certificate", "tls_key"])]
    tls_authority: Option<PathBuf>,
    /// The certificate that this program shows, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_authority")]
    tls_certificate: Option<PathBuf>,
    /// Its key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_authority")]
    tls_key: Option<PathBuf>,
}

impl TlsArgs {
    fn link(&self) -> Result<Link, NodeError> {
        let Self {
            tls_authority: Some(authority),
            tls_certificate: Some(certificate),
            tls_key: Some(key),
        } = self
        else {
            return Ok(Link::Loopback);
        };
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| NodeError::Directory { path: path.to_owned(), error })
        };
        let (authority, certificate) = (read(authority)?, read(certificate)?);
        Ok(Link::Tls(Tls { authority, certificate, key: read(key)? }))
    }

    /// The link to a scheduler, which its address has to agree with.
    fn link_to(&self, url: &SchedulerUrl) -> Result<Link, NodeError> {
        let link = self.link()?;
        match (url.secure, &link) {
            (true, Link::Loopback) => Err(NodeError::Usage(
                "an https scheduler takes --tls-authority, --tls-certificate and --tls-key",
            )),
            (false, Link::Tls(_)) => {
                Err(NodeError::Usage("certificates are of use with an https scheduler alone"))
            }
            _ => Ok(link),
        }
    }
}

/// What the driver of a cluster is told.
#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// Compute on the cluster behind this scheduler: http://127.0.0.1:50050, or https:// with certificates.
    #[arg(long, value_name = "URL", value_parser = scheduler_url)]
    scheduler: Option<SchedulerUrl>,
    /// How long one job of a cluster may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "scheduler")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    deadline: u64,
    /// How often a job is tried that fails, or is not done in time.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, requires = "scheduler")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
    /// Over how many tasks the reading of a job's chunks is spread at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 8, requires = "scheduler")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_024))]
    partitions: u16,
    #[command(flatten)]
    tls: TlsArgs,
}

impl ClusterArgs {
    /// The cluster, where one is asked for.
    pub fn cluster(&self) -> Result<Option<Cluster>, RollupError> {
        let Some(url) = &self.scheduler else { return Ok(None) };
        let link = self.tls.link_to(url);
        let settings = ClusterSettings {
            scheduler: (url.host.clone(), url.port),
            deadline: Duration::from_secs(self.deadline),
            attempts: self.attempts,
            partitions: usize::from(self.partitions),
            link: link.map_err(|error| RollupError::Engine(error.to_string()))?,
        };
        Cluster::new(settings).map(Some)
    }
}

/// The nodes of a cluster that computes rollups: one scheduler, and executors that read the archive.
///
/// They listen on the loopback, or anywhere with certificates that one authority has signed. They need no database and
/// no key of the ledger.
#[derive(Debug, Parser)]
#[command(name = "tally-cluster", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cut plans into tasks, and give them to executors, until told to stop (SIGTERM).
    Scheduler(Scheduler),
    /// Run tasks over an archive, until told to stop (SIGTERM).
    Executor(Box<Executor>),
}

#[derive(Debug, Args)]
struct Scheduler {
    /// Where to listen.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50050")]
    listen: SocketAddr,
    /// After how many seconds an executor that is silent counts as gone: its tasks are given to others.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(10..=86_400))]
    executor_timeout: u64,
    #[command(flatten)]
    tls: TlsArgs,
}

#[derive(Debug, Args)]
struct Executor {
    /// The scheduler: http://127.0.0.1:50050, or https:// with certificates.
    #[arg(long, value_name = "URL", value_parser = scheduler_url)]
    scheduler: SchedulerUrl,
    /// Where the archive lies: a directory, file:///path, or s3://bucket/prefix.
    #[arg(long, value_name = "URL")]
    archive: String,
    #[command(flatten)]
    s3: S3Settings,
    /// Where to listen: other executors and the driver fetch results from there.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// The host by which others reach it, where that is not the address it listens on.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Tasks at a time; as many as there are cores where it is not given.
    #[arg(long, value_name = "NUMBER")]
    cores: Option<NonZero<usize>>,
    /// Most memory of intermediate results, in MiB: what is above goes to disk.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u64).range(32..=1_048_576))]
    memory_mib: u64,
    /// Directory of its own for what it has read and computed; a temporary one where it is not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Plans are read and written by recursion, and ours are deep: two megabytes, which threads have by default, are too
/// little for a build without optimisation.
const STACK_BYTES: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Scratch(#[from] RollupError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            Self::Node(NodeError::Link(_) | NodeError::Usage(_))
            | Self::Source(SourceError::Settings(_) | SourceError::Address(_)) => exit::USAGE,
            _ => exit::UNFINISHED,
        }
    }
}

/// Runs the command line, and gives the exit code: 0 told to stop; 2 usage; 3 failed.
pub fn run() -> ExitCode {
    crate::rows::quiet_decoder();
    match serve(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even stderr is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "tally-cluster: {error}");
            ExitCode::from(error.code())
        }
    }
}

fn serve(command: Command) -> Result<(), CliError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_stack_size(STACK_BYTES).build()?;
    match command {
        Command::Scheduler(Scheduler { listen, executor_timeout, tls }) => {
            let link = tls.link()?;
            let executor_timeout = Duration::from_secs(executor_timeout);
            let settings = SchedulerSettings { listen, executor_timeout, link };
            Ok(runtime.block_on(async {
                let mut told = signal(SignalKind::terminate())
                    .map_err(|error| NodeError::Failed(error.to_string()))?;
                let stop = async move {
                    tokio::select! {
                        _ = told.recv() => {}
                        _ = tokio::signal::ctrl_c() => {}
                    }
                };
                serve_scheduler(settings, stop).await
            })?)
        }
        Command::Executor(executor) => {
            let Executor { scheduler, archive, s3, listen, host, cores, memory_mib, dir, tls } =
                *executor;
            let link = tls.link_to(&scheduler)?;
            let source = store::open(&archive, &s3)?;
            let scratch = Scratch::new()?;
            let dir = dir.unwrap_or_else(|| scratch.path().to_owned());
            let cores = cores.or_else(|| available_parallelism().ok()).map_or(1, NonZero::get);
            let settings = ExecutorSettings {
                scheduler: (scheduler.host, scheduler.port),
                listen,
                host: host.unwrap_or_else(|| listen.ip().to_string()),
                cores,
                memory: memory_mib << 20,
                work: dir.join("work"),
                facts: dir.join("facts"),
                link,
            };
            Ok(runtime.block_on(serve_executor(settings, source))?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_schedulers() {
        let url = |text: &str| scheduler_url(text).map(|url| (url.secure, url.host, url.port));
        assert_eq!(url("http://127.0.0.1:50050"), Ok((false, "127.0.0.1".to_owned(), 50050)));
        assert_eq!(url("https://a.example:1/"), Ok((true, "a.example".to_owned(), 1)));
        assert_eq!(url("http://[::1]:5"), Ok((false, "[::1]".to_owned(), 5)));
        for wrong in
            ["127.0.0.1:50050", "http://:1", "http://a", "http://a:0", "http://a:x", "ftp://a:1"]
        {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}

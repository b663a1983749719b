//! `tally-archiver run`: the daemon in its process, with signals and log lines.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{CliError, archiver, now, open_vault};
use crate::config::{Config, LogFormat};
use crate::daemon::{self, Schedule, Stop};

/// Runs until SIGTERM or SIGINT, or until someone must look.
///
/// A database that is not there yet is waited for; settings and the store's address have to be right.
pub(super) fn run(config: &Config) -> Result<(), CliError> {
    log_to_stderr(config.log_format);
    // Sealing keeps a thread busy, so that signals need another one.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let stop = Arc::new(Stop::new());
    let _guard = runtime.enter();
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    for mut signal in signals {
        let stop = Arc::clone(&stop);
        runtime.spawn(async move {
            while signal.recv().await.is_some() {
                tracing::info!("stopping between two steps");
                stop.stop();
            }
        });
    }
    let vault = open_vault(config)?;
    let archiver = archiver(config, &*vault, &*stop)?;
    tracing::info!(
        origin = %config.origin,
        archive = %config.archive_url,
        grace_seconds = config.grace.as_secs(),
        version = env!("CARGO_PKG_VERSION"),
        "sealing each hour as it closes"
    );
    let now = || now().ok();
    let schedule = Schedule::new(config.grace, config.retention_policy.clone());
    // A policy that cannot be used is told now, and not after the first hour.
    schedule.policy()?;
    runtime.block_on(daemon::run(&archiver, &schedule, &now, &stop))?;
    tracing::info!("stopped");
    Ok(())
}

/// `RUST_LOG` says what is logged: `info` where it is not set.
fn log_to_stderr(format: LogFormat) {
    let chosen =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_span_list(false).with_ansi(false).boxed()
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(chosen)).init();
}

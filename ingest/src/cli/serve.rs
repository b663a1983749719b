//! `serve` and `migrate`.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{CliError, ServeArgs, print};
use crate::chain::NoProbe;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::service::Service;
use crate::store;

/// The settings; `None` where they were only to be printed.
fn settings(args: ServeArgs) -> Result<Option<Settings>, CliError> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    Settings::check_variables(names)?;
    let settings = args.settings.with_file()?;
    if args.print_config {
        write!(io::stdout(), "{settings}")?;
        return Ok(None);
    }
    Ok(Some(settings))
}

pub(super) fn serve(runtime: &Runtime, args: ServeArgs) -> Result<(), CliError> {
    let Some(settings) = settings(args)? else {
        return Ok(());
    };
    let config = settings.into_config()?;
    log_to_stderr();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let origin = config.origin.clone();
        let running = Service::start(config, Arc::new(SystemClock), Arc::new(NoProbe)).await?;
        let address = running.local_addr();
        tracing::info!(%origin, %address, "serving");
        print(format_args!("listening on http://{address}"))?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        running.shutdown().await;
        tracing::info!("stopped");
        Ok(())
    })
}

pub(super) fn migrate(runtime: &Runtime, args: ServeArgs) -> Result<(), CliError> {
    let Some(settings) = settings(args)? else {
        return Ok(());
    };
    let origin = settings.origin()?;
    runtime.block_on(store::migrate(settings.database_url()?, &origin))?;
    Ok(print(format_args!("the schema is up to date, the database is that of {origin}"))?)
}

/// Logs hold names, seqs and errors: no payload, no key material.
fn log_to_stderr() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

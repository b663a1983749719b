//! `serve` and `migrate`.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) use super::ServeArgs;
use super::{CliError, print};
use crate::chain::NoProbe;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::service::Service;
use crate::store;
use crate::telemetry::Telemetry;

/// How long the service may take to stop, the last spans included.
pub(super) const STOP: Duration = Duration::from_millis(9_900);
/// How long the last spans may take of that.
pub(super) const SPANS: Duration = Duration::from_secs(3);

/// The settings; `None` where they were only to be printed.
pub(super) fn settings(args: ServeArgs) -> Result<Option<Settings>, CliError> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    Settings::check_variables(names)?;
    let settings = args.settings.with_file()?;
    if args.print_config {
        write!(io::stdout(), "{settings}")?;
        return Ok(None);
    }
    Ok(Some(settings))
}

/// The signals that tell a process to stop, from when this is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn told_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("stopping");
    }
}

pub(super) fn serve(runtime: &Runtime, args: ServeArgs) -> Result<(), CliError> {
    let Some(settings) = settings(args)? else {
        return Ok(());
    };
    let config = settings.into_config()?;
    runtime.block_on(async {
        let telemetry = Telemetry::start(&config.telemetry, config.origin.as_str())?;
        let mut signals = Signals::new()?;
        let origin = config.origin.clone();
        let scheme = if config.door.tls.is_some() { "https" } else { "http" };
        let running = Service::start(config, Arc::new(SystemClock), Arc::new(NoProbe)).await?;
        let address = running.local_addr();
        tracing::info!(%origin, %address, "serving");
        print(format_args!("listening on {scheme}://{address}"))?;
        signals.told_to_stop().await;
        let stopping = Instant::now();
        running.shutdown().await;
        tracing::info!("stopped");
        telemetry.end(STOP.saturating_sub(stopping.elapsed()).min(SPANS)).await;
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

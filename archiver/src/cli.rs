//! The command line of `tally-archiver`.
//!
//! Exit codes: 0 done; 2 wrong usage or settings; 3 could not finish, running again may help; 4
//! stopped because ledger, database and store disagree, so that someone must look.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use ledger::time::Micros;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use verifier::store::FileSource;

use crate::SealError;
use crate::chunk::Limits;
use crate::config::{Config, ConfigError, Settings};
use crate::seal::{Archiver, Sealed, SealedHour};
use crate::status::{Status, status};
use crate::vault::FileVault;

/// How long to try to reach the database.
const CONNECT: Duration = Duration::from_secs(3);

/// Seals closed hours of the ledger into its archive.
///
/// Exit codes: 0 done; 2 wrong usage or settings; 3 could not finish, running again may help; 4
/// stopped because ledger, database and store disagree: someone must look.
#[derive(Debug, Parser)]
#[command(name = "tally-archiver", version)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// Print the settings, without secrets, and stop
    #[arg(long, global = true)]
    print_config: bool,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Seal every hour that has closed, once
    Seal,
    /// Say how far sealing has come
    Status,
}

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("name a command: seal or status")]
    NoCommand,
    #[error("the system's clock stands before 1970 or after 9999: set it")]
    Clock,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("printing: {0}")]
    Print(#[from] std::io::Error),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::NoCommand => 2,
            Self::Clock | Self::Print(_) => 3,
            Self::Seal(error) => error.code(),
        }
    }
}

/// Runs the command line, and gives the exit code.
pub fn run() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even stderr is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "tally-archiver: {error}");
            ExitCode::from(error.code())
        }
    }
}

fn now() -> Result<Micros, CliError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| CliError::Clock)?;
    let micros = i64::try_from(since.as_micros()).ok().and_then(Micros::new);
    micros.ok_or(CliError::Clock)
}

impl Cli {
    fn run(self) -> Result<(), CliError> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Settings::check_variables(names)?;
        let config = self.settings.load()?;
        if self.print_config {
            return Ok(write!(std::io::stdout(), "{config}")?);
        }
        let command = self.command.ok_or(CliError::NoCommand)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (text, json) = runtime.block_on(async {
            match command {
                Command::Seal => {
                    let sealed = seal(&config).await?;
                    Ok::<_, CliError>((sealed.to_string(), sealed_json(&sealed)))
                }
                Command::Status => {
                    let pool = connect(&config).await?;
                    let source = FileSource::open(&config.archive_url).map_err(SealError::from)?;
                    let status = status(&pool, &source, now()?).await?;
                    Ok((status.to_string(), status_json(&status)))
                }
            }
        })?;
        let mut out = std::io::stdout();
        Ok(if self.json { writeln!(out, "{json}") } else { write!(out, "{text}") }?)
    }
}

async fn connect(config: &Config) -> Result<PgPool, SealError> {
    let options = PgPoolOptions::new().acquire_timeout(CONNECT).max_connections(1);
    Ok(options.connect(&config.database_url).await?)
}

async fn seal(config: &Config) -> Result<Sealed, CliError> {
    let signer = config.signer()?;
    let vault = FileVault::open(&config.archive_url).map_err(SealError::from)?;
    let pool = connect(config).await?;
    let archiver = Archiver {
        pool,
        vault: &vault,
        signer,
        origin: config.origin.clone(),
        limits: Limits::DEFAULT,
        probe: &(),
    };
    Ok(archiver.seal(now()?, config.grace).await?)
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.recovered > 0 {
            writeln!(f, "took up {} leaves that an earlier run had published", self.recovered)?;
        }
        for SealedHour { hour, chunks, events, payload_bytes, object_bytes } in &self.hours {
            writeln!(
                f,
                "sealed {hour}: {events} events in {chunks} chunks, {payload_bytes} bytes of \
                 payload, {object_bytes} bytes of objects"
            )?;
        }
        if self.hours.is_empty() {
            writeln!(f, "nothing to seal")?;
        }
        writeln!(f, "the log has {} leaves", self.log_size)
    }
}

fn sealed_json(sealed: &Sealed) -> Value {
    let hour = |hour: &SealedHour| {
        json!({
            "hour": hour.hour.to_string(),
            "chunks": hour.chunks,
            "events": hour.events,
            "payload_bytes": hour.payload_bytes,
            "object_bytes": hour.object_bytes,
        })
    };
    json!({
        "hours": sealed.hours.iter().map(hour).collect::<Vec<_>>(),
        "recovered_leaves": sealed.recovered,
        "log_size": sealed.log_size,
    })
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last_hour {
            None => writeln!(f, "nothing is sealed yet")?,
            Some(hour) => {
                writeln!(f, "sealed through {hour}, {} hours behind the clock", self.hours_behind)?
            }
        }
        writeln!(f, "the log has {} leaves of {} workspaces", self.log_size, self.workspaces)?;
        match self.stored_log_size {
            Some(size) if size == self.log_size => Ok(()),
            None if self.log_size == 0 => Ok(()),
            None => writeln!(f, "the store has no readable checkpoint"),
            Some(size) => writeln!(f, "the store's checkpoint has {size} leaves: run seal"),
        }
    }
}

fn status_json(status: &Status) -> Value {
    json!({
        "last_hour": status.last_hour.map(|hour| hour.to_string()),
        "hours_behind": status.hours_behind,
        "log_size": status.log_size,
        "stored_log_size": status.stored_log_size,
        "workspaces": status.workspaces,
    })
}

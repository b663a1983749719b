//! The command line of `tally-archiver`.
//!
//! Exit codes: 0 done; 2 wrong usage or settings; 3 could not finish, running again may help; 4
//! stopped because ledger, database and store disagree, so that someone must look.

mod keys;
mod retain;
mod rollup;
mod service;
mod status;

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use ledger::time::Micros;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use verifier::store::{self, FileSource, SourceError};
use verifier::trust::{self, TrustError};

use keys::{KeygenArguments, RevokeArguments, RotateArguments};
use retain::RetainArguments;
use rollup::{PublishArguments, RollupArguments};

use crate::SealError;
use crate::config::{Config, ConfigError, Settings};
use crate::erase::Outcome;
use crate::keyfile;
use crate::passes;
use crate::restore::{RestoreError, Restored, restore};
use crate::rotate::{Change, Changed};
use crate::seal::{Archiver, Sealed, SealedHour};
use crate::status::Status;
use crate::step::Probe;
use crate::vault::{self, Guarantee, Guarantees, S3Vault, Vault, VaultError};

/// How long to try to reach the database.
const CONNECT: Duration = Duration::from_secs(3);

/// Seals closed hours of the ledger into its archive.
///
/// Exit codes: 0 done; 2 wrong usage or settings; 3 could not finish, running again may help; 4
/// stopped because ledger, database and store disagree: someone must look. `run` ends by itself with 4
/// alone; `status --check` gives 3 and 4 for what it finds.
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

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Seal each hour as it closes, carry out erasures and retention, until told to stop (SIGTERM)
    Run,
    /// Seal every hour that has closed, once
    Seal,
    /// Take payloads out of archive and database that their chains erase, once
    Erase,
    /// Let go what the retention policy does not keep any longer, once
    Retain(RetainArguments),
    /// Compute what is due of the rollups: figures of each day, from the sealed archive alone
    Rollup(RollupArguments),
    /// Load what was rolled up from the archive into the schema `marts` of the database
    Publish(PublishArguments),
    /// Say what is sealed, what waits, and how the last passes ended
    Status(StatusArguments),
    /// Make a seal key
    Keygen(KeygenArguments),
    /// Let another seal key take the place of the one in force, which signs for it
    Rotate(RotateArguments),
    /// Revoke a stolen seal key; where it is in force, the configured one takes its place
    Revoke(RevokeArguments),
    /// Make a lost database again from the archive: all of it, verified, or nothing
    Restore(RestoreArguments),
}

#[derive(Clone, Copy, Debug, Args)]
struct StatusArguments {
    /// Exit with 3 where hours wait to be sealed or the last pass failed, with 4 where someone must
    /// look: for monitoring
    #[arg(long)]
    check: bool,
    /// How many hours may wait: one that has just ended waits for its grace and its turn
    #[arg(long, value_name = "HOURS", default_value_t = 1, requires = "check")]
    max_hours_behind: u64,
}

#[derive(Clone, Debug, Args)]
struct RestoreArguments {
    /// Trust file of an auditor: the ledger's name and public keys, not taken from the archive
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "name a command: run, seal, erase, retain, rollup, publish, status, rotate, revoke, keygen or restore"
    )]
    NoCommand,
    #[error("the system's clock stands before 1970 or after 9999: set it")]
    Clock,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("cannot read the trust file {path}: {error}")]
    TrustFile { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("printing: {0}")]
    Print(#[from] std::io::Error),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::NoCommand
            | Self::TrustFile { .. }
            | Self::Trust(_)
            | Self::Seal(SealError::Policy(_))
            | Self::Seal(SealError::Vault(VaultError::Source(SourceError::Settings(_)))) => 2,
            Self::Clock | Self::Print(_) => 3,
            Self::Seal(error) => error.code(),
            Self::Restore(error) => error.code(),
        }
    }
}

/// Runs the command line, and gives the exit code.
pub fn run() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => ExitCode::from(code),
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
    fn run(self) -> Result<u8, CliError> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Settings::check_variables(names)?;
        if let Some(Command::Keygen(arguments)) = &self.command {
            let said = keys::keygen(arguments, self.settings)?;
            writeln!(std::io::stdout(), "{said}")?;
            return Ok(0);
        }
        let config = self.settings.load()?;
        if self.print_config {
            write!(std::io::stdout(), "{config}")?;
            return Ok(0);
        }
        let command = self.command.ok_or(CliError::NoCommand)?;
        if matches!(command, Command::Run) {
            return service::run(&config).map(|()| 0);
        }
        let runtime = match command {
            // Its work is spread over all cores.
            Command::Rollup(_) => tokio::runtime::Builder::new_multi_thread(),
            _ => tokio::runtime::Builder::new_current_thread(),
        };
        let runtime = { runtime }.enable_all().build()?;
        let (text, json, code) = runtime.block_on(async {
            match command {
                Command::Run | Command::Keygen(_) => Err(CliError::NoCommand),
                Command::Seal => {
                    let sealed = seal(&config).await?;
                    Ok((sealed.to_string(), sealed_json(&sealed), 0))
                }
                Command::Erase => {
                    let erased = erase(&config).await?;
                    Ok((erased.to_string(), erased_json(&erased), 0))
                }
                Command::Retain(arguments) => {
                    let retained = retain::retain(&config, arguments).await?;
                    Ok((retained.to_string(), retain::json(&retained), 0))
                }
                Command::Rollup(arguments) => {
                    let rolled = rollup::roll_up(&config, arguments).await?;
                    Ok((rolled.to_string(), rollup::rolled_json(&rolled), 0))
                }
                Command::Publish(arguments) => {
                    let published = rollup::publish(&config, arguments).await?;
                    Ok((published.to_string(), rollup::published_json(&published), 0))
                }
                Command::Restore(arguments) => {
                    let restored = restore_from(&config, arguments).await?;
                    Ok((restored.to_string(), restored_json(&restored), 0))
                }
                Command::Rotate(arguments) => {
                    let changed = change_key(&config, arguments.change(&config)?).await?;
                    Ok((changed.to_string(), keys::json(&changed), 0))
                }
                Command::Revoke(arguments) => {
                    let changed = change_key(&config, arguments.change()).await?;
                    Ok((changed.to_string(), keys::json(&changed), 0))
                }
                Command::Status(StatusArguments { check, max_hours_behind }) => {
                    let pool = pool(&config)?;
                    let status = look(&config, &pool).await?;
                    let code = if check { status.code(max_hours_behind) } else { 0 };
                    Ok((status.to_string(), status::json(&status), code))
                }
            }
        })?;
        let mut out = std::io::stdout();
        if self.json { writeln!(out, "{json}") } else { write!(out, "{text}") }?;
        Ok(code)
    }
}

/// The database. It is reached where it is needed.
fn pool(config: &Config) -> Result<PgPool, SealError> {
    let options = PgPoolOptions::new().acquire_timeout(CONNECT).max_connections(1);
    Ok(options.connect_lazy(&config.database_url)?)
}

async fn look(config: &Config, pool: &PgPool) -> Result<Status, CliError> {
    let address = &config.archive_url;
    let mut status = if store::is_s3(address) {
        let vault = S3Vault::open(address, &config.s3).map_err(SealError::from)?;
        crate::status::status(pool, &vault, Some(&vault), now()?).await?
    } else {
        // Looking makes no directory, and of a directory it is known what it does.
        let source = FileSource::open(address).map_err(SealError::from)?;
        crate::status::status(pool, &source, None, now()?).await?
    };
    // Who looks need not be able to read the key.
    status.plain_key_file =
        keyfile::is_encrypted(&config.seal_key).is_ok_and(|encrypted| !encrypted);
    Ok(status)
}

/// What works on the archive and its database. Settings and key are read before anything is reached.
fn archiver<'a>(
    config: &Config,
    vault: &'a dyn Vault,
    probe: &'a dyn Probe,
) -> Result<Archiver<'a>, CliError> {
    let signer = Arc::new(config.signer()?);
    let (origin, limits) = (config.origin.clone(), config.limits);
    Ok(Archiver { pool: pool(config)?, vault, signer, origin, limits, probe })
}

fn open_vault(config: &Config) -> Result<Box<dyn Vault>, SealError> {
    Ok(vault::open(&config.archive_url, &config.s3)?)
}

async fn seal(config: &Config) -> Result<Sealed, CliError> {
    let (vault, now) = (open_vault(config)?, now()?);
    let archiver = archiver(config, &*vault, &())?;
    let sealed = archiver.seal(now, config.grace).await;
    passes::record(&archiver.pool, now, &sealed).await;
    Ok(sealed?)
}

async fn erase(config: &Config) -> Result<Outcome, CliError> {
    let vault = open_vault(config)?;
    Ok(archiver(config, &*vault, &())?.erase().await?)
}

async fn change_key(
    config: &Config,
    (change, reason): (Change, String),
) -> Result<Changed, CliError> {
    let vault = open_vault(config)?;
    Ok(archiver(config, &*vault, &())?.change_key(&change, &reason, now()?, config.grace).await?)
}

async fn restore_from(
    config: &Config,
    RestoreArguments { trust: path }: RestoreArguments,
) -> Result<Restored, CliError> {
    let text = std::fs::read_to_string(&path);
    let trust = trust::parse(&text.map_err(|error| CliError::TrustFile { path, error })?)?;
    if trust.origin != config.origin {
        let (trusted, found) = (trust.origin.to_string(), config.origin.to_string());
        return Err(RestoreError::Origin { trusted, found }.into());
    }
    let source = store::open(&config.archive_url, &config.s3).map_err(SealError::from)?;
    let pool = pool(config)?;
    Ok(restore(&pool, &source, &trust, now()?, &()).await?)
}

fn restored_json(restored: &Restored) -> Value {
    json!({
        "log_size": restored.log_size,
        "chunks": restored.chunks,
        "events": restored.events,
        "workspaces": restored.workspaces,
        "through": restored.through.to_string(),
        "noticed": restored.noticed.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
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
        if self.kept > 0 {
            writeln!(f, "the store keeps {} tiles that fuller ones replace", self.kept)?;
        }
        write_guarantees(f, self.guarantees)?;
        writeln!(f, "the log has {} leaves", self.log_size)
    }
}

/// What of the store an operator must know; nothing where it has not been found out.
fn write_guarantees(f: &mut fmt::Formatter<'_>, guarantees: Guarantees) -> fmt::Result {
    if guarantees == Guarantees::default() {
        return Ok(());
    }
    writeln!(f, "{guarantees}")?;
    if guarantees.create == Guarantee::Compared {
        writeln!(f, "let nobody but this archiver write there, and see docs/operating/s3.md")?;
    }
    Ok(())
}

fn guarantees_json(guarantees: Guarantees) -> Value {
    let Guarantees { create, replace } = guarantees;
    json!({ "create": create.as_str(), "replace": replace.as_str() })
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
        "kept_tiles": sealed.kept,
        "guarantees": guarantees_json(sealed.guarantees),
    })
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.recovered > 0 {
            writeln!(f, "took up {} leaves that an earlier run had published", self.recovered)?;
        }
        if self.payloads == 0 {
            writeln!(f, "nothing to erase")?;
        } else {
            let Self { payloads, requests, chunks, .. } = self;
            writeln!(
                f,
                "erased {payloads} payloads for {requests} requests; {chunks} chunks were written \
                 anew"
            )?;
        }
        if self.waiting > 0 {
            writeln!(
                f,
                "{} payloads wait until the hour of their request is sealed: run seal, then erase",
                self.waiting
            )?;
        }
        for key in &self.kept {
            writeln!(f, "the store keeps {key}, which still has what was erased")?;
        }
        writeln!(f, "the log has {} leaves", self.log_size)
    }
}

fn erased_json(erased: &Outcome) -> Value {
    json!({
        "payloads": erased.payloads,
        "requests": erased.requests,
        "chunks": erased.chunks,
        "waiting_payloads": erased.waiting,
        "kept_objects": erased.kept,
        "recovered_leaves": erased.recovered,
        "log_size": erased.log_size,
    })
}

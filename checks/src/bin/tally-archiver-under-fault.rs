//! `tally-archiver-under-fault`: the archiver, with a death that is told beforehand, at a time that is
//! told too.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use archiver::chunk::Limits;
use archiver::policy::RetentionPolicy;
use archiver::seal::Archiver;
use archiver::step::{Probe, Step};
use archiver::vault::FileVault;
use clap::{Parser, ValueEnum};
use ledger::names::Origin;
use ledger::note::NoteSigner;
use ledger::time::Micros;
use sqlx::PgPool;

/// Works as `tally-archiver` does, until it has taken so many steps: there its own process is killed
/// (SIGKILL).
#[derive(Parser)]
struct Cli {
    /// What to do.
    work: Work,
    /// Name of the ledger.
    #[arg(long)]
    origin: String,
    /// Postgres URL.
    #[arg(long)]
    database_url: String,
    /// Directory of the archive.
    #[arg(long)]
    archive: String,
    /// PKCS#8 PEM file with the seal key.
    #[arg(long)]
    seal_key: PathBuf,
    /// What the clock says, in microseconds since 1970.
    #[arg(long)]
    now: i64,
    /// How long an hour stays open, in seconds.
    #[arg(long)]
    grace: u64,
    /// Most rows of a chunk.
    #[arg(long)]
    rows: u64,
    /// Most bytes of payload of a chunk.
    #[arg(long, default_value_t = 1 << 20)]
    payload_bytes: u64,
    /// The retention policy, for `retain`.
    #[arg(long)]
    retention: Option<PathBuf>,
    /// Whether to be killed at all.
    #[arg(long)]
    live: bool,
    /// The step to die at, by its name; any, where it is not given.
    #[arg(long)]
    kill_at: Option<String>,
    /// At which passage of it, from 1.
    #[arg(long, default_value_t = 1)]
    passage: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Work {
    Seal,
    Erase,
    Retain,
}

/// Kills the process at one passage of one step.
struct Kill {
    kills: bool,
    step: Option<String>,
    passage: u64,
    passed: AtomicU64,
}

impl Probe for Kill {
    fn go_on(&self, step: Step) -> bool {
        let counts = self.step.as_ref().is_none_or(|name| *name == format!("{step:?}"));
        if self.kills && counts && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == self.passage {
            let pid = std::process::id().to_string();
            // It does not come back from there.
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
            std::process::abort();
        }
        true
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match work(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "tally-archiver-under-fault: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn work(cli: Cli) -> Result<(), Box<dyn Error>> {
    let origin = Origin::new(&cli.origin)?;
    let kill = Kill {
        kills: !cli.live,
        step: cli.kill_at,
        passage: cli.passage,
        passed: AtomicU64::new(0),
    };
    let archiver = Archiver {
        pool: PgPool::connect(&cli.database_url).await?,
        vault: &FileVault::open(&cli.archive)?,
        signer: Arc::new(NoteSigner::seal(&origin, ingest::keyfile::read(&cli.seal_key)?)),
        origin,
        limits: Limits { rows: cli.rows, payload_bytes: cli.payload_bytes },
        probe: &kill,
    };
    let now = Micros::new(cli.now).ok_or("no such time")?;
    match cli.work {
        Work::Seal => drop(archiver.seal(now, Duration::from_secs(cli.grace)).await?),
        Work::Erase => drop(archiver.erase().await?),
        Work::Retain => {
            let policy = cli.retention.ok_or("`retain` needs --retention")?;
            drop(archiver.retain(&RetentionPolicy::read(&policy)?, now).await?);
        }
    }
    Ok(())
}

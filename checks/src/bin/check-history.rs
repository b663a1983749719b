//! `check-history`: compares what clients were told with Postgres, and with an archive.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use checks::figures::Figures;
use checks::oracle::Oracle;
use clap::Parser;
use ledger::verify::Policy;
use sqlx::PgPool;
use verifier::store::FileSource;

/// Compares clients' histories with the database: nothing acknowledged is lost, nothing is there
/// twice, no seq is missing, nothing is there that was never sent.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 every promise held; 1 one did not; 2 usage; 3 could not finish"
)]
struct Cli {
    /// The database, e.g. postgres://user@127.0.0.1:5432/tally.
    #[arg(long, value_name = "URL")]
    database: String,
    /// The trust file: the ledger's origin and receipt keys.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// Verify this archive too, and hold its heads against the database.
    #[arg(long, value_name = "URL")]
    archive: Option<String>,
    /// What to print before the figures.
    #[arg(long, value_name = "TEXT", default_value = "history")]
    label: String,
    /// Files that clients wrote.
    #[arg(required = true)]
    histories: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let label = cli.label.clone();
    match check(cli).await {
        Ok(figures) => {
            let mut out = std::io::stdout();
            // Where stdout is gone, the exit code still tells.
            let _ = writeln!(out, "{label}: {figures}");
            for finding in &figures.findings {
                let _ = writeln!(out, "  {finding}");
            }
            ExitCode::from(u8::from(!figures.held()))
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "check-history: {error}");
            ExitCode::from(3)
        }
    }
}

async fn check(cli: Cli) -> Result<Figures, Box<dyn Error>> {
    let oracle = Oracle::open(&cli.trust, &cli.histories)?;
    let report = match &cli.archive {
        None => None,
        Some(address) => {
            let trust = verifier::trust::parse(&std::fs::read_to_string(&cli.trust)?)?;
            let source = FileSource::open(address)?;
            Some(verifier::audit::verify(&source, trust, Policy::default(), &()))
        }
    };
    let pool = PgPool::connect(&cli.database).await?;
    Ok(oracle.compare(&pool, report.as_ref()).await?)
}

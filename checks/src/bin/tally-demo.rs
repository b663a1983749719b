//! `tally-demo`: watch the whole job.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use checks::demo::{self, Options};
use checks::rig::Failure;
use clap::Parser;
use ingest::{Clock as _, SystemClock};
use tokio::signal::unix::{SignalKind, signal};

/// Shows the whole job on real parts: signed events in, chained in Postgres, hours sealed, an
/// archive verified, and a tampered byte caught.
#[derive(Parser)]
struct Cli {
    /// Where everything goes; what an earlier demo left there is removed.
    #[arg(long, value_name = "DIRECTORY", default_value = "demo")]
    dir: PathBuf,
    /// How many events to simulate, about.
    #[arg(long, default_value_t = 60_000)]
    events: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // What is set up is taken down by dropping it, so a signal ends the story and not the process.
    let done = tokio::select! {
        done = tell(cli) => done,
        _ = interrupted() => Err("interrupted; nothing is left running".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "\ntally-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C, or a SIGTERM.
async fn interrupted() -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

async fn tell(cli: Cli) -> Result<(), Failure> {
    let options = Options {
        directory: cli.dir,
        events: cli.events,
        verifier: std::env::current_exe()?.with_file_name("tally-verify"),
        now: SystemClock.now(),
    };
    demo::run(&options, &mut std::io::stdout()).await
}

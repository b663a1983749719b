//! `tally-bench`: figures of accepting and sealing, as ratios to a limit measured in the same run.

use std::io::Write as _;
use std::process::ExitCode;

use checks::bench::{self, Options};
use clap::Parser;

/// Measures accepting and sealing on a Postgres of its own.
#[derive(Parser)]
struct Cli {
    /// Events at full load, in each round.
    #[arg(long, default_value_t = 300_000)]
    events: usize,
    /// Events in a submission.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Workspaces.
    #[arg(long, default_value_t = 8)]
    workspaces: usize,
    /// How event ids are made.
    #[arg(long, value_enum, default_value = "v7")]
    ids: bench::Ids,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Also shows the cost of an event as the tables grow: so many steps of a million events.
    #[arg(long, default_value_t = 0)]
    growth: usize,
    /// Sizes of the ledgers to seal, in events.
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000")]
    seal: Vec<usize>,
    /// Keeps the last archive that was sealed in this directory, with its trust file.
    #[arg(long, value_name = "DIR")]
    keep: Option<std::path::PathBuf>,
    /// Leaves the accept path out.
    #[arg(long)]
    seal_only: bool,
    /// Measures Kafka in front of the chain, beside the direct path, and nothing else.
    #[arg(long)]
    queue_only: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = async {
        let options = Options {
            events: cli.events,
            batch: cli.batch,
            workspaces: cli.workspaces,
            ids: cli.ids,
            rounds: cli.rounds,
            growth: (1_000_000, cli.growth),
            seal: if cli.queue_only { Vec::new() } else { cli.seal },
            keep: cli.keep,
            accept: !cli.seal_only && !cli.queue_only,
            queue: !cli.seal_only,
            programs: bench::programs()?,
        };
        bench::run(&options, &mut std::io::stdout()).await
    };
    match done.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "tally-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

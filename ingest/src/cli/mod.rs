//! The command line of `tally-ingest`.
//!
//! Here: the commands and the exit codes; `serve` (the service), `keys` (key files, workspaces,
//! keys), `token` (tokens of administrators and readers), `submit` with its `state` (events),
//! `erase` (requests to erase payloads), `consume` (the queue and what was refused of it), `client` (the HTTP that they share).

mod client;
mod consume;
mod erase;
mod keys;
mod serve;
mod state;
mod submit;
mod token;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use futures_util::FutureExt as _;

use crate::config::{ConfigError, Settings};
use crate::keyfile::KeyFileError;
use crate::sealed::SealedError;
use crate::service::StartError;
use crate::store::StoreError;
use crate::telemetry::ExportError;
use client::ClientError;
use consume::{LetterCommand, QueueCommand};
use state::StateError;
use submit::SubmitError;

/// Accepts signed submissions, chains them into Postgres, and is their client too.
#[derive(Debug, Parser)]
#[command(name = "tally-ingest", version)]
#[command(after_help = "Exit codes: 0 done; 1 refused: by the service, or before it was sent; \
                        2 usage, settings or key file; 3 could not finish, try again; \
                        4 the database is not the ledger that its archive has sealed")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(Box<ServeArgs>),
    /// Record what is in the queue: beside `serve`, on as many machines as the topic has partitions
    Consume(Box<ServeArgs>),
    /// Show how far the queue is recorded, and go over a gap
    #[command(subcommand)]
    Queue(Box<QueueCommand>),
    /// List and show what the chain refused of the queue, and put it on the queue again
    #[command(subcommand)]
    DeadLetters(Box<LetterCommand>),
    /// Bring the database's schema up to date and make the database that of the ledger
    Migrate(Box<ServeArgs>),
    /// Make a key: a PKCS#8 PEM file with mode 0600
    Keygen(KeygenArgs),
    /// Make a token for an administrator: print it, and the line of the settings that admits it
    AdminToken(token::AdminTokenArgs),
    /// Make, list and revoke tokens with which a workspace is read
    #[command(subcommand)]
    Token(TokenCommand),
    /// Create a workspace
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Show, register and revoke keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Sign events, submit them in batches, and keep their receipts
    ///
    /// The state file remembers the counter, what was sent and not yet answered, and how far FILE
    /// was read: after a crash the same command sends the same bytes again and then goes on.
    Submit(submit::SubmitArgs),
    /// Ask for payloads to be erased, by an event that a root key signs
    ///
    /// Digests, links and signatures stay. The archiver carries it out: `tally-archiver erase`.
    Erase(erase::EraseArgs),
}

/// Settings come from `tally.toml`, then `TALLY_…` variables, then flags.
#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    settings: Settings,
    /// Print the settings, without secrets, and stop
    #[arg(long)]
    print_config: bool,
}

#[derive(Debug, Args)]
struct KeygenArgs {
    /// Where to write the key; a file that is there is never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
enum WorkspaceCommand {
    /// Create a workspace, its first event signed by one of its root keys
    Create(keys::CreateArgs),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token for a reader and print it, once
    Create(token::CreateArgs),
    /// Show the tokens of a workspace, without what is secret of them
    List(token::ListArgs),
    /// Take a token out of force
    Revoke(token::RevokeArgs),
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print the public part of a key file
    Show(keys::ShowArgs),
    /// Bring a key into force in a workspace
    Register(keys::RegisterArgs),
    /// Take a key out of force in a workspace
    Revoke(keys::RevokeArgs),
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            Self::Submit(SubmitError::Event { .. })
            | Self::Client(ClientError::Refused { .. } | ClientError::Receipt(_)) => 1,
            Self::Config(_)
            | Self::Export(_)
            | Self::KeyFile(_)
            | Self::State(StateError::Foreign { .. } | StateError::Form { .. })
            | Self::Client(ClientError::Usage(_) | ClientError::Origin { .. })
            | Self::Store(
                StoreError::Origin { .. } | StoreError::Schema { .. } | StoreError::Role { .. },
            )
            | Self::Start(StartError::Custodian { .. })
            | Self::Start(StartError::Tls(_) | StartError::Queue(_))
            | Self::Start(StartError::Store(
                StoreError::Origin { .. } | StoreError::Schema { .. } | StoreError::Role { .. },
            )) => 2,
            Self::Start(StartError::Sealed(SealedError::Address(_))) => 2,
            // Nothing that is tried again mends it: an operator must look.
            Self::Start(StartError::Sealed(
                SealedError::Behind { .. } | SealedError::Forked { .. } | SealedError::Form { .. },
            )) => 4,
            Self::Start(_)
            | Self::Store(_)
            | Self::Client(_)
            | Self::State(_)
            | Self::Submit(_)
            | Self::Io(_) => 3,
        }
    }
}

/// Runs the command line and gives the exit code.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even stderr is gone, the exit code still tells.
            let _ = writeln!(io::stderr(), "tally-ingest: {error}");
            ExitCode::from(error.code())
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Serve(args) => serve::serve(&runtime, *args),
        Command::Consume(args) => consume::consume(&runtime, *args),
        Command::Queue(command) => runtime.block_on(match *command {
            QueueCommand::Show(args) => consume::show(args).boxed(),
            QueueCommand::Move(args) => consume::move_position(args).boxed(),
        }),
        Command::DeadLetters(command) => runtime.block_on(match *command {
            LetterCommand::List(args) => consume::list(args).boxed(),
            LetterCommand::Show(args) => consume::show_letter(args).boxed(),
            LetterCommand::Retry(args) => consume::retry(args).boxed(),
        }),
        Command::Migrate(args) => serve::migrate(&runtime, *args),
        Command::Keygen(args) => keys::generate(&args.out),
        Command::AdminToken(args) => token::admin(&args),
        Command::Token(TokenCommand::Create(args)) => runtime.block_on(token::create(args)),
        Command::Token(TokenCommand::List(args)) => runtime.block_on(token::list(args)),
        Command::Token(TokenCommand::Revoke(args)) => runtime.block_on(token::revoke(args)),
        Command::Workspace(WorkspaceCommand::Create(args)) => runtime.block_on(keys::create(args)),
        Command::Key(KeyCommand::Show(args)) => keys::show(&args),
        Command::Key(KeyCommand::Register(args)) => runtime.block_on(keys::register(args)),
        Command::Key(KeyCommand::Revoke(args)) => runtime.block_on(keys::revoke(args)),
        Command::Submit(args) => runtime.block_on(submit::submit(args)),
        Command::Erase(args) => runtime.block_on(erase::erase(args)),
    }
}

/// Tells a person something beside the command's result: on stderr, as stdout may be kept.
fn hint(line: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stderr(), "{line}")
}

/// Writes a line to stdout.
fn print(line: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

//! `consume`, `queue` and `dead-letters`: what an operator of a queue does.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use ledger::names::Workspace;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::client::ClientError;
use super::keys::parse_workspace;
use super::serve::{SPANS, STOP, ServeArgs, Signals, settings};
use super::{CliError, print};
use crate::chain::NoProbe;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Settings;
use crate::queue::letter::{KeptLetter, read_headers};
use crate::queue::node::RunningNode;
use crate::queue::{self, Position, Topic};
use crate::store;
use crate::store::queue::{PositionRow, Wanted};
use crate::telemetry::Telemetry;

/// How long a broker may take to say where a partition begins, in seconds.
const PATIENCE: u64 = 10;
/// Letters that are asked for at once.
const PAGE: i64 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// Show how far each partition is recorded, and by whom
    Show(ShowArgs),
    /// Go over a gap, or back: set from behind which message a partition is read, on record
    ///
    /// Needs the login of the owner, as `migrate` does. Whoever reads the partition is shut out, and
    /// claims it again. What is read twice is recorded once all the same; what is skipped is not
    /// recorded.
    Move(MoveArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum LetterCommand {
    /// List messages that the chain refused, the oldest first
    List(ListArgs),
    /// Show one of them, with the reason and its value
    Show(LetterArgs),
    /// Put messages on the queue again, once the reason is gone
    Retry(RetryArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    settings: Settings,
    /// Print one JSON object for each partition
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct MoveArgs {
    /// The partition
    #[arg(long)]
    partition: i32,
    /// The last message that is to be passed over: its number (of Kafka its offset)
    #[arg(long, value_name = "NUMBER", required_unless_present = "to_beginning")]
    behind: Option<i64>,
    /// Read the partition from its beginning
    #[arg(long, conflicts_with = "behind")]
    to_beginning: bool,
    /// Why; it is kept with the act
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    settings: Settings,
    /// Of this workspace alone
    #[arg(long, value_parser = parse_workspace)]
    workspace: Option<Workspace>,
    /// Those too that were put on the queue again
    #[arg(long)]
    all: bool,
    /// Print one JSON object for each
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LetterArgs {
    /// Its number, as `list` shows it
    id: i64,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// Their numbers, as `list` shows them
    #[arg(required = true)]
    ids: Vec<i64>,
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn consume(runtime: &Runtime, args: ServeArgs) -> Result<(), CliError> {
    let Some(settings) = settings(args)? else {
        return Ok(());
    };
    let config = settings.into_consumer_config()?;
    runtime.block_on(async {
        let telemetry = Telemetry::start(&config.telemetry, config.origin.as_str())?;
        let mut signals = Signals::new()?;
        let topic = config.broker.topic.clone();
        let running = RunningNode::start(config, Arc::new(SystemClock), Arc::new(NoProbe)).await?;
        tracing::info!(topic, "consuming");
        print(format_args!("consuming {topic}"))?;
        signals.told_to_stop().await;
        let stopping = Instant::now();
        running.shutdown().await;
        tracing::info!("stopped");
        telemetry.end(STOP.saturating_sub(stopping.elapsed()).min(SPANS)).await;
        Ok(())
    })
}

fn usage(detail: impl Display) -> CliError {
    ClientError::Usage(detail.to_string()).into()
}

fn position(row: &PositionRow) -> Option<Position> {
    row.major.zip(row.minor).map(|(major, minor)| Position { major, minor })
}

pub(super) async fn show(args: ShowArgs) -> Result<(), CliError> {
    let settings = args.settings.with_file()?;
    let pool = store::writers(settings.database_url()?, 1)?;
    let rows = store::queue::positions(&pool).await?;
    if rows.is_empty() && !args.json {
        return Ok(print("no partition was ever claimed")?);
    }
    for row in rows {
        let last = position(&row).map(|position| position.to_string());
        if args.json {
            print(json!({
                "queue": row.queue, "partition": row.partition, "epoch": row.epoch,
                "owner": row.owner, "claimed_at": time(row.claimed_at), "last": last,
            }))?;
        } else {
            let last = last.unwrap_or_else(|| "nothing".to_owned());
            print(format_args!(
                "{} partition {}: recorded up to {last}; claimed {} times, last by {} at {}",
                row.queue,
                row.partition,
                row.epoch,
                row.owner,
                time(row.claimed_at)
            ))?;
        }
    }
    Ok(())
}

fn time(micros: i64) -> String {
    ledger::time::Micros::new(micros).map(|at| at.to_string()).unwrap_or_default()
}

pub(super) async fn move_position(args: MoveArgs) -> Result<(), CliError> {
    let settings = args.settings.with_file()?;
    let name = settings.queue()?.name();
    if args.behind.is_some_and(|behind| behind < 0) {
        return Err(usage("--behind: a message's number is 0 or more"));
    }
    let behind = match args.behind {
        Some(behind) => Some(behind),
        // What is gone from the topic is passed over on record, too.
        None => queue::beginning(settings.queue()?, args.partition, Duration::from_secs(PATIENCE))
            .await
            .map_err(|last| ClientError::NoAnswer { seconds: PATIENCE, last })?
            .checked_sub(1)
            .filter(|behind| *behind >= 0),
    };
    let to = behind.map(|major| Position { major, minor: 0 });
    let pool = store::owner(settings.database_url()?)?;
    store::queue::move_position(&pool, &name, args.partition, to, &args.reason).await?;
    let from = to.map_or("its beginning".to_owned(), |to| format!("behind message {to}"));
    Ok(print(format_args!("partition {} of {name} is read from {from}", args.partition))?)
}

fn summary(letter: &KeptLetter) -> Value {
    json!({
        "id": letter.id,
        "queue": letter.queue,
        "partition": letter.partition,
        "position": letter.position.to_string(),
        "workspace": letter.workspace,
        "submission": letter.submission.map(|hash| hash.to_string()),
        "refused_at": letter.refused_at.to_string(),
        "problem": serde_json::from_str::<Value>(&letter.problem).unwrap_or_default(),
        "value_bytes": letter.value_bytes,
        "value_sha256": letter.value_sha256.to_string(),
        "sent_at": letter.sent_at.map(|at| at.to_string()),
        "retried_at": letter.retried_at.map(|at| at.to_string()),
    })
}

pub(super) async fn list(args: ListArgs) -> Result<(), CliError> {
    let settings = args.settings.with_file()?;
    let pool = store::writers(settings.database_url()?, 1)?;
    let mut wanted = Wanted { workspace: args.workspace, is_open: !args.all, after: 0, most: PAGE };
    loop {
        let letters = store::queue::letters(&pool, &wanted).await?;
        let Some(last) = letters.last() else { return Ok(()) };
        wanted.after = last.id;
        for letter in &letters {
            if args.json {
                print(summary(letter))?;
                continue;
            }
            print(format_args!(
                "{} {} {} {} {}",
                letter.id,
                letter.refused_at,
                letter.workspace.as_deref().unwrap_or("-"),
                letter.kind,
                letter.submission.map_or_else(|| "-".to_owned(), |hash| hash.to_string()),
            ))?;
        }
    }
}

async fn find(pool: &sqlx::PgPool, id: i64) -> Result<KeptLetter, CliError> {
    let found = store::queue::letter(pool, id).await?;
    found.ok_or_else(|| usage(format_args!("there is no dead letter {id}: `list` shows them")))
}

pub(super) async fn show_letter(args: LetterArgs) -> Result<(), CliError> {
    let settings = args.settings.with_file()?;
    let pool = store::writers(settings.database_url()?, 1)?;
    let letter = find(&pool, args.id).await?;
    let mut shown = summary(&letter);
    if let Some(members) = shown.as_object_mut() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = read_headers(&letter.headers).unwrap_or_default();
        let headers: Vec<Value> =
            headers.iter().map(|(name, value)| json!([name, text(value)])).collect();
        members.insert("headers".to_owned(), Value::from(headers));
        let value = letter.value.as_deref().map(text);
        members.insert("value".to_owned(), Value::from(value));
    }
    Ok(print(format_args!("{shown:#}"))?)
}

pub(super) async fn retry(args: RetryArgs) -> Result<(), CliError> {
    let settings = args.settings.with_file()?;
    let config = settings.queue()?;
    let pool = store::writers(settings.database_url()?, 1)?;
    // All of them are there before the first is sent.
    let mut letters = Vec::with_capacity(args.ids.len());
    for id in args.ids {
        let letter = find(&pool, id).await?;
        let message = letter.message().ok_or_else(|| {
            usage(format_args!(
                "dead letter {id}: its value of {} bytes was not kept; it may still lie in {} \
                 partition {} at {}",
                letter.value_bytes, letter.queue, letter.partition, letter.position
            ))
        })?;
        letters.push((id, message));
    }
    let most = letters.iter().map(|(_, message)| message.bytes()).max().unwrap_or(0);
    let producer = queue::open(&config, most)
        .map_err(|error| CliError::Start(crate::service::StartError::Queue(error)))?;
    for (id, message) in letters {
        producer.put(Topic::Submissions, &message).await.map_err(|error| {
            let seconds = config.put_timeout.as_secs();
            ClientError::NoAnswer { seconds, last: error.to_string() }
        })?;
        store::queue::retried(&pool, id, SystemClock.now()).await?;
        print(format_args!("{id} is on the queue again"))?;
    }
    Ok(())
}

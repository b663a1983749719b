//! `erase`: asks for payloads to be erased, as an event that a root key signs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use ledger::chain::PAYLOAD_ERASED;
use ledger::names::{EventId, Workspace};
use serde_json::json;

use super::client::{ClientError, ServiceArgs};
use super::keys::{Event, parse_workspace};
use super::{CliError, hint};

/// What is said once the request is recorded.
const NEXT: &str = "the request is recorded, and nothing is erased yet. `tally-archiver erase` takes \
                    the payloads out of the database and the archive: those of the hour that the \
                    request stands in at once, those of hours before it once that hour is sealed";

/// Arguments of `erase`.
#[derive(Debug, Args)]
pub(super) struct EraseArgs {
    /// The workspace
    #[arg(value_parser = parse_workspace)]
    workspace: Workspace,
    /// The events whose payloads are to go
    #[arg(value_name = "EVENT_ID", value_parser = parse_event_id)]
    event_ids: Vec<EventId>,
    /// A file with further event ids, one a line
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Why, in words. It stands in the chain for ever: name no person here
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    service: ServiceArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_event_id(text: &str) -> Result<EventId, String> {
    EventId::parse(text).map_err(|error| error.to_string())
}

fn usage(text: String) -> CliError {
    ClientError::Usage(text).into()
}

/// The event ids in a file; empty lines are none.
fn read(path: &Path) -> Result<Vec<EventId>, CliError> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| usage(format!("--from {shown}: {error}")))?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| {
            parse_event_id(line)
                .map_err(|error| usage(format!("--from {shown}: line {at}: `{line}`: {error}")))
        })
        .collect()
}

pub(super) async fn erase(args: EraseArgs) -> Result<(), CliError> {
    let mut event_ids = args.event_ids;
    if let Some(path) = &args.from {
        event_ids.extend(read(path)?);
    }
    if event_ids.is_empty() {
        return Err(usage("name the events to erase, or a file with their ids: --from".to_owned()));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = event_ids.iter().find(|id| !seen.insert(**id)) {
        return Err(usage(format!("event {twice} is named twice")));
    }
    let named: Vec<String> = event_ids.iter().map(EventId::to_string).collect();
    let event = Event {
        path: format!("v1/workspaces/{}/events", args.workspace),
        content_type: "application/x-ndjson",
        event_type: PAYLOAD_ERASED,
        context: json!({ "event_ids": named, "reason": args.reason }),
    };
    event.send(&args.workspace, args.service, None, args.json).await?;
    Ok(hint(NEXT)?)
}

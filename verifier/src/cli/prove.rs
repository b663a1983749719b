//! `tally-verify prove`: one small file that proves one event.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ledger::names::{EventId, Seq, Workspace};

use super::staged::Staged;
use super::{ArchiveArgs, CliError, TrustFile, parse_workspace, signals};
use crate::prove::{self, Made, ProveError, Which};
use crate::report::text::plain;
use crate::{exit, report};

#[derive(Args, Debug)]
pub(super) struct Prove {
    #[command(flatten)]
    archive: ArchiveArgs,
    /// The event's workspace.
    #[arg(long, value_name = "NAME", value_parser = parse_workspace)]
    workspace: Workspace,
    #[command(flatten)]
    which: WhichArgs,
    /// Show the digest of the payload, and not the payload itself.
    #[arg(long)]
    digest_only: bool,
    /// Where to write the proof.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// The event's UUID.
    #[arg(long, value_name = "UUID", value_parser = parse_event_id)]
    event_id: Option<EventId>,
    /// The event's place in the workspace's chain, from 1.
    #[arg(long, value_name = "N", value_parser = parse_seq)]
    seq: Option<Seq>,
}

fn parse_event_id(text: &str) -> Result<EventId, String> {
    EventId::parse(text).map_err(|error| error.to_string())
}

fn parse_seq(text: &str) -> Result<Seq, String> {
    let seq = text.parse().ok().and_then(Seq::new);
    seq.ok_or_else(|| "a number from 1 to 2^63-1 is expected".to_owned())
}

impl Prove {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        self.archive.guard(&[Some(&self.out)])?;
        let TrustFile { trust, sha256 } = self.archive.trust()?;
        let which = match (self.which.event_id, self.which.seq) {
            (Some(id), _) => Which::Id(id),
            (None, Some(seq)) => Which::Seq(seq),
            (None, None) => return Err(CliError::Usage("name the event: --event-id or --seq")),
        };
        signals::end_at_once()?;
        let out = Staged::open(&self.out)?;
        let source = self.archive.open()?;
        let made = prove::prove(&source, &trust, &self.workspace, which, self.digest_only);
        let Made { bytes, checked, erased } = match made {
            Ok(made) => made,
            Err(error) => {
                if let ProveError::Found(findings) = &error {
                    // Where they do not come out, the error still says what they come to.
                    let archive = plain(&self.archive.archive);
                    let findings = report::proof::findings(findings);
                    let _ = super::print(format!("archive     {archive}\n{findings}").as_bytes());
                }
                return Err(error.into());
            }
        };
        let code = exit::number(checked.verdict);
        out.write(&bytes).map_err(|error| error.behind(code))?;
        let name = self.out.display().to_string();
        let mut text = report::proof::text(&name, &bytes, &checked, &sha256.to_string());
        if erased {
            text += "\nthe payload was erased: the proof shows its digest alone\n";
        }
        super::report(&text, code)
    }
}

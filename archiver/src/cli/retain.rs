//! `tally-archiver retain`: lets go what the policy does not keep, or says what would go and why not.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{CliError, archiver, now, open_vault, pool};
use crate::SealError;
use crate::config::{Config, ConfigError};
use crate::policy::RetentionPolicy;
use crate::retain::{ArchivedDay, PrunedRun, Retained, Stay, rehearse};

#[derive(Clone, Debug, Args)]
pub(super) struct RetainArguments {
    /// Say what would go, and what stays and why; change nothing
    #[arg(long)]
    dry_run: bool,
    /// The policy, in place of the one that is configured [archive.retention_policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// Lets go, or rehearses it.
pub(super) async fn retain(
    config: &Config,
    arguments: RetainArguments,
) -> Result<Retained, CliError> {
    let RetainArguments { dry_run, policy } = arguments;
    let path = policy.as_ref().or(config.retention_policy.as_ref());
    let path = path.ok_or(ConfigError::Missing {
        key: "archive.retention_policy",
        variable: "TALLY_ARCHIVE_RETENTION_POLICY",
    })?;
    let policy = RetentionPolicy::read(path).map_err(SealError::from)?;
    if dry_run {
        let mut conn = pool(config)?.acquire().await.map_err(SealError::from)?;
        return Ok(rehearse(&mut conn, &policy, now()?).await?);
    }
    let vault = open_vault(config)?;
    Ok(archiver(config, &*vault, &())?.retain(&policy, now()?).await?)
}

impl fmt::Display for Retained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.recovered > 0 {
            writeln!(f, "took up {} leaves that an earlier run had published", self.recovered)?;
        }
        if self.erased > 0 {
            writeln!(f, "erased {} payloads first", self.erased)?;
        }
        let (leave, go) = if self.dry_run { ("would leave", "would go") } else { ("left", "went") };
        for ArchivedDay { day, payloads } in &self.days {
            match payloads {
                None => writeln!(f, "payloads of {} {leave} the database", day.date())?,
                Some(n) => writeln!(f, "{n} payloads of {} {leave} the database", day.date())?,
            }
        }
        for PrunedRun { workspace, first_seq, last_seq, hours: (from, to), chunks } in &self.pruned
        {
            writeln!(
                f,
                "{chunks} chunks of {workspace} {go} from the archive: {first_seq} to {last_seq}, {from} to \
                 {to}"
            )?;
        }
        if self.days.is_empty() && self.pruned.is_empty() {
            writeln!(f, "nothing to let go")?;
        }
        for stay in &self.stays {
            writeln!(f, "stays: {stay}")?;
        }
        for key in &self.kept {
            writeln!(f, "the store keeps {key}, which the log says is pruned")?;
        }
        if self.dry_run {
            writeln!(f, "nothing was changed")?;
        }
        writeln!(f, "the log has {} leaves", self.log_size)
    }
}

pub(super) fn json(retained: &Retained) -> Value {
    let day = |day: &ArchivedDay| json!({ "day": day.day.date(), "payloads": day.payloads });
    let run = |run: &PrunedRun| {
        json!({
            "workspace": run.workspace.to_string(),
            "first_seq": run.first_seq.get(),
            "last_seq": run.last_seq.get(),
            "first_hour": run.hours.0.to_string(),
            "last_hour": run.hours.1.to_string(),
            "chunks": run.chunks,
        })
    };
    let stay = |stay: &Stay| {
        let chunk = stay.chunk.as_ref().map(|(workspace, first, last)| {
            json!({ "workspace": workspace.to_string(), "first_seq": first, "last_seq": last })
        });
        json!({
            "hour": stay.hour.to_string(),
            "chunk": chunk,
            "why": stay.why.as_str(),
            "detail": stay.why.to_string(),
        })
    };
    json!({
        "dry_run": retained.dry_run,
        "erased_payloads": retained.erased,
        "days": retained.days.iter().map(day).collect::<Vec<_>>(),
        "pruned": retained.pruned.iter().map(run).collect::<Vec<_>>(),
        "stays": retained.stays.iter().map(stay).collect::<Vec<_>>(),
        "kept_objects": retained.kept,
        "recovered_leaves": retained.recovered,
        "log_size": retained.log_size,
    })
}

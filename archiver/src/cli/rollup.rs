//! `tally-archiver rollup` and `tally-archiver publish`: figures from the sealed archive.

use std::fmt;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use clap::Args;
use ledger::names::{RollupName, Workspace};
use ledger::rollup::Definition;
use serde_json::{Value, json};
use verifier::rollup::{Difference, Differences, Engine, RollupError, Scratch, definitions};

use super::{CliError, archiver, open_vault};
use crate::SealError;
use crate::computing::Computing;
use crate::config::Config;
use crate::marts::Published;
use crate::rollup::{Rolled, RolledDay, Rolling};

#[derive(Clone, Debug, Args)]
pub(super) struct RollupArguments {
    /// This rollup alone; may be given several times
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Vec<RollupName>,
    /// This workspace alone
    #[arg(long, value_name = "NAME", value_parser = parse_workspace)]
    workspace: Option<Workspace>,
    /// Compute every day anew, and log a revision where the result is another one
    #[arg(long)]
    rebuild: bool,
    #[cfg(feature = "distributed")]
    #[command(flatten)]
    cluster: verifier::rollup::cluster::ClusterArgs,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct PublishArguments {
    /// Publish every day anew, also those that are there: after a mart was changed or lost
    #[arg(long)]
    all: bool,
}

fn parse_name(text: &str) -> Result<RollupName, String> {
    let known = definitions().iter().map(|definition| definition.name.as_str());
    let name =
        RollupName::new(text).ok().filter(|name| known.clone().any(|known| known == name.as_str()));
    name.ok_or_else(|| {
        format!("there is no such rollup; there are {}", known.collect::<Vec<_>>().join(", "))
    })
}

fn parse_workspace(text: &str) -> Result<Workspace, String> {
    Workspace::new(text).map_err(|error| error.to_string())
}

/// Rolls up what is due.
pub(super) async fn roll_up(
    config: &Config,
    arguments: RollupArguments,
) -> Result<Rolled, CliError> {
    #[cfg(feature = "distributed")]
    let cluster = arguments.cluster.cluster().map_err(SealError::from)?;
    let RollupArguments { name, workspace, rebuild, .. } = arguments;
    let chosen = |definition: &&Definition| name.is_empty() || name.contains(&definition.name);
    let definitions: Vec<Definition> = definitions().iter().filter(chosen).cloned().collect();
    let temporary = Scratch::new().map_err(SealError::from)?;
    let facts = config.rollup_dir.as_deref().unwrap_or(temporary.path());
    make_directory(facts)?;
    let memory = usize::try_from(config.rollup_memory).unwrap_or(usize::MAX);
    let partitions = available_parallelism().map_or(1, NonZero::get);
    let engine = Engine::new(memory, partitions, temporary.path());
    let vault = open_vault(config)?;
    let facts = facts.to_owned();
    #[cfg(feature = "distributed")]
    let computing = match &cluster {
        Some(cluster) => Computing::on(cluster, &engine, facts),
        None => Computing::here(&engine, facts),
    };
    #[cfg(not(feature = "distributed"))]
    let computing = Computing::here(&engine, facts);
    let rolling = Rolling { definitions: &definitions, workspace, rebuild, computing };
    let rolled = archiver(config, &*vault, &())?.roll_up(&rolling).await?;
    #[cfg(feature = "distributed")]
    let rolled = Rolled { retries: cluster.map_or(0, |cluster| cluster.retries()), ..rolled };
    Ok(rolled)
}

fn make_directory(path: &Path) -> Result<(), SealError> {
    let made = std::fs::create_dir_all(path);
    made.map_err(|error| RollupError::Io { path: path.display().to_string(), error }.into())
}

/// Publishes what was rolled up.
pub(super) async fn publish(
    config: &Config,
    arguments: PublishArguments,
) -> Result<Published, CliError> {
    let vault = open_vault(config)?;
    Ok(archiver(config, &*vault, &())?.publish_marts(arguments.all).await?)
}

impl fmt::Display for Rolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.recovered > 0 {
            writeln!(f, "took up {} leaves that an earlier run had published", self.recovered)?;
        }
        for done in &self.days {
            let RolledDay { name, workspace, day, revision, inputs, rows, withheld, .. } = done;
            write!(f, "{name} of {workspace} on {day}: {rows} rows from {inputs} chunks")?;
            match &done.differences {
                None => writeln!(f)?,
                Some(Differences { added, removed, changed, .. }) => writeln!(
                    f,
                    ", RESTATED as revision {revision}: {changed} rows changed, {added} added, {removed} removed"
                )?,
            }
            for difference in done.differences.iter().flat_map(|differences| &differences.rows) {
                writeln!(f, "    {difference}")?;
            }
            if *withheld > 0 {
                writeln!(
                    f,
                    "    {withheld} events of these days are erased: what they said is in no figure"
                )?;
            }
        }
        if self.days.is_empty() {
            writeln!(f, "nothing to roll up")?;
        }
        writeln!(f, "{} results are as they were", self.current)?;
        if self.retries > 0 {
            writeln!(f, "{} times a job of the cluster was tried again", self.retries)?;
        }
        if self.frozen > 0 {
            writeln!(
                f,
                "{} results stay as they are: retention has removed a chunk that they read",
                self.frozen
            )?;
        }
        if self.outside > 0 {
            writeln!(
                f,
                "{} results wait: their days are not over in the sealed log, or are claimed from before the ledger began",
                self.outside
            )?;
        }
        writeln!(f, "the log has {} leaves", self.log_size)
    }
}

pub(super) fn rolled_json(rolled: &Rolled) -> Value {
    let difference = |difference: &Difference| {
        let column = |(name, old, new): &(String, String, String)| json!({ "column": name, "before": old, "now": new });
        let kind = match difference.is_in {
            (true, true) => "changed",
            (true, false) => "removed",
            (false, _) => "added",
        };
        json!({
            "row": difference.row,
            "kind": kind,
            "columns": difference.columns.iter().map(column).collect::<Vec<_>>(),
        })
    };
    let differences = |differences: &Differences| {
        json!({
            "added": differences.added,
            "removed": differences.removed,
            "changed": differences.changed,
            "rows": differences.rows.iter().map(difference).collect::<Vec<_>>(),
        })
    };
    let day = |done: &RolledDay| {
        json!({
            "rollup": done.name.to_string(),
            "workspace": done.workspace.to_string(),
            "day": done.day.to_string(),
            "revision": done.revision,
            "inputs": done.inputs,
            "rows": done.rows,
            "withheld": done.withheld,
            "object": done.object,
            "restated": done.differences.as_ref().map(differences),
        })
    };
    json!({
        "days": rolled.days.iter().map(day).collect::<Vec<_>>(),
        "current": rolled.current,
        "frozen": rolled.frozen,
        "waiting": rolled.outside,
        "chunks_read": rolled.chunks,
        "retries": rolled.retries,
        "recovered_leaves": rolled.recovered,
        "log_size": rolled.log_size,
    })
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "published {} days with {} rows, {} are as they were",
            self.days, self.rows, self.current
        )?;
        for name in &self.unknown {
            writeln!(f, "{name} has no mart in this version, and was left out")?;
        }
        Ok(())
    }
}

pub(super) fn published_json(published: &Published) -> Value {
    json!({
        "days": published.days,
        "rows": published.rows,
        "current": published.current,
        "unknown": published.unknown,
    })
}

//! `tally-verify rollup`: verifies an archive, and computes again what its rollups state.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ledger::names::RollupName;
use ledger::verify::{Audit, LoggedRollup, Policy};

use super::policy::PolicyArgs;
use super::staged::Staged;
use super::verify::Bar;
use super::{ArchiveArgs, CliError, TrustFile, signals};
use crate::audit;
use crate::{exit, report};

#[derive(Args, Debug)]
pub(super) struct CheckRollups {
    #[command(flatten)]
    archive: ArchiveArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Compute this rollup alone again; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Vec<RollupName>,
    /// Compute every revision of a day again, and not the newest alone.
    #[arg(long)]
    all_revisions: bool,
    /// Most memory of intermediate results, in MiB: what is above goes to the directory for temporary files.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(32..=1_048_576))]
    memory_mib: u64,
    /// Write the report as one HTML page that needs no other file to this file too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the report as JSON (its schema: docs/spec/report.schema.json).
    #[arg(long)]
    json: bool,
}

fn parse_name(text: &str) -> Result<RollupName, String> {
    RollupName::new(text).map_err(|error| error.to_string())
}

impl CheckRollups {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        if self.policy.since.is_some() || self.policy.until.is_some() {
            return Err(CliError::Usage(
                "a rollup may read any hour of its workspace: leave out --since and --until",
            ));
        }
        let policy: Policy = self.policy.policy()?;
        self.archive.guard(&[self.html.as_deref()])?;
        let TrustFile { trust, sha256 } = self.archive.trust()?;
        let interrupted = signals::end_in_order()?;
        let html = self.html.as_deref().map(Staged::open).transpose()?;
        let source = self.archive.open()?;
        let bar = Bar::new(interrupted);
        let mut audit = Audit::new(trust, policy);
        audit::run(&source, &mut audit, &bar);
        let chosen = |rollup: &LoggedRollup| {
            let named = self.name.is_empty() || self.name.contains(&rollup.manifest.name);
            named && (rollup.newest || self.all_revisions)
        };
        let rollups: Vec<_> = audit.rollups().into_iter().filter(chosen).collect();
        // What the verification has found is reported, whether or not the rest could be computed.
        let told = self.compute(&*source, &rollups, &mut audit, &bar).unwrap_or_else(|error| {
            audit.unchecked(format!("the rollups: {error}"));
            format!("rollups     could not be computed again: {error}")
        });
        let report = audit.finish();
        bar.clear();
        let code = exit::number(report.verdict);
        let sha256 = sha256.to_string();
        let inputs = self.archive.inputs(&sha256);
        let page =
            html.map_or(Ok(()), |html| html.write(report::html::write(&report, inputs).as_bytes()));
        let text = if self.json {
            report::json::write(&report, inputs)?
        } else {
            format!("{}\n{told}\n", report::text::write(&report, inputs))
        };
        let printed = super::report(&text, exit::PROVEN).map(|_| ());
        printed.and(page).map_err(|error| error.behind(code))?;
        Ok(ExitCode::from(code))
    }

    /// Computes again, tells the audit what was found, and says how far it came.
    #[cfg(feature = "rollup")]
    fn compute(
        &self,
        source: &(dyn crate::store::ArchiveSource + Send + Sync),
        rollups: &[LoggedRollup],
        audit: &mut Audit,
        bar: &Bar,
    ) -> Result<String, CliError> {
        use crate::audit::Progress as _;
        use crate::rollup::{Engine, Recomputed, Scratch, engine_name, recompute};
        let scratch = Scratch::new()?;
        let memory = usize::try_from(self.memory_mib << 20).unwrap_or(usize::MAX);
        let partitions = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let engine = Engine::new(memory, partitions, scratch.path());
        let go_on = || bar.go_on();
        let Recomputed { computed, left, failed, findings } =
            recompute(source, rollups, &engine, scratch.path(), &go_on);
        if let Some((object, reason)) = failed.first() {
            let count = failed.len();
            audit.unchecked(format!(
                "{count} rollups could not be computed again; {object}: {reason}"
            ));
        }
        let left = left.saturating_add(u64::try_from(failed.len()).unwrap_or(u64::MAX));
        findings.into_iter().for_each(|finding| audit.found(finding));
        if !bar.go_on() {
            audit.unchecked(
                "the rollups from there on: the verification was ended before it was done",
            );
        }
        let left = if left > 0 { format!(", {left} could not be") } else { String::new() };
        Ok(format!("rollups     {computed} were computed again by {}{left}", engine_name()))
    }

    /// This program was built without an engine.
    #[cfg(not(feature = "rollup"))]
    fn compute(
        &self,
        _source: &(dyn crate::store::ArchiveSource + Send + Sync),
        rollups: &[LoggedRollup],
        audit: &mut Audit,
        _bar: &Bar,
    ) -> Result<String, CliError> {
        let count = rollups.len();
        not_computed(count).into_iter().for_each(|finding| audit.found(finding));
        Ok(format!("rollups     none of {count} was computed again"))
    }
}

/// What a program without an engine has to say of so many rollups.
#[cfg(any(test, not(feature = "rollup")))]
fn not_computed(count: usize) -> Option<ledger::verify::Finding> {
    use ledger::verify::{Check, Finding, Place};
    let finding = Finding::new(Check::RollupNotComputed, Place::default());
    let build = "build it with `--features rollup` for that";
    (count > 0).then(|| finding.because(format!("{count} rollups; {build}")))
}

#[cfg(test)]
mod tests {
    use ledger::verify::Severity;

    use super::*;

    /// A program without the engine does not call proven what it has not computed.
    #[test]
    fn what_was_not_computed_falls_short() {
        let found = not_computed(3);
        let told = found.as_ref().and_then(|finding| finding.detail.clone());
        assert_eq!(told.as_deref(), Some("3 rollups; build it with `--features rollup` for that"));
        let check = found.map(|finding| (finding.check.id(), finding.check.severity()));
        assert_eq!(check, Some(("T148", Severity::Policy)));
        assert_eq!(not_computed(0), None);
    }
}

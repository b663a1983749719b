//! What an auditor asks for beyond an intact archive, as arguments.

use std::time::{Duration, SystemTime};

use clap::Args;
use ledger::limits::MIN_KEPT_DAYS;
use ledger::names::Workspace;
use ledger::time::Micros;
use ledger::verify::Policy;

use super::{CliError, parse_time, parse_workspace};

/// How long ago an archive may end where the auditor does not say.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Args, Debug)]
pub(super) struct PolicyArgs {
    /// The chunks of this workspace only (the log is always walked whole).
    #[arg(long, value_name = "NAME", value_parser = parse_workspace)]
    workspace: Option<Workspace>,
    /// What was recorded at this time or later (RFC 3339). Of earlier hours, digests and keys are checked, rows not.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) since: Option<Micros>,
    /// What was recorded before this time (RFC 3339). Of later hours, digests and keys are checked, rows not.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) until: Option<Micros>,
    /// Fall short (exit 4) unless the archive is sealed up to this time (RFC 3339); a day before now, or
    /// `--until` if that is earlier, where it is not given.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expect_through: Option<Micros>,
    /// Without `--expect-through`: do not fall short however long ago the archive ends.
    #[arg(long)]
    any_age: bool,
    /// Payloads withheld by an erasure that the chain records do not fall short.
    #[arg(long)]
    allow_erased: bool,
    /// Chunks removed by retention, as the log records it, do not fall short.
    #[arg(long)]
    allow_pruned: bool,
    /// Fall short where retention removed records earlier than after so many days.
    #[arg(long, value_name = "N", default_value_t = MIN_KEPT_DAYS, value_parser = parse_days)]
    min_kept_days: u64,
    /// Fall short where an event was recorded more than so long after the time that it claims (90s, 15m, 2h, 7d).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_late: Option<u64>,
    /// Fall short where an event claims a time more than so long after the one at which it was recorded.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_ahead: Option<u64>,
}

fn parse_days(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a whole number of days like {MIN_KEPT_DAYS} is expected"))
}

/// A number of seconds, minutes, hours or days, in microseconds.
fn parse_duration(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];
    let read = units.into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds)?.checked_mul(1_000_000)
    });
    read.ok_or_else(|| "a time like 90s, 15m, 2h or 7d is expected".to_owned())
}

impl PolicyArgs {
    /// What is asked for.
    pub(super) fn policy(&self) -> Result<Policy, CliError> {
        let (since, until) = (self.since, self.until);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            return Err(CliError::Times { since, until });
        }
        Ok(Policy {
            expect_through: self.expected(until),
            allow_erased: self.allow_erased,
            allow_pruned: self.allow_pruned,
            min_kept_days: self.min_kept_days,
            max_late: self.max_late,
            max_ahead: self.max_ahead,
            workspace: self.workspace.clone(),
            since,
            until,
            ..Policy::default()
        })
    }

    /// Up to when an archive has to be sealed: one that was set back, or whose archiver has stopped, looks as
    /// intact as any.
    fn expected(&self, until: Option<Micros>) -> Option<Micros> {
        if self.any_age || self.expect_through.is_some() {
            return self.expect_through;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let then = now.checked_sub(MAX_AGE).and_then(|then| i64::try_from(then.as_micros()).ok());
        // By the hour, so that the report of a day ago does not differ from second to second.
        let then = then.and_then(Micros::new)?.hour().start();
        Some(until.map_or(then, |until| until.min(then)))
    }
}

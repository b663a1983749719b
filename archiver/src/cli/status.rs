//! What `tally-archiver status` says.

use std::fmt;

use ledger::time::Hour;
use serde_json::{Value, json};

use super::{guarantees_json, write_guarantees};
use crate::passes::Failure;
use crate::status::Status;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last_hour {
            None => writeln!(f, "nothing is sealed yet, {} hours wait", self.hours_behind)?,
            Some(hour) => {
                writeln!(f, "sealed through {hour}, {} hours behind the clock", self.hours_behind)?
            }
        }
        writeln!(f, "the log has {} leaves of {} workspaces", self.log_size, self.workspaces)?;
        match self.stored_log_size {
            Some(size) if size == self.log_size => {}
            None if self.log_size == 0 => {}
            None => writeln!(f, "the store has no readable checkpoint")?,
            Some(size) => writeln!(f, "the store's checkpoint has {size} leaves: run seal")?,
        }
        if let Some(at) = self.passes.ok_at {
            writeln!(f, "the last pass that ended well was at {at}")?;
        }
        if let Some(Failure { at, code, error }) = &self.passes.last {
            let failures = self.passes.failures;
            writeln!(
                f,
                "{failures} passes FAILED since, the last at {at} (exit code {code}): {error}"
            )?;
        }
        if let Some((key, since)) = &self.seal_key {
            writeln!(f, "the seal key in force since leaf {since} is {key}")?;
        }
        if let Some(key) = &self.change_begun {
            writeln!(f, "a change of the seal key to {key} was begun and is to be finished")?;
        }
        if self.plain_key_file {
            writeln!(f, "the seal key's file is not encrypted: docs/operating/seal-key.md")?;
        }
        if self.log_size > 0 {
            writeln!(f, "{}", self.lock)?;
        }
        if let (days, Some(oldest)) = self.days {
            writeln!(
                f,
                "the database holds the payloads of {days} days, from {} on",
                oldest.date()
            )?;
        }
        if let (pruned @ 1.., left) = self.pruned {
            writeln!(
                f,
                "{pruned} chunks are pruned; of {left} the store may still have the object"
            )?;
        }
        write_guarantees(f, self.guarantees)
    }
}

pub(super) fn json(status: &Status) -> Value {
    json!({
        "last_hour": status.last_hour.map(|hour| hour.to_string()),
        "hours_behind": status.hours_behind,
        "log_size": status.log_size,
        "stored_log_size": status.stored_log_size,
        "workspaces": status.workspaces,
        "seal_key": status.seal_key.as_ref().map(|(key, _)| key.to_string()),
        "seal_key_since": status.seal_key.as_ref().map(|(_, since)| since),
        "seal_key_change_begun": status.change_begun.as_ref().map(ToString::to_string),
        "seal_key_file_encrypted": !status.plain_key_file,
        "guarantees": guarantees_json(status.guarantees),
        "lock": { "mode": status.lock.as_str(), "until": status.lock.until() },
        "days_in_database": status.days.0,
        "oldest_day_in_database": status.days.1.map(Hour::date),
        "pruned_chunks": status.pruned.0,
        "pruned_chunks_not_removed": status.pruned.1,
        "last_ok_at": status.passes.ok_at.map(|at| at.to_string()),
        "failures": status.passes.failures,
        "last_failure": status.passes.last.as_ref().map(|failure| json!({
            "at": failure.at.to_string(),
            "code": failure.code,
            "error": failure.error,
        })),
    })
}

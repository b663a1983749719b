//! How long records are kept: `policies/retention.toml`, read and checked.
//!
//! ```toml
//! [database]
//! keep_days = 35                 # payloads in Postgres
//!
//! [archive]
//! keep_days = 400                # objects in the archive; without this section they are kept for ever
//!
//! [archive.workspaces]
//! acme = 3650                    # longer or shorter than the others
//!
//! [[hold]]                       # nothing of this goes, whatever stands above
//! workspace = "acme"             # every workspace where absent
//! from = "2026-03-01"            # the first day, through the last one; without end where absent
//! through = "2026-04-30"
//! reason = "case 12/26"
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ledger::hash::Digest;
use ledger::limits::{MIN_KEPT_DAYS, TEXT_BYTES};
use ledger::names::Workspace;
use ledger::time::{Hour, Micros};
use serde::Deserialize;

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;

/// Most days that are told from for ever: longer than this format has dates.
const MOST_DAYS: u64 = 3_000_000;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("reading the retention policy `{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Not TOML, or a key that is missing or unknown.
    #[error("the retention policy is not of its form: {0}")]
    Form(#[from] toml::de::Error),
    /// A value that is not what it should be.
    #[error("`{key}` in the retention policy: {reason}")]
    Value {
        /// Where in the file.
        key: String,
        /// What is wrong, and how to mend it.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    database: Option<Database>,
    archive: Option<Archive>,
    #[serde(default)]
    hold: Vec<HoldSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Database {
    keep_days: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive {
    keep_days: Option<u64>,
    why: Option<String>,
    #[serde(default)]
    workspaces: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldSection {
    workspace: Option<String>,
    from: Option<String>,
    through: Option<String>,
    reason: String,
}

/// Records that stay, whatever their age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Whose; everyone's where absent.
    pub workspace: Option<Workspace>,
    /// From which moment on (microseconds since 1970).
    pub from: i64,
    /// Up to which moment, exclusive.
    pub before: i64,
    /// Why.
    pub reason: String,
}

impl Hold {
    /// Whether it covers something that this workspace recorded in a span of time.
    fn covers(&self, workspace: &Workspace, from: i64, before: i64) -> bool {
        self.workspace.as_ref().is_none_or(|held| held == workspace)
            && self.from < before
            && from < self.before
    }
}

/// How long records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// For how many days the database keeps payloads; for ever where absent.
    pub database_days: Option<u64>,
    archive_days: Option<u64>,
    workspaces: BTreeMap<Workspace, u64>,
    why: Option<String>,
    holds: Vec<Hold>,
    /// `H` of the policy's text.
    pub sha256: Digest,
}

fn wrong(key: impl Into<String>, reason: impl ToString) -> PolicyError {
    PolicyError::Value { key: key.into(), reason: reason.to_string() }
}

/// A reason stands in signed notes, as one line.
fn reason(key: &str, text: &str) -> Result<String, PolicyError> {
    let plain = !text.is_empty() && text.trim() == text && !text.contains(char::is_control);
    if plain && text.len() <= TEXT_BYTES {
        Ok(text.to_owned())
    } else {
        Err(wrong(key, "one line of text is expected, of at most 1024 bytes"))
    }
}

fn days(key: &str, days: u64) -> Result<u64, PolicyError> {
    if (1..=MOST_DAYS).contains(&days) {
        Ok(days)
    } else {
        Err(wrong(
            key,
            format!("1 to {MOST_DAYS} days are expected; leave it out to keep for ever"),
        ))
    }
}

fn day(key: &str, text: &str) -> Result<Hour, PolicyError> {
    let hour = Hour::parse(&format!("{text}T00:00:00Z"));
    hour.map_err(|_| wrong(key, format!("`{text}` is no day, as 2026-03-31 is one")))
}

impl RetentionPolicy {
    /// Reads a policy file.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let text = fs::read_to_string(path);
        Self::parse(&text.map_err(|error| PolicyError::Read { path: path.to_owned(), error })?)
    }

    /// Reads the text of a policy.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let File { database, archive, hold } = toml::from_str(text)?;
        let database_days = database.map(|section| days("database.keep_days", section.keep_days));
        let database_days = database_days.transpose()?;
        let Archive { keep_days, why, workspaces: named } =
            archive.unwrap_or(Archive { keep_days: None, why: None, workspaces: BTreeMap::new() });
        let archive_days = keep_days.map(|kept| days("archive.keep_days", kept)).transpose()?;
        let why = why.map(|why| reason("archive.why", &why)).transpose()?;
        let mut workspaces = BTreeMap::new();
        for (name, kept) in named {
            let key = format!("archive.workspaces.{name}");
            let workspace = Workspace::new(&name).map_err(|error| wrong(key.clone(), error))?;
            workspaces.insert(workspace, days(&key, kept)?);
        }
        let shortest = workspaces.values().copied().chain(archive_days).min();
        if let Some(shortest) = shortest {
            if shortest < MIN_KEPT_DAYS && why.is_none() {
                return Err(wrong(
                    "archive.keep_days",
                    format!(
                        "{shortest} days are less than the six months ({MIN_KEPT_DAYS} days) that records of \
                     AI systems are to be kept: keep them for longer, or say in `archive.why` why not"
                    ),
                ));
            }
            if database_days.is_none_or(|kept| kept > shortest) {
                return Err(wrong(
                    "database.keep_days",
                    format!(
                        "the archive keeps records for {shortest} days, so the database must not keep their \
                     payloads for longer: set it to {shortest} at most"
                    ),
                ));
            }
        }
        let holds = (0..).zip(hold).map(|(at, hold)| Self::hold(at, hold));
        let holds = holds.collect::<Result<_, _>>()?;
        let sha256 = Digest::of(text.as_bytes());
        Ok(Self { database_days, archive_days, workspaces, why, holds, sha256 })
    }

    fn hold(at: usize, section: HoldSection) -> Result<Hold, PolicyError> {
        let key = |name: &str| format!("hold[{at}].{name}");
        let workspace = section.workspace.map(|name| Workspace::new(&name));
        let from = section.from.map(|text| day(&key("from"), &text)).transpose()?;
        let through = section.through.map(|text| day(&key("through"), &text)).transpose()?;
        let from = from.map_or(0, |day| day.start().get());
        let before = through.map_or(i64::MAX, |day| day.start().get().saturating_add(DAY));
        if before <= from {
            return Err(wrong(key("through"), "it lies before `from`"));
        }
        Ok(Hold {
            workspace: workspace.transpose().map_err(|error| wrong(key("workspace"), error))?,
            from,
            before,
            reason: reason(&key("reason"), &section.reason)?,
        })
    }

    /// For how many days the archive keeps a workspace's objects; for ever where `None`.
    pub fn archive_days(&self, workspace: &Workspace) -> Option<u64> {
        self.workspaces.get(workspace).copied().or(self.archive_days)
    }

    /// Whether anything ever goes from the archive.
    pub fn prunes(&self) -> bool {
        self.archive_days.is_some() || !self.workspaces.is_empty()
    }

    /// What a prune record says of why it is kept so long.
    pub fn why(&self) -> &str {
        self.why.as_deref().unwrap_or("the policy's time is over")
    }

    /// The hold that keeps what a workspace recorded in a span of time (microseconds since 1970, the
    /// end exclusive), if there is one.
    pub fn held(&self, workspace: &Workspace, from: i64, before: i64) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.covers(workspace, from, before))
    }
}

/// Whether what ended at `end` (microseconds since 1970) has been kept for so many days by `now`.
pub fn is_over(end: i64, days: u64, now: Micros) -> bool {
    let days = i64::try_from(days).unwrap_or(i64::MAX);
    end.saturating_add(days.saturating_mul(DAY)) <= now.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        RetentionPolicy::parse(text).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn what_a_policy_must_not_say_is_refused_with_its_place() {
        for (text, says) in [
            ("[database]\nkeep = 3", "unknown field"),
            ("[database]\nkeep_days = 0", "database.keep_days"),
            ("[database]\nkeep_days = 5\n[archive]\nkeep_days = 183", "archive.why"),
            ("[database]\nkeep_days = 5\n[archive.workspaces]\nacme = 30", "six months"),
            ("[archive]\nkeep_days = 200", "database.keep_days"),
            ("[database]\nkeep_days = 201\n[archive]\nkeep_days = 200", "database.keep_days"),
            (
                "[database]\nkeep_days = 3\n[archive.workspaces]\nAcme = 200",
                "archive.workspaces.Acme",
            ),
            ("[[hold]]\nreason = \"\"", "hold[0].reason"),
            ("[[hold]]\nreason = \"a\"\nfrom = \"2026-02-30\"", "hold[0].from"),
            (
                "[[hold]]\nreason = \"a\"\nfrom = \"2026-03-02\"\nthrough = \"2026-03-01\"",
                "hold[0].through",
            ),
            ("[[hold]]\nreason = \"a\"\nworkspace = \"/\"", "hold[0].workspace"),
            ("[archive]\nwhy = \"a\\nb\"", "archive.why"),
        ] {
            let error = error(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_floor_gives_way_to_a_reason_alone() {
        let short = "[database]\nkeep_days = 5\n[archive]\nkeep_days = 30\n";
        assert_ne!(error(short), "");
        assert_eq!(error(&format!("{short}why = \"test data\"")), "");
        assert_eq!(error("[database]\nkeep_days = 5\n[archive]\nkeep_days = 184"), "");
    }

    #[test]
    fn a_hold_keeps_its_days_and_its_workspace() -> Result<(), Box<dyn std::error::Error>> {
        let policy = RetentionPolicy::parse(
            "[[hold]]\nworkspace = \"acme\"\nfrom = \"2026-03-02\"\nthrough = \"2026-03-03\"\n\
             reason = \"case 12/26\"",
        )?;
        let day = |text: &str| Hour::parse(&format!("{text}T00:00:00Z")).map(|h| h.start().get());
        let (acme, other) = (Workspace::new("acme")?, Workspace::new("other")?);
        for (date, held) in [
            ("2026-03-01", false),
            ("2026-03-02", true),
            ("2026-03-03", true),
            ("2026-03-04", false),
        ] {
            let start = day(date)?;
            assert_eq!(policy.held(&acme, start, start + DAY).is_some(), held, "{date}");
            assert!(policy.held(&other, start, start + DAY).is_none());
        }
        Ok(())
    }

    #[test]
    fn the_policy_that_is_shipped_can_be_used() {
        let policy = RetentionPolicy::parse(include_str!("../../policies/retention.toml"));
        assert!(policy.is_ok_and(|policy| policy.database_days.is_some() && !policy.prunes()));
    }

    #[test]
    fn time_is_over_at_the_moment_and_not_before() {
        let at = |micros| Micros::new(micros).unwrap_or(Micros::EPOCH);
        assert!(!is_over(10, 2, at(2 * DAY + 9)));
        assert!(is_over(10, 2, at(2 * DAY + 10)));
        assert!(!is_over(i64::MAX, 2, Micros::MAX));
    }
}

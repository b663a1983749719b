//! `tally-verify explain`: what a finding means, and what to do.

use std::fmt::{self, Write as _};

use clap::Args;
use ledger::verify::Check;

use super::CliError;
use crate::explain;
use crate::report::text::plain;

/// Most characters of a wrong id that are shown again.
const SHOWN_MAX: usize = 40;

#[derive(Args, Debug)]
pub(super) struct Explain {
    /// Ids of checks, as reports name them (T051); without any, all of them are listed.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), CliError> {
        if self.ids.is_empty() {
            return super::print(list().as_bytes());
        }
        // All ids are looked up before anything is printed: an error is not to be buried.
        let pages = self.ids.iter().map(|id| page(id)).collect::<Result<Vec<_>, _>>()?;
        super::print(pages.join("\n").as_bytes())
    }
}

fn list() -> String {
    let mut text = String::new();
    for check in Check::ALL {
        let (id, severity, title) = (check.id(), check.severity().as_str(), check.title());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{id}  {severity:<10}  {title}");
    }
    text
}

fn page(id: &str) -> Result<&'static str, UnknownCheck> {
    let wanted = id.trim();
    let check = Check::ALL.iter().find(|check| check.id().eq_ignore_ascii_case(wanted));
    check.and_then(|check| explain::page(*check)).ok_or_else(|| UnknownCheck::new(wanted))
}

/// An id that no check has, and the check whose id is the nearest, if one is like it.
#[derive(Debug)]
pub(super) struct UnknownCheck {
    id: String,
    /// The one of the same number, written in another way.
    meant: Option<Check>,
    nearest: Option<Check>,
}

impl UnknownCheck {
    fn new(id: &str) -> Self {
        let digits = id.trim_start_matches(['t', 'T']);
        let number = digits.parse::<u32>().ok().filter(|_| digits.len() <= 4);
        let number_of = |check: &Check| check.id().trim_start_matches('T').parse::<u32>().ok();
        let nearest = number.and_then(|number| {
            let distance = |check: &&Check| number_of(check).map(|of| of.abs_diff(number));
            Check::ALL.iter().min_by_key(distance).copied()
        });
        let meant = nearest.filter(|check| number_of(check) == number);
        Self { meant, id: plain(&id.chars().take(SHOWN_MAX).collect::<String>()), nearest }
    }
}

impl fmt::Display for UnknownCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no check `{}`", self.id)?;
        if let Some(check) = self.meant {
            let (id, title) = (check.id(), check.title());
            return write!(
                f,
                ": ids have three digits. Is it `tally-verify explain {id}` ({title})?"
            );
        }
        if let Some(check) = self.nearest {
            write!(f, "; the nearest is {} ({})", check.id(), check.title())?;
        }
        f.write_str(": `tally-verify explain` lists all of them")
    }
}

impl std::error::Error for UnknownCheck {}

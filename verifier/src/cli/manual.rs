//! `tally-verify man` and `tally-verify completions`: what a packager installs beside the program.

use clap::Args;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{CliError, EXIT_CODES, command};
use crate::report::text::plain;

/// The exit codes of commands that verify nothing.
const PRINTED: &str = "Exit codes: 0 printed; 2 usage; 3 could not be printed";

#[derive(Args, Debug)]
pub(super) struct Manual {
    /// The command to print the page of; without it, the page of the program.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

impl Manual {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut root = command();
        root.build();
        let wanted = match &self.command {
            None => &root,
            Some(name) => {
                root.find_subcommand(name).ok_or_else(|| CliError::UnknownCommand(plain(name)))?
            }
        };
        let mut wanted = wanted.clone();
        if self.command.is_some() {
            let codes = match wanted.get_name() {
                "explain" | "man" | "completions" => PRINTED,
                _ => EXIT_CODES,
            };
            wanted = wanted.version(env!("CARGO_PKG_VERSION")).after_help(codes);
        }
        let mut page = Vec::new();
        Man::new(wanted).render(&mut page)?;
        super::print(&page)
    }
}

#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell that they are for.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), CliError> {
        // The generator panics where it cannot write: it writes to memory first.
        let mut script = Vec::new();
        let mut root = command();
        let name = root.get_name().to_owned();
        clap_complete::generate(self.shell, &mut root, name, &mut script);
        super::print(&script)
    }
}

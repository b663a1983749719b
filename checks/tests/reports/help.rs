//! Help as users see it: each page is kept, so that a change of it is seen in review.

use std::collections::BTreeMap;
use std::fs;

use clap::Command;

use super::docs;

/// How wide the pages are.
const WIDTH: usize = 100;

/// Set, it writes the pages anew.
const WRITE: &str = "TALLY_WRITE_HELP";

/// The help page of a command and of all below it, by file name.
fn pages(command: &mut Command, pages: &mut BTreeMap<String, String>) {
    // What a variable happens to hold does not belong on a page.
    *command = command.clone().mut_args(|arg| arg.hide_env_values(true));
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    pages.insert(format!("{name}.txt"), command.render_long_help().to_string());
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        self::pages(sub, pages);
    }
}

#[test]
fn every_help_page_is_the_one_that_was_reviewed() {
    let mut command = verifier::cli::command().term_width(WIDTH);
    command.build();
    let mut now = BTreeMap::new();
    pages(&mut command, &mut now);
    assert!(now.len() > 3, "too few pages: {:?}", now.keys());
    let place = docs().join("cli");
    if std::env::var_os(WRITE).is_some() {
        fs::create_dir_all(&place).unwrap();
        for stale in fs::read_dir(&place).unwrap() {
            fs::remove_file(stale.unwrap().path()).unwrap();
        }
        for (name, page) in &now {
            fs::write(place.join(name), page).unwrap();
        }
    }
    let mut kept = BTreeMap::new();
    for entry in fs::read_dir(&place).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        kept.insert(name, fs::read_to_string(entry.path()).unwrap());
    }
    let how = format!(
        "read it, and where it is right: \
         {WRITE}=1 cargo test --locked --workspace --test reports help"
    );
    for (name, page) in &now {
        assert_eq!(kept.get(name), Some(page), "docs/cli/{name} is missing or stale; {how}");
    }
    let unused: Vec<_> = kept.keys().filter(|name| !now.contains_key(*name)).collect();
    assert!(unused.is_empty(), "docs/cli has pages of no command: {unused:?}; {how}");
}

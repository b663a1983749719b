//! Where the project's own programs lie, so that tests run what users run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The path of a program of this workspace (`tally-verify`, ...), built if it is not up to date.
///
/// Cargo names the programs of a test's own package only, so this asks cargo itself, for the
/// profile and target directory that the running test was built in.
///
/// # Panics
/// Where the program cannot be built: a test can then only fail.
pub fn tally(name: &str) -> PathBuf {
    // Cargo takes half a second to find that nothing is to be done.
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> PathBuf {
    #[expect(clippy::expect_used, reason = "a test without its program can only fail")]
    let (profile, target) = {
        // <target>/<profile>/deps/<test>
        let test = std::env::current_exe().expect("a test has a path");
        let profile = test.ancestors().nth(2).expect("a test lies in deps").to_owned();
        let target = profile.parent().expect("a profile lies in the target directory").to_owned();
        (profile, target)
    };
    let release = profile.ends_with("release");
    let mut build = Command::new(env!("CARGO"));
    // A test runner sets these for the package under test. Build scripts watch some of them (that of
    // `ring` does), and would have most of the tree built again.
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("CARGO_") && shown != "CARGO_HOME" {
            build.env_remove(&name);
        }
    }
    let built = build
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["build", "--quiet", "--locked", "--offline", "--workspace", "--bin", name])
        .args(release.then_some("--release"))
        // As the test itself was built, so that nothing is built a second time.
        .args(
            cfg!(feature = "distributed")
                .then_some(["--features", "checks/distributed"])
                .into_iter()
                .flatten(),
        )
        .arg("--target-dir")
        .arg(&target)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cargo cannot build {name}");
    profile.join(name)
}

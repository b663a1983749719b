//! `tally-verify`: see [`verifier`].

fn main() -> std::process::ExitCode {
    verifier::cli::run()
}

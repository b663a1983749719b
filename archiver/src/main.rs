//! `tally-archiver`: see [`archiver::cli`].

fn main() -> std::process::ExitCode {
    archiver::cli::run()
}

//! `tally-ingest`: see `tally-ingest --help`.

fn main() -> std::process::ExitCode {
    ingest::cli::main()
}

//! See [`verifier::rollup::cluster`].

fn main() -> std::process::ExitCode {
    verifier::rollup::cluster::run()
}

//! Exit codes: an interface like any other.

use std::process::ExitCode;

use ledger::verify::Verdict;

/// Everything that the policy asks for is proven.
pub const PROVEN: u8 = 0;
/// Tampering, forgery or loss was found.
pub const TAMPERED: u8 = 1;
/// The command line or the trust file is wrong.
pub const USAGE: u8 = 2;
/// The verification could not finish: an unreadable store, a missing key.
pub const UNFINISHED: u8 = 3;
/// Intact, but short of the policy.
pub const SHORT: u8 = 4;

/// The number that a verdict exits with.
pub const fn number(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Proven => PROVEN,
        Verdict::Tampered => TAMPERED,
        Verdict::Unfinished => UNFINISHED,
        Verdict::Short => SHORT,
    }
}

/// The exit code of a verdict.
pub fn code(verdict: Verdict) -> ExitCode {
    ExitCode::from(number(verdict))
}

//! Signals: an end in good order, and nothing left behind that is not whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;

use super::{CliError, staged};

/// From here on, the first signal (Ctrl-C, SIGTERM, SIGHUP) asks for an end, which whoever holds this looks for; and the
/// second one ends the program.
pub(super) fn end_in_order() -> Result<Arc<AtomicBool>, CliError> {
    let asked = Arc::new(AtomicBool::new(false));
    let before = Arc::clone(&asked);
    listen(move || before.swap(true, Ordering::Relaxed))?;
    Ok(asked)
}

/// From here on, the first signal ends the program.
pub(super) fn end_at_once() -> Result<(), CliError> {
    listen(|| true)
}

/// Listens on a thread of its own: a handler could not take files away.
fn listen(ends: impl Fn() -> bool + Send + 'static) -> Result<(), CliError> {
    let mut heeded = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        heeded.push(SIGHUP);
    }
    let mut signals = Signals::new(heeded).map_err(CliError::Signals)?;
    let heed = move || {
        for signal in signals.forever() {
            if ends() {
                // Held to the end: nobody begins another one.
                let _held = staged::remove_all();
                exit(128_i32.saturating_add(signal));
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(heed).map_err(CliError::Signals)?;
    Ok(())
}

/// Whether this program was started to go on whatever such a signal says (`nohup`). Where that cannot be known, it is
/// not for us to listen.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX);
    let bit = u32::try_from(signal).unwrap_or_default().saturating_sub(1);
    mask.checked_shr(bit).unwrap_or_default() & 1 == 1
}

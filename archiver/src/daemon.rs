//! The daemon: a pass as soon as an hour has closed, for as long as it runs.
//!
//! A **pass** seals every hour that has closed, then carries out what is asked to be erased, then lets go
//! what the retention policy does not keep, where there is one. Where the last of these fails, `status`
//! says so, and it is tried again after the next hour. What else went
//! wrong is tried again, later each time; where someone must look first, the daemon ends, as trying
//! again would only hide it. Where another archiver is at work, this one stands by.
//!
//! Here: when, and what is told of it. Not here: what a pass does (see [`crate::seal`],
//! [`crate::erase`], [`mod@crate::retain`]). It keeps nothing of its own, so whatever kills it, the next one goes on from
//! database and store.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ledger::time::{Hour, Micros};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::SealError;
use crate::erase::Outcome;
use crate::passes;
use crate::policy::RetentionPolicy;
use crate::retain::{ArchivedDay, PrunedRun, Retained};
use crate::seal::{Archiver, Sealed, SealedHour, first_open_hour};
use crate::step::{Probe, Step};

/// How often the clock is looked at. It may be set, and the machine may sleep.
const TICK: Duration = Duration::from_secs(5);
/// How long to wait after the first failure; each further one doubles it, up to the second figure.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Tells the daemon to stop: between two steps, at the next look at the clock.
#[derive(Debug, Default)]
pub struct Stop {
    told: AtomicBool,
    wake: Notify,
}

impl Stop {
    /// Not told yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells it.
    pub fn stop(&self) {
        self.told.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Whether it has been told.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }

    /// Waits, but no longer than until it is told.
    async fn pause(&self, time: Duration) {
        // Whether the time is over or it was told: the caller looks.
        let _ = timeout(time, self.wake.notified()).await;
    }
}

/// Work ends between two steps: whoever goes on finds what a killed process would have left.
impl Probe for Stop {
    fn go_on(&self, _step: Step) -> bool {
        !self.is_told()
    }
}

/// When passes are made.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// How long an hour stays open after its end.
    pub grace: Duration,
    /// How often the clock is looked at.
    pub tick: Duration,
    /// The file that says how long records are kept, read in each pass; for ever where there is none.
    pub retention: Option<PathBuf>,
}

impl Schedule {
    /// By the settings.
    pub fn new(grace: Duration, retention: Option<PathBuf>) -> Self {
        Self { grace, tick: TICK, retention }
    }

    /// How long records are kept, as the file says it now.
    pub fn policy(&self) -> Result<Option<RetentionPolicy>, SealError> {
        Ok(self.retention.as_deref().map(RetentionPolicy::read).transpose()?)
    }
}

/// Makes passes until it is told to stop (`Ok`), or someone must look (see [`SealError::code`]).
/// `stop` is also the archiver's probe, so that it ends between two steps; `now` gives `None` where
/// the system's clock gives no time of this format.
pub async fn run(
    archiver: &Archiver<'_>,
    schedule: &Schedule,
    now: &(dyn Fn() -> Option<Micros> + Sync),
    stop: &Stop,
) -> Result<(), SealError> {
    let mut done: Option<Hour> = None;
    let (mut failures, mut not_before) = (0_u32, Instant::now());
    while !stop.is_told() {
        let open =
            now().and_then(|now| first_open_hour(now, schedule.grace).map(|hour| (now, hour)));
        if let Some((at, hour)) = open.filter(|(_, hour)| done.is_none_or(|done| done < *hour))
            && Instant::now() >= not_before
        {
            match pass(archiver, at, schedule).await {
                Ok(()) => (done, failures) = (Some(hour), 0),
                Err(SealError::Stopped(step)) => {
                    tracing::info!(?step, "stopped between two steps");
                    break;
                }
                Err(error) if error.code() == 4 => return Err(error),
                Err(error) => {
                    let (first, most) = RETRY;
                    let wait = first.saturating_mul(2_u32.saturating_pow(failures)).min(most);
                    failures = failures.saturating_add(1);
                    not_before = Instant::now() + wait;
                    let retry_seconds = wait.as_secs();
                    if matches!(error, SealError::Busy) {
                        tracing::info!(retry_seconds, "standing by: {error}");
                    } else {
                        tracing::error!(failures, retry_seconds, "the pass failed: {error}");
                    }
                }
            }
        }
        stop.pause(schedule.tick).await;
    }
    Ok(())
}

/// One pass, and what it tells.
async fn pass(archiver: &Archiver<'_>, now: Micros, schedule: &Schedule) -> Result<(), SealError> {
    let start = Instant::now();
    let sealing = async {
        let sealed = archiver.seal(now, schedule.grace).await?;
        tell_sealed(&sealed, start.elapsed());
        let erased = archiver.erase().await?;
        tell_erased(&erased);
        Ok(())
    };
    let sealed: Result<(), SealError> = sealing.await;
    if sealed.is_err() {
        passes::record(&archiver.pool, now, &sealed).await;
        return sealed;
    }
    let retaining = async {
        if let Some(policy) = schedule.policy()? {
            tell_retained(&archiver.retain(&policy, now).await?);
        }
        Ok(())
    };
    let retained: Result<(), SealError> = retaining.await;
    passes::record(&archiver.pool, now, &retained).await;
    match retained {
        Err(error) if !matches!(error, SealError::Stopped(_)) => {
            // Nothing goes that should stay, and nothing is owed to anybody: whatever is wrong there must
            // not keep hours from being sealed. It is tried again after the next one.
            tracing::error!(code = error.code(), "what is over could not be let go: {error}");
            Ok(())
        }
        stopped => stopped,
    }
}

fn tell_sealed(sealed: &Sealed, took: Duration) {
    if sealed.recovered > 0 {
        tracing::warn!(leaves = sealed.recovered, "took up what an earlier run had published");
    }
    for SealedHour { hour, chunks, events, payload_bytes, object_bytes } in &sealed.hours {
        tracing::info!(%hour, events, chunks, payload_bytes, object_bytes, "sealed");
    }
    if sealed.kept > 0 {
        tracing::warn!(tiles = sealed.kept, "the store keeps tiles that fuller ones replace");
    }
    let (hours, log_size) = (sealed.hours.len(), sealed.log_size);
    tracing::info!(hours, log_size, seconds = took.as_secs_f64(), "all closed hours are sealed");
}

fn tell_erased(erased: &Outcome) {
    let Outcome { payloads, requests, chunks, waiting, .. } = erased;
    if *payloads > 0 || *waiting > 0 {
        tracing::info!(payloads, requests, chunks, waiting, "erased");
    }
    for key in &erased.kept {
        tracing::warn!(key, "the store keeps an object that still has what was erased");
    }
}

fn tell_retained(retained: &Retained) {
    for ArchivedDay { day, payloads } in &retained.days {
        tracing::info!(day = %day.date(), payloads, "the day's payloads left the database");
    }
    for PrunedRun { workspace, first_seq, last_seq, chunks, .. } in &retained.pruned {
        let (first_seq, last_seq) = (first_seq.get(), last_seq.get());
        tracing::info!(%workspace, first_seq, last_seq, chunks, "pruned from the archive");
    }
    for key in &retained.kept {
        tracing::warn!(key, "the store keeps an object that the log says is pruned");
    }
}

//! What the operating system says of this process.
//!
//! Here: memory, processor time, open files, the time it started. Read when somebody asks. Where the
//! system does not have Linux's `/proc`, all but the time of the start stay at 0.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Ticks in a second, as the kernel tells processor times to programs: the same on all machines.
const TICKS: f64 = 100.0;

/// The figures.
#[derive(Debug)]
pub(super) struct Gauges {
    resident: Gauge,
    files: Gauge,
    processor: Counter<f64, AtomicU64>,
    started: Gauge<f64, AtomicU64>,
}

impl Default for Gauges {
    fn default() -> Self {
        let gauges = Self {
            resident: Gauge::default(),
            files: Gauge::default(),
            processor: Counter::default(),
            started: Gauge::default(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        gauges.started.set(now.as_secs_f64());
        gauges
    }
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Memory of the process that is in RAM";
        let unit = Unit::Bytes;
        registry.register_with_unit("process_resident_memory", help, unit, self.resident.clone());
        registry.register("process_open_files", "Open files and sockets", self.files.clone());
        let help = "Processor time that the process has used since it started";
        registry.register_with_unit("process_cpu", help, Unit::Seconds, self.processor.clone());
        let help = "When the service started, since 1970";
        let unit = Unit::Seconds;
        registry.register_with_unit("process_start_time", help, unit, self.started.clone());
    }

    pub(super) fn refresh(&self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        self.resident.set(resident_bytes(&status).unwrap_or(0));
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The system counts; this is only where its count is shown.
        let seconds = processor_seconds(&stat).unwrap_or(0.0);
        self.processor.inner().store(seconds.to_bits(), Ordering::Relaxed);
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.files.set(i64::try_from(files).unwrap_or(i64::MAX));
    }
}

/// `VmRSS` of `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

/// `utime` and `stime` of `/proc/self/stat`. The program's name, in brackets, may hold anything.
fn processor_seconds(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let mut fields = behind_name.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some((ticks()? + ticks()?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        assert_eq!(resident_bytes("VmHWM:\t  9 kB\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(resident_bytes("VmRSS: much"), None);
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(processor_seconds(stat), Some(2.0));
        assert_eq!(processor_seconds("7 (a)"), None);
    }
}

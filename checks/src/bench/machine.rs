//! What the system counted: processor time of the processes that take part. Linux only.

use std::fs;

use crate::rig::Failure;

/// The kernel counts processor time in hundredths of a second, on every Linux of today.
const TICKS: f64 = 100.0;

/// Processor time, in seconds times a million: divided by millions of events it is µs an event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) service: f64,
    pub(super) postgres: f64,
    pub(super) own: f64,
}

impl Usage {
    /// What the service, the server with all its processes, and this process have used so far.
    pub(super) fn of((service, postgres): (u32, u32)) -> Result<Self, Failure> {
        let mut usage = Self { own: of(std::process::id())?.1, ..Self::default() };
        usage.service = of(service)?.1;
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end while it is looked at; the server itself counts those that did.
            if let Ok((parent, seconds)) = of(pid)
                && (pid == postgres || parent == postgres)
            {
                usage.postgres += seconds;
            }
        }
        Ok(usage)
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            service: self.service - before.service,
            postgres: self.postgres - before.postgres,
            own: self.own - before.own,
        }
    }

    pub(super) fn plus(&self, more: &Self) -> Self {
        Self {
            service: self.service + more.service,
            postgres: self.postgres + more.postgres,
            own: self.own + more.own,
        }
    }
}

/// The most memory that a process has held so far, in MiB; `None` where it has ended.
pub(super) fn peak_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

/// The parent of a process, and its processor time with that of the children it has waited for.
fn of(pid: u32) -> Result<(u32, f64), Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name stands in brackets and may hold anything.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .ok_or("a process has a name")?;
    let field = |index: usize| fields.get(index).ok_or("a process has all fields");
    let parent = field(1)?.parse()?;
    let mut ticks = 0.0;
    for index in 11..15 {
        ticks += field(index)?.parse::<f64>()?;
    }
    Ok((parent, ticks / TICKS))
}

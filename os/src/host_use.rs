//! What a host and the threads of a process have used so far, as the kernel counts it: CPU, waiting
//! for a core, stolen and throttled time. Cumulative, ns. `None` where this host has no such
//! figure.

use std::{fs, path::Path};

use crate::{
    cgroup,
    host::{cpu_ticks, text},
};

/// The id of a process, never 0.
pub type ProcessId = std::num::NonZeroU32;

/// CPU time of all cores of this host since its boot, ns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CpuTime {
    /// All that the kernel accounts for, idle time included.
    pub all_ns: u64,
    /// Time in which the hypervisor ran others although a core wanted to run.
    pub stolen_ns: u64,
}

/// Reads /proc/stat.
#[must_use]
pub fn cpu_time() -> Option<CpuTime> {
    /// user, nice, system, idle, iowait, irq, softirq, steal. What follows is part of the first
    /// two.
    const KINDS: usize = 8;
    let ticks = cpu_ticks()?;
    let kinds = ticks.get(..KINDS)?;
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    Some(CpuTime {
        all_ns: kinds.iter().sum::<u64>().saturating_mul(tick_ns),
        stolen_ns: kinds[KINDS - 1].saturating_mul(tick_ns),
    })
}

/// For how long the control group of this process, or one above it, has been denied CPU by its
/// quota.
#[must_use]
pub fn throttled_ns() -> Option<u64> {
    cgroup::throttled_ns()
}

/// For how long some runnable task of this host has waited for a core (/proc/pressure/cpu, some).
#[must_use]
pub fn pressure_ns() -> Option<u64> {
    let pressure = text("/proc/pressure/cpu")?;
    let some = pressure
        .lines()
        .find_map(|line| line.strip_prefix("some "))?;
    let total = some
        .split(' ')
        .find_map(|field| field.strip_prefix("total="))?;
    Some(total.parse::<u64>().ok()?.saturating_mul(1_000))
}

/// What one thread has used since it began.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ThreadUse {
    /// Unique on this host while it lives.
    pub id: u64,
    /// At most 15 bytes, as the kernel has it.
    pub name: String,
    /// With the kernel's share.
    pub cpu_ns: u64,
    /// Time in which it was ready to run and others ran.
    pub run_queue_ns: Option<u64>,
    /// How often it waited for something.
    pub waits: Option<u64>,
    /// How often another one took its core.
    pub preemptions: Option<u64>,
}

/// The threads of a process, of this one without an id. None of a process that is gone.
#[must_use]
pub fn threads(process: Option<ProcessId>) -> Vec<ThreadUse> {
    let process = process.map_or("self".into(), |id| id.to_string());
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // The first thread of this process: one that has just begun would show 0 for itself.
    let own = schedstat(Path::new("/proc/self"));
    let has_schedstat = own.is_some_and(|(cpu_ns, _)| cpu_ns > 0);
    let thread = |id: u64| {
        let folder = format!("/proc/{process}/task/{id}");
        thread(Path::new(&folder), id, has_schedstat)
    };
    ids.filter_map(thread).collect()
}

/// Time on a core, and time in the queue for one. Zeros where the kernel does not count, also of a
/// thread that has run.
fn schedstat(folder: &Path) -> Option<(u64, u64)> {
    let line = text(folder.join("schedstat"))?;
    let mut fields = line.split(' ').map_while(|field| field.parse().ok());
    Some((fields.next()?, fields.next()?))
}

/// `None` of a thread that has ended meanwhile.
fn thread(folder: &Path, id: u64, has_schedstat: bool) -> Option<ThreadUse> {
    let status = text(folder.join("status"))?;
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let times = schedstat(folder).filter(|_| has_schedstat);
    let cpu_ns = times
        .map(|(cpu_ns, _)| cpu_ns)
        .or_else(|| cpu_by_ticks_ns(folder))?;
    Some(ThreadUse {
        id,
        name: field("Name").unwrap_or_default().into(),
        cpu_ns,
        run_queue_ns: times.map(|(_, run_queue_ns)| run_queue_ns),
        waits: field("voluntary_ctxt_switches").and_then(|count| count.parse().ok()),
        preemptions: field("nonvoluntary_ctxt_switches").and_then(|count| count.parse().ok()),
    })
}

/// User and system time of `stat`, which has the resolution of a tick.
fn cpu_by_ticks_ns(folder: &Path) -> Option<u64> {
    let stat = text(folder.join("stat"))?;
    // The name in parentheses may have spaces and parentheses: fields count from behind the last.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<u64> = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, system] = ticks[..] else {
        return None;
    };
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    Some((user + system).saturating_mul(tick_ns))
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    #[test]
    fn the_threads_of_this_process_are_found_by_their_names_and_have_used_cpu() {
        let own = std::thread::Builder::new()
            .name("looks".into())
            .spawn(|| threads(None));
        let seen = own.unwrap().join().unwrap();
        let looks = seen.iter().find(|thread| thread.name == "looks").unwrap();
        // That it has just begun, and shows no time of its own yet, hides nothing.
        let first = schedstat(Path::new("/proc/self")).unwrap_or_default();
        assert_eq!(looks.run_queue_ns.is_some(), first.0 > 0, "{looks:?}");
        assert!(
            looks.waits.is_some() && looks.preemptions.is_some(),
            "{looks:?}"
        );
        let by_id = threads(ProcessId::new(process::id()));
        assert!(!by_id.is_empty());
    }

    #[test]
    fn a_process_that_is_gone_has_no_threads() {
        assert!(threads(ProcessId::new(u32::MAX)).is_empty());
    }

    #[test]
    fn what_was_stolen_is_part_of_all_time() {
        let time = cpu_time().unwrap();
        assert!(time.all_ns > time.stolen_ns, "{time:?}");
    }

    #[test]
    fn the_time_of_a_thread_is_found_behind_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let stat = "7 (a) b) S 1 7 7 0 -1 64 1 0 0 0 12 34 0 0 20 0 1 0 5 0 0";
        fs::write(folder.path().join("stat"), stat).unwrap();
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!(cpu_by_ticks_ns(folder.path()), Some(46 * tick_ns));
        fs::write(folder.path().join("stat"), "7 (a) S 1").unwrap();
        assert_eq!(cpu_by_ticks_ns(folder.path()), None);
    }
}

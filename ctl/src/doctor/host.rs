//! Facts that the kernel reports about this host and this process, as they are: nothing is judged
//! here.
//!
//! Everything is read from /proc and /sys, but for the cost of the clock, which is measured.

use std::{
    fs,
    path::{Path, PathBuf},
};

use metronome_os::{
    cgroup::cpu_limits,
    clock::now_ns,
    host::{number, sysctl, text},
};
use rustix::{
    process::{Resource, getrlimit},
    thread::{CpuSet, current_timer_slack, sched_getaffinity},
};

/// What the kernel reports. `None`: it does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Host {
    /// Release of the kernel.
    pub(crate) kernel: Option<String>,
    pub(crate) cores_online: Option<u32>,
    /// Cores that this process may use, at least 1.
    pub(crate) cores_allowed: Option<u32>,
    /// Cores' worth of CPU time that the control group grants; `None` without a limit.
    pub(crate) quota_cores: Option<f64>,
    /// Times that the quota has stopped this control group.
    pub(crate) throttled: Option<u64>,
    /// Most open files: what a process has, and what it may raise that to.
    pub(crate) open_files_soft: Option<u64>,
    pub(crate) open_files_hard: Option<u64>,
    pub(crate) clock_source: Option<String>,
    /// One look at the clock, ns.
    pub(crate) clock_read_ns: Option<f64>,
    /// What the kernel may add to each sleep, ns; pacing threads ask for 1 ns.
    pub(crate) timer_slack_ns: Option<u64>,
    /// Frequency governors in use, each once.
    pub(crate) governors: Vec<String>,
    /// Time to wake from the deepest idle state that is allowed, µs.
    pub(crate) idle_exit_us: Option<u64>,
    /// Numbers by their name below /proc/sys, dots for slashes.
    pub(crate) sysctls: Vec<(&'static str, u64)>,
    /// Ports that outgoing connections may use.
    pub(crate) ports: Option<u64>,
}

/// Kernel settings that connections of a run depend on.
const SYSCTLS: [&str; 4] = [
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.core.rmem_max",
    "net.core.wmem_max",
];

/// Less than the time for which a thread has its core.
const CLOCK_READS: u32 = 1_000;
/// Some milliseconds in all.
const CLOCK_MEANS: u32 = 100;

/// Reads all of them.
pub(crate) fn examine() -> Host {
    let open_files = getrlimit(Resource::Nofile);
    let cpu_limits = cpu_limits();
    Host {
        kernel: text("/proc/sys/kernel/osrelease"),
        cores_online: text("/sys/devices/system/cpu/online").and_then(|list| cores_in(&list)),
        cores_allowed: sched_getaffinity(None).ok().as_ref().map(CpuSet::count),
        quota_cores: cpu_limits.quota_cores,
        throttled: cpu_limits.throttled,
        open_files_soft: open_files.current,
        open_files_hard: open_files.maximum,
        clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        clock_read_ns: Some(cost_of_a_clock_read()),
        timer_slack_ns: current_timer_slack().ok(),
        governors: governors(),
        idle_exit_us: idle_exit_us(),
        sysctls: SYSCTLS
            .into_iter()
            .filter_map(|name| Some((name, sysctl(name)?)))
            .collect(),
        ports: text("/proc/sys/net/ipv4/ip_local_port_range").and_then(|range| ports_in(&range)),
    }
}

/// The least of several means: on a busy host another thread has the core now and then.
fn cost_of_a_clock_read() -> f64 {
    let mean = || {
        let start_ns = now_ns();
        let end_ns = (0..CLOCK_READS).fold(start_ns, |latest, _| latest.max(now_ns()));
        (end_ns - start_ns) as f64 / f64::from(CLOCK_READS)
    };
    (0..CLOCK_MEANS)
        .map(|_| mean())
        .fold(f64::INFINITY, f64::min)
}

/// How many cores `0-3,8` names. `None` for what is no such list.
fn cores_in(list: &str) -> Option<u32> {
    let size = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (
            first.trim().parse::<u32>().ok()?,
            last.trim().parse::<u32>().ok()?,
        );
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',')
        .map(size)
        .try_fold(0_u32, |sum, cores| sum.checked_add(cores?))
}

/// How many ports `32768 60999` names.
fn ports_in(range: &str) -> Option<u64> {
    let mut ends = range.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    last.checked_sub(first).map(|ports| ports + 1)
}

/// Folders `/sys/devices/system/cpu/cpu<number>`.
fn core_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/devices/system/cpu")
        .into_iter()
        .flatten()
        .flatten();
    let is_core = |name: &str| {
        name.strip_prefix("cpu")
            .is_some_and(|number| number.parse::<u32>().is_ok())
    };
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_core))
        .map(|entry| entry.path())
        .collect()
}

fn governors() -> Vec<String> {
    let governor = |folder: &PathBuf| text(folder.join("cpufreq/scaling_governor"));
    let mut governors: Vec<String> = core_folders().iter().filter_map(governor).collect();
    governors.sort();
    governors.dedup();
    governors
}

fn idle_exit_us() -> Option<u64> {
    let states = core_folders()
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder.join("cpuidle")).ok());
    let is_enabled =
        |state: &Path| number::<u32>(state.join("disable")).is_none_or(|disabled| disabled == 0);
    let paths = states
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|state| is_enabled(state));
    paths
        .filter_map(|state| number(state.join("latency")))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cores_is_counted() {
        for (list, cores) in [
            ("0", Some(1)),
            ("0-3", Some(4)),
            ("0-3,8", Some(5)),
            ("0,2-2", Some(2)),
            ("", None),
            ("3-1", None),
            ("0,x", None),
            ("0-4294967295", None),
        ] {
            assert_eq!(cores_in(list), cores, "{list:?}");
        }
    }

    #[test]
    fn a_range_of_ports_is_counted() {
        assert_eq!(ports_in("32768\t60999"), Some(28_232));
        assert_eq!(ports_in("2 1"), None);
        assert_eq!(ports_in("1"), None);
    }

    #[test]
    fn this_host_reports_its_cores_and_limits() {
        let host = examine();
        assert!(
            host.cores_allowed.is_some_and(|cores| cores >= 1)
                && host
                    .cores_online
                    .is_none_or(|_| host.cores_online >= host.cores_allowed)
                && host.clock_read_ns.is_some_and(|ns| ns > 0.0),
            "{host:?}"
        );
        assert!(
            host.open_files_soft.is_some() || host.open_files_hard.is_none(),
            "{host:?}"
        );
    }
}

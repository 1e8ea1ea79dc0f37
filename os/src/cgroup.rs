//! The control group of this process: CPU quota and throttling, and how many threads it may have;
//! versions 1 and 2.
//!
//! `None` where there is no control group, no quota, or no /sys/fs/cgroup.

use std::path::Path;

use crate::host::{number, text};

/// What the control group of this process may use and was denied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuLimits {
    /// The tightest quota on the way up to the root, in cores.
    pub quota_cores: Option<f64>,
    /// Periods in which the group was throttled, since it was made.
    pub throttled: Option<u64>,
}

/// Asks the kernel.
pub fn cpu_limits() -> CpuLimits {
    let groups = text("/proc/self/cgroup").unwrap_or_default();
    CpuLimits {
        quota_cores: quota_cores(&groups),
        throttled: throttled(&groups),
    }
}

/// The tightest limit of threads and processes on the way up to the root.
pub fn pids_max() -> Option<u64> {
    let groups = text("/proc/self/cgroup").unwrap_or_default();
    let limits = folders(&groups, "pids").into_iter();
    limits
        .filter_map(|folder| number(format!("{folder}/pids.max")))
        .min()
}

/// The folders of this process's control group for `controller`, its own first, then its parents'.
/// In a container the own one may be shown as the root.
fn folders(groups: &str, controller: &str) -> Vec<String> {
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some((controllers, path))
    });
    let mut folders = Vec::new();
    for (controllers, path) in lines {
        let root = match controllers {
            "" => "/sys/fs/cgroup".to_owned(),
            names if names.split(',').any(|name| name == controller) => {
                format!("/sys/fs/cgroup/{names}")
            }
            _ => continue,
        };
        let ancestors = Path::new(path).ancestors();
        folders.extend(ancestors.map(|path| {
            format!("{root}{}", path.display())
                .trim_end_matches('/')
                .to_owned()
        }));
    }
    folders
}

/// The tightest quota on the way up, in cores.
fn quota_cores(groups: &str) -> Option<f64> {
    let version_2 = |folder: &String| quota_in(&text(format!("{folder}/cpu.max"))?);
    let version_1 = |folder: &String| {
        let quota: f64 = number(format!("{folder}/cpu.cfs_quota_us"))?;
        let period: f64 = number(format!("{folder}/cpu.cfs_period_us"))?;
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    };
    let quotas = folders(groups, "cpu")
        .into_iter()
        .filter_map(|folder| version_2(&folder).or(version_1(&folder)));
    quotas.reduce(f64::min)
}

/// Cores in `150000 100000`; none in `max 100000`.
fn quota_in(cpu_max: &str) -> Option<f64> {
    let (quota, period) = cpu_max.split_once(' ')?;
    let (quota, period) = (
        quota.parse::<f64>().ok()?,
        period.trim().parse::<f64>().ok()?,
    );
    (period > 0.0).then(|| quota / period)
}

/// For how long the control group of this process, or one above it, has been denied CPU by its
/// quota, ns: the sum of them, which only rises, and of all cores on which each had work.
pub(crate) fn throttled_ns() -> Option<u64> {
    let groups = text("/proc/self/cgroup").unwrap_or_default();
    let stats = folders(&groups, "cpu").into_iter();
    stats
        .filter_map(|folder| throttled_ns_in(&text(format!("{folder}/cpu.stat"))?))
        .reduce(u64::saturating_add)
}

/// Microseconds in version 2 and nanoseconds in version 1.
fn throttled_ns_in(cpu_stat: &str) -> Option<u64> {
    let figure = |name: &str| {
        let mut lines = cpu_stat.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    let version_2 = || Some(figure("throttled_usec ")?.saturating_mul(1_000));
    version_2().or_else(|| figure("throttled_time "))
}

fn throttled(groups: &str) -> Option<u64> {
    let stat = folders(groups, "cpu")
        .into_iter()
        .find_map(|folder| text(format!("{folder}/cpu.stat")))?;
    stat.lines()
        .find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_in_cores_and_max_is_none() {
        assert_eq!(quota_in("150000 100000"), Some(1.5));
        for text in ["max 100000", "", "1", "1 0", "x y"] {
            assert_eq!(quota_in(text), None, "{text:?}");
        }
    }

    #[test]
    fn throttled_time_is_read_in_both_versions() {
        let version_2 = "usage_usec 5\nnr_throttled 3\nthrottled_usec 1500\n";
        assert_eq!(throttled_ns_in(version_2), Some(1_500_000));
        assert_eq!(
            throttled_ns_in("nr_throttled 3\nthrottled_time 77"),
            Some(77)
        );
        assert_eq!(throttled_ns_in("usage_usec 5\n"), None, "without a quota");
    }

    #[test]
    fn the_control_group_s_parents_are_asked_too() {
        let version_2 = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"];
        assert_eq!(folders("0::/a/b\n", "cpu"), version_2);
        assert_eq!(
            folders("7:memory:/m\n3:cpu,cpuacct:/\n", "cpu"),
            ["/sys/fs/cgroup/cpu,cpuacct"]
        );
        assert!(folders("garbage\n1:cpuset:/x", "cpu").is_empty());
    }
}

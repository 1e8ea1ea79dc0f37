//! What the kernel reports of this host and of this process, from /proc.
//!
//! `None`, or an empty text, where the kernel does not report it. Absent on purpose: the control
//! group, which is in `cgroup`.

use std::{fs, path::Path, str::FromStr};

/// A file of one line, without its line end.
pub fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// A file of one number.
pub fn number<T: FromStr>(path: impl AsRef<Path>) -> Option<T> {
    text(path)?.parse().ok()
}

/// A kernel setting by its name below /proc/sys, dots for slashes.
pub fn sysctl(name: &str) -> Option<u64> {
    number(Path::new("/proc/sys").join(name.replace('.', "/")))
}

/// The host's name; empty where the kernel does not report it.
pub fn name() -> String {
    text("/proc/sys/kernel/hostname").unwrap_or_default()
}

/// The release of the kernel, such as 6.1.0; empty where it is not reported.
pub fn kernel_release() -> String {
    text("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// The first processor as the kernel names it; empty where it does not: on most of Arm.
pub fn cpu_model() -> String {
    let cpus = text("/proc/cpuinfo").unwrap_or_default();
    let name = cpus.lines().find_map(|line| {
        let (key, name) = line.split_once(':')?;
        (key.trim() == "model name").then(|| name.trim().to_owned())
    });
    name.unwrap_or_default()
}

/// The id of this boot: equal on two processes that run on one kernel.
pub fn boot_id() -> String {
    text("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// The time namespace of this process, which shifts its CLOCK_MONOTONIC. Empty on a kernel without
/// time namespaces.
pub fn time_namespace() -> String {
    fs::read_link("/proc/self/ns/time")
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The name of process 1.
pub fn init_name() -> String {
    text("/proc/1/comm").unwrap_or_default()
}

/// Ticks of all cores since the boot, in the order of /proc/stat: user, nice, system, idle, iowait,
/// irq, softirq, steal, …
pub fn cpu_ticks() -> Option<Vec<u64>> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?;
    ticks
        .split_whitespace()
        .map(|ticks| ticks.parse().ok())
        .collect()
}

/// Memory of this process that is in RAM, bytes.
pub fn resident_bytes() -> Option<u64> {
    let pages: u64 = text("/proc/self/statm")?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Descriptors that this process has open.
pub fn open_descriptors() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    Some(entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_and_this_process_are_reported() {
        assert!(kernel_release().starts_with(|c: char| c.is_ascii_digit()));
        assert!(!boot_id().is_empty() && !name().is_empty() && !init_name().is_empty());
        assert!(cpu_ticks().is_some_and(|ticks| ticks.len() >= 8));
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(open_descriptors().is_some_and(|count| count >= 3));
        assert!(sysctl("net.core.somaxconn").is_some_and(|connections| connections > 0));
        assert_eq!(sysctl("net.core.no_such_setting"), None);
    }
}

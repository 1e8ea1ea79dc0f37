//! Findings about limits of the kernel: open files, ports, sysctls.

use metronome_proto::{
    limits::{CLIENTS_MAX, TOTAL_RATE_MILLIHERTZ_MAX},
    quantity::count,
};

use super::super::{finding::Finding, host::Host, load::Load};

/// Descriptors besides the clients' own: listeners, workers' channels, the database.
const OPEN_FILES_RESERVED: u64 = 128;
/// Shorter queues overflow when 1,000 clients connect at once.
const BACKLOG_MIN: u64 = 1_024;
/// The socket buffers that server and agents ask for.
const SOCKET_BUFFER_BYTES: u64 = 131_072;

pub(super) fn open_files(host: &Host, load: Load) -> Finding {
    let needed = u64::from(load.clients) + OPEN_FILES_RESERVED;
    // Server and agent raise the soft limit to the hard one by themselves.
    match host.open_files_hard.or(host.open_files_soft) {
        Some(limit) if limit < needed => Finding::problem(
            "open files",
            format!(
                "at most {}; {} clients need {}",
                count(limit),
                count(load.clients.into()),
                count(needed)
            ),
            format!(
                "`ulimit -Hn {needed}` as root, LimitNOFILE= of systemd, \
                 or `ulimits: nofile` of compose"
            ),
        ),
        Some(limit) => Finding::fine("open files", format!("at most {}", count(limit))),
        None => Finding::fine("open files", "no limit"),
    }
}

pub(super) fn ports(host: &Host, load: Load) -> Option<Finding> {
    let ports = host.ports?;
    let observed = format!("{} for outgoing connections", count(ports));
    Some(if ports < 2 * u64::from(load.clients) {
        Finding::problem(
            "ports",
            observed,
            "`sysctl -w net.ipv4.ip_local_port_range='1024 65535'`",
        )
    } else {
        Finding::fine("ports", observed)
    })
}

pub(super) fn sysctl(name: &'static str, value: u64) -> Finding {
    let needed = if name.ends_with("mem_max") {
        SOCKET_BUFFER_BYTES
    } else {
        BACKLOG_MIN
    };
    if value < needed {
        Finding::warning(name, count(value), format!("`sysctl -w {name}={needed}`"))
    } else {
        Finding::fine(name, count(value))
    }
}

/// The most clients that a run at the load's rate may have here, at least 1: what a plan allows,
/// and what files and ports there are for.
pub(crate) fn clients_max(host: &Host, load: Load) -> u32 {
    let files = host.open_files_hard.or(host.open_files_soft);
    let by_files = files.map(|limit| limit.saturating_sub(OPEN_FILES_RESERVED));
    // A port of a connection that has ended is free again a minute later: an eighth leaves enough
    // for all runs of a search.
    let by_ports = host.ports.map(|ports| ports / 8);
    let by_rate = TOTAL_RATE_MILLIHERTZ_MAX as f64 / 1e3 / load.rate_hz;
    let by_host = by_files.into_iter().chain(by_ports).min();
    let by_host = by_host.map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(u32::MAX));
    // The cast of a float saturates; NaN becomes 0.
    (by_rate as u32).min(by_host).clamp(1, CLIENTS_MAX)
}

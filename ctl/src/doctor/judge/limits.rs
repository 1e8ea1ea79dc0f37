//! Findings about limits of the kernel: open files, ports, sysctls.

use super::super::{finding::Finding, host::Host, promise::Load};

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
            format!("at most {limit}; {} clients need {needed}", load.clients),
            format!(
                "`ulimit -Hn {needed}` as root, LimitNOFILE= of systemd, \
                 or `ulimits: nofile` of compose"
            ),
        ),
        Some(limit) => Finding::fine("open files", format!("at most {limit}")),
        None => Finding::fine("open files", "no limit"),
    }
}

pub(super) fn ports(host: &Host, load: Load) -> Option<Finding> {
    let ports = host.ports?;
    let observed = format!("{ports} for outgoing connections");
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
        Finding::warning(
            name,
            value.to_string(),
            format!("`sysctl -w {name}={needed}`"),
        )
    } else {
        Finding::fine(name, value.to_string())
    }
}

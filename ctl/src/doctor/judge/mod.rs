//! What the facts mean for a load: findings with their cures. Pure.
//!
//! Nothing is predicted here. Whether a load is held, and whether its figures may be believed, is
//! what the verdict and the outcome of a real run say; every other finding is a fact of its own.
//!
//! | module | findings about |
//! |---|---|
//! | [`runs`] | the real runs: the load itself, and what one pacing thread holds |
//! | [`cpu`] | cores, clocks and priority |
//! | [`limits`] | open files, ports, sysctls |
//! | [`remote`] | the server, its data port and its agents |
//! | [`path`] | the paths between the server and agents, and what can be promised of times |

mod cpu;
mod limits;
pub(crate) mod path;
pub(crate) mod remote;
pub(crate) mod runs;

use metronome_proto::v1::ThreadPriority;

use super::{finding::Finding, host::Host, load::Load};

pub(crate) use limits::clients_max;

/// Judges the facts about the host for `load`.
pub(crate) fn host(host: &Host, priority: Option<ThreadPriority>, load: Load) -> Vec<Finding> {
    let where_known = [
        priority.and_then(|priority| cpu::priority(priority, host)),
        cpu::clock(host),
        cpu::slack(host),
        cpu::governor(host),
        cpu::idle(host),
        limits::ports(host, load),
    ];
    let sysctls = host
        .sysctls
        .iter()
        .map(|(name, value)| limits::sysctl(name, *value));
    [
        cpu::cores(host),
        cpu::quota(host),
        limits::open_files(host, load),
    ]
    .into_iter()
    .chain(where_known.into_iter().flatten())
    .chain(sysctls)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    const SEED: Load = Load {
        clients: 10,
        rate_hz: 10_000.0,
    };

    fn good_host() -> Host {
        Host {
            cores_online: Some(8),
            cores_allowed: Some(8),
            open_files_soft: Some(1_024),
            open_files_hard: Some(1_048_576),
            clock_source: Some("tsc".into()),
            clock_read_ns: Some(25.0),
            timer_slack_ns: Some(50_000),
            governors: vec!["performance".into()],
            idle_exit_us: Some(2),
            sysctls: vec![
                ("net.core.somaxconn", 4_096),
                ("net.core.rmem_max", 212_992),
            ],
            ports: Some(28_232),
            ..Host::default()
        }
    }

    fn level_of(check: &str, host: &Host, load: Load) -> Level {
        let findings = super::host(host, Some(ThreadPriority::RealTime), load);
        findings
            .iter()
            .find(|finding| finding.check == check)
            .expect("looked at")
            .level
    }

    #[test]
    fn a_good_host_has_nothing_to_cure() {
        let findings = host(&good_host(), Some(ThreadPriority::RealTime), SEED);
        assert!(
            findings
                .iter()
                .all(|finding| finding.level == Level::Fine && finding.cure.is_none()),
            "{findings:?}"
        );
    }

    #[test]
    fn cores_that_the_kernel_does_not_report_are_not_shown_as_none() {
        let cores = |cores_online, cores_allowed| {
            let host = Host {
                cores_online,
                cores_allowed,
                ..good_host()
            };
            cpu::cores(&host).observed
        };
        assert_eq!(cores(Some(8), Some(2)), "2 of 8 may be used");
        assert_eq!(cores(None, Some(2)), "2 may be used");
        assert!(!cores(Some(8), None).contains('0'));
    }

    #[test]
    fn whatever_is_not_fine_has_a_cure() {
        let bad_host = Host {
            cores_allowed: Some(1),
            quota_cores: Some(0.5),
            open_files_hard: Some(64),
            clock_read_ns: Some(900.0),
            governors: vec!["powersave".into()],
            idle_exit_us: Some(200),
            sysctls: vec![("net.core.somaxconn", 128), ("net.core.wmem_max", 4_096)],
            ports: Some(10),
            ..good_host()
        };
        let findings = host(&bad_host, Some(ThreadPriority::Ordinary), SEED);
        let bad: Vec<_> = findings
            .iter()
            .filter(|finding| finding.level != Level::Fine)
            .collect();
        assert_eq!(
            bad.len(),
            findings.len() - 1,
            "all but the timer slack: {findings:?}"
        );
        assert!(bad.iter().all(|finding| finding.cure.is_some()), "{bad:?}");
    }

    #[test]
    fn less_than_real_time_priority_is_warned_about_where_there_could_be_more() {
        let finding = |priority, cores| {
            let host = Host {
                cores_allowed: Some(cores),
                ..good_host()
            };
            let finding = cpu::priority(priority, &host).expect("known");
            (finding.level, finding.cure.is_some())
        };
        assert_eq!(finding(ThreadPriority::RealTime, 2), (Level::Fine, false));
        assert_eq!(
            finding(ThreadPriority::RaisedNice, 2),
            (Level::Warning, true)
        );
        assert_eq!(finding(ThreadPriority::Ordinary, 2), (Level::Warning, true));
        // No thread gets it there, not even root's.
        assert_eq!(finding(ThreadPriority::RaisedNice, 1), (Level::Fine, false));
        let unknown = host(&good_host(), None, SEED);
        assert!(unknown.iter().all(|finding| finding.check != "priority"));
    }

    #[test]
    fn the_limit_of_open_files_counts_what_it_may_be_raised_to() {
        let host = |soft, hard| Host {
            open_files_soft: soft,
            open_files_hard: hard,
            ..good_host()
        };
        let level = |host: &Host| {
            level_of(
                "open files",
                host,
                Load {
                    clients: 1_000,
                    ..SEED
                },
            )
        };
        assert_eq!(level(&host(Some(64), Some(1_128))), Level::Fine);
        assert_eq!(level(&host(Some(64), Some(1_127))), Level::Problem);
        assert_eq!(level(&host(None, None)), Level::Fine);
    }

    #[test]
    fn counts_have_thousands_separators() {
        let host = Host {
            open_files_hard: Some(20_000),
            ..good_host()
        };
        let findings = super::host(&host, None, SEED);
        let files = findings.iter().find(|of| of.check == "open files");
        assert_eq!(files.expect("looked at").observed, "at most 20,000");
    }

    #[test]
    fn the_search_tries_no_more_clients_than_a_plan_files_and_ports_allow() {
        let most = |files, ports, rate_hz| {
            let host = Host {
                open_files_hard: files,
                open_files_soft: files,
                ports,
                ..good_host()
            };
            clients_max(
                &host,
                Load {
                    clients: 1,
                    rate_hz,
                },
            )
        };
        assert_eq!(most(None, None, 1.0), 10_000);
        assert_eq!(most(None, None, 10_000.0), 1_000);
        assert_eq!(most(Some(228), None, 1.0), 100);
        assert_eq!(most(None, Some(800), 1.0), 100);
        assert_eq!(most(Some(1), Some(1), 1e6), 1);
    }
}

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

mod cpu;
mod limits;
pub(crate) mod remote;
pub(crate) mod runs;

use super::{finding::Finding, host::Host, load::Load, priority::Priority};

pub(crate) use limits::clients_max;

/// Judges the facts about the host for `load`.
pub(crate) fn host(host: &Host, priority: Option<Priority>, load: Load) -> Vec<Finding> {
    let where_known = [
        priority.map(|priority| cpu::priority(priority, host)),
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
    [cpu::cores(host), cpu::quota(host), limits::open_files(host, load)]
        .into_iter()
        .chain(where_known.into_iter().flatten())
        .chain(sysctls)
        .collect()
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram;

    use super::*;
    use crate::doctor::{finding::Level, timing::Shares};

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
            timer_slack_ns: Some(50_000),
            governors: vec!["performance".into()],
            idle_exit_us: Some(2),
            sysctls: vec![
                ("net.core.somaxconn", 4_096),
                ("net.core.rmem_max", 212_992),
            ],
            ports: Some(28_232),
            load: Some(0.1),
            ..Host::default()
        }
    }

    fn good_timing() -> Timing {
        timing_of(&[5_000; 1_000])
    }

    fn timing_of(oversleeps_ns: &[u64]) -> Timing {
        let mut oversleep = Histogram::default();
        oversleeps_ns.iter().for_each(|ns| oversleep.record(*ns));
        Timing {
            oversleep,
            clock_read_ns: 25.0,
            wake_and_write_ns: 3_000.0,
            write_ns: 1_000.0,
            read_ns: 3_000.0,
            shares: Some(Shares {
                stolen: 0.0,
                busy: 0.1,
            }),
        }
    }

    fn level_of(check: &str, host: &Host, timing: &Timing, load: Load) -> Level {
        let findings = judge(host, timing, load);
        findings
            .iter()
            .find(|finding| finding.check == check)
            .expect("looked at")
            .level
    }

    #[test]
    fn a_good_host_has_nothing_to_cure() {
        let findings = judge(&good_host(), &good_timing(), SEED);
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
        let host = Host {
            cores_allowed: Some(1),
            quota_cores: Some(0.5),
            open_files_hard: Some(64),
            governors: vec!["powersave".into()],
            idle_exit_us: Some(200),
            sysctls: vec![("net.core.somaxconn", 128), ("net.core.wmem_max", 4_096)],
            ports: Some(10),
            ..good_host()
        };
        let timing = Timing {
            clock_read_ns: 900.0,
            shares: Some(Shares {
                stolen: 0.2,
                busy: 1.0,
            }),
            ..timing_of(&[20_000_000; 100])
        };
        let findings = judge(&host, &timing, SEED);
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
    fn sleep_jitter_is_judged_as_the_verdict_judges_lateness() {
        let late = |of_a_thousand: usize, late_ns| {
            let mut all = vec![5_000; 1_000 - of_a_thousand];
            all.extend(vec![late_ns; of_a_thousand]);
            timing_of(&all)
        };
        let level = |timing: &Timing, rate_hz| {
            level_of(
                "sleep jitter",
                &good_host(),
                timing,
                Load { rate_hz, ..SEED },
            )
        };
        assert_eq!(level(&late(5, 900_000), 10_000.0), Level::Fine);
        assert_eq!(level(&late(5, 1_100_000), 10_000.0), Level::Warning);
        assert_eq!(level(&late(20, 1_100_000), 10_000.0), Level::Problem);
        // The period is longer than the millisecond, but no more than 10 ms of it count.
        assert_eq!(level(&late(20, 1_100_000), 500.0), Level::Fine);
        assert_eq!(level(&late(20, 10_100_000), 1.0), Level::Problem);
        assert_eq!(level(&timing_of(&[150_000; 100]), 10_000.0), Level::Warning);
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
                &good_timing(),
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
    fn a_load_beyond_the_promise_is_warned_about() {
        assert_eq!(
            level_of(
                "capacity",
                &good_host(),
                &good_timing(),
                Load {
                    clients: 159,
                    ..SEED
                }
            ),
            Level::Fine
        );
        assert_eq!(
            level_of(
                "capacity",
                &good_host(),
                &good_timing(),
                Load {
                    clients: 160,
                    ..SEED
                }
            ),
            Level::Warning
        );
        let too_fast = Load {
            rate_hz: 1e6,
            ..SEED
        };
        assert_eq!(
            level_of("capacity", &good_host(), &good_timing(), too_fast),
            Level::Problem
        );
    }
}

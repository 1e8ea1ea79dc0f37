//! What the facts mean for a load: findings with their cures, and what this host can promise. Pure.
//!
//! A threshold is one of the verdict's (docs/verdict.md) wherever the verdict has one, so that a
//! host found fine does not make runs invalid.

use metronome_proto::plan::CLIENTS_MAX;

use super::{
    Finding, Load, Promise,
    host::Host,
    timing::{Shares, Timing},
};

/// Descriptors besides the clients' own: listeners, workers' channels, the database.
const OPEN_FILES_RESERVED: u64 = 128;
/// Shorter queues overflow when 1,000 clients connect at once.
const BACKLOG_MIN: u64 = 1_024;
/// The seed's socket buffers, which server and agents ask for.
const SOCKET_BUFFER_BYTES: u64 = 131_072;
/// Of a period: beyond it a thread is late at the first hiccup.
const THREAD_LOAD_MAX: f64 = 0.7;
/// Of the cores: the rest is the kernel's and everybody else's.
const HOST_LOAD_MAX: f64 = 0.8;
/// A clock read through the vDSO costs a tenth of it, a system call more.
const CLOCK_READ_NS_MAX: f64 = 200.0;
/// A tenth of a period at 10 kHz.
const IDLE_EXIT_US_MAX: u64 = 10;
/// The verdict's bound for lateness at the 99.9th percentile, unless the period is longer.
const LATENESS_US_MAX: f64 = 1_000.0;

/// Judges the facts for `load`.
pub(crate) fn judge(host: &Host, timing: &Timing, load: Load) -> Vec<Finding> {
    let always = [
        cores(host),
        open_files(host, load),
        quota(host),
        oversleep(timing, load),
        clock(host, timing),
    ];
    let where_told = [
        slack(host),
        governor(host),
        idle(host),
        timing.shares.map(stolen),
        others(host, timing),
        ports(host, load),
    ];
    let sysctls = host
        .sysctls
        .iter()
        .map(|(name, value)| sysctl(name, *value));
    let held = capacity(&promise(host, timing, load), load);
    always
        .into_iter()
        .chain(where_told.into_iter().flatten())
        .chain(sysctls)
        .chain([held])
        .collect()
}

/// What this host can hold at the load's rate.
pub(crate) fn promise(host: &Host, timing: &Timing, load: Load) -> Promise {
    let period_ns = 1e9 / load.rate_hz;
    // Staggered clients of a thread are served by one wake-up.
    let wake_ns = (timing.wake_and_write_ns - timing.write_ns).max(0.0);
    let clients_per_thread = clients((THREAD_LOAD_MAX * period_ns - wake_ns) / timing.write_ns);
    let cores = host
        .quota_cores
        .unwrap_or(f64::INFINITY)
        .min(f64::from(host.cores_allowed.max(1)));
    let both_ends =
        (HOST_LOAD_MAX * cores * period_ns - wake_ns) / (timing.write_ns + timing.read_ns);
    Promise {
        lateness_p99_us: micros(timing.oversleep.quantile_ns(0.99)),
        clients_per_thread,
        clients_with_server: clients(both_ends),
    }
}

fn clients(number: f64) -> u32 {
    // The cast of a float saturates; NaN becomes 0.
    (number.max(0.0) as u32).min(CLIENTS_MAX)
}

fn capacity(promise: &Promise, load: Load) -> Finding {
    let told = format!(
        "at {} Hz a pacing thread holds {} clients, this host {} with the server on it too",
        load.rate_hz, promise.clients_per_thread, promise.clients_with_server
    );
    if load.clients <= promise.clients_with_server {
        return Finding::fine("capacity", told);
    }
    if promise.clients_per_thread == 0 {
        return Finding::problem("capacity", told, "lower --rate, or use a faster machine");
    }
    let threads = load.clients.div_ceil(promise.clients_per_thread);
    let cure = format!(
        "put the server on another host, use several agents or --threads {threads}, or lower --clients or --rate"
    );
    Finding::warning("capacity", told, cure)
}

fn cores(host: &Host) -> Finding {
    let told = format!(
        "{} of {} may be used",
        host.cores_allowed, host.cores_online
    );
    match host.cores_allowed {
        0 | 1 => Finding::warning(
            "cores",
            told,
            "agent and server share one core and delay each other: allow another (`taskset`, cpuset) or use two hosts",
        ),
        _ => Finding::fine("cores", told),
    }
}

fn open_files(host: &Host, load: Load) -> Finding {
    let needed = u64::from(load.clients) + OPEN_FILES_RESERVED;
    // Server and agent raise the soft limit to the hard one by themselves.
    match host.open_files_hard.or(host.open_files_soft) {
        Some(limit) if limit < needed => Finding::problem(
            "open files",
            format!("at most {limit}; {} clients need {needed}", load.clients),
            format!(
                "`ulimit -Hn {needed}` as root, LimitNOFILE= of systemd, or `ulimits: nofile` of compose"
            ),
        ),
        Some(limit) => Finding::fine("open files", format!("at most {limit}")),
        None => Finding::fine("open files", "no limit"),
    }
}

fn quota(host: &Host) -> Finding {
    let throttled = host.throttled.unwrap_or(0);
    match host.quota_cores {
        None => Finding::fine("cpu quota", "none"),
        Some(cores) => Finding::warning(
            "cpu quota",
            format!("{cores:.2} cores; it has stopped this control group {throttled} times"),
            "a quota stops a whole process for up to 100 ms: drop `--cpus` or `cpus:` and give cores by cpuset instead",
        ),
    }
}

fn oversleep(timing: &Timing, load: Load) -> Finding {
    let at = |quantile| micros(timing.oversleep.quantile_ns(quantile));
    let told = format!(
        "sleeps end late by p50 {:.0} p99 {:.0} p99.9 {:.0} max {:.0} µs",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    let bound_us = (1e6 / load.rate_hz).max(LATENESS_US_MAX);
    if at(0.999) > bound_us {
        let cure = format!(
            "runs would be invalid (lateness p99.9 above {bound_us:.0} µs): end what else runs here, or use another machine"
        );
        return Finding::problem("sleep jitter", told, cure);
    }
    if at(0.99) > 1e6 / load.rate_hz {
        return Finding::warning(
            "sleep jitter",
            told,
            "packets leave a period late: end what else runs here, or lower --rate",
        );
    }
    Finding::fine("sleep jitter", told)
}

fn clock(host: &Host, timing: &Timing) -> Finding {
    let source = host.clock_source.as_deref().unwrap_or("unknown");
    let told = format!("{source}, {:.0} ns a reading", timing.clock_read_ns);
    if timing.clock_read_ns <= CLOCK_READ_NS_MAX {
        return Finding::fine("clock", told);
    }
    let cure = "each packet reads it twice: boot with clocksource=tsc, or choose a machine type with a stable TSC";
    Finding::warning("clock", told, cure)
}

fn slack(host: &Host) -> Option<Finding> {
    let slack_ns = host.timer_slack_ns?;
    Some(Finding::fine(
        "timer slack",
        format!("{slack_ns} ns; pacing threads ask for 1 ns by themselves"),
    ))
}

fn governor(host: &Host) -> Option<Finding> {
    let told = host.governors.join(", ");
    match host
        .governors
        .iter()
        .all(|governor| governor == "performance")
    {
        _ if host.governors.is_empty() => None,
        true => Some(Finding::fine("governor", told)),
        false => Some(Finding::warning(
            "governor",
            told,
            "`cpupower frequency-set -g performance`",
        )),
    }
}

fn idle(host: &Host) -> Option<Finding> {
    let exit_us = host.idle_exit_us?;
    let told = format!("the deepest idle state takes {exit_us} µs to leave");
    Some(if exit_us > IDLE_EXIT_US_MAX {
        let cure =
            format!("`cpupower idle-set -D {IDLE_EXIT_US_MAX}` while measuring; it costs power");
        Finding::warning("idle states", told, cure)
    } else {
        Finding::fine("idle states", told)
    })
}

fn stolen(shares: Shares) -> Finding {
    let told = format!(
        "{:.1} % of the time went to other machines",
        shares.stolen * 100.0
    );
    let cure = "other virtual machines take this one's time: use dedicated cores or another host";
    match shares.stolen {
        stolen if stolen > 0.05 => Finding::problem("stolen time", told, cure),
        stolen if stolen > 0.01 => Finding::warning("stolen time", told, cure),
        _ => Finding::fine("stolen time", told),
    }
}

fn others(host: &Host, timing: &Timing) -> Option<Finding> {
    let busy = timing.shares?.busy;
    let told = match host.load {
        Some(load) => format!(
            "{:.0} % of all cores in use while measuring, load {load:.1}",
            busy * 100.0
        ),
        None => format!("{:.0} % of all cores in use while measuring", busy * 100.0),
    };
    Some(if busy > HOST_LOAD_MAX {
        Finding::warning(
            "other work",
            told,
            "`top` shows what else runs; end it before you measure",
        )
    } else {
        Finding::fine("other work", told)
    })
}

fn ports(host: &Host, load: Load) -> Option<Finding> {
    let ports = host.ports?;
    let told = format!("{ports} for outgoing connections");
    Some(if ports < 2 * u64::from(load.clients) {
        Finding::problem(
            "ports",
            told,
            "`sysctl -w net.ipv4.ip_local_port_range='1024 65535'`",
        )
    } else {
        Finding::fine("ports", told)
    })
}

fn sysctl(name: &'static str, value: u64) -> Finding {
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

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram;
    use proptest::prelude::*;

    use super::{super::Level, *};

    const SEED: Load = Load {
        clients: 10,
        rate_hz: 10_000.0,
    };

    fn good_host() -> Host {
        Host {
            cores_online: 8,
            cores_allowed: 8,
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
    fn whatever_is_not_fine_has_a_cure() {
        let host = Host {
            cores_allowed: 1,
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
        let rarely_late = |late_ns| {
            let mut all = vec![5_000; 990];
            all.extend([late_ns; 10]);
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
        assert_eq!(level(&rarely_late(900_000), 10_000.0), Level::Fine);
        assert_eq!(level(&rarely_late(1_100_000), 10_000.0), Level::Problem);
        // The period is longer than the millisecond.
        assert_eq!(level(&rarely_late(1_100_000), 100.0), Level::Fine);
        assert_eq!(level(&timing_of(&[150_000; 100]), 10_000.0), Level::Warning);
    }

    #[test]
    fn the_promise_follows_from_the_costs() {
        let promise = promise(&good_host(), &good_timing(), SEED);
        // (0.7 × 100 µs − 2 µs) / 1 µs, and (0.8 × 8 × 100 µs − 2 µs) / (1 µs + 3 µs).
        assert_eq!(
            (promise.clients_per_thread, promise.clients_with_server),
            (68, 159)
        );
        assert!((promise.lateness_p99_us - 5.0).abs() < 0.05, "{promise:?}");
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

    proptest! {
        #[test]
        fn any_costs_make_a_promise(wake in 0.0..1e12_f64, write in 0.0..1e12_f64, read in 0.0..1e12_f64, rate_hz in 0.001..1e6_f64) {
            let timing = Timing { wake_and_write_ns: wake, write_ns: write, read_ns: read, ..good_timing() };
            let promise = promise(&good_host(), &timing, Load { rate_hz, ..SEED });
            prop_assert!(promise.clients_per_thread <= CLIENTS_MAX && promise.clients_with_server <= CLIENTS_MAX);
        }
    }
}

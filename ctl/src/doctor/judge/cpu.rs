//! Findings about cores, clocks and priority.

use metronome_proto::{
    quantity::{count, fixed},
    v1::ThreadPriority,
};

use super::super::{finding::Finding, host::Host};

/// A clock read through the vDSO costs a tenth of it, a system call more.
const CLOCK_READ_NS_MAX: f64 = 200.0;
/// A tenth of a period at 10 kHz.
const IDLE_EXIT_US_MAX: u64 = 10;

pub(super) fn cores(host: &Host) -> Finding {
    let Some(allowed) = host.cores_allowed else {
        return Finding::warning(
            "cores",
            "the kernel does not report which may be used",
            "see `nproc`: with one core, agent and server delay each other",
        );
    };
    let observed = match host.cores_online {
        Some(online) => format!("{allowed} of {online} may be used"),
        None => format!("{allowed} may be used"),
    };
    match allowed {
        0 | 1 => Finding::warning(
            "cores",
            observed,
            "agent and server share one core and delay each other: \
             allow another (`taskset`, cpuset) or use two hosts",
        ),
        _ => Finding::fine("cores", observed),
    }
}

pub(super) fn quota(host: &Host) -> Finding {
    let throttled = host.throttled.unwrap_or(0);
    match host.quota_cores {
        None => Finding::fine("cpu quota", "none"),
        Some(cores) => Finding::warning(
            "cpu quota",
            format!(
                "{} cores; it has stopped this control group {} times",
                fixed(cores, 2),
                count(throttled)
            ),
            "a quota stops a whole process for up to 100 ms: \
             drop `--cpus` or `cpus:` and give cores by cpuset instead",
        ),
    }
}

/// What pacing threads are granted, with what it costs to have less (docs/tuning.md has the
/// measurement).
pub(super) fn priority(priority: ThreadPriority, host: &Host) -> Option<Finding> {
    let cure = "LimitRTPRIO=2 and LimitNICE=-10 of systemd, `ulimit -r 2` where the hard limit \
                allows it, `setcap cap_sys_nice+ep` on the executable, or `ulimits: rtprio: 2` of \
                compose; see docs/tuning.md";
    Some(match priority {
        ThreadPriority::Unspecified | ThreadPriority::Mixed => return None,
        ThreadPriority::RealTime => Finding::fine(
            "priority",
            "pacing threads of this user get real-time priority",
        ),
        // They leave a core to others whatever the user's rights are.
        ThreadPriority::RaisedNice if host.cores_allowed == Some(1) => Finding::fine(
            "priority",
            "a nice value below 0; on the only core no thread gets real-time priority",
        ),
        ThreadPriority::RaisedNice => Finding::warning(
            "priority",
            "a nice value below 0, but no real-time priority for pacing threads of this user: \
             beside work that took all cores, p99 of lateness was 8.9 ms with nice -10 instead of \
             65 µs where it was measured",
            cure,
        ),
        ThreadPriority::Ordinary => Finding::warning(
            "priority",
            "no real-time priority for pacing threads of this user, who is an ordinary one: beside \
             work that took all cores, p99 of lateness was 25 ms instead of 65 µs where it was \
             measured",
            cure,
        ),
    })
}

pub(super) fn clock(host: &Host) -> Option<Finding> {
    let read_ns = host.clock_read_ns?;
    let source = host.clock_source.as_deref().unwrap_or("unknown");
    let observed = format!("{source}, {} ns a reading", fixed(read_ns, 0));
    if read_ns <= CLOCK_READ_NS_MAX {
        return Some(Finding::fine("clock", observed));
    }
    let cure = "each packet reads it twice: boot with clocksource=tsc, \
                or choose a machine type with a stable TSC";
    Some(Finding::warning("clock", observed, cure))
}

pub(super) fn slack(host: &Host) -> Option<Finding> {
    let slack_ns = host.timer_slack_ns?;
    Some(Finding::fine(
        "timer slack",
        format!(
            "{} ns; pacing threads ask for 1 ns by themselves",
            count(slack_ns)
        ),
    ))
}

pub(super) fn governor(host: &Host) -> Option<Finding> {
    let observed = host.governors.join(", ");
    match host
        .governors
        .iter()
        .all(|governor| governor == "performance")
    {
        _ if host.governors.is_empty() => None,
        true => Some(Finding::fine("governor", observed)),
        false => Some(Finding::warning(
            "governor",
            observed,
            "`cpupower frequency-set -g performance`",
        )),
    }
}

pub(super) fn idle(host: &Host) -> Option<Finding> {
    let exit_us = host.idle_exit_us?;
    let observed = format!(
        "the deepest idle state takes {} µs to leave",
        count(exit_us)
    );
    Some(if exit_us > IDLE_EXIT_US_MAX {
        let cure =
            format!("`cpupower idle-set -D {IDLE_EXIT_US_MAX}` while measuring; it costs power");
        Finding::warning("idle states", observed, cure)
    } else {
        Finding::fine("idle states", observed)
    })
}

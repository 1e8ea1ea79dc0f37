//! Findings about cores, clocks and sleeps.

use super::super::{
    finding::Finding,
    host::Host,
    promise::{HOST_LOAD_MAX, Load, micros},
    timing::{Shares, Timing},
};

/// A clock read through the vDSO costs a tenth of it, a system call more.
const CLOCK_READ_NS_MAX: f64 = 200.0;
/// A tenth of a period at 10 kHz.
const IDLE_EXIT_US_MAX: u64 = 10;
/// The verdict's limit of lateness is the period, but within these, µs.
const LATENESS_LIMIT_US: std::ops::RangeInclusive<f64> = 1_000.0..=10_000.0;

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
            format!("{cores:.2} cores; it has stopped this control group {throttled} times"),
            "a quota stops a whole process for up to 100 ms: \
             drop `--cpus` or `cpus:` and give cores by cpuset instead",
        ),
    }
}

pub(super) fn oversleep(timing: &Timing, load: Load) -> Finding {
    let at = |quantile| micros(timing.oversleep.quantile_ns(quantile));
    let observed = format!(
        "sleeps end late by p50 {:.0} p99 {:.0} p99.9 {:.0} max {:.0} µs",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    let limit_us = (1e6 / load.rate_hz).clamp(*LATENESS_LIMIT_US.start(), *LATENESS_LIMIT_US.end());
    let cure = |what| {
        format!(
            "{what} would be sent more than {limit_us:.0} µs late: \
             end what else runs here, or use another machine"
        )
    };
    if at(0.99) > limit_us {
        let what = "runs would be invalid, more than 1 % of the packets";
        return Finding::problem("sleep jitter", observed, cure(what));
    }
    if at(0.999) > limit_us {
        let what = "runs would be valid to p90, more than 0.1 % of the packets";
        return Finding::warning("sleep jitter", observed, cure(what));
    }
    if at(0.99) > 1e6 / load.rate_hz {
        return Finding::warning(
            "sleep jitter",
            observed,
            "packets leave a period late: end what else runs here, or lower --rate",
        );
    }
    Finding::fine("sleep jitter", observed)
}

pub(super) fn clock(host: &Host, timing: &Timing) -> Finding {
    let source = host.clock_source.as_deref().unwrap_or("unknown");
    let observed = format!("{source}, {:.0} ns a reading", timing.clock_read_ns);
    if timing.clock_read_ns <= CLOCK_READ_NS_MAX {
        return Finding::fine("clock", observed);
    }
    let cure = "each packet reads it twice: boot with clocksource=tsc, \
                or choose a machine type with a stable TSC";
    Finding::warning("clock", observed, cure)
}

pub(super) fn slack(host: &Host) -> Option<Finding> {
    let slack_ns = host.timer_slack_ns?;
    Some(Finding::fine(
        "timer slack",
        format!("{slack_ns} ns; pacing threads ask for 1 ns by themselves"),
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
    let observed = format!("the deepest idle state takes {exit_us} µs to leave");
    Some(if exit_us > IDLE_EXIT_US_MAX {
        let cure =
            format!("`cpupower idle-set -D {IDLE_EXIT_US_MAX}` while measuring; it costs power");
        Finding::warning("idle states", observed, cure)
    } else {
        Finding::fine("idle states", observed)
    })
}

pub(super) fn stolen(shares: Shares) -> Finding {
    let observed = format!(
        "{:.1} % of the time went to other machines",
        shares.stolen * 100.0
    );
    let cure = "other virtual machines take this one's time: use dedicated cores or another host";
    match shares.stolen {
        stolen if stolen > 0.05 => Finding::problem("stolen time", observed, cure),
        stolen if stolen > 0.01 => Finding::warning("stolen time", observed, cure),
        _ => Finding::fine("stolen time", observed),
    }
}

pub(super) fn others(host: &Host, timing: &Timing) -> Option<Finding> {
    let busy = timing.shares?.busy;
    let observed = match host.load {
        Some(load) => format!(
            "{:.0} % of all cores in use while measuring, load {load:.1}",
            busy * 100.0
        ),
        None => format!("{:.0} % of all cores in use while measuring", busy * 100.0),
    };
    Some(if busy > HOST_LOAD_MAX {
        Finding::warning(
            "other work",
            observed,
            "`top` shows what else runs; end it before you measure",
        )
    } else {
        Finding::fine("other work", observed)
    })
}

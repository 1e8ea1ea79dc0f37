//! Points of a host put together: sums are added, the longest is kept, and a figure that one of
//! them lacks is unset.

use std::collections::BTreeMap;

use crate::v1::{HostPoint, ThreadPoint};

/// Threads of a point at most: 256 workers and the server's own. A foreign one may claim more.
pub const THREADS_MAX: usize = 400;

/// An idle timer that is late by less was not away, ns.
pub const AWAY_NS_MIN: i64 = 10_000_000;

/// Two stretches of one process as one, the earlier one first. A gap between them is in the span.
#[must_use]
pub fn plus(earlier: &HostPoint, later: &HostPoint) -> HostPoint {
    let latest = if later.timer_late_max_ns > earlier.timer_late_max_ns {
        later
    } else {
        earlier
    };
    HostPoint {
        from_ns: earlier.from_ns,
        span_ns: end_ns(later)
            .max(end_ns(earlier))
            .saturating_sub(earlier.from_ns),
        timer_late_max_ns: latest.timer_late_max_ns,
        timer_late_from_ns: latest.timer_late_from_ns,
        away_ns: earlier.away_ns.saturating_add(later.away_ns),
        stolen_ns: added(earlier.stolen_ns, later.stolen_ns),
        cores_ns: added(earlier.cores_ns, later.cores_ns),
        throttled_ns: added(earlier.throttled_ns, later.throttled_ns),
        pressure_ns: added(earlier.pressure_ns, later.pressure_ns),
        suspended_ns: added(earlier.suspended_ns, later.suspended_ns),
        clock_stepped_ns: added(earlier.clock_stepped_ns, later.clock_stepped_ns),
        resident_bytes: later.resident_bytes,
        threads: threads(earlier, later),
    }
}

/// When a point ends, ns since the start of the run.
#[must_use]
pub fn end_ns(point: &HostPoint) -> i64 {
    point.from_ns.saturating_add(point.span_ns)
}

/// All of them together, by rising time. `None` without one.
#[must_use]
pub fn sum(points: &[HostPoint]) -> Option<HostPoint> {
    let (first, rest) = points.split_first()?;
    Some(rest.iter().fold(first.clone(), |sum, one| plus(&sum, one)))
}

/// Half as many points, each of two neighbours.
#[must_use]
pub fn in_pairs(points: &[HostPoint]) -> Vec<HostPoint> {
    points.chunks(2).filter_map(sum).collect()
}

/// A thread that is in one of them only did nothing in the other.
fn threads(earlier: &HostPoint, later: &HostPoint) -> Vec<ThreadPoint> {
    let mut by_name = BTreeMap::<&str, ThreadPoint>::new();
    for one in earlier.threads.iter().chain(&later.threads) {
        let known = by_name.get(&one.name[..]);
        let both = known.map_or_else(|| one.clone(), |known| thread_plus(known, one));
        by_name.insert(&one.name, both);
    }
    by_name.into_values().take(THREADS_MAX).collect()
}

fn thread_plus(one: &ThreadPoint, other: &ThreadPoint) -> ThreadPoint {
    let count = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
    ThreadPoint {
        name: one.name.clone(),
        cpu_ns: one.cpu_ns.saturating_add(other.cpu_ns),
        run_queue_ns: added(one.run_queue_ns, other.run_queue_ns),
        waits: count(one.waits, other.waits),
        preemptions: count(one.preemptions, other.preemptions),
        // Of a worker that began in between it is not known in its first point.
        away_ns: match (one.away_ns, other.away_ns) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        },
    }
}

fn added(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    Some(one?.saturating_add(other?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(from_ns: i64, figures: [i64; 4], is_known: bool) -> HostPoint {
        let [late_ns, away_ns, stolen_ns, cpu_ns] = figures;
        HostPoint {
            from_ns,
            span_ns: 10,
            timer_late_max_ns: late_ns,
            timer_late_from_ns: from_ns + 3,
            away_ns,
            stolen_ns: is_known.then_some(stolen_ns),
            threads: vec![ThreadPoint {
                name: "pacing-0".into(),
                cpu_ns,
                run_queue_ns: is_known.then_some(cpu_ns),
                ..ThreadPoint::default()
            }],
            ..HostPoint::default()
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_which_neighbours_are_put_together_first(
            figures in prop::array::uniform3(prop::array::uniform4(0..1_000_i64)),
            known in prop::array::uniform3(any::<bool>()),
        ) {
            let [a, b, c] = [0, 1, 2].map(|i| point(i as i64 * 10, figures[i], known[i]));
            let left = plus(&plus(&a, &b), &c);
            prop_assert_eq!(&left, &plus(&a, &plus(&b, &c)));
            prop_assert_eq!((left.from_ns, left.span_ns), (0, 30));
            prop_assert_eq!(left.away_ns, figures.iter().map(|of| of[1]).sum::<i64>());
            prop_assert_eq!(left.stolen_ns.is_some(), known.iter().all(|known| *known));
            prop_assert_eq!(left.timer_late_max_ns, figures.iter().map(|of| of[0]).max().unwrap());
            prop_assert_eq!(left.threads[0].cpu_ns, figures.iter().map(|of| of[3]).sum::<i64>());
        }
    }
}

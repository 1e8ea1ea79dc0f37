//! What the kernel has counted so far, and the difference of two such readings. Times in ns.

use std::collections::BTreeMap;

use metronome_os::{
    clock,
    host::resident_bytes,
    host_use::{self, CpuTime, ProcessId, ThreadUse},
};
use metronome_proto::{
    host_point::THREADS_MAX,
    v1::{HostPoint, ThreadPoint},
};

use crate::{companion::Companion, idle_timer::Lateness};

/// The figures at one instant. `None` where the host does not have one.
#[derive(Debug, Default)]
pub(crate) struct HostCounters {
    pub(crate) at_ns: u64,
    cpu_time: Option<CpuTime>,
    throttled_ns: Option<u64>,
    pressure_ns: Option<u64>,
    ahead_of_monotonic_ns: i64,
    suspended_ns: u64,
    resident_bytes: Option<u64>,
    threads: Vec<ThreadUse>,
    companions: Vec<(Companion, Vec<ThreadUse>)>,
}

impl HostCounters {
    /// Reads them all: some 20 us, and as much again for each thread.
    pub(crate) fn now(companions: &[Companion]) -> Self {
        let with_threads = |of: &Companion| (of.clone(), threads_of(of.process));
        Self {
            at_ns: clock::now_ns(),
            cpu_time: host_use::cpu_time(),
            throttled_ns: host_use::throttled_ns(),
            pressure_ns: host_use::pressure_ns(),
            ahead_of_monotonic_ns: clock::wall().ahead_of_monotonic_ns,
            suspended_ns: clock::suspended_ns(),
            resident_bytes: resident_bytes(),
            threads: host_use::threads(None),
            companions: companions.iter().map(with_threads).collect(),
        }
    }
}

/// Those of another process, none without one.
fn threads_of(process: Option<ProcessId>) -> Vec<ThreadUse> {
    process.map_or_else(Vec::new, |process| host_use::threads(Some(process)))
}

/// What happened between two readings. `from_ns` is that of CLOCK_MONOTONIC.
pub(crate) fn point(before: &HostCounters, after: &HostCounters, timer: Lateness) -> HostPoint {
    let cpu_time = before.cpu_time.zip(after.cpu_time);
    HostPoint {
        from_ns: signed(before.at_ns),
        span_ns: grown(before.at_ns, after.at_ns),
        timer_late_max_ns: signed(timer.max_ns),
        timer_late_from_ns: signed(timer.from_ns.max(before.at_ns)),
        away_ns: signed(timer.away_ns),
        stolen_ns: cpu_time.map(|(then, now)| grown(then.stolen_ns, now.stolen_ns)),
        cores_ns: cpu_time.map(|(then, now)| grown(then.all_ns, now.all_ns)),
        throttled_ns: both(before.throttled_ns, after.throttled_ns),
        pressure_ns: both(before.pressure_ns, after.pressure_ns),
        suspended_ns: Some(grown(before.suspended_ns, after.suspended_ns)),
        clock_stepped_ns: Some(stepped_ns(before, after)),
        resident_bytes: after.resident_bytes,
        threads: threads(before, after),
    }
}

/// How far the wall clock moved, beyond what a suspension moves it: CLOCK_MONOTONIC stands still
/// then.
fn stepped_ns(before: &HostCounters, after: &HostCounters) -> i64 {
    let (then_ns, now_ns) = (before.ahead_of_monotonic_ns, after.ahead_of_monotonic_ns);
    let asleep_ns = grown(before.suspended_ns, after.suspended_ns);
    now_ns.saturating_sub(then_ns).saturating_sub(asleep_ns)
}

/// Threads by name, those of the process first.
fn threads(before: &HostCounters, after: &HostCounters) -> Vec<ThreadPoint> {
    let mut by_name = BTreeMap::<&str, ThreadPoint>::new();
    for (name, use_of) in by_thread(&before.threads, &after.threads) {
        let point = by_name.entry(name).or_insert_with(|| named(name));
        add(point, &use_of);
    }
    let has_run = |of: &ThreadPoint| of.cpu_ns > 0 || of.waits.is_none_or(|waits| waits > 0);
    let mut points: Vec<_> = by_name.into_values().filter(has_run).collect();
    for (companion, threads) in &after.companions {
        // The counter belongs to the name: a process that took another's place goes on with it, and
        // has done nothing before. Of one without a place since when it counts is not known.
        let mut places = before.companions.iter().map(|(of, _)| of);
        let Some(place) = places.find(|of| of.name == companion.name) else {
            continue;
        };
        let mut known = before.companions.iter();
        let same = known.find(|(of, _)| of.process == companion.process);
        let then = same.map_or(&[][..], |(_, threads)| threads);
        let mut point = named(&companion.name);
        for (_, use_of) in by_thread(then, threads) {
            add(&mut point, &use_of);
        }
        point.away_ns = Some(grown(place.away_ns, companion.away_ns));
        points.push(point);
    }
    points.truncate(THREADS_MAX);
    points
}

/// What each thread has done since it was read before, or since it began.
fn by_thread<'a>(
    before: &'a [ThreadUse],
    after: &'a [ThreadUse],
) -> impl Iterator<Item = (&'a str, ThreadPoint)> {
    after.iter().map(move |now| {
        let then = before.iter().find(|then| then.id == now.id);
        let since = |figure: fn(&ThreadUse) -> Option<u64>| {
            let now = figure(now)?;
            // One that has begun since then had nothing.
            let then = then.map_or(Some(0), figure)?;
            Some(now.saturating_sub(then))
        };
        let point = ThreadPoint {
            cpu_ns: signed(since(|of| Some(of.cpu_ns)).unwrap_or(0)),
            run_queue_ns: since(|of| of.run_queue_ns).map(signed),
            waits: since(|of| of.waits),
            preemptions: since(|of| of.preemptions),
            ..ThreadPoint::default()
        };
        (&now.name[..], point)
    })
}

fn named(name: &str) -> ThreadPoint {
    ThreadPoint {
        name: name.into(),
        run_queue_ns: Some(0),
        waits: Some(0),
        preemptions: Some(0),
        ..ThreadPoint::default()
    }
}

/// A figure that one of them lacks the sum lacks, too.
fn add(sum: &mut ThreadPoint, one: &ThreadPoint) {
    sum.cpu_ns += one.cpu_ns;
    sum.run_queue_ns = sum.run_queue_ns.zip(one.run_queue_ns).map(|(a, b)| a + b);
    sum.waits = sum.waits.zip(one.waits).map(|(a, b)| a + b);
    sum.preemptions = sum.preemptions.zip(one.preemptions).map(|(a, b)| a + b);
}

fn both(before: Option<u64>, after: Option<u64>) -> Option<i64> {
    Some(grown(before?, after?))
}

fn grown(before: u64, after: u64) -> i64 {
    signed(after.saturating_sub(before))
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(id: u64, name: &str, cpu_ns: u64, run_queue_ns: Option<u64>) -> ThreadUse {
        ThreadUse {
            id,
            name: name.into(),
            cpu_ns,
            run_queue_ns,
            waits: Some(cpu_ns),
            preemptions: Some(0),
        }
    }

    #[test]
    fn threads_of_one_name_are_added_up_and_a_new_one_begins_at_0() {
        let before = HostCounters {
            threads: vec![
                thread(1, "pacing", 100, Some(5)),
                thread(9, "gone", 7, None),
            ],
            ..HostCounters::default()
        };
        let after = HostCounters {
            at_ns: 1,
            threads: vec![
                thread(1, "pacing", 130, Some(6)),
                thread(2, "pacing", 10, Some(2)),
            ],
            ..HostCounters::default()
        };
        let point = point(&before, &after, Lateness::default());
        let [pacing] = &point.threads[..] else {
            panic!("{point:?}");
        };
        assert_eq!((pacing.cpu_ns, pacing.run_queue_ns), (40, Some(3)));
        assert_eq!(pacing.waits, Some(40));
    }

    #[test]
    fn a_figure_that_one_reading_lacks_is_unset_and_none_goes_below_0() {
        let before = HostCounters {
            throttled_ns: Some(5),
            pressure_ns: Some(1),
            threads: vec![thread(1, "a", 10, None)],
            ..HostCounters::default()
        };
        let after = HostCounters {
            throttled_ns: Some(4),
            threads: vec![thread(1, "a", 11, Some(3)), thread(2, "a", 1, Some(3))],
            ..HostCounters::default()
        };
        let point = point(&before, &after, Lateness::default());
        assert_eq!((point.throttled_ns, point.pressure_ns), (Some(0), None));
        assert_eq!((point.stolen_ns, point.cores_ns), (None, None));
        assert_eq!(
            point.threads[0].run_queue_ns, None,
            "of one of them it is not known"
        );
    }

    #[test]
    fn a_suspension_does_not_set_the_wall_clock() {
        let asleep = HostCounters {
            ahead_of_monotonic_ns: 10_000_000_100,
            suspended_ns: 10_000_000_000,
            ..HostCounters::default()
        };
        let point = point(&HostCounters::default(), &asleep, Lateness::default());
        assert_eq!(point.suspended_ns, Some(10_000_000_000));
        assert_eq!(point.clock_stepped_ns, Some(100));
    }

    #[test]
    fn a_worker_in_another_s_place_is_away_no_longer_than_the_place_was() {
        let worker = |process: u32, away_ns| Companion {
            name: "worker-0".into(),
            process: process.try_into().ok(),
            away_ns,
        };
        let counters = |of: Companion, cpu_ns| HostCounters {
            companions: vec![(of, vec![thread(7, "metronome", cpu_ns, Some(0))])],
            ..HostCounters::default()
        };
        let (before, after) = (counters(worker(10, 30), 500), counters(worker(11, 70), 20));
        let point = point(&before, &after, Lateness::default());
        let [one] = &point.threads[..] else {
            panic!("{point:?}");
        };
        assert_eq!((one.cpu_ns, one.away_ns), (20, Some(40)));
        // Without a process at one reading its place is known all the same.
        let gone = Companion {
            process: None,
            ..worker(10, 30)
        };
        let gone = HostCounters {
            companions: vec![(gone, Vec::new())],
            ..HostCounters::default()
        };
        let back = super::point(&gone, &after, Lateness::default());
        assert_eq!(back.threads[0].away_ns, Some(40));
        let none = super::point(&HostCounters::default(), &after, Lateness::default());
        assert_eq!(none.threads, [], "since when it counted is not known");
    }
}

//! What one process of a run and its host did, point by point: at most 600, so that they are put
//! together in pairs in a long run. What an agent states is made harmless: a figure that cannot be
//! is unset, and a point that cannot be is none; nothing is cut down to what could be. Times in ns
//! since the start of the run. Pure.
//!
//! A process reads its clock and its counters one after the other, so a figure may be somewhat
//! longer than its stretch: by 5 % and 50 ms.

use metronome_proto::{
    host_point::{AWAY_NS_MIN, THREADS_MAX, end_ns, in_pairs},
    v1::{HostPoint, ThreadPoint},
};
use metronome_telemetry::sanitise;

/// Points of one process at most.
pub(crate) const POINTS_MAX: usize = 600;

/// Points of one message at most: the rest of it is dropped.
const POINTS_PER_MESSAGE_MAX: usize = 20;

/// A longer stretch is no point.
const SPAN_NS_MAX: i64 = 24 * 3_600 * 1_000_000_000;

/// A process begins to watch no earlier than this before the first packet is due.
const BEFORE_START_NS_MAX: i64 = 60_000_000_000;

/// A point that ends later than this from now is of the future: beside the time that two clocks may
/// run apart since the start, 1000 ppm.
const AHEAD_NS_MAX: i64 = 5_000_000_000;
const DRIFT_PARTS: i64 = 1_000;

/// More cores no kernel has, nor a process more threads of one name, nor memory in RAM.
const CORES_MAX: u32 = 8_192;
const THREADS_OF_A_NAME_MAX: i64 = 1_024;
const RESIDENT_BYTES_MAX: u64 = 1 << 52;

/// A host is not suspended for longer, nor is its wall clock set further: 100 years.
const YEARS_NS_MAX: i64 = 100 * 365 * 24 * 3_600 * 1_000_000_000;

/// Switching to another thread takes a core longer than this.
const SWITCH_NS_MIN: i64 = 100;

/// A thread's name is at most as long as one of the kernel.
const NAME_BYTES_MAX: usize = 15;

/// What a point and a thread of it take of memory, and what all processes of a run may have of it
/// together: those of 256 agents are longer stretches then.
const POINT_BYTES: usize = 256;
const THREAD_BYTES: usize = 128;
const BYTES_MAX: usize = 16 << 20;

/// The points of one process, by rising time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HostPoints(Vec<HostPoint>);

impl HostPoints {
    /// Those that another process has kept, which were harmless when they came.
    pub(crate) fn restored(points: Vec<HostPoint>) -> Self {
        let mut restored = Self::default();
        points.into_iter().for_each(|point| restored.push(point));
        restored
    }

    /// Takes points as they come, `now_ns` after the start by this host's clock. What begins before
    /// the end of the last one is a repeat.
    pub(crate) fn take(&mut self, points: Vec<HostPoint>, now_ns: i64) {
        for point in points.into_iter().take(POINTS_PER_MESSAGE_MAX) {
            if let Some(point) = harmless(point, now_ns) {
                self.push(point);
            }
        }
    }

    fn push(&mut self, point: HostPoint) {
        if self
            .0
            .last()
            .is_none_or(|last| point.from_ns >= end_ns(last))
        {
            self.0.push(point);
        }
        while self.0.len() > POINTS_MAX {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.0 = in_pairs(&self.0);
    }

    /// Bytes that they take, about.
    fn bytes(&self) -> usize {
        let of_point = |point: &HostPoint| POINT_BYTES + point.threads.len() * THREAD_BYTES;
        self.0.iter().map(of_point).sum()
    }

    /// Without what their process cannot have done on so many cores.
    pub(crate) fn on_cores(&mut self, cores: u32) {
        self.0
            .iter_mut()
            .for_each(|point| keep_possible(point, cores));
    }

    pub(crate) fn as_slice(&self) -> &[HostPoint] {
        &self.0
    }
}

/// Puts points together until all processes fit their memory, those with the most first.
pub(crate) fn fit(processes: &mut [HostPoints]) {
    while processes.iter().map(HostPoints::bytes).sum::<usize>() > BYTES_MAX {
        let largest = processes.iter_mut().max_by_key(|of| of.bytes());
        match largest.filter(|of| of.0.len() > 1) {
            Some(largest) => largest.halve(),
            None => return,
        }
    }
}

/// The point without figures that cannot be. `None` where it is none at all.
fn harmless(point: HostPoint, now_ns: i64) -> Option<HostPoint> {
    let end_ns = point.from_ns.checked_add(point.span_ns)?;
    let end_ns_max = now_ns
        .saturating_add(AHEAD_NS_MAX)
        .saturating_add(now_ns.max(0) / DRIFT_PARTS);
    let is_point = (1..=SPAN_NS_MAX).contains(&point.span_ns)
        && point.from_ns >= -BEFORE_START_NS_MAX
        && end_ns <= end_ns_max
        && (0..=at_most_ns(point.span_ns)).contains(&point.timer_late_max_ns)
        && (point.from_ns..=end_ns).contains(&point.timer_late_from_ns)
        && (0..=point.span_ns).contains(&point.away_ns)
        // An absence is a timer that was as late.
        && (point.away_ns == 0 || point.timer_late_max_ns >= AWAY_NS_MIN);
    let mut point = is_point.then_some(point)?;
    point.threads.truncate(THREADS_MAX);
    for thread in &mut point.threads {
        thread.name = sanitise::printable(&thread.name, NAME_BYTES_MAX);
    }
    keep_possible(&mut point, CORES_MAX);
    Some(point)
}

/// How long a figure of one core or one thread may be in such a stretch.
fn at_most_ns(span_ns: i64) -> i64 {
    span_ns
        .saturating_add(span_ns / 20)
        .saturating_add(50_000_000)
}

/// Unsets the figures that so many cores cannot have in this stretch.
fn keep_possible(point: &mut HostPoint, cores: u32) {
    let one_ns = at_most_ns(point.span_ns);
    let cores_ns = one_ns.saturating_mul(cores.into());
    let up_to = |figure: &mut Option<i64>, most_ns: i64| {
        *figure = figure.filter(|ns| (0..=most_ns).contains(ns));
    };
    // Those of the host, whose cores are not only those of the process.
    let host_ns = one_ns.saturating_mul(CORES_MAX.into());
    up_to(&mut point.cores_ns, host_ns);
    up_to(&mut point.stolen_ns, point.cores_ns.unwrap_or(host_ns));
    up_to(&mut point.throttled_ns, cores_ns);
    up_to(&mut point.pressure_ns, one_ns);
    up_to(&mut point.suspended_ns, YEARS_NS_MAX);
    let is_step = |ns: &i64| ns.unsigned_abs() <= YEARS_NS_MAX.unsigned_abs();
    point.clock_stepped_ns = point.clock_stepped_ns.filter(is_step);
    let resident = point.resident_bytes;
    point.resident_bytes = resident.filter(|bytes| *bytes <= RESIDENT_BYTES_MAX);
    // A worker's absence counts once it is over, and may have begun before the stretch.
    let so_far_ns = end_ns(point).saturating_add(BEFORE_START_NS_MAX);
    keep_possible_threads(&mut point.threads, (one_ns, so_far_ns), cores_ns);
}

/// All threads of a process together have no more than all cores.
fn keep_possible_threads(
    threads: &mut Vec<ThreadPoint>,
    (one_ns, so_far_ns): (i64, i64),
    cores_ns: i64,
) {
    threads.retain(|thread| (0..=cores_ns).contains(&thread.cpu_ns));
    let all_ns = threads
        .iter()
        .fold(0_i64, |sum, thread| sum.saturating_add(thread.cpu_ns));
    if all_ns > cores_ns {
        threads.clear();
    }
    let waited_ns = one_ns.saturating_mul(THREADS_OF_A_NAME_MAX);
    let switches = (cores_ns / SWITCH_NS_MIN).cast_unsigned();
    for thread in threads {
        let is_wait = |ns: &i64| (0..=waited_ns).contains(ns);
        thread.run_queue_ns = thread.run_queue_ns.filter(is_wait);
        thread.away_ns = thread.away_ns.filter(|ns| (0..=so_far_ns).contains(ns));
        thread.waits = thread.waits.filter(|count| *count <= switches);
        thread.preemptions = thread.preemptions.filter(|count| *count <= switches);
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::host_point::sum;
    use proptest::prelude::*;

    use super::*;

    fn point(from_ns: i64, span_ns: i64) -> HostPoint {
        HostPoint {
            from_ns,
            span_ns,
            timer_late_from_ns: from_ns,
            timer_late_max_ns: AWAY_NS_MIN,
            away_ns: 1,
            ..HostPoint::default()
        }
    }

    /// Later than every point here.
    const LATE_NS: i64 = 1 << 50;

    #[test]
    fn a_repeat_counts_once_and_a_gap_is_kept() {
        let mut points = HostPoints::default();
        points.take(vec![point(0, 10), point(10, 10)], LATE_NS);
        points.take(vec![point(10, 10), point(5, 100), point(30, 10)], LATE_NS);
        let from: Vec<_> = points.as_slice().iter().map(|of| of.from_ns).collect();
        assert_eq!(from, [0, 10, 30]);
        let total = sum(points.as_slice()).unwrap();
        assert_eq!((total.span_ns, total.away_ns), (40, 3));
    }

    #[test]
    fn what_cannot_be_is_no_point_or_unset() {
        let mut points = HostPoints::default();
        for (from_ns, span_ns) in [(0, 0), (0, -1), (i64::MAX, 1), (0, i64::MAX)] {
            points.take(vec![point(from_ns, span_ns)], LATE_NS);
        }
        points.take(
            vec![HostPoint {
                away_ns: -1,
                ..point(0, 1)
            }],
            LATE_NS,
        );
        assert_eq!(points, HostPoints::default());
        points.take(
            vec![HostPoint {
                stolen_ns: Some(-5),
                threads: vec![ThreadPoint {
                    name: format!("\u{1b}[2J{}", "x".repeat(100)),
                    run_queue_ns: Some(i64::MIN),
                    ..ThreadPoint::default()
                }],
                ..point(0, 1)
            }],
            LATE_NS,
        );
        let [kept] = points.as_slice() else { panic!() };
        assert_eq!((kept.stolen_ns, kept.threads[0].run_queue_ns), (None, None));
        let name = &kept.threads[0].name;
        assert!(
            name.len() <= NAME_BYTES_MAX && !name.contains('\u{1b}'),
            "{name:?}"
        );
    }

    const SECOND_NS: i64 = 1_000_000_000;

    #[test]
    fn a_point_of_the_future_or_long_before_the_run_shuts_out_none_that_follows() {
        let mut points = HostPoints::default();
        let day_ns = SPAN_NS_MAX;
        points.take(
            vec![point(0, day_ns), point(9 * SECOND_NS, SECOND_NS)],
            SECOND_NS,
        );
        points.take(vec![point(-day_ns, day_ns)], SECOND_NS);
        assert_eq!(points, HostPoints::default());
        points.take(vec![point(0, SECOND_NS)], SECOND_NS);
        points.take(vec![point(SECOND_NS, SECOND_NS)], 2 * SECOND_NS);
        assert_eq!(points.as_slice().len(), 2);
    }

    #[test]
    fn a_process_has_no_more_than_its_cores_and_its_host_none_stolen_that_it_had_not() {
        let thread = |name: &str, seconds| ThreadPoint {
            name: name.into(),
            cpu_ns: seconds * SECOND_NS,
            run_queue_ns: Some(SECOND_NS * 100_000),
            waits: Some(u64::MAX),
            preemptions: Some(5),
            away_ns: Some(62 * SECOND_NS),
        };
        let mut points = HostPoints::default();
        let busy = HostPoint {
            cores_ns: Some(2 * SECOND_NS),
            stolen_ns: Some(3 * SECOND_NS),
            pressure_ns: Some(2 * SECOND_NS),
            throttled_ns: Some(3 * SECOND_NS),
            resident_bytes: Some(u64::MAX),
            threads: vec![thread("a", 3), thread("b", 1)],
            ..point(0, SECOND_NS)
        };
        points.take(vec![busy], SECOND_NS);
        points.on_cores(2);
        let [kept] = points.as_slice() else { panic!() };
        assert_eq!(kept.cores_ns, Some(2 * SECOND_NS));
        assert_eq!(
            (
                kept.stolen_ns,
                kept.pressure_ns,
                kept.throttled_ns,
                kept.resident_bytes
            ),
            (None, None, None, None)
        );
        let [one] = &kept.threads[..] else {
            panic!("{kept:?}");
        };
        assert_eq!(
            (&one.name[..], one.run_queue_ns, one.waits),
            ("b", None, None)
        );
        assert_eq!((one.preemptions, one.away_ns), (Some(5), None));
    }

    #[test]
    fn many_agents_fit_the_memory_of_a_run_and_nothing_of_their_time_is_lost() {
        let threads = vec![ThreadPoint::default(); THREADS_MAX];
        let full = |points| {
            let point = |second| HostPoint {
                threads: threads.clone(),
                ..point(second * 10, 10)
            };
            HostPoints((0..points).map(point).collect())
        };
        let mut processes: Vec<_> = (0..40_i64).map(|process| full(10 + process)).collect();
        fit(&mut processes);
        let bytes: usize = processes.iter().map(HostPoints::bytes).sum();
        assert!(bytes <= BYTES_MAX, "{bytes}");
        for (process, points) in (0..).zip(&processes) {
            let total = sum(points.as_slice()).unwrap();
            assert_eq!(total.away_ns, 10 + process);
        }
        // What cannot be made smaller stays.
        let mut processes = vec![full(1); 1_000];
        fit(&mut processes);
        assert!(processes.iter().all(|of| of.as_slice().len() == 1));
    }

    fn any_thread() -> impl Strategy<Value = ThreadPoint> {
        let figure = || prop::option::of(prop_oneof![any::<i64>(), 0..3 * SECOND_NS]);
        let count = || prop::option::of(any::<u64>());
        (
            prop_oneof![any::<i64>(), 0..3 * SECOND_NS],
            figure(),
            figure(),
            count(),
            count(),
        )
            .prop_map(
                |(cpu_ns, run_queue_ns, away_ns, waits, preemptions)| ThreadPoint {
                    name: "t".into(),
                    cpu_ns,
                    run_queue_ns,
                    waits,
                    preemptions,
                    away_ns,
                },
            )
    }

    fn any_point() -> impl Strategy<Value = HostPoint> {
        let time = || prop_oneof![any::<i64>(), -SECOND_NS..10 * SECOND_NS];
        let figure = || prop::option::of(prop_oneof![any::<i64>(), 0..3 * SECOND_NS]);
        (
            prop::array::uniform5(time()),
            prop::array::uniform6(figure()),
            prop::option::of(any::<u64>()),
            prop::collection::vec(any_thread(), 0..4),
        )
            .prop_map(|(times, figures, resident_bytes, threads)| HostPoint {
                from_ns: times[0],
                span_ns: times[1],
                timer_late_max_ns: times[2],
                timer_late_from_ns: times[3],
                away_ns: times[4],
                stolen_ns: figures[0],
                cores_ns: figures[1],
                throttled_ns: figures[2],
                pressure_ns: figures[3],
                suspended_ns: figures[4],
                clock_stepped_ns: figures[5],
                resident_bytes,
                threads,
            })
    }

    proptest! {
        #[test]
        fn whatever_an_agent_sends_what_is_shown_is_possible(
            sent in prop::collection::vec((any_point(), 0..20 * SECOND_NS), 0..40),
            cores in 1..5_u32,
        ) {
            let (mut points, mut now_ns) = (HostPoints::default(), 0);
            for (point, after_ns) in sent {
                now_ns += after_ns / 10;
                points.take(vec![point], now_ns);
            }
            points.on_cores(cores);
            let mut last_ns = -BEFORE_START_NS_MAX;
            for point in points.as_slice() {
                prop_assert!(point.from_ns >= last_ns && point.span_ns > 0);
                last_ns = end_ns(point);
                prop_assert!(last_ns <= now_ns + AHEAD_NS_MAX + now_ns / DRIFT_PARTS);
                let most_ns = at_most_ns(point.span_ns);
                let all_ns = most_ns * i64::from(cores);
                let within = |figure: Option<i64>, most_ns| {
                    figure.is_none_or(|ns: i64| (0..=most_ns).contains(&ns))
                };
                prop_assert!(point.timer_late_max_ns <= most_ns && point.away_ns <= point.span_ns);
                let stolen_ns_max = point.cores_ns.unwrap_or(i64::MAX);
                prop_assert!(within(point.stolen_ns, stolen_ns_max));
                prop_assert!(within(point.throttled_ns, all_ns));
                prop_assert!(within(point.pressure_ns, most_ns));
                let cpu_ns: i64 = point.threads.iter().map(|of| of.cpu_ns).sum();
                prop_assert!((0..=all_ns).contains(&cpu_ns));
                for thread in &point.threads {
                    prop_assert!(within(thread.run_queue_ns, most_ns * THREADS_OF_A_NAME_MAX));
                    prop_assert!(within(thread.away_ns, last_ns + BEFORE_START_NS_MAX));
                    prop_assert!(thread.cpu_ns >= 0);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_sum_of_all_points_is_that_of_all_that_came(
            spans in prop::collection::vec((1..50_i64, 0..5_i64), 1..3_000),
        ) {
            let (mut points, mut at_ns) = (HostPoints::default(), 0);
            for (span_ns, gap_ns) in &spans {
                points.take(vec![point(at_ns, *span_ns)], LATE_NS);
                at_ns += span_ns + gap_ns;
            }
            let total = sum(points.as_slice()).unwrap();
            prop_assert_eq!(total.away_ns, spans.len() as i64);
            prop_assert_eq!(total.from_ns + total.span_ns, at_ns - spans.last().unwrap().1);
            prop_assert!(points.as_slice().len() <= POINTS_MAX);
            let is_rising = |pair: &[HostPoint]| end_ns(&pair[0]) <= pair[1].from_ns;
            prop_assert!(points.as_slice().windows(2).all(is_rising));
        }
    }
}

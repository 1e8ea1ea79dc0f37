//! What one process of a run and its host did, point by point: at most 600, so that they are put
//! together in pairs in a long run. What an agent states is made harmless. Times in ns since the
//! start of the run. Pure.

use metronome_proto::{
    host_point::{THREADS_MAX, end_ns, in_pairs},
    v1::{HostPoint, ThreadPoint},
};
use metronome_telemetry::sanitise;

/// Points of one process at most.
pub(crate) const POINTS_MAX: usize = 600;

/// Points of one message at most: the rest of it is dropped.
const POINTS_PER_MESSAGE_MAX: usize = 20;

/// A longer stretch is no point.
const SPAN_NS_MAX: i64 = 24 * 3_600 * 1_000_000_000;

/// A thread's name is at most as long as one of the kernel.
const NAME_BYTES_MAX: usize = 15;

/// Threads in all points of one process at most, some 100 bytes each: an agent may claim many.
const THREAD_POINTS_MAX: usize = 20_000;

/// The points of one process, by rising time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HostPoints(Vec<HostPoint>);

impl HostPoints {
    /// Those that another process has kept, as they are.
    pub(crate) fn restored(points: Vec<HostPoint>) -> Self {
        let mut restored = Self::default();
        for chunk in points.chunks(POINTS_PER_MESSAGE_MAX) {
            restored.take(chunk.to_vec());
        }
        restored
    }

    /// Takes points as they come. What begins before the end of the last one is a repeat, and what
    /// cannot be is dropped.
    pub(crate) fn take(&mut self, points: Vec<HostPoint>) {
        for point in points.into_iter().take(POINTS_PER_MESSAGE_MAX) {
            let after_ns = self.0.last().map_or(i64::MIN, end_ns);
            if let Some(point) = harmless(point).filter(|point| point.from_ns >= after_ns) {
                self.0.push(point);
            }
        }
        let threads =
            |points: &[HostPoint]| points.iter().map(|of| of.threads.len()).sum::<usize>();
        while self.0.len() > POINTS_MAX || threads(&self.0) > THREAD_POINTS_MAX {
            self.0 = in_pairs(&self.0);
        }
    }

    pub(crate) fn as_slice(&self) -> &[HostPoint] {
        &self.0
    }
}

/// The point without figures that cannot be. `None` where it is none at all.
fn harmless(point: HostPoint) -> Option<HostPoint> {
    let not_negative = |ns: &i64| *ns >= 0;
    let is_point = (1..=SPAN_NS_MAX).contains(&point.span_ns)
        && point.from_ns.checked_add(point.span_ns).is_some()
        && point.timer_late_max_ns >= 0
        && (0..=point.span_ns).contains(&point.away_ns);
    let threads = point.threads.into_iter().take(THREADS_MAX);
    let threads = threads.filter(|of| of.cpu_ns >= 0).map(|of| ThreadPoint {
        name: sanitise::printable(&of.name, NAME_BYTES_MAX),
        run_queue_ns: of.run_queue_ns.filter(not_negative),
        away_ns: of.away_ns.filter(not_negative),
        ..of
    });
    is_point.then(|| HostPoint {
        stolen_ns: point.stolen_ns.filter(not_negative),
        cores_ns: point.cores_ns.filter(not_negative),
        throttled_ns: point.throttled_ns.filter(not_negative),
        pressure_ns: point.pressure_ns.filter(not_negative),
        suspended_ns: point.suspended_ns.filter(not_negative),
        threads: threads.collect(),
        ..point
    })
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
            away_ns: 1,
            ..HostPoint::default()
        }
    }

    #[test]
    fn a_repeat_counts_once_and_a_gap_is_kept() {
        let mut points = HostPoints::default();
        points.take(vec![point(0, 10), point(10, 10)]);
        points.take(vec![point(10, 10), point(5, 100), point(30, 10)]);
        let from: Vec<_> = points.as_slice().iter().map(|of| of.from_ns).collect();
        assert_eq!(from, [0, 10, 30]);
        let total = sum(points.as_slice()).unwrap();
        assert_eq!((total.span_ns, total.away_ns), (40, 3));
    }

    #[test]
    fn what_cannot_be_is_no_point_or_unset() {
        let mut points = HostPoints::default();
        for (from_ns, span_ns) in [(0, 0), (0, -1), (i64::MAX, 1), (0, i64::MAX)] {
            points.take(vec![point(from_ns, span_ns)]);
        }
        points.take(vec![HostPoint {
            away_ns: -1,
            ..point(0, 1)
        }]);
        assert_eq!(points, HostPoints::default());
        points.take(vec![HostPoint {
            stolen_ns: Some(-5),
            threads: vec![ThreadPoint {
                name: format!("\u{1b}[2J{}", "x".repeat(100)),
                run_queue_ns: Some(i64::MIN),
                ..ThreadPoint::default()
            }],
            ..point(0, 1)
        }]);
        let [kept] = points.as_slice() else { panic!() };
        assert_eq!((kept.stolen_ns, kept.threads[0].run_queue_ns), (None, None));
        let name = &kept.threads[0].name;
        assert!(
            name.len() <= NAME_BYTES_MAX && !name.contains('\u{1b}'),
            "{name:?}"
        );
    }

    proptest! {
        #[test]
        fn the_sum_of_all_points_is_that_of_all_that_came(
            spans in prop::collection::vec((1..50_i64, 0..5_i64), 1..3_000),
        ) {
            let (mut points, mut at_ns) = (HostPoints::default(), 0);
            for (span_ns, gap_ns) in &spans {
                points.take(vec![point(at_ns, *span_ns)]);
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

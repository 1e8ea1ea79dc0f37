//! The points that were not asked for yet: a few, however long that takes. Pure.

use std::collections::VecDeque;

use metronome_proto::{host_point, v1::HostPoint};

/// Points that wait at most. What comes then is put together with the newest.
const POINTS_MAX: usize = 10;

/// A shorter point is put together with the one before, where that is still here, ns.
const SPAN_NS_MIN: i64 = 10_000_000;

#[derive(Debug, Default)]
pub(crate) struct Points(VecDeque<HostPoint>);

impl Points {
    /// Takes a point whose `from_ns` is that of CLOCK_MONOTONIC.
    pub(crate) fn add(&mut self, point: HostPoint) {
        // The last one of all may be shorter than its figures are exact.
        let is_short = point.span_ns < SPAN_NS_MIN;
        let is_full = self.0.len() >= POINTS_MAX;
        match self.0.back_mut().filter(|_| is_full || is_short) {
            Some(newest) => *newest = host_point::plus(newest, &point),
            None => self.0.push_back(point),
        }
    }

    /// All of them, from `start_ns` on.
    pub(crate) fn take(&mut self, start_ns: u64) -> Vec<HostPoint> {
        let start_ns = i64::try_from(start_ns).unwrap_or(i64::MAX);
        let since_start = |point: HostPoint| HostPoint {
            from_ns: point.from_ns.saturating_sub(start_ns),
            timer_late_from_ns: point.timer_late_from_ns.saturating_sub(start_ns),
            ..point
        };
        self.0.drain(..).map(since_start).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_put_together_and_not_lost() {
        let mut points = Points::default();
        for second in 0..25 {
            points.add(HostPoint {
                from_ns: 1_000 + second * SPAN_NS_MIN,
                span_ns: SPAN_NS_MIN,
                away_ns: 1,
                ..HostPoint::default()
            });
        }
        let taken = points.take(1_000);
        assert_eq!(taken.len(), POINTS_MAX);
        let ninth_ns = 9 * SPAN_NS_MIN;
        assert_eq!(
            (taken[9].from_ns, taken[9].span_ns),
            (ninth_ns, 16 * SPAN_NS_MIN)
        );
        assert_eq!(taken.iter().map(|point| point.away_ns).sum::<i64>(), 25);
        assert!(points.take(0).is_empty());
    }

    #[test]
    fn a_short_last_point_is_part_of_the_one_before_or_stands_alone() {
        let point = |from_ns, span_ns| HostPoint {
            from_ns,
            span_ns,
            ..HostPoint::default()
        };
        let mut points = Points::default();
        points.add(point(0, 5));
        points.add(point(5, SPAN_NS_MIN));
        points.add(point(5 + SPAN_NS_MIN, 3));
        let spans: Vec<_> = points.take(0).iter().map(|of| of.span_ns).collect();
        assert_eq!(spans, [5, SPAN_NS_MIN + 3]);
    }
}

//! The points that were not asked for yet: a few, however long that takes. Pure.

use std::collections::VecDeque;

use metronome_proto::{host_point, v1::HostPoint};

/// Points that wait at most. What comes then is put together with the newest.
const POINTS_MAX: usize = 10;

#[derive(Debug, Default)]
pub(crate) struct Points(VecDeque<HostPoint>);

impl Points {
    /// Takes a point whose `from_ns` is that of CLOCK_MONOTONIC.
    pub(crate) fn add(&mut self, point: HostPoint) {
        let is_full = self.0.len() >= POINTS_MAX;
        match self.0.back_mut().filter(|_| is_full) {
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
                from_ns: 1_000 + second * 10,
                span_ns: 10,
                away_ns: 1,
                ..HostPoint::default()
            });
        }
        let taken = points.take(1_000);
        assert_eq!(taken.len(), POINTS_MAX);
        assert_eq!((taken[9].from_ns, taken[9].span_ns), (90, 160));
        assert_eq!(taken.iter().map(|point| point.away_ns).sum::<i64>(), 25);
        assert!(points.take(0).is_empty());
    }
}

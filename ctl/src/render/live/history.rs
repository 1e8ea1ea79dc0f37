//! What each second of a run was like, the last ones of them.
//!
//! A second of the picture is a point of the server's own series where the snapshots have one, so
//! that a spike stands in the same place of every line. From a server without them only the rate
//! is known over time.

use std::collections::VecDeque;

use metronome_proto::{
    histogram::{Histogram, beyond, is_known, shown_ns},
    v1,
};

/// Seconds that are kept: no terminal shows more.
pub(super) const SECONDS_MAX: usize = 240;
/// A stretch that begins later than this many lengths after the end of the one before leaves a gap.
const GAP_MAX: i64 = 60;

/// What one stretch of time was like. `None`: not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Second {
    /// Since the start of the run, ns.
    from_ns: i64,
    span_ns: i64,
    /// It is a rate between snapshots, which gives way to a point.
    is_rough: bool,
    pub(super) received_millihertz: Option<u64>,
    pub(super) offered_millihertz: Option<u64>,
    /// 99 % of the packets that came in it took at most so long, ns, by [`Time`].
    pub(super) p99_ns: [Option<i64>; Time::ALL.len()],
}

/// A time of packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Time {
    Latency,
    Transit,
    OneWay,
    Spread,
    Lateness,
    Rtt,
}

impl Time {
    pub(super) const ALL: [Self; 6] = [
        Self::Latency,
        Self::Transit,
        Self::OneWay,
        Self::Spread,
        Self::Lateness,
        Self::Rtt,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Transit => "transit",
            Self::OneWay => "one-way",
            Self::Spread => "spread",
            Self::Lateness => "lateness",
            Self::Rtt => "rtt",
        }
    }

    /// This one of one point.
    fn of_point(self, point: &v1::SeriesPoint) -> Option<&v1::Buckets> {
        let times = match self {
            Self::Latency => &point.latency,
            Self::Transit => &point.transit,
            Self::OneWay => &point.one_way,
            Self::Spread => &point.spread,
            Self::Lateness => &point.lateness,
            Self::Rtt => &point.rtt_from_due,
        };
        times.as_ref()
    }

    /// This one of the whole run so far.
    pub(super) fn of(self, times: &v1::Times) -> Option<&v1::Distribution> {
        let times = match self {
            Self::Latency => &times.latency,
            Self::Transit => &times.transit,
            Self::OneWay => &times.one_way,
            Self::Spread => &times.spread,
            Self::Lateness => &times.lateness,
            Self::Rtt => &times.rtt_from_due,
        };
        times.as_ref()
    }
}

/// The seconds of a run, the last one at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Second>);

impl History {
    /// What the server has found of a stretch.
    pub(super) fn add_point(&mut self, point: &v1::SeriesPoint) {
        let per_1000_s = |packets: u64| {
            let nanos = u128::try_from(point.span_ns)
                .ok()
                .filter(|nanos| *nanos > 0)?;
            let millihertz = u128::from(packets) * 1_000_000_000_000 / nanos;
            u64::try_from(millihertz).ok()
        };
        while self.0.back().is_some_and(|last| last.is_rough) {
            self.0.pop_back();
        }
        let (received, offered) = (point.receiver.as_ref(), point.generator.as_ref());
        self.add(Second {
            from_ns: point.from_ns,
            span_ns: point.span_ns,
            is_rough: false,
            received_millihertz: received.and_then(|counts| per_1000_s(counts.received)),
            offered_millihertz: offered.and_then(|counts| per_1000_s(counts.scheduled)),
            p99_ns: Time::ALL.map(|time| p99_ns(time.of_point(point)?)),
        });
    }

    /// The rate between two snapshots, where there is no point: one of each whole second.
    pub(super) fn add_rate(&mut self, second: i64, received_millihertz: Option<u64>) {
        const NS: i64 = 1_000_000_000;
        self.add(Second {
            from_ns: second.saturating_mul(NS),
            span_ns: NS,
            is_rough: true,
            received_millihertz,
            ..Second::default()
        });
    }

    /// Adds what comes after the last one. What is not later changes nothing: the same point comes
    /// with several snapshots.
    fn add(&mut self, second: Second) {
        if let Some(last) = self.0.back() {
            if second.from_ns <= last.from_ns {
                return;
            }
            let end_ns = last.from_ns.saturating_add(last.span_ns);
            let missing = second.from_ns.saturating_sub(end_ns) / second.span_ns.max(1);
            for _ in 0..missing.clamp(0, GAP_MAX) {
                self.0.push_back(Second::default());
            }
        }
        self.0.push_back(second);
        while self.0.len() > SECONDS_MAX {
            self.0.pop_front();
        }
    }

    /// The last `width` of them, the oldest first, as `figure` has each.
    pub(super) fn last<T>(&self, width: usize, figure: impl Fn(&Second) -> T) -> Vec<T> {
        let skipped = self.0.len().saturating_sub(width);
        self.0.iter().skip(skipped).map(figure).collect()
    }

    /// The last one.
    pub(super) fn newest(&self) -> Option<&Second> {
        self.0.back()
    }
}

/// What 99 % of these times did not exceed. `None` where too few of them are known for that.
fn p99_ns(buckets: &v1::Buckets) -> Option<i64> {
    const PPM: u32 = 990_000;
    let times = Histogram::from_buckets(buckets)?;
    let count = times.count();
    let bucket = times.bucket_below(beyond(PPM, count))?;
    let ns = i64::try_from(shown_ns(bucket)).ok();
    ns.filter(|_| is_known(PPM, count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_that_is_missing_is_a_gap_and_one_that_comes_again_is_nothing() {
        let mut history = History::default();
        for (second, rate) in [(0, 10), (1, 11), (1, 99), (0, 99), (4, 14)] {
            history.add_rate(second, Some(rate));
        }
        let rates = history.last(10, |second| second.received_millihertz);
        assert_eq!(rates, [Some(10), Some(11), None, None, Some(14)]);
        assert_eq!(
            history.last(2, |second| second.received_millihertz),
            [None, Some(14)]
        );
        assert_eq!(history.newest().unwrap().received_millihertz, Some(14));
    }

    #[test]
    fn a_point_has_its_rates_and_the_times_of_which_it_has_enough() {
        let mut times = Histogram::default();
        times.add_count(100, 1_000);
        let point = v1::SeriesPoint {
            from_ns: 2_000_000_000,
            span_ns: 500_000_000,
            receiver: Some(v1::ReceiverCounts {
                received: 50_000,
                ..v1::ReceiverCounts::default()
            }),
            latency: Some(times.to_buckets()),
            lateness: Some(v1::Buckets {
                indices: vec![100],
                counts: vec![999],
            }),
            transit: Some(v1::Buckets {
                indices: vec![1],
                counts: vec![],
            }),
            ..v1::SeriesPoint::default()
        };
        let mut history = History::default();
        history.add_rate(2, Some(7));
        history.add_rate(3, Some(7));
        history.add_point(&point);
        assert_eq!(
            history.last(9, |_| ()).len(),
            1,
            "points take the place of rates"
        );
        let second = history.newest().unwrap();
        assert_eq!(second.received_millihertz, Some(100_000_000));
        assert_eq!(second.offered_millihertz, None);
        assert_eq!(second.p99_ns, [Some(807), None, None, None, None, None]);
        history.add_point(&v1::SeriesPoint {
            from_ns: 3_000_000_000,
            span_ns: i64::MIN,
            ..point
        });
        assert_eq!(history.newest().unwrap().received_millihertz, None);
    }

    proptest! {
        #[test]
        fn whatever_seconds_come_no_more_than_a_screen_of_them_is_kept(
            seconds in prop::collection::vec(any::<i64>(), 0..600),
        ) {
            let mut history = History::default();
            for second in seconds {
                history.add_rate(second, None);
            }
            prop_assert!(history.last(1_000, |_| ()).len() <= SECONDS_MAX);
        }
    }
}

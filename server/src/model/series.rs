//! What the packets of a run did, second by second: the differences of readings that only rise. At
//! most 600 points, so that they are put together in pairs in a long run. Times in ns since the
//! start of the run. Pure.
//!
//! The sum of all points is the last reading: nothing is left out, whatever was put together. So a
//! process that takes over goes on where the points end.

use metronome_proto::{
    counters::CounterList,
    histogram::Histogram,
    series::{in_pairs, plus},
    v1::{Buckets, GeneratorCounts, ReceiverCounts, SeriesPoint},
};

use super::{
    round_trips::RoundTrips,
    times::{TimeKind, Times},
};

/// Points at most.
pub(crate) const POINTS_MAX: usize = 600;

/// A reading this close behind the one before makes no point of its own, ns.
const SPAN_NS_MIN: i64 = 500_000_000;

/// How a run stands: everything since its start.
#[derive(Clone, Debug)]
pub(crate) struct SinceStart<'a> {
    /// Since the start of the run, ns.
    pub(crate) at_ns: i64,
    pub(crate) receiver: ReceiverCounts,
    /// `None` before every agent has reported.
    pub(crate) generator: Option<GeneratorCounts>,
    pub(crate) times: &'a Times,
    pub(crate) round_trips: Option<RoundTrips>,
}

/// The points so far, and their sum.
#[derive(Clone, Debug)]
pub(crate) struct PacketSeries {
    points: Vec<SeriesPoint>,
    receiver: ReceiverCounts,
    generator: GeneratorCounts,
    times: Times,
    round_trips: RoundTrips,
}

impl Default for PacketSeries {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            receiver: ReceiverCounts::zero(),
            generator: GeneratorCounts::zero(),
            times: Times::default(),
            round_trips: RoundTrips::default(),
        }
    }
}

impl PacketSeries {
    /// Goes on behind points that another process has made.
    pub(crate) fn restored(points: Vec<SeriesPoint>) -> Self {
        let mut series = Self::default();
        for point in &points {
            series.receiver = point
                .receiver
                .map_or(series.receiver, |of| series.receiver.plus(&of));
            series.generator = point
                .generator
                .map_or(series.generator, |of| series.generator.plus(&of));
            let times = &mut series.times;
            merge(&mut times.lateness, point.lateness.as_ref());
            merge(&mut times.transit, point.transit.as_ref());
            merge(&mut times.latency, point.latency.as_ref());
            merge(&mut times.spread, point.spread.as_ref());
            merge(&mut times.one_way, point.one_way.as_ref());
            merge(&mut times.queueing, point.queueing.as_ref());
            merge(
                &mut series.round_trips.from_due,
                point.rtt_from_due.as_ref(),
            );
            merge(
                &mut series.round_trips.from_write,
                point.rtt_from_write.as_ref(),
            );
        }
        series.points = points;
        series
    }

    /// Takes a reading. What came since the one before is a point, from the end of that one on.
    pub(crate) fn take(&mut self, reading: SinceStart<'_>) {
        let from_ns = self
            .points
            .last()
            .map_or(0, |last| last.from_ns.saturating_add(last.span_ns));
        let span_ns = reading.at_ns.saturating_sub(from_ns);
        if span_ns >= SPAN_NS_MIN {
            let point = self.advance(reading, from_ns, span_ns);
            self.points.push(point);
            if self.points.len() > POINTS_MAX {
                self.halve();
            }
        }
    }

    /// Takes the last reading of all, however close it is.
    pub(crate) fn finish(mut self, reading: SinceStart<'_>) -> Vec<SeriesPoint> {
        let from_ns = self
            .points
            .last()
            .map_or(0, |last| last.from_ns.saturating_add(last.span_ns));
        let span_ns = reading.at_ns.saturating_sub(from_ns).max(0);
        let rest = self.advance(reading, from_ns, span_ns);
        match self.points.last_mut().filter(|_| span_ns < SPAN_NS_MIN) {
            Some(last) => *last = plus(last, &rest),
            None => self.points.push(rest),
        }
        self.points
    }

    pub(crate) fn points(&self) -> &[SeriesPoint] {
        &self.points
    }

    fn halve(&mut self) {
        self.points = in_pairs(&self.points);
    }

    /// What came since the last point.
    fn advance(&mut self, reading: SinceStart<'_>, from_ns: i64, span_ns: i64) -> SeriesPoint {
        let generator = reading.generator.map(|now| now.since(&self.generator));
        let more = |now: &Histogram, then: &Histogram| {
            let more = now.since(then);
            (more.count() > 0).then(|| more.to_buckets())
        };
        let time = |kind| more(&reading.times[kind], &self.times[kind]);
        let round_trips = reading.round_trips.as_ref().unwrap_or(&self.round_trips);
        let point = SeriesPoint {
            from_ns,
            span_ns,
            receiver: Some(reading.receiver.since(&self.receiver)),
            generator,
            lateness: time(TimeKind::Lateness),
            transit: time(TimeKind::Transit),
            latency: time(TimeKind::Latency),
            spread: time(TimeKind::Spread),
            one_way: time(TimeKind::OneWay),
            queueing: time(TimeKind::Queueing),
            rtt_from_due: more(&round_trips.from_due, &self.round_trips.from_due),
            rtt_from_write: more(&round_trips.from_write, &self.round_trips.from_write),
            clients: None,
            server_sockets: None,
            agent_sockets: None,
        };
        self.receiver = reading.receiver;
        self.generator = reading.generator.unwrap_or(self.generator);
        self.times = reading.times.clone();
        // An agent's figures may fall, which counts nothing, and rise again, which counts once.
        if let Some(round_trips) = reading.round_trips {
            self.round_trips.from_due.raise_to(&round_trips.from_due);
            self.round_trips
                .from_write
                .raise_to(&round_trips.from_write);
        }
        point
    }
}

fn merge(sum: &mut Histogram, buckets: Option<&Buckets>) {
    if let Some(more) = buckets.and_then(Histogram::from_buckets) {
        sum.merge(&more);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    /// How a run stands after so many packets, each of which was a time of its own.
    fn reading(at_ns: i64, packets: u64, times: &Times) -> SinceStart<'_> {
        SinceStart {
            at_ns,
            receiver: ReceiverCounts {
                received: packets,
                in_time: Some(packets / 2),
                ..ReceiverCounts::zero()
            },
            generator: (packets > 3).then(|| GeneratorCounts {
                sent: packets,
                ..GeneratorCounts::zero()
            }),
            times,
            round_trips: None,
        }
    }

    fn times(packets: u64) -> Times {
        let mut times = Times::default();
        (0..packets).for_each(|packet| times.latency.record((packet % 50) * 1_000));
        times
    }

    fn total(points: &[SeriesPoint]) -> (u64, u64, u64, u64) {
        let sum = |of: fn(&SeriesPoint) -> u64| points.iter().map(of).sum();
        (
            sum(|of| of.receiver.map_or(0, |counts| counts.received)),
            sum(|of| of.receiver.and_then(|counts| counts.in_time).unwrap_or(0)),
            sum(|of| of.generator.map_or(0, |counts| counts.sent)),
            sum(|of| of.latency.iter().flat_map(|times| &times.counts).sum()),
        )
    }

    proptest! {
        #[test]
        fn the_sum_of_all_points_is_the_last_reading_also_over_an_upgrade(
            steps in prop::collection::vec((100_000_000..3 * SECOND_NS, 0..40_u64), 1..60),
            upgrade_at in 0..60_usize,
        ) {
            let mut series = PacketSeries::default();
            let (mut at_ns, mut packets) = (0, 0);
            for (step, (span_ns, more)) in steps.iter().enumerate() {
                (at_ns, packets) = (at_ns + span_ns, packets + more);
                series.take(reading(at_ns, packets, &times(packets)));
                if step == upgrade_at {
                    series = PacketSeries::restored(series.points().to_vec());
                }
            }
            packets += 5;
            let points = series.finish(reading(at_ns + 1, packets, &times(packets)));
            prop_assert_eq!(total(&points), (packets, packets / 2, packets, packets));
            prop_assert_eq!(points[0].from_ns, 0);
            for pair in points.windows(2) {
                prop_assert_eq!(pair[0].from_ns + pair[0].span_ns, pair[1].from_ns);
            }
            prop_assert_eq!(total(&in_pairs(&points)), total(&points));
        }
    }

    #[test]
    fn a_long_run_has_few_points_and_all_of_its_packets() {
        let mut series = PacketSeries::default();
        let none = Times::default();
        for second in 1..=5_000 {
            series.take(reading(second * SECOND_NS, second as u64, &none));
        }
        let points = series.finish(reading(5_001 * SECOND_NS, 5_001, &none));
        assert!(
            (300..=POINTS_MAX + 1).contains(&points.len()),
            "{}",
            points.len()
        );
        assert_eq!(total(&points).0, 5_001);
    }

    #[test]
    fn round_trips_that_fall_and_rise_again_count_once() {
        let mut series = PacketSeries::default();
        let none = Times::default();
        let trips = |count| {
            let mut trips = RoundTrips::default();
            trips.from_due.add_count(9, count);
            Some(trips)
        };
        for (second, count) in [(1, 5), (2, 1), (3, 7)] {
            series.take(SinceStart {
                round_trips: trips(count),
                ..reading(second * SECOND_NS, 0, &none)
            });
        }
        let counts = |of: &SeriesPoint| {
            of.rtt_from_due
                .iter()
                .flat_map(|of| of.counts.clone())
                .sum::<u64>()
        };
        let each: Vec<_> = series.points().iter().map(counts).collect();
        assert_eq!(each, [5, 0, 2]);
    }

    #[test]
    fn what_agents_had_not_reported_yet_is_unset() {
        let mut series = PacketSeries::default();
        series.take(reading(SECOND_NS, 2, &times(0)));
        let points = series.finish(reading(2 * SECOND_NS, 10, &times(0)));
        assert_eq!(points[0].generator, None);
        assert_eq!(points[1].generator.map(|of| of.sent), Some(10));
        assert_eq!(points[1].latency, None, "no packet has that time");
    }
}

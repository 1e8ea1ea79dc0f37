//! What the packets of a run did, second by second: the differences of readings that only rise. At
//! most 600 points, so that they are put together in pairs in a long run. Times in ns since the
//! start of the run. Pure.
//!
//! The sum of all points is the last reading: nothing is left out, whatever was put together. So a
//! process that takes over goes on where the points end. Points put together in pairs are followed
//! by points as long as they are.

use metronome_proto::{
    client_times::worse,
    counters::CounterList,
    histogram::Histogram,
    series::{in_pairs, plus},
    socket_sample::known,
    v1::{Buckets, ClientTimes, GeneratorCounts, ReceiverCounts, SeriesPoint, SocketSample},
};

use super::{
    round_trips::RoundTrips,
    times::{TimeKind, Times},
};

/// Points at most.
pub(crate) const POINTS_MAX: usize = 600;

/// How long a point is before points are put together: readings come about that often, ns.
const SPAN_NS: i64 = 1_000_000_000;

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
    /// What was seen since the reading before.
    pub(crate) seen: Seen,
}

/// What a reading has of the time since the one before, and not of the whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// What each client's packets needed. `None` where that is not known.
    pub(crate) clients: Option<ClientTimes>,
    /// The sockets at both ends. `None` where none was looked at.
    pub(crate) server_sockets: Option<SocketSample>,
    pub(crate) agent_sockets: Option<SocketSample>,
}

impl Seen {
    fn followed_by(self, later: Self) -> Self {
        Self {
            clients: worse(self.clients.as_ref(), later.clients.as_ref()),
            server_sockets: known(self.server_sockets.as_ref(), later.server_sockets.as_ref()),
            agent_sockets: known(self.agent_sockets.as_ref(), later.agent_sockets.as_ref()),
        }
    }
}

/// The points so far, and their sum.
#[derive(Clone, Debug)]
pub(crate) struct PacketSeries {
    points: Vec<SeriesPoint>,
    receiver: ReceiverCounts,
    generator: GeneratorCounts,
    times: Times,
    round_trips: RoundTrips,
    /// How long points are by now, ns.
    span_ns: i64,
    /// What was seen behind the last point.
    seen: Option<Seen>,
}

impl Default for PacketSeries {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            receiver: ReceiverCounts::zero(),
            generator: GeneratorCounts::zero(),
            times: Times::default(),
            round_trips: RoundTrips::default(),
            span_ns: SPAN_NS,
            seen: None,
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
        series.span_ns = usual_span_ns(&points);
        series.points = points;
        series
    }

    /// Takes a reading. What came since the last point is the next one, once that is long enough.
    pub(crate) fn take(&mut self, mut reading: SinceStart<'_>) {
        self.see(std::mem::take(&mut reading.seen));
        let from_ns = self.points.last().map_or(0, end_ns);
        let span_ns = reading.at_ns.saturating_sub(from_ns);
        // Readings come in time to half of their distance.
        if span_ns >= self.span_ns - SPAN_NS / 2 {
            let point = self.advance(reading, from_ns, span_ns);
            self.points.push(point);
            if self.points.len() > POINTS_MAX {
                self.points = in_pairs(&self.points);
                self.span_ns = self.span_ns.saturating_mul(2);
            }
        }
    }

    /// Takes the last reading of all: the last point ends with the run, whenever it is read.
    pub(crate) fn finish(mut self, mut reading: SinceStart<'_>) -> Vec<SeriesPoint> {
        self.see(std::mem::take(&mut reading.seen));
        let at_ns = reading.at_ns;
        let from_ns = self.points.last().map_or(0, end_ns);
        let span_ns = at_ns.saturating_sub(from_ns).max(0);
        let mut last = self.advance(reading, from_ns, span_ns);
        while last.span_ns < self.span_ns / 2
            && let Some(before) = self.points.pop()
        {
            last = plus(&before, &last);
            last.span_ns = at_ns.saturating_sub(last.from_ns).max(0);
        }
        self.points.push(last);
        self.points
    }

    pub(crate) fn points(&self) -> &[SeriesPoint] {
        &self.points
    }

    fn see(&mut self, seen: Seen) {
        self.seen = Some(match self.seen.take() {
            Some(before) => before.followed_by(seen),
            None => seen,
        });
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
        let seen = self.seen.take().unwrap_or_default();
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
            clients: seen.clients,
            server_sockets: seen.server_sockets,
            agent_sockets: seen.agent_sockets,
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

fn end_ns(point: &SeriesPoint) -> i64 {
    point.from_ns.saturating_add(point.span_ns)
}

/// How long the points of a series are that was put together in pairs some number of times.
fn usual_span_ns(points: &[SeriesPoint]) -> i64 {
    let mut spans: Vec<_> = points.iter().map(|of| of.span_ns).collect();
    spans.sort_unstable();
    let middle_ns = spans.get(spans.len() / 2).copied().unwrap_or(SPAN_NS);
    let mut span_ns = SPAN_NS;
    while span_ns.saturating_mul(2) - SPAN_NS / 2 <= middle_ns && span_ns < i64::MAX / 4 {
        span_ns *= 2;
    }
    span_ns
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
            seen: Seen::default(),
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

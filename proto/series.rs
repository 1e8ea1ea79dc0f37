//! The series of a run: put together from its pages, made shorter, and each point's times as
//! distributions.

use crate::{
    client_times,
    counters::CounterList,
    histogram::Histogram,
    socket_sample::known as sockets,
    v1::{self, Buckets, Distribution, HostSeries, Series, SeriesPoint},
};

impl Series {
    /// Adds the page that comes next.
    pub fn append(&mut self, page: Self) {
        self.points.extend(page.points);
        for host in page.hosts {
            let is_same = |of: &&mut HostSeries| (of.role, &of.name) == (host.role, &host.name);
            match self.hosts.iter_mut().find(is_same) {
                Some(known) => known.points.extend(host.points),
                None => self.hosts.push(host),
            }
        }
    }
}

/// Half as many points, each twice as long.
#[must_use]
pub fn in_pairs(points: &[SeriesPoint]) -> Vec<SeriesPoint> {
    let pair = |pair: &[SeriesPoint]| match pair {
        [one, other] => plus(one, other),
        _ => pair[0].clone(),
    };
    points.chunks(2).map(pair).collect()
}

/// Two neighbours as one. Agents that had not reported in the one have in the other: what is known
/// of both is all.
#[must_use]
pub fn plus(one: &SeriesPoint, other: &SeriesPoint) -> SeriesPoint {
    let both = |one: &Option<Buckets>, other: &Option<Buckets>| match (one, other) {
        (Some(one), Some(other)) => Some(sum(one, other)),
        (one, other) => one.as_ref().or(other.as_ref()).cloned(),
    };
    let end_ns = other.from_ns.saturating_add(other.span_ns);
    SeriesPoint {
        from_ns: one.from_ns,
        span_ns: end_ns.saturating_sub(one.from_ns),
        receiver: added(one.receiver, other.receiver),
        generator: added(one.generator, other.generator),
        lateness: both(&one.lateness, &other.lateness),
        transit: both(&one.transit, &other.transit),
        latency: both(&one.latency, &other.latency),
        spread: both(&one.spread, &other.spread),
        one_way: both(&one.one_way, &other.one_way),
        queueing: both(&one.queueing, &other.queueing),
        rtt_from_due: both(&one.rtt_from_due, &other.rtt_from_due),
        rtt_from_write: both(&one.rtt_from_write, &other.rtt_from_write),
        clients: client_times::worse(one.clients.as_ref(), other.clients.as_ref()),
        server_sockets: sockets(one.server_sockets.as_ref(), other.server_sockets.as_ref()),
        agent_sockets: sockets(one.agent_sockets.as_ref(), other.agent_sockets.as_ref()),
    }
}

fn added<L: CounterList>(one: Option<L>, other: Option<L>) -> Option<L> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.plus(&other)),
        (one, other) => one.or(other),
    }
}

/// The sum of two, which are sorted.
fn sum(one: &Buckets, other: &Buckets) -> Buckets {
    let mut sum = Histogram::from_buckets(one).unwrap_or_default();
    merge(&mut sum, Some(other));
    sum.to_buckets()
}

fn merge(sum: &mut Histogram, buckets: Option<&Buckets>) {
    if let Some(more) = buckets.and_then(Histogram::from_buckets) {
        sum.merge(&more);
    }
}

/// The times of one point as distributions: with the bounds that the report of the run has, and
/// without the quantiles that it does not have: what spoils one there spoils it in a part.
#[must_use]
pub fn times(point: &SeriesPoint, report: &v1::Report) -> v1::Times {
    let of_run = report.times.clone().unwrap_or_default();
    let known = |buckets: &Option<Buckets>, of_run: &Option<Distribution>| {
        let times = Histogram::from_buckets(buckets.as_ref()?)?;
        let of_run = of_run.as_ref()?;
        let mut of_point = times.distribution(false)?;
        let is_known = |ppm| of_run.quantiles.iter().any(|of| of.ppm == ppm);
        of_point.quantiles.retain(|of| is_known(of.ppm));
        Some(Distribution {
            bound_ns: of_run.bound_ns,
            bound_is_claimed: of_run.bound_is_claimed,
            ..of_point
        })
    };
    v1::Times {
        lateness: known(&point.lateness, &of_run.lateness),
        transit: known(&point.transit, &of_run.transit),
        latency: known(&point.latency, &of_run.latency),
        spread: known(&point.spread, &of_run.spread),
        one_way: known(&point.one_way, &of_run.one_way),
        queueing: known(&point.queueing, &of_run.queueing),
        rtt_from_due: known(&point.rtt_from_due, &of_run.rtt_from_due),
        rtt_from_write: known(&point.rtt_from_write, &of_run.rtt_from_write),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::HostPoint;

    #[test]
    fn a_point_has_no_quantile_and_no_time_that_the_run_does_not_have() {
        let mut histogram = Histogram::default();
        histogram.add_count(100, 100_000);
        let point = SeriesPoint {
            latency: Some(histogram.to_buckets()),
            spread: Some(histogram.to_buckets()),
            ..SeriesPoint::default()
        };
        let of_run = Distribution {
            quantiles: vec![v1::Quantile {
                ppm: 500_000,
                ns: 1,
            }],
            bound_ns: Some(7),
            ..Distribution::default()
        };
        let report = v1::Report {
            times: Some(v1::Times {
                latency: Some(of_run),
                ..v1::Times::default()
            }),
            ..v1::Report::default()
        };
        let times = times(&point, &report);
        let latency = times.latency.unwrap();
        let shown: Vec<_> = latency.quantiles.iter().map(|of| of.ppm).collect();
        assert_eq!((shown, latency.bound_ns), (vec![500_000], Some(7)));
        assert_eq!(times.spread, None);
    }

    #[test]
    fn pages_put_together_are_one_series_with_each_process_once() {
        let host = |name: &str, from_ns| HostSeries {
            name: name.into(),
            points: vec![HostPoint {
                from_ns,
                ..HostPoint::default()
            }],
            ..HostSeries::default()
        };
        let mut series = Series::default();
        for page in [
            (vec![SeriesPoint::default()], vec![]),
            (vec![SeriesPoint::default()], vec![host("a", 1)]),
            (vec![], vec![host("a", 2), host("b", 1)]),
        ] {
            series.append(Series {
                points: page.0,
                hosts: page.1,
            });
        }
        let hosts: Vec<_> = series
            .hosts
            .iter()
            .map(|of| (&of.name[..], of.points.len()))
            .collect();
        assert_eq!((series.points.len(), hosts), (2, vec![("a", 2), ("b", 1)]));
    }
}

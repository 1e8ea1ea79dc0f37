//! The series of a run: put together from its pages, made shorter, and each point's times as
//! distributions.

use crate::{
    counters::CounterList,
    histogram::Histogram,
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
/// without the quantiles that a late generator has spoiled there.
#[must_use]
pub fn times(point: &SeriesPoint, report: &v1::Report) -> v1::Times {
    let of_run = report.times.clone().unwrap_or_default();
    let valid_to_ppm = report.verdict.as_ref().and_then(|of| of.valid_to_ppm);
    let known = |buckets: &Option<Buckets>, of_run: &Option<Distribution>| {
        let times = Histogram::from_buckets(buckets.as_ref()?)?;
        let of_run = of_run.as_ref()?;
        Some(Distribution {
            bound_ns: of_run.bound_ns,
            bound_is_claimed: of_run.bound_is_claimed,
            ..times.distribution(false)?
        })
    };
    let from_due = |buckets: &Option<Buckets>, of_run: &Option<Distribution>| {
        let mut known = known(buckets, of_run)?;
        known
            .quantiles
            .retain(|of| valid_to_ppm.is_none_or(|most| of.ppm <= most));
        Some(known)
    };
    v1::Times {
        lateness: known(&point.lateness, &of_run.lateness),
        transit: known(&point.transit, &of_run.transit),
        latency: from_due(&point.latency, &of_run.latency),
        spread: from_due(&point.spread, &of_run.spread),
        one_way: known(&point.one_way, &of_run.one_way),
        queueing: known(&point.queueing, &of_run.queueing),
        rtt_from_due: from_due(&point.rtt_from_due, &of_run.rtt_from_due),
        rtt_from_write: known(&point.rtt_from_write, &of_run.rtt_from_write),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::HostPoint;

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

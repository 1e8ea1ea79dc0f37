//! Objectives on the quantile or on the mean of a time.

use metronome_proto::{
    histogram::{BUCKETS, Histogram, bucket},
    packet::LATENESS_NS_MAX,
    threshold::{PPM, Threshold},
    v1::{Metric, ObjectiveSource, OutcomeStatus, objective::Observed},
};

use super::{
    finding::Finding,
    judged::{Covered, Judged},
    mean::{self, Mean},
    quantile::{Ground, Question, judge},
    words::{in_words, mean_in_words, of_none, of_unknown_number, unknown},
};
use crate::{
    model::RoundTrips,
    verdict::{
        bounds::Between,
        hidden::Hidden,
        paths::Probes,
        replies::{missing as missing_replies, round_trips},
        rows::{Row, sum_of_all},
    },
};

/// Judges a quantile of a time, or its mean.
pub(super) fn time(judged: &Judged<'_>, threshold: Threshold, source: ObjectiveSource) -> Finding {
    let metric = threshold.metric;
    let covered = judged.timed(metric);
    let round_trips = match metric {
        Metric::RttFromDue | Metric::RttFromWrite => round_trips(covered.rows),
        _ => None,
    };
    let round_trips = round_trips.as_ref();
    let Some(times) = times(judged, covered, round_trips, metric) else {
        return unknown(judged, metric);
    };
    let packets = Packets::of(judged, covered.rows, metric, times);
    let Some(most) = packets.most else {
        return Finding::not_judged(of_unknown_number(metric));
    };
    if most == 0 {
        return Finding::not_judged(of_none(judged, metric));
    }
    let mut question = question(judged, covered, threshold, (most, &packets));
    if metric == Metric::RttFromDue {
        question.delayed = judged.delayed_round_trips(question.ppm);
        question.transit = round_trips.map(|of| &of.from_write);
    }
    if threshold.is_mean() {
        return mean_of(
            judged,
            threshold,
            question,
            (times, packets.scheduled.is_some()),
        );
    }
    let answer = judge(times, question);
    let is_certain = question.is_upper() && answer.status == OutcomeStatus::NotHeld;
    let is_exact = packets.scheduled.is_some();
    if !is_exact && !is_certain {
        return Finding::not_judged(of_unknown_number(metric));
    }
    let (template, figures) = in_words(judged, threshold, question, answer, is_exact);
    // A user asks for what has to be shown, and too few packets do not show it, unless the rest of
    // the run is missing.
    let is_whole = judged.is_whole && judged.evidence.missed.is_none();
    let is_asked = source == ObjectiveSource::User && is_whole;
    let status = if answer.ground == Ground::TooFew && is_asked {
        OutcomeStatus::NotHeld
    } else {
        answer.status
    };
    let observed = answer.observed_ns.filter(|_| is_exact);
    let observed = observed.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
    let observed = observed.map(Observed::ObservedNs);
    let finding = Finding::new(status, observed, &template, figures);
    Finding {
        is_excused: answer.ground == Ground::TooFew && !is_asked,
        ..finding
    }
}

/// Judges the mean of these times. Where it `is_exact`, it is known how many packets were
/// scheduled, and else only the most that can have been, so that it can only fail.
fn mean_of(
    judged: &Judged<'_>,
    threshold: Threshold,
    question: Question<'_>,
    (times, is_exact): (&Histogram, bool),
) -> Finding {
    let mean = mean::judge(times, question);
    let is_certain = question.is_upper() && mean.status == OutcomeStatus::NotHeld;
    if !is_exact && !is_certain {
        return Finding::not_judged(of_unknown_number(threshold.metric));
    }
    let mean = Mean {
        observed_ns: mean.observed_ns.filter(|_| is_exact),
        ..mean
    };
    let (template, figures) = mean_in_words(judged, threshold, question, mean, is_exact);
    let observed = mean
        .observed_ns
        .map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
    let observed = observed.map(Observed::ObservedNs);
    Finding::new(mean.status, observed, &template, figures)
}

/// The packets that a time is judged over.
struct Packets {
    scheduled: Option<u64>,
    /// The most that can have been scheduled.
    most: Option<u64>,
    /// Those without a time, as far as that is known.
    missing: u64,
    /// Those of them that were received.
    unrelated: u64,
}

impl Packets {
    /// Those of a metric, which have these times.
    fn of(judged: &Judged<'_>, rows: &[Row<'_>], metric: Metric, times: &Histogram) -> Self {
        match metric {
            Metric::RttFromDue | Metric::RttFromWrite => Self::that_ask(rows, times),
            Metric::OneWay | Metric::Queueing => Self::between_clocks(rows, times),
            Metric::ProbeRtt => Self::of_probes(judged.probes.as_ref()),
            _ => Self::of_all(rows),
        }
    }

    /// What was planned is the most that can have been scheduled, so that it can only fail.
    fn of_all(rows: &[Row<'_>]) -> Self {
        let scheduled = sum_of_all(rows, Row::measured_scheduled);
        let planned = |row: &Row<'_>| Some(row.measured_of(row.planned?.most));
        // A packet that was received and has no spread is not missing, but unmeasured.
        let received = sum_of_all(rows, Row::measured_received).unwrap_or(0);
        Self {
            scheduled,
            most: scheduled.or_else(|| sum_of_all(rows, planned)),
            missing: scheduled.map_or(0, |packets| packets.saturating_sub(received)),
            unrelated: 0,
        }
    }

    /// Those of clients on other clocks: one that was received may have no time, which is slower
    /// than an upper limit where it is known how many there were.
    fn between_clocks(rows: &[Row<'_>], times: &Histogram) -> Self {
        let all = Self::of_all(rows);
        let received = sum_of_all(rows, Row::measured_received);
        let received = received.filter(|_| all.scheduled.is_some()).unwrap_or(0);
        let unrelated = received.saturating_sub(times.count());
        Self {
            missing: all.missing.saturating_add(unrelated),
            unrelated,
            ..all
        }
    }

    /// Probes.
    fn of_probes(probes: Option<&Probes>) -> Self {
        let missing = probes.and_then(|of| of.missing);
        let sent = missing.and_then(|_| Some(probes?.sent));
        Self {
            scheduled: sent,
            most: sent,
            missing: missing.unwrap_or(0),
            unrelated: 0,
        }
    }

    /// Those that asked for a reply or would have, of which these got one.
    fn that_ask(rows: &[Row<'_>], round_trips: &Histogram) -> Self {
        let missing = missing_replies(rows);
        let scheduled = missing.map(|missing| missing.saturating_add(round_trips.count()));
        Self {
            scheduled,
            most: scheduled,
            missing: missing.unwrap_or(0),
            unrelated: 0,
        }
    }
}

/// What is asked of the packets that were scheduled, of which so many have no time.
fn question<'j>(
    judged: &'j Judged<'_>,
    covered: Covered<'j, '_>,
    threshold: Threshold,
    (scheduled, packets): (u64, &Packets),
) -> Question<'j> {
    let ppm = threshold.quantile_ppm.unwrap_or(PPM);
    let counts_from_due = matches!(threshold.metric, Metric::Latency | Metric::Spread);
    Question {
        ppm,
        comparison: threshold.comparison,
        limit_ns: threshold.limit,
        scheduled,
        missing: packets.missing,
        unrelated: packets.unrelated,
        bound_ns: Between::of(threshold.metric)
            .and_then(|between| between.bound(covered.rows))
            .map_or(0, |of| of.ns),
        hidden: (threshold.metric == Metric::Spread).then(|| Hidden::of(covered.rows)),
        top: if threshold.metric == Metric::Lateness {
            bucket(LATENESS_NS_MAX)
        } else {
            BUCKETS - 1
        },
        delayed: if counts_from_due {
            judged.delayed(ppm)
        } else {
            0
        },
        transit: if threshold.metric == Metric::Latency {
            times(judged, covered, None, Metric::Transit)
        } else {
            None
        },
    }
}

/// The times of a metric. `None` where a time of a packet that it is to cover is not known.
fn times<'j>(
    judged: &'j Judged<'_>,
    covered: Covered<'j, '_>,
    round_trips: Option<&'j RoundTrips>,
    metric: Metric,
) -> Option<&'j Histogram> {
    match metric {
        Metric::RttFromDue => return Some(&round_trips?.from_due),
        Metric::RttFromWrite => return Some(&round_trips?.from_write),
        Metric::ProbeRtt => return judged.probes.as_ref().map(|of| &of.round_trips),
        _ => {}
    }
    let is_paced = covered.rows.iter().all(Row::is_paced);
    let is_one_clock = judged.is_one_clock();
    let times = covered.times?;
    let is_known = |between: Between| between.bound(covered.rows).is_some();
    match metric {
        Metric::Lateness => is_paced.then_some(&times.lateness),
        Metric::Spread => is_paced.then_some(&times.spread),
        Metric::Transit => is_one_clock.then_some(&times.transit),
        Metric::Latency => is_one_clock.then_some(&times.latency),
        Metric::OneWay => is_known(Between::OneWay).then_some(&times.one_way),
        Metric::Queueing => is_known(Between::Queueing).then_some(&times.queueing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Times,
        verdict::{rows::pair, samples::Sample},
    };

    /// What is found of an objective that a user has set, whatever the verdict.
    fn ask(sample: &Sample, asked: &str) -> Finding {
        let evidence = sample.evidence();
        let rows = pair(&evidence);
        let judged = Judged::whole(&evidence, &rows);
        time(&judged, asked.parse().unwrap(), ObjectiveSource::User)
    }

    #[test]
    fn the_longest_time_that_is_recorded_is_above_any_limit_and_a_shorter_one_is_not() {
        // A packet carries at most 4.29 s of lateness; a histogram gives at most 68.7 s.
        for (asked, longest_ns, expected) in [
            ("lateness.max<=5s", LATENESS_NS_MAX, OutcomeStatus::NotHeld),
            ("latency.max<=5s", LATENESS_NS_MAX, OutcomeStatus::Held),
            ("spread.max<=5s", LATENESS_NS_MAX, OutcomeStatus::Held),
            ("latency.max<=100s", 60_000_000_000, OutcomeStatus::Held),
            ("latency.max<=100s", 99_000_000_000, OutcomeStatus::NotHeld),
            ("spread.max<=100s", 60_000_000_000, OutcomeStatus::Held),
            ("spread.max<=100s", 99_000_000_000, OutcomeStatus::NotHeld),
        ] {
            let mut sample = Sample::of(1, 1);
            let times = &mut sample.counters().times;
            for times in [&mut times.lateness, &mut times.latency, &mut times.spread] {
                times.record(longest_ns);
            }
            assert_eq!(ask(&sample, asked).status, expected, "{asked}");
        }
    }

    #[test]
    fn a_time_of_no_scheduled_packets_is_not_judged() {
        let mut sample = Sample::of(1, 1);
        sample.reported_counts(0, |counts| (counts.scheduled, counts.sent) = (0, 0));
        sample.counters().times = Times::default();
        for asked in ["latency.max<1s", "latency.p50<1s"] {
            let finding = ask(&sample, asked);
            assert_eq!(finding.status, OutcomeStatus::NotJudged, "{asked}");
            assert!(finding.observed.is_none());
        }
    }
}

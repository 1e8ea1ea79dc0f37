//! Whether a threshold cannot hold any more, whatever the rest of a run does: a pure function of
//! the plan and of what is known while the run goes on. A run whose plan has `abort_on_fail` ends
//! then.
//!
//! Certain is what the end cannot take back. What is counted here is the least that it can be: the
//! workers' counts and distributions, which only rise, and packets that are known to be missing.
//! What it is compared with is the most: the share of all packets that are planned. Packets that a
//! late generator may have delayed count for nothing, and while the run so far would be invalid for
//! its lateness, nothing is certain but corrupt packets. Packets of the warm-up are in no
//! distribution, and so in no quantile.
//!
//! Absent: lower limits (`>`, `>=`, `==`) but those of shares and rates, which only the end
//! decides, and round trips of probes.

mod figures;
mod so_far;

use std::borrow::Cow;

use metronome_proto::{
    histogram::{BUCKETS, Histogram, bucket},
    packet::LATENESS_NS_MAX,
    threshold::{MetricKind, PPM, Threshold},
    v1::{Comparison, Metric, OutcomeStatus},
};

use super::objectives::{
    mean,
    quantile::{Ground, Question, judge},
};
use crate::model::{Against, MissedThreshold};
use figures::{Figures, Scope};

pub(crate) use so_far::SoFar;

const NS_PER_S: u128 = 1_000_000_000;

/// Packets that are against a threshold, how many it allows, and of how many.
type Count = (u64, u64, Option<u64>);

/// Packets that are against a threshold.
fn packets(count: Count) -> (Against, Count) {
    (Against::Packets, count)
}

/// The first of the caller's thresholds that cannot hold any more.
pub(crate) fn missed(so_far: &SoFar<'_>) -> Option<MissedThreshold> {
    so_far.counters.times.as_ref()?;
    let figures = Figures::of(so_far);
    let of = |(group, threshold): (Option<usize>, Threshold)| {
        let (against, count) = against(&figures, group, &threshold)?;
        let (observed, allowed, planned) = count;
        (observed > allowed).then_some(MissedThreshold {
            group,
            threshold,
            elapsed_ns: so_far.elapsed_ns,
            against,
            observed,
            allowed,
            planned,
        })
    };
    so_far.plan.all_thresholds().find_map(of)
}

/// `None` where nothing can be certain of it by now.
fn against(
    figures: &Figures<'_>,
    group: Option<usize>,
    threshold: &Threshold,
) -> Option<(Against, Count)> {
    if threshold.metric == Metric::Corrupt {
        return Some(packets((figures.corrupt(group), most(threshold)?, None)));
    }
    if figures.is_another_load() {
        return None;
    }
    match threshold.metric.kind()? {
        MetricKind::Count if threshold.metric == Metric::Lost => {
            // How many packets were on their way is known at the end alone, but not none.
            let allowed = most(threshold).filter(|packets| *packets == 0)?;
            Some((Against::Connections, (figures.broken(group), allowed, None)))
        }
        MetricKind::Count => Some(packets((figures.skipped(group), most(threshold)?, None))),
        MetricKind::Share => share(figures, group, threshold).map(packets),
        MetricKind::Rate => rate(figures, group, threshold).map(packets),
        MetricKind::Time if threshold.is_mean() => mean_of(figures, group, threshold),
        MetricKind::Time => quantile(figures, group, threshold).map(packets),
    }
}

/// The most packets with which an upper limit, or none at all, still holds.
fn most(threshold: &Threshold) -> Option<u64> {
    match threshold.comparison {
        Comparison::Less => threshold.limit.checked_sub(1),
        Comparison::LessOrEqual => Some(threshold.limit),
        // More are certain not to become fewer.
        Comparison::Equal => Some(threshold.limit),
        Comparison::Greater | Comparison::GreaterOrEqual | Comparison::Unspecified => None,
    }
}

/// Packets that are missing can be read no more, so that what is left cannot make them up: neither
/// in what kept up nor in the rate.
fn share(figures: &Figures<'_>, group: Option<usize>, threshold: &Threshold) -> Option<Count> {
    let scope = figures.scheduled(group);
    let planned = figures.planned_of_all(&scope)?;
    let asked = u128::from(threshold.limit) * u128::from(planned);
    let needed = least(threshold.comparison, asked, PPM.into())?;
    missing(figures, &scope, planned, needed)
}

/// The schedule of no group takes less than the duration, so that a rate needs as many packets at
/// least as it has in that time.
fn rate(figures: &Figures<'_>, group: Option<usize>, threshold: &Threshold) -> Option<Count> {
    let scope = figures.all(group);
    let planned = figures.planned_of_all(&scope)?;
    let asked = u128::from(threshold.limit).checked_mul(figures.duration_ns())?;
    let needed = least(threshold.comparison, asked, NS_PER_S)?;
    missing(figures, &scope, planned, needed)
}

/// The fewest packets that meet a lower limit of so many parts of a packet.
fn least(comparison: Comparison, parts: u128, parts_of_one: u128) -> Option<u128> {
    match comparison {
        Comparison::GreaterOrEqual => Some(parts.div_ceil(parts_of_one)),
        Comparison::Greater => Some(parts / parts_of_one + 1),
        _ => None,
    }
}

/// The packets that the path kept from being read, where so many are needed of those planned.
fn missing(figures: &Figures<'_>, scope: &Scope, planned: u64, needed: u128) -> Option<Count> {
    let allowed = u128::from(planned).checked_sub(needed)?;
    let behind = figures.missing(scope);
    let by_path = behind.saturating_sub(figures.delayed(scope));
    Some((by_path, u64::try_from(allowed).ok()?, Some(planned)))
}

/// More packets above the limit, or missing, than the share of all planned ones allows.
fn quantile(figures: &Figures<'_>, group: Option<usize>, threshold: &Threshold) -> Option<Count> {
    let ppm = threshold.quantile_ppm?;
    let of = Asked::of(figures, group, threshold)?;
    let answer = judge(&of.times, of.question(threshold, ppm));
    let is_certain = (answer.ground, answer.status) == (Ground::Counted, OutcomeStatus::NotHeld);
    is_certain.then_some((answer.above, answer.beyond, of.planned))
}

/// A packet without a time, or so long ones that the rest cannot make up for them, had they none.
fn mean_of(
    figures: &Figures<'_>,
    group: Option<usize>,
    threshold: &Threshold,
) -> Option<(Against, Count)> {
    let of = Asked::of(figures, group, threshold)?;
    let question = of.question(threshold, PPM);
    let mean = mean::judge(&of.times, question);
    let is_certain = (mean.ground, mean.status) == (Ground::Counted, OutcomeStatus::NotHeld);
    let found = if mean.endless > 0 {
        packets((mean.endless, 0, of.planned))
    } else {
        let allowed = match threshold.comparison {
            Comparison::Less => threshold.limit.saturating_sub(1),
            _ => threshold.limit,
        };
        (Against::MeanNs, (mean.least_ns, allowed, of.planned))
    };
    is_certain.then_some(found)
}

/// The times that an upper limit is on, and what is known of the packets that have them.
struct Asked<'a> {
    times: Cow<'a, Histogram>,
    transit: Option<Cow<'a, Histogram>>,
    /// The most that are planned. `None` of a flood, and where a quantile does not need it.
    planned: Option<u64>,
    missing: u64,
    delayed: u64,
}

impl<'a> Asked<'a> {
    /// `None` where the limit is no upper one, or the times are not known.
    fn of(figures: &Figures<'a>, group: Option<usize>, threshold: &Threshold) -> Option<Self> {
        let (metric, comparison) = (threshold.metric, threshold.comparison);
        if !matches!(comparison, Comparison::Less | Comparison::LessOrEqual) {
            return None;
        }
        let scope = figures.timed(metric, group);
        let times = figures.times(metric, &scope)?;
        let counts_from_due = matches!(
            metric,
            Metric::Latency | Metric::Spread | Metric::RttFromDue
        );
        let is_of_replies = matches!(metric, Metric::RttFromDue | Metric::RttFromWrite);
        // Of a flood it is not known, and of a maximum it does not matter.
        let planned = match metric {
            _ if threshold.quantile_ppm == Some(PPM) => None,
            _ if is_of_replies => Some(figures.planned_to_ask(&scope)?),
            _ => Some(figures.planned(&scope)?),
        };
        Some(Self {
            times,
            transit: match metric {
                Metric::Latency => figures.times(Metric::Transit, &scope),
                Metric::RttFromDue => figures.times(Metric::RttFromWrite, &scope),
                _ => None,
            },
            planned,
            missing: if is_of_replies {
                0
            } else {
                figures.missing(&scope)
            },
            delayed: if counts_from_due {
                figures.delayed(&scope)
            } else {
                0
            },
        })
    }

    fn question(&self, threshold: &Threshold, ppm: u32) -> Question<'_> {
        // A time between clocks is judged at its bound, which can only make it longer.
        Question {
            ppm,
            comparison: threshold.comparison,
            limit_ns: threshold.limit,
            scheduled: self.planned.unwrap_or(u64::MAX),
            missing: self.missing,
            unrelated: 0,
            bound_ns: 0,
            hidden: None,
            top: if threshold.metric == Metric::Lateness {
                bucket(LATENESS_NS_MAX)
            } else {
                BUCKETS - 1
            },
            delayed: self.delayed,
            transit: self.transit.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;

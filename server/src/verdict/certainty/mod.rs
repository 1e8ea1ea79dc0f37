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
//! Absent: lower limits (`>`, `>=`, `==`), which only the end decides, and round trips of probes.

mod figures;
mod so_far;

use metronome_proto::{
    histogram::{BUCKETS, bucket},
    packet::LATENESS_NS_MAX,
    threshold::{MetricKind, PPM, Threshold},
    v1::{Comparison, Metric, OutcomeStatus},
};

use super::objectives::quantile::{Ground, Question, judge};
use crate::model::MissedThreshold;
use figures::Figures;

pub(crate) use so_far::SoFar;

/// Packets that are against a threshold, how many it allows, and of how many.
type Count = (u64, u64, Option<u64>);

/// The first of the caller's thresholds that cannot hold any more.
pub(crate) fn missed(so_far: &SoFar<'_>) -> Option<MissedThreshold> {
    so_far.counters.times.as_ref()?;
    let figures = Figures::of(so_far);
    let of = |(group, threshold): (Option<usize>, Threshold)| {
        let (observed, allowed, planned) = against(&figures, group, &threshold)?;
        (observed > allowed).then_some(MissedThreshold {
            group,
            threshold,
            elapsed_ns: so_far.elapsed_ns,
            observed,
            allowed,
            planned,
        })
    };
    so_far.plan.all_thresholds().find_map(of)
}

/// `None` where nothing can be certain of it by now.
fn against(figures: &Figures<'_>, group: Option<usize>, threshold: &Threshold) -> Option<Count> {
    if threshold.metric == Metric::Corrupt {
        return Some((figures.corrupt(group), most(threshold)?, None));
    }
    if figures.is_another_load() {
        return None;
    }
    match threshold.metric.kind()? {
        MetricKind::Count if threshold.metric == Metric::Lost => {
            // How many packets were on their way is known at the end alone, but not none.
            let allowed = most(threshold).filter(|packets| *packets == 0)?;
            Some((figures.broken(group), allowed, None))
        }
        MetricKind::Count => Some((figures.skipped(group), most(threshold)?, None)),
        MetricKind::Share => kept_up(figures, group, threshold),
        MetricKind::Time => quantile(figures, group, threshold),
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

/// Packets that are missing can be read no more, so that what is left cannot make them up.
fn kept_up(figures: &Figures<'_>, group: Option<usize>, threshold: &Threshold) -> Option<Count> {
    let scope = figures.scheduled(group);
    let planned = figures.planned_of_all(&scope)?;
    let asked = u128::from(threshold.limit) * u128::from(planned);
    // The fewest packets that have to be in time.
    let needed = match threshold.comparison {
        Comparison::GreaterOrEqual => asked.div_ceil(u128::from(PPM)),
        Comparison::Greater => asked / u128::from(PPM) + 1,
        _ => return None,
    };
    let allowed = u128::from(planned).checked_sub(needed)?;
    let behind = figures.missing(&scope);
    let by_path = behind.saturating_sub(figures.delayed(&scope));
    Some((by_path, u64::try_from(allowed).ok()?, Some(planned)))
}

/// More packets above the limit, or missing, than the share of all planned ones allows.
fn quantile(figures: &Figures<'_>, group: Option<usize>, threshold: &Threshold) -> Option<Count> {
    let metric = threshold.metric;
    if !matches!(
        threshold.comparison,
        Comparison::Less | Comparison::LessOrEqual
    ) {
        return None;
    }
    let ppm = threshold.quantile_ppm?;
    let scope = figures.timed(metric, group);
    let times = figures.times(metric, &scope)?;
    let counts_from_due = matches!(
        metric,
        Metric::Latency | Metric::Spread | Metric::RttFromDue
    );
    let is_of_replies = matches!(metric, Metric::RttFromDue | Metric::RttFromWrite);
    // Of a flood it is not known, and of a maximum it does not matter.
    let planned = match metric {
        _ if ppm == PPM => None,
        _ if is_of_replies => Some(figures.planned_to_ask(&scope)?),
        _ => Some(figures.planned(&scope)?),
    };
    let transit = match metric {
        Metric::Latency => figures.times(Metric::Transit, &scope),
        Metric::RttFromDue => figures.times(Metric::RttFromWrite, &scope),
        _ => None,
    };
    // A time between clocks is judged at its bound, which can only make it longer.
    let question = Question {
        ppm,
        comparison: threshold.comparison,
        limit_ns: threshold.limit,
        scheduled: planned.unwrap_or(u64::MAX),
        missing: if is_of_replies {
            0
        } else {
            figures.missing(&scope)
        },
        unrelated: 0,
        bound_ns: 0,
        hidden: None,
        top: if metric == Metric::Lateness {
            bucket(LATENESS_NS_MAX)
        } else {
            BUCKETS - 1
        },
        delayed: if counts_from_due {
            figures.delayed(&scope)
        } else {
            0
        },
        transit: transit.as_deref(),
    };
    let answer = judge(&times, question);
    let is_certain = (answer.ground, answer.status) == (Ground::Counted, OutcomeStatus::NotHeld);
    is_certain.then_some((answer.above, answer.beyond, planned))
}

#[cfg(test)]
mod tests;

//! The outcome: whether the run held, by its objectives. Whether its figures may be believed is the
//! verdict's question, and of an invalid run nothing is judged.
//!
//! The caller's thresholds are judged first, then the defaults that they do not replace. What an
//! objective needs and is not known leaves it not judged, unless what is known decides it.

mod amount;
mod finding;
mod judged;
pub(super) mod mean;
pub(super) mod quantile;
mod rate;
mod time;
mod words;

use metronome_proto::{
    threshold::{MetricKind, Threshold},
    v1::{Comparison, Metric, Objective, ObjectiveSource, Outcome, OutcomeStatus, VerdictStatus},
};

use super::{
    evidence::Evidence,
    punctuality::Punctualities,
    rows::{Row, by_group},
};
use crate::model::MissedThreshold;
use finding::Finding;
use judged::Judged;

/// The least share of packets that the path and the receiver have to keep up with, millionths.
const KEPT_UP_PPM_MIN: u64 = 999_000;
/// The longest delay, ns, and the share of packets that must not have a longer one, millionths.
const DELAY_NS_MAX: u64 = 100_000_000;
const DELAY_PPM: u32 = 999_000;

/// Judges every objective of a run that has this verdict.
pub(super) fn judge(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    punctualities: &Punctualities,
    verdict: VerdictStatus,
) -> Outcome {
    let is_valid = verdict == VerdictStatus::Valid;
    let whole = Judged::new(evidence, rows, Some(punctualities), is_valid);
    let by_group: Vec<_> = by_group(rows).filter(|rows| has_thresholds(rows)).collect();
    let groups = by_group
        .iter()
        .map(|rows| Judged::of_group(evidence, rows, punctualities, is_valid));
    let groups: Vec<_> = groups.collect();
    let is_invalid = verdict == VerdictStatus::Invalid;
    let objective = |judged: &Judged<'_>, threshold: Threshold, source: ObjectiveSource| {
        let finding = if is_invalid {
            Finding::not_judged("The run is invalid, so that this is not judged.")
        } else {
            find(judged, threshold, source)
        };
        let is_open = finding.status == OutcomeStatus::NotJudged && !finding.is_excused;
        let names = judged.group_names(threshold.metric);
        let names = names.map(|names| ("group_names".to_owned(), names.into()));
        let group = judged.group.map_or("", |group| group.name.as_str());
        let whose = (!group.is_empty()).then(|| format!("Group {group}: "));
        let objective = Objective {
            threshold: Some(threshold.to_proto()),
            source: source.into(),
            status: finding.status.into(),
            sentence: whose.unwrap_or_default() + &finding.sentence,
            figures: finding.figures.into_iter().chain(names).collect(),
            observed: finding.observed,
            group: group.into(),
        };
        (objective, is_open)
    };
    let of_run = asked(evidence, rows).into_iter();
    let of_run = of_run.map(|(threshold, source)| objective(&whole, threshold, source));
    let of_groups = groups.iter().flat_map(|judged| {
        let thresholds = judged.group.into_iter().flat_map(|group| &group.thresholds);
        thresholds.map(|threshold| objective(judged, *threshold, ObjectiveSource::User))
    });
    let (objectives, open): (Vec<_>, Vec<_>) = of_run.chain(of_groups).unzip();
    let is_open = open.contains(&true) || !is_valid;
    Outcome {
        status: worst(&objectives, is_open).into(),
        objectives,
    }
}

/// Whether the records of the end show the miss of the threshold that has stopped the run. What it
/// was stopped by may be known no more: an agent can take back what it claimed.
pub(super) fn shows_miss(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    punctualities: &Punctualities,
    missed: &MissedThreshold,
) -> bool {
    let is_missed = |judged: &Judged<'_>| {
        let finding = find(judged, missed.threshold, ObjectiveSource::User);
        finding.status == OutcomeStatus::NotHeld
    };
    let Some(group) = missed.group else {
        return is_missed(&Judged::new(evidence, rows, Some(punctualities), true));
    };
    let mut groups = by_group(rows);
    let own = groups.find(|rows| rows.first().is_some_and(|row| row.group.index == group));
    own.is_some_and(|rows| is_missed(&Judged::of_group(evidence, rows, punctualities, true)))
}

/// The caller's thresholds, then the defaults that they do not replace.
fn asked(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Vec<(Threshold, ObjectiveSource)> {
    let thresholds = &evidence.plan.thresholds;
    let of_user = thresholds.iter().map(|of| (*of, ObjectiveSource::User));
    let is_replaced = |default: &Threshold| {
        let replaces = |of: &Threshold| subject(of.metric) == subject(default.metric);
        thresholds.iter().any(replaces)
    };
    let defaults = evidence
        .plan
        .has_default_objectives
        .then(|| defaults(evidence, rows));
    let defaults = defaults.into_iter().flatten();
    let defaults = defaults.filter(|default| !is_replaced(default));
    of_user
        .chain(defaults.map(|default| (default, ObjectiveSource::Default)))
        .collect()
}

/// What an objective on a metric is about: latency and spread are both the delay.
fn subject(metric: Metric) -> Metric {
    match metric {
        Metric::Spread => Metric::Latency,
        other => other,
    }
}

/// What every run has to hold: counts alone where all groups are floods, of which nothing was
/// planned, and in a run that was stopped, of which it is not known what the rest would have been.
fn defaults(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Vec<Threshold> {
    let threshold = |metric, quantile_ppm, comparison, limit| Threshold {
        metric,
        quantile_ppm,
        comparison,
        limit,
    };
    let none = |metric| threshold(metric, None, Comparison::Equal, 0);
    let is_paced = rows.iter().any(Row::is_paced);
    let mut defaults = vec![none(Metric::Lost)];
    if is_paced {
        defaults.push(none(Metric::Skipped));
    }
    if is_paced && evidence.stopped.is_none() {
        let delay = if evidence.is_one_clock() {
            Metric::Latency
        } else {
            Metric::Spread
        };
        defaults.extend([
            threshold(
                Metric::KeptUp,
                None,
                Comparison::GreaterOrEqual,
                KEPT_UP_PPM_MIN,
            ),
            threshold(
                delay,
                Some(DELAY_PPM),
                Comparison::LessOrEqual,
                DELAY_NS_MAX,
            ),
        ]);
    }
    defaults
}

fn find(judged: &Judged<'_>, threshold: Threshold, source: ObjectiveSource) -> Finding {
    let finding = match threshold.metric.kind() {
        Some(MetricKind::Count) => amount::count(judged, threshold),
        Some(MetricKind::Rate) => rate::packets_a_second(judged, threshold),
        Some(MetricKind::Share) if threshold.metric == Metric::RateShare => {
            rate::share(judged, threshold)
        }
        Some(MetricKind::Share) => amount::kept_up(judged, threshold),
        Some(MetricKind::Time) => time::time(judged, threshold, source),
        None => Finding::not_judged("This version does not have the metric."),
    };
    // What is missing since then has not shown that it holds.
    let has_stopped = judged.has_stopped_the_run(threshold);
    if finding.status == OutcomeStatus::Held && has_stopped {
        return Finding::not_judged(
            "The run was stopped since this could not hold any more by what was known then, which \
             the records of its end do not show.",
        );
    }
    finding
}

/// Whether the group of these clients has thresholds of its own.
fn has_thresholds(rows: &[Row<'_>]) -> bool {
    let mut rows = rows.iter();
    rows.next()
        .is_some_and(|row| !row.group.thresholds.is_empty())
}

/// Missed when one was, met when all others were but those that few packets excuse. A run that
/// `is_open`, of which something is missing or an objective could not be judged, can miss another,
/// but it has not shown that it holds.
fn worst(objectives: &[Objective], is_open: bool) -> OutcomeStatus {
    let has = |status| objectives.iter().any(|of| of.status() == status);
    if has(OutcomeStatus::NotHeld) {
        OutcomeStatus::NotHeld
    } else if has(OutcomeStatus::Held) && !is_open {
        OutcomeStatus::Held
    } else {
        OutcomeStatus::NotJudged
    }
}

#[cfg(test)]
mod tests;

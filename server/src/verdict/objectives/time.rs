//! Objectives on the quantile of a time.

use metronome_proto::{
    histogram::{Histogram, count_min},
    profile::Profile,
    threshold::{PPM, Threshold, quantile_name},
    v1::{Comparison, Metric, ObjectiveSource, OutcomeStatus, objective::Observed},
};

use super::{
    finding::Finding,
    judged::Judged,
    quantile::{Answer, Ground, Question, UNDERSTATED_NS, judge},
};
use crate::verdict::{
    rows::{Row, sum_of_all},
    sentence::{Figures, figures, signed},
};

/// Judges a quantile of a time.
pub(super) fn quantile(
    judged: &Judged<'_>,
    threshold: Threshold,
    source: ObjectiveSource,
) -> Finding {
    let name = threshold.metric.word().unwrap_or_default();
    let Some(times) = times(judged, threshold.metric) else {
        let sentence = format!("The {name} of this run is not known.");
        return Finding::not_judged(&sentence);
    };
    let scheduled = sum_of_all(judged.rows, Row::scheduled);
    // What was planned is the most that can have been scheduled, so that it can only fail.
    let planned = || {
        let plan = judged.evidence.plan;
        let clients = u64::from(plan.clients());
        Some(plan.packets_per_client()?.saturating_mul(clients))
    };
    let Some(most) = scheduled.or_else(planned).filter(|most| *most > 0) else {
        let sentence = "It is not known how many packets were scheduled.";
        return Finding::not_judged(sentence);
    };
    let missing = scheduled.map_or(0, |packets| packets.saturating_sub(times.count()));
    let question = question(judged, threshold, most, missing);
    let answer = judge(times, question);
    let is_upper = matches!(
        threshold.comparison,
        Comparison::Less | Comparison::LessOrEqual
    );
    let is_certain = is_upper && answer.status == OutcomeStatus::NotHeld;
    if scheduled.is_none() && !is_certain {
        let sentence = "It is not known how many packets were scheduled.";
        return Finding::not_judged(sentence);
    }
    let (template, figures) = in_words(judged, threshold, question, answer, scheduled.is_some());
    // A user asks for what has to be shown, and too few packets do not show it.
    let is_users = source == ObjectiveSource::User;
    let status = if answer.ground == Ground::TooFew && is_users {
        OutcomeStatus::NotHeld
    } else {
        answer.status
    };
    let observed = answer.observed_ns.filter(|_| scheduled.is_some());
    let observed = observed.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
    let observed = observed.map(Observed::ObservedNs);
    Finding::new(status, observed, &template, figures)
}

/// What is asked of the packets that were scheduled, of which so many have no time.
fn question(judged: &Judged<'_>, threshold: Threshold, scheduled: u64, missing: u64) -> Question {
    let ppm = threshold.quantile_ppm.unwrap_or(PPM);
    let counts_from_due = matches!(threshold.metric, Metric::Latency | Metric::Spread);
    let is_spread = threshold.metric == Metric::Spread;
    let understated = |row: &Row<'_>| row.receiver?.spread_understated;
    Question {
        ppm,
        comparison: threshold.comparison,
        limit_ns: threshold.limit,
        scheduled,
        missing,
        understated: if is_spread {
            sum_of_all(judged.rows, understated).unwrap_or(0)
        } else {
            0
        },
        held_up: if counts_from_due {
            judged.held_up(ppm)
        } else {
            0
        },
    }
}

/// The template of the sentence and its figures. Where it is not `is_exact`, it is not known how
/// many packets were scheduled, but only the most that can have been.
fn in_words(
    judged: &Judged<'_>,
    threshold: Threshold,
    question: Question,
    answer: Answer,
    is_exact: bool,
) -> (String, Figures) {
    let mut template = counts_in_words(threshold, question, is_exact);
    let mut figures = figures([
        ("above", answer.above.into()),
        ("beyond", answer.beyond.into()),
        ("scheduled", question.scheduled.into()),
        ("limit_ns", question.limit_ns.into()),
    ]);
    if is_exact {
        figures.insert("missing".into(), question.missing.into());
    }
    if let Some(observed_ns) = answer.observed_ns.filter(|_| is_exact) {
        figures.insert("observed_ns".into(), signed(observed_ns.into()));
    }
    if question.understated > 0 {
        figures.insert("understated".into(), question.understated.into());
        figures.insert("understated_ns".into(), UNDERSTATED_NS.into());
        template += "; besides, {understated} were held up for over {understated_ns} although \
                     their spread may be shown as less";
    }
    template += explain(judged, question, answer, &mut figures);
    template += ".";
    (template, figures)
}

/// What was counted, as a part of the sentence.
fn counts_in_words(threshold: Threshold, question: Question, is_exact: bool) -> String {
    let (above, beyond) = match threshold.comparison {
        Comparison::Less => ("of {limit_ns} or more", "at most {beyond} may"),
        Comparison::LessOrEqual => ("above {limit_ns}", "at most {beyond} may"),
        Comparison::GreaterOrEqual => ("of {limit_ns} or more", "more than {beyond} have to"),
        _ => ("above {limit_ns}", "more than {beyond} have to"),
    };
    let name = threshold.metric.word().unwrap_or_default();
    let quantile = quantile_name(question.ppm);
    if !is_exact {
        return format!(
            "{{above}} of at most {{scheduled}} packets had a {name} {above}, where for {quantile} \
             {beyond}"
        );
    }
    if threshold.comparison == Comparison::Equal {
        return format!(
            "{{above}} of {{scheduled}} packets had a {name} above {{limit_ns}} or none at all, \
             where {quantile} has to be as long as that"
        );
    }
    format!(
        "{{above}} of {{scheduled}} packets had a {name} {above} or none at all ({{missing}} were \
         skipped or lost), where for {quantile} {beyond}"
    )
}

/// Why it is not judged by the counts alone, as a part of the sentence.
fn explain(
    judged: &Judged<'_>,
    question: Question,
    answer: Answer,
    figures: &mut Figures,
) -> &'static str {
    match answer.ground {
        Ground::Counted => "",
        Ground::TooFew => {
            figures.insert("scheduled_min".into(), count_min(question.ppm).into());
            "; to know that quantile takes {scheduled_min} scheduled packets"
        }
        Ground::GeneratorLate => {
            let late = judged.punctuality.map_or(0, |of| of.late());
            figures.insert("late".into(), late.into());
            "; the generator was late with {late} packets, which may be why"
        }
        Ground::Understated => ", so that it is not known on which side of the limit they are",
    }
}

/// The times of a metric. `None` where a time of a packet that it is to cover is not known.
fn times<'a>(judged: &'a Judged<'_>, metric: Metric) -> Option<&'a Histogram> {
    let evidence = judged.evidence;
    let is_paced = evidence.plan.group.profile != Profile::Flood;
    let times = &evidence.counters?.times;
    match metric {
        Metric::Lateness => is_paced.then_some(&times.lateness),
        Metric::Spread => is_paced.then_some(&times.spread),
        Metric::Transit => evidence.is_one_clock().then_some(&times.transit),
        Metric::Latency => evidence.is_one_clock().then_some(&times.latency),
        _ => None,
    }
}

//! Objectives on the quantile of a time.

use metronome_proto::{
    histogram::{BUCKETS, Histogram, bucket, count_min},
    packet::LATENESS_NS_MAX,
    threshold::{PPM, Threshold, quantile_name},
    v1::{Comparison, Metric, ObjectiveSource, OutcomeStatus, objective::Observed},
};

use super::{
    finding::Finding,
    judged::{Covered, Judged},
    quantile::{Answer, Ground, Question, judge},
};
use crate::{
    model::{RoundTrips, UNCERTAIN_NS, UNDERSTATED_NS},
    verdict::{
        hidden::Hidden,
        replies::{missing as missing_replies, round_trips},
        rows::{Row, sum_of_all},
        sentence::{Figures, figures, signed},
    },
};

/// Judges a quantile of a time.
pub(super) fn quantile(
    judged: &Judged<'_>,
    threshold: Threshold,
    source: ObjectiveSource,
) -> Finding {
    let name = threshold.metric.word().unwrap_or_default();
    let covered = judged.timed(threshold.metric);
    let round_trips = match threshold.metric {
        Metric::RttFromDue | Metric::RttFromWrite => round_trips(covered.rows),
        _ => None,
    };
    let round_trips = round_trips.as_ref();
    let Some(times) = times(judged, covered, round_trips, threshold.metric) else {
        let sentence = format!("The {name} of this run is not known.");
        return Finding::not_judged(&sentence);
    };
    let Packets {
        scheduled,
        most,
        missing,
    } = match round_trips {
        Some(_) => Packets::that_ask(covered.rows, times),
        None => Packets::of_all(covered.rows),
    };
    let Some(most) = most else {
        let sentence = "It is not known how many packets were scheduled.";
        return Finding::not_judged(sentence);
    };
    if most == 0 {
        return Finding::not_judged(if judged.evidence.plan.warm_up.is_zero() {
            "No packet was scheduled."
        } else {
            "No packet was scheduled after the warm-up."
        });
    }
    let mut question = question(judged, covered, threshold, (most, missing));
    if threshold.metric == Metric::RttFromDue {
        question.delayed = judged.delayed_round_trips(question.ppm);
        question.transit = round_trips.map(|of| &of.from_write);
    }
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
    let is_exact = scheduled.is_some();
    let (template, figures) = in_words(judged, threshold, question, answer, is_exact);
    // A user asks for what has to be shown, and too few packets do not show it, unless the rest of
    // the run is missing.
    let is_asked = source == ObjectiveSource::User && judged.is_whole;
    let status = if answer.ground == Ground::TooFew && is_asked {
        OutcomeStatus::NotHeld
    } else {
        answer.status
    };
    let observed = answer.observed_ns.filter(|_| scheduled.is_some());
    let observed = observed.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
    let observed = observed.map(Observed::ObservedNs);
    let finding = Finding::new(status, observed, &template, figures);
    Finding {
        is_excused: answer.ground == Ground::TooFew && !is_asked,
        ..finding
    }
}

/// The packets that a time is judged over.
struct Packets {
    scheduled: Option<u64>,
    /// The most that can have been scheduled.
    most: Option<u64>,
    /// Those without a time, as far as that is known.
    missing: u64,
}

impl Packets {
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
        }
    }
}

/// What is asked of the packets that were scheduled, of which so many have no time.
fn question<'j>(
    judged: &'j Judged<'_>,
    covered: Covered<'j, '_>,
    threshold: Threshold,
    (scheduled, missing): (u64, u64),
) -> Question<'j> {
    let ppm = threshold.quantile_ppm.unwrap_or(PPM);
    let counts_from_due = matches!(threshold.metric, Metric::Latency | Metric::Spread);
    Question {
        ppm,
        comparison: threshold.comparison,
        limit_ns: threshold.limit,
        scheduled,
        missing,
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

/// The template of the sentence and its figures. Where it is not `is_exact`, it is not known how
/// many packets were scheduled, but only the most that can have been.
fn in_words(
    judged: &Judged<'_>,
    threshold: Threshold,
    question: Question<'_>,
    answer: Answer,
    is_exact: bool,
) -> (String, Figures) {
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
    if answer.ground == Ground::TooFew {
        figures.insert("scheduled_min".into(), count_min(question.ppm).into());
        return (too_few_in_words(threshold, question, answer), figures);
    }
    let whose = judged.timed(threshold.metric).whose;
    let mut template = counts_in_words(threshold, question, whose, is_exact);
    let understated = question
        .hidden
        .map_or(0, |hidden| hidden.understated_at_most);
    if understated > 0 {
        figures.insert("understated".into(), understated.into());
        figures.insert("understated_ns".into(), UNDERSTATED_NS.into());
        template += "; besides, {understated} were held up for over {understated_ns} although \
                     their spread may be shown as less";
    }
    if question.delayed > 0 && answer.above_in_transit > answer.beyond {
        figures.insert("above_in_transit".into(), answer.above_in_transit.into());
        template += "; of {above_in_transit} the transit alone was as long as that";
    }
    template += match answer.ground {
        Ground::Counted | Ground::TooFew => "",
        Ground::GeneratorLate => {
            let late = judged.punctuality.map_or(0, |of| of.late());
            figures.insert("late".into(), late.into());
            "; the generator was late with {late} packets, which may be why"
        }
        Ground::Uncertain => uncertain_in_words(question, &mut figures),
    };
    template += ".";
    (template, figures)
}

/// What of a spread is not known, so that it is open.
fn uncertain_in_words(question: Question<'_>, figures: &mut Figures) -> &'static str {
    let hidden = question.hidden.unwrap_or_default();
    figures.insert("uncertain".into(), hidden.uncertain.into());
    figures.insert("uncertain_ns".into(), UNCERTAIN_NS.into());
    if hidden.unmeasured == 0 {
        return "; the spread of {uncertain} packets may be shown as less than it was, and that of \
                the others by up to {uncertain_ns}, so that it is not known on which side of the \
                limit they are";
    }
    figures.insert("unmeasured".into(), hidden.unmeasured.into());
    "; {unmeasured} had nothing to be compared with, the spread of {uncertain} may be shown as \
     less than it was, and that of the others by up to {uncertain_ns}, so that it is not known on \
     which side of the limit they are"
}

/// Why so few packets do not answer it, and what was counted of them all the same.
fn too_few_in_words(threshold: Threshold, question: Question<'_>, answer: Answer) -> String {
    let name = threshold.metric.word().unwrap_or_default();
    let quantile = quantile_name(question.ppm);
    let above = above_in_words(threshold.comparison);
    let how_many = if answer.above == 0 { "none" } else { "{above}" };
    let missing = missing_in_words(threshold, question);
    format!(
        "{name} {quantile} is not known: it takes {{scheduled_min}} packets, {{scheduled}} were \
         scheduled; {how_many} had {above}{missing}."
    )
}

/// What a packet above the limit had.
fn above_in_words(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Less | Comparison::GreaterOrEqual => "{limit_ns} or more",
        _ => "more than {limit_ns}",
    }
}

/// The packets without a time, where there are some.
fn missing_in_words(threshold: Threshold, question: Question<'_>) -> &'static str {
    match (question.missing, threshold.metric) {
        (0, _) => "",
        (_, Metric::RttFromDue | Metric::RttFromWrite) => {
            " or none at all ({missing} were skipped or got no reply)"
        }
        _ => " or none at all ({missing} were skipped or lost)",
    }
}

/// What was counted, as a part of the sentence.
fn counts_in_words(
    threshold: Threshold,
    question: Question<'_>,
    whose: &str,
    is_exact: bool,
) -> String {
    let name = threshold.metric.word().unwrap_or_default();
    let quantile = quantile_name(question.ppm);
    let above = above_in_words(threshold.comparison);
    let beyond = match threshold.comparison {
        Comparison::Less | Comparison::LessOrEqual => "for {quantile} at most {beyond} may",
        Comparison::Equal => "{quantile} has to be as long as that",
        _ => "for {quantile} more than {beyond} have to",
    }
    .replace("{quantile}", &quantile);
    if !is_exact {
        return format!(
            "{{above}} of at most {{scheduled}} packets{whose} had a {name} of {above}, where \
             {beyond}"
        );
    }
    let missing = missing_in_words(threshold, question);
    format!(
        "{{above}} of {{scheduled}} packets{whose} had a {name} of {above}{missing}, where {beyond}"
    )
}

/// The times of a metric. `None` where a time of a packet that it is to cover is not known.
fn times<'j>(
    judged: &Judged<'_>,
    covered: Covered<'j, '_>,
    round_trips: Option<&'j RoundTrips>,
    metric: Metric,
) -> Option<&'j Histogram> {
    match metric {
        Metric::RttFromDue => return Some(&round_trips?.from_due),
        Metric::RttFromWrite => return Some(&round_trips?.from_write),
        _ => {}
    }
    let is_paced = covered.rows.iter().all(Row::is_paced);
    let is_one_clock = judged.evidence.is_one_clock();
    let times = covered.times?;
    match metric {
        Metric::Lateness => is_paced.then_some(&times.lateness),
        Metric::Spread => is_paced.then_some(&times.spread),
        Metric::Transit => is_one_clock.then_some(&times.transit),
        Metric::Latency => is_one_clock.then_some(&times.latency),
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
        quantile(&judged, asked.parse().unwrap(), ObjectiveSource::User)
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

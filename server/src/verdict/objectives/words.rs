//! The sentences of objectives on times, as templates, with their figures.

use metronome_proto::{
    histogram::count_min,
    json::values::ESTIMATED,
    threshold::{Threshold, quantile_name},
    v1::{Comparison, Metric, OutcomeStatus},
};

use super::{
    finding::{Finding, bound},
    judged::Judged,
    mean::Mean,
    quantile::{Answer, Ground, Question},
};
use crate::{
    model::{AgentRecords, UNCERTAIN_NS, UNDERSTATED_NS},
    verdict::{
        bounds::Between,
        sentence::{Figures, figures, signed},
    },
};

/// Why a time of this run is not known.
pub(super) fn unknown(judged: &Judged<'_>, metric: Metric) -> Finding {
    let name = metric.word().unwrap_or_default();
    let Some(between) = Between::of(metric) else {
        return unknown_probes(judged, metric).unwrap_or_else(|| {
            Finding::not_judged(&format!("The {name} of this run is not known."))
        });
    };
    if judged.is_one_clock() {
        return Finding::not_judged(&format!(
            "There is no {name} of this run: all agents are on the server's clock, where transit \
             and latency are exact, and can be judged."
        ));
    }
    let unrelated = names(judged, |agent| between.bound_of(agent).is_none());
    if unrelated.is_empty() {
        return Finding::not_judged(&format!("The {name} of this run is not known."));
    }
    let template = format!(
        "The {name} of this run is not known: how the clock of {{agent_names}} relates to the \
         server's is not known for all of it."
    );
    let figures = figures([("agent_names", unrelated.into())]);
    Finding::new(OutcomeStatus::NotJudged, None, &template, figures)
}

/// `None` of another metric.
fn unknown_probes(judged: &Judged<'_>, metric: Metric) -> Option<Finding> {
    if metric != Metric::ProbeRtt {
        return None;
    }
    if judged.is_one_clock() {
        let sentence = "No agent sent probes: all of them are on the server's clock.";
        return Some(Finding::not_judged(sentence));
    }
    let silent = names(judged, |agent| agent.path.is_none());
    let template = "The probe_rtt of this run is not known: {agent_names} sent no probes.";
    let figures = figures([("agent_names", silent.into())]);
    Some(Finding::new(
        OutcomeStatus::NotJudged,
        None,
        template,
        figures,
    ))
}

/// The names of the agents on other clocks of which this is so.
fn names(judged: &Judged<'_>, is_so: impl Fn(&AgentRecords) -> bool) -> Vec<String> {
    let agents = judged.evidence.agents.iter();
    let others = agents.filter(|agent| !agent.is_on_our_clock() && is_so(agent));
    others.map(|agent| agent.name.clone()).collect()
}

/// Why it is not known how many there were of what is judged.
pub(super) fn of_unknown_number(metric: Metric) -> &'static str {
    match metric {
        Metric::ProbeRtt => "It is not known how many probes were sent.",
        _ => "It is not known how many packets were scheduled.",
    }
}

/// What is judged and had no packet.
pub(super) fn of_none(judged: &Judged<'_>, metric: Metric) -> &'static str {
    if metric == Metric::ProbeRtt {
        "No probe was sent."
    } else if judged.evidence.plan.warm_up.is_zero() {
        "No packet was scheduled."
    } else {
        "No packet was scheduled after the warm-up."
    }
}

/// The template of the sentence and its figures. Where it is not `is_exact`, it is not known how
/// many packets were scheduled, but only the most that can have been.
pub(super) fn in_words(
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
    let bound = bound_in_words(judged, threshold, question, &mut figures);
    if answer.ground == Ground::TooFew {
        figures.insert("scheduled_min".into(), count_min(question.ppm).into());
        let template = too_few_in_words(threshold, question, answer);
        return (format!("{template}{bound}."), figures);
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
    template += &bound;
    template += match answer.ground {
        Ground::Counted | Ground::TooFew => "",
        Ground::GeneratorLate => {
            let late = judged.punctuality.map_or(0, |of| of.late());
            figures.insert("late".into(), late.into());
            "; the generator was late with {late} packets, which may be why"
        }
        Ground::Uncertain if question.hidden.is_none() => {
            ", so that it is not known on which side of the limit it is"
        }
        Ground::Uncertain => uncertain_in_words(question, &mut figures),
    };
    template += ".";
    (template, figures)
}

/// The same of a mean.
pub(super) fn mean_in_words(
    judged: &Judged<'_>,
    threshold: Threshold,
    question: Question<'_>,
    mean: Mean,
    is_exact: bool,
) -> (String, Figures) {
    let name = threshold.metric.word().unwrap_or_default();
    let mut figures = figures([
        ("scheduled", question.scheduled.into()),
        ("limit_ns", question.limit_ns.into()),
    ]);
    let whose = judged.timed(threshold.metric).whose;
    let (noun, _) = nouns(threshold.metric);
    let asked = bound(threshold.comparison, "{limit_ns}");
    if is_exact {
        figures.insert("missing".into(), question.missing.into());
    }
    let of = format!("{{scheduled}} {noun}{whose}");
    let mut template = if let Some(observed_ns) = mean.observed_ns {
        figures.insert("observed_ns".into(), signed(observed_ns.into()));
        format!("The mean {name} of {of} was {{observed_ns|limit_ns}}")
    } else if !is_exact {
        format!("The mean {name} of at most {of} is above the limit, whatever the rest took")
    } else if question.missing > 0 {
        format!("{{missing}} of {of} had no {name}, and count as infinitely late")
    } else if mean.endless > 0 {
        figures.insert("endless".into(), mean.endless.into());
        format!("The {name} of {{endless}} of {of} was too long to be measured")
    } else if question.is_upper() && mean.status == OutcomeStatus::NotHeld {
        figures.insert("least_ns".into(), signed(mean.least_ns.into()));
        format!("The mean {name} of {of} was at least {{least_ns|limit_ns}}")
    } else {
        format!("The mean {name} of {of} is not known")
    };
    template += &format!("; asked for: a mean of {asked}");
    template += &bound_in_words(judged, threshold, question, &mut figures);
    template += match mean.ground {
        Ground::GeneratorLate => {
            let late = judged.punctuality.map_or(0, |of| of.late());
            figures.insert("late".into(), late.into());
            "; the generator was late with {late} packets, which may be why"
        }
        Ground::Uncertain if question.hidden.is_some() => {
            uncertain_in_words(question, &mut figures)
        }
        Ground::Uncertain => ", so that it is not known on which side of the limit it is",
        Ground::Counted | Ground::TooFew => "",
    };
    template += ".";
    (template, figures)
}

/// How far off a time between clocks can be, and how that was taken; empty of other times.
fn bound_in_words(
    judged: &Judged<'_>,
    threshold: Threshold,
    question: Question<'_>,
    figures: &mut Figures,
) -> String {
    let rows = judged.timed(threshold.metric).rows;
    let bound = Between::of(threshold.metric).and_then(|between| between.bound(rows));
    let Some(bound) = bound else {
        return String::new();
    };
    figures.insert("bound_ns".into(), bound.ns.into());
    let word = match threshold.metric {
        Metric::Queueing => ESTIMATED,
        _ => bound.word(),
    };
    figures.insert("bound".into(), word.into());
    let mut words = match threshold.comparison {
        Comparison::Less | Comparison::LessOrEqual => {
            "; the bound of ± {bound_ns} ({bound}) is added to each"
        }
        Comparison::Greater | Comparison::GreaterOrEqual => {
            "; the bound of ± {bound_ns} ({bound}) is taken off each"
        }
        _ => "; each is known to ± {bound_ns} ({bound})",
    }
    .to_owned();
    if question.unrelated > 0 {
        figures.insert("unrelated".into(), question.unrelated.into());
        words += if question.is_upper() {
            "; of the missing, {unrelated} were read without a relation of the clocks"
        } else {
            "; {unrelated} were read without a relation of the clocks, and may have had any"
        };
    }
    words
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
    let (noun, were) = nouns(threshold.metric);
    format!(
        "{name} {quantile} is not known: it takes {{scheduled_min}} {noun}, {{scheduled}} were \
         {were}; {how_many} had {above}{missing}"
    )
}

/// What is judged, and what became of it.
fn nouns(metric: Metric) -> (&'static str, &'static str) {
    match metric {
        Metric::ProbeRtt => ("probes", "sent"),
        _ => ("packets", "scheduled"),
    }
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
    match (question.slower(), threshold.metric) {
        (0, _) => "",
        (_, Metric::ProbeRtt) => " or none at all ({missing} were not answered)",
        (slower, _) if slower < question.missing => " or none at all, skipped or lost",
        (_, Metric::OneWay | Metric::Queueing) if question.unrelated > 0 => {
            " or none at all ({missing} were skipped, lost, or read without a relation)"
        }
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
    let (noun, _) = nouns(threshold.metric);
    if !is_exact {
        return format!(
            "{{above}} of at most {{scheduled}} {noun}{whose} had a {name} of {above}, where \
             {beyond}"
        );
    }
    let missing = missing_in_words(threshold, question);
    format!(
        "{{above}} of {{scheduled}} {noun}{whose} had a {name} of {above}{missing}, where {beyond}"
    )
}
